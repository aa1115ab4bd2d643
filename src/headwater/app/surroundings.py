"""What every role is built with: the configuration, the log, and the ports of the kernel."""

from dataclasses import dataclass
from pathlib import Path

from headwater.app.config import HeadwaterConfig
from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.log.ports import Log


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything outside one role."""

    config: HeadwaterConfig
    data_dir: Path
    log: Log
    clock: Clock
    ids: Ids
    metrics: Metrics

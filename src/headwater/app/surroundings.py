"""What every role is built with: the configuration, the log, and the ports of the kernel."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from headwater.app.config import HeadwaterConfig
from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.log.ports import Log


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything outside one role.

    Attributes:
        not_writable: why nothing can be appended to the log, or None: a readiness check.
    """

    config: HeadwaterConfig
    data_dir: Path
    log: Log
    clock: Clock
    ids: Ids
    metrics: Metrics
    not_writable: Callable[[], Awaitable[str | None]]

"""What every role is built with: the configuration, the log, and the ports of the kernel."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
        stopping: set when the process is told to stop, before it drains.
    """

    config: HeadwaterConfig
    data_dir: Path
    log: Log
    clock: Clock
    ids: Ids
    metrics: Metrics
    not_writable: Callable[[], Awaitable[str | None]]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

"""Upkeep of the log: it is kept within its policies."""

import asyncio
from typing import Protocol

import structlog

from headwater.app.metrics import MAINTENANCE_FAILURES
from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import event_or_timeout
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics
from headwater.log.retention import Maintained

MORE_TO_DO_PAUSE_S = 0.1

_logger = structlog.get_logger(__name__)


class MaintainedLog(Protocol):
    """An engine of the log that removes what its policies allow."""

    async def maintain(self) -> Maintained:
        """Do one bounded round. Raises HeadwaterError when the disk refuses; calling again is safe."""
        ...


async def maintain_log(log: MaintainedLog, stop: asyncio.Event, *, interval_s: float, clock: Clock, metrics: Metrics) -> None:
    """Trim and compact in bounded rounds until `stop` is set; a round that fails is counted and repeated."""
    while not stop.is_set():
        pause_s = interval_s
        try:
            done = await log.maintain()
        except HeadwaterError as error:
            metrics.inc(MAINTENANCE_FAILURES)
            _logger.warning("log_maintenance_failed", code=error.code, detail=error.detail)
        else:
            if done.expelled:
                _logger.warning("log_groups_expelled", groups=done.expelled)
            pause_s = MORE_TO_DO_PAUSE_S if done.more else interval_s
        await event_or_timeout(stop, clock, pause_s)

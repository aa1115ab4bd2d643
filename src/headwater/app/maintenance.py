"""Work of the process itself: the log is kept within its policies, and the event loop is watched."""

import asyncio
from typing import Protocol

import structlog

from headwater.app.metrics import LOOP_LAG, MAINTENANCE_FAILURES
from headwater.kernel.clock import Clock
from headwater.kernel.collecting import freeze_survivors, thaw
from headwater.kernel.concurrency import event_or_timeout
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics
from headwater.log.retention import Maintained

MORE_TO_DO_PAUSE_S = 0.1
LOOP_WATCH_INTERVAL_S = 0.25
THAW_INTERVAL_S = 6 * 3600.0
"""Time between two collections of everything, each a pause of tens of milliseconds."""

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


async def keep_memory_tidy(stop: asyncio.Event, *, clock: Clock) -> None:
    """Once in a long while let a collection see everything, what was frozen included, until `stop` is set."""
    while not stop.is_set():
        if not await event_or_timeout(stop, clock, THAW_INTERVAL_S):
            thaw()
            freeze_survivors()


async def watch_loop(stop: asyncio.Event, *, clock: Clock, metrics: Metrics) -> None:
    """Measure how late the loop calls what is due, until `stop` is set."""
    while not stop.is_set():
        began_s = clock.monotonic_s()
        await clock.sleep(LOOP_WATCH_INTERVAL_S)
        metrics.observe(LOOP_LAG, max(0.0, clock.monotonic_s() - began_s - LOOP_WATCH_INTERVAL_S))

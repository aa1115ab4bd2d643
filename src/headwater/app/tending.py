"""Work that every process does for itself: it watches its event loop and keeps its memory tidy. Loads no service."""

import asyncio

from headwater.app.process_metrics import LOOP_LAG
from headwater.kernel.clock import Clock
from headwater.kernel.collecting import freeze_survivors, thaw
from headwater.kernel.concurrency import event_or_timeout
from headwater.kernel.metrics import Metrics

LOOP_WATCH_INTERVAL_S = 0.25
THAW_INTERVAL_S = 6 * 3600.0
"""Time between two collections of everything, each a pause of tens of milliseconds."""


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

"""Tasks beside each other: waits for the first of several things, ends what is left over, and gives the event loop back in time.

Nothing here leaves a task behind: what a function started has ended when it returns or raises, but for `to_its_end` when it is cancelled.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

from headwater.kernel.clock import Clock

T = TypeVar("T")

SLICE_S = 0.002  # a loop that has worked this long lets the others go first: nothing holds the event loop for 5 ms


async def stop_tasks(tasks: "Iterable[asyncio.Future[T]]") -> None:
    """Cancel tasks and wait until they have ended; what they raised is theirs."""
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def event_or_timeout(event: asyncio.Event, clock: Clock, timeout_s: float | None) -> bool:
    """Wait for `event`, at most `timeout_s` on `clock` (None: however long it takes); True if it is set."""
    if timeout_s is None:
        return await event.wait()
    if event.is_set():
        return True
    waiting: asyncio.Future[object] = asyncio.ensure_future(event.wait())
    sleeping: asyncio.Future[object] = asyncio.ensure_future(clock.sleep(timeout_s))
    try:
        await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop_tasks((waiting, sleeping))
    return event.is_set()


async def to_its_end(work: Coroutine[object, object, T]) -> T:
    """Do `work` whatever becomes of the caller, so that what is noted in memory after it stays what is on record."""
    return await asyncio.shield(asyncio.ensure_future(work))


async def run_together(*loops: Coroutine[object, object, None]) -> None:
    """Run loops until one ends or fails.

    The others are then stopped, all of them have ended when this returns, and the failure is raised.
    """
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop_tasks(tasks)
    for task in done:
        task.result()


async def run_until(stop: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """What `work` returns, or None where it was cancelled because `stop` was set first. Raises what `work` raises, while it ends too."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop_tasks((working,))
        await stop_tasks((stopping,))
    return None if working.cancelled() else working.result()


class Slices:
    """Cuts long work into pieces: `breathe` between two items gives the event loop back when a piece has taken its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s = clock.monotonic_s()

    async def breathe(self) -> None:
        """Let other tasks run if this piece has lasted long enough."""
        if self._clock.monotonic_s() - self._since_s >= SLICE_S:
            await asyncio.sleep(0)
            self._since_s = self._clock.monotonic_s()

"""Readers that wait for a partition's next record, woken by the append itself: no polling.

Invariant: between a read that found nothing and `wait` the event loop does not run anything else, so no wake-up is missed.
"""

import asyncio
from collections.abc import Iterable

from headwater.kernel.clock import Clock
from headwater.log.model import PartitionId


class Waiters:
    """The readers that wait, per partition. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[PartitionId, set[asyncio.Future[None]]] = {}

    def wake(self, partitions: Iterable[PartitionId]) -> None:
        """Wake everyone who waits for one of `partitions`."""
        for partition in partitions:
            for future in self._waiting.pop(partition, ()):
                if not future.done():
                    future.set_result(None)

    def wake_all(self) -> None:
        """Wake everyone: the log is closing."""
        self.wake(list(self._waiting))

    async def wait(self, partition: PartitionId, wait_s: float) -> None:
        """Return when `partition` was woken or `wait_s` seconds have passed."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(partition, set()).add(woken)
        timer = asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait((woken, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            waiting = self._waiting.get(partition)
            if waiting is not None:
                waiting.discard(woken)
                if not waiting:
                    del self._waiting[partition]

"""Readers that wait for the next of something, woken by what brings it: no polling.

Invariant: between a read that found nothing and `wait` the event loop does not run anything else, so no wake-up is missed.
"""

import asyncio
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from headwater.kernel.clock import Clock

K = TypeVar("K", bound=Hashable)


class Waiters(Generic[K]):
    """The readers that wait, by what they wait for. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[K, set[asyncio.Future[None]]] = {}

    def wake(self, keys: Iterable[K]) -> None:
        """Wake everyone who waits for one of `keys`."""
        for key in keys:
            for future in self._waiting.pop(key, ()):
                if not future.done():
                    future.set_result(None)

    def wake_all(self) -> None:
        """Wake everyone: what they wait for is closing."""
        self.wake(list(self._waiting))

    async def wait(self, key: K, wait_s: float) -> None:
        """Return when `key` was woken or `wait_s` seconds have passed."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(woken)
        timer = asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait((woken, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.discard(woken)
                if not waiting:
                    del self._waiting[key]

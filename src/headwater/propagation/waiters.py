"""Readers who wait for a page to be rendered. One render serves all of them; how many may wait is bounded."""

import asyncio

from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import event_or_timeout
from headwater.kernel.errors import Overloaded
from headwater.propagation.model import PageKey


class Waiters:
    """The waiting readers of one wiki."""

    def __init__(self, waiters_max: int, clock: Clock) -> None:
        self._waiters_max = waiters_max
        self._clock = clock
        self._events: dict[PageKey, asyncio.Event] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many readers wait."""
        return self._waiting

    def wake(self, page: PageKey) -> None:
        """Something about `page` was decided: all who wait for it look again."""
        event = self._events.pop(page, None)
        if event is not None:
            event.set()

    async def wait(self, page: PageKey, timeout_s: float) -> bool:
        """Wait until `page` is woken, at most `timeout_s`; False if the time is over. Raises Overloaded."""
        if timeout_s <= 0:
            return False
        if self._waiting >= self._waiters_max:
            raise Overloaded(f"{self._waiters_max} readers wait for renders", retry_after_s=2)
        self._waiting += 1
        try:
            event = self._events.setdefault(page, asyncio.Event())
            return await event_or_timeout(event, self._clock, timeout_s)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._events.clear()

"""One timer for all deadlines of a connection, cheap to move."""

import asyncio
from collections.abc import Callable


class Deadline:
    """A moment at which `expired` is called, unless it is moved or cleared before.

    A later moment only replaces the number: the timer underneath finds out when it fires. So a request on a kept connection costs no timer.
    """

    __slots__ = ("_due_s", "_expired", "_handle", "_handle_at_s", "_loop", "_set")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at_s = self._due_s = 0.0
        self._set = False

    def move(self, seconds: float) -> None:
        """Expire that long from now."""
        self._set = True
        self._due_s = self._loop.time() + seconds
        if self._handle is None or self._handle_at_s > self._due_s:
            if self._handle is not None:
                self._handle.cancel()
            self._schedule()

    def clear(self) -> None:
        """Do not expire."""
        self._set = False

    def cancel(self) -> None:
        """Never expire again, and hold nothing in the event loop."""
        self._set = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self) -> None:
        self._handle_at_s = self._due_s
        self._handle = self._loop.call_at(self._due_s, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if not self._set:
            return
        # The loop's clock may be a millisecond coarse.
        if self._loop.time() < self._due_s - 0.001:
            self._schedule()
            return
        self._set = False
        self._expired()

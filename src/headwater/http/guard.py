"""What stands in front of every application: bounded concurrency and bounded bodies.

A request that finds no place waits in a bounded queue for a bounded time and is then refused early, so that an overloaded server answers
quickly that it is. Invariant: `0 <= under way <= concurrency_max`.
"""

import asyncio
from collections import deque

from headwater.http.config import HttpLimits
from headwater.kernel.errors import DeadlineExceeded, HeadwaterError, InvalidInput, Overloaded, TooLarge
from headwater.kernel.units import format_duration


class Guard:
    """Counts the requests under way in one application. For one event loop."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.under_way = 0

    def try_enter(self) -> bool:
        """Take a free place at once; False if there is none."""
        if self.under_way >= self._limits.concurrency_max:
            return False
        self.under_way += 1
        return True

    async def enter(self) -> None:
        """Take a place, waiting for one no longer than the limits allow.

        Raises:
            Overloaded: no place came free, or too many wait already.
        """
        if self.try_enter():
            return
        if len(self._waiting) >= self._limits.queue_max:
            raise self._overloaded()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._limits.queue_time_max):
                await place
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, TimeoutError):
                raise self._overloaded() from error
            raise

    def leave(self) -> None:
        """Give the place back: to whom has waited longest, if anyone has."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        assert self.under_way > 0
        self.under_way -= 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self.leave()
        elif place in self._waiting:
            self._waiting.remove(place)

    def _overloaded(self) -> Overloaded:
        detail = f"{self._limits.concurrency_max} requests are under way"
        return Overloaded(detail, retry_after_s=self._limits.retry_after)


def check_length(length: int | None, body_bytes_max: int) -> None:
    """Refuse a body by its announced length, before a byte of it is read.

    Raises:
        TooLarge: `length` exceeds the limit.
    """
    if length is not None and length > body_bytes_max:
        raise too_large(body_bytes_max)


def too_large(body_bytes_max: int) -> TooLarge:
    """The refusal of a body above `body_bytes_max`."""
    return TooLarge(f"the body exceeds {body_bytes_max} bytes")


def body_fault(fault: str | None, limits: HttpLimits) -> HeadwaterError:
    """What it means that a body ended before its end: `fault` is what the server says of it, None that the peer has gone."""
    match fault:
        case "slow":
            return DeadlineExceeded(f"no byte of the body came for {format_duration(limits.body_timeout)}, or it took too long")
        case "malformed":
            return InvalidInput("the framing of the body is not well-formed")
        case _:
            return InvalidInput("the body ended before its end")

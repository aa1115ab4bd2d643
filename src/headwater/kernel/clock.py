"""Time, as a port: the only way in which time enters Headwater.

Wall time is milliseconds since 1970-01-01 UTC and may jump; monotonic time is seconds from an arbitrary origin and never
goes back. Durations are always measured on the monotonic clock.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Reads time and waits. Never fails."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since the epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long, or until cancelled."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def iso_utc(time_ms: int) -> str:
    """`time_ms` as RFC 3339 in UTC with milliseconds, e.g. `2026-11-24T06:21:22.123Z`."""
    seconds, ms = divmod(time_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03d}Z"

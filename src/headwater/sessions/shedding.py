"""What is refused when there is too much to do: first the saves of anonymous sessions, then other writes, never reads.

Pressure is the number of writes that wait for the disk, and the memory that large bodies take until they are written. A wiki under a flood
of visitors without an account makes anonymous sessions by the thousand, and losing one of those costs nobody anything; a refused read would
log somebody out.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

from prometheus_client import Gauge

from headwater.kernel.errors import Overloaded
from headwater.kernel.metrics import Metrics
from headwater.sessions.config import SheddingConfig
from headwater.sessions.metrics import SHED, WRITES_UNDER_WAY

SMALL_BODY_BYTES = 64 * 1024
"""Bodies up to this size are bounded by the number of connections alone, so that whoever sends large ones keeps nobody from saving."""


class Shedding:
    """Admits writes. For one event loop. Invariant: `0 <= under_way <= writes_max`, and `0 <= large_bytes`."""

    def __init__(self, config: SheddingConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._gauge = cast(Gauge, metrics.child(WRITES_UNDER_WAY))
        self.under_way = 0
        self.large_bytes = 0

    def check_room(self) -> None:
        """Refuse a write before its body is read if it could not be admitted anyway. Raises Overloaded."""
        if self.under_way >= self._config.writes_max:
            raise self._shed("other")

    @contextlib.contextmanager
    def body(self, size_bytes: int) -> Iterator[None]:
        """Hold the memory of one body while it comes in and until it is written; `size_bytes` is the most that it can have.

        Raises:
            Overloaded: large bodies take too much already; nothing was done.
        """
        large = size_bytes if size_bytes > SMALL_BODY_BYTES else 0
        if large and self.large_bytes and self.large_bytes + large > self._config.large_bodies_bytes_max:
            raise self._shed("large")
        self.large_bytes += large
        try:
            yield
        finally:
            self.large_bytes -= large

    @contextlib.contextmanager
    def write(self, is_anonymous: Callable[[], bool | None]) -> Iterator[None]:
        """Hold a place for one write; `is_anonymous` is asked only where the answer matters.

        Raises:
            Overloaded: the write is shed; nothing was done.
        """
        if self.under_way >= self._config.anonymous_writes_max and is_anonymous():
            raise self._shed("anonymous")
        self.check_room()
        self.under_way += 1
        try:
            self._gauge.set(self.under_way)
            yield
        finally:
            self.under_way -= 1
            self._gauge.set(self.under_way)

    def _shed(self, kind: str) -> Overloaded:
        self._metrics.inc(SHED, kind=kind)
        what = "too many large bodies" if kind == "large" else f"{self.under_way} writes"
        return Overloaded(f"{what} are under way", retry_after_s=self._config.retry_after)

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

_SMALL = contextlib.nullcontext()


class Shedding:
    """Admits writes. For one event loop. Invariant: `0 <= under_way <= writes_max`, and `0 <= large_bytes`."""

    def __init__(self, config: SheddingConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self.under_way = 0
        self.large_bytes = 0
        cast(Gauge, metrics.child(WRITES_UNDER_WAY)).set_function(lambda: self.under_way)  # looked up by who asks, not set by each write

    def check_room(self) -> None:
        """Refuse a write before its body is read if it could not be admitted anyway. Raises Overloaded."""
        if self.under_way >= self._config.writes_max:
            raise self._shed("other")

    def body(self, size_bytes: int) -> contextlib.AbstractContextManager[None]:
        """Hold the memory of one body while it comes in and until it is written; `size_bytes` is the most that it can have.

        Raises:
            Overloaded: large bodies take too much already; nothing was done.
        """
        return _SMALL if size_bytes <= SMALL_BODY_BYTES else self._large_body(size_bytes)

    @contextlib.contextmanager
    def _large_body(self, size_bytes: int) -> Iterator[None]:
        if self.large_bytes and self.large_bytes + size_bytes > self._config.large_bodies_bytes_max:
            raise self._shed("large")
        self.large_bytes += size_bytes
        try:
            yield
        finally:
            self.large_bytes -= size_bytes

    def write(self, is_anonymous: Callable[[], bool | None]) -> "_Write":
        """Hold a place for one write, as long as the context lasts; `is_anonymous` is asked only where the answer matters.

        Raises:
            Overloaded: the write is shed; nothing was done.
        """
        if self.under_way >= self._config.anonymous_writes_max and is_anonymous():
            raise self._shed("anonymous")
        self.check_room()
        return _Write(self)

    def _shed(self, kind: str) -> Overloaded:
        self._metrics.inc(SHED, kind=kind)
        what = "too many large bodies" if kind == "large" else f"{self.under_way} writes"
        return Overloaded(f"{what} are under way", retry_after_s=self._config.retry_after)


class _Write:
    """The place of one write. A class, since every save takes one, and a generator costs several times as much."""

    __slots__ = ("_shedding",)

    def __init__(self, shedding: Shedding) -> None:
        self._shedding = shedding

    def __enter__(self) -> None:
        self._shedding.under_way += 1

    def __exit__(self, *_: object) -> None:
        self._shedding.under_way -= 1

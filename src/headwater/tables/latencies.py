"""How long operations took, in bounded memory: buckets grow by a quarter, so a percentile is right within an eighth (10 µs to 90 s)."""

from bisect import bisect_left
from itertools import accumulate
from math import ceil

_LEAST_S = 1e-5
_GROWTH = 1.25
_BUCKETS = 72  # up to 10 µs · 1.25^72, some 95 s
_BOUNDS = [_LEAST_S * _GROWTH**bucket for bucket in range(_BUCKETS)]
_ROUNDING = 1e-6  # 0.28 of 25 is 7.000000000000001


class Latencies:
    """Durations of one kind of operation since the process started."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts = [0] * (_BUCKETS + 1)

    def add(self, duration_s: float) -> None:
        """Count one operation."""
        self._counts[bisect_left(_BOUNDS, duration_s)] += 1
        self.count += 1

    def percentile_s(self, share: float) -> float | None:
        """The duration that `share` (above 0, at most 1) of the operations did not exceed, in seconds; None before the first."""
        if not self.count:
            return None
        rank = ceil(share * self.count - _ROUNDING)
        bucket = next(bucket for bucket, below in enumerate(accumulate(self._counts)) if below >= rank)
        return _LEAST_S if bucket == 0 else float(_LEAST_S * _GROWTH ** (bucket - 0.5))  # the middle of the bucket

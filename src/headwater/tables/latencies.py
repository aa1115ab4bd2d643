"""How long operations took, in bounded memory: buckets that grow by a quarter, so that a percentile is right within an eighth."""

from math import ceil, log

_LEAST_S = 1e-5
_GROWTH = 1.25
_BUCKETS = 72  # up to 10 µs · 1.25^72, some 95 s
_LOG_GROWTH = log(_GROWTH)


class Latencies:
    """Durations of one kind of operation since the process started."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts = [0] * (_BUCKETS + 1)

    def add(self, duration_s: float) -> None:
        """Count one operation."""
        bucket = 0 if duration_s <= _LEAST_S else min(_BUCKETS, ceil(log(duration_s / _LEAST_S) / _LOG_GROWTH))
        self._counts[bucket] += 1
        self.count += 1

    def percentile_s(self, share: float) -> float | None:
        """The duration that `share` of the operations did not exceed, in seconds; None before the first."""
        if not self.count:
            return None
        left = share * self.count
        for bucket, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return float(_LEAST_S * _GROWTH**bucket)
        return float(_LEAST_S * _GROWTH**_BUCKETS)

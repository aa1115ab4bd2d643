"""How many renders of one upstream may be under way: a window that grows by one and shrinks by a factor (AIMD).

+1 for each window's worth of answers while the 95th percentile of their times and the share of errors are below target; ×0.7 at a
time-out, a 503 or replica lag, at most once per shrinking pause, because the answers that follow were caused by the same overload. Urgent
pages (classes 0 and 1) have a window of their own, so that the bulk cannot hold them up.
"""

from collections import deque
from dataclasses import dataclass, field

SHRINK = 0.7
SAMPLES_MAX = 100


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """What a window must keep.

    Attributes:
        size_min, size_max: renders under way at least and at most.
        target_ms: the 95th percentile of render times must be below it for the window to grow.
        errors_max: share of failed renders above which it does not grow.
        pause_ms: time after a shrinking in which it does not shrink again.
    """

    size_min: int = 1
    size_max: int = 32
    target_ms: float = 5000.0
    errors_max: float = 0.05
    pause_ms: int = 1000

    def __post_init__(self) -> None:
        assert 1 <= self.size_min <= self.size_max


@dataclass(slots=True)
class Window:
    """One upstream's window. The caller counts what is under way; `room` says what may start."""

    limits: WindowLimits
    _size: float = 0.0
    _since_growth: int = 0
    _shrunk_ms: int | None = None
    _times_ms: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    _failed: deque[bool] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))

    def __post_init__(self) -> None:
        self._size = float(min(self.limits.size_max, max(self.limits.size_min, 4)))

    @property
    def size(self) -> int:
        """How many renders may be under way."""
        return int(self._size)

    def room(self, under_way: int) -> int:
        """How many renders may start while `under_way` are running."""
        return max(0, self.size - under_way)

    def answered(self, took_ms: float, *, failed: bool = False) -> None:
        """A render ended after `took_ms`; `failed` says that the page could not be rendered, though the upstream answered."""
        self._times_ms.append(took_ms)
        self._failed.append(failed)
        self._since_growth += 1
        if self._since_growth >= self.size:
            self._since_growth = 0
            if self.p95_ms() <= self.limits.target_ms and self.error_share() <= self.limits.errors_max:
                self._size = min(float(self.limits.size_max), self.size + 1.0)

    def overloaded(self, *, now_ms: int) -> None:
        """The upstream timed out, answered 503 or lags."""
        if self._shrunk_ms is not None and 0 <= now_ms - self._shrunk_ms < self.limits.pause_ms:
            return
        self._shrunk_ms = now_ms
        self._since_growth = 0
        self._size = max(float(self.limits.size_min), self._size * SHRINK)

    def p95_ms(self) -> float:
        """The 95th percentile of the last render times; 0 before the first."""
        if not self._times_ms:
            return 0.0
        ordered = sorted(self._times_ms)
        return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]

    def error_share(self) -> float:
        """The share of failed renders among the last; 0 before the first."""
        return sum(self._failed) / len(self._failed) if self._failed else 0.0

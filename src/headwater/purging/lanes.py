"""A lane: what waits for one target, or for one other kind of answer, and how much of it may be under way. Pure.

Invariant: an item is open from `open` to `close`; an open item is queued, in flight, or both (queued anew while an answer that no longer
counts is still to come). Nothing outlives `close` but the count of requests in flight, so memory is bounded by the number of open items.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from sortedcontainers import SortedSet

from headwater.purging.model import RetryPolicy

Key = tuple[int, str]  # number of the work, name of the target


class Health(Enum):
    """Whether the far end answers."""

    UP = "up"
    DOWN = "down"  # several failures in a row: one request at a time, with growing pauses


@dataclass(slots=True)
class Lane:
    """Items waiting for one far end, by due time.

    Attributes:
        name: of the target.
        concurrency_max: most requests under way at once.
        failures: failures in a row.
        expires: whether items that wait too long are given up.
        paused_until_s: nothing is sent before, on the monotonic clock.
    """

    name: str
    concurrency_max: int
    expires: bool = True
    failures: int = 0
    paused_until_s: float = 0.0
    _due: dict[Key, float] = field(default_factory=dict)
    _queue: SortedSet = field(default_factory=SortedSet)  # of (due_s, key)
    _since: dict[Key, float] = field(default_factory=dict)
    _ages: SortedSet = field(default_factory=SortedSet)  # of (since_s, key)
    _in_flight: Counter[Key] = field(default_factory=Counter)

    def __contains__(self, key: Key) -> bool:
        return key in self._since

    def __len__(self) -> int:
        return len(self._since)

    @property
    def in_flight(self) -> int:
        """Requests under way, those whose answer no longer counts included."""
        return self._in_flight.total()

    @property
    def oldest_since_s(self) -> float | None:
        """Since when the oldest open item waits, on the monotonic clock."""
        return float(self._ages[0][0]) if self._ages else None

    def is_old(self, key: Key, now_s: float, policy: RetryPolicy) -> bool:
        """Whether an open item has waited for as long as an item may."""
        return now_s - self._since[key] >= policy.park_after_s

    def health(self, policy: RetryPolicy) -> Health:
        """Whether the far end counts as up."""
        return Health.DOWN if self.failures >= policy.down_after else Health.UP

    def open(self, key: Key, *, since_s: float, due_s: float) -> None:
        """Open `key`, or queue it again if it is open and not queued; an open item keeps its age."""
        if key not in self._since:
            self._since[key] = since_s
            self._ages.add((since_s, key))
        if key not in self._due:
            self._due[key] = due_s
            self._queue.add((due_s, key))

    def close(self, key: Key) -> None:
        """Forget `key`; no effect if it is not open."""
        since_s = self._since.pop(key, None)
        if since_s is not None:
            self._ages.remove((since_s, key))
        self._unqueue(key)

    def _unqueue(self, key: Key) -> None:
        due_s = self._due.pop(key, None)
        if due_s is not None:
            self._queue.remove((due_s, key))

    def take(self, now_s: float, policy: RetryPolicy) -> Key | None:
        """The item to send now; it is in flight afterwards. None if none is due or the lane is full or paused."""
        full = self.in_flight >= self._limit(policy)
        if full or now_s < self.paused_until_s or not self._queue or self._queue[0][0] > now_s:
            return None
        key: Key = self._queue[0][1]
        self._unqueue(key)
        self._in_flight[key] += 1
        return key

    def _limit(self, policy: RetryPolicy) -> int:
        return 1 if self.health(policy) is Health.DOWN else self.concurrency_max

    def answered(self, key: Key) -> None:
        """A request for `key` is no longer under way."""
        assert self._in_flight[key] > 0
        self._in_flight[key] -= 1
        if not self._in_flight[key]:
            del self._in_flight[key]

    def succeeded(self) -> None:
        """The far end answered well: it is up."""
        self.failures, self.paused_until_s = 0, 0.0

    def failed(self, now_s: float, jitter: float, policy: RetryPolicy) -> None:
        """The far end did not answer well; a lane that is down pauses."""
        self.failures += 1
        if self.health(policy) is Health.DOWN:
            self.paused_until_s = now_s + policy.backoff_s(self.failures - policy.down_after + 1, jitter)

    def expired(self, now_s: float, policy: RetryPolicy) -> list[Key]:
        """Open items that have waited too long and are not in flight (an item in flight is judged by its answer)."""
        found: list[Key] = []
        if not self.expires:
            return found
        for since_s, key in self._ages:
            if since_s + policy.park_after_s > now_s:
                break
            if key not in self._in_flight:
                found.append(key)
        return found

    def next_due_s(self, policy: RetryPolicy) -> float | None:
        """When `take` or `expired` may next give something, unless something changes before; None if never."""
        times: list[float] = []
        if self._queue and self.in_flight < self._limit(policy):
            times.append(max(self._queue[0][0], self.paused_until_s))
        waiting = next((since_s for since_s, key in self._ages if key not in self._in_flight), None)
        if self.expires and waiting is not None:
            times.append(waiting + policy.park_after_s)
        return min(times, default=None)

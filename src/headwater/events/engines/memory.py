"""The index of accepted events in memory: the model of the sqlite engine, and the engine of tests."""

from collections.abc import Mapping, Sequence

from sortedcontainers import SortedDict

from headwater.events.model import Key, Seen, Window
from headwater.log.model import Offset, PartitionId


class MemorySeenIds:
    """`SeenIds` without a disk."""

    def __init__(self, *, ids_max: int) -> None:
        assert ids_max > 0
        self._ids_max = ids_max
        self._events: SortedDict[tuple[int, int], tuple[Key, ...]] = SortedDict()  # by (time, order of arrival)
        self._places: dict[Key, tuple[int, int]] = {}
        self._covered: dict[PartitionId, Offset] = {}
        self._arrivals = 0

    async def covered(self) -> Mapping[PartitionId, Offset]:
        """The positions covered."""
        return dict(self._covered)

    def seen(self, keys: Sequence[Key], *, since_ms: int) -> frozenset[Key]:
        """Which keys are known."""
        return frozenset(key for key in keys if key in self._places and self._places[key][0] >= since_ms)

    async def add(self, entries: Sequence[Seen], covered: Mapping[PartitionId, Offset], *, since_ms: int) -> None:
        """Add, then drop what is too old or one too many."""
        for entry in entries:
            if not self.seen(entry.keys[:1], since_ms=since_ms):
                place = (entry.time_ms, self._arrivals)
                self._arrivals += 1
                self._events[place] = entry.keys
                self._places.update(dict.fromkeys(entry.keys, place))
        while self._events and (len(self._events) > self._ids_max or self._events.peekitem(0)[0][0] < since_ms):
            place, keys = self._events.popitem(0)
            for key in keys:
                if self._places.get(key) == place:
                    del self._places[key]
        self._covered.update(covered)

    async def clear(self) -> None:
        """Forget everything."""
        self._events.clear()
        self._places.clear()
        self._covered.clear()

    def window(self) -> Window:
        """How many events are held, and the time of the oldest."""
        return Window(len(self._events), self._events.peekitem(0)[0][0] if self._events else None)

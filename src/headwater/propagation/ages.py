"""What waits, and since when: the dirty pages of one class in the order in which they became stale.

A queue of (time, bitmap of page numbers), oldest first. Invariants: a page has at most one bit over all entries; a bit counts only while
the page is in `waiting`. A page that leaves is only taken out of `waiting` (its bit in an entry is a *ghost* until the entry is
swept), so that leaving costs the same however many pages wait. The age of the stalest page is therefore exact: the time of the first
entry that still has a bit in `waiting`.

Bounded: beyond `entries_max` entries neighbours are merged under the older time, so an age may then be overstated, never understated.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

ENTRIES_MAX = 4096


@dataclass(slots=True)
class Entry:
    """Pages (by number) that became stale at `time_ms`."""

    time_ms: int
    pages: BitMap


class AgeQueue:
    """The waiting pages of one class. Times are milliseconds since the epoch; pages are dense page numbers."""

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        assert entries_max >= 2
        self.waiting = BitMap()
        self._entries: list[Entry] = []
        self._ghosts = BitMap()
        self._entries_max = entries_max

    def __len__(self) -> int:
        return len(self.waiting)

    def __contains__(self, number: int) -> bool:
        return number in self.waiting

    def add(self, pages: BitMap, time_ms: int) -> None:
        """Let `pages`, none of which waits, wait since `time_ms`."""
        assert pages.isdisjoint(self.waiting), "a page waits once"
        if not pages:
            return
        again = pages & self._ghosts
        if again:
            for entry in self._entries:
                entry.pages -= again
            self._ghosts -= again
        self.waiting |= pages
        self._insert(time_ms, pages)

    def _insert(self, time_ms: int, pages: BitMap) -> None:
        entries = self._entries
        at = len(entries)
        if entries and entries[-1].time_ms > time_ms:
            at = bisect_right(entries, time_ms, key=lambda entry: entry.time_ms)
        if at and entries[at - 1].time_ms == time_ms:
            entries[at - 1].pages |= pages
            return
        entries.insert(at, Entry(time_ms, pages.copy()))
        if len(entries) > self._entries_max:
            self._entries = self.entries(self._entries_max // 2)
            self._ghosts.clear()

    def discard(self, number: int) -> bool:
        """Let a page wait no longer; False if it did not."""
        if number not in self.waiting:
            return False
        self.waiting.discard(number)
        self._ghosts.add(number)
        return True

    def since_ms(self, number: int) -> int:
        """Since when a waiting page waits."""
        assert number in self.waiting
        return next(entry.time_ms for entry in self._entries if number in entry.pages)

    def take(self, count: int, without: BitMap) -> Sequence[tuple[int, int]]:
        """Remove up to `count` pages, the oldest first, none of `without`; returns (page, time_ms) of each."""
        taken: list[tuple[int, int]] = []
        for entry in self._entries:
            if len(taken) >= count:
                break
            self._sweep(entry)
            ready = entry.pages - without if without else entry.pages
            part = ready if len(ready) <= count - len(taken) else ready[: count - len(taken)]
            if part:
                taken.extend((number, entry.time_ms) for number in part)
                self.waiting -= part
                entry.pages = entry.pages - part
        self._drop_empty()
        return taken

    def move(self, pages: BitMap, to: "AgeQueue") -> int:
        """Move the waiting ones of `pages` to another class with the times they have; returns how many."""
        moving = pages & self.waiting
        if not moving:
            return 0
        for entry in self._entries:
            self._sweep(entry)
            part = entry.pages & moving
            if part:
                self.waiting -= part
                entry.pages -= part
                to.add(part, entry.time_ms)
        self._drop_empty()
        return len(moving)

    def oldest_ms(self) -> int | None:
        """Since when the stalest page waits, or None if none does."""
        for entry in self._entries:
            self._sweep(entry)
            if entry.pages:
                break
        self._drop_empty()
        return self._entries[0].time_ms if self._entries else None

    def entries(self, limit: int) -> list[Entry]:
        """A copy of at most `limit` entries without ghosts; neighbours are merged under the older time."""
        live = [Entry(entry.time_ms, entry.pages - self._ghosts) for entry in self._entries]
        live = [entry for entry in live if entry.pages]
        group = -(-len(live) // limit) if live else 1
        return [Entry(live[i].time_ms, BitMap.union(*(e.pages for e in live[i : i + group]))) for i in range(0, len(live), group)]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "AgeQueue":
        """The queue that has these entries."""
        queue = cls()
        for entry in entries:
            queue.add(entry.pages, entry.time_ms)
        return queue

    def _sweep(self, entry: Entry) -> None:
        if self._ghosts:
            dead = entry.pages & self._ghosts
            if dead:
                entry.pages -= dead
                self._ghosts -= dead

    def _drop_empty(self) -> None:
        head = 0
        while head < len(self._entries) and not self._entries[head].pages:
            head += 1
        if head:
            del self._entries[:head]

    def validate(self) -> None:
        """Assert the invariants of this module."""
        bits = [number for entry in self._entries for number in entry.pages]
        assert len(bits) == len(set(bits)), "a page has at most one bit"
        assert BitMap(bits) == self.waiting | self._ghosts
        assert self.waiting.isdisjoint(self._ghosts)
        assert all(a.time_ms < b.time_ms for a, b in zip(self._entries, self._entries[1:], strict=False))

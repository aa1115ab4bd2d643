"""What an operator sees of the flow: recent edits with what they led to, and the last commits of recent pages. In memory, bounded.

An edit is *fresh* when no page is stale since it was applied, or before: then whatever it marked has been made right. Pages are counted for
the edit whose change was the last to touch one of their reads.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

import msgspec

from headwater.propagation.model import Change, CommitRecord, Lsn, PageKey


class FlowEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One edit. Times are in milliseconds since the epoch, None where it has not happened.

    Attributes:
        number: rises with each entry of this process; resume with it.
        what: the first resource that it changed.
        marked: pages that became stale through it; dependents: pages that depend on what it changed.
        rendered: commits that followed, of which `cutoffs` changed nothing; purged: addresses asked to be purged.
    """

    number: int
    event_id: str
    cause: str
    what: str
    happened_ms: int
    applied_ms: int
    marked: int = 0
    dependents: int = 0
    rendered: int = 0
    cutoffs: int = 0
    purged: int = 0
    committed_ms: int | None = None
    fresh_ms: int | None = None


class Flow:
    """A ring of recent edits."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[int, FlowEntry] = OrderedDict()
        self._by_lsn: OrderedDict[Lsn, int] = OrderedDict()
        self._open: OrderedDict[int, None] = OrderedDict()
        self._next = 1

    def applied(self, lsn: Lsn, change: Change, *, newly: int, dependents: int, now_ms: int) -> bool:
        """Note an applied change; changes of one event that follow each other are one entry. True if an edit that was not done fell out."""
        newest = next(reversed(self._entries.values()), None)
        if newest is not None and newest.event_id == change.event_id:
            entry = msgspec.structs.replace(
                newest, marked=newest.marked + newly, dependents=max(newest.dependents, dependents), fresh_ms=None
            )
        else:
            entry = FlowEntry(
                number=self._next,
                event_id=change.event_id,
                cause=change.cause,
                what=change.resource,
                happened_ms=change.time_ms,
                applied_ms=now_ms,
                marked=newly,
                dependents=dependents,
            )
            self._next += 1
        self._entries[entry.number] = entry
        self._open[entry.number] = None
        self._by_lsn[lsn] = entry.number
        return self._shrink()

    def _shrink(self) -> bool:
        dropped = False
        while len(self._entries) > self._size:
            number, _ = self._entries.popitem(last=False)
            dropped = number in self._open
            self._open.pop(number, None)
        while len(self._by_lsn) > 8 * self._size:
            self._by_lsn.popitem(last=False)
        return dropped

    def committed(self, lsns: Iterable[Lsn], *, changed: bool, purges: int, now_ms: int) -> None:
        """Note a page that was committed because of these changes."""
        for number in {self._by_lsn[lsn] for lsn in lsns if lsn in self._by_lsn}:
            entry = self._entries.get(number)
            if entry is not None:
                self._entries[number] = msgspec.structs.replace(
                    entry,
                    rendered=entry.rendered + 1,
                    cutoffs=entry.cutoffs + (not changed),
                    purged=entry.purged + purges,
                    committed_ms=now_ms,
                )

    def settle(self, stale_since_ms: int | None, *, now_ms: int) -> None:
        """Close the edits all of whose pages were committed, and those applied before the oldest page that is stale now became so."""
        for number in list(self._open):
            entry = self._entries[number]
            all_rendered = entry.rendered >= max(entry.marked, entry.dependents)
            if stale_since_ms is not None and entry.applied_ms >= stale_since_ms and not all_rendered:
                continue
            self._entries[number] = msgspec.structs.replace(entry, fresh_ms=now_ms)
            del self._open[number]

    def entries(self, after: int, limit: int) -> Sequence[FlowEntry]:
        """The newest edits with numbers above `after`, oldest first, at most `limit`."""
        found: list[FlowEntry] = []
        for number in reversed(self._entries):
            if number <= after or len(found) == limit:
                break
            found.append(self._entries[number])
        return found[::-1]


class CommitSummary(msgspec.Struct, frozen=True):
    """One commit of a page, as shown by `explain`."""

    seq: str
    step: int
    time_ms: int
    html_hash: str | None
    rev: int | None
    changed: bool
    cause: str


class History:
    """The last commits of the pages committed last."""

    def __init__(self, *, pages_max: int, commits_max: int) -> None:
        self._pages_max = pages_max
        self._commits_max = commits_max
        self._pages: OrderedDict[PageKey, deque[CommitSummary]] = OrderedDict()

    def committed(self, record: CommitRecord, *, changed: bool, cause: str) -> None:
        """Note a commit."""
        commits = self._pages.setdefault(record.page, deque(maxlen=self._commits_max))
        commits.append(CommitSummary(str(record.seq), record.step, record.time_ms, record.html_hash, record.rev, changed, cause))
        self._pages.move_to_end(record.page)
        if len(self._pages) > self._pages_max:
            self._pages.popitem(last=False)

    def of(self, page: PageKey) -> Sequence[CommitSummary]:
        """The page's commits that are remembered, newest first."""
        return tuple(reversed(self._pages.get(page, ())))

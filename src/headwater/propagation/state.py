"""The state of one shard, behind a narrow type, so that its data structures can be replaced alone.

`ShardState` holds and indexes; it decides nothing (`shard.py` does). Pages have dense numbers, so that a set of pages is a Roaring bitmap
and marking millions of them is one operation. Invariants: `postings` is the exact inverse of the reads of all records; a title
leads to the page that claimed it last; a page waits in at most one class; the number of a page that left is given out again only after a
checkpoint without it has been saved. `touched_*` is what differs from the last checkpoint. Decisions: `docs/decisions/0014`.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern

from pyroaring import BitMap

from headwater.propagation.ages import AgeQueue
from headwater.propagation.delays import Delays
from headwater.propagation.heat import Heat
from headwater.propagation.model import CommitRecord, Lease, Lsn, PageKey, Resource, Seq, Title, Urgency

_NOBODY = BitMap()
NEAR_MAX = 64  # numbers looked at for one in use


@dataclass(frozen=True, slots=True)
class Mark:
    """The last change of one resource.

    Attributes:
        lsn: of the last change that was applied.
        rev: the highest revision known, or None after a change without one.
        time_ms: when it was applied, or what its event says if that is later.
        happened_ms: when its event says that it happened.
        bare_ms: the same of the last change without `rev`; 0 if none is remembered.
        urgency: class that the change asked for.
        cause: of the change.
    """

    lsn: Lsn
    rev: int | None
    time_ms: int
    happened_ms: int
    bare_ms: int
    urgency: Urgency
    cause: str


@dataclass(frozen=True, slots=True)
class Node:
    """A page as the shard knows it.

    Attributes:
        named: LSN of the last change that made or renamed it. It counts as one more resource that every page reads.
        named_by: cause of that change.
        record: the last commit, or None before the first.
    """

    page: PageKey
    title: Title
    named: Lsn
    named_by: str
    record: CommitRecord | None = None

    @property
    def title_at(self) -> int:
        """The LSN as of which the title is known; of two pages with one title the later owns it."""
        return self.named if self.record is None else max(self.named, self.record.step)


@dataclass(slots=True)
class InFlight:
    """A page that is being rendered: its lease, since when it waits, and the `seq` of the decision not settled yet."""

    lease: Lease
    since_ms: int
    decided: Seq | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """A page taken out of the queue after too many failures: stale, and served as such."""

    reason: str
    since_ms: int
    urgency: Urgency


class ShardState:
    """Pages, edges in both directions, last changes, and who waits. Not thread-safe."""

    def __init__(self) -> None:
        self.applied = Lsn(-1)
        self.commits_after = -1
        self.horizon: Lsn | None = None  # every resource counts as changed here: earlier changes were trimmed unseen
        self.dirty: tuple[AgeQueue, ...] = tuple(AgeQueue() for _ in Urgency)
        self.in_flight: OrderedDict[int, InFlight] = OrderedDict()  # oldest lease, and so lowest floor, first
        self.in_flight_pages = BitMap()
        self.delays = Delays()
        self.parked: dict[int, Parked] = {}
        self.failures: dict[int, int] = {}  # in a row, by page number
        self.heat = Heat()
        self.loose: OrderedDict[Resource, None] = OrderedDict()  # resources with a mark and without dependents
        self.touched_nodes: set[int] = set()
        self.touched_marks: set[Resource] = set()
        self._nodes: dict[int, Node] = {}
        self._numbers: dict[PageKey, int] = {}
        self._titles: dict[Title, int] = {}
        self._postings: dict[Resource, BitMap] = {}
        self._marks: dict[Resource, Mark] = {}
        self._free: list[int] = []
        self._next_number = 0

    # pages

    def __len__(self) -> int:
        return len(self._nodes)

    def numbers(self) -> Iterator[int]:
        """Numbers of all pages."""
        return iter(self._nodes)

    def number_of(self, page: PageKey) -> int | None:
        """The dense number of a page, or None if it is unknown."""
        return self._numbers.get(page)

    def number_near(self, fraction: float) -> int | None:
        """A number in use: the one at `fraction` (in [0, 1)) of all given out, or one soon after it; None if these are free."""
        start = int(fraction * self._next_number)
        near = range(start, min(start + NEAR_MAX, self._next_number))
        return next((number for number in near if number in self._nodes), None)

    def node(self, number: int) -> Node:
        """The page of a number that is in use."""
        return self._nodes[number]

    def node_or_none(self, number: int) -> Node | None:
        """The page of a number, or None if the number is not in use."""
        return self._nodes.get(number)

    def find(self, title: Title) -> int | None:
        """The number of the page that claimed `title` last, or None."""
        return self._titles.get(title)

    def restore_node(self, number: int, node: Node) -> None:
        """Put a page under the number that it has in a checkpoint, which is not in use."""
        assert number not in self._nodes and node.page not in self._numbers
        self._numbers[node.page] = number
        self._nodes[number] = node
        self._next_number = max(self._next_number, number + 1)
        self._claim(number, node)
        if node.record is not None:
            self._link(number, node.record.reads)

    def freed(self, numbers: set[int]) -> None:
        """Give these numbers, which no page has, out again."""
        assert numbers.isdisjoint(self._nodes)
        self._free.extend(sorted(numbers, reverse=True))

    def free_holes(self) -> None:
        """After a load: give the numbers out again that no page of the checkpoint has."""
        self._free = [number for number in range(self._next_number - 1, -1, -1) if number not in self._nodes]

    def put_node(self, node: Node) -> int:
        """Make or replace a page, with its edges and its claim of the title; returns its number."""
        number = self._numbers.get(node.page)
        if number is None:
            if self._free:
                number = self._free.pop()
            else:
                number, self._next_number = self._next_number, self._next_number + 1
            self._numbers[node.page] = number
            before = None
        else:
            before = self._nodes[number]
            if before.title != node.title and self._titles.get(before.title) == number:
                del self._titles[before.title]
        self._nodes[number] = node
        self._claim(number, node)
        self._relink(number, () if before is None or before.record is None else before.record.reads, node)
        self.touched_nodes.add(number)
        return number

    def drop_node(self, number: int) -> None:
        """Forget a page that neither waits nor is in flight, with its edges and its title."""
        assert number not in self.in_flight and number not in self.parked and self.class_of(number) is None
        node = self._nodes.pop(number)
        del self._numbers[node.page]
        if self._titles.get(node.title) == number:
            del self._titles[node.title]
        if node.record is not None:
            self._unlink(number, node.record.reads)
        self.failures.pop(number, None)
        self.delays.clear(number)
        self.heat.forget(number)
        self.touched_nodes.add(number)

    def claim(self, number: int) -> None:
        """Let the title of a page lead to it, whoever claimed it before."""
        self._titles[self._nodes[number].title] = number

    def _claim(self, number: int, node: Node) -> None:
        holder = self._titles.get(node.title)
        if holder is None or holder == number or self._nodes[holder].title_at <= node.title_at:
            self._titles[node.title] = number

    # edges

    def dependents(self, resource: Resource) -> BitMap:
        """Numbers of the pages that read `resource`; the caller must not change the answer."""
        return self._postings.get(resource, _NOBODY)

    def _relink(self, number: int, before: tuple[Resource, ...], node: Node) -> None:
        after = () if node.record is None else node.record.reads
        if before == after:
            return
        old, new = set(before), set(after)
        self._unlink(number, old - new)
        self._link(number, new - old)

    def _link(self, number: int, resources: set[Resource] | tuple[Resource, ...]) -> None:
        for resource in resources:
            pages = self._postings.get(resource)
            if pages is None:
                self._postings[resource] = BitMap((number,))
                self.loose.pop(resource, None)
            else:
                pages.add(number)

    def _unlink(self, number: int, resources: set[Resource] | tuple[Resource, ...]) -> None:
        for resource in resources:
            pages = self._postings[resource]
            pages.discard(number)
            if not pages:
                del self._postings[resource]
                if resource in self._marks:
                    self.loose[resource] = None

    # last changes

    def mark(self, resource: Resource) -> Mark | None:
        """The last change of `resource`, or None if none is known."""
        return self._marks.get(resource)

    def changed_after(self, resources: tuple[Resource, ...], lsn: int) -> list[Resource]:
        """Those of `resources` whose last change is later than `lsn`; all of them if the horizon is."""
        if self.horizon is not None and self.horizon > lsn:
            return list(resources)
        marks = self._marks
        return [resource for resource in resources if (mark := marks.get(resource)) is not None and mark.lsn > lsn]

    def marks(self) -> Iterator[tuple[Resource, Mark]]:
        """All last changes that are known."""
        return iter(self._marks.items())

    def put_mark(self, resource: Resource, mark: Mark) -> None:
        """Remember the last change of `resource`."""
        self._marks[resource] = mark
        self.touched_marks.add(resource)
        if resource not in self._postings:
            self.loose[resource] = None

    def drop_mark(self, resource: Resource) -> None:
        """Forget the last change of a resource that nothing depends on."""
        del self._marks[resource]
        self.loose.pop(resource, None)
        self.touched_marks.add(resource)

    def restore_mark(self, resource: Resource, mark: Mark) -> None:
        """Put a last change back as a checkpoint has it."""
        self._marks[Resource(intern(resource))] = mark
        if resource not in self._postings:
            self.loose[resource] = None

    # who waits

    def class_of(self, number: int) -> Urgency | None:
        """The class in which a page waits, or None if it does not."""
        for urgency, queue in zip(Urgency, self.dirty, strict=True):
            if number in queue:
                return urgency
        return None

    def wait(self, number: int, urgency: Urgency, since_ms: int) -> None:
        """Let a page wait in `urgency` or better, since `since_ms` or longer."""
        before = self.class_of(number)
        if before is not None:
            since_ms = min(since_ms, self.dirty[before].since_ms(number))
            urgency = min(urgency, before)
            self.dirty[before].discard(number)
        self.dirty[urgency].add(BitMap((number,)), since_ms)

    def stop_waiting(self, number: int) -> Urgency | None:
        """Take a page out of its class; returns the class, or None if it did not wait."""
        urgency = self.class_of(number)
        if urgency is not None:
            self.dirty[urgency].discard(number)
        return urgency

    def start(self, number: int, in_flight: InFlight) -> None:
        """Put a page in flight."""
        assert number not in self.in_flight, "never two leases for a page"
        self.in_flight[number] = in_flight
        self.in_flight_pages.add(number)

    def land(self, number: int) -> InFlight:
        """Take a page out of flight."""
        self.in_flight_pages.discard(number)
        return self.in_flight.pop(number)

    def validate(self) -> None:
        """Assert the invariants of this module; costs a walk over everything."""
        postings: dict[Resource, BitMap] = {}
        for number, node in self._nodes.items():
            assert self._numbers[node.page] == number
            for resource in node.record.reads if node.record is not None else ():
                postings.setdefault(resource, BitMap()).add(number)
        assert postings == self._postings
        assert len(self._numbers) == len(self._nodes)
        assert all(self._nodes[number].title == title for title, number in self._titles.items())
        assert set(self._free).isdisjoint(self._nodes)
        assert set(self.loose) == set(self._marks) - set(self._postings)
        for queue in self.dirty:
            queue.validate()

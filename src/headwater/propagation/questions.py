"""What may be asked of a shard: nothing here changes anything."""

from collections.abc import Mapping, Sequence
from enum import Enum

from headwater.propagation import staleness
from headwater.propagation.model import CommitRecord, Lsn, PageKey, Resource, Title, Urgency, existence
from headwater.propagation.state import Node, ShardState


class Freshness(Enum):
    """What a reader may know about a page."""

    FRESH = "fresh"
    STALE = "stale"
    RENDERING = "rendering"


class Questions:
    """The questions, over the state of a shard."""

    def __init__(self, state: ShardState) -> None:
        self._state = state

    @property
    def applied(self) -> Lsn:
        """The LSN up to which every change is in this state."""
        return self._state.applied

    @property
    def commits_after(self) -> int:
        """Offset of the last commit record that is in this state; -1 before the first."""
        return self._state.commits_after

    def __len__(self) -> int:
        return len(self._state)

    def find(self, title: Title) -> PageKey | None:
        """The page that claimed `title` last, or None. It may be gone: `current(page).html_hash` is None then."""
        number = self._state.find(title)
        return None if number is None else self._state.node(number).page

    def page_near(self, fraction: float) -> PageKey | None:
        """A page chosen by `fraction` in [0, 1), for samples; None if many pages left where it points to, or there is none."""
        number = self._state.number_near(fraction)
        return None if number is None else self._state.node(number).page

    def title(self, page: PageKey) -> Title | None:
        """The title of a page, or None if it is unknown."""
        node = self._node(page)
        return None if node is None else node.title

    def may_redirect(self, title: Title) -> bool:
        """Whether the page of `title` is a redirect, or may be one: its existence changed after its last render."""
        number = self._state.find(title)
        record = None if number is None else self._state.node(number).record
        if record is None:
            return self._state.mark(existence(title)) is not None
        return record.redirect is not None or staleness.last_change(self._state, existence(title)) > record.step

    def freshness(self, page: PageKey) -> Freshness:
        """RENDERING while in flight, STALE while dirty or parked (an unknown page too), else FRESH."""
        number = self._state.number_of(page)
        if number is None:
            return Freshness.STALE
        if number in self._state.in_flight_pages:
            return Freshness.RENDERING
        waits = number in self._state.parked or self._state.class_of(number) is not None
        return Freshness.STALE if waits else Freshness.FRESH

    def current(self, page: PageKey) -> CommitRecord | None:
        """The last commit of a page, which names what is served; None before the first."""
        node = self._node(page)
        return None if node is None else node.record

    def dependents(self, resource: Resource, limit: int) -> tuple[int, Sequence[PageKey]]:
        """How many pages read `resource`, and the first `limit` of them."""
        pages = self._state.dependents(resource)
        return len(pages), tuple(self._state.node(number).page for number in pages[:limit])

    def stale_reads(self, page: PageKey) -> Sequence[tuple[Resource, Lsn]]:
        """What a page read that has changed since its step, with the LSN of the last change."""
        node = self._node(page)
        return () if node is None else staleness.stale_reads(self._state, node)

    def since_ms(self, page: PageKey) -> int | None:
        """Since when a page is stale; None if it is not."""
        number = self._state.number_of(page)
        if number is None:
            return None
        if number in self._state.parked:
            return self._state.parked[number].since_ms
        urgency = self._state.class_of(number)
        in_flight = self._state.in_flight.get(number)
        times = [] if urgency is None else [self._state.dirty[urgency].since_ms(number)]
        return min([*times, in_flight.since_ms] if in_flight is not None else times, default=None)

    def next_due_ms(self) -> int | None:
        """The earliest time at which a page that is held back may be leased; None if there is none."""
        return self._state.delays.next_due_ms()

    def stalest_ms(self) -> Mapping[Urgency, int]:
        """Per class with stale pages: since when the stalest waits or, if that is longer, is being rendered. Parked pages are left out."""
        oldest = {urgency: self._state.dirty[urgency].oldest_ms() for urgency in Urgency}
        for in_flight in self._state.in_flight.values():
            before = oldest[in_flight.lease.urgency]
            oldest[in_flight.lease.urgency] = in_flight.since_ms if before is None else min(before, in_flight.since_ms)
        return {urgency: time_ms for urgency, time_ms in oldest.items() if time_ms is not None}

    def backlog(self) -> Mapping[Urgency, int]:
        """How many pages are dirty, per class."""
        return {urgency: len(self._state.dirty[urgency]) for urgency in Urgency}

    def parked(self) -> Mapping[PageKey, str]:
        """Parked pages and why."""
        return {self._state.node(number).page: parked.reason for number, parked in self._state.parked.items()}

    def in_flight(self) -> int:
        """How many pages are leased."""
        return len(self._state.in_flight)

    def validate(self, *, thorough: bool = False) -> None:
        """Assert the invariants that are cheap to check; `thorough` walks over every page and edge and checks I1 too."""
        state = self._state
        for i, queue in enumerate(state.dirty):
            assert all(queue.waiting.isdisjoint(other.waiting) for other in state.dirty[:i]), "a page waits in one class"
        assert set(state.in_flight_pages) == set(state.in_flight)
        for number, in_flight in state.in_flight.items():
            assert in_flight.lease.floor <= state.applied and state.node(number).page == in_flight.lease.page
        for number in state.parked:
            assert state.class_of(number) is None and number not in state.in_flight_pages
        if thorough:
            state.validate()
            for number in state.numbers():
                busy = number in state.in_flight_pages or number in state.parked or state.class_of(number) is not None
                assert busy or not staleness.is_stale(state, state.node(number)), "I1: a stale page is dirty or in flight"

    def _node(self, page: PageKey) -> Node | None:
        number = self._state.number_of(page)
        return None if number is None else self._state.node(number)

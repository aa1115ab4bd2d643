"""Whose render starts next, over all wikis and classes of this process: the room that they share, given out in turns.

Each dispatcher says which of its classes wait and is told which one may start a render. When it is another wiki's turn, that wiki is woken;
a wiki that stops leaves, so that nobody waits for it.
"""

from collections.abc import Callable, Collection

from headwater.propagation.fairness import DeficitRoundRobin, Flow
from headwater.propagation.model import Urgency


class Turns:
    """The room for renders of all wikis of a process."""

    def __init__(self, renders_max: int) -> None:
        self._renders_max = renders_max
        self._under_way = 0
        self._robin = DeficitRoundRobin()
        self._waiting: dict[str, tuple[Collection[Urgency], Callable[[], None]]] = {}

    def next(self, wiki: str, classes: Collection[Urgency], wake: Callable[[], None]) -> Urgency | None:
        """The class of `wiki` that may start a render now; None if none waits, there is no room, or it is another wiki's turn.

        Args:
            classes: in which pages of `wiki` wait and its windows have room.
            wake: called when it may be the turn of `wiki`.
        """
        self._waiting[wiki] = (classes, wake)
        if self._under_way >= self._renders_max:
            return None
        flow = self._robin.next([Flow(other, urgency) for other, (waiting, _) in self._waiting.items() for urgency in waiting])
        if flow is None:
            return None
        if flow.wiki == wiki:
            return flow.urgency
        self._waiting[flow.wiki][1]()
        return None

    def start(self, wiki: str, urgency: Urgency, estimate_ms: float) -> None:
        """A render started; `estimate_ms` is what it will probably take."""
        self._under_way += 1
        self._robin.charge(Flow(wiki, urgency), estimate_ms)

    def finish(self, wiki: str, urgency: Urgency, correction_ms: float) -> None:
        """A render ended; `correction_ms` is what it took beyond the estimate. Wakes all that wait if there was no room."""
        full = self._under_way >= self._renders_max
        self._under_way -= 1
        self._robin.charge(Flow(wiki, urgency), correction_ms)
        if full:
            for _, wake in self._waiting.values():
                wake()

    def leave(self, wiki: str) -> None:
        """`wiki` renders no longer; the others go on."""
        self._waiting.pop(wiki, None)
        self._robin.forget(wiki)
        for _, wake in self._waiting.values():
            wake()

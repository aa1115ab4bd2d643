"""Which purge is sent to which target when. Pure: values and times go in, actions come out; whoever performs an action reports its end.

A piece of *work* is the purge of one URL. It goes through three stages:

1. FIRST: layer by layer, a layer begins when every target of the one before has acknowledged (or was given up).
2. SERVED, only for a purge with floor: until the pages API serves that seq or a higher one.
3. SECOND: `settle_s` later, when every fetch that began before has landed, all layers once more.

Invariants: a record counts as finished only when each target has acknowledged the last stage or a dead letter for it is durable; so
a crash at any instant repeats purges and loses none. Work in stage FIRST takes up newer purges of its URL and begins anew, but only while
it is young: else a URL purged without end would never reach the outer layers. A target's failures touch its own lane alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from headwater.log.model import Position
from headwater.purging.lanes import Key, Lane
from headwater.purging.model import Purge, RetryPolicy, can_join, joined
from headwater.purging.ports import PurgeRequest

SERVED_LANE = "#served"  # names with `#` cannot be targets
PARKING_LANE = "#parking"
JOIN_FOR_S = 5.0  # a piece of work takes up newer purges for this long after it was admitted
SERVED_CONCURRENCY_MAX = 16
PARKING_CONCURRENCY_MAX = 64  # they share one durable transaction of the log


class Stage(Enum):
    """How far a piece of work has come."""

    FIRST = "first"
    SERVED = "served"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What the schedule knows of a target."""

    name: str
    layer: int
    concurrency_max: int


@dataclass(frozen=True, slots=True)
class Send:
    """Purge one URL at one target; report `acknowledged`, `failed` or `refused`."""

    target: str
    number: int
    generation: int
    stage: Stage
    request: PurgeRequest


@dataclass(frozen=True, slots=True)
class AskServed:
    """Ask what the pages API serves; report `served` or `unserved`."""

    number: int
    wiki: str
    page_id: int
    seq: int


@dataclass(frozen=True, slots=True)
class Park:
    """Make a dead letter durable; report `parked` or `unparked`."""

    target: str
    number: int
    generation: int
    purge: Purge
    reason: str
    attempts: int


Action = Send | AskServed | Park


@dataclass(frozen=True, slots=True)
class Finished:
    """A piece of work has ended.

    Attributes:
        number: rises with each piece of work admitted.
        purge: what it stood for.
        positions: records that are finished with it.
        acknowledged: targets that answered well in its last stage.
    """

    number: int
    purge: Purge
    positions: tuple[Position, ...]
    acknowledged: frozenset[str]


@dataclass(frozen=True, slots=True)
class Purged:
    """Every target has answered the first purge of a URL: no cache holds what was there before, but for fills under way."""

    purge: Purge
    duration_s: float


@dataclass(slots=True)
class _Work:
    number: int
    purge: Purge
    admitted_s: float
    positions: list[Position]
    generation: int = 0
    stage: Stage = Stage.FIRST
    layers: list[tuple[str, ...]] = field(default_factory=list)  # still to begin in this stage
    waiting: set[str] = field(default_factory=set)  # targets of the present layer without an answer
    acknowledged: frozenset[str] = frozenset()
    parked: frozenset[str] = frozenset()
    attempts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


class Schedule:
    """The state of all unfinished purges."""

    def __init__(self, targets: Sequence[TargetPlan], *, policy: RetryPolicy, settle_s: float, served_poll_s: float) -> None:
        """Begin empty.

        Args:
            targets: every declared target; names are unique.
            policy: retries and dead letters.
            settle_s: the longest fetch of a cache from the pages API (`origin_timeout_max`).
            served_poll_s: pause between two questions to the pages API.
        """
        self._policy = policy
        self._settle_s = settle_s
        self._served_poll_s = served_poll_s
        self._plans = tuple(targets)
        self._lanes = {plan.name: Lane(plan.name, plan.concurrency_max) for plan in targets}
        self._lanes[SERVED_LANE] = Lane(SERVED_LANE, SERVED_CONCURRENCY_MAX)
        self._lanes[PARKING_LANE] = Lane(PARKING_LANE, PARKING_CONCURRENCY_MAX, expires=False)
        self._works: dict[int, _Work] = {}
        self._joinable: dict[str, int] = {}  # by URL: the newest work in stage FIRST
        self._finished: list[Finished] = []
        self._purged: list[Purged] = []
        self._admitted = 0
        self._past_first = 0  # works that have left stage FIRST

    def __len__(self) -> int:
        """Pieces of work that have not ended."""
        return len(self._works)

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lanes by name, targets first."""
        return self._lanes

    def waiting_for_second(self) -> int:
        """How many purges were acknowledged once and wait for their second purge, or are in it."""
        return self._past_first

    def admit(self, purge: Purge, position: Position | None, now_s: float) -> None:
        """Take up a purge; `position` is the record to finish with it, or None for a dead letter that is tried again."""
        older = self._works.get(self._joinable.get(purge.url, -1))
        positions = [] if position is None else [position]
        if older is not None and now_s - older.admitted_s < JOIN_FOR_S and can_join(older.purge, purge):
            older.positions += positions
            older.purge = joined(older.purge, purge)
            self._restart(older, now_s)
            return
        work = _Work(self._admitted, purge, now_s, positions)
        self._admitted += 1
        self._works[work.number] = work
        if purge.only is None:
            self._joinable[purge.url] = work.number
        self._begin(work, Stage.FIRST, now_s)

    def _restart(self, work: _Work, now_s: float) -> None:
        """Begin stage FIRST anew with the joined purge: answers to what was sent before no longer count."""
        first = self._layers(work)[0]
        for plan in self._plans:
            if plan.name not in first:
                self._lanes[plan.name].close((work.number, plan.name))
        parking = self._lanes[PARKING_LANE]
        given_up = work.parked | {target for target in work.waiting if (work.number, target) in parking}
        for target in given_up:  # the newer purge has all its attempts before it
            parking.close((work.number, target))
            work.attempts.pop(target, None)
        work.parked = frozenset()
        work.generation += 1
        self._begin(work, Stage.FIRST, now_s)

    def _layers(self, work: _Work) -> list[tuple[str, ...]]:
        chosen = [p for p in self._plans if p.name not in work.parked and work.purge.only in (None, p.name)]
        numbers = sorted({plan.layer for plan in chosen})
        return [tuple(plan.name for plan in chosen if plan.layer == number) for number in numbers]

    def _begin(self, work: _Work, stage: Stage, start_s: float) -> None:
        work.stage = stage
        work.acknowledged = frozenset()
        work.waiting.clear()
        work.layers = self._layers(work)
        self._next_layer(work, start_s)

    def _next_layer(self, work: _Work, start_s: float) -> None:
        if not work.layers:
            self._stage_done(work, start_s)
            return
        for target in work.layers.pop(0):
            work.waiting.add(target)
            self._lanes[target].open((work.number, target), since_s=start_s, due_s=start_s)

    def _stage_done(self, work: _Work, now_s: float) -> None:
        if work.stage is Stage.FIRST:
            if self._joinable.get(work.purge.url) == work.number:
                del self._joinable[work.purge.url]
            if work.acknowledged:
                self._purged.append(Purged(work.purge, now_s - work.admitted_s))
            if work.purge.seq is not None and work.acknowledged:
                work.stage = Stage.SERVED
                self._past_first += 1
                self._lanes[SERVED_LANE].open((work.number, ""), since_s=now_s, due_s=now_s)
                return
        self._past_first -= work.stage is not Stage.FIRST
        del self._works[work.number]
        self._finished.append(Finished(work.number, work.purge, tuple(work.positions), work.acknowledged))

    def next_action(self, now_s: float) -> Action | None:
        """Something to do now, or None; it counts as under way until its end is reported."""
        for lane in self._lanes.values():
            for number, target in lane.expired(now_s, self._policy):
                self._expire(lane, number, target, now_s)
        for lane in self._lanes.values():
            key = lane.take(now_s, self._policy)
            if key is not None:
                return self._action(lane, key)
        return None

    def next_due_s(self) -> float | None:
        """When `next_action` may next give something, unless something is reported or admitted before."""
        return min((due for lane in self._lanes.values() if (due := lane.next_due_s(self._policy)) is not None), default=None)

    def _action(self, lane: Lane, key: Key) -> Action:
        number, target = key
        work = self._works[number]
        purge = work.purge
        if lane.name == SERVED_LANE:
            assert purge.wiki is not None and purge.page_id is not None and purge.seq is not None
            return AskServed(number, purge.wiki, purge.page_id, purge.seq)
        attempts = work.attempts.get(target, 0)
        if lane.name == PARKING_LANE:
            return Park(target, number, work.generation, purge, work.reasons[target], attempts)
        work.attempts[target] = attempts + 1
        return Send(target, number, work.generation, work.stage, PurgeRequest(purge.url, purge.seq))

    def _expire(self, lane: Lane, number: int, target: str, now_s: float) -> None:
        work = self._works[number]
        if lane.name != SERVED_LANE:
            self._park(work, target, work.reasons.get(target, "not answered in time"), now_s)
            return
        lane.close((number, ""))
        work.waiting = {plan.name for plan in self._plans if plan.name in work.acknowledged}
        reason = work.reasons.get("", f"the pages API does not serve seq {work.purge.seq}, so a second purge would be too early")
        for name in sorted(work.waiting):
            self._park(work, name, reason, now_s)

    def _park(self, work: _Work, target: str, reason: str, now_s: float) -> None:
        self._lanes[target].close((work.number, target))
        work.reasons[target] = reason
        self._lanes[PARKING_LANE].open((work.number, target), since_s=now_s, due_s=now_s)

    def _sent(self, action: Send) -> _Work | None:
        """The work that `action` belongs to, if its answer still counts."""
        key = (action.number, action.target)
        lane = self._lanes[action.target]
        lane.answered(key)
        work = self._works.get(action.number)
        current = work is not None and work.generation == action.generation and key in lane
        return work if current else None

    def acknowledged(self, action: Send, now_s: float) -> None:
        """The target has dropped its copies."""
        work = self._sent(action)
        self._lanes[action.target].succeeded()
        if work is None:
            return
        self._lanes[action.target].close((action.number, action.target))
        work.acknowledged |= {action.target}
        work.attempts.pop(action.target, None)
        work.reasons.pop(action.target, None)
        self._answered(work, action.target, now_s)

    def failed(self, action: Send, reason: str, jitter: float, now_s: float) -> None:
        """The target did not answer, or not well: again later, or parked."""
        work = self._sent(action)
        self._lanes[action.target].failed(now_s, jitter, self._policy)
        if work is None:
            return
        attempts = work.attempts[action.target]
        work.reasons[action.target] = reason
        if self._lanes[action.target].is_old((action.number, action.target), now_s, self._policy) or attempts >= self._policy.attempts_max:
            self._park(work, action.target, reason, now_s)
            return
        due_s = now_s + self._policy.backoff_s(attempts, jitter)
        self._lanes[action.target].open((action.number, action.target), since_s=now_s, due_s=due_s)

    def refused(self, action: Send, reason: str, now_s: float) -> None:
        """The target refused for good: parked at once. It is up all the same."""
        work = self._sent(action)
        self._lanes[action.target].succeeded()
        if work is not None:
            self._park(work, action.target, reason, now_s)

    def parked(self, action: Park, now_s: float) -> None:
        """The dead letter is durable."""
        work = self._parking(action)
        if work is None:
            return
        self._lanes[PARKING_LANE].close((action.number, action.target))
        work.parked |= {action.target}
        work.acknowledged -= {action.target}
        self._answered(work, action.target, now_s)

    def unparked(self, action: Park, jitter: float, now_s: float) -> None:
        """The dead letter could not be stored: again later."""
        work = self._parking(action)
        if work is not None:
            due_s = now_s + self._policy.backoff_s(3, jitter)
            self._lanes[PARKING_LANE].open((action.number, action.target), since_s=now_s, due_s=due_s)

    def _parking(self, action: Park) -> _Work | None:
        key = (action.number, action.target)
        lane = self._lanes[PARKING_LANE]
        lane.answered(key)
        work = self._works.get(action.number)
        return work if work is not None and work.generation == action.generation and key in lane else None

    def _answered(self, work: _Work, target: str, now_s: float) -> None:
        work.waiting.discard(target)
        if work.waiting:
            return
        if work.stage is Stage.SERVED:  # given up by all: nothing is left to purge a second time
            work.acknowledged = frozenset()
            self._stage_done(work, now_s)
        else:
            self._next_layer(work, now_s)

    def served(self, action: AskServed, seq: int | None, now_s: float) -> None:
        """The pages API serves `seq`, or nothing older can be served (None)."""
        if seq is not None and seq < action.seq:
            self.unserved(action, f"the pages API serves seq {seq}, not yet {action.seq}", now_s)
            return
        self._lanes[SERVED_LANE].answered((action.number, ""))
        self._lanes[SERVED_LANE].close((action.number, ""))
        self._begin(self._works[action.number], Stage.SECOND, now_s + self._settle_s)

    def unserved(self, action: AskServed, reason: str, now_s: float) -> None:
        """Not yet, or it cannot be told: ask again later, until it has taken too long."""
        lane = self._lanes[SERVED_LANE]
        lane.answered((action.number, ""))
        self._works[action.number].reasons[""] = reason
        lane.open((action.number, ""), since_s=now_s, due_s=now_s + self._served_poll_s)

    def take_finished(self) -> Iterable[Finished]:
        """Work that ended since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def take_purged(self) -> Iterable[Purged]:
        """First purges that every target has answered since the last call."""
        purged, self._purged = self._purged, []
        return purged

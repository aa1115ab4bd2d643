"""Each known way of breaking propagation, done to the real shard or to its owner's protocol: the simulation must see it.

The same walks without the mutant must not break anything (`test_the_algorithm_holds`), so every mutant's test can fail for one reason only.
Walks are random with fixed seeds, hence the same in every run; `HEADWATER_PROOF=1` (marker `proof`) walks many more.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from pyroaring import BitMap

from headwater.propagation import snapshot
from headwater.propagation.model import Change, Gone, Lease, Lsn, PageKey, Rendered, Resource, Title, Urgency
from headwater.propagation.shard import Decision, Shard
from headwater.propagation.state import Mark, Node
from headwater.testing.shard_simulation import Rules, Simulation, Violation

A, B = Resource("c:Template:A"), Resource("c:Template:B")


@dataclass(frozen=True)
class Edit:
    """One template got one more version."""

    resource: Resource
    version: int


class PairWiki:
    """Two templates. Page 1 reads A, and B only while the version of A is odd; page 2, if there is one, the other way round.

    The html is the version of the second template modulo 2, else 0: edits exist that change nothing (early cutoff), that change the reads
    only (a hidden new edge), and that revert.
    """

    state_matters = False

    def __init__(self, *, pages: int = 1, edits: int = 3, start: tuple[int, int] = (0, 0), revs: bool = True) -> None:
        self._start = {A: start[0], B: start[1]}
        self._versions = dict(self._start)
        self._pages = pages
        self._left = edits
        self._revs = revs

    def edits(self) -> Sequence[tuple[str, Callable[[], Sequence[object]]]]:
        return [(str(resource), partial(self._edit, resource)) for resource in (A, B)] if self._left else []

    def _edit(self, resource: Resource) -> Sequence[object]:
        self._left -= 1
        self._versions[resource] += 1
        return [Edit(resource, self._versions[resource])]

    def changes(self, published: object, shard: Shard) -> Sequence[tuple[Change, int]]:
        assert isinstance(published, Edit)
        rev = published.version if self._revs else None
        return [(Change(published.resource, "edit", Urgency.REST, "id", 1, rev=rev), published.version)]

    def next_read(self, page: PageKey, seen: Mapping[Resource, int]) -> Resource | None:
        first, second = (A, B) if page == 1 else (B, A)
        if not seen:
            return first
        return second if len(seen) == 1 and seen[first] % 2 else None

    def version(self, resource: Resource) -> int:
        return self._versions[resource]

    def start(self, resource: Resource) -> int:
        return self._start[resource]

    def outcome(self, page: PageKey, seen: Mapping[Resource, int]) -> Rendered:
        second = B if page == 1 else A
        return Rendered(Title(f"P{page}"), b"%d" % (seen.get(second, 0) % 2), frozenset(seen), rev=1)

    def versions(self, page: PageKey, seen: Mapping[Resource, int]) -> Mapping[Resource, int]:
        return seen

    def existing(self) -> Sequence[PageKey]:
        return [PageKey(n) for n in range(1, self._pages + 1)]

    def fresh(self, page: PageKey) -> Rendered:
        return self.outcome(page, self._seen(page))

    def _seen(self, page: PageKey) -> Mapping[Resource, int]:
        seen: dict[Resource, int] = {}
        while (resource := self.next_read(page, seen)) is not None:
            seen[resource] = self._versions[resource]
        return seen

    def pages(self) -> Sequence[tuple[PageKey, Title, Mapping[Resource, int]]]:
        return [(PageKey(n), Title(f"P{n}"), self._seen(PageKey(n))) for n in range(1, self._pages + 1)]


# --- mutants of the shard, each in one of its own methods


class NoVerify(Shard):
    def _verify(self, number: int, urgency: Urgency, now_ms: int) -> bool:
        return False


class ClearedAtCommit(Shard):
    """The dirty bit is cleared at the commit, and nothing verified."""

    def _verify(self, number: int, urgency: Urgency, now_ms: int) -> bool:
        self._state.stop_waiting(number)
        return False


class NoRecheck(Shard):
    def _recheck(self, number: int, now_ms: int) -> None:
        self._state.stop_waiting(number)


class CommitsFirst(Shard):
    """Allows the commits to be replayed before the changes."""

    def replay_change(self, lsn: Lsn, change: Change) -> None:
        self._apply(lsn, change, 0)


class CommitsFirstNoRecheck(CommitsFirst, NoRecheck):
    pass


class StepAtCommit(Shard):
    def _step(self, lease: Lease) -> Lsn:
        return self._state.applied


class PrunedTooEarly(Shard):
    def _may_forget(self, mark: Mark, now_ms: int) -> bool:
        return True


class PrunedDuringReplay(Shard):
    def replay_change(self, lsn: Lsn, change: Change) -> None:
        super().replay_change(lsn, change)
        self._prune(change.time_ms + 1)


class CheckpointWithoutInFlight(Shard):
    def _waiting(self) -> Sequence[Mapping[int, BitMap]]:
        return snapshot.waiting(self._state, [])


class LeasedTwice(Shard):
    """A page in flight is leased again, and both leases may commit."""

    def lease(self, count: int, *, now_ms: int, classes: Collection[Urgency] = tuple(Urgency)) -> Sequence[Lease]:
        held = dict(self._state.in_flight)
        self._state.in_flight.clear()
        self._state.in_flight_pages.clear()
        leases = super().lease(count, now_ms=now_ms, classes=classes)
        for number, in_flight in held.items():
            if number not in self._state.in_flight:
                self._state.start(number, in_flight)
        return leases

    def ready(self, *, now_ms: int) -> bool:
        return any(self.backlog().values())

    def decide(self, lease: Lease, outcome: Rendered | Gone, *, now_ms: int) -> Decision | None:
        number = self._number(lease.page)
        if number in self._state.in_flight:
            self._state.in_flight[number].lease = lease
        return super().decide(lease, outcome, now_ms=now_ms)

    def settle(self, decision: Decision, offset: int, *, now_ms: int) -> bool:
        number = self._number(decision.lease.page)
        in_flight = self._state.in_flight.get(number)
        if in_flight is None:
            return False
        in_flight.lease, in_flight.decided = decision.lease, decision.record.seq
        return super().settle(decision, offset, now_ms=now_ms)


class SeqUsedTwice(Shard):
    def _attempt(self) -> int:
        return 1


class SeqWithoutEpoch(Shard):
    def decide(self, lease: Lease, outcome: Rendered | Gone, *, now_ms: int) -> Decision | None:
        epoch, self.epoch = self.epoch, 1
        decision = super().decide(lease, outcome, now_ms=now_ms)
        self.epoch = epoch
        return decision


class NoSkip(Shard):
    def _may_skip(self, node: Node) -> bool:
        return False


class NoHorizon(Shard):
    def _horizon(self, first: Lsn) -> Lsn | None:
        return None


class ProofByLastRev(Shard):
    """`rev` is that of the last change, not the highest."""

    def _is_repeated(self, change: Change, before: Mark | None) -> bool:
        return False


class ProofOfPruned(Shard):
    """Revisions are forgotten together with what nothing depends on, within the replication window too."""

    def _may_forget(self, mark: Mark, now_ms: int) -> bool:
        oldest = next(iter(self._state.in_flight.values()), None)
        return oldest is None or mark.lsn <= oldest.lease.floor


# --- what is walked


NOTHING_BROKEN = Rules()


@dataclass(frozen=True)
class Case:
    """A world to walk in: with `shard` and `rules` as they are it must break, or hold, within `walks` walks."""

    rules: Rules = NOTHING_BROKEN
    shard: type[Shard] = Shard
    pages: int = 1
    edits: int = 3
    start: tuple[int, int] = (0, 0)
    revs: bool = True
    walks: int = 1000


def aba(rules: Rules = NOTHING_BROKEN, *, shard: type[Shard] = Shard, revs: bool = True) -> Case:
    """A world in which one edit changes page 1's html and the next brings the old html back."""
    return Case(rules, shard, edits=2, start=(1, 0), revs=revs)


HOLDS = {
    "one crash": Case(),
    "two crashes": Case(Rules(crashes=2)),
    "two pages, two crashes": Case(Rules(crashes=2), pages=2, edits=4),
    "revert": aba(Rules(crashes=2)),
    "changes without rev, late and repeated": aba(Rules(duplicates=1, disorder=True), revs=False),
    "changes with rev, late and repeated": Case(Rules(duplicates=2, disorder=True), edits=4),
    "appends fail": Case(Rules(failures=2), edits=4, start=(1, 0)),
    "cache that knows floors": Case(Rules(fills=2), start=(1, 0)),
    "cache with a second purge": Case(Rules(fills=2, purge="rebound"), start=(1, 0)),
    "replica lag": Case(Rules(lag=True, crashes=1, i3="step", disorder=True, duplicates=1), start=(1, 0)),
    "file lost, changes trimmed": Case(Rules(trim=True, crashes=2)),
    "commits replayed first, with re-check": Case(Rules(commits_first=True), shard=CommitsFirst),
}

MUTANTS = {
    "no VERIFY": Case(shard=NoVerify),
    "dirty cleared at commit": aba(shard=ClearedAtCommit),
    "append not fenced": aba(Rules(fencing=False)),
    "epoch taken after the replay": aba(Rules(fence_first=False)),
    "recovery without re-check": Case(shard=NoRecheck),
    "commits replayed first, without re-check": Case(Rules(commits_first=True), shard=CommitsFirstNoRecheck),
    "step taken at commit": aba(shard=StepAtCommit),
    "checkpoint: applied durable before the state": aba(Rules(checkpoint_atomic=False)),
    "checkpoint: offset is the end of commits": aba(Rules(checkpoint_offset="end")),
    "checkpoint without the pages in flight": aba(shard=CheckpointWithoutInFlight),
    "checkpoint by a zombie": Case(Rules(checkpoint_fenced=False, crashes=2)),
    "last changes forgotten too early": Case(shard=PrunedTooEarly),
    "last changes forgotten during the replay": Case(shard=PrunedDuringReplay),
    "a page leased twice": aba(shard=LeasedTwice),
    "carry on after an append of unknown outcome": aba(Rules(unknown="carry_on", failures=1)),
    "what is served follows every commit, whatever its seq": aba(Rules(pointer="always")),
    "seq used twice": Case(shard=SeqUsedTwice),
    "seq without the epoch": Case(shard=SeqWithoutEpoch),
    "row put before the append": aba(Rules(store="row")),
    "row put before the append, append fails": aba(Rules(store="row", crashes=0, failures=1)),
    "cutoff forgets reads and step": Case(Rules(cutoff="forget")),
    "no SKIP": aba(shard=NoSkip),
    "purge after the append": Case(Rules(purge_append="after", fills=1), edits=3, start=(1, 0)),
    "single purge": aba(Rules(purge="single", fills=1)),
    "second purge before READ serves the content": Case(Rules(purge="blind", fills=1), edits=3, start=(1, 0)),
    "no proof of the floor under lag": aba(Rules(lag=True, crashes=0, proof="none", i3="step")),
    "proof by the rev of the last change": Case(Rules(lag=True, crashes=0, disorder=True, i3="step"), shard=ProofByLastRev),
    "proof by revs that are forgotten": Case(Rules(lag=True, crashes=0, i3="step"), shard=ProofOfPruned),
    "file lost, changes trimmed, no horizon": Case(Rules(trim=True), shard=NoHorizon),
}


def walk(case: Case, seed: int, steps: int = 60) -> Simulation:
    """One random walk, then rest. Raises what it breaks."""
    chance = random.Random(seed)
    wiki = PairWiki(pages=case.pages, edits=case.edits, start=case.start, revs=case.revs)
    world = Simulation(wiki, case.rules, case.shard)
    for _ in range(chance.randint(1, steps)):
        options = world.options()
        if not options:
            break
        weights = [WEIGHTS.get(option.name.removeprefix("z.").partition(" ")[0], 4) for option in options]
        world.take(chance.choices(options, weights)[0])
    world.check_recovery()
    world.rest()
    return world


MUTANT_WALKS_MAX = 4000
WEIGHTS = {"crash": 1, "checkpoint": 2, "zombie": 1, "trim": 2, "duplicate": 1, "edit": 2}


@pytest.mark.parametrize("name", HOLDS)
def test_the_algorithm_holds(name: str) -> None:
    for seed in range(HOLDS[name].walks):
        walk(HOLDS[name], seed)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", HOLDS)
def test_the_algorithm_holds_for_long(name: str) -> None:
    for seed in range(50_000):
        walk(HOLDS[name], seed, steps=120)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    for seed in range(MUTANT_WALKS_MAX):
        try:
            walk(MUTANTS[name], seed)
        except Violation:
            return
    pytest.fail(f"not caught: {name}")

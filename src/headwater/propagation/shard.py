"""The shard: every decision of propagation, as a machine without I/O, clock or randomness.

The owner (`owner.py`) feeds it what the log says and what the renderer answers, appends what it decides, and tells it what became
durable. Invariants I1 to I4 of `docs/explanation/propagation.md` hold after every call; `validate` checks what can be checked cheaply.

A shard is born in recovery: `load` → `changes_trimmed_to` → `replay_change`* → `replay_commit`* → `recovered`; only then it leases, and
forgets last changes that nothing depends on. The order is asserted, because each other order loses updates.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from sys import intern
from typing import cast

from pyroaring import BitMap

from headwater.kernel.errors import Corrupted
from headwater.propagation import snapshot, staleness
from headwater.propagation.decisions import Attempt, Decision, decide
from headwater.propagation.model import Change, CommitRecord, Gone, Lease, Lsn, PageKey, Rendered, Resource, Title, Urgency, seq_of
from headwater.propagation.ports import Checkpoint
from headwater.propagation.questions import Freshness, Questions
from headwater.propagation.state import InFlight, Mark, Node, Parked, ShardState

__all__ = ["Counts", "Decision", "Freshness", "Marked", "Shard"]

SKIPS_PER_LEASE_MAX = 1000  # pages released as clean in one call of `lease`, so that a call stays short
PRUNED_PER_STEP_MAX = 16  # candidates looked at per step, so that pruning never is a pause


class Phase(Enum):
    """Where in its life a shard is."""

    NEW = 0
    CHANGES = 1
    COMMITS = 2
    LIVE = 3


@dataclass(frozen=True, slots=True)
class Marked:
    """What one APPLY did.

    Attributes:
        newly: pages that were not dirty before.
        dependents: pages that depend on the resource, dirty before or not.
        ignored: the change's `rev` was not above the highest seen, so it marked nothing.
    """

    newly: int
    dependents: int
    ignored: bool


@dataclass(slots=True)
class Counts:
    """What happened since the shard was made; only ever rises."""

    applied: int = 0
    ignored: int = 0
    marked: int = 0
    leased: int = 0
    skipped: int = 0
    committed: int = 0
    cutoffs: int = 0
    overtaken: int = 0
    reverified: int = 0
    retried: int = 0
    failed: int = 0
    parked: int = 0
    pruned: int = 0


class Shard(Questions):
    """One wiki's pages, and what of them is stale.

    Args:
        epoch: of the claim under which the owner works.
        log_base: LSN of the first record of `changes.<wiki>`; names the log.
        replication_window_ms: how long a renderer may read a lagging replica; last changes that young are kept.
    """

    def __init__(self, *, epoch: int, log_base: int, replication_window_ms: int = 0) -> None:
        self.epoch = epoch
        self.log_base = log_base
        self.counts = Counts()
        self._replication_window_ms = replication_window_ms
        super().__init__(ShardState())
        self._state.applied = Lsn(log_base - 1)
        self._phase = Phase.NEW
        self._n = 0
        self._recent: deque[tuple[int, Resource]] = deque()  # changes within the replication window
        self._unsaved = snapshot.Unsaved()

    # recovery

    def load(self, checkpoint: Checkpoint) -> None:
        """Begin with a saved state. Raises Corrupted if it belongs to another log or does not decode."""
        assert self._phase is Phase.NEW and len(self._state) == 0, "load comes first"
        if checkpoint.log_base != self.log_base:
            raise Corrupted(f"the checkpoint belongs to the log with base {checkpoint.log_base}, this log has {self.log_base}")
        assert checkpoint.epoch < self.epoch, "an epoch is never used twice"
        snapshot.restore(self._state, checkpoint)

    def changes_trimmed_to(self, first: Lsn) -> None:
        """Changes after `applied` and before `first` are gone: every resource counts as changed at `first` - 1."""
        assert self._phase is Phase.NEW, "trimming is known before the first change is replayed"
        if first - 1 > self._state.applied:
            self._state.horizon = self._horizon(first)
            self._state.applied = Lsn(first - 1)

    def _horizon(self, first: Lsn) -> Lsn | None:
        return Lsn(first - 1)

    def replay_change(self, lsn: Lsn, change: Change) -> None:
        """Apply a change of the log again; one that is in the state already is passed over."""
        assert self._phase in (Phase.NEW, Phase.CHANGES), "all changes are replayed before the first commit"
        self._phase = Phase.CHANGES
        if lsn > self._state.applied:
            self._apply(lsn, change, change.time_ms)

    def replay_commit(self, offset: int, page: PageKey, record: CommitRecord | None) -> None:
        """Take over a commit of the log, None being a tombstone, and check it again against every change."""
        assert self._phase is not Phase.LIVE, "commits are replayed before the shard lives"
        self._phase = Phase.COMMITS
        if offset <= self._state.commits_after:
            return
        self._state.commits_after = offset
        number = self._state.number_of(page)
        if record is not None:
            if number is None or _seq(self._state.node(number)) < record.seq:
                number = self._put_record(record)
                self._recheck(number, record.time_ms)
        elif number is not None:
            self._leave(number)

    def _recheck(self, number: int, now_ms: int) -> None:
        before = self._state.stop_waiting(number)
        if staleness.is_stale(self._state, self._state.node(number)):
            self._again(number, Urgency.REST if before is None else before, now_ms)

    def _leave(self, number: int) -> None:
        """A tombstone: the node leaves, unless what it read has changed since, which only a render can tell."""
        node = self._state.node(number)
        if node.record is not None and node.record.html_hash is None and not staleness.is_stale(self._state, node):
            self._state.stop_waiting(number)
            self._state.drop_node(number)
        else:
            self._state.wait(number, Urgency.REST, 0 if node.record is None else node.record.time_ms)

    def recovered(self) -> None:
        """End of recovery: from now on the shard leases and prunes."""
        assert self._phase is not Phase.LIVE
        self._phase = Phase.LIVE
        state = self._state
        if state.horizon is not None:
            for number in tuple(state.numbers()):
                if state.class_of(number) is None and staleness.is_stale(self._state, state.node(number)):
                    self._again(number, Urgency.REST, 0)
        newest_ms = max((mark.time_ms for _, mark in state.marks()), default=0)
        within = [(m.time_ms, r) for r, m in state.marks() if m.time_ms >= newest_ms - self._replication_window_ms]
        self._recent = deque(sorted(within)) if self._replication_window_ms else deque()

    # work

    def apply(self, lsn: Lsn, change: Change, *, now_ms: int) -> Marked:
        """APPLY: mark what depends on the changed resource. Changes come in the order of their LSNs; offsets have gaps."""
        assert self._phase is Phase.LIVE and lsn > self._state.applied
        marked = self._apply(lsn, change, now_ms)
        if self._replication_window_ms:
            self._recent.append((now_ms, change.resource))
            while self._recent[0][0] < now_ms - self._replication_window_ms:
                self._recent.popleft()
        self._prune(now_ms)
        return marked

    def _apply(self, lsn: Lsn, change: Change, now_ms: int) -> Marked:
        state = self._state
        resource = Resource(intern(change.resource))
        before = state.mark(resource)
        ignored = self._is_repeated(change, before)
        hit = state.dependents(resource)
        newly = 0
        if ignored:
            self._hasten(hit, change.urgency)
        else:
            time_ms = max(change.time_ms, now_ms)
            bare_ms = time_ms if change.rev is None else 0 if before is None else before.bare_ms
            state.put_mark(resource, Mark(lsn, change.rev, time_ms, change.time_ms, bare_ms, change.urgency, intern(change.cause)))
            newly = self._mark_dirty(hit, change.urgency, now_ms)
        if change.page_id is not None and change.title is not None:
            newly += self._name(lsn, change, ignored=ignored, now_ms=now_ms)
        state.applied = lsn
        self.counts.applied += 1
        self.counts.ignored += ignored
        self.counts.marked += newly
        return Marked(newly, len(hit), ignored)

    def _is_repeated(self, change: Change, before: Mark | None) -> bool:
        return change.rev is not None and before is not None and before.rev is not None and change.rev <= before.rev

    def _name(self, lsn: Lsn, change: Change, *, ignored: bool, now_ms: int) -> int:
        """Make or rename the node that a change names; a repeated change may only make it, for its title may be an old one."""
        assert change.page_id is not None and change.title is not None
        title, cause = Title(intern(change.title)), intern(change.cause)
        number = self._state.number_of(change.page_id)
        if number is None:
            number = self._state.put_node(Node(change.page_id, title, lsn, cause))
        elif ignored:
            return 0
        else:
            self._state.put_node(replace(self._state.node(number), title=title, named=lsn, named_by=cause))
        return self._mark_dirty(BitMap((number,)), change.urgency, now_ms)

    def _mark_dirty(self, pages: BitMap, urgency: Urgency, now_ms: int) -> int:
        """Let `pages` wait, each in the class that its heat or `urgency` gives; returns how many did not wait before."""
        state = self._state
        if not pages:
            return 0
        self._set_free(pages)
        before = sum(len(queue) for queue in state.dirty)
        rest = pages
        if urgency > Urgency.HOT:
            rest = rest - self._wait(rest & state.heat.hot(now_ms), Urgency.HOT, now_ms)
        if urgency > Urgency.WARM:
            rest = rest - self._wait(rest & state.heat.warm(now_ms), Urgency.WARM, now_ms)
        self._wait(rest, urgency, now_ms)
        return sum(len(queue) for queue in state.dirty) - before

    def _wait(self, pages: BitMap, urgency: Urgency, now_ms: int) -> BitMap:
        self._hasten(pages, urgency)
        queues = self._state.dirty
        new = pages - queues[0].waiting
        for queue in queues[1:]:
            new -= queue.waiting
        queues[urgency].add(new, now_ms)
        return pages

    def _hasten(self, pages: BitMap, urgency: Urgency) -> None:
        """Move those of `pages` that wait in a lower class to `urgency`."""
        if pages:
            for queue in self._state.dirty[urgency + 1 :]:
                queue.move(pages, self._state.dirty[urgency])

    def _set_free(self, pages: BitMap) -> None:
        """A change may repair what failed: parked pages return, and pages held back for failing may go at once."""
        state = self._state
        for number in [number for number in state.parked if number in pages]:
            del state.parked[number]
            state.failures.pop(number, None)
        if state.delays.pages and state.failures:
            for number in pages & state.delays.pages:
                if state.failures.pop(number, 0):
                    state.delays.clear(number)

    def lease(self, count: int, *, now_ms: int, classes: Collection[Urgency] = tuple(Urgency)) -> Sequence[Lease]:
        """LEASE: the right to render up to `count` pages, class 0 first, within a class the longest stale first.

        Pages that turn out to be clean are released and counted (`counts.skipped`), at most SKIPS_PER_LEASE_MAX per call: fewer leases
        than asked for mean that nothing is left only if `ready` says so.
        `now_ms` is on the clock that `not_before_ms` of `release` is on.
        """
        assert self._phase is Phase.LIVE, "leases begin after recovery"
        self._state.delays.ripen(now_ms)
        leases: list[Lease] = []
        skipped = 0
        for urgency in Urgency:
            while urgency in classes and len(leases) < count and skipped < SKIPS_PER_LEASE_MAX:
                taken = self._state.dirty[urgency].take(count - len(leases), self._held_back())
                if not taken:
                    break
                for number, since_ms in taken:
                    if self._may_skip(self._state.node(number)):
                        skipped += 1
                    else:
                        leases.append(self._start(number, since_ms, urgency))
        self.counts.skipped += skipped
        self.counts.leased += len(leases)
        return leases

    def ready(self, *, now_ms: int) -> bool:
        """Whether a page may be leased now."""
        self._state.delays.ripen(now_ms)
        held_back = self._held_back()
        return any(not queue.waiting.issubset(held_back) for queue in self._state.dirty)

    def _held_back(self) -> BitMap:
        return self._state.in_flight_pages | self._state.delays.pages

    def _may_skip(self, node: Node) -> bool:
        return not staleness.is_stale(self._state, node)

    def _start(self, number: int, since_ms: int, urgency: Urgency) -> Lease:
        node = self._state.node(number)
        attempt = self._state.failures.get(number, 0)
        lease = Lease(self._attempt(), node.page, node.title, self._state.applied, urgency, attempt)
        self._state.start(number, InFlight(lease, since_ms))
        return lease

    def _attempt(self) -> int:
        """The next number of this shard's one counter: it numbers leases and commits, and is never used twice."""
        self._n += 1
        return self._n

    def decide(self, lease: Lease, outcome: Rendered | Gone, *, now_ms: int) -> Decision | None:
        """COMMIT: what follows from a render; None if `lease` is not the page's current lease. Each call takes a new `seq`."""
        in_flight = self._current(lease)
        if in_flight is None:
            return None
        attempt = Attempt(lease, seq_of(self.epoch, self._attempt()), self._step(lease), now_ms)
        in_flight.decided = attempt.seq
        return decide(self._state, self._number(lease.page), outcome, attempt)

    def _step(self, lease: Lease) -> Lsn:
        return lease.floor

    def settle(self, decision: Decision, offset: int, *, now_ms: int) -> bool:
        """SETTLE: the append of `decision` is durable, its last record at `offset`. Decisions settle in the order of the log.

        Returns True if VERIFY made the page dirty again: a change overtook the render, or hides behind a new read.
        """
        state = self._state
        assert self._phase is Phase.LIVE and offset > state.commits_after, "commits settle in the order of the log"
        in_flight = self._current(decision.lease)
        assert in_flight is not None and in_flight.decided == decision.record.seq, "settle what was decided last"
        overtaken = not decision.changed and staleness.was_overtaken(state, state.node(self._number(decision.lease.page)))
        number = self._put_record(decision.record)
        self._land(number)
        state.commits_after = offset
        state.failures.pop(number, None)
        again = self._verify(number, decision.lease.urgency, now_ms)
        if decision.tombstone and not again:
            state.stop_waiting(number)
            state.drop_node(number)
        self.counts.committed += 1
        self.counts.cutoffs += not decision.changed
        self.counts.overtaken += overtaken
        self.counts.reverified += again
        self._prune(now_ms)
        return again

    def _put_record(self, record: CommitRecord) -> int:
        """Make `record` the page's last commit. A name that a later change gave the page stays."""
        reads = cast("tuple[Resource, ...]", tuple(map(intern, record.reads)))  # `map`, since a page has dozens
        record = replace(record, reads=reads, title=Title(intern(record.title)))
        number = self._state.number_of(record.page)
        if number is None:
            return self._state.put_node(Node(record.page, record.title, Lsn(-1), "again", record))
        node = self._state.node(number)
        title = node.title if node.named > record.step else record.title
        return self._state.put_node(replace(node, title=title, record=record))

    def _land(self, number: int) -> None:
        self._state.land(number)

    def _verify(self, number: int, urgency: Urgency, now_ms: int) -> bool:
        if not staleness.is_stale(self._state, self._state.node(number)):
            return False
        self._again(number, urgency, now_ms)
        return True

    def _again(self, number: int, urgency: Urgency, now_ms: int) -> None:
        """Let a stale page wait in `urgency` or the better class of what it has not seen, since the first of that happened."""
        unseen = staleness.unseen_marks(self._state, self._state.node(number))
        urgency = min([urgency, *(mark.urgency for mark in unseen)])
        self._state.wait(number, urgency, min((mark.time_ms for mark in unseen), default=now_ms))

    def release(self, lease: Lease, *, not_before_ms: int, failed: bool) -> None:
        """Give a lease back without a commit: dirty again in the same class, not before a time. Passed over if it is not current.

        Args:
            lease: the lease given back.
            not_before_ms: when the page may be leased again.
            failed: whether the page itself failed (counts for `Lease.attempt`), or only the wiki was busy.
        """
        in_flight = self._current(lease)
        if in_flight is None:
            return
        number = self._number(lease.page)
        self._state.land(number)
        self._state.wait(number, lease.urgency, in_flight.since_ms)
        self._state.delays.put(number, not_before_ms)
        if failed:
            self._state.failures[number] = self._state.failures.get(number, 0) + 1
        self.counts.failed += failed
        self.counts.retried += not failed

    def free_put_off(self) -> None:
        """The wiki is back: pages that are held back because it was away may be leased at once; those that failed themselves stay."""
        for number in self._state.delays.pages.copy():
            if number not in self._state.failures:
                self._state.delays.clear(number)

    def park(self, lease: Lease, reason: str, *, now_ms: int) -> None:
        """Give up a page after too many failures: stale, out of the queue until a change of what it reads, or `unpark`.

        A change that overtook the failed render lets it wait at once instead. Checkpoints keep parked pages as dirty: a restart tries
        again.
        """
        in_flight = self._current(lease)
        if in_flight is None:
            return
        number = self._number(lease.page)
        self._state.land(number)
        if self._state.class_of(number) is None:
            self._state.parked[number] = Parked(reason, in_flight.since_ms, lease.urgency)
            self.counts.parked += 1

    def unpark(self, page: PageKey) -> bool:
        """Let a parked page wait again, its failures forgotten; False if it is not parked."""
        number = self._state.number_of(page)
        parked = None if number is None else self._state.parked.pop(number, None)
        if number is None or parked is None:
            return False
        self._state.failures.pop(number, None)
        self._state.wait(number, parked.urgency, parked.since_ms)
        return True

    def add(self, page: PageKey, title: Title, urgency: Urgency, *, now_ms: int) -> bool:
        """Make a node for a page that the wiki has and no change named (backfill, a read of an unknown title); False if it is known.

        The wiki's answer is taken as of `applied`: a page known under another title is renamed and dirty. What `add` makes is durable with
        the next checkpoint, not before.
        """
        assert self._phase is Phase.LIVE
        number = self._state.number_of(page)
        title = Title(intern(title))
        if number is None:
            number = self._state.put_node(Node(page, title, self._state.applied, "add"))
            self._mark_dirty(BitMap((number,)), urgency, now_ms)
            return True
        node = self._state.node(number)
        if node.title == title:
            self._state.claim(number)
        elif number not in self._state.in_flight:
            self._state.put_node(replace(node, title=title, named=self._state.applied, named_by="add"))
            self._mark_dirty(BitMap((number,)), urgency, now_ms)
        return False

    def promote(self, page: PageKey, urgency: Urgency) -> None:
        """Let a page that waits in a lower class wait in `urgency`, with its age."""
        number = self._state.number_of(page)
        if number is not None:
            self._hasten(BitMap((number,)), urgency)

    def viewed(self, pages: Iterable[PageKey], *, now_ms: int) -> None:
        """Count views: what is dirty among `pages` waits in class 1 from now on. Unknown pages are passed over."""
        numbers = BitMap([number for page in pages if (number := self._state.number_of(page)) is not None])
        self._state.heat.viewed(numbers, now_ms)
        self._hasten(numbers, Urgency.HOT)

    def _current(self, lease: Lease) -> InFlight | None:
        number = self._state.number_of(lease.page)
        in_flight = None if number is None else self._state.in_flight.get(number)
        return in_flight if in_flight is not None and in_flight.lease.number == lease.number else None

    def _number(self, page: PageKey) -> int:
        number = self._state.number_of(page)
        assert number is not None, "a page in flight has a node"
        return number

    def last_change(self, resource: Resource) -> Mark | None:
        """The last change of a resource, as far as it is remembered."""
        return self._state.mark(resource)

    def urgency(self, page: PageKey) -> Urgency | None:
        """The class in which a page waits or is being rendered; None if it does neither."""
        number = self._state.number_of(page)
        if number is None:
            return None
        in_flight = self._state.in_flight.get(number)
        return self._state.class_of(number) if in_flight is None else in_flight.lease.urgency

    def revs_within(self, since_ms: int) -> Mapping[Resource, int | None]:
        """For every resource changed since then (at most the replication window back): the highest revision known, or None.

        None says that a change without a revision was among them, which no reader of a replica can prove to have seen.
        """
        revs: dict[Resource, int | None] = {}
        for time_ms, resource in self._recent:
            mark = self._state.mark(resource)
            if time_ms >= since_ms and mark is not None:
                revs[resource] = mark.rev if mark.bare_ms < since_ms else None
        return revs

    # forgetting and saving

    def _prune(self, now_ms: int, limit: int = PRUNED_PER_STEP_MAX) -> None:
        """Forget last changes that nothing depends on and that no lease, now or later, can miss.

        Safe for a new read of a forgotten resource: it comes with a render whose floor is at least that of the oldest lease of now, and
        only changes up to that floor are forgotten, so the read is not stale by them. `rev` goes along: a repeated change then costs a
        render.
        """
        state = self._state
        for _ in range(min(limit, len(state.loose))):
            resource, _ = state.loose.popitem(last=False)
            mark = state.mark(resource)
            assert mark is not None
            if self._may_forget(mark, now_ms):
                state.drop_mark(resource)
                self.counts.pruned += 1
            else:
                state.loose[resource] = None

    def _may_forget(self, mark: Mark, now_ms: int) -> bool:
        oldest = next(iter(self._state.in_flight.values()), None)
        seen_by_all = oldest is None or mark.lsn <= oldest.lease.floor
        return seen_by_all and mark.time_ms < now_ms - self._replication_window_ms

    def checkpoint(self) -> Checkpoint:
        """What differs from the last saved checkpoint, as of this instant.

        Costs a reference per touched page and a copy of the dirty bitmaps; pages and marks are encoded when the store iterates them, which
        may be in another thread, for they never change.
        """
        assert self._phase is Phase.LIVE, "a half recovered state is never saved"
        return self._unsaved.take(self._state, epoch=self.epoch, log_base=self.log_base, waiting=self._waiting())

    def _waiting(self) -> Sequence[Mapping[int, BitMap]]:
        """Per class, by time: dirty pages and those in flight or parked, which nobody would make right after a crash otherwise."""
        held = [(f.lease.urgency, f.since_ms, number) for number, f in self._state.in_flight.items()]
        return snapshot.waiting(self._state, held + [(p.urgency, p.since_ms, number) for number, p in self._state.parked.items()])

    def saved(self, checkpoint: Checkpoint) -> None:
        """The checkpoint taken last is durable. What was touched after it was taken stays to be saved."""
        self._unsaved.saved(self._state, checkpoint)


def _seq(node: Node) -> int:
    return -1 if node.record is None else node.record.seq

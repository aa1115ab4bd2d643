"""COMMIT: what was rendered becomes durable in groups, and only then visible.

For each group: decide → put bodies → ONE atomic fenced append of commit records, purges and news → settle the shard. READ follows the
commit records alone, so a body that was put before a crash is seen by nobody. An append of unknown outcome leaves this module as
OutcomeUnknown and ends the epoch.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from headwater.kernel.concurrency import Slices
from headwater.kernel.errors import InvalidInput, OutcomeUnknown, Overloaded, StorageFull, TooLarge, Unavailable
from headwater.kernel.failpoints import failpoint
from headwater.log.model import NewRecord, Position
from headwater.propagation.codec import encode_commit
from headwater.propagation.emitted import page_changed_record, purge_records, urls_to_purge
from headwater.propagation.flow import Flow, History
from headwater.propagation.metrics import (
    COMMIT_GROUP_RECORDS,
    COMMIT_SECONDS,
    COMMITS,
    CUTOFFS,
    OVERTAKEN,
    PARKED,
    PURGES_EMITTED,
    RENDERS,
    WRITES_DELAYED,
)
from headwater.propagation.model import (
    BodyHash,
    CommitRecord,
    Failed,
    Gone,
    Lease,
    Lsn,
    Outcome,
    PageKey,
    Rendered,
    Retry,
    Urgency,
    content,
)
from headwater.propagation.parking import DeadLetter, dead_letter_record, resolved_record
from headwater.propagation.ports import BodySource
from headwater.propagation.repairs import change_records, repair_of
from headwater.propagation.setbacks import Setbacks
from headwater.propagation.shard import Decision
from headwater.propagation.streams import commits_of_wiki, key_of_page
from headwater.propagation.tenure import Tenure

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finished:
    """A render that ended. `behind` are the changes that had made the page stale when it was leased."""

    lease: Lease
    outcome: Outcome
    behind: tuple[Lsn, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A decision with what it appends. `urls` are the addresses that it makes wrong."""

    finished: Finished
    decision: Decision
    urls: tuple[str, ...]
    rev_changed: bool


class Committer:
    """Commits the renders of one epoch. `settled` is told of every page whose commit is durable."""

    def __init__(self, tenure: Tenure, flow: Flow, history: History, settled: Callable[[PageKey], None]) -> None:
        self._tenure = tenure
        self._around = tenure.around
        self._flow = flow
        self._history = history
        self._settled = settled
        self._setbacks = Setbacks(tenure.around.config)
        self._waiting: asyncio.Queue[Finished] = asyncio.Queue(2 * tenure.around.config.commit_batch_max)

    async def offer(self, finished: Finished) -> None:
        """Hand over a render; waits while too many are waiting, so that a disk that is full slows renders down."""
        await self._waiting.put(finished)

    async def run(self) -> None:
        """Commit group after group. Raises Fenced, OutcomeUnknown."""
        kept: Finished | None = None
        while True:
            group = [kept or await self._waiting.get()]
            kept, size = None, _bytes(group[0])
            while len(group) < self._around.config.commit_batch_max and not self._waiting.empty():
                finished = self._waiting.get_nowait()
                size += _bytes(finished)
                if size > self._around.config.commit_bytes_max:
                    kept = finished
                    break
                group.append(finished)
            began_s = self._around.clock.monotonic_s()
            await self.commit(group)
            self._around.observe(COMMIT_GROUP_RECORDS, len(group))
            self._around.observe(COMMIT_SECONDS, self._around.clock.monotonic_s() - began_s)

    async def commit(self, group: Sequence[Finished]) -> None:
        """Commit one group; pages that cannot be committed go back to the queue or are parked."""
        planned, letters, slices = [], [], Slices(self._around.clock)
        for finished in group:
            made = self._take(finished)
            if not isinstance(made, Planned):
                self._tenure.in_flight.pop(finished.lease.number, None)
            if isinstance(made, Planned):
                planned.append(made)
            elif isinstance(made, DeadLetter):
                letters.append(made)
            await slices.breathe()
        try:
            await self._write(planned, letters)
        except (TooLarge, InvalidInput) as error:
            await self._commit_singly(planned, letters, error)
        self._tenure.touched()

    async def _commit_singly(self, planned: Sequence[Planned], letters: Sequence[DeadLetter], error: TooLarge | InvalidInput) -> None:
        """One record of the group is refused by the log: find it, and park its page."""
        if len(planned) + len(letters) > 1:
            for plan in planned:
                await self._write_or_park(plan)
            if letters:
                await self._write([], letters)
        elif planned:
            await self._park_refused(planned[0], error)
        else:
            raise error

    async def _write_or_park(self, plan: Planned) -> None:
        try:
            await self._write([plan], [])
        except (TooLarge, InvalidInput) as error:
            await self._park_refused(plan, error)

    async def _park_refused(self, plan: Planned, error: TooLarge | InvalidInput) -> None:
        await self._write([], [self._park(plan.finished.lease, f"the log refuses its commit: {error.detail}")])

    def _take(self, finished: Finished) -> Planned | DeadLetter | None:
        lease, outcome = finished.lease, finished.outcome
        if isinstance(outcome, Rendered) and len(outcome.body) > self._around.config.body_bytes_max:
            outcome = Failed(f"its body has {len(outcome.body)} bytes; the maximum is {self._around.config.body_bytes_max}")
        match outcome:
            case Rendered() if self._tenure.erasures.forbids(lease, outcome.rev):
                self._count_render("unused")
                self._tenure.shard.release(lease, not_before_ms=self._around.elapsed_ms(), failed=False)
                return None
            case Rendered() | Gone():
                self._note_answer(lease.page)
                self._count_render("rendered" if isinstance(outcome, Rendered) else "gone")
                return self._plan(finished, outcome)
            case Retry(after_s, reason):
                self._count_render("retry")
                return self._put_off(lease, after_s, reason)
            case Failed(reason):
                self._note_answer(lease.page)
                self._count_render("failed")
                return self._fail(lease, reason)

    def _note_answer(self, page: PageKey) -> None:
        if self._setbacks.answered(page):
            self._tenure.shard.free_put_off()

    def _count_render(self, outcome: str) -> None:
        self._around.inc(RENDERS, outcome=outcome)

    def _plan(self, finished: Finished, outcome: Rendered | Gone) -> Planned | None:
        shard = self._tenure.shard
        before = shard.current(finished.lease.page)
        decision = shard.decide(finished.lease, outcome, now_ms=self._around.clock.now_ms())
        if decision is None:
            return None
        urls = urls_to_purge(self._around.wiki_config, decision.record, before, decision.purge_titles) if decision.changed else ()
        return Planned(finished, decision, urls, before is None or before.rev != decision.record.rev)

    def _put_off(self, lease: Lease, after_s: float, reason: str) -> DeadLetter | None:
        delay_s = self._setbacks.retry_delay_s(lease.page, after_s, jitter=self._around.ids.jitter())
        if delay_s is None:
            return self._fail(lease, f"put off too often: {reason}")
        self._release(lease, delay_s, failed=False)
        return None

    def _fail(self, lease: Lease, reason: str) -> DeadLetter | None:
        delay_s = self._setbacks.failure_delay_s(lease.attempt + 1, jitter=self._around.ids.jitter())
        if delay_s is None:
            return self._park(lease, reason)
        self._release(lease, delay_s, failed=True)
        return None

    def _release(self, lease: Lease, delay_s: float, *, failed: bool) -> None:
        not_before_ms = self._around.elapsed_ms() + int(delay_s * 1000)
        self._tenure.shard.release(lease, not_before_ms=not_before_ms, failed=failed)

    def _park(self, lease: Lease, reason: str) -> DeadLetter:
        now_ms = self._around.clock.now_ms()
        self._tenure.shard.park(lease, reason, now_ms=now_ms)
        self._tenure.in_flight.pop(lease.number, None)
        letter = DeadLetter(lease.page, lease.title, reason, lease.attempt + 1, now_ms)
        self._tenure.dead_letters[lease.page] = letter
        self._around.inc(PARKED)
        self._settled(lease.page)
        return letter

    async def _write(self, planned: Sequence[Planned], letters: Sequence[DeadLetter]) -> None:
        """Make a group durable and settle it; repeats while the disk is full or a store does not answer."""
        while planned or letters:
            try:
                await self._put_bodies(planned)
                planned = self._without_hidden(planned)
                await self._append(planned, letters)
                return
            except (StorageFull, Unavailable, Overloaded):
                self._around.inc(WRITES_DELAYED)
                await self._around.clock.sleep(self._around.config.full_retry_delay)

    async def _put_bodies(self, planned: Sequence[Planned]) -> None:
        bodies, sources = await self._bodies_of(planned)
        while bodies or sources:
            try:
                await self._around.bodies.put(bodies, sources)
                break
            except OutcomeUnknown:  # immutable under their hash: putting them again is the same
                self._around.inc(WRITES_DELAYED)
        failpoint("body.put")

    async def _bodies_of(self, planned: Sequence[Planned]) -> tuple[dict[BodyHash, bytes], list[BodySource]]:
        """The bodies to put: what changed, and what a cutoff says is still current but is not there (it was erased or lost)."""
        await asyncio.sleep(0)
        cut = {plan.decision.record.html_hash for plan in planned if not plan.decision.changed}
        absent = await self._around.bodies.absent([body for body in cut if body is not None])
        bodies: dict[BodyHash, bytes] = {}
        sources = []
        for plan in planned:
            record, outcome = plan.decision.record, plan.finished.outcome
            if not isinstance(outcome, Rendered) or record.html_hash is None:
                continue
            put = plan.decision.body is not None or record.html_hash in absent
            if put:
                bodies[record.html_hash] = outcome.body
            if put or plan.rev_changed:
                sources.append(BodySource(self._around.wiki, record.page, outcome.rev, record.html_hash))
        return bodies, sources

    def _without_hidden(self, planned: Sequence[Planned]) -> Sequence[Planned]:
        """Drop what shows a revision hidden while its body was put, and have that body erased once more."""
        kept = []
        for plan in planned:
            outcome, lease = plan.finished.outcome, plan.finished.lease
            if isinstance(outcome, Rendered) and self._tenure.erasures.forbids(lease, outcome.rev):
                self._tenure.erasures.again(lease.page, outcome.rev)
                self._release(lease, 0, failed=False)
                self._tenure.in_flight.pop(lease.number, None)
            else:
                kept.append(plan)
        return kept

    async def _append(self, planned: Sequence[Planned], letters: Sequence[DeadLetter]) -> None:
        records: list[NewRecord] = [dead_letter_record(self._around.wiki, letter) for letter in letters]
        last: list[int] = []
        slices = Slices(self._around.clock)
        for plan in planned:
            records.extend(self._commit_records(plan))
            last.append(len(records) - 1)
            records.extend(self._news_of(plan))
            await slices.breathe()
        if not records:
            return
        failpoint("commit.append")
        positions = await self._around.log.append_atomic(records, fence=self._tenure.commits_fence)
        failpoint("commit.appended")
        await self._settle(planned, [positions[index] for index in last])
        failpoint("state")

    def _commit_records(self, plan: Planned) -> list[NewRecord]:
        """The page's commit, and the tombstone after it where the node leaves."""
        record = plan.decision.record
        stream, key = commits_of_wiki(self._around.wiki).stream, key_of_page(record.page)
        made = [NewRecord(stream, encode_commit(record), record.time_ms, key=key)]
        if plan.decision.tombstone:
            made.append(NewRecord(stream, None, record.time_ms, key=key))
        return made

    def _news_of(self, plan: Planned) -> list[NewRecord]:
        record = plan.decision.record
        made: list[NewRecord] = []
        if plan.decision.changed:
            made.extend(purge_records(self._around.wiki, self._around.wiki_config, record, plan.urls))
            made.append(page_changed_record(self._around.wiki, self._around.wiki_config, record, plan.decision.cause))
        made.extend(self._untold(record))
        if record.page in self._tenure.dead_letters:
            made.append(resolved_record(self._around.wiki, record.page, record.time_ms))
        return made

    def _untold(self, record: CommitRecord) -> Sequence[NewRecord]:
        """A change that undoes what an event said of a revision which the wiki, asked after it, does not have yet.

        All later edits of the page would count as repeated until the wiki's revisions have come that far. A change without revision
        forgets the highest one, and marks whoever missed an edit meanwhile.
        """
        mark = self._tenure.shard.last_change(content(record.title))
        if record.rev is None or mark is None or mark.rev is None or mark.lsn > record.step or mark.rev <= record.rev:
            return ()
        _log.warning("revision_unknown_to_wiki", wiki=self._around.wiki, page=record.page, told=mark.rev, current=record.rev)
        return change_records(self._around.wiki, [repair_of(record, Urgency.REST, record.time_ms)], record.time_ms)

    async def _settle(self, planned: Sequence[Planned], positions: Sequence[Position]) -> None:
        slices = Slices(self._around.clock)
        for plan, position in zip(planned, positions, strict=True):
            now_ms = self._around.clock.now_ms()
            overtaken = self._tenure.shard.settle(plan.decision, position.offset, now_ms=now_ms)
            self._report(plan, overtaken=overtaken, now_ms=now_ms)
            self._settled(plan.decision.record.page)
            await slices.breathe()

    def _report(self, plan: Planned, *, overtaken: bool, now_ms: int) -> None:
        record, changed = plan.decision.record, plan.decision.changed
        self._tenure.in_flight.pop(plan.finished.lease.number, None)
        self._tenure.dead_letters.pop(record.page, None)
        self._flow.committed(plan.finished.behind, changed=changed, purges=len(plan.urls), now_ms=now_ms)
        self._history.committed(record, changed=changed, cause=plan.decision.cause)
        self._around.inc(COMMITS)
        self._around.inc(PURGES_EMITTED, len(plan.urls))
        self._around.inc(CUTOFFS, 0 if changed else 1)
        self._around.inc(OVERTAKEN, 1 if overtaken else 0)


def _bytes(finished: Finished) -> int:
    return len(finished.outcome.body) if isinstance(finished.outcome, Rendered) else 0

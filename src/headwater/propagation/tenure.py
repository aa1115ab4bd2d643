"""One epoch of ownership: what belongs to it, and how it begins (RECOVER).

The order is that of `docs/explanation/propagation.md` and may not change: take the epoch, so that an older owner is fenced; load the
checkpoint; apply the changes after it; only then the commits after it, each re-checked; only then lease. The log holds the marks, the
checkpoint holds the cleans.

Two things are owned, and claimed in this order: the commits (their epoch numbers all attempts) and the changes. An old owner can still
append changes between the two claims: the new one reads them, because it reads after both.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from headwater.kernel.concurrency import Slices
from headwater.kernel.errors import Corrupted, OffsetTrimmed, OutcomeUnknown, Overloaded, StorageFull, Unavailable
from headwater.log.model import BEFORE_FIRST, Fence, NewRecord, Offset, PartitionId, Position
from headwater.log.scanning import records_to_end
from headwater.propagation.changes import STREAMS
from headwater.propagation.codec import decode_change, decode_commit
from headwater.propagation.erasures import Erasures
from headwater.propagation.metrics import RECOVERIES, RECOVERY_SECONDS, WRITES_DELAYED
from headwater.propagation.model import Change, Lease, Lsn, PageKey, Resource, Title
from headwater.propagation.notes import Identity, Inputs, Notes, identity_base, note_record, read_notes
from headwater.propagation.parking import DeadLetter, read_dead_letters
from headwater.propagation.ports import Checkpoint, Titles
from headwater.propagation.shard import Shard
from headwater.propagation.streams import (
    IDENTITY_KEY,
    INPUTS_KEY,
    changes_of_wiki,
    commits_of_wiki,
    group_of,
    owned_changes,
    owned_commits,
    page_of_key,
)
from headwater.propagation.surroundings import Surroundings

READ_MAX = 500

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Tenure:
    """What an owner holds in one epoch.

    Attributes:
        in_flight: leases whose renders are not committed or given back yet, by number.
        work: set when there may be something to lease.
        doubtful: set when nobody knows whether an append happened: the epoch ends.
        activity: rises with everything that a checkpoint would save.
        rebuilt: the shard's file was lost: pages that were known but never committed have to be found again.
    """

    around: Surroundings
    commits_fence: Fence
    changes_fence: Fence
    base: int
    shard: Shard
    titles: Titles
    notes: Notes
    dead_letters: dict[PageKey, DeadLetter]
    erasures: Erasures
    rebuilt: bool
    in_flight: dict[int, Lease] = field(default_factory=dict)
    work: asyncio.Event = field(default_factory=asyncio.Event)
    doubtful: asyncio.Event = field(default_factory=asyncio.Event)
    activity: int = 0

    def offset(self, lsn: int) -> Offset:
        """Where the change with this LSN stands."""
        return Offset(lsn - self.base)

    def stale_since_ms(self) -> int | None:
        """Since when the stalest page is stale, those in flight included; None if none is."""
        times = list(self.shard.stalest_ms().values())
        times.extend(since for lease in self.in_flight.values() if (since := self.shard.since_ms(lease.page)) is not None)
        return min(times, default=None)

    def oldest_floor(self) -> Lsn:
        """The lowest floor of a render under way; `applied` if there is none."""
        return min((lease.floor for lease in self.in_flight.values()), default=self.shard.applied)

    async def guard(self, positions: Mapping[PartitionId, Offset]) -> None:
        """Let the log trim up to `positions`. Where it cannot be told now, the next call says more: nothing depends on it but space."""
        try:
            await self.around.log.advance(group_of(self.around.wiki), positions)
        except (StorageFull, Unavailable, Overloaded, OutcomeUnknown) as error:
            self.around.inc(WRITES_DELAYED)
            _log.warning("guard_delayed", wiki=self.around.wiki, reason=error.code)

    async def append(self, records: Sequence[NewRecord], fence: Fence) -> Sequence[Position]:
        """Append under a fence, again and again while the disk is full or the log does not answer. Raises Fenced, OutcomeUnknown."""
        while True:
            try:
                return await self.around.log.append_atomic(records, fence=fence)
            except (StorageFull, Unavailable, Overloaded):
                self.around.inc(WRITES_DELAYED)
                await self.around.clock.sleep(self.around.config.full_retry_delay)
            except OutcomeUnknown:
                self.doubtful.set()
                raise

    async def end_in_doubt(self) -> None:
        """Return never; raise OutcomeUnknown once any append has left it open whether it happened, a reader's or an operator's too."""
        await self.doubtful.wait()
        raise OutcomeUnknown("an append of this epoch may or may not have happened")

    def revs_to_prove(self) -> Mapping[Resource, int | None]:
        """What changed within the replication window, for a render that begins now; empty without replicas."""
        window_ms = int(self.around.wiki_config.replication_window * 1000)
        return self.shard.revs_within(self.around.clock.now_ms() - window_ms) if window_ms else {}

    def touched(self) -> None:
        """Note that the state changed and that there may be work."""
        self.activity += 1
        self.work.set()


async def begin(around: Surroundings) -> Tenure:
    """Become the owner of the wiki's shard and recover it.

    Raises:
        Corrupted: the checkpoint belongs to another log, or is ahead of it; or a record cannot be read.
        Fenced, OutcomeUnknown, Unavailable, StorageFull: from the log; begin again.
    """
    began_s = around.clock.monotonic_s()
    titles = await around.site.site()
    commits_fence = await around.log.claim(owned_commits(around.wiki))
    changes_fence = await around.log.claim(owned_changes(around.wiki))
    notes = await read_notes(around.log, around.wiki)
    checkpoint = await around.checkpoints.load()
    identity = await _identify(around, notes, checkpoint, changes_fence)
    window_ms = int(around.wiki_config.replication_window * 1000)
    shard = Shard(epoch=commits_fence.epoch, log_base=identity.base, replication_window_ms=window_ms)
    if checkpoint is not None:
        await _refuse_newer_checkpoint(around, checkpoint, commits_fence)
        await asyncio.to_thread(shard.load, checkpoint)  # long, and nobody else has this shard yet
    erasures = Erasures(around)
    tenure = Tenure(
        around=around,
        commits_fence=commits_fence,
        changes_fence=changes_fence,
        base=identity.base,
        shard=shard,
        titles=titles,
        notes=notes,
        dead_letters=await read_dead_letters(around.log, around.wiki),
        erasures=erasures,
        rebuilt=checkpoint is None,
    )
    lost = await _events_lost(around, notes.inputs.offsets()) if checkpoint is None else {}
    if lost:
        shard.changes_trimmed_to(Lsn(identity.base + await _end(around, changes_of_wiki(around.wiki))))
    await _replay_changes(tenure, checkpoint)
    await _replay_commits(tenure, checkpoint)
    shard.recovered()
    await erasures.carry_out()
    if lost:
        await _pass_over(tenure, lost)
    tenure.touched()
    around.inc(RECOVERIES)
    around.observe(RECOVERY_SECONDS, around.clock.monotonic_s() - began_s)
    return tenure


async def _events_lost(around: Surroundings, taken: Mapping[PartitionId, Offset]) -> dict[PartitionId, Offset]:
    """Where to go on in the event streams whose events were trimmed before this wiki had read them; empty as it should be."""
    infos = [info for stream in STREAMS for info in await around.log.describe(stream) if info.partition.stream == stream]
    ahead = {info.partition: Offset(info.first - 1) for info in infos}
    return {partition: first for partition, first in ahead.items() if BEFORE_FIRST < taken.get(partition, first) < first}


async def _pass_over(tenure: Tenure, lost: Mapping[PartitionId, Offset]) -> None:
    """Go on behind events that are gone, once it is durable that every page has to be looked at again: nobody knows what they changed."""
    around, shard = tenure.around, tenure.shard
    _log.error("events_lost", wiki=around.wiki, streams=sorted({partition.stream for partition in lost}))
    checkpoint = shard.checkpoint()
    await around.checkpoints.save(checkpoint)
    shard.saved(checkpoint)
    inputs = Inputs.of({**tenure.notes.inputs.offsets(), **lost})
    await around.log.append_atomic([note_record(around.wiki, INPUTS_KEY, inputs, around.clock.now_ms())], fence=tenure.changes_fence)
    tenure.notes = msgspec.structs.replace(tenure.notes, inputs=inputs)


async def _identify(around: Surroundings, notes: Notes, checkpoint: Checkpoint | None, fence: Fence) -> Identity:
    """The identity of the order of changes, made on the first start; refuses a checkpoint of another."""
    identity = notes.identity
    saved_base = None if checkpoint is None else checkpoint.log_base
    if saved_base is not None and (identity is None or identity.base != saved_base):
        raise Corrupted(
            f"the saved shard of wiki {around.wiki} belongs to another log. If the log was restored or copied on purpose, move the file "
            f"shard-{around.wiki}.sqlite away: the shard is then rebuilt from this log"
        )
    if identity is not None:
        return identity
    now_ms = around.clock.now_ms()
    identity = Identity(around.ids.uuid(), identity_base(now_ms))
    await around.log.append_atomic([note_record(around.wiki, IDENTITY_KEY, identity, now_ms)], fence=fence)
    return identity


async def _refuse_newer_checkpoint(around: Surroundings, checkpoint: Checkpoint, fence: Fence) -> None:
    if checkpoint.epoch >= fence.epoch:
        raise Corrupted(
            f"the saved shard of wiki {around.wiki} is of epoch {checkpoint.epoch}, unknown to this log: it was restored from an older "
            f"copy. Move the file shard-{around.wiki}.sqlite away: the shard is then rebuilt from this log"
        )
    for partition, offset in (
        (changes_of_wiki(around.wiki), checkpoint.applied - checkpoint.log_base),
        (commits_of_wiki(around.wiki), checkpoint.commits_after),
    ):
        ends = [info.end for info in await around.log.describe(partition.stream) if info.partition == partition]
        if offset >= 0 and (not ends or offset >= ends[0]):
            raise Corrupted(
                f"the saved shard of wiki {around.wiki} is ahead of {partition.stream}: the log was restored from an older copy. "
                f"Move the file shard-{around.wiki}.sqlite away: the shard is then rebuilt from this log"
            )


async def _replay_changes(tenure: Tenure, checkpoint: Checkpoint | None) -> None:
    around, shard = tenure.around, tenure.shard
    partition = changes_of_wiki(around.wiki)
    after = BEFORE_FIRST if checkpoint is None else Offset(checkpoint.applied - tenure.base)
    if checkpoint is None:
        first = await _first(around, partition)
        if first > 0:
            shard.changes_trimmed_to(Lsn(tenure.base + first))
    slices = Slices(around.clock)
    while True:
        try:
            batch = await around.log.read(partition, after, limit=READ_MAX)
        except OffsetTrimmed as trimmed:
            shard.changes_trimmed_to(Lsn(tenure.base + trimmed.first))
            after = BEFORE_FIRST
            continue
        for record in batch.records:
            assert record.value is not None, "changes has no tombstones"
            lsn, change = Lsn(tenure.base + record.offset), decode_change(record.value)
            shard.replay_change(lsn, change)
            tenure.erasures.note(lsn, change, page_named(shard, change))
            await slices.breathe()
        after = batch.next
        if batch.at_end:
            return


async def _replay_commits(tenure: Tenure, checkpoint: Checkpoint | None) -> None:
    around, slices = tenure.around, Slices(tenure.around.clock)
    after = BEFORE_FIRST if checkpoint is None else Offset(checkpoint.commits_after)
    async for record in records_to_end(around.log, commits_of_wiki(around.wiki), after):
        page = page_of_key(record.key)
        tenure.shard.replay_commit(record.offset, page, None if record.value is None else decode_commit(record.value))
        await slices.breathe()


async def _end(around: Surroundings, partition: PartitionId) -> int:
    return next((info.end for info in await around.log.describe(partition.stream) if info.partition == partition), 0)


async def _first(around: Surroundings, partition: PartitionId) -> int:
    return next((info.first for info in await around.log.describe(partition.stream) if info.partition == partition), 0)


def page_named(shard: Shard, change: Change) -> PageKey | None:
    """The page that a change is about: the one it names, else the one whose title its resource has."""
    if change.page_id is not None:
        return change.page_id
    return shard.find(change.title or Title(change.resource.partition(":")[2]))

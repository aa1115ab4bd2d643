"""From events to changes: reads the event streams of all wikis, keeps the events of one, and gives each change its place in the one order
of that wiki.

Invariant: the changes and the positions of the events that they were made from are appended together, under the fence of the changes. So
each event is in `changes` exactly once, whatever happens between. The group's progress follows, and keeps what was not read from being
trimmed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog

from headwater.kernel.concurrency import Slices, event_or_timeout, run_together
from headwater.kernel.errors import Corrupted, InvalidInput, NotFound, OffsetTrimmed, Unavailable
from headwater.kernel.failpoints import failpoint
from headwater.log.model import BEFORE_FIRST, Batch, NewRecord, Offset, PartitionId, Position, Record
from headwater.propagation.changes import STREAMS, ExistenceMemory, SourceEvent, changes_of_batch, happened_ms
from headwater.propagation.codec import encode_change
from headwater.propagation.metrics import CHANGES_WRITTEN, EVENTS_READ, EVENTS_UNUSABLE, INPUT_LAG_SECONDS
from headwater.propagation.model import Change, Lsn
from headwater.propagation.notes import Inputs, note_record
from headwater.propagation.streams import INPUTS_KEY, changes_of_wiki
from headwater.propagation.tenure import Tenure

WAIT_S = 30.0  # one read of a quiet stream
POSITIONS_EVERY_S = 10.0  # positions are noted this often even if no event led to a change
EVENTS_PER_PIECE = 50  # events turned into changes between two looks at other work
NOT_PLACED_YET = Lsn(2**63)  # of changes that wait for their append
MISSING_STREAM_S = 1.0  # between two looks for a stream that does not exist yet

_log = structlog.get_logger(__name__)


class _Meta(msgspec.Struct, frozen=True):
    domain: str
    id: str = ""
    dt: str = ""


class _WithMeta(msgspec.Struct, frozen=True):
    meta: _Meta


_meta_of = msgspec.json.Decoder(_WithMeta)


@dataclass(frozen=True, slots=True)
class _Read:
    partition: PartitionId
    batch: Batch


class InputReader:
    """Reads the events of one wiki in one epoch."""

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure
        self._around = tenure.around
        self._taken: dict[PartitionId, Offset] = tenure.notes.inputs.offsets()
        self._saved = dict(self._taken)
        self._memory = ExistenceMemory(tenure.shard.may_redirect)
        self._read: list[_Read] = []
        self._arrived = asyncio.Event()
        self._written = asyncio.Condition()
        self._writing = False

    async def run(self) -> None:
        """Read and write until stopped. Raises Fenced, OutcomeUnknown, Corrupted (events were trimmed before they were read)."""
        partitions = await self._partitions()
        started = {partition: self._taken.get(partition, BEFORE_FIRST) for partition in partitions}
        await self._tenure.guard(started)
        await run_together(self._write_all(), *(self._follow(partition) for partition in partitions))

    async def _partitions(self) -> Sequence[PartitionId]:
        """The partitions of all input streams; waits until every stream has been declared."""
        while True:
            found = [info.partition for stream in STREAMS for info in await self._around.log.describe(stream)]
            partitions = [partition for partition in found if partition.stream in STREAMS]
            missing = set(STREAMS) - {partition.stream for partition in partitions}
            if not missing:
                return sorted(set(partitions))
            _log.warning("event_streams_missing", wiki=self._around.wiki, streams=sorted(missing))
            await self._around.clock.sleep(MISSING_STREAM_S)

    async def _follow(self, partition: PartitionId) -> None:
        """Hand over one batch of a partition after the other; the next is read once this one is taken."""
        after = self._taken.get(partition, BEFORE_FIRST)
        while True:
            try:
                batch = await self._around.log.read(partition, after, limit=self._around.config.inputs_batch_max, wait_s=WAIT_S)
            except OffsetTrimmed as error:
                raise Corrupted(
                    f"events of {partition.stream} were trimmed before wiki {self._around.wiki} had read them: what they changed is "
                    f"not known. Move shard-{self._around.wiki}.sqlite away: every page is then rendered again; a backfill finds new ones"
                ) from error
            except (Unavailable, NotFound):
                await self._around.clock.sleep(self._around.config.full_retry_delay)
                continue
            after = batch.next
            if batch.records:
                self._read.append(_Read(partition, batch))
                self._arrived.set()
                async with self._written:
                    while self._taken.get(partition, BEFORE_FIRST) < after:
                        await self._written.wait()

    async def _write_all(self) -> None:
        while True:
            if await event_or_timeout(self._arrived, self._around.clock, POSITIONS_EVERY_S):
                self._arrived.clear()
                while self._read:
                    await self._write(self._some())
            elif self._taken != self._saved:
                await self._append(())

    def _some(self) -> Sequence[_Read]:
        """Batches that wait, up to the size of one append; always at least one."""
        some, count = [self._read.pop(0)], 0
        while self._read and (count := count + len(some[-1].batch.records)) < self._around.config.inputs_batch_max:
            some.append(self._read.pop(0))
        return some

    async def _write(self, reads: Sequence[_Read]) -> None:
        """Append the changes of some events, with the positions."""
        self._writing = True
        events: list[SourceEvent] = []
        slices, newest_ms = Slices(self._around.clock), 0
        for read in reads:
            for record in read.batch.records:
                event = self._event_of(record)
                if event is not None:
                    events.append(event)
                newest_ms = max(newest_ms, record.time_ms)
                await slices.breathe()
        changes = await self._changes_of(events)
        async with self._written:
            for read in reads:
                self._taken[read.partition] = read.batch.next
            if changes:
                await self._append(changes)
            self._written.notify_all()
        self._writing = False
        self._around.inc(EVENTS_READ, sum(len(read.batch.records) for read in reads))
        at_end = not self._read and all(read.batch.at_end for read in reads)
        self._around.set(INPUT_LAG_SECONDS, 0 if at_end else max(0, self._around.clock.now_ms() - newest_ms) / 1000)

    def _event_of(self, record: Record) -> SourceEvent | None:
        """The event of a record if it is one of this wiki; None too if it cannot be read, which is counted."""
        assert record.value is not None, "event streams have no tombstones"
        stream, headers = record.position.partition.stream, dict(record.headers)
        try:
            meta = _meta_of.decode(record.value).meta
            if meta.domain not in self._around.domains:
                return None
            event_id, dt = headers.get("id", b"").decode() or meta.id, headers.get("dt", b"").decode() or meta.dt
            return SourceEvent(stream, record.value, event_id, happened_ms(dt, record.time_ms))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._unusable(stream, record.offset, error)
            return None

    async def _changes_of(self, events: Sequence[SourceEvent]) -> Sequence[Change]:
        """The changes that these events make, in pieces so that the loop stays free; unusable events are counted and passed over."""
        changes: list[Change] = []
        self._memory.applied(self._tenure.shard.applied)
        for start in range(0, len(events), EVENTS_PER_PIECE):
            piece = events[start : start + EVENTS_PER_PIECE]
            made = changes_of_batch(piece, site=self._tenure.titles, may_redirect=self._memory.may_redirect)
            for event, outcome in zip(piece, made, strict=True):
                if isinstance(outcome, InvalidInput):
                    self._unusable(event.stream, event.event_id, outcome)
                else:
                    changes.extend(outcome)
                    self._memory.written(outcome, NOT_PLACED_YET)
            await asyncio.sleep(0)
        return changes

    def _unusable(self, stream: str, which: int | str, error: Exception) -> None:
        self._around.inc(EVENTS_UNUSABLE)
        _log.error("event_unusable", wiki=self._around.wiki, stream=stream, which=which, error=str(error))

    async def _append(self, changes: Sequence[Change]) -> None:
        now_ms, stream = self._around.clock.now_ms(), changes_of_wiki(self._around.wiki).stream
        positions = dict(self._taken)
        records = [NewRecord(stream, encode_change(change), now_ms) for change in changes]
        records.append(note_record(self._around.wiki, INPUTS_KEY, Inputs.of(positions), now_ms))
        failpoint("changes.append")
        placed = await self.repeat(records)
        if changes:
            self._memory.written(changes, Lsn(self._tenure.base + placed[len(changes) - 1].offset))
        self._saved = positions
        self._around.inc(CHANGES_WRITTEN, len(changes))
        await self._tenure.guard(positions)

    async def repeat(self, records: Sequence[NewRecord]) -> Sequence[Position]:
        """Append under the fence of the changes, again and again while the disk is full or the log does not answer."""
        return await self._tenure.append(records, self._tenure.changes_fence)

    async def at_end(self) -> bool:
        """Whether every event that is in the log now is in the changes."""
        for partition in await self._partitions():
            batch = await self._around.log.read(partition, self._taken.get(partition, BEFORE_FIRST), limit=1)
            if batch.records or not batch.at_end:
                return False
        return not self._read and not self._writing

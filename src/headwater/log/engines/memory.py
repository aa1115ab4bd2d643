"""The log in memory: the model that other engines are compared with, and the engine of tests.

It gives the whole semantics of the port and is deliberately awkward where the port allows it: offsets start above zero and have
gaps, an atomic append leaves a gap as Kafka's transaction markers do, and with `empty_reads` a read may answer nothing although
more is there. Nothing survives the process. Faults are injected with `fail_next` and `lose_next_answer`.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headwater.kernel.clock import Clock
from headwater.kernel.errors import Fenced, HeadwaterError, InvalidInput, NotFound, OffsetTrimmed, OutcomeUnknown
from headwater.kernel.waiting import Waiters
from headwater.log.admission import Limits, check_all, check_call, check_name, check_spec, partition_number, record_bytes, refusal
from headwater.log.model import (
    BEFORE_FIRST,
    AppendFailure,
    Batch,
    Fence,
    GroupName,
    NewRecord,
    Offset,
    OwnedName,
    PartitionId,
    PartitionInfo,
    Policy,
    Position,
    Record,
    StreamSpec,
)
from headwater.log.retention import IdleTimer, Maintained, RetentionRules, TrustedClock


@dataclass(slots=True)
class _Entry:
    record: Record
    bytes: int
    appended_ms: int


def _offset_of(entry: _Entry) -> int:
    return entry.record.offset


@dataclass(slots=True)
class _Partition:
    id: PartitionId
    entries: list[_Entry] = field(default_factory=list)
    first: int = 0  # above every record that was trimmed
    end: int = 2
    given: int = 0

    def count_below(self, offset: int) -> int:
        """How many entries have offsets below `offset`."""
        return bisect_left(self.entries, offset, key=_offset_of)

    def take_offset(self) -> Offset:
        """The next offset; after every third one the following is skipped."""
        offset = Offset(self.end)
        self.given += 1
        self.end += 2 if self.given % 3 == 0 else 1
        return offset

    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)


@dataclass(slots=True)
class _Group:
    positions: dict[PartitionId, Offset] = field(default_factory=dict)
    idle_s: float = 0.0
    expelled: bool = False


@dataclass(frozen=True, slots=True)
class _Fault:
    error: HeadwaterError
    applied: bool


class MemoryLog:
    """`Log` and `Retention` without a disk. Belongs to one event loop."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits | None = None,
        rules: RetentionRules | None = None,
        empty_reads: bool = False,
    ) -> None:
        self._clock = clock
        self._trusted = TrustedClock(clock)
        self._idle = IdleTimer(clock)
        self._limits = limits or Limits()
        self._rules = rules or RetentionRules()
        self._empty_reads = empty_reads
        self._specs: dict[str, StreamSpec] = {}
        self._partitions: dict[PartitionId, _Partition] = {}
        self._groups: dict[GroupName, _Group] = {}
        self._epochs: dict[OwnedName, int] = {}
        self._waiters = Waiters[PartitionId](clock)
        self._faults: deque[_Fault] = deque()

    # Faults

    def fail_next(self, error: HeadwaterError, *, times: int = 1) -> None:
        """The next `times` appends, atomic or not, raise `error` and append nothing."""
        self._faults.extend([_Fault(error, applied=False)] * times)

    def lose_next_answer(self, *, times: int = 1) -> None:
        """The next `times` appends, atomic or not, take effect and raise OutcomeUnknown."""
        self._faults.extend([_Fault(OutcomeUnknown("the answer was lost"), applied=True)] * times)

    def _fault_before(self) -> _Fault | None:
        if self._faults and not self._faults[0].applied:
            raise self._faults.popleft().error
        return self._faults.popleft() if self._faults else None

    # Log

    async def declare(self, streams: Sequence[StreamSpec]) -> None:
        """See `Log.declare`."""
        for spec in streams:
            check_spec(spec, known=self._specs.get(spec.name))
        for spec in streams:
            self._specs[spec.name] = spec
            for number in range(spec.partitions):
                partition = PartitionId(spec.name, number)
                self._partitions.setdefault(partition, _Partition(partition))

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        """See `Log.append`."""
        sizes = check_call(records, self._limits)
        fault = self._fault_before()
        outcomes: list[Position | AppendFailure] = []
        for record, size in zip(records, sizes, strict=True):
            error = refusal(record, size, self._specs.get(record.stream), self._limits)
            outcomes.append(AppendFailure(error) if error else self._put(record))
        await self._appended(outcome.partition for outcome in outcomes if isinstance(outcome, Position))
        if fault is not None:
            raise fault.error
        return outcomes

    async def append_atomic(self, records: Sequence[NewRecord], *, fence: Fence) -> Sequence[Position]:
        """See `Log.append_atomic`."""
        check_all(records, self._specs, self._limits)
        if self._epochs.get(fence.name) != fence.epoch:
            raise Fenced(f"{fence.name} has another owner")
        fault = self._fault_before()
        positions = [self._put(record) for record in records]
        for partition in {position.partition for position in positions}:
            self._partitions[partition].end += 1  # as Kafka's marker takes an offset
        await self._appended(position.partition for position in positions)
        if fault is not None:
            raise fault.error
        return positions

    def _put(self, record: NewRecord) -> Position:
        partition = self._partitions[PartitionId(record.stream, partition_number(record, self._specs[record.stream]))]
        position = Position(partition.id, partition.take_offset())
        stored = Record(position, record.value, record.time_ms, record.key, tuple(record.headers))
        partition.entries.append(_Entry(stored, record_bytes(record), self._trusted.now_ms()))
        return position

    async def _appended(self, partitions: Iterable[PartitionId]) -> None:
        self._waiters.wake(set(partitions))
        await asyncio.sleep(0)  # as on a disk, others run before the answer

    async def claim(self, owned: OwnedName) -> Fence:
        """See `Log.claim`."""
        check_name(owned, what="owned name")
        self._epochs[owned] = self._epochs.get(owned, 0) + 1
        return Fence(owned, self._epochs[owned])

    async def read(self, partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
        """See `Log.read`."""
        batch = self._read(self._partition(partition), after, limit)
        if batch.at_end and not batch.records and wait_s > 0:
            await self._waiters.wait(partition, wait_s)
            batch = self._read(self._partition(partition), after, limit)
        if not batch.at_end:
            await self._let_others_run()
        return batch

    async def _let_others_run(self) -> None:
        await asyncio.sleep(0)

    def _partition(self, partition: PartitionId) -> _Partition:
        found = self._partitions.get(partition)
        if found is None:
            raise NotFound(f"no partition {partition.number} of stream {partition.stream!r}")
        return found

    def _read(self, partition: _Partition, after: Offset, limit: int) -> Batch:
        assert limit > 0
        if after != BEFORE_FIRST and after < partition.first - 1:
            raise OffsetTrimmed(f"{partition.id.stream} starts at {partition.first}", first=partition.first)
        start = partition.count_below(after + 1)
        if start == len(partition.entries):
            return Batch((), Offset(max(after, partition.end - 1)), at_end=True)
        entries = self._within_bytes(partition.entries[start : start + min(limit, self._limits.read_records_max)])
        if self._empty_reads and entries[0].record.offset > after + 1:
            return Batch((), Offset(entries[0].record.offset - 1), at_end=False)
        at_end = start + len(entries) == len(partition.entries)
        following = partition.end - 1 if at_end else entries[-1].record.offset
        return Batch(tuple(entry.record for entry in entries), Offset(following), at_end)

    def _within_bytes(self, entries: Sequence[_Entry]) -> Sequence[_Entry]:
        total = 0
        for index, entry in enumerate(entries):
            total += entry.bytes
            if index and total > self._limits.read_bytes_max:
                return entries[:index]
        return entries

    async def offset_at(self, partition: PartitionId, time_ms: int) -> Offset:
        """See `Log.offset_at`."""
        found = self._partition(partition)
        for entry in found.entries:
            if entry.record.time_ms >= time_ms:
                return Offset(entry.record.offset - 1)
        return Offset(found.end - 1)

    async def describe(self, prefix: str = "") -> Sequence[PartitionInfo]:
        """See `Log.describe`."""
        return [
            PartitionInfo(id, self._specs[id.stream].policy, Offset(partition.first), Offset(partition.end), partition.bytes())
            for id, partition in sorted(self._partitions.items())
            if id.stream.startswith(prefix)
        ]

    async def progress(self, group: GroupName) -> Mapping[PartitionId, Offset]:
        """See `Log.progress`."""
        found = self._groups.get(group)
        return dict(found.positions) if found else {}

    async def advance(self, group: GroupName, positions: Mapping[PartitionId, Offset]) -> None:
        """See `Log.advance`."""
        check_name(group, what="group")
        for partition in positions:
            self._partition(partition)
        stored = self._groups.setdefault(group, _Group())
        stored.idle_s, stored.expelled = 0.0, False
        self._idle.heard(group)
        for partition, offset in positions.items():
            stored.positions[partition] = max(stored.positions.get(partition, BEFORE_FIRST), offset)

    async def trim(self, partition: PartitionId, before: Offset) -> None:
        """See `Log.trim`."""
        found = self._partition(partition)
        cut = found.count_below(before)
        if cut > self._finished(found):
            raise InvalidInput(f"a group has not finished {partition.stream} up to {before}", where="before")
        self._cut(found, cut)

    # Retention

    async def maintain(self) -> Maintained:
        """See `Retention.maintain`."""
        expelled = self._expel()
        trimmed = compacted = 0
        for partition in self._partitions.values():
            spec = self._specs[partition.id.stream]
            if spec.policy is Policy.TIME:
                trimmed += self._cut(partition, min(self._expired(partition, spec), self._finished(partition)))
            elif spec.policy is Policy.COMPACT:
                compacted += self._compact(partition)
        return Maintained(trimmed, compacted, expelled)

    def _expel(self) -> int:
        expelled, now_s = 0, self._clock.monotonic_s()
        for name, group in self._groups.items():
            group.idle_s = group.idle_s + self._idle.idle_s(name, now_s) if self._lags(group) else 0.0
            if group.idle_s > self._rules.group_idle_s_max and not group.expelled:
                group.expelled = True
                expelled += 1
        self._idle.end_round(now_s)
        return expelled

    def _lags(self, group: _Group) -> bool:
        entries = ((self._partitions[id].entries, offset) for id, offset in group.positions.items())
        return any(found and found[-1].record.offset > offset for found, offset in entries)

    def _finished(self, partition: _Partition) -> int:
        """How many of the partition's records every registered group has finished."""
        positions = [
            group.positions[partition.id] for group in self._groups.values() if partition.id in group.positions and not group.expelled
        ]
        return partition.count_below(min(positions) + 1) if positions else len(partition.entries)

    def _expired(self, partition: _Partition, spec: StreamSpec) -> int:
        """How many of the oldest records are beyond the stream's age or bytes."""
        total, now_ms = partition.bytes(), self._trusted.now_ms()
        for index, entry in enumerate(partition.entries):
            old = spec.age_ms_max is not None and now_ms - entry.appended_ms > spec.age_ms_max
            if not old and (spec.bytes_max is None or total <= spec.bytes_max):
                return index
            total -= entry.bytes
        return len(partition.entries)

    def _cut(self, partition: _Partition, count: int) -> int:
        if count:
            partition.first = partition.entries[count - 1].record.offset + 1
            del partition.entries[:count]
        return count

    def _compact(self, partition: _Partition) -> int:
        newest = {entry.record.key: entry.record.offset for entry in partition.entries}
        oldest_ms = self._trusted.now_ms() - round(self._rules.tombstone_grace_s * 1000)
        finished = self._finished(partition)
        kept = [
            entry
            for index, entry in enumerate(partition.entries)
            if newest[entry.record.key] == entry.record.offset
            and (entry.record.value is not None or entry.appended_ms > oldest_ms or index >= finished)
        ]
        removed = len(partition.entries) - len(kept)
        partition.entries = kept
        return removed

    async def close(self) -> None:
        """Wake readers that wait; everything appended is gone with the object."""
        self._waiters.wake_all()

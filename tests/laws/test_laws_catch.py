"""The laws can fail: each deliberately broken log is caught by the law that is there for it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest

from headwater.kernel.errors import Fenced, HeadwaterError
from headwater.log.admission import Limits
from headwater.log.engines import memory
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import (
    AppendFailure,
    Batch,
    Fence,
    GroupName,
    NewRecord,
    Offset,
    OwnedName,
    PartitionId,
    PartitionInfo,
    Position,
    StreamSpec,
)
from headwater.log.retention import RetentionRules
from headwater.testing.log_laws import LAWS, Law, Setting
from headwater.testing.log_laws.setting import DAY_S

LAW_BY_NAME: Mapping[str, Law] = {law.__name__: law for law in LAWS}


class NoFence(MemoryLog):
    async def append_atomic(self, records: Sequence[NewRecord], *, fence: Fence) -> Sequence[Position]:
        present = Fence(fence.name, self._epochs.get(fence.name, fence.epoch))
        return await super().append_atomic(records, fence=present)


class FencesEveryName(MemoryLog):
    async def claim(self, owned: OwnedName) -> Fence:
        for name in self._epochs:
            self._epochs[name] += 1
        return await super().claim(owned)


class FenceThatMayBeGuessed(MemoryLog):
    async def append_atomic(self, records: Sequence[NewRecord], *, fence: Fence) -> Sequence[Position]:
        if fence.epoch < self._epochs.get(fence.name, 0):
            raise Fenced("old")
        self._epochs[fence.name] = fence.epoch
        return await super().append_atomic(records, fence=fence)


class ChecksTheFenceTooEarly(MemoryLog):
    async def append_atomic(self, records: Sequence[NewRecord], *, fence: Fence) -> Sequence[Position]:
        if self._epochs.get(fence.name) != fence.epoch:
            raise Fenced("old")
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().append_atomic(records, fence=replace(fence, epoch=self._epochs[fence.name]))

    async def claim(self, owned: OwnedName) -> Fence:
        await asyncio.sleep(0)
        return await super().claim(owned)


class AppendsOneByOne(MemoryLog):
    async def append_atomic(self, records: Sequence[NewRecord], *, fence: Fence) -> Sequence[Position]:
        positions: list[Position] = []
        for record in records:
            positions.extend(await super().append_atomic([record], fence=fence))
        return positions


class Reorders(MemoryLog):
    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        return list(await super().append(records[::-1]))[::-1]


class DropsSome(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        position = super()._put(record)
        if position.offset % 7 == 6:
            self._partitions[position.partition].entries.pop()
        return position


class AppendsTwice(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        position = super()._put(record)
        return super()._put(record) if position.offset == 4 else position


class AnswersWrongPositions(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        position = super()._put(record)
        return Position(position.partition, Offset(position.offset + 1))


class EmptyIsAbsent(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        return super()._put(msgspec.structs.replace(record, key=record.key or None))


class SortsHeaders(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        return super()._put(msgspec.structs.replace(record, headers=tuple(dict(record.headers).items())))


class OnePartition(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        return super()._put(msgspec.structs.replace(record, partition=0))


class FailsTogether(MemoryLog):
    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        outcomes = await super().append(records)
        failed = [outcome for outcome in outcomes if isinstance(outcome, AppendFailure)]
        return [failed[0]] * len(outcomes) if failed else outcomes


class NoLimits(MemoryLog):
    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        self._limits = Limits()
        return await super().append(records)


class LimitsOneTooLow(MemoryLog):
    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        limits, self._limits = self._limits, replace(self._limits, record_bytes_max=self._limits.record_bytes_max - 1)
        try:
            return await super().append(records)
        finally:
            self._limits = limits


class LosesPartitions(MemoryLog):
    async def declare(self, streams: Sequence[StreamSpec]) -> None:
        for spec in streams:
            self._specs.pop(spec.name, None)
        await super().declare(streams)


class KnowsEveryPartition(MemoryLog):
    def _partition(self, partition: PartitionId) -> memory._Partition:
        return self._partitions.get(partition, memory._Partition(partition))


class SkipsARecord(MemoryLog):
    async def read(self, partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
        batch = await super().read(partition, after, limit=limit, wait_s=wait_s)
        return replace(batch, next=Offset(batch.next + 1)) if batch.records and not batch.at_end else batch


class EndsTooSoon(MemoryLog):
    async def read(self, partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
        return replace(await super().read(partition, after, limit=limit, wait_s=wait_s), at_end=True)


class OverlooksLaterRecords(MemoryLog):
    async def read(self, partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
        batch = await super().read(partition, after, limit=limit, wait_s=wait_s)
        return replace(batch, next=Offset(batch.next + 3)) if batch.at_end else batch


class NeverWakes(MemoryLog):
    async def _appended(self, partitions: object) -> None:
        await asyncio.sleep(0)


class WaitsAlways(MemoryLog):
    async def read(self, partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
        await self._clock.sleep(wait_s)
        return await super().read(partition, after, limit=limit)


class ReadsWithoutBound(MemoryLog):
    def _within_bytes(self, entries: Sequence[memory._Entry]) -> Sequence[memory._Entry]:
        return entries


class HoldsTheLoop(MemoryLog):
    async def _let_others_run(self) -> None:
        pass


class FindsTimesTooLate(MemoryLog):
    async def offset_at(self, partition: PartitionId, time_ms: int) -> Offset:
        return Offset(await super().offset_at(partition, time_ms) + 1)


class FindsTimesByTheLast(MemoryLog):
    async def offset_at(self, partition: PartitionId, time_ms: int) -> Offset:
        older = [entry.record.offset for entry in self._partition(partition).entries if entry.record.time_ms < time_ms]
        return max(older, default=Offset(-1))


class DescribesEverything(MemoryLog):
    async def describe(self, prefix: str = "") -> Sequence[PartitionInfo]:
        return await super().describe()


class ProgressGoesBack(MemoryLog):
    async def advance(self, group: GroupName, positions: Mapping[PartitionId, Offset]) -> None:
        await super().advance(group, positions)
        self._groups[group].positions.update(positions)


class NobodyGuards(MemoryLog):
    def _finished(self, partition: memory._Partition) -> int:
        return len(partition.entries)


class NeverExpels(MemoryLog):
    def _expel(self) -> int:
        return 0


class ExpelsGroupsAtTheEnd(MemoryLog):
    def _lags(self, group: memory._Group) -> bool:
        return True


class ForgetsWhomItExpels(MemoryLog):
    def _expel(self) -> int:
        expelled = super()._expel()
        self._groups = {name: group for name, group in self._groups.items() if not group.expelled}
        return expelled


class NeverTrims(MemoryLog):
    def _expired(self, partition: memory._Partition, spec: StreamSpec) -> int:
        return 0


class TrimsByStatedTime(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        position = super()._put(record)
        self._partitions[position.partition].entries[-1].appended_ms = record.time_ms
        return position


class TrimsTooMuch(MemoryLog):
    def _cut(self, partition: memory._Partition, count: int) -> int:
        return super()._cut(partition, min(count + 1, len(partition.entries)) if count else 0)


class HidesTrimming(MemoryLog):
    def _cut(self, partition: memory._Partition, count: int) -> int:
        del partition.entries[:count]
        return count


class FollowsTheWallClock(MemoryLog):
    async def declare(self, streams: Sequence[StreamSpec]) -> None:
        self._trusted = self._clock  # type: ignore[assignment] # this is what is broken
        await super().declare(streams)


class ReusesOffsets(MemoryLog):
    def _put(self, record: NewRecord) -> Position:
        for partition in self._partitions.values():
            if not partition.entries:
                partition.end = 2
        return super()._put(record)


class NeverCompacts(MemoryLog):
    def _compact(self, partition: memory._Partition) -> int:
        return 0


class KeepsTheOldest(MemoryLog):
    def _compact(self, partition: memory._Partition) -> int:
        oldest = {entry.record.key: entry for entry in reversed(partition.entries)}
        partition.entries = [entry for entry in partition.entries if oldest[entry.record.key] is entry]
        return 0


class BuriesAtOnce(MemoryLog):
    async def declare(self, streams: Sequence[StreamSpec]) -> None:
        self._rules = RetentionRules(tombstone_grace_s=-DAY_S)
        await super().declare(streams)


class NeverBuries(MemoryLog):
    async def declare(self, streams: Sequence[StreamSpec]) -> None:
        self._rules = RetentionRules(tombstone_grace_s=10_000 * DAY_S)
        await super().declare(streams)


class TrimsKeptStreams(MemoryLog):
    def _compact(self, partition: memory._Partition) -> int:
        self._cut(self._partitions[PartitionId("notes")], 1)
        return super()._compact(partition)


MUTANTS: Sequence[tuple[type[MemoryLog], str]] = (
    (NoFence, "a_new_owner_fences_the_old_one"),
    (FencesEveryName, "a_new_owner_fences_the_old_one"),
    (FenceThatMayBeGuessed, "a_fence_that_was_never_given_is_refused"),
    (ChecksTheFenceTooEarly, "nothing_of_an_old_owner_lands_after_a_claim"),
    (AppendsOneByOne, "atomic_appends_are_all_or_none"),
    (AppendsOneByOne, "atomic_appends_become_visible_together"),
    (Reorders, "appends_keep_their_order"),
    (DropsSome, "many_appenders_lose_nothing"),
    (AppendsTwice, "many_appenders_lose_nothing"),
    (AnswersWrongPositions, "positions_say_where_records_are_read"),
    (EmptyIsAbsent, "records_come_back_byte_for_byte"),
    (SortsHeaders, "records_come_back_byte_for_byte"),
    (OnePartition, "keys_choose_their_partition"),
    (FailsTogether, "each_record_has_its_own_outcome"),
    (NoLimits, "limits_hold"),
    (LimitsOneTooLow, "limits_hold"),
    (LosesPartitions, "streams_are_declared"),
    (KnowsEveryPartition, "unknown_partitions_are_not_found"),
    (SkipsARecord, "reading_goes_on_from_next"),
    (EndsTooSoon, "at_end_is_true_only_at_the_end"),
    (OverlooksLaterRecords, "at_end_is_true_only_at_the_end"),
    (NeverWakes, "a_read_waits_for_the_first_record"),
    (WaitsAlways, "a_read_gives_up_waiting"),
    (ReadsWithoutBound, "reads_are_bounded_in_bytes_and_records"),
    (HoldsTheLoop, "reading_on_lets_others_run"),
    (FindsTimesTooLate, "a_time_is_found"),
    (FindsTimesByTheLast, "a_time_is_found"),
    (DescribesEverything, "partitions_are_described"),
    (ProgressGoesBack, "progress_never_goes_back"),
    (NobodyGuards, "groups_guard_what_they_have_not_finished"),
    (NeverExpels, "idle_groups_are_expelled"),
    (ForgetsWhomItExpels, "idle_groups_are_expelled"),
    (ExpelsGroupsAtTheEnd, "groups_at_the_end_are_not_idle"),
    (NeverTrims, "old_records_are_trimmed"),
    (TrimsByStatedTime, "old_records_are_trimmed"),
    (HidesTrimming, "old_records_are_trimmed"),
    (TrimsTooMuch, "large_streams_are_trimmed"),
    (FollowsTheWallClock, "a_jump_of_the_clock_expires_nothing"),
    (ReusesOffsets, "offsets_are_never_given_twice"),
    (NeverCompacts, "compaction_keeps_the_newest_of_each_key"),
    (KeepsTheOldest, "compaction_keeps_the_newest_of_each_key"),
    (BuriesAtOnce, "tombstones_remove_their_key"),
    (NeverBuries, "tombstones_remove_their_key"),
    (TrimsKeptStreams, "kept_streams_lose_only_what_is_trimmed"),
)


class _Engine:
    def __init__(self, kind: type[MemoryLog], *, durable: bool) -> None:
        self.durable = durable
        self._kind = kind

    async def open(self, setting: Setting) -> MemoryLog:
        return self._kind(clock=setting.clock, limits=setting.limits, rules=setting.rules)


@pytest.mark.parametrize(("mutant", "law"), MUTANTS, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_broken_log_is_caught(mutant: type[MemoryLog], law: str) -> None:
    with pytest.raises((AssertionError, HeadwaterError)):
        asyncio.run(LAW_BY_NAME[law](_Engine(mutant, durable=False)))


def test_a_log_that_forgets_is_caught() -> None:
    with pytest.raises((AssertionError, HeadwaterError)):
        asyncio.run(LAW_BY_NAME["everything_survives_closing"](_Engine(MemoryLog, durable=True)))


def test_every_law_catches_something() -> None:
    assert {law for _, law in MUTANTS} | {"everything_survives_closing"} == set(LAW_BY_NAME)

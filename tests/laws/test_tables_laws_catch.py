"""The laws of tables can fail: each deliberately broken store is caught by the law that is there for it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import pytest
from msgspec.structs import replace as altered

from headwater.kernel.errors import HeadwaterError
from headwater.tables import rows
from headwater.tables.engines import memory
from headwater.tables.engines.memory import MemoryTableStore
from headwater.tables.errors import PartitionFull, SchemaChanged
from headwater.tables.model import (
    FOREVER,
    Cell,
    Change,
    Changes,
    ClusteringKey,
    Condition,
    Declaration,
    KeyedRow,
    Outcome,
    Page,
    PartitionKey,
    Place,
    Put,
    Remove,
    Revision,
    RowKey,
    Slice,
    SpaceId,
    StoredRow,
    Usage,
    Walked,
    Write,
)
from headwater.testing.clock import ManualClock
from headwater.testing.table_laws import LAWS

LAW_BY_NAME = {law.__name__: law for law in LAWS}


class ForgetsConditions(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        plain = tuple(msgspec.structs.replace(one, condition=None) for one in write.writes)
        return await super().write(altered(write, writes=plain), now_ms=now_ms)


class DecidesTooEarly(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        found = self._spaces[write.space].partitions.get(write.partition)
        refused = found is not None and rows.refusal(write, rows.Found(dict(found.rows), found.static), now_ms // 1000)
        await asyncio.sleep(0)
        if refused:
            return Outcome(False, None, refused)
        plain = tuple(msgspec.structs.replace(one, condition=None) for one in write.writes)
        return await super().write(altered(write, writes=plain), now_ms=now_ms)


class WritesOneByOne(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        outcome = Outcome(True, None)
        for one in write.writes:
            outcome = await super().write(altered(write, writes=(one,)), now_ms=now_ms)
            await asyncio.sleep(0)
        return outcome


class ReadsWithoutTheClock(MemoryTableStore):
    async def read_rows(self, keys: Sequence[RowKey], *, now_s: int) -> Sequence[StoredRow | None]:
        return await super().read_rows(keys, now_s=0)


class ReadsBackwards(MemoryTableStore):
    async def read_rows(self, keys: Sequence[RowKey], *, now_s: int) -> Sequence[StoredRow | None]:
        return await super().read_rows(keys[::-1], now_s=now_s)


class ReadsWhatWasDropped(MemoryTableStore):
    async def read_rows(self, keys: Sequence[RowKey], *, now_s: int) -> Sequence[StoredRow | None]:
        return [self._spaces[space].partitions[partition].rows.get(clustering) for space, partition, clustering in keys]


class WritesTheLastFirst(MemoryTableStore):
    async def write_each(self, writes: Sequence[Write], *, now_ms: int) -> Sequence[Outcome | HeadwaterError]:
        return list(reversed(await super().write_each(list(reversed(writes)), now_ms=now_ms)))


class RefusesAllForOne(MemoryTableStore):
    async def write_each(self, writes: Sequence[Write], *, now_ms: int) -> Sequence[Outcome | HeadwaterError]:
        return [await self.write(write, now_ms=now_ms) for write in writes]


class TellsOnlyTheFirstRow(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        outcome = await super().write(write, now_ms=now_ms)
        return altered(outcome, current=outcome.current[:1])


class FollowsTheClockBack(MemoryTableStore):
    def _next_revision(self, now_ms: int) -> Revision:
        self._revision += 1
        return Revision(now_ms * 1000 + self._revision % 7)


class ForgetsRevisionsOnReclaim(MemoryTableStore):
    def _next_revision(self, now_ms: int) -> Revision:
        present = max(
            (row.revision for space in self._spaces.values() for one in space.partitions.values() for row in one.rows.values()), default=0
        )
        return Revision(present + 1)


class RemembersNoRefusal(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        outcome = await super().write(write, now_ms=now_ms)
        if not outcome.applied and write.write_id is not None:
            del self._spaces[write.space].outcomes[write.partition, write.write_id]
        return outcome


class AsksNoDigest(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        return await super().write(altered(write, digest=b""), now_ms=now_ms)


class KnowsNoWriteIds(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        return await super().write(altered(write, write_id=None), now_ms=now_ms)


class SharesWriteIds(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        space = self._spaces[write.space]
        outcome = await super().write(write, now_ms=now_ms)
        for other in (b"p\0\0", b"q\0\0"):
            if write.write_id is not None:
                space.outcomes.setdefault((PartitionKey(other), write.write_id), (now_ms, write.digest, outcome))
        return outcome


class NeverForgetsWriteIds(MemoryTableStore):
    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        return await super().reclaim(now_ms=now_ms, changes_kept_ms=changes_kept_ms, write_ids_kept_ms=1 << 60, limit=limit)


class AcceptsOldSchemas(MemoryTableStore):
    def _epoch_of(self, space: SpaceId) -> int | None:
        return None if super()._epoch_of(space) is None else 3

    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        return await super().write(altered(write, epoch=3), now_ms=now_ms)


class NoCeiling(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        return await super().write(altered(write, partition_bytes_max=1 << 62), now_ms=now_ms)


class CeilingForEveryWrite(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        partition = self._spaces[write.space].partitions.get(write.partition)
        if partition is not None and memory._usage(write.partition, partition).size_bytes > write.partition_bytes_max:
            raise PartitionFull("full")
        return await super().write(write, now_ms=now_ms)


class NoQuotaOfRows(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        return await super().write(altered(write, room=Usage(1 << 62, write.room.size_bytes)), now_ms=now_ms)


class NoQuotaOfBytes(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        return await super().write(altered(write, room=Usage(write.room.rows, 1 << 62)), now_ms=now_ms)


class ReadsInOneDirection(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        return await super().read(msgspec.structs.replace(slice, backwards=False), now_s=now_s)


class RepeatsTheLastRow(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        if slice.after is not None and not slice.backwards:
            slice = msgspec.structs.replace(slice, lower=slice.after, after=None)
        return await super().read(slice, now_s=now_s)


class PagesByOffset(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        offset = int.from_bytes(slice.after or b"")
        page = await super().read(msgspec.structs.replace(slice, after=None, limit=1 << 30), now_s=now_s)
        end = offset + slice.limit
        return Page(page.rows[offset:end], ClusteringKey(end.to_bytes(4)) if end < len(page.rows) else None)


class EndsTooSoon(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        return Page((await super().read(slice, now_s=now_s)).rows, None)


class ReadsWithoutBoundOfBytes(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        return await super().read(msgspec.structs.replace(slice, bytes_max=1 << 62), now_s=now_s)


class IncludesTheUpperEnd(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        upper = None if slice.upper is None else ClusteringKey(slice.upper + b"\0")
        return await super().read(msgspec.structs.replace(slice, upper=upper), now_s=now_s)


class HidesLonelyStatics(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        return await super().read(msgspec.structs.replace(slice, whole=False), now_s=now_s)


class ForgetsStatics(MemoryTableStore):
    async def read(self, slice: Slice, *, now_s: int) -> Page:
        page = await super().read(slice, now_s=now_s)
        return Page([KeyedRow(row.clustering, row.row, None) for row in page.rows], page.last)


class MixesPartitions(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        return await super().write(altered(write, partition=_cut(write.partition)), now_ms=now_ms)

    async def read(self, slice: Slice, *, now_s: int) -> Page:
        return await super().read(msgspec.structs.replace(slice, partition=_cut(slice.partition)), now_s=now_s)


def _cut(partition: PartitionKey) -> PartitionKey:
    return PartitionKey(partition.replace(b"\0", b"").replace(b"\xff", b""))


class WalksTwice(MemoryTableStore):
    async def walk(self, space: SpaceId, after: Place | None, *, limit: int, now_s: int) -> Walked:
        walked = await super().walk(space, after, limit=limit, now_s=now_s)
        return Walked(walked.rows, (walked.last[0], None)) if walked.last is not None and limit > 5 else walked


class CountsNothing(MemoryTableStore):
    async def usage(self, space: SpaceId) -> Usage:
        return Usage(1, 150)


class ReclaimsTooMuch(MemoryTableStore):
    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        return await super().reclaim(
            now_ms=now_ms + 15_000, changes_kept_ms=changes_kept_ms, write_ids_kept_ms=write_ids_kept_ms, limit=limit
        )


class ReclaimsWholeRows(MemoryTableStore):
    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        for space in self._spaces.values():
            for partition in space.partitions.values():
                for key, row in list(partition.rows.items()):
                    if 0 < rows.first_expiry(row) <= now_ms // 1000:
                        del partition.rows[key]
        return False


class NeverReclaims(MemoryTableStore):
    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        return False


class TrimsInSilence(MemoryTableStore):
    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        more = await super().reclaim(now_ms=now_ms, changes_kept_ms=changes_kept_ms, write_ids_kept_ms=write_ids_kept_ms, limit=limit)
        for space in self._spaces.values():
            space.trimmed = 0
        return more


class StreamsBackwards(MemoryTableStore):
    def _changes(self, id: SpaceId, after: int) -> Sequence[Change]:
        return super()._changes(id, after)[::-1]


class StreamsEveryTable(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        table = replace(write.table, options=replace(write.table.options, changes=True))
        return await super().write(altered(write, table=table), now_ms=now_ms)


class SkipsAChange(MemoryTableStore):
    async def changes(self, space: SpaceId, after: int, *, limit: int, wait_s: float) -> Changes:
        found = await super().changes(space, after, limit=limit, wait_s=wait_s)
        return replace(found, next=found.next + 1)


class NotesTooLate(MemoryTableStore):
    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        changes = list(self._spaces[write.space].changes)
        outcome = await super().write(write, now_ms=now_ms)
        if len(changes) % 17 == 16:
            self._spaces[write.space].changes = changes
        return outcome


class NeverWakes(MemoryTableStore):
    def _note(self, space: SpaceId, changes: Sequence[Change]) -> None:
        self._spaces[space].changes += changes
        self._revision += len(changes)


class WaitsForEver(MemoryTableStore):
    async def changes(self, space: SpaceId, after: int, *, limit: int, wait_s: float) -> Changes:
        return await super().changes(space, after, limit=limit, wait_s=wait_s and 1_000_000)


class ClearsWithoutBound(MemoryTableStore):
    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        return await super().clear(msgspec.structs.replace(slice, limit=1 << 30), epoch=epoch, table_changes=table_changes, now_ms=now_ms)


class ClearsInSilence(MemoryTableStore):
    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        return await super().clear(slice, epoch=epoch, table_changes=False, now_ms=now_ms)


class ClearsTheWholePartition(MemoryTableStore):
    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        whole = msgspec.structs.replace(slice, lower=ClusteringKey(b""), upper=None)
        return await super().clear(whole, epoch=epoch, table_changes=table_changes, now_ms=now_ms)


class LeavesStaticsBehind(MemoryTableStore):
    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        return await super().clear(msgspec.structs.replace(slice, whole=False), epoch=epoch, table_changes=table_changes, now_ms=now_ms)


class ClearsByAnySchema(MemoryTableStore):
    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        return await super().clear(slice, epoch=self._epoch_of(slice.space) or 0, table_changes=table_changes, now_ms=now_ms)


class EndsNoStream(MemoryTableStore):
    async def declare(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration | None:
        return await super().declare(declaration, replaces=replaces)


class DeclaresOver(MemoryTableStore):
    async def declare(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration | None:
        present = self._declarations.get((declaration.group, declaration.name))
        return await super().declare(declaration, replaces=None if present is None else present.epoch)


class DeclaresInTwoSteps(MemoryTableStore):
    async def declare(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration | None:
        present = self._declarations.get((declaration.group, declaration.name))
        if (None if present is None else present.epoch) != replaces:
            return None
        await asyncio.sleep(0)
        present = self._declarations.get((declaration.group, declaration.name))
        return await super().declare(declaration, replaces=None if present is None else present.epoch)


class SharesSpaces(MemoryTableStore):
    async def declare(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration | None:
        stored = await super().declare(declaration, replaces=replaces)
        if stored is None:
            return None
        first = next(iter(stored.domains.values()))
        shared = msgspec.structs.replace(stored, domains=dict.fromkeys(stored.domains, first))
        self._declarations[stored.group, stored.name] = shared
        return shared


class ReusesSpaces(MemoryTableStore):
    def _next_id(self) -> int:
        if not self._declarations:
            self._last_id = 0
        return super()._next_id()


class DropsTheNameOnly(MemoryTableStore):
    def _space(self, id: SpaceId) -> memory._Space | None:
        return self._spaces.get(id)


class DropsWhateverIsThere(MemoryTableStore):
    async def drop(self, declaration: Declaration, *, domain: str | None) -> bool:
        present = self._declarations.get((declaration.group, declaration.name))
        return await super().drop(present or declaration, domain=domain)


class DropsAllDomains(MemoryTableStore):
    async def drop(self, declaration: Declaration, *, domain: str | None) -> bool:
        return await super().drop(declaration, domain=None)


STORES: Sequence[tuple[type[MemoryTableStore], str]] = (
    (ForgetsConditions, "a_row_is_made_once_if_it_must_not_exist"),
    (ForgetsConditions, "a_remove_has_conditions_too"),
    (ForgetsConditions, "a_revision_must_be_the_present_one"),
    (DecidesTooEarly, "of_writes_that_replace_the_same_revision_one_wins"),
    (DecidesTooEarly, "counting_by_compare_and_set_loses_nothing"),
    (WritesOneByOne, "a_batch_is_refused_as_a_whole"),
    (WritesOneByOne, "batches_become_visible_as_a_whole"),
    (WritesOneByOne, "a_batch_writes_all_of_its_rows_under_one_revision"),
    (TellsOnlyTheFirstRow, "a_batch_is_refused_as_a_whole"),
    (FollowsTheClockBack, "revisions_of_a_row_rise_and_are_never_given_twice"),
    (ForgetsRevisionsOnReclaim, "revisions_of_a_row_rise_and_are_never_given_twice"),
    (ReadsWithoutTheClock, "rows_read_together_are_those_read_alone"),
    (ReadsBackwards, "rows_read_together_are_those_read_alone"),
    (ReadsWhatWasDropped, "rows_of_a_dropped_space_are_not_read_together"),
    (WritesTheLastFirst, "writes_carried_out_together_are_those_done_alone"),
    (RefusesAllForOne, "writes_carried_out_together_are_those_done_alone"),
    (RemembersNoRefusal, "a_repeat_of_a_refused_write_is_refused_the_same"),
    (AsksNoDigest, "a_write_id_stands_for_one_write_of_one_partition"),
    (SharesWriteIds, "a_write_id_stands_for_one_write_of_one_partition"),
    (KnowsNoWriteIds, "a_repeat_of_a_write_gets_its_first_outcome"),
    (KnowsNoWriteIds, "repeats_at_the_same_time_are_done_once"),
    (NeverForgetsWriteIds, "write_ids_are_forgotten_when_they_are_old"),
    (AcceptsOldSchemas, "a_write_planned_with_another_declaration_is_refused"),
    (NoCeiling, "a_partition_stops_growing_at_its_ceiling"),
    (NoCeiling, "a_write_that_failed_has_no_outcome"),
    (CeilingForEveryWrite, "a_row_of_a_table_without_ranges_stops_growing_at_the_ceiling"),
    (NoQuotaOfRows, "a_space_keeps_within_its_quota_of_rows"),
    (NoQuotaOfBytes, "a_space_keeps_within_its_quota_of_bytes"),
    (ReadsInOneDirection, "pages_follow_each_other_in_both_directions"),
    (ReadsInOneDirection, "rows_come_in_the_order_of_string_ascending"),
    (RepeatsTheLastRow, "pages_follow_each_other_in_both_directions"),
    (PagesByOffset, "paging_is_stable_under_writes"),
    (EndsTooSoon, "a_page_has_at_most_its_limit"),
    (ReadsWithoutBoundOfBytes, "a_page_is_bounded_in_bytes"),
    (IncludesTheUpperEnd, "a_slice_is_bounded_below_and_above"),
    (HidesLonelyStatics, "a_partition_of_nothing_but_static_cells_yields_them_once"),
    (ForgetsStatics, "static_cells_come_with_every_row"),
    (MixesPartitions, "a_partition_holds_only_its_own_rows"),
    (MixesPartitions, "hash_columns_do_not_run_into_each_other"),
    (WalksTwice, "a_walk_meets_every_row_once"),
    (CountsNothing, "usage_is_what_the_rows_take"),
    (ReclaimsTooMuch, "reclaiming_takes_back_what_has_expired_and_nothing_else"),
    (ReclaimsWholeRows, "reclaiming_changes_nothing_that_can_be_seen"),
    (NeverReclaims, "reclaiming_goes_in_bounded_steps"),
    (TrimsInSilence, "old_changes_are_trimmed_and_said_to_be"),
    (StreamsBackwards, "every_change_is_in_the_stream_in_its_order"),
    (StreamsEveryTable, "a_table_without_a_stream_has_no_changes"),
    (SkipsAChange, "reading_goes_on_after_a_position"),
    (NotesTooLate, "a_change_is_written_with_its_row"),
    (NeverWakes, "a_reader_waits_for_the_next_change"),
    (NeverWakes, "a_reader_waits_for_writes_carried_out_together"),
    (WaitsForEver, "a_reader_gives_up_waiting"),
    (ClearsWithoutBound, "a_delete_of_a_range_is_bounded"),
    (ClearsInSilence, "a_range_is_deleted_and_counted"),
    (ClearsByAnySchema, "a_delete_of_a_range_is_planned_with_the_present_schema"),
    (EndsNoStream, "a_stream_that_ended_hides_no_gap"),
    (ClearsTheWholePartition, "a_range_is_deleted_and_counted"),
    (LeavesStaticsBehind, "a_delete_of_a_partition_takes_its_static_cells_at_last"),
    (DeclaresOver, "a_declaration_replaces_only_the_epoch_that_it_names"),
    (DeclaresInTwoSteps, "of_declarations_at_the_same_time_one_wins"),
    (SharesSpaces, "spaces_share_nothing"),
    (SharesSpaces, "a_domain_that_joins_gets_a_space_and_others_keep_theirs"),
    (ReusesSpaces, "a_table_declared_again_is_empty"),
    (DropsTheNameOnly, "what_was_dropped_is_gone_at_once"),
    (DropsWhateverIsThere, "a_drop_names_the_epoch"),
    (DropsAllDomains, "a_domain_leaves_without_the_others"),
)


class _Engine:
    durable = False

    def __init__(self, kind: type[MemoryTableStore]) -> None:
        self._kind = kind

    async def open(self, clock: ManualClock) -> MemoryTableStore:
        return self._kind(clock)


@pytest.mark.parametrize(("store", "law"), STORES, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_broken_store_is_caught(store: type[MemoryTableStore], law: str) -> None:
    with pytest.raises((AssertionError, HeadwaterError, TimeoutError)):
        asyncio.run(LAW_BY_NAME[law](_Engine(store)))


# Rows that are made wrongly: what is pure is broken instead of the store.

Carry = Callable[..., rows.Effect]


def _with_writes(change: Callable[[Put | Remove], Put | Remove]) -> Carry:
    def carry_out(write: Write, found: rows.Found, *, revision: Revision, now_s: int) -> rows.Effect:
        return rows.carry_out(altered(write, writes=tuple(map(change, write.writes))), found, revision=revision, now_s=now_s)

    return carry_out


def _changed(one: Put | Remove, **fields: object) -> Put | Remove:
    return msgspec.structs.replace(one, **fields) if isinstance(one, Put) else one


def _replacing(write: Write, found: rows.Found, *, revision: Revision, now_s: int) -> rows.Effect:
    return rows.carry_out(write, rows.Found({}, found.static), revision=revision, now_s=now_s)


def _stamping_all_cells(write: Write, found: rows.Found, *, revision: Revision, now_s: int) -> rows.Effect:
    effect = rows.carry_out(write, found, revision=revision, now_s=0)
    stamped = {
        key: row and StoredRow(row.revision, {id: Cell(cell.value) for id, cell in row.cells.items()}, row.marker_expires_s)
        for key, row in effect.rows.items()
    }
    return altered(effect, rows=stamped)


def _ignoring_nulls(one: Put | Remove) -> Put | Remove:
    if not isinstance(one, Put):
        return one
    return _changed(one, cells={id: value for id, value in one.cells.items() if value is not None})


def _expiring_with_the_row(row: StoredRow | None, now_s: int) -> StoredRow | None:
    return None if row is None or 0 < rows.first_expiry(row) <= now_s else row


def _one_second_late(row: StoredRow | None, now_s: int) -> StoredRow | None:
    return rows.live(row, now_s - 1)


def _never_expiring(row: StoredRow | None, now_s: int) -> StoredRow | None:
    return row


def _keeping_empty_rows(row: StoredRow | None, now_s: int) -> StoredRow | None:
    if row is None or row.marker_expires_s is not None:
        return rows.live(row, now_s)
    return rows.live(row, now_s) or StoredRow(row.revision, {}, FOREVER)


def _first_condition_only(write: Write, found: rows.Found, now_s: int) -> Sequence[KeyedRow] | None:
    def cut(condition: Condition | None) -> Condition | None:
        return condition and msgspec.structs.replace(condition, predicates=condition.predicates[:1])

    writes = tuple(msgspec.structs.replace(one, condition=cut(one.condition)) for one in write.writes)
    return rows.refusal(altered(write, writes=writes), found, now_s)


def _blind_to_statics(write: Write, found: rows.Found, now_s: int) -> Sequence[KeyedRow] | None:
    return rows.refusal(write, rows.Found(found.rows, None), now_s)


def _blind_to_expiry(write: Write, found: rows.Found, now_s: int) -> Sequence[KeyedRow] | None:
    return rows.refusal(write, found, 0)


def _every_write(partition: PartitionKey, found: rows.Found, effect: rows.Effect, *, revision: Revision, now_ms: int) -> Sequence[Change]:
    there = {key: row or StoredRow(revision, {}, FOREVER) for key, row in effect.rows.items()}
    changes = rows.changes_of(partition, found, altered(effect, rows=there), revision=revision, now_ms=now_ms)
    return [replace(change, row=effect.rows[change.clustering]) if change.clustering is not None else change for change in changes]


ROWS: Sequence[tuple[str, object, str]] = (
    ("carry_out", _replacing, "what_a_put_does_not_name_stays"),
    ("carry_out", _with_writes(_ignoring_nulls), "null_clears_a_cell"),
    ("carry_out", _with_writes(lambda one: _changed(one, marker=True)), "a_row_that_was_only_updated_goes_with_its_last_cell"),
    ("carry_out", _with_writes(lambda one: _changed(one, marker=True)), "an_update_with_nulls_only_makes_no_row"),
    ("carry_out", _with_writes(lambda one: _changed(one, marker=True)), "static_cells_alone_make_no_row"),
    ("carry_out", _with_writes(lambda one: _changed(one, marker=False)), "a_row_that_was_inserted_stays_without_cells"),
    ("carry_out", _with_writes(lambda one: _changed(one, expires_s=FOREVER)), "a_later_write_replaces_the_expiry"),
    ("live", _expiring_with_the_row, "cells_expire_each_for_itself"),
    ("live", _expiring_with_the_row, "a_write_of_another_cell_leaves_the_expiry"),
    ("live", _expiring_with_the_row, "an_inserted_row_outlives_its_cells_by_its_marker"),
    ("live", _one_second_late, "a_cell_is_there_until_its_second"),
    ("live", _never_expiring, "a_marker_expires"),
    ("live", _never_expiring, "static_cells_expire"),
    ("live", _never_expiring, "pages_pass_over_what_has_expired"),
    ("live", _never_expiring, "a_partition_whose_rows_have_expired_shows_its_static_cells"),
    ("live", _never_expiring, "what_has_expired_is_not_counted_as_deleted"),
    ("live", _keeping_empty_rows, "a_cell_is_there_until_its_second"),
    ("carry_out", _stamping_all_cells, "what_has_expired_does_not_come_back"),
    ("refusal", _first_condition_only, "all_parts_of_a_condition_must_hold"),
    ("refusal", _blind_to_statics, "conditions_see_static_cells"),
    ("refusal", _blind_to_expiry, "a_row_that_has_expired_does_not_exist"),
    ("changes_of", _every_write, "what_changes_nothing_is_no_change"),
    ("changes_of", _every_write, "clearing_the_last_cell_is_a_delete"),
)


@pytest.mark.parametrize(("function", "broken", "law"), ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_rows_made_wrongly_are_caught(monkeypatch: pytest.MonkeyPatch, function: str, broken: object, law: str) -> None:
    monkeypatch.setattr(memory, function, broken)
    with pytest.raises((AssertionError, HeadwaterError)):
        asyncio.run(LAW_BY_NAME[law](_Engine(MemoryTableStore)))


class _Forgetful(_Engine):
    durable = True


def test_a_store_that_forgets_is_caught() -> None:
    with pytest.raises((AssertionError, SchemaChanged)):
        asyncio.run(LAW_BY_NAME["what_is_stored_survives_closing"](_Forgetful(MemoryTableStore)))

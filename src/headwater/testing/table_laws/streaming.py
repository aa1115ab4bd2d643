"""Laws of the change stream and of deleting ranges, whose rows are changes too."""

import asyncio

from msgspec.structs import replace as altered

from headwater.kernel.errors import TooLarge
from headwater.tables.errors import ChangesTrimmed, PositionUnknown, SchemaChanged
from headwater.tables.model import ChangeKind, Condition, Options, Usage
from headwater.tables.rows import CHANGES_BYTES_MAX
from headwater.testing.table_laws.setting import PATIENCE_S, Law, TableEngine, opened, raises, table_of

STREAMED = Options(changes=True)


async def every_change_is_in_the_stream_in_its_order(engine: TableEngine) -> None:
    """Every change is in the stream in its order."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        outcomes = [await t.put(1, v="a"), await t.put(1, w="b"), await t.insert(2), await t.remove(1)]
        changes = await t.changes()
        assert [(change.kind, t.cells(change.row), change.revision) for change in changes] == [
            (ChangeKind.PUT, {"v": "a"}, outcomes[0].revision),
            (ChangeKind.PUT, {"v": "a", "w": "b"}, outcomes[1].revision),
            (ChangeKind.PUT, {}, outcomes[2].revision),
            (ChangeKind.DELETE, {}, outcomes[3].revision),
        ]
        assert [change.clustering for change in changes] == [t.clustering(key) for key in (1, 1, 2, 1)]
        assert {change.partition for change in changes} == {t.partition("p")} and {change.at_ms for change in changes} == {t.clock.now_ms()}
        sequences = [change.sequence for change in changes]
        assert sequences == sorted(set(sequences)) and sequences[0] > 0


async def what_changes_nothing_is_no_change(engine: TableEngine) -> None:
    """What changes nothing is no change."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        await t.remove(1)
        await t.write(t.put_of((1,), {"v": None}, marker=False))
        await t.put_if(1, Condition(exists=True), v="x")
        assert await t.changes() == []
        await t.write(t.put_of((1,), {"v": "x"}), write_id="w")
        await t.write(t.put_of((1,), {"v": "x"}), write_id="w")
        assert len(await t.changes()) == 1


async def clearing_the_last_cell_is_a_delete(engine: TableEngine) -> None:
    """Clearing the last cell is a delete."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        await t.put(1, v="x")
        await t.write(t.put_of((1,), {"v": None}, marker=False))
        assert [change.kind for change in await t.changes()] == [ChangeKind.PUT, ChangeKind.DELETE]


async def a_batch_is_one_change_per_row(engine: TableEngine) -> None:
    """A batch is one change per row."""
    async with opened(engine, table_of(options=STREAMED, statics="s:string")) as t:
        await t.put(3, v="x")
        outcome = await t.write(t.put_of((1,), {"v": "a", "s": "s"}), t.put_of((2,), {"v": "b"}), t.remove_of((3,)))
        changes = (await t.changes())[1:]
        assert [(change.clustering, change.kind) for change in changes] == [
            (t.clustering(1), ChangeKind.PUT),
            (t.clustering(2), ChangeKind.PUT),
            (t.clustering(3), ChangeKind.DELETE),
        ]
        assert {change.revision for change in changes} == {outcome.revision}
        assert [t.cells(change.static) for change in changes] == [{"s": "s"}] * 3
        later = await t.put(1, v="c")
        assert (await t.changes())[-1].revision == later.revision and (await t.changes())[-1].sequence > changes[-1].sequence


async def static_cells_alone_are_a_change_of_the_partition(engine: TableEngine) -> None:
    """Static cells alone are a change of the partition."""
    async with opened(engine, table_of(options=STREAMED, statics="s:string")) as t:
        await t.put(None, s="a")
        await t.put(None, s=None)
        await t.put(None, s=None)
        assert [(change.clustering, change.kind, t.cells(change.static)) for change in await t.changes()] == [
            (None, ChangeKind.PUT, {"s": "a"}),
            (None, ChangeKind.DELETE, {}),
        ]


async def a_table_without_a_stream_has_no_changes(engine: TableEngine) -> None:
    """A table without a stream has no changes."""
    async with opened(engine) as t:
        await t.put(1, v="x")
        assert await t.changes() == []


async def a_change_is_written_with_its_row(engine: TableEngine) -> None:
    """A change is written with its row."""
    async with opened(engine, table_of(options=STREAMED, regulars="n:int")) as t:
        writing = [asyncio.ensure_future(t.put(n % 5, f"{n % 3}", n=n)) for n in range(200)]
        position, last = 0, dict[tuple[bytes, object], object]()
        while not all(one.done() for one in writing):
            await asyncio.sleep(0)
            page = await t.store.changes(t.space, position, limit=50, wait_s=0)
            position = page.next
            last |= {(change.partition, change.clustering): t.cells(change.row) for change in page.changes}
        last |= {(change.partition, change.clustering): t.cells(change.row) for change in await t.changes(position)}
        assert last == {(key, row.clustering): t.cells(row.row) for key, row in await t.walk()}
        assert len(await t.changes()) == 200


async def reading_goes_on_after_a_position(engine: TableEngine) -> None:
    """Reading goes on after a position."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        for key in range(10):
            await t.put(key, v="x")
        everything = await t.changes()
        for number, change in enumerate(everything):
            assert await t.changes(change.sequence) == everything[number + 1 :]
        page = await t.store.changes(t.space, 0, limit=4, wait_s=0)
        assert len(page.changes) == 4 and not page.at_end and page.next == page.changes[-1].sequence
        end = await t.store.changes(t.space, everything[-1].sequence, limit=4, wait_s=0)
        assert (list(end.changes), end.next, end.at_end) == ([], everything[-1].sequence, True)


async def a_reader_waits_for_the_next_change(engine: TableEngine) -> None:
    """A reader waits for the next change."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        waiting = asyncio.ensure_future(t.store.changes(t.space, 0, limit=10, wait_s=3_600))
        await t.clock.wait_for_sleepers(1)
        assert not waiting.done()
        await t.put(1, v="x")
        found = await asyncio.wait_for(waiting, PATIENCE_S)
        assert len(found.changes) == 1


async def a_reader_gives_up_waiting(engine: TableEngine) -> None:
    """A reader gives up waiting."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        waiting = asyncio.ensure_future(t.store.changes(t.space, 0, limit=10, wait_s=15))
        await t.clock.wait_for_sleepers(1)
        t.clock.advance(15)
        found = await asyncio.wait_for(waiting, PATIENCE_S)
        assert list(found.changes) == [] and found.at_end


async def old_changes_are_trimmed_and_said_to_be(engine: TableEngine) -> None:
    """Old changes are trimmed and said to be."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        for key in range(10):
            await t.put(key, v="x")
            t.clock.advance(1)
        everything = await t.changes()
        await t.reclaim(changes_kept_ms=4_000, limit=1)
        error = await raises(ChangesTrimmed, t.store.changes(t.space, 0, limit=10, wait_s=0))
        assert isinstance(error, ChangesTrimmed)
        assert await t.changes(error.first) == everything[6:]
        await raises(ChangesTrimmed, t.store.changes(t.space, error.first - 1, limit=10, wait_s=0))
        assert await t.changes(everything[7].sequence) == everything[8:]
        assert len(await t.all(t.slice())) == 10


async def a_position_beyond_the_newest_change_is_none(engine: TableEngine) -> None:
    """A position beyond the newest change is none, whether that change is still there or not."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        await raises(PositionUnknown, t.store.changes(t.space, 1, limit=10, wait_s=0))
        await t.put(1, v="x")
        newest = (await t.changes())[-1].sequence
        assert await t.changes(newest) == [] and [one.sequence for one in await t.changes(newest - 1)] == [newest]
        for wait_s in (0, PATIENCE_S):
            await raises(PositionUnknown, t.store.changes(t.space, newest + 1, limit=10, wait_s=wait_s))
        t.clock.advance(10)
        await t.reclaim(changes_kept_ms=4_000)
        assert await t.changes(newest) == []
        await raises(PositionUnknown, t.store.changes(t.space, newest + 1, limit=10, wait_s=0))
        await t.put(2, v="y")
        last = (await t.changes(newest))[-1].sequence
        await raises(PositionUnknown, t.store.changes(t.space, last + 1, limit=10, wait_s=0))


async def a_stream_that_ended_hides_no_gap(engine: TableEngine) -> None:
    """A stream that ended and begins again hides no gap: every position from before is told."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        await t.put(1, v="x")
        before = (await t.changes())[-1].sequence
        ended = await t.store.declare(t.declaration, replaces=t.declaration.epoch, ends_streams=True)
        assert ended is not None
        t.declaration, t.table = ended, table_of()
        t.clock.advance(10)
        await t.put(1, v="in between")
        again = await t.store.declare(ended, replaces=ended.epoch)
        assert again is not None
        t.declaration, t.table = again, table_of(options=STREAMED)
        await t.put(2, v="y")
        await t.reclaim(changes_kept_ms=5_000)  # which takes the first change away, and no position back
        await raises(ChangesTrimmed, t.store.changes(t.space, 0, limit=10, wait_s=0))
        error = await raises(ChangesTrimmed, t.store.changes(t.space, before, limit=10, wait_s=0))
        assert isinstance(error, ChangesTrimmed)
        assert [change.clustering for change in await t.changes(error.first)] == [t.clustering(2)]


# Ranges


async def a_range_is_deleted_and_counted(engine: TableEngine) -> None:
    """A range is deleted and counted."""
    async with opened(engine, table_of(options=STREAMED, statics="s:string")) as t:
        for key in range(10):
            await t.put(key, v="x", s="s")
        slice = altered(t.slice(), lower=t.clustering(3), upper=t.clustering(7), whole=False)
        assert await t.clear(slice) == (4, True)
        assert await t.keys(t.slice()) == [0, 1, 2, 7, 8, 9] and (await t.usage()).rows == 6
        deleted = [change for change in await t.changes() if change.kind is ChangeKind.DELETE]
        assert [change.clustering for change in deleted] == [t.clustering(key) for key in range(3, 7)]
        assert [change.row for change in deleted] == [None] * 4
        assert await t.clear(slice) == (0, True)


async def a_delete_of_a_range_is_bounded(engine: TableEngine) -> None:
    """A delete of a range is bounded."""
    async with opened(engine) as t:
        for key in range(10):
            await t.put(key, v="x")
        slice = altered(t.slice(), limit=4)
        done = [await t.clear(slice) for _ in range(3)]
        assert done == [(4, False), (4, False), (2, True)] and await t.usage() == Usage(0, 0)


async def a_delete_of_a_partition_takes_its_static_cells_at_last(engine: TableEngine) -> None:
    """A delete of a partition takes its static cells at last."""
    async with opened(engine, table_of(options=STREAMED, statics="s:string")) as t:
        for key in range(3):
            await t.put(key, v="x", s="s")
            await t.put(key, "other", v="x", s="s")
        assert await t.clear(altered(t.slice(), limit=2)) == (2, False)
        assert [t.shown(row) for row in await t.all(t.slice())] == [{"v": "x", "s": "s"}]
        assert await t.clear(altered(t.slice(), limit=2)) == (1, True)
        assert await t.all(t.slice()) == [] and len(await t.all(t.slice("other"))) == 3
        last = (await t.changes())[-1]
        assert (last.clustering, last.kind, last.static) == (None, ChangeKind.DELETE, None)


async def what_has_expired_is_not_counted_as_deleted(engine: TableEngine) -> None:
    """What has expired is not counted as deleted."""
    async with opened(engine, table_of(options=STREAMED)) as t:
        for key in range(6):
            await t.put(key, v="x", ttl_s=10 if key % 2 else 0)
        t.clock.advance(10)
        deleted, complete = await t.clear(t.slice())
        assert (deleted, complete) == (3, True)
        assert len([change for change in await t.changes() if change.kind is ChangeKind.DELETE]) == 3
        await t.reclaim()
        assert await t.usage() == Usage(0, 0)


async def a_delete_of_a_range_is_planned_with_the_present_schema(engine: TableEngine) -> None:
    """A delete of a range is planned with the present schema: one that has begun to stream since must not miss it."""
    async with opened(engine) as t:
        await t.put(1, v="x")
        slice = t.slice()
        changed = await t.store.declare(t.declaration, replaces=t.declaration.epoch)
        assert changed is not None
        await raises(SchemaChanged, t.clear(slice))
        assert await t.keys(t.slice()) == [1]
        t.declaration, t.table = changed, table_of(options=STREAMED)
        assert await t.clear(slice) == (1, True)
        assert [change.kind for change in await t.changes()] == [ChangeKind.DELETE]


async def static_cells_in_changes_have_a_bound(engine: TableEngine) -> None:
    """Each change of a batch shows the static cells: a batch of which that makes too much is refused, a clearing ends sooner."""
    async with opened(engine, table_of(options=STREAMED, statics="s:string")) as t:
        await t.put(None, s="x" * (CHANGES_BYTES_MAX // 4))
        batch = [t.put_of((key,), {"v": "x"}) for key in range(4)]
        await raises(TooLarge, t.write(*batch))
        assert (await t.usage()).rows == 0 and len(await t.changes()) == 1
        await t.write(*batch[:3])
        await t.put(3, v="x")
        assert await t.clear(t.slice()) == (3, False)
        assert await t.clear(t.slice()) == (1, True)
        assert await t.usage() == Usage(0, 0)


LAWS: tuple[Law, ...] = (
    every_change_is_in_the_stream_in_its_order,
    what_changes_nothing_is_no_change,
    clearing_the_last_cell_is_a_delete,
    a_batch_is_one_change_per_row,
    static_cells_alone_are_a_change_of_the_partition,
    a_table_without_a_stream_has_no_changes,
    a_change_is_written_with_its_row,
    reading_goes_on_after_a_position,
    a_reader_waits_for_the_next_change,
    a_reader_gives_up_waiting,
    old_changes_are_trimmed_and_said_to_be,
    a_position_beyond_the_newest_change_is_none,
    a_stream_that_ended_hides_no_gap,
    a_range_is_deleted_and_counted,
    a_delete_of_a_range_is_bounded,
    a_delete_of_a_partition_takes_its_static_cells_at_last,
    what_has_expired_is_not_counted_as_deleted,
    a_delete_of_a_range_is_planned_with_the_present_schema,
    static_cells_in_changes_have_a_bound,
)

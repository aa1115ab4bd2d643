"""Laws of writing: merging, conditions, batches, repeats, ceilings and quotas, and rows under concurrency."""

import asyncio
from dataclasses import replace

from msgspec.structs import replace as altered

from headwater.tables.errors import PartitionFull, SchemaChanged, TableQuotaExceeded, WriteIdReused
from headwater.tables.model import Condition, Operator, Predicate, Revision, Stored, Usage
from headwater.testing.table_laws.setting import Law, Space, TableEngine, opened, raises, table_of

ABSENT, PRESENT = Condition(exists=False), Condition(exists=True)


def _where(t: Space, name: str, operator: Operator, *operands: Stored) -> Condition:
    return Condition(predicates=(Predicate(t.table.by_name[name], operator, operands),))


async def what_a_put_does_not_name_stays(engine: TableEngine) -> None:
    """What a put does not name stays."""
    async with opened(engine) as t:
        await t.put(1, v="a", w="b", tags=["x"])
        await t.put(1, w="c")
        assert await t.get(1) == {"v": "a", "w": "c", "tags": ["x"]}


async def null_clears_a_cell(engine: TableEngine) -> None:
    """Null clears a cell."""
    async with opened(engine) as t:
        await t.put(1, v="a", w="b", tags=["x"])
        await t.put(1, v=None, tags=None, w="c")
        assert await t.get(1) == {"w": "c"}


async def a_row_that_was_only_updated_goes_with_its_last_cell(engine: TableEngine) -> None:
    """A row that was only updated goes with its last cell."""
    async with opened(engine) as t:
        await t.put(1, v="a", w="b")
        await t.write(t.put_of((1,), {"v": None}, marker=False))
        assert await t.get(1) == {"w": "b"}
        await t.write(t.put_of((1,), {"w": None}, marker=False))
        assert await t.get(1) is None
        assert (await t.usage()) == Usage(0, 0)


async def a_row_that_was_inserted_stays_without_cells(engine: TableEngine) -> None:
    """A row that was inserted stays without cells."""
    async with opened(engine) as t:
        await t.insert(1)
        assert await t.get(1) == {}
        await t.put(1, v="a")
        await t.write(t.put_of((1,), {"v": None}, marker=False))
        assert await t.get(1) == {}


async def an_update_with_nulls_only_makes_no_row(engine: TableEngine) -> None:
    """An update with nulls only makes no row."""
    async with opened(engine) as t:
        assert (await t.write(t.put_of((1,), {"v": None}, marker=False))).applied
        assert await t.get(1) is None and await t.usage() == Usage(0, 0)


async def static_cells_alone_make_no_row(engine: TableEngine) -> None:
    """Static cells alone make no row."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(1, s="x")
        assert await t.get(1) is None
        assert [row.clustering for row in await t.all(t.slice())] == [None]
        await t.put(None, s=None)
        assert await t.all(t.slice()) == [] and await t.usage() == Usage(0, 0)


async def a_removed_row_is_gone_and_starts_anew(engine: TableEngine) -> None:
    """A removed row is gone and starts anew."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.insert(1, v="a", w="b", s="s")
        assert (await t.remove(1)).applied and (await t.remove(1)).applied and (await t.remove(2)).applied
        assert await t.get(1) is None
        await t.put(1, w="c")
        assert await t.get(1) == {"w": "c", "s": "s"}


async def revisions_of_a_row_rise_and_are_never_given_twice(engine: TableEngine) -> None:
    """Revisions of a row rise and are never given twice."""
    async with opened(engine) as t:
        given: list[Revision] = []
        for turn in range(6):
            for outcome in (await t.put(1, v=f"{turn}"), await t.put(2, v="x"), await t.remove(1), await t.insert(1, ttl_s=1)):
                assert outcome.revision is not None
                given.append(outcome.revision)
            if turn == 2:
                t.clock.jump_wall(-3_600)
            if turn == 4:
                t.clock.jump_wall(7_200)
                await t.reclaim()
        assert given == sorted(set(given))


async def a_row_shows_the_revision_of_its_last_write(engine: TableEngine) -> None:
    """A row shows the revision of its last write."""
    async with opened(engine) as t:
        for outcome in (await t.put(1, v="a"), await t.put(1, w="b")):
            last = outcome.revision
        found = await t.keyed(1)
        assert found is not None and found.row is not None and found.row.revision == last


# Conditions


async def a_row_is_made_once_if_it_must_not_exist(engine: TableEngine) -> None:
    """A row is made once if it must not exist."""
    async with opened(engine) as t:
        assert (await t.put_if(1, ABSENT, v="a")).applied
        refused = await t.put_if(1, ABSENT, v="b")
        assert not refused.applied and refused.revision is None
        assert [t.shown(row) for row in refused.current] == [{"v": "a"}] and await t.get(1) == {"v": "a"}
        await t.remove(1)
        assert (await t.put_if(1, ABSENT, v="c")).applied


async def a_row_that_has_expired_does_not_exist(engine: TableEngine) -> None:
    """A row that has expired does not exist."""
    async with opened(engine) as t:
        first = await t.put(1, v="a", ttl_s=10)
        t.clock.advance(10)
        assert not (await t.put_if(1, PRESENT, v="b")).applied
        assert not (await t.put_if(1, Condition(revision=first.revision), v="b")).applied
        assert not (await t.put_if(1, _where(t, "v", Operator.EQ, "a"), w="b")).applied
        assert (await t.put_if(1, ABSENT, w="b")).applied
        assert await t.get(1) == {"w": "b"}


async def a_revision_must_be_the_present_one(engine: TableEngine) -> None:
    """A revision must be the present one."""
    async with opened(engine) as t:
        first = await t.put(1, v="a")
        second = await t.put_if(1, Condition(revision=first.revision), v="b")
        assert second.applied and second.revision is not None and first.revision is not None and second.revision > first.revision
        for stale in (first.revision, Revision(second.revision + 1)):
            refused = await t.put_if(1, Condition(revision=stale), v="c")
            assert not refused.applied and refused.current[0].row is not None and refused.current[0].row.revision == second.revision
        assert await t.get(1) == {"v": "b"}
        assert not (await t.put_if(2, Condition(revision=second.revision), v="c")).applied


async def a_remove_has_conditions_too(engine: TableEngine) -> None:
    """A remove has conditions too."""
    async with opened(engine) as t:
        first = await t.put(1, v="a")
        assert not (await t.remove(1, condition=Condition(revision=Revision(1)))).applied
        assert not (await t.remove(2, condition=PRESENT)).applied
        assert await t.get(1) == {"v": "a"}
        assert (await t.remove(1, condition=Condition(revision=first.revision))).applied and await t.get(1) is None


async def predicates_compare_as_the_type_does(engine: TableEngine) -> None:
    """Predicates compare as the type does."""
    async with opened(engine, table_of(regulars="v:string n:int d:decimal e:set<int>")) as t:
        await t.insert(1, n=9, d="10.0", v="b", e=[1, 2])
        holding: list[tuple[str, Operator, tuple[Stored, ...]]] = [
            ("n", Operator.LT, (10,)),
            ("n", Operator.GE, (9,)),
            ("n", Operator.BETWEEN, (9, 9)),
            ("d", Operator.GT, ("9.5",)),
            ("v", Operator.LE, ("b",)),
            ("e", Operator.EQ, ([1, 2],)),
        ]
        failing: list[tuple[str, Operator, tuple[Stored, ...]]] = [
            ("n", Operator.GT, (9,)),
            ("n", Operator.BETWEEN, (10, 11)),
            ("d", Operator.LT, ("9.5",)),
            ("v", Operator.EQ, ("c",)),
            ("e", Operator.EQ, ([1],)),
        ]
        for name, operator, operands in holding:
            assert (await t.write(t.remove_of((1,), _where(t, name, operator, *operands)), partition="p")).applied, (name, operator)
            await t.insert(1, n=9, d="10.0", v="b", e=[1, 2])
        for name, operator, operands in failing:
            assert not (await t.put_if(1, _where(t, name, operator, *operands), v="z")).applied, (name, operator)


async def null_equals_null_and_compares_with_nothing_else(engine: TableEngine) -> None:
    """Null equals null and compares with nothing else."""
    async with opened(engine) as t:
        await t.put(1, v="a")
        assert (await t.put_if(1, _where(t, "w", Operator.EQ, None), v="b")).applied
        assert (await t.put_if(2, _where(t, "w", Operator.EQ, None), v="b")).applied, "of a row that is not there everything is null"
        for condition in (
            _where(t, "v", Operator.EQ, None),
            _where(t, "w", Operator.EQ, "x"),
            _where(t, "w", Operator.LT, "x"),
            _where(t, "w", Operator.GE, ""),
            _where(t, "w", Operator.BETWEEN, "", "zz"),
        ):
            assert not (await t.put_if(1, condition, v="c")).applied


async def conditions_see_static_cells(engine: TableEngine) -> None:
    """Conditions see static cells."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(None, s="open")
        assert (await t.put_if(1, _where(t, "s", Operator.EQ, "open"), v="a")).applied, "also where the row is not there"
        assert (await t.write(t.put_of(None, {"s": "shut"}, condition=PRESENT))).applied
        refused = await t.put_if(1, _where(t, "s", Operator.EQ, "open"), v="b")
        assert not refused.applied and t.shown(refused.current[0]) == {"v": "a", "s": "shut"}


async def all_parts_of_a_condition_must_hold(engine: TableEngine) -> None:
    """All parts of a condition must hold."""
    async with opened(engine) as t:
        first = await t.put(1, v="a", w="b")
        both = (*_where(t, "v", Operator.EQ, "a").predicates, *_where(t, "w", Operator.EQ, "x").predicates)
        assert not (await t.put_if(1, Condition(predicates=both), v="c")).applied
        assert not (await t.put_if(1, altered(_where(t, "v", Operator.EQ, "a"), revision=Revision(7)), v="c")).applied
        assert not (await t.put_if(1, altered(_where(t, "v", Operator.EQ, "x"), revision=first.revision), v="c")).applied
        assert (await t.put_if(1, altered(_where(t, "v", Operator.EQ, "a"), revision=first.revision, exists=True), v="c")).applied


async def of_writes_that_replace_the_same_revision_one_wins(engine: TableEngine) -> None:
    """Of writes that replace the same revision one wins."""
    async with opened(engine) as t:
        first = await t.put(1, v="first")
        done = await asyncio.gather(*(t.put_if(1, Condition(revision=first.revision), v=f"{n}") for n in range(30)))
        winners = [n for n, outcome in enumerate(done) if outcome.applied]
        assert len(winners) == 1 and await t.get(1) == {"v": f"{winners[0]}"}


async def counting_by_compare_and_set_loses_nothing(engine: TableEngine) -> None:
    """Counting by compare and set loses nothing."""
    async with opened(engine, table_of(regulars="n:int")) as t:
        await t.put(1, n=0)

        async def count(times: int) -> None:
            while times:
                row = await t.keyed(1)
                assert row is not None and row.row is not None
                n = t.cells(row.row)["n"]
                assert isinstance(n, int)
                times -= (await t.put_if(1, Condition(revision=row.row.revision), n=n + 1)).applied

        await asyncio.gather(*(count(8) for _ in range(8)))
        assert await t.get(1) == {"n": 64}


# Batches


async def a_batch_writes_all_of_its_rows_under_one_revision(engine: TableEngine) -> None:
    """A batch writes all of its rows under one revision."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(3, v="old")
        outcome = await t.write(t.put_of((1,), {"v": "a"}), t.put_of((2,), {"v": "b", "s": "s"}), t.remove_of((3,)))
        assert [(t.shown(row), row.row and row.row.revision) for row in await t.all(t.slice())] == [
            ({"v": "a", "s": "s"}, outcome.revision),
            ({"v": "b", "s": "s"}, outcome.revision),
        ]


async def a_batch_is_refused_as_a_whole(engine: TableEngine) -> None:
    """A batch is refused as a whole."""
    async with opened(engine) as t:
        await t.put(2, v="there")
        refused = await t.write(
            t.put_of((1,), {"v": "a"}), t.put_of((2,), {"v": "b"}, condition=ABSENT), t.remove_of((3,)), t.put_of((4,), {"v": "d"})
        )
        assert not refused.applied
        assert [(row.clustering, t.shown(row)) for row in refused.current] == [
            (t.clustering(1), {}),
            (t.clustering(2), {"v": "there"}),
            (t.clustering(3), {}),
            (t.clustering(4), {}),
        ]
        assert [t.shown(row) for row in await t.all(t.slice())] == [{"v": "there"}]


async def batches_become_visible_as_a_whole(engine: TableEngine) -> None:
    """Batches become visible as a whole."""
    async with opened(engine) as t:
        await t.write(*(t.put_of((key,), {"v": "0"}) for key in range(10)))
        torn = False

        async def look(writing: "asyncio.Future[None]") -> None:
            nonlocal torn
            while not writing.done():
                torn = torn or len({str(t.shown(row)["v"]) for row in await t.all(t.slice())}) != 1
                await asyncio.sleep(0)

        async def write() -> None:
            for turn in range(20):
                await t.write(*(t.put_of((key,), {"v": f"{turn}"}) for key in range(10)))

        writing = asyncio.ensure_future(write())
        await look(writing)
        await writing
        assert not torn


# Repeats


async def a_repeat_of_a_write_gets_its_first_outcome(engine: TableEngine) -> None:
    """A repeat of a write gets its first outcome."""
    async with opened(engine) as t:
        first = await t.write(t.put_of((1,), {"v": "a"}, condition=ABSENT), write_id="w")
        await t.put(1, v="b")
        again = await t.write(t.put_of((1,), {"v": "a"}, condition=ABSENT), write_id="w")
        assert first.applied and not first.repeated and again == altered(first, repeated=True)
        assert await t.get(1) == {"v": "b"}


async def a_repeat_of_a_refused_write_is_refused_the_same(engine: TableEngine) -> None:
    """A repeat of a refused write is refused the same."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(1, v="a", tags=["x", "y"], s="s")
        first = await t.write(t.put_of((1,), {"v": "b"}, condition=ABSENT), write_id="w")
        await t.remove(1)
        again = await t.write(t.put_of((1,), {"v": "b"}, condition=ABSENT), write_id="w")
        assert not again.applied and again.repeated and list(again.current) == list(first.current)
        assert t.shown(again.current[0]) == {"v": "a", "tags": ["x", "y"], "s": "s"}
        assert await t.get(1) is None


async def a_write_id_stands_for_one_write_of_one_partition(engine: TableEngine) -> None:
    """A write id stands for one write of one partition."""
    async with opened(engine) as t:
        await t.write(t.put_of((1,), {"v": "a"}), write_id="w", digest=b"1")
        await raises(WriteIdReused, t.write(t.put_of((1,), {"v": "b"}), write_id="w", digest=b"2"))
        assert await t.get(1) == {"v": "a"}
        assert not (await t.write(t.put_of((1,), {"v": "c"}), write_id="w", digest=b"2", partition="q")).repeated
        assert not (await t.write(t.put_of((2,), {"v": "c"}), write_id="x", digest=b"2")).repeated


async def repeats_at_the_same_time_are_done_once(engine: TableEngine) -> None:
    """Repeats at the same time are done once."""
    async with opened(engine, table_of(regulars="v:string")) as t:
        done = await asyncio.gather(*(t.write(t.put_of((1,), {"v": "a"}, condition=ABSENT), write_id="w") for _ in range(10)))
        assert all(outcome.applied for outcome in done) and sum(not outcome.repeated for outcome in done) == 1
        assert len({outcome.revision for outcome in done}) == 1


async def a_write_that_failed_has_no_outcome(engine: TableEngine) -> None:
    """A write that failed has no outcome."""
    async with opened(engine) as t:
        t.partition_bytes_max = 10
        await raises(PartitionFull, t.write(t.put_of((1,), {"v": "a" * 100}), write_id="w"))
        t.partition_bytes_max = 1 << 40
        assert not (await t.write(t.put_of((1,), {"v": "a" * 100}), write_id="w")).repeated
        assert await t.get(1) == {"v": "a" * 100}


# Room


async def a_partition_stops_growing_at_its_ceiling(engine: TableEngine) -> None:
    """A partition stops growing at its ceiling."""
    async with opened(engine) as t:
        await _stops_growing(t, (1,))
        t.partition_bytes_max = (await t.store.largest(t.space, limit=1))[0].usage.size_bytes + 100
        await raises(PartitionFull, t.put(2, "q", v="y" * 1000))
        assert await t.get(2, "q") is None
        await raises(PartitionFull, t.write(*(t.put_of((key,), {"v": "y" * 100}) for key in range(10, 40)), partition="q"))
        assert (await t.usage()).rows == 1


async def a_row_of_a_table_without_ranges_stops_growing_at_the_ceiling(engine: TableEngine) -> None:
    """A row of a table without ranges stops growing at the ceiling."""
    async with opened(engine, table_of(ranges="")) as t:
        await _stops_growing(t, ())


async def _stops_growing(t: Space, key: tuple[Stored, ...]) -> None:
    await t.write(t.put_of(key, {"v": "x" * 1000}))
    t.partition_bytes_max = (await t.usage()).size_bytes
    await raises(PartitionFull, t.write(t.put_of(key, {"w": "y" * 1000})))
    assert [t.shown(row) for row in await t.all(t.slice())] == [{"v": "x" * 1000}]
    t.partition_bytes_max = 10
    assert (await t.write(t.put_of(key, {"v": "x" * 999}))).applied, "what shrinks it is taken"
    await t.write(t.put_of(key, {"v": None}, marker=False))
    t.partition_bytes_max = 1 << 40
    await t.write(t.put_of(key, {"v": "x" * 200}), partition="q")


async def a_space_keeps_within_its_quota_of_rows(engine: TableEngine) -> None:
    """A space keeps within its quota of rows."""
    async with opened(engine) as t:
        t.room = Usage(2, 1 << 40)
        await t.put(1, "a", v="x")
        await t.put(1, "b", v="x")
        await raises(TableQuotaExceeded, t.put(1, "c", v="x"))
        await raises(TableQuotaExceeded, t.put(2, "a", v="x"))
        assert await t.get(1, "c") is None and (await t.usage()).rows == 2
        await t.put(1, "a", v="longer")
        await t.remove(1, "b")
        assert (await t.put(1, "c", v="x")).applied


async def a_space_keeps_within_its_quota_of_bytes(engine: TableEngine) -> None:
    """A space keeps within its quota of bytes."""
    async with opened(engine) as t:
        await t.put(1, v="x" * 500)
        t.room = Usage(1 << 40, (await t.usage()).size_bytes + 100)
        await raises(TableQuotaExceeded, t.put(2, v="x" * 500))
        await raises(TableQuotaExceeded, t.put(1, w="x" * 200))
        assert (await t.put(1, v="x" * 510)).applied and (await t.put(1, v="x")).applied
        assert (await t.put(2, v="x" * 300)).applied


async def usage_is_what_the_rows_take(engine: TableEngine) -> None:
    """Usage is what the rows take."""
    async with opened(engine, table_of(statics="s:string")) as t:
        assert await t.usage() == Usage(0, 0)
        await t.put(1, v="x" * 100)
        one = await t.usage()
        await t.put(1, v="y" * 100)
        assert await t.usage() == one and one.rows == 1 and 100 < one.size_bytes < 200
        await t.put(2, v="y" * 100, s="z")
        await t.put(None, "q", s="z")
        assert (await t.usage()).rows == 2
        for key, partition in ((1, "p"), (2, "p")):
            await t.remove(key, partition)
        await t.put(None, s=None)
        await t.put(None, "q", s=None)
        assert await t.usage() == Usage(0, 0) and await t.store.largest(t.space, limit=9) == []


async def a_write_planned_with_another_declaration_is_refused(engine: TableEngine) -> None:
    """A write planned with another declaration is refused."""
    async with opened(engine) as t:
        await t.put(1, v="a")
        changed = await t.store.declare(t.declaration, replaces=t.declaration.epoch)
        assert changed is not None
        await raises(SchemaChanged, t.put(1, v="b"))
        await raises(SchemaChanged, t.write(t.put_of((1,), {"v": "b"}), write_id="w"))
        assert await t.get(1) == {"v": "a"}
        t.declaration = changed
        assert (await t.write(t.put_of((1,), {"v": "b"}), write_id="w")).applied


async def a_column_that_is_added_again_shows_nothing_of_the_old_one(engine: TableEngine) -> None:
    """A column that is added again shows nothing of the old one."""
    async with opened(engine, table_of(regulars="v:string w:string")) as t:
        await t.put(1, v="old", w="kept")
        t.table = table_of(regulars="w:string")
        w = t.table.by_name["w"]
        old = table_of(regulars="v:string w:string")
        t.table = replace(old, regulars=(replace(old.by_name["w"]), replace(old.by_name["v"], id=type(w.id)(50))))
        assert await t.get(1) == {"w": "kept"}
        await t.put(1, v="new")
        assert await t.get(1) == {"w": "kept", "v": "new"}


async def a_refused_batch_shows_as_much_as_an_answer_holds(engine: TableEngine) -> None:
    """A refused batch shows as many rows, with their static cells, as an answer holds, and a repeat the same ones."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(None, s="x" * 1_000_000)
        await t.write(*(t.put_of((key,), {"v": "v"}) for key in range(10)))
        writes = [t.put_of((key,), {"v": "w"}, condition=ABSENT) for key in range(10)]
        for _ in range(2):
            outcome = await t.write(*writes, write_id="w")
            assert not outcome.applied
            assert [row.clustering for row in outcome.current] == [t.clustering(key) for key in range(5)]


LAWS: tuple[Law, ...] = (
    what_a_put_does_not_name_stays,
    null_clears_a_cell,
    a_row_that_was_only_updated_goes_with_its_last_cell,
    a_row_that_was_inserted_stays_without_cells,
    an_update_with_nulls_only_makes_no_row,
    static_cells_alone_make_no_row,
    a_removed_row_is_gone_and_starts_anew,
    revisions_of_a_row_rise_and_are_never_given_twice,
    a_row_shows_the_revision_of_its_last_write,
    a_row_is_made_once_if_it_must_not_exist,
    a_row_that_has_expired_does_not_exist,
    a_revision_must_be_the_present_one,
    a_remove_has_conditions_too,
    predicates_compare_as_the_type_does,
    null_equals_null_and_compares_with_nothing_else,
    conditions_see_static_cells,
    all_parts_of_a_condition_must_hold,
    of_writes_that_replace_the_same_revision_one_wins,
    counting_by_compare_and_set_loses_nothing,
    a_batch_writes_all_of_its_rows_under_one_revision,
    a_batch_is_refused_as_a_whole,
    batches_become_visible_as_a_whole,
    a_repeat_of_a_write_gets_its_first_outcome,
    a_repeat_of_a_refused_write_is_refused_the_same,
    a_write_id_stands_for_one_write_of_one_partition,
    repeats_at_the_same_time_are_done_once,
    a_write_that_failed_has_no_outcome,
    a_partition_stops_growing_at_its_ceiling,
    a_row_of_a_table_without_ranges_stops_growing_at_the_ceiling,
    a_space_keeps_within_its_quota_of_rows,
    a_space_keeps_within_its_quota_of_bytes,
    usage_is_what_the_rows_take,
    a_write_planned_with_another_declaration_is_refused,
    a_column_that_is_added_again_shows_nothing_of_the_old_one,
    a_refused_batch_shows_as_much_as_an_answer_holds,
)

"""Laws of rows at rest: what comes back, in which slices, and what is not there."""

from itertools import pairwise

from msgspec.structs import replace as altered

from headwater.tables.encoding import after_prefix, decode
from headwater.tables.model import ClusteringKey, Options, Stored, Usage
from headwater.testing.clock import ManualClock
from headwater.testing.table_laws.setting import Law, Space, TableEngine, declare, opened, table_of


async def a_row_comes_back_as_written(engine: TableEngine) -> None:
    """A row comes back as written."""
    async with opened(engine) as t:
        for key, value in ((1, ""), (2, "x"), (3, "\U0001f30a\x00é"), (4, "x" * 300_000)):
            await t.put(key, v=value)
            assert await t.get(key) == {"v": value}


async def every_type_comes_back_as_written(engine: TableEngine) -> None:
    """Every type comes back as written."""
    columns = (
        "a:blob b:int c:varint d:long e:decimal f:float g:double i:boolean j:timeuuid k:uuid l:timestamp m:json n:set<int> o:set<blob>"
    )
    async with opened(engine, table_of(regulars=columns)) as t:
        one = bytes(range(16))
        low = {"a": b"", "b": -(2**31), "c": -(2**53), "d": -(2**63), "e": "-0.10", "f": -0.5, "g": 5e-324, "i": False}
        high = {"a": bytes(range(256)), "b": 2**31 - 1, "c": 2**53, "d": 2**63 - 1, "e": "1" + "0" * 40, "f": 1.5, "g": 1.7e308, "i": True}
        low |= {"j": one, "k": bytes(16), "l": -1, "m": b"0", "n": [-1, 2], "o": [b"", b"\x00"]}
        high |= {"j": one[::-1], "k": b"\xff" * 16, "l": 2**52, "m": b'{"a":[null]}', "n": [7], "o": [b"\xff"]}
        for key, cells in ((1, low), (2, high)):
            await t.put(key, **cells)  # type: ignore[arg-type] # every value is Stored
            found = await t.get(key)
            assert found == cells
            assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in cells.items()}


async def what_was_never_put_is_not_there(engine: TableEngine) -> None:
    """What was never put is not there."""
    async with opened(engine) as t:
        await t.put(1, v="x")
        assert await t.get(2) is None
        assert await t.get(1, "another") is None
        assert await t.keys(t.slice("another")) == []


async def a_partition_holds_only_its_own_rows(engine: TableEngine) -> None:
    """A partition holds only its own rows."""
    async with opened(engine) as t:
        for partition in ("", "a", "aa", "a\x00", "b", "ab", "\x00"):
            for key in (1, 2):
                await t.put(key, partition, v=f"{partition}{key}")
        for partition in ("", "a", "aa", "a\x00", "b", "ab", "\x00"):
            assert [t.shown(row)["v"] for row in await t.all(t.slice(partition))] == [f"{partition}1", f"{partition}2"]


async def hash_columns_do_not_run_into_each_other(engine: TableEngine) -> None:
    """Hash columns do not run into each other."""
    async with opened(engine, table_of(hashes="h:string i:string")) as t:
        pairs = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", "")]
        for pair in pairs:
            await t.put(1, pair, v="|".join(pair))
        for pair in pairs:
            assert [t.shown(row) for row in await t.all(t.slice(pair))] == [{"v": "|".join(pair)}]


async def a_table_without_range_columns_has_one_row_per_partition(engine: TableEngine) -> None:
    """A table without range columns has one row per partition."""
    async with opened(engine, table_of(ranges="")) as t:
        for name, value in (("a", "1"), ("b", "2"), ("a", "3")):
            await t.write(t.put_of((), {"v": value}), partition=name)
        assert [t.shown(row) for row in await t.all(t.slice("a"))] == [{"v": "3"}]
        assert [t.shown(row) for row in (await t.page(altered(t.slice("b"), point=True))).rows] == [{"v": "2"}]
        assert await t.all(t.slice("c")) == []
        assert await t.usage() == Usage(2, (await t.usage()).size_bytes)


async def a_slice_is_bounded_below_and_above(engine: TableEngine) -> None:
    """A slice is bounded below and above."""
    async with opened(engine) as t:
        for key in range(-5, 6):
            await t.put(key, v="x")
        slice = altered(t.slice(), lower=t.clustering(-3), upper=t.clustering(4), whole=False)
        assert await t.keys(slice) == [-3, -2, -1, 0, 1, 2, 3]
        assert await t.keys(altered(slice, backwards=True)) == [3, 2, 1, 0, -1, -2, -3]
        assert await t.keys(altered(slice, lower=t.clustering(6))) == []
        assert await t.keys(altered(slice, upper=None)) == list(range(-3, 6))


async def a_prefix_of_the_range_columns_is_a_slice(engine: TableEngine) -> None:
    """A prefix of the range columns is a slice."""
    async with opened(engine, table_of(ranges="r:string s:int")) as t:
        for first in ("a", "ab", "b"):
            for second in (2, -1, 1):
                await t.write(t.put_of((first, second), {"v": f"{first}{second}"}))
        prefix = t.clustering("a")
        slice = altered(t.slice(), lower=prefix, upper=ClusteringKey(after_prefix(prefix) or b""), whole=False)
        assert [t.shown(row)["v"] for row in await t.all(slice)] == ["a-1", "a1", "a2"]


async def a_page_has_at_most_its_limit(engine: TableEngine) -> None:
    """A page has at most its limit."""
    async with opened(engine) as t:
        for key in range(7):
            await t.put(key, v="x")
        for limit in (1, 2, 3, 6):
            page = await t.page(t.slice(limit=limit))
            assert len(page.rows) == limit and page.last == page.rows[-1].clustering
        for limit in (7, 8, 1000):
            page = await t.page(t.slice(limit=limit))
            assert len(page.rows) == 7 and page.last is None


async def pages_follow_each_other_in_both_directions(engine: TableEngine) -> None:
    """Pages follow each other in both directions."""
    async with opened(engine) as t:
        for key in range(23):
            await t.put(key, v="x")
        for limit in (1, 4, 22, 23):
            assert await t.keys(t.slice(limit=limit)) == list(range(23))
            assert await t.keys(t.slice(limit=limit, backwards=True)) == list(range(22, -1, -1))


async def paging_is_stable_under_writes(engine: TableEngine) -> None:
    """Paging is stable under writes."""
    async with opened(engine) as t:
        for key in range(0, 40, 2):
            await t.put(key, v="x")
        slice, seen = t.slice(limit=3), list[Stored]()
        for turn in range(100):
            page = await t.page(slice)
            seen += [decode(t.table.ranges, row.clustering)[0] for row in page.rows if row.clustering is not None]
            if page.last is None:
                break
            slice = altered(slice, after=page.last)
            await t.put(2 * turn - 1, v="before")
            await t.put(-turn - 2, v="before")
            await t.remove(seen[-1])
            await t.put(41 + 2 * turn, v="behind")
        assert len(set(seen)) == len(seen) and seen == sorted(seen)  # type: ignore[type-var] # they are numbers
        assert set(range(0, 40, 2)) <= set(seen)


async def a_page_is_bounded_in_bytes(engine: TableEngine) -> None:
    """A page is bounded in bytes."""
    async with opened(engine) as t:
        for key in range(6):
            await t.put(key, v="x" * 1000)
        page = await t.page(altered(t.slice(), bytes_max=2_500))
        assert len(page.rows) == 3 and page.last == page.rows[-1].clustering
        assert len((await t.page(altered(t.slice(), bytes_max=1))).rows) == 1
        assert await t.keys(altered(t.slice(), bytes_max=1)) == list(range(6))


async def long_slices_come_whole(engine: TableEngine) -> None:
    """Long slices come whole."""
    async with opened(engine) as t:
        for first in range(0, 1_200, 100):
            await t.write(*(t.put_of((key,), {"v": f"{key}"}) for key in range(first, first + 100)))
        page = await t.page(t.slice(limit=1_000))
        assert [t.shown(row)["v"] for row in page.rows] == [f"{key}" for key in range(1_000)]
        assert await t.keys(t.slice(limit=1_000)) == list(range(1_200))


async def static_cells_count_with_every_row(engine: TableEngine) -> None:
    """Static cells are shown with every row, so a page ends sooner where there are many of them."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(0, v="v", s="x" * 1000)
        for key in range(1, 6):
            await t.put(key, v="v")
        for backwards in (False, True):
            page = await t.page(altered(t.slice(backwards=backwards), bytes_max=2_500))
            assert len(page.rows) == 3 and page.last == page.rows[-1].clustering
        assert await t.keys(altered(t.slice(), bytes_max=1)) == list(range(6))


async def static_cells_come_with_every_row(engine: TableEngine) -> None:
    """Static cells come with every row."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(1, v="one")
        await t.put(2, v="two", s="shared")
        assert [t.shown(row) for row in await t.all(t.slice())] == [{"v": "one", "s": "shared"}, {"v": "two", "s": "shared"}]
        assert await t.get(1) == {"v": "one", "s": "shared"}
        assert [t.shown(row) for row in await t.all(t.slice(backwards=True))] == [{"v": "two", "s": "shared"}, {"v": "one", "s": "shared"}]


async def static_cells_stay_in_their_partition(engine: TableEngine) -> None:
    """Static cells stay in their partition."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(1, "a", v="one", s="of a")
        await t.put(1, "b", v="two")
        assert await t.get(1, "b") == {"v": "two"}
        await t.put(None, "b", s="of b")
        assert (await t.get(1, "a"), await t.get(1, "b")) == ({"v": "one", "s": "of a"}, {"v": "two", "s": "of b"})


async def a_partition_of_nothing_but_static_cells_yields_them_once(engine: TableEngine) -> None:
    """A partition of nothing but static cells yields them once."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(None, s="alone")
        for slice in (t.slice(), t.slice(backwards=True), t.slice(limit=1)):
            rows = await t.all(slice)
            assert [(row.clustering, row.row, t.shown(row)) for row in rows] == [(None, None, {"s": "alone"})]
        assert await t.all(altered(t.slice(), whole=False)) == []
        await t.put(1, v="x")
        assert [t.shown(row) for row in await t.all(t.slice(limit=1))] == [{"v": "x", "s": "alone"}]
        await t.remove(1)
        assert [row.clustering for row in await t.all(t.slice())] == [None]


async def a_walk_meets_every_row_once(engine: TableEngine) -> None:
    """A walk meets every row once."""
    async with opened(engine, table_of(statics="s:string")) as t:
        expected = set[tuple[object, ...]]()
        for partition in ("a", "b", "bb", "", "c" * 300):
            for key in range(5):
                await t.put(key, partition, v=partition[:3], s=partition[:2])
                expected.add((t.partition(partition), t.clustering(key), partition[:3], partition[:2]))
        await t.put(None, "only", s="static")
        await t.put(None, "zonly", s="static")
        expected |= {(t.partition(name), None, None, "static") for name in ("only", "zonly")}
        for limit in (1, 2, 3, 7, 27, 1000):
            found = [(key, row.clustering, t.shown(row).get("v"), t.shown(row)["s"]) for key, row in await t.walk(limit)]
            assert len(found) == len(expected) and set(found) == expected
            partitions = [key for key, *_ in found]
            assert sum(a != b for a, b in pairwise(partitions)) == len(set(partitions)) - 1, "rows of a partition come together"


async def the_largest_partitions_come_first(engine: TableEngine) -> None:
    """The largest partitions come first."""
    async with opened(engine) as t:
        for number, name in enumerate("abcd", 1):
            for key in range(number):
                await t.put(key, name, v="x" * 100)
        largest = await t.store.largest(t.space, limit=3)
        assert [(one.partition, one.usage.rows) for one in largest] == [
            (t.partition(name), n) for name, n in (("d", 4), ("c", 3), ("b", 2))
        ]
        rest = await t.store.largest(t.space, limit=10)
        assert sum(one.usage.size_bytes for one in rest) == (await t.usage()).size_bytes


async def the_largest_rows_come_first_where_there_are_no_ranges(engine: TableEngine) -> None:
    """The largest rows come first where there are no ranges."""
    async with opened(engine, table_of(ranges="")) as t:
        for number in range(20):
            await t.write(t.put_of((), {"v": "x" * 100 * number}), partition=f"{number}")
        largest = await t.store.largest(t.space, limit=2)
        assert [one.partition for one in largest] == [t.partition("19"), t.partition("18")]
        rest = await t.store.largest(t.space, limit=100)
        assert sum(one.usage.size_bytes for one in rest) == (await t.usage()).size_bytes and len(rest) == 20


async def what_is_stored_survives_closing(engine: TableEngine) -> None:
    """What is stored survives closing."""
    if not engine.durable:
        return
    clock = ManualClock()
    store = await engine.open(clock)
    table = table_of(statics="s:string", options=Options(changes=True))
    declared = await declare(store, table)
    t = Space(store, clock, declared, table, declared.domains["d"])
    await t.put(1, v="x", s="y")
    outcome = await t.write(t.put_of((2,), {"v": "z"}), write_id="w")
    before = await t.usage(), await t.changes(), await t.store.declarations()
    await store.close()
    clock.jump_wall(-86_400)
    t.store = await engine.open(clock)
    assert [t.shown(row) for row in await t.all(t.slice())] == [{"v": "x", "s": "y"}, {"v": "z", "s": "y"}]
    assert (await t.usage(), await t.changes(), await t.store.declarations()) == before
    assert await t.write(t.put_of((2,), {"v": "z"}), write_id="w") == altered(outcome, repeated=True)
    again = await t.put(1, v="later")
    assert again.revision is not None and outcome.revision is not None and again.revision > outcome.revision
    await t.store.close()


LAWS: tuple[Law, ...] = (
    a_row_comes_back_as_written,
    every_type_comes_back_as_written,
    what_was_never_put_is_not_there,
    a_partition_holds_only_its_own_rows,
    hash_columns_do_not_run_into_each_other,
    a_table_without_range_columns_has_one_row_per_partition,
    a_slice_is_bounded_below_and_above,
    a_prefix_of_the_range_columns_is_a_slice,
    a_page_has_at_most_its_limit,
    pages_follow_each_other_in_both_directions,
    paging_is_stable_under_writes,
    a_page_is_bounded_in_bytes,
    long_slices_come_whole,
    static_cells_count_with_every_row,
    static_cells_come_with_every_row,
    static_cells_stay_in_their_partition,
    a_partition_of_nothing_but_static_cells_yields_them_once,
    a_walk_meets_every_row_once,
    the_largest_partitions_come_first,
    the_largest_rows_come_first_where_there_are_no_ranges,
    what_is_stored_survives_closing,
)

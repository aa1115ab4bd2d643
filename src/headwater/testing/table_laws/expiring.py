"""Laws of expiry, with a clock that stands still: cells, markers, static cells, and taking back their room."""

from headwater.tables.model import Usage
from headwater.testing.table_laws.setting import Law, TableEngine, opened, table_of


async def a_cell_is_there_until_its_second(engine: TableEngine) -> None:
    """A cell is there until its second."""
    async with opened(engine) as t:
        await t.put(1, v="a", ttl_s=10)
        t.clock.advance(9.999)
        assert await t.get(1) == {"v": "a"} and await t.keys(t.slice()) == [1]
        t.clock.advance(0.001)
        assert await t.get(1) is None and await t.keys(t.slice()) == []


async def cells_expire_each_for_itself(engine: TableEngine) -> None:
    """Cells expire each for itself."""
    async with opened(engine) as t:
        await t.put(1, v="a", ttl_s=10)
        await t.put(1, w="b", ttl_s=20)
        await t.put(1, tags=["x"])
        t.clock.advance(10)
        assert await t.get(1) == {"w": "b", "tags": ["x"]}
        t.clock.advance(10)
        assert await t.get(1) == {"tags": ["x"]}


async def a_later_write_replaces_the_expiry(engine: TableEngine) -> None:
    """A later write replaces the expiry."""
    async with opened(engine) as t:
        await t.put(1, v="a", ttl_s=10)
        await t.put(1, v="b")
        await t.put(2, v="a")
        await t.put(2, v="b", ttl_s=10)
        t.clock.advance(10)
        assert await t.get(1) == {"v": "b"} and await t.get(2) is None


async def a_write_of_another_cell_leaves_the_expiry(engine: TableEngine) -> None:
    """A write of another cell leaves the expiry."""
    async with opened(engine) as t:
        await t.put(1, v="a", ttl_s=10)
        await t.put(1, w="b")
        t.clock.advance(10)
        assert await t.get(1) == {"w": "b"}


async def an_inserted_row_outlives_its_cells_by_its_marker(engine: TableEngine) -> None:
    """An inserted row outlives its cells by its marker."""
    async with opened(engine) as t:
        await t.insert(1)
        await t.put(1, v="a", ttl_s=10)
        await t.insert(2, v="b", ttl_s=10)
        t.clock.advance(10)
        assert await t.get(1) == {} and await t.get(2) is None


async def a_marker_expires(engine: TableEngine) -> None:
    """A marker expires."""
    async with opened(engine) as t:
        await t.insert(1, ttl_s=10)
        await t.insert(2, ttl_s=10)
        await t.put(2, v="stays")
        t.clock.advance(10)
        assert await t.get(1) is None and await t.get(2) == {"v": "stays"}
        await t.write(t.put_of((2,), {"v": None}, marker=False))
        assert await t.get(2) is None


async def what_has_expired_does_not_come_back(engine: TableEngine) -> None:
    """What has expired does not come back."""
    async with opened(engine) as t:
        await t.insert(1, v="a", ttl_s=10)
        t.clock.advance(10)
        await t.put(1, w="b")
        assert await t.get(1) == {"w": "b"}
        await t.write(t.put_of((1,), {"w": None}, marker=False))
        assert await t.get(1) is None


async def static_cells_expire(engine: TableEngine) -> None:
    """Static cells expire."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(1, v="a", s="s", ttl_s=10)
        await t.put(1, v="b")
        await t.put(None, "q", s="s", ttl_s=10)
        t.clock.advance(10)
        assert await t.get(1) == {"v": "b"}
        assert await t.all(t.slice("q")) == [] and [t.shown(row) for _, row in await t.walk()] == [{"v": "b"}]


async def a_partition_whose_rows_have_expired_shows_its_static_cells(engine: TableEngine) -> None:
    """A partition whose rows have expired shows its static cells."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(None, s="s")
        for first in range(0, 600, 100):
            await t.write(*(t.put_of((key,), {"v": "x"}, ttl_s=10) for key in range(first, first + 100)))
        t.clock.advance(10)
        for limit in (1, 5, 1000):
            for backwards in (False, True):
                assert [t.shown(row) for row in await t.all(t.slice(limit=limit, backwards=backwards))] == [{"s": "s"}]
        assert [t.shown(row) for _, row in await t.walk(5)] == [{"s": "s"}]


async def pages_pass_over_what_has_expired(engine: TableEngine) -> None:
    """Pages pass over what has expired."""
    async with opened(engine) as t:
        for first in range(0, 1_000, 100):
            await t.write(*(t.put_of((key,), {"v": "x"}, ttl_s=0 if key % 333 == 0 else 10) for key in range(first, first + 100)))
        t.clock.advance(10)
        for limit in (1, 2, 4, 1000):
            assert await t.keys(t.slice(limit=limit)) == [0, 333, 666, 999]
            assert await t.keys(t.slice(limit=limit, backwards=True)) == [999, 666, 333, 0]
        assert len(await t.walk(2)) == 4


async def reclaiming_takes_back_what_has_expired_and_nothing_else(engine: TableEngine) -> None:
    """Reclaiming takes back what has expired and nothing else."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.put(1, v="stays", s="stays")
        before = await t.usage()
        await t.insert(2, v="goes", ttl_s=10)
        await t.put(1, w="goes", ttl_s=10)
        await t.put(None, "q", s="goes", ttl_s=10)
        await t.put(3, v="later", ttl_s=20)
        t.clock.advance(10)
        assert (await t.usage()).size_bytes > before.size_bytes
        await t.reclaim()
        assert (await t.usage()).rows == 2
        assert [t.shown(row) for row in await t.all(t.slice())] == [{"v": "stays", "s": "stays"}, {"v": "later", "s": "stays"}]
        t.clock.advance(10)
        await t.reclaim()
        assert await t.usage() == before
        assert await t.get(1) == {"v": "stays", "s": "stays"}


async def reclaiming_changes_nothing_that_can_be_seen(engine: TableEngine) -> None:
    """Reclaiming changes nothing that can be seen."""
    async with opened(engine, table_of(statics="s:string")) as t:
        await t.insert(1, v="a", ttl_s=10)
        await t.put(1, w="b", ttl_s=20)
        await t.put(1, s="c", ttl_s=10)
        t.clock.advance(10)
        before = await t.all(t.slice())
        await t.reclaim()
        assert await t.all(t.slice()) == before


async def reclaiming_goes_in_bounded_steps(engine: TableEngine) -> None:
    """Reclaiming goes in bounded steps."""
    async with opened(engine) as t:
        for key in range(50):
            await t.put(key, v="x", ttl_s=10)
        t.clock.advance(10)
        assert await t.reclaim(limit=7) >= 1
        assert await t.usage() == Usage(0, 0) and await t.store.largest(t.space, limit=1) == []


async def write_ids_are_forgotten_when_they_are_old(engine: TableEngine) -> None:
    """Write ids are forgotten when they are old."""
    async with opened(engine) as t:
        await t.write(t.put_of((1,), {"v": "a"}), write_id="w")
        t.clock.advance(100)
        await t.reclaim(write_ids_kept_ms=100_001)
        assert (await t.write(t.put_of((1,), {"v": "a"}), write_id="w")).repeated
        t.clock.advance(1)
        await t.reclaim(write_ids_kept_ms=100_001)
        await t.reclaim(write_ids_kept_ms=100_000)
        assert not (await t.write(t.put_of((1,), {"v": "b"}), write_id="w", digest=b"other")).repeated


LAWS: tuple[Law, ...] = (
    a_cell_is_there_until_its_second,
    cells_expire_each_for_itself,
    a_later_write_replaces_the_expiry,
    a_write_of_another_cell_leaves_the_expiry,
    an_inserted_row_outlives_its_cells_by_its_marker,
    a_marker_expires,
    what_has_expired_does_not_come_back,
    static_cells_expire,
    a_partition_whose_rows_have_expired_shows_its_static_cells,
    pages_pass_over_what_has_expired,
    reclaiming_takes_back_what_has_expired_and_nothing_else,
    reclaiming_changes_nothing_that_can_be_seen,
    reclaiming_goes_in_bounded_steps,
    write_ids_are_forgotten_when_they_are_old,
)

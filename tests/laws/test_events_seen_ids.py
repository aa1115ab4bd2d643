"""Laws of `SeenIds`, for every engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headwater.events.engines.memory import MemorySeenIds
from headwater.events.engines.sqlite import SqliteSeenIds
from headwater.events.identity import id_key
from headwater.events.model import Key, Seen, Window
from headwater.events.ports import SeenIds
from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.log.model import Offset, PartitionId
from headwater.sqlite.config import StorageConfig
from headwater.sqlite.metrics import METRICS
from headwater.testing.clock import ManualClock

P, Q = PartitionId("p"), PartitionId("q", 3)
STORAGE = StorageConfig(ballast_bytes=Bytes(0))
ENGINES = ("memory", "sqlite")


@asynccontextmanager
async def opened(engine: str, directory: Path, ids_max: int) -> AsyncIterator[SeenIds]:
    """An index of the engine named."""
    if engine == "memory":
        yield MemorySeenIds(ids_max=ids_max)
        return
    index = await SqliteSeenIds.open(
        directory / "events.sqlite", ids_max=ids_max, metrics=Metrics(METRICS), clock=ManualClock(), storage=STORAGE
    )
    try:
        yield index
    finally:
        await index.close()


def seen(name: str, time_ms: int, *others: str) -> Seen:
    """An event with this id and these identities."""
    return Seen((id_key(name), *map(id_key, others)), time_ms)


def known(index: SeenIds, *names: str, since_ms: int = 0) -> set[str]:
    """Which of these are known."""
    keys: dict[Key, str] = {id_key(name): name for name in names}
    return {keys[key] for key in index.seen(list(keys), since_ms=since_ms)}


def check(engine: str, directory: Path, test: Callable[[SeenIds], Awaitable[None]], *, ids_max: int = 100) -> None:
    """Run `test` on a fresh index."""

    async def main() -> None:
        async with opened(engine, directory, ids_max) as index:
            await test(index)

    asyncio.run(main())


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_added_is_known_by_every_key(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        assert known(index, "a") == set() and index.window() == Window(0, None) and await index.covered() == {}
        await index.add([seen("a", 5, "x", "y"), seen("b", 7)], {P: Offset(4)}, since_ms=0)
        assert known(index, "a", "x", "y", "b", "c") == {"a", "x", "y", "b"}
        assert known(index, "a", "x", "b", since_ms=6) == {"b"}
        assert index.window() == Window(2, 5)

    check(engine, tmp_path, test)


@pytest.mark.parametrize("engine", ENGINES)
def test_positions_are_replaced_one_by_one(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        await index.add([], {P: Offset(4), Q: Offset(9)}, since_ms=0)
        await index.add([], {P: Offset(6)}, since_ms=0)
        assert await index.covered() == {P: 6, Q: 9}

    check(engine, tmp_path, test)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("added", "forgotten"), [(3, 0), (4, 1), (7, 4)])
def test_no_more_than_n_events_are_held(engine: str, added: int, forgotten: int, tmp_path: Path) -> None:
    names = [str(number) for number in range(added)]

    async def test(index: SeenIds) -> None:
        await index.add([seen(name, 10, name + "'") for name in names], {}, since_ms=0)
        assert known(index, *names) == set(names[forgotten:])
        assert known(index, *(name + "'" for name in names)) == {name + "'" for name in names[forgotten:]}
        assert index.window().ids == 3

    check(engine, tmp_path, test, ids_max=3)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_oldest_by_time_are_forgotten_whatever_the_order_of_arrival(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        await index.add([seen("new", 30)], {}, since_ms=0)
        await index.add([seen("old", 10), seen("middle", 20)], {}, since_ms=0)
        assert known(index, "old", "middle", "new") == {"middle", "new"}

    check(engine, tmp_path, test, ids_max=2)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_too_old_is_dropped(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        await index.add([seen("a", 10), seen("b", 11)], {}, since_ms=0)
        await index.add([], {}, since_ms=11)
        assert known(index, "a", "b") == {"b"} and index.window() == Window(1, 11)

    check(engine, tmp_path, test)


@pytest.mark.parametrize("engine", ENGINES)
def test_adding_again_changes_nothing(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        await index.add([seen("a", 10), seen("a", 10)], {}, since_ms=0)
        await index.add([seen("a", 12)], {}, since_ms=0)
        assert index.window() == Window(1, 10)

    check(engine, tmp_path, test)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_identity_told_twice_is_known_as_long_as_its_newest_event(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        await index.add([seen("a", 10, "same"), seen("b", 20, "same")], {}, since_ms=0)
        await index.add([], {}, since_ms=15)
        assert known(index, "a", "b", "same") == {"b", "same"}

    check(engine, tmp_path, test)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_id_that_fell_out_may_come_again(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        await index.add([seen("a", 10)], {}, since_ms=0)
        await index.add([seen("a", 50)], {}, since_ms=20)
        assert known(index, "a") == {"a"} and index.window() == Window(1, 50)

    check(engine, tmp_path, test)


@pytest.mark.parametrize("engine", ENGINES)
def test_clear_forgets_positions_too(engine: str, tmp_path: Path) -> None:
    async def test(index: SeenIds) -> None:
        await index.add([seen("a", 10)], {P: Offset(1)}, since_ms=0)
        await index.clear()
        assert known(index, "a") == set() and await index.covered() == {} and index.window() == Window(0, None)
        await index.add([seen("a", 11)], {}, since_ms=0)
        assert known(index, "a") == {"a"}

    check(engine, tmp_path, test)


def test_a_file_keeps_what_was_added(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened("sqlite", tmp_path, 2) as index:
            await index.add([seen(name, time_ms) for name, time_ms in (("a", 1), ("b", 2))], {P: Offset(8)}, since_ms=0)
        async with opened("sqlite", tmp_path, 2) as index:
            assert known(index, "a", "b") == {"a", "b"} and await index.covered() == {P: 8}
            await index.add([seen("c", 3)], {}, since_ms=0)
            assert known(index, "a", "b", "c") == {"b", "c"}

    asyncio.run(main())


def test_a_smaller_limit_drops_a_large_file_in_steps(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened("sqlite", tmp_path, 30_000) as index:
            await index.add([seen(str(number), number) for number in range(25_000)], {}, since_ms=0)
        async with opened("sqlite", tmp_path, 3) as index:
            await index.add([], {}, since_ms=0)
            assert index.window() == Window(3, 24_997)
            assert known(index, "24996", "24997") == {"24997"}

    asyncio.run(main())


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "events.sqlite").write_bytes(b"no database at all" * 500)
        async with opened("sqlite", tmp_path, 3) as index:
            await index.add([seen("a", 1)], {}, since_ms=0)
            assert known(index, "a") == {"a"}

    asyncio.run(main())

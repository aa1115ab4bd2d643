"""Every store of tables keeps the laws."""

import asyncio
from functools import partial
from pathlib import Path

import apsw
import pytest

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.tables.engines.memory import MemoryTableStore
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.engines.sqlite.reads import CHANGES_BYTES, read_slice
from headwater.tables.model import Condition, Options
from headwater.testing.clock import ManualClock
from headwater.testing.table_laws import LAWS, Law
from headwater.testing.table_laws.setting import opened, table_of


class _Memory:
    durable = False

    async def open(self, clock: ManualClock) -> MemoryTableStore:
        return MemoryTableStore(clock)


class _Sqlite:
    durable = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def open(self, clock: ManualClock) -> SqliteTableStore:
        storage = StorageConfig(ballast_bytes=Bytes(0), wal_bytes_max=Bytes(1 << 20))
        path = self._directory / "tables.sqlite"
        return await SqliteTableStore.open(path, metrics=Metrics(sqlite_metrics.METRICS), clock=clock, storage=storage)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_memory(law: Law) -> None:
    asyncio.run(law(_Memory()))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_sqlite(law: Law, tmp_path: Path) -> None:
    asyncio.run(law(_Sqlite(tmp_path)))


def test_sqlite_reads_few_large_changes_at_once(tmp_path: Path) -> None:
    """They are read on the event loop, so that a reader who begins with much to read must not hold everybody up."""

    async def read() -> None:
        async with opened(_Sqlite(tmp_path), table_of(options=Options(changes=True))) as t:
            for key in range(9):
                await t.put(key, v="x" * (CHANGES_BYTES // 3))
            first = await t.store.changes(t.space, 0, limit=200, wait_s=0)
            assert len(first.changes) == 3 and not first.at_end and first.next == first.changes[-1].sequence
            assert [change.clustering for change in await t.changes()] == [t.clustering(key) for key in range(9)]

    asyncio.run(read())


@pytest.mark.parametrize("ttl_s", [0, 1])
def test_sqlite_reads_many_large_rows_in_the_background(tmp_path: Path, ttl_s: int) -> None:
    """Also those that have expired, which no limit of a query and no size of its answer bounds."""

    async def read() -> None:
        async with opened(_Sqlite(tmp_path)) as t:
            for key in range(9):
                await t.put(key, v="x" * 300_000, ttl_s=ttl_s)
            assert isinstance(t.store, SqliteTableStore)
            look = partial(read_slice, t.store.database.reader, t.slice())
            assert look(now_s=t.now_s, rows_max=5) is None
            page = look(now_s=t.now_s + ttl_s, rows_max=400)
            assert page is None
            t.clock.advance(ttl_s)
            assert await t.keys(t.slice()) == ([] if ttl_s else list(range(9)))

    asyncio.run(read())


def test_sqlite_searches_changes_and_outcomes_without_reading_large_ones(tmp_path: Path) -> None:
    """A search touches some pages of the tree, and none of the values that lie there: otherwise each costs others milliseconds."""

    async def pages() -> list[int]:
        async with opened(_Sqlite(tmp_path), table_of(options=Options(changes=True))) as t:
            for key in range(12):
                await t.put(key, v="x" * 300_000)
                refused = t.put_of((key,), {"v": "y"}, condition=Condition(exists=False))
                assert not (await t.write(refused, write_id=f"w{key}")).applied
            assert isinstance(t.store, SqliteTableStore)
            reader = apsw.Connection(":memory:")  # which counts every page: those of a file may be read past the cache
            with reader.backup("main", t.store.database.reader, "main") as copy:
                copy.step()
            found = []
            for statement in ("SELECT count(*) FROM change WHERE space = ? AND sequence = 1", "SELECT count(*) FROM outcome WHERE key = ?"):
                for status in (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS):
                    reader.status(status, reset=True)
                assert reader.execute(statement, (t.space if "change" in statement else b"\x00" * 20,)).fetchall() == [(0,)]
                found.append(sum(reader.status(status)[0] for status in (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)))
            return found

    assert max(asyncio.run(pages())) < 20

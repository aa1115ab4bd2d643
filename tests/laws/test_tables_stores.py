"""Every store of tables keeps the laws."""

import asyncio
from pathlib import Path

import pytest

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.tables.engines.memory import MemoryTableStore
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.testing.clock import ManualClock
from headwater.testing.table_laws import LAWS, Law


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

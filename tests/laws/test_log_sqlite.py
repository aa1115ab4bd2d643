"""The log on SQLite obeys the laws."""

import asyncio
from pathlib import Path

import pytest

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.log import metrics as log_metrics
from headwater.log.engines.sqlite import SqliteLog
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.log_laws import LAWS, Law, Setting


class SqliteEngine:
    """Makes logs in one directory."""

    durable = True

    def __init__(self, directory: Path) -> None:
        self._path = directory / "log.sqlite"

    async def open(self, setting: Setting) -> SqliteLog:
        return await SqliteLog.open(
            self._path,
            clock=setting.clock,
            metrics=Metrics((*log_metrics.METRICS, *sqlite_metrics.METRICS)),
            limits=setting.limits,
            rules=setting.rules,
            storage=StorageConfig(ballast_bytes=Bytes.of("64KiB")),
        )


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_holds_on_sqlite(law: Law, tmp_path: Path) -> None:
    asyncio.run(law(SqliteEngine(tmp_path)))

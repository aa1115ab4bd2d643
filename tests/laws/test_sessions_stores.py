"""The engines of sessions keep the laws of their port."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.ports import SessionStore
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.clock import ManualClock
from headwater.testing.session_laws import SessionStoreLaws


class TestMemorySessionStore(SessionStoreLaws):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[SessionStore]:
        yield MemorySessionStore()


class TestSqliteSessionStore(SessionStoreLaws):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[SessionStore]:
        with tempfile.TemporaryDirectory() as directory:
            store = await SqliteSessionStore.open(
                Path(directory) / "sessions.sqlite",
                metrics=Metrics(sqlite_metrics.METRICS),
                clock=ManualClock(),
                storage=StorageConfig(ballast_bytes=Bytes(0)),
            )
            yield store
            await store.close()

"""Files of sessions of the format before: read, signed at the start, and left so that the program before can still use them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import apsw

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.model import Generation
from headwater.sessions.service_metrics import GENERATIONS_REJECTED
from headwater.sqlite import StorageConfig, load_migrations
from headwater.sqlite import metrics as sqlite_metrics
from headwater.sqlite.migrations import migrate
from headwater.testing.clock import ManualClock
from headwater.testing.sessions_world import SPACE, SessionsWorld

MIGRATIONS = load_migrations("headwater.sessions.engines.schema")
OLD_PUT = "INSERT OR REPLACE INTO generation (scope, key_id, token) VALUES (?, ?, ?)"


async def _open(path: Path) -> tuple[SqliteSessionStore, SessionsWorld]:
    store = await SqliteSessionStore.open(
        path, metrics=Metrics(sqlite_metrics.METRICS), clock=ManualClock(), storage=StorageConfig(ballast_bytes=Bytes(0))
    )
    world = SessionsWorld(store=store)
    await world.sessions.start()
    return store, world


async def _make(path: Path) -> tuple[list[tuple[object, ...]], Sequence[Generation]]:
    """The rows of a revoked session, one of the same subject since, and another one; and the record of the revocation."""
    store, world = await _open(path)
    await world.sessions.save(SPACE, b"revoked", b"v", subject="me")
    await world.sessions.revoke_subject(SPACE, "me")
    await world.sessions.save(SPACE, b"since", b"v", subject="me")
    await world.sessions.save(SPACE, b"other", b"v")
    rows = list(store.database.reader.execute("SELECT id, head, deadline, sealed FROM session"))
    records = await store.generations_since(0, limit=10)
    await world.sessions.stop()
    await store.close()
    return rows, records


async def _served(path: Path) -> list[bytes | None]:
    """What a process serves of these after a start, all records being signed by then and none refused."""
    store, world = await _open(path)
    served = [await world.value(key) for key in (b"revoked", b"since", b"other")]
    assert all(record.mac for record in await store.generations_since(0, limit=10))
    assert world.metrics.value(GENERATIONS_REJECTED, reason="altered") == 0
    await world.sessions.stop()
    await store.close()
    return served


def test_a_file_of_format_1_keeps_its_sessions_and_its_revocations(tmp_path: Path) -> None:
    rows, records = asyncio.run(_make(tmp_path / "made.sqlite"))
    assert len(rows) == 3 and len(records) == 1
    path = tmp_path / "sessions.sqlite"
    connection = apsw.Connection(str(path))
    migrate(connection, MIGRATIONS[:1], now_ms=0)
    connection.executemany("INSERT INTO session (id, head, deadline, sealed) VALUES (?, ?, ?, ?)", rows)
    connection.executemany(OLD_PUT, [(one.scope, one.key_id, one.token) for one in records])
    connection.close()
    assert asyncio.run(_served(path)) == [None, b"v", b"v"]
    assert asyncio.run(_served(path)) == [None, b"v", b"v"]


def test_the_program_of_format_1_can_use_the_file_again_and_revoke(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    _, records = asyncio.run(_make(path))
    connection = apsw.Connection(str(path))
    migrate(connection, MIGRATIONS[:1], now_ms=0)  # refused if it were told that it cannot
    connection.execute(OLD_PUT, (records[0].scope, records[0].key_id, b"another token!!!"))
    connection.close()
    assert asyncio.run(_served(path)) == [None, None, b"v"]


def test_a_file_without_the_decoy_of_format_1_serves_as_ever(tmp_path: Path) -> None:
    """Only programs of before read that row; whoever takes it out harms nobody who came after them."""
    path = tmp_path / "sessions.sqlite"
    asyncio.run(_make(path))
    connection = apsw.Connection(str(path))
    assert connection.execute("DELETE FROM decoy RETURNING one").fetchall() == [(1,)]
    connection.close()

    async def work() -> None:
        store, world = await _open(path)
        assert [await world.value(key) for key in (b"revoked", b"since", b"other", b"nobody's")] == [None, b"v", b"v", None]
        await world.sessions.delete(SPACE, b"other")
        assert await world.value(b"other") is None
        await world.sessions.stop()
        await store.close()

    asyncio.run(work())

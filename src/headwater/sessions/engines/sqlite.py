"""Sessions in a SQLite file of their own, owned by one process.

A point read runs on the event loop: it takes less than handing it to a thread. Writes go to the writer thread, whose group commit is what
makes them durable. Comparing and setting reads the version out of the stored head, so that no column repeats it.
"""

from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Self

import apsw

from headwater.kernel.clock import Clock
from headwater.kernel.metrics import Metrics
from headwater.sessions.model import Generation, KeyId, Row, RowId, RowOutline, Token, Version
from headwater.sessions.sealing import version_of
from headwater.sqlite import Database, Platform, StorageConfig, load_migrations
from headwater.sqlite.errors import translate, translated
from headwater.sqlite.queries import fetch_all, fetch_one

_GET = """
    SELECT 1, head, deadline, sealed FROM session WHERE id = ?
    UNION ALL SELECT 0, head, deadline, sealed FROM decoy WHERE one = 1
    LIMIT 1
"""
_HEAD = "SELECT head FROM session WHERE id = ?"
_PUT = "INSERT INTO session (id, head, deadline, sealed) VALUES (?, ?, ?, ?)"
_UPDATE = "UPDATE session SET head = ?, deadline = ?, sealed = ? WHERE id = ?"
_EXTEND = "UPDATE session SET deadline = ?1 WHERE id = ?2 AND (?3 IS NULL OR deadline = ?3)"
_DELETE = "DELETE FROM session WHERE id = ?"
_PAGE = "SELECT id, head, deadline, length(sealed) FROM session WHERE id > ? ORDER BY id LIMIT ?"
_PUT_GENERATION = "INSERT OR REPLACE INTO generation (scope, key_id, token, version, until_ms, mac) VALUES (?, ?, ?, ?, ?, ?)"
_GET_GENERATION = "SELECT scope, key_id, token, version, until_ms, mac, sequence FROM generation WHERE scope = ?"
_GENERATIONS = """
    SELECT scope, key_id, token, version, until_ms, mac, sequence FROM generation WHERE sequence > ? ORDER BY sequence LIMIT ?
"""
_DELETE_GENERATION = "DELETE FROM generation WHERE scope = ? AND sequence = ?"


class SqliteSessionStore:
    """`SessionStore` in a file. Make one with `SqliteSessionStore.open`."""

    shared = False

    def __init__(self, database: Database) -> None:
        self.database = database
        self._execute = database.reader.execute

    @classmethod
    async def open(cls, path: Path, *, metrics: Metrics, clock: Clock, storage: StorageConfig, platform: Platform | None = None) -> Self:
        """Open or create the file.

        Raises:
            FormatTooNew: a newer program made the file.
            Corrupted: the file is damaged.
            StorageFull, Unavailable: the disk is full or fails.
        """
        migrations = load_migrations("headwater.sessions.engines.schema")
        database = await Database.open(
            path, name="sessions", migrations=migrations, metrics=metrics, clock=clock, config=storage, platform=platform
        )
        await database.write(_overwrite_what_is_removed)
        return cls(database)

    async def close(self) -> None:
        """Finish what is being written, close the file."""
        await self.database.close()

    async def get(self, id: RowId) -> Row | None:
        """The row: one search, on the calling thread."""
        try:  # without `translated`, which costs as much as the search
            found = self._execute(_GET, (id,)).fetchall()
        except apsw.Error as error:
            known = translate(error, self.database.reader)
            if known is None:
                raise
            raise known from error
        if not found:  # somebody has removed the decoy
            return None
        is_there, head, deadline, sealed = found[0]
        row = Row(id, head, deadline, sealed)  # type: ignore[arg-type] # the table is STRICT
        return row if is_there else None

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        """Compare and set in one transaction, `clears` included."""
        return await self.database.write(partial(_put, row=row, expected=expected, clears=clears))

    async def extend(self, id: RowId, deadline: bytes, *, version: Version, replaces: bytes | None = None) -> bool:
        """Replace the deadline alone."""
        return await self.database.write(partial(_extend, id=id, deadline=deadline, version=version, replaces=replaces))

    async def delete(self, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
        """Remove all of them in one transaction."""
        return await self.database.write(partial(_delete, rows=rows), frees_space=True)

    async def put_generations(self, generations: Sequence[Generation]) -> None:
        """Put all of them in one transaction. A revocation must not fail for want of space, and lets far more be reclaimed."""
        await self.database.write(partial(_put_generations, generations=generations), frees_space=True)

    async def get_generation(self, scope: bytes) -> Generation | None:
        """The record: one search, on the calling thread."""
        with translated(self.database.reader):
            found = fetch_one(self.database.reader, _GET_GENERATION, (scope,))
        return None if found is None else _generation(found)

    async def generations_since(self, sequence: int, *, limit: int) -> Sequence[Generation]:
        """A range of the table's primary key, on the calling thread."""
        with translated(self.database.reader):
            return [_generation(found) for found in fetch_all(self.database.reader, _GENERATIONS, (sequence, limit))]

    async def delete_generations(self, generations: Sequence[Generation]) -> None:
        """Compare and remove in one transaction."""
        await self.database.write(partial(_delete_generations, generations=generations), frees_space=True)

    async def page(self, after: RowId | None, *, limit: int) -> Sequence[RowOutline]:
        """In a background thread."""
        found = await self.database.read(lambda connection: fetch_all(connection, _PAGE, (after or b"", limit)))
        return [RowOutline(*columns) for columns in found]


def _overwrite_what_is_removed(connection: apsw.Connection) -> None:
    """A session that has ended leaves nothing in the file that its key could still open."""
    connection.pragma("secure_delete", True)


def _generation(found: tuple[object, ...]) -> Generation:
    scope, key_id, token, version, until_ms, mac, sequence = found
    assert isinstance(scope, bytes) and isinstance(token, bytes) and isinstance(mac, bytes)  # the table is STRICT
    assert isinstance(key_id, int) and isinstance(version, int) and isinstance(until_ms, int) and isinstance(sequence, int)
    return Generation(scope, KeyId(key_id), Token(token), Version(version), until_ms, mac, sequence)


def _stored_version(connection: apsw.Connection, id: RowId) -> Version | None:
    found = fetch_one(connection, _HEAD, (id,))
    return None if found is None else version_of(RowOutline(id, found[0], b"", 0))


def _put(connection: apsw.Connection, *, row: Row, expected: Version | None, clears: Sequence[RowId]) -> bool:
    if _stored_version(connection, row.id) != expected:
        return False
    if expected is None:
        connection.execute(_PUT, (row.id, row.head, row.deadline, row.sealed))
    else:
        connection.execute(_UPDATE, (row.head, row.deadline, row.sealed, row.id))
    for id in clears:
        connection.execute(_DELETE, (id,))
    return True


def _extend(connection: apsw.Connection, *, id: RowId, deadline: bytes, version: Version, replaces: bytes | None) -> bool:
    if _stored_version(connection, id) != version:
        return False
    connection.execute(_EXTEND, (deadline, id, replaces))
    return connection.changes() > 0


def _delete(connection: apsw.Connection, *, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
    removed: set[RowId] = set()
    for id, version in rows.items():
        if version is None or _stored_version(connection, id) == version:
            connection.execute(_DELETE, (id,))
            if connection.changes() > 0:
                removed.add(id)
    return removed


def _put_generations(connection: apsw.Connection, *, generations: Sequence[Generation]) -> None:
    for one in generations:
        connection.execute(_PUT_GENERATION, (one.scope, one.key_id, one.token, one.version, one.until_ms, one.mac))


def _delete_generations(connection: apsw.Connection, *, generations: Sequence[Generation]) -> None:
    for one in generations:
        connection.execute(_DELETE_GENERATION, (one.scope, one.sequence))

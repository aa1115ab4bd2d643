"""Sessions in a SQLite file of their own, owned by one process.

A point read runs on the event loop: it takes less than handing it to a thread. Writes go to the writer thread, whose group commit is what
makes them durable. Comparing and setting reads the version out of the stored head, so that no column repeats it.

Saves and extensions that wait together are made by a few statements over all their rows: each statement makes the writer thread queue for
the interpreter lock, beside an event loop that is busy with the next requests. What is done for all at once has the same outcome as one by
one in the order given, or is not done.
"""

from collections.abc import Mapping, Sequence, Set
from functools import cache, partial
from pathlib import Path
from typing import Self

import apsw
import msgspec

from headwater.kernel.clock import Clock
from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sessions.model import Generation, KeyId, Row, RowId, RowOutline, Token, Version
from headwater.sessions.sealing import VERSION_AT, encode_version, version_of
from headwater.sqlite import Database, Platform, StorageConfig, load_migrations
from headwater.sqlite.errors import translate, translated
from headwater.sqlite.queries import Value, fetch_all, fetch_one

# One search, whether the row is there or not. The table `decoy` of the first format is for programs that are older than this search.
_NEAR = "SELECT id, head, deadline, sealed FROM session WHERE id >= ? ORDER BY id LIMIT 1"
_HEAD = "SELECT head FROM session WHERE id = ?"
_INSERT = "INSERT INTO session (id, head, deadline, sealed) VALUES {} ON CONFLICT (id) DO NOTHING"
_UPDATE = "UPDATE session SET head = ?, deadline = ?, sealed = ? WHERE id = ?"
_UPDATE_ALL = """
    WITH fresh (id, version, head, deadline, sealed) AS (VALUES {})
    UPDATE session SET head = fresh.head, deadline = fresh.deadline, sealed = fresh.sealed
    FROM fresh WHERE session.id = fresh.id AND substr(session.head, {at}, 8) = fresh.version
"""
_EXTEND = "UPDATE session SET deadline = ?1 WHERE id = ?2 AND (?3 IS NULL OR deadline = ?3)"
_EXTEND_ALL = """
    WITH fresh (id, version, deadline, replaces) AS (VALUES {})
    UPDATE session SET deadline = fresh.deadline
    FROM fresh WHERE session.id = fresh.id AND substr(session.head, {at}, 8) = fresh.version
    AND (fresh.replaces IS NULL OR session.deadline = fresh.replaces)
"""
_ROWS_MAX = 64
WAL_BYTES_MAX = Bytes.of("1MiB")
"""Size of the write-ahead log at which it is copied into the file, even where more is allowed. Saves wait for the whole of a copy, 5 to 8
ms for each MiB; and as rows lie at random places, larger copies would hardly save a page."""
_DELETE = "DELETE FROM session WHERE id = ?"
_PAGE = "SELECT id, head, deadline, length(sealed) FROM session WHERE id > ? ORDER BY id LIMIT ?"
_PUT_GENERATION = "INSERT OR REPLACE INTO generation (scope, key_id, token, version, until_ms, mac) VALUES (?, ?, ?, ?, ?, ?)"
_GET_GENERATION = "SELECT scope, key_id, token, version, until_ms, mac, sequence FROM generation WHERE scope = ?"
_GENERATIONS = """
    SELECT scope, key_id, token, version, until_ms, mac, sequence FROM generation WHERE sequence > ? ORDER BY sequence LIMIT ?
"""
_DELETE_GENERATION = "DELETE FROM generation WHERE scope = ? AND sequence = ?"


class Put(msgspec.Struct, frozen=True, gc=False):
    """A row to be written if the stored one has the version `expected`, and rows to be removed with it."""

    row: Row
    expected: Version | None
    clears: Sequence[RowId]


DATABASE = "sessions"
"""The name of the file in metrics and logs."""


class Extension(msgspec.Struct, frozen=True, gc=False):
    """A deadline to be written to a row of that version, and if it is given only in place of the deadline `replaces`."""

    id: RowId
    deadline: bytes
    version: Version
    replaces: bytes | None


class SqliteSessionStore:
    """`SessionStore` in a file. Make one with `SqliteSessionStore.open`."""

    shared = False

    def __init__(self, database: Database) -> None:
        self.database = database
        self._execute = database.reader.cursor().execute  # a cursor made anew costs a sixth of the search

    @classmethod
    async def open(cls, path: Path, *, metrics: Metrics, clock: Clock, storage: StorageConfig, platform: Platform | None = None) -> Self:
        """Open or create the file.

        Raises:
            FormatTooNew: a newer program made the file.
            Corrupted: the file is damaged.
            StorageFull, Unavailable: the disk is full or fails.
        """
        storage = msgspec.structs.replace(storage, wal_bytes_max=min(storage.wal_bytes_max, WAL_BYTES_MAX))
        migrations = load_migrations("headwater.sessions.engines.schema")
        database = await Database.open(
            path, name=DATABASE, migrations=migrations, metrics=metrics, clock=clock, config=storage, platform=platform
        )
        await database.write(partial(_set_up, wal_bytes_max=storage.wal_bytes_max), frees_space=True)  # a start does not fail for it
        return cls(database)

    async def close(self) -> None:
        """Finish what is being written, close the file."""
        await self.database.close()

    async def near(self, id: RowId) -> Row | None:
        """The row, or the next one: one search, on the calling thread."""
        try:  # without `translated`, which costs as much as the search
            found = self._execute(_NEAR, (id,)).fetchall()
        except apsw.Error as error:
            known = translate(error, self.database.reader)
            if known is None:
                raise
            raise known from error
        return Row(*found[0]) if found else None  # type: ignore[arg-type] # the table is STRICT

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        """Compare and set in one transaction, `clears` included."""
        if not row.sealed:
            return await self.database.write(partial(put_one, put=Put(row, expected, clears)), frees_space=True)
        return await self.database.write_together(put_all, Put(row, expected, clears), put_one)

    async def extend(self, id: RowId, deadline: bytes, *, version: Version, replaces: bytes | None = None) -> bool:
        """Replace the deadline alone."""
        return await self.database.write_together(extend_all, Extension(id, deadline, version, replaces), extend_one)

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


def _set_up(connection: apsw.Connection, *, wal_bytes_max: int) -> None:
    """A session that has ended leaves nothing in the file that its key could still open. The write-ahead log keeps its blocks, so that each
    round writes over those of the one before: a file that grows costs its fsync twice.
    """
    connection.pragma("secure_delete", True)
    connection.pragma("journal_size_limit", 2 * wal_bytes_max)  # above what it grows to


def _generation(found: tuple[object, ...]) -> Generation:
    scope, key_id, token, version, until_ms, mac, sequence = found
    assert isinstance(scope, bytes) and isinstance(token, bytes) and isinstance(mac, bytes)  # the table is STRICT
    assert isinstance(key_id, int) and isinstance(version, int) and isinstance(until_ms, int) and isinstance(sequence, int)
    return Generation(scope, KeyId(key_id), Token(token), Version(version), until_ms, mac, sequence)


def stored_version(connection: apsw.Connection, id: RowId) -> Version | None:
    """The version of the row, or None if there is none."""
    found = fetch_one(connection, _HEAD, (id,))
    return None if found is None else version_of(RowOutline(id, found[0], b"", 0))


def put_one(connection: apsw.Connection, put: Put) -> bool:
    """Compare and set; says whether it was."""
    row = put.row
    if stored_version(connection, row.id) != put.expected:
        return False
    if put.expected is None:
        connection.execute(_with_rows(_INSERT, 1, 4), (row.id, row.head, row.deadline, row.sealed))
    else:
        connection.execute(_UPDATE, (row.head, row.deadline, row.sealed, row.id))
    for id in put.clears:
        connection.execute(_DELETE, (id,))
    return True


def put_all(connection: apsw.Connection, puts: Sequence[Put]) -> Sequence[bool] | None:
    """Compare and set all rows; None if one has another version, or if they are not as simple as rows mostly are."""
    made: list[tuple[Value, ...]] = []
    changed: list[tuple[Value, ...]] = []
    for put in puts:
        row, expected = put.row, put.expected
        if put.clears or expected == 0:  # 0: a head that is cut off holds no version
            return None
        if expected is None:
            made.append((row.id, row.head, row.deadline, row.sealed))
        else:
            changed.append((row.id, encode_version(expected), row.head, row.deadline, row.sealed))
    if not _are_distinct(made, changed) or not _run(connection, _INSERT, made) or not _run(connection, _UPDATE_ALL, changed):
        return None
    return [True] * len(puts)


def extend_one(connection: apsw.Connection, extension: Extension) -> bool:
    """Compare and set a deadline; says whether it was."""
    if stored_version(connection, extension.id) != extension.version:
        return False
    connection.execute(_EXTEND, (extension.deadline, extension.id, extension.replaces))
    return connection.changes() > 0


def extend_all(connection: apsw.Connection, extensions: Sequence[Extension]) -> Sequence[bool] | None:
    """Compare and set all deadlines; None if one row is another than it should be."""
    changed: list[tuple[Value, ...]] = [(each.id, encode_version(each.version), each.deadline, each.replaces) for each in extensions]
    return [True] * len(extensions) if _are_distinct(changed) and _run(connection, _EXTEND_ALL, changed) else None


def _are_distinct(*groups: Sequence[tuple[Value, ...]]) -> bool:
    return len({values[0] for group in groups for values in group}) == sum(map(len, groups))


def _run(connection: apsw.Connection, statement: str, rows: Sequence[tuple[Value, ...]]) -> bool:
    """Run `statement` over all rows; says whether it wrote every one of them."""
    at, count = 0, _ROWS_MAX
    while at < len(rows):
        while count > len(rows) - at:
            count //= 2
        values = [value for row in rows[at : at + count] for value in row]
        connection.execute(_with_rows(statement, count, len(rows[0])), values)
        if connection.changes() != count:
            return False
        at += count
    return True


@cache
def _with_rows(statement: str, rows: int, columns: int) -> str:
    """`statement` for that many rows: powers of two alone, so that each stays prepared."""
    row = f"({', '.join('?' * columns)})"
    return statement.format(", ".join([row] * rows), at=VERSION_AT + 1)


def _delete(connection: apsw.Connection, *, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
    removed: set[RowId] = set()
    for id, version in rows.items():
        if version is None or stored_version(connection, id) == version:
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

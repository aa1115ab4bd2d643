"""The file of sessions, looked at or changed from outside the process that serves it."""

from pathlib import Path

import apsw

from headwater.kernel.errors import Corrupted
from headwater.sessions.model import KeyId
from headwater.sessions.sealing import decode_head
from headwater.sqlite.connections import distrust_schema
from headwater.sqlite.errors import translated
from headwater.sqlite.migrations import load_migrations, migrate

_HEADS = "SELECT head FROM session"
_FORGET = "DELETE FROM session"
_TABLES = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('headwater_format', 'session', 'generation')"


def bring_to_format(path: Path, *, now_ms: int) -> None:
    """Make of a copy of a store what this program would make of it at a start, so that nothing which could not be served is put in place.

    Raises:
        Corrupted: it is some other database, or an empty one.
        FormatTooNew: a newer program made it.
        StorageFull, Unavailable: the disk is full or fails.
    """
    connection = _opened(path, apsw.SQLITE_OPEN_READWRITE)
    try:
        with translated(connection, file=path.name):
            if connection.execute(_TABLES).fetchall() != [(3,)]:
                raise Corrupted("this is no store of sessions")
            migrate(connection, load_migrations("headwater.sessions.engines.schema"), now_ms=now_ms)
            connection.execute(f"{_HEADS} LIMIT 1").fetchall()
    except apsw.SQLError as error:
        raise Corrupted("this is no store of sessions") from error
    finally:
        connection.close()


def rows_by_key(path: Path) -> dict[KeyId, int]:
    """How many rows are sealed under each service key; a service may be running on the file.

    Raises:
        Corrupted, Unavailable: the file cannot be read.
    """
    found: dict[KeyId, int] = {}
    if not path.exists():
        return found
    connection = _opened(path, apsw.SQLITE_OPEN_READONLY)
    try:
        with translated(connection, file=path.name):
            for (data,) in connection.execute(_HEADS):
                head = decode_head(data)
                if head is not None:
                    found[head.key_id] = found.get(head.key_id, 0) + 1
    finally:
        connection.close()
    return found


def forget_sessions(path: Path) -> int:
    """Remove every session from a file that no process serves, and nothing else; returns how many there were.

    Raises:
        Corrupted, StorageFull, Unavailable: the file cannot be changed.
    """
    connection = _opened(path, apsw.SQLITE_OPEN_READWRITE)
    try:
        with translated(connection, file=path.name):
            connection.pragma("secure_delete", True)
            connection.execute(_FORGET)
            count = connection.changes()
            connection.execute("VACUUM")
    finally:
        connection.close()
    return count


def _opened(path: Path, flags: int) -> apsw.Connection:
    with translated(file=path.name):
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(5_000)
        distrust_schema(connection)
        return connection

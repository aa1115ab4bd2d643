"""The file of sessions, looked at or changed from outside the process that serves it."""

from pathlib import Path

import apsw

from headwater.sessions.model import KeyId
from headwater.sessions.sealing import decode_head
from headwater.sqlite.connections import distrust_schema
from headwater.sqlite.errors import translated

_HEADS = "SELECT head FROM session"
_FORGET = "DELETE FROM session"


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

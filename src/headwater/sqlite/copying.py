"""Copies of a file: taken while another process writes to it, and put in its place while none does.

A copy is made by `VACUUM INTO`: one snapshot that sees the write-ahead log, without the free pages in which deleted rows may still stand.
"""

import os
from pathlib import Path

import apsw

from headwater.kernel.errors import Corrupted, InvalidInput, NotFound, Unavailable
from headwater.sqlite.connections import BUSY_TIMEOUT_MS, distrust_schema
from headwater.sqlite.errors import translated

_BESIDE = ("-wal", "-shm", "-journal")


def copy_to(source: Path, target: Path) -> None:
    """Copy the database `source` into the new file `target`, durably and readable by its owner alone.

    Raises:
        NotFound: there is no `source`.
        InvalidInput: `target` exists.
        Corrupted, StorageFull, Unavailable: the disk is damaged, full or failing; `target` is not there.
    """
    if not source.exists():
        raise NotFound(f"there is no {source}")
    _make_new(target)
    try:
        connection = _opened(source)
        try:
            with translated(connection, file=source.name):
                connection.execute("VACUUM INTO ?", (str(target),))
        finally:
            connection.close()
        check(target)
        _sync(target)
        _sync(target.parent)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def check(path: Path) -> None:
    """Read the whole file.

    Raises:
        NotFound: it is not there.
        Corrupted: it is damaged, or no database.
    """
    if not path.exists():
        raise NotFound(f"there is no {path}")
    connection = _opened(path)
    try:
        with translated(connection, file=path.name):
            found = str(connection.pragma("integrity_check"))
    finally:
        connection.close()
    if found != "ok":
        raise Corrupted(f"{path.name} is damaged: {found}")


def put_in_place(copy: Path, path: Path) -> None:
    """Rename `copy` to `path`, which no process may have open. A crash in between leaves either whole.

    What the write-ahead log of the old file holds is copied into it first: left behind, it would be applied to the new one.

    Raises:
        Corrupted, Unavailable: the old file cannot be read or is in use; nothing was changed.
    """
    if path.exists():
        connection = _opened(path, busy_ms=0)
        try:
            with translated(connection, file=path.name):
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").get
        finally:
            connection.close()
        if busy:
            raise Unavailable(f"{path.name} is in use")
    for suffix in _BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _sync(copy)
    copy.replace(path)
    _sync(path.parent)


def _opened(path: Path, *, busy_ms: int = BUSY_TIMEOUT_MS) -> apsw.Connection:
    with translated(file=path.name):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(busy_ms)
        distrust_schema(connection)
        return connection


def _make_new(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise InvalidInput(f"{path} exists: name another file, or take it away") from error
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise Unavailable(f"cannot make {path} durable: {error.strerror}") from error
    finally:
        os.close(descriptor)

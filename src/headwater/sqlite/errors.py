"""What an error of SQLite means to the rest of Headwater."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from headwater.kernel.errors import Corrupted, HeadwaterError, StorageFull, TooLarge, Unavailable

_SYNC_RESULTS = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC, apsw.SQLITE_IOERR_DIR_CLOSE, apsw.SQLITE_IOERR_CLOSE})
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_SPACE_RESULTS = frozenset({apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_TRUNCATE, apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP})


def _extended(error: apsw.Error) -> int:
    return int(getattr(error, "extendedresult", 0))


def is_failed_sync(error: BaseException) -> bool:
    """Whether the operating system failed to make written data durable, after which nothing in memory can be trusted."""
    return isinstance(error, apsw.IOError) and _extended(error) in _SYNC_RESULTS


def translate(error: apsw.Error, connection: apsw.Connection | None = None, *, file: str | None = None) -> HeadwaterError | None:
    """The Headwater error for `error`, or None if it shows a bug in the statement and must stay as it is.

    Whoever has to put a damaged file away must learn which one it is: from `connection`, or from `file` where there is none.
    """
    if isinstance(error, apsw.FullError):
        return StorageFull("the disk is full")
    if isinstance(error, apsw.IOError):
        if _extended(error) in _SPACE_RESULTS and connection is not None and connection.system_errno in _NO_SPACE:
            return StorageFull("the disk is full")
        return Unavailable(f"the disk fails: {error}")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Corrupted(f"{_name(connection, file)} is damaged: {error}")
    if isinstance(error, apsw.BusyError | apsw.LockedError | apsw.CantOpenError | apsw.ReadOnlyError | apsw.NoMemError):
        return Unavailable(f"{_name(connection, file)} cannot be used now: {error}")
    if isinstance(error, apsw.TooBigError):
        return TooLarge("a value is too large for the database")
    return None


def _name(connection: apsw.Connection | None, file: str | None) -> str:
    return file or (Path(connection.filename).name if connection is not None else "a database file")


@contextmanager
def translated(connection: apsw.Connection | None = None, *, file: str | None = None) -> Iterator[None]:
    """Raise errors of SQLite as Headwater's, for reads through `Database.reader`; arguments as of `translate`."""
    try:
        yield
    except apsw.Error as error:
        known = translate(error, connection, file=file)
        if known is None:
            raise
        raise known from error

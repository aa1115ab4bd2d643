"""How connections to a file are set up. Every setting that durability rests on stands here."""

import contextlib
import os
from pathlib import Path

import apsw

from headwater.sqlite.config import StorageConfig

SYNCHRONOUS = "FULL"  # an fsync of the write-ahead log in every commit
BUSY_TIMEOUT_MS = 5_000
STATEMENTS_CACHED = 300  # tables have one for each number of rows that are written at once


def open_writer(path: Path, *, config: StorageConfig, vfs: str | None, page_bytes: int | None = None) -> apsw.Connection:
    """The one connection that writes: WAL, an fsync in every commit, checkpoints only when asked for.

    SQLite's own checkpoint after a commit swallows the error of a failed fsync; the writer therefore makes checkpoints itself.
    """
    _make_private(path)
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags, vfs=vfs, statementcachesize=STATEMENTS_CACHED)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    if page_bytes is not None:
        connection.pragma("page_size", page_bytes)  # of a file that is there already it changes nothing
    mode = connection.pragma("journal_mode", "wal")
    assert mode == "wal", f"{path} cannot use a write-ahead log: {mode}"
    connection.pragma("synchronous", SYNCHRONOUS)
    connection.pragma("foreign_keys", True)
    distrust_schema(connection)
    connection.pragma("cache_size", -(config.writer_cache_bytes // 1024))
    connection.pragma("journal_size_limit", int(config.wal_bytes_max))
    connection.wal_autocheckpoint(0)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def distrust_schema(connection: apsw.Connection) -> None:
    """Let nothing that stands in the file act: no file here has triggers or views, and one that somebody has put there could keep rows from
    being deleted, or say that they are not there, and every write would still seem to be done.
    """
    connection.pragma("trusted_schema", False)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)


def _make_private(path: Path) -> None:
    """Make the file so that nobody but its owner may read it, whatever the directory allows; those beside it get the same mode."""
    with contextlib.suppress(OSError):  # whatever is wrong, SQLite says it better
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def open_reader(path: Path, *, config: StorageConfig, vfs: str | None) -> apsw.Connection:
    """A connection that cannot write. It is not opened read-only since readers of a WAL update its index."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs, statementcachesize=STATEMENTS_CACHED)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("query_only", True)
    distrust_schema(connection)
    connection.pragma("cache_size", -(config.reader_cache_bytes // 1024))
    connection.pragma("mmap_size", int(config.mmap_bytes))
    return connection

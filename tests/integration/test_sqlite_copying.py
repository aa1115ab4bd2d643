"""Copies of a SQLite file: taken under a writer, put back whole, refused where they would destroy something."""

import pathlib

import apsw
import pytest

from headwater.kernel.errors import Corrupted, InvalidInput, NotFound, Unavailable
from headwater.sqlite.copying import check, copy_to, put_in_place


def written(path: pathlib.Path, *numbers: int) -> apsw.Connection:
    """A connection to a file in WAL mode that holds numbers, some of them in the log alone."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.wal_autocheckpoint(0)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("CREATE TABLE IF NOT EXISTS number (n INTEGER)")
    connection.executemany("INSERT INTO number VALUES (?)", [(n,) for n in numbers])
    return connection


def numbers(path: pathlib.Path) -> list[int]:
    """What a file holds."""
    connection = apsw.Connection(str(path))
    try:
        return [int(n) for (n,) in connection.execute("SELECT n FROM number ORDER BY n")]
    finally:
        connection.close()


def test_a_copy_under_a_writer_sees_what_was_committed_and_nothing_deleted(tmp_path: pathlib.Path) -> None:
    source, target = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    writer = written(source, 1, 2)
    writer.execute("CREATE TABLE gone (text TEXT)")
    writer.execute("INSERT INTO gone VALUES (?)", ("deleted-secret" * 100,))
    writer.execute("DELETE FROM gone")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO number VALUES (3)")
    copy_to(source, target)
    writer.execute("COMMIT")
    writer.close()
    assert numbers(target) == [1, 2]
    assert b"deleted-secret" not in target.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o600


def test_what_the_old_log_holds_does_not_reach_the_new_file(tmp_path: pathlib.Path) -> None:
    path, copy = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    writer = written(path, 1)
    copy_to(path, copy)
    writer.executemany("INSERT INTO number VALUES (?)", [(n,) for n in range(2, 500)])
    writer.close()
    assert (tmp_path / "a.sqlite-wal").stat().st_size > 0
    put_in_place(copy, path)
    assert numbers(path) == [1]
    assert not copy.exists()


def test_a_file_in_use_is_not_replaced(tmp_path: pathlib.Path) -> None:
    path, copy = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    writer = written(path, 1)
    copy_to(path, copy)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO number VALUES (2)")
    with pytest.raises(Unavailable):
        put_in_place(copy, path)
    writer.execute("COMMIT")
    writer.close()
    assert numbers(path) == [1, 2]


def test_what_would_destroy_or_mislead_is_refused(tmp_path: pathlib.Path) -> None:
    source, there = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    written(source, 1).close()
    there.write_bytes(b"precious")
    with pytest.raises(InvalidInput):
        copy_to(source, there)
    assert there.read_bytes() == b"precious"
    with pytest.raises(Corrupted):
        check(there)
    with pytest.raises(NotFound):
        copy_to(tmp_path / "none", tmp_path / "c.sqlite")
    with pytest.raises(Unavailable):
        copy_to(source, tmp_path / "no" / "folder")
    assert not (tmp_path / "c.sqlite").exists()

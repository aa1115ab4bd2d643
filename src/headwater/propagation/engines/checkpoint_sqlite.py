"""A shard's checkpoint in its own SQLite file: whole state in, what changed since, one transaction each time."""

from pathlib import Path
from typing import Any, Self

import apsw

from headwater.kernel.errors import Corrupted, Fenced
from headwater.kernel.metrics import Metrics
from headwater.propagation.ports import Checkpoint
from headwater.sqlite import Database, StorageConfig, load_migrations

_SHARD = "SELECT epoch, log_base, applied, commits_after FROM shard"
_SAVE_SHARD = "INSERT OR REPLACE INTO shard (one, epoch, log_base, applied, commits_after) VALUES (1, ?, ?, ?, ?)"
_DIRTY = "SELECT urgency, pages FROM dirty"
_CLEAR_DIRTY = "DELETE FROM dirty"
_SAVE_DIRTY = "INSERT INTO dirty (urgency, pages) VALUES (?, ?)"
_PAGES = "SELECT number, node FROM pages"
_SAVE_PAGE = "INSERT OR REPLACE INTO pages (number, node) VALUES (?, ?)"
_DROP_PAGE = "DELETE FROM pages WHERE number = ?"
_MARKS = "SELECT resource, mark FROM marks"
_SAVE_MARK = "INSERT OR REPLACE INTO marks (resource, mark) VALUES (?, ?)"
_DROP_MARK = "DELETE FROM marks WHERE resource = ?"


class SqliteCheckpoints:
    """A `CheckpointStore` in one file. Make one with `open`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: Path, *, metrics: Metrics, config: StorageConfig | None = None) -> Self:
        """Open or create the file. Raises Corrupted, FormatTooNew, StorageFull, Unavailable."""
        migrations = load_migrations("headwater.propagation.engines.checkpoint_schema")
        return cls(await Database.open(path, name=path.stem, migrations=migrations, metrics=metrics, config=config))

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def load(self) -> Checkpoint | None:
        # In the queue of the writes: a save that its owner did not wait for, because it was stopped, is done before, never after.
        # It needs no room, so a full disk must not refuse it.
        return await self._database.write(_read_all, frees_space=True)

    async def save(self, checkpoint: Checkpoint) -> None:
        await self._database.write(lambda connection: _save(connection, checkpoint))


def _read_all(connection: apsw.Connection) -> Checkpoint | None:
    row = connection.execute(_SHARD).fetchone()
    if row is None:
        return None
    return Checkpoint(
        epoch=row[0],
        log_base=row[1],
        applied=row[2],
        commits_after=row[3],
        dirty=_rows(connection, _DIRTY),
        pages=_rows(connection, _PAGES),
        marks=_rows(connection, _MARKS),
    )


def _rows(connection: apsw.Connection, statement: str) -> dict[Any, Any]:
    """Keys and values of a table, typed by its columns."""
    rows: list[Any] = connection.execute(statement).fetchall()
    return dict(rows)


def _save(connection: apsw.Connection, checkpoint: Checkpoint) -> None:
    saved = connection.execute(_SHARD).fetchone()
    if saved is not None and checkpoint.epoch < saved[0]:
        raise Fenced(f"epoch {saved[0]} has saved this shard; epoch {checkpoint.epoch} is over")
    if saved is not None and checkpoint.log_base != saved[1]:
        raise Corrupted("the saved shard belongs to another log")
    state = (checkpoint.epoch, checkpoint.log_base, checkpoint.applied, checkpoint.commits_after)
    connection.execute(_SAVE_SHARD, state)
    connection.execute(_CLEAR_DIRTY)
    connection.executemany(_SAVE_DIRTY, list(checkpoint.dirty.items()))
    pages, marks = dict(checkpoint.pages), dict(checkpoint.marks)  # encoded here, once, outside the event loop
    connection.executemany(_SAVE_PAGE, [row for row in pages.items() if row[1] is not None])
    connection.executemany(_DROP_PAGE, [(number,) for number, node in pages.items() if node is None])
    connection.executemany(_SAVE_MARK, [row for row in marks.items() if row[1] is not None])
    connection.executemany(_DROP_MARK, [(resource,) for resource, mark in marks.items() if mark is None])

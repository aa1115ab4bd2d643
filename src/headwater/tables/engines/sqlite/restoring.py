"""Making a copy of a file of tables ready to take the place of the one that was lost.

No number is given twice. Between the backup and the restore the lost file gave out revisions, positions of change streams, and ids; the
restored one goes on above all of them. Positions in between have been seen by readers and mean nothing any more: the table `lost` holds
which, and a reader that comes with one of them is told.
"""

from dataclasses import dataclass
from pathlib import Path

import apsw

from headwater.kernel.errors import Corrupted, HeadwaterError
from headwater.sqlite.migrations import load_migrations, migrate
from headwater.sqlite.queries import fetch_all
from headwater.tables.engines.sqlite.examining import opened
from headwater.tables.engines.sqlite.writes import RESERVED_US

IDS_SKIPPED = 1_000_000
"""How far ids of spaces and incarnations, and epochs, move on where the lost file cannot be asked: more than it can have given."""

_REVISION = "SELECT value FROM counter WHERE name = 'revision'"
_EPOCH = "SELECT value FROM counter WHERE name = 'epoch'"
_IDS = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence"
_LAST = "SELECT max((SELECT coalesce(max(sequence), 0) FROM change), (SELECT coalesce(max(trimmed), 0) FROM space))"
_SET = "UPDATE counter SET value = ? WHERE name = ?"
_SET_IDS = "UPDATE sqlite_sequence SET seq = ?"
_MAKE_IDS = "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)"
_LOSE = "INSERT OR REPLACE INTO lost (after, until) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Given:
    """The highest numbers that a file has given out, each at least: revisions, epochs, ids."""

    revision: int
    epoch: int
    id: int


def given_by(path: Path) -> Given | None:
    """What the file that is to be replaced has given out; None if there is none that can be asked."""
    if not path.exists():
        return None
    try:
        with opened(path) as connection:
            return _given(connection)
    except (HeadwaterError, apsw.SQLError):  # damaged, which may be why it is replaced
        return None


def bring_to_format(path: Path, *, now_ms: int) -> None:
    """Make of a copy what this program would make of it at a start, so that nothing which could not be served is put in place.

    Raises:
        Corrupted: it is some other database, or an empty one.
        FormatTooNew: a newer program made it.
        StorageFull, Unavailable: the disk is full or fails.
    """
    with opened(path, writing=True) as connection:
        try:
            migrate(connection, load_migrations("headwater.tables.engines.sqlite.schema"), now_ms=now_ms)
        except apsw.SQLError as error:
            raise Corrupted(f"{path.name} is no store of tables that this program knows: {error}") from error


def move_on(path: Path, lost: Given | None, *, now_ms: int) -> None:
    """Let a copy go on above everything that it and the lost file gave out. Raises what `bring_to_format` raises.

    Args:
        path: the copy.
        lost: what the file that it replaces gave out; None: not known. Revisions follow the clock, so the clock says it too, unless it
            has been set back.
        now_ms: the time.
    """
    with opened(path, writing=True) as connection, connection:
        own = _given(connection)
        known = lost or Given(0, 0, 0)
        until = max(own.revision, known.revision, now_ms * 1000) + RESERVED_US
        (last,) = fetch_all(connection, _LAST)[0]
        connection.execute(_LOSE, (last, until))
        connection.execute(_SET, (until, "revision"))
        connection.execute(_SET, (max(own.epoch, known.epoch) + IDS_SKIPPED, "epoch"))
        for name in ("declaration", "space"):
            connection.execute(_MAKE_IDS, (name,))
        connection.execute(_SET_IDS, (max(own.id, known.id) + IDS_SKIPPED,))


def _given(connection: apsw.Connection) -> Given:
    return Given(*(int(fetch_all(connection, statement)[0][0]) for statement in (_REVISION, _EPOCH, _IDS)))

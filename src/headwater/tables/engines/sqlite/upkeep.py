"""Taking back room in the writer thread: what has expired, what was dropped, old changes and write ids; some of it at a time."""

from dataclasses import dataclass

import apsw

from headwater.sqlite.queries import fetch_all, fetch_one
from headwater.tables.engines.sqlite.keys import partition_prefix, space_prefix, split
from headwater.tables.engines.sqlite.records import row_of
from headwater.tables.engines.sqlite.writes import Sums, count, count_known_partition, replace_row
from headwater.tables.model import SpaceId
from headwater.tables.rows import encode_row, live

STREAMS_AT_ONCE = 1_000

_DUE = "SELECT at_s, key FROM expiry WHERE at_s <= ? ORDER BY at_s, key LIMIT ?"
_FIND_ROW = "SELECT data FROM row WHERE key = ?"
_DROPPED = "SELECT id FROM space WHERE incarnation IS NULL LIMIT 1"
_FORGET_SPACE = "DELETE FROM space WHERE id = ?"
_ROWS = "SELECT key, data FROM row WHERE key >= ? AND key < ? LIMIT ?"
_EMPTY = (
    "DELETE FROM partition WHERE key IN (SELECT key FROM partition WHERE key >= ?1 AND key < ?2 LIMIT ?3)",
    "DELETE FROM outcome WHERE key IN (SELECT key FROM outcome WHERE key >= ?1 AND key < ?2 LIMIT ?3)",
)
_EMPTY_CHANGES = "DELETE FROM change WHERE space = ?1 AND sequence IN (SELECT sequence FROM change WHERE space = ?1 LIMIT ?2)"
_NEXT_STREAM = "SELECT space FROM change WHERE space > ? ORDER BY space LIMIT 1"
_OLDEST = "SELECT sequence, at_ms FROM change WHERE space = ? ORDER BY sequence LIMIT ?"
_TRIM = "DELETE FROM change WHERE space = ? AND sequence <= ?"
_TRIMMED = "UPDATE space SET trimmed = max(trimmed, ?2) WHERE id = ?1"
_FORGET_OUTCOMES = "DELETE FROM outcome WHERE key IN (SELECT key FROM outcome WHERE at_ms < ? ORDER BY at_ms, key LIMIT ?)"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept.

    Attributes:
        now_ms: the time.
        changes_since_ms, write_ids_since_ms: older ones go.
    """

    now_ms: int
    changes_since_ms: int
    write_ids_since_ms: int


class Upkeep:
    """What takes back room; remembers which change stream comes next. Belongs to the writer thread."""

    def __init__(self) -> None:
        self._stream = 0

    def reclaim(self, connection: apsw.Connection, kept: Kept, limit: int) -> bool:
        """Remove at most `limit` things; says whether more is left."""
        left = limit
        left -= _expire(connection, kept.now_ms // 1000, left)
        while left > 0 and (dropped := fetch_one(connection, _DROPPED)) is not None:
            left -= _empty(connection, SpaceId(dropped[0]), left)
        if left > 0:
            connection.execute(_FORGET_OUTCOMES, (kept.write_ids_since_ms, left))
            left -= connection.changes()
        return left <= 0 or not self._trim(connection, kept.changes_since_ms, left)

    def _trim(self, connection: apsw.Connection, since_ms: int, limit: int) -> bool:
        """Trim one stream after the other, from where the last call ended; says whether the last one has been reached."""
        for _ in range(STREAMS_AT_ONCE):
            found = fetch_one(connection, _NEXT_STREAM, (self._stream,))
            if found is None:
                self._stream = 0
                return True
            trimmed = _trim_stream(connection, found[0], since_ms, limit)
            limit -= trimmed
            if limit <= 0:
                return False
            self._stream = found[0]
        return False


def _trim_stream(connection: apsw.Connection, space: int, since_ms: int, limit: int) -> int:
    """Changes go in the order of the stream only, whatever the clock said when they were written."""
    old = 0
    last = None
    for sequence, at_ms in fetch_all(connection, _OLDEST, (space, limit)):
        if at_ms >= since_ms:
            break
        old, last = old + 1, sequence
    if last is not None:
        connection.execute(_TRIM, (space, last))
        connection.execute(_TRIMMED, (space, last))
    return old


def _expire(connection: apsw.Connection, now_s: int, limit: int) -> int:
    due = fetch_all(connection, _DUE, (now_s, limit))
    for at_s, key in due:
        found = fetch_one(connection, _FIND_ROW, (key,))
        assert found is not None, f"{at_s} stands for a row that is not there"
        row = row_of(found[0])
        kept = live(row, now_s)
        replace_row(connection, key, before=row, after=kept)
        space, partition, clustering = split(key)
        key_bytes = len(partition) + len(clustering or b"")
        sums = Sums(0, len(encode_row(kept)) - len(found[0])) if kept else Sums(-(clustering is not None), -key_bytes - len(found[0]))
        count(connection, space, sums)
        count_known_partition(connection, partition_prefix(space, partition), sums)
    return len(due)


def _empty(connection: apsw.Connection, space: SpaceId, limit: int) -> int:
    """Remove what a dropped space holds, and at last its record."""
    low, high = space_prefix(space), space_prefix(space + 1)
    found = fetch_all(connection, _ROWS, (low, high, limit))
    for key, data in found:
        replace_row(connection, key, before=row_of(data), after=None)
    done = len(found)
    for statement in _EMPTY:
        if done < limit:
            connection.execute(statement, (low, high, limit - done))
            done += connection.changes()
    if done < limit:
        connection.execute(_EMPTY_CHANGES, (space, limit - done))
        done += connection.changes()
    if done < limit:
        connection.execute(_FORGET_SPACE, (space,))
        done += 1
    return done

"""Taking back room in the writer thread: what has expired, what was dropped, old changes and write ids; some of it at a time.

How much is bounded by number and by size, since writes wait meanwhile, and what is removed has to be read.
"""

from contextlib import closing
from dataclasses import dataclass

import apsw

from headwater.sqlite.queries import Value, fetch_all, fetch_one
from headwater.tables.engines.sqlite.keys import partition_prefix, space_prefix, split
from headwater.tables.engines.sqlite.records import row_of
from headwater.tables.engines.sqlite.writes import Sums, count, count_known_partition, replace_row
from headwater.tables.model import SpaceId
from headwater.tables.rows import encode_row, live

STREAMS_AT_ONCE = 1_000
RECLAIM_BYTES = 8 * 1024 * 1024
"""Of values that one call removes, the last one aside."""

_DUE = "SELECT at_s, key FROM expiry WHERE at_s <= ? ORDER BY at_s, key LIMIT ?"
_FIND_ROW = "SELECT data FROM row WHERE key = ?"
_DROPPED = "SELECT id FROM space WHERE incarnation IS NULL LIMIT 1"
_FORGET_SPACE = "DELETE FROM space WHERE id = ?"
_ROWS = "SELECT key, data FROM row WHERE key >= ? AND key < ? LIMIT ?"
_EMPTY_PARTITIONS = "DELETE FROM partition WHERE key IN (SELECT key FROM partition WHERE key >= ?1 AND key < ?2 LIMIT ?3)"
_OUTCOMES_OF = "SELECT key, length(data) FROM outcome WHERE key >= ? AND key < ? LIMIT ?"
_OLD_OUTCOMES = "SELECT key, length(data) FROM outcome WHERE at_ms < ? ORDER BY at_ms, key LIMIT ?"
_NEVER_MS = 1 << 62
_FORGET_OUTCOME = "DELETE FROM outcome WHERE key = ?"
_NEXT_STREAM = "SELECT space FROM change WHERE space > ? ORDER BY space LIMIT 1"
_OLDEST = "SELECT sequence, at_ms, length(data) FROM change WHERE space = ? ORDER BY sequence LIMIT ?"
_TRIM = "DELETE FROM change WHERE space = ? AND sequence <= ?"
_TRIMMED = "UPDATE space SET trimmed = max(trimmed, ?2) WHERE id = ?1"


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


@dataclass(slots=True)
class _Left:
    """What one call may still remove."""

    things: int
    size_bytes: int

    @property
    def is_nothing(self) -> bool:
        return self.things <= 0 or self.size_bytes <= 0

    def take(self, size_bytes: int) -> None:
        self.things -= 1
        self.size_bytes -= size_bytes


class Upkeep:
    """What takes back room; remembers which change stream comes next. Belongs to the writer thread."""

    def __init__(self) -> None:
        self._stream = 0

    def reclaim(self, connection: apsw.Connection, kept: Kept, limit: int) -> bool:
        """Remove at most `limit` things, and `RECLAIM_BYTES`; says whether more is left."""
        left = _Left(limit, RECLAIM_BYTES)
        _expire(connection, kept.now_ms // 1000, left)
        while not left.is_nothing and (dropped := fetch_one(connection, _DROPPED)) is not None:
            _empty(connection, SpaceId(dropped[0]), left)
        if not left.is_nothing:
            _forget_outcomes(connection, _OLD_OUTCOMES, (kept.write_ids_since_ms,), left)
        return left.is_nothing or not self._trim(connection, kept.changes_since_ms, left)

    def _trim(self, connection: apsw.Connection, since_ms: int, left: _Left) -> bool:
        """Trim one stream after the other, from where the last call ended; says whether the last one has been reached."""
        for _ in range(STREAMS_AT_ONCE):
            found = fetch_one(connection, _NEXT_STREAM, (self._stream,))
            if found is None:
                self._stream = 0
                return True
            _trim_stream(connection, found[0], since_ms, left)
            if left.is_nothing:
                return False
            self._stream = found[0]
        return False


def _trim_stream(connection: apsw.Connection, space: int, since_ms: int, left: _Left) -> None:
    """Changes go in the order of the stream only, whatever the clock said when they were written."""
    last = None
    for sequence, at_ms, size_bytes in fetch_all(connection, _OLDEST, (space, left.things)):
        if at_ms >= since_ms or left.is_nothing:
            break
        last = sequence
        left.take(size_bytes)
    if last is not None:
        connection.execute(_TRIM, (space, last))
        connection.execute(_TRIMMED, (space, last))


def _expire(connection: apsw.Connection, now_s: int, left: _Left) -> None:
    for at_s, key in fetch_all(connection, _DUE, (now_s, left.things)):
        if left.is_nothing:
            break
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
        left.take(len(found[0]))


def _empty(connection: apsw.Connection, space: SpaceId, left: _Left) -> None:
    """Remove what a dropped space holds, and at last its record."""
    low, high = space_prefix(space), space_prefix(space + 1)
    for key, data in _rows(connection, low, high, left):
        replace_row(connection, key, before=row_of(data), after=None)
    if not left.is_nothing:
        connection.execute(_EMPTY_PARTITIONS, (low, high, left.things))
        left.things -= connection.changes()
    if not left.is_nothing:
        _forget_outcomes(connection, _OUTCOMES_OF, (low, high), left)
    if not left.is_nothing:
        _trim_stream(connection, space, _NEVER_MS, left)
    if not left.is_nothing:
        connection.execute(_FORGET_SPACE, (space,))
        left.things -= 1


def _rows(connection: apsw.Connection, low: bytes, high: bytes, left: _Left) -> list[tuple[bytes, bytes]]:
    """Rows between two keys, as many as may be removed."""
    found: list[tuple[bytes, bytes]] = []
    with closing(connection.execute(_ROWS, (low, high, left.things))) as cursor:
        for key, data in cursor:
            found.append((key, data))
            left.take(len(data))
            if left.is_nothing:
                break
    return found


def _forget_outcomes(connection: apsw.Connection, which: str, bindings: tuple[Value, ...], left: _Left) -> None:
    keys: list[tuple[bytes]] = []
    for key, size_bytes in fetch_all(connection, which, (*bindings, left.things)):
        if left.is_nothing:
            break
        keys.append((key,))
        left.take(size_bytes)
    connection.executemany(_FORGET_OUTCOME, keys)

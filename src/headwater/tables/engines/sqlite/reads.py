"""Reading rows: slices of a partition, and walks over all of a space.

A slice and the static row of its partition come out of one statement, so they are of one snapshot.
"""

import heapq
from collections.abc import Container, Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import apsw

from headwater.sqlite.queries import fetch_all, fetch_one
from headwater.tables.engines.sqlite.keys import BEYOND, ROW, partition_of, partition_prefix, point_key, row_key, space_prefix, split
from headwater.tables.engines.sqlite.records import change_of, row_of
from headwater.tables.errors import ChangesTrimmed, PositionUnknown
from headwater.tables.model import (
    Change,
    Changes,
    ClusteringKey,
    KeyedRow,
    Page,
    PartitionKey,
    PartitionUsage,
    Place,
    RowKey,
    Slice,
    SpaceId,
    StoredRow,
    Usage,
    Walked,
)
from headwater.tables.rows import encode_row, live

LOOP_ROWS = 200  # of a slice that is read on the event loop
LOOP_EXPIRED_ROWS = 200  # that it may pass over
LOOP_BYTES = 1024 * 1024  # of both, the last one aside; what takes more is read in the background
CHANGES_BYTES = 1024 * 1024  # of changes that are read at once, on the event loop, the last one aside
WALK_ROWS = 5_000  # read in one snapshot of a walk
WALK_BYTES = 4 * 1024 * 1024  # of rows in a page of a walk, the last one aside
SIZES = 20_000  # read in one snapshot when the largest rows are looked for

POINT = "SELECT data FROM row WHERE key = ?"
_POINT_STATIC = "SELECT (SELECT data FROM row WHERE key = ?1), (SELECT data FROM row WHERE key = ?2)"
_FORWARD = "SELECT key, data FROM row WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
_BACKWARD = "SELECT key, data FROM row WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3"
_STATIC_FIRST = "SELECT key, data FROM row WHERE key = ?4 UNION ALL SELECT key, data FROM ({})"
_FORWARD_STATIC = _STATIC_FIRST.format(_FORWARD)
_BACKWARD_STATIC = _STATIC_FIRST.format(_BACKWARD)
_STREAM = "SELECT key, data FROM row WHERE key >= ? AND key < ? ORDER BY key"
_CHANGES = """
    SELECT s.trimmed, c.sequence, c.at_ms, c.data
    FROM space AS s LEFT JOIN change AS c ON c.space = s.id AND c.sequence > ?2 WHERE s.id = ?1 ORDER BY c.sequence LIMIT ?3
"""
_IS_CHANGE = "SELECT 1 FROM change WHERE space = ? AND sequence = ?"
_LOST = "SELECT after, until FROM lost"
_USAGE = "SELECT rows, bytes FROM space WHERE id = ?"
_TOTAL = "SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM space WHERE incarnation IS NOT NULL"
_LARGEST = "SELECT key, rows, bytes FROM partition WHERE key >= ? AND key < ? ORDER BY bytes DESC LIMIT ?"
_SIZES = "SELECT key, length(data) FROM row WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"


def bounds(slice: Slice) -> tuple[bytes, bytes]:
    """The keys from one to below another that a slice is."""
    prefix = partition_prefix(slice.space, slice.partition)
    low = prefix + ROW + slice.lower
    if slice.point:
        return low, low + b"\x00"
    high = prefix + BEYOND if slice.upper is None else prefix + ROW + slice.upper
    if slice.after is None:
        return low, high
    if slice.backwards:
        return low, min(high, prefix + ROW + slice.after)
    return max(low, prefix + ROW + slice.after + b"\x00"), high


# Slices


def read_point(connection: apsw.Connection, slice: Slice, *, now_s: int) -> Page:
    """The one row that a slice names."""
    prefix = partition_prefix(slice.space, slice.partition)
    key = row_key(prefix, slice.lower)
    static_data: bytes | None = None
    if slice.statics:
        data, static_data = fetch_all(connection, _POINT_STATIC, (key, row_key(prefix, None)))[0]
    else:
        data = connection.execute(POINT, (key,)).get  # without a list of rows, which takes as long again
        if data is None:
            return Page((), None)
    row, static = live(row_of(data), now_s), None if static_data is None else live(row_of(static_data), now_s)
    if row is not None:
        return Page((KeyedRow(slice.lower, row, static),), None)
    if slice.whole and static is not None:
        return Page((KeyedRow(None, None, static),), None)
    return Page((), None)


def read_rows(cursor: apsw.Cursor, keys: Sequence[RowKey], present: Set[SpaceId], *, now_s: int) -> list[StoredRow | None]:
    """The rows of the first of `keys`: of all, or until they have more than `LOOP_BYTES`. The cursor is left at its end.

    Together they lock the write-ahead log once, which is half of what a search costs.
    """
    rows: list[StoredRow | None] = []
    taken_bytes = 0
    execute = cursor.execute
    execute("BEGIN")
    try:
        for space, partition, clustering in keys:
            data = execute(POINT, (point_key(space, partition, clustering),)).get if space in present else None
            if data is None:
                rows.append(None)
                continue
            rows.append(live(row_of(data), now_s))
            taken_bytes += len(data)
            if taken_bytes > LOOP_BYTES:
                break
    finally:
        execute("COMMIT")
    return rows


@dataclass(slots=True)
class _Reading:
    """Rows of a slice as they are taken out of the statement; `is_long`: it has passed over more than `passed_bytes_max`, and ended there.

    Every row of an answer shows the static cells, so they count with each.
    """

    slice: Slice
    now_s: int
    passed_bytes_max: int | None
    static: StoredRow | None = None
    static_bytes: int = 0
    rows: list[KeyedRow] = field(default_factory=list)
    last: ClusteringKey | None = None
    passed: int = 0
    passed_bytes: int = 0
    more: bool = False
    is_long: bool = False

    def take(self, found: Iterable[tuple[bytes, bytes]]) -> None:
        slice, now_s, rows = self.slice, self.now_s, self.rows
        head = len(partition_prefix(slice.space, slice.partition))
        taken_bytes = 0
        for key, data in found:
            if key[head] != ROW[0]:
                self.static, self.static_bytes = live(row_of(data), now_s), len(data)
                continue
            if len(rows) == slice.limit or (rows and taken_bytes >= slice.bytes_max):
                self.more = True
                return
            if self.passed_bytes_max is not None and self.passed_bytes > self.passed_bytes_max:
                self.is_long = True
                return
            self.last = ClusteringKey(key[head + 1 :])
            self.passed += 1
            self.passed_bytes += len(data)
            row = live(row_of(data), now_s)
            if row is not None:
                rows.append(KeyedRow(self.last, row, self.static))
                taken_bytes += len(data) + self.static_bytes


def read_slice(connection: apsw.Connection, slice: Slice, *, now_s: int, rows_max: int | None) -> Page | None:
    """The rows of a slice; None if that takes looking at more than `rows_max` (None: any number), or at many large ones."""
    low, high = bounds(slice)
    reading = _Reading(slice, now_s, None if rows_max is None else LOOP_BYTES)
    values: tuple[bytes | int, ...] = (low, high, -1 if rows_max is None else rows_max)
    if slice.statics:
        statement = _BACKWARD_STATIC if slice.backwards else _FORWARD_STATIC
        values += (row_key(partition_prefix(slice.space, slice.partition), None),)
    else:
        statement = _BACKWARD if slice.backwards else _FORWARD
    with closing(connection.execute(statement, values)) as cursor:
        reading.take(cursor)
    if reading.more:
        return Page(reading.rows, reading.last)
    if reading.is_long:
        return None
    if rows_max is not None and reading.passed == rows_max:
        return None
    if slice.whole and reading.static is not None and not reading.rows:
        if rows_max is not None and slice.after is not None:
            return None
        if slice.after is None or not _has_row(connection, partition_prefix(slice.space, slice.partition), now_s):
            return Page((KeyedRow(None, None, reading.static),), None)
    return Page(reading.rows, None)


def _has_row(connection: apsw.Connection, prefix: bytes, now_s: int) -> bool:
    with closing(connection.execute(_STREAM, (prefix + ROW, prefix + BEYOND))) as cursor:
        return any(live(row_of(data), now_s) for _, data in cursor)


# Walks


@contextmanager
def snapshot(connection: apsw.Connection) -> Iterator[None]:
    """Several statements that see the same."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def walk(connection: apsw.Connection, space: SpaceId, after: Place | None, *, limit: int, now_s: int) -> Walked:
    """A page of a walk: at most `limit` rows, out of at most `WALK_ROWS` that are looked at, and none beyond `WALK_BYTES`."""
    rows: list[tuple[PartitionKey, KeyedRow]] = []
    last: Place | None = None
    taken_bytes = 0
    with snapshot(connection):
        for passed, (place, row, row_bytes) in enumerate(_walked(connection, space, after, now_s)):
            if len(rows) == limit or passed == WALK_ROWS or taken_bytes >= WALK_BYTES:
                return Walked(rows, last)
            last, taken_bytes = place, taken_bytes + row_bytes
            if row is not None:
                rows.append((place[0], row))
    return Walked(rows, None)


def _walked(connection: apsw.Connection, space: SpaceId, after: Place | None, now_s: int) -> Iterator[tuple[Place, KeyedRow | None, int]]:
    """Every row beyond a place, and its bytes; None where it has expired. A partition with only a static row yields that at its end."""
    low, partition, static, has_row, static_bytes = space_prefix(space), None, None, False, 0
    if after is not None:
        partition, clustering = after
        prefix = partition_prefix(space, partition)
        low = row_key(prefix, clustering) + b"\x00"
        static = _static(connection, prefix, now_s)
        has_row = clustering is None or static is None or _has_row(connection, prefix, now_s)
        static_bytes = len(encode_row(static)) if static is not None else 0
    with closing(connection.execute(_STREAM, (low, space_prefix(space + 1)))) as cursor:
        for key, data in cursor:
            _, here, clustering = split(key)
            if here != partition:
                if partition is not None and static is not None and not has_row:
                    yield (partition, None), KeyedRow(None, None, static), static_bytes
                partition, static, has_row, static_bytes = here, None, False, 0
            row = live(row_of(data), now_s)
            if clustering is None:
                static, static_bytes = row, len(data)
            else:
                has_row = has_row or row is not None
                yield (here, clustering), None if row is None else KeyedRow(clustering, row, static), len(data) + static_bytes
    if partition is not None and static is not None and not has_row:
        yield (partition, None), KeyedRow(None, None, static), static_bytes


def _static(connection: apsw.Connection, prefix: bytes, now_s: int) -> StoredRow | None:
    found = fetch_one(connection, POINT, (row_key(prefix, None),))
    return None if found is None else live(row_of(found[0]), now_s)


# Changes and sizes


def read_changes(connection: apsw.Connection, space: SpaceId, after: int, *, limit: int, known: Container[int] = ()) -> Changes:
    """Changes after a position, at most `limit` and none beyond `CHANGES_BYTES`.

    Raises:
        ChangesTrimmed: some are gone.
        PositionUnknown: no change has that position or a later one, nor is it among the `known` ones.
    """
    page: list[Change] = []
    taken_bytes, at_end = 0, True
    with closing(connection.execute(_CHANGES, (space, after, limit + 1))) as cursor:
        for trimmed, sequence, at_ms, data in cursor:
            if after < trimmed:
                raise ChangesTrimmed(f"changes up to position {trimmed} have been trimmed; those after it are there", first=trimmed)
            if sequence is None:
                if after not in (0, trimmed) and after not in known and fetch_one(connection, _IS_CHANGE, (space, after)) is None:
                    raise PositionUnknown
                break
            if len(page) == limit or taken_bytes >= CHANGES_BYTES:
                at_end = False
                break
            page.append(change_of(sequence, at_ms, data))
            taken_bytes += len(data)
    return Changes(page, page[-1].sequence if page else after, at_end)


Lost = tuple[int, int]
"""Positions that a file gave out which was replaced by an older one: those above the first, below the second."""


def read_lost(connection: apsw.Connection) -> Sequence[Lost]:
    """What was lost when the file was restored."""
    return [(after, until) for after, until in fetch_all(connection, _LOST)]


def refuse_lost(lost: Sequence[Lost], after: int) -> None:
    """Raise ChangesTrimmed where `after` was given for a change that was undone by restoring a backup."""
    for last, until in lost:
        if last < after < until:
            raise ChangesTrimmed(
                f"a backup was restored that is older than this position: rows are as they were then; go on from position {until}",
                first=until,
            )


def read_usage(connection: apsw.Connection, space: SpaceId) -> Usage:
    """What is counted of a space."""
    found = fetch_one(connection, _USAGE, (space,))
    return Usage(0, 0) if found is None else Usage(*found)


def read_total(connection: apsw.Connection) -> Usage:
    """What is counted of all spaces."""
    return Usage(*fetch_all(connection, _TOTAL)[0])


def largest_partitions(connection: apsw.Connection, space: SpaceId, *, limit: int) -> list[PartitionUsage]:
    """Those that are counted, largest first."""
    found = fetch_all(connection, _LARGEST, (space_prefix(space), space_prefix(space + 1), limit))
    return [PartitionUsage(partition_of(key), Usage(rows, size_bytes)) for key, rows, size_bytes in found]


def largest_rows(
    connection: apsw.Connection, space: SpaceId, so_far: Sequence[PartitionUsage], *, low: bytes, limit: int
) -> tuple[list[PartitionUsage], bytes | None]:
    """Where every partition is one row: the largest of `so_far` and of the next rows, and the key to go on from."""
    found = fetch_all(connection, _SIZES, (low, space_prefix(space + 1), SIZES))
    sizes = [(len(split(key)[1]) + data_bytes, key) for key, data_bytes in found]
    largest = [*so_far, *(PartitionUsage(split(key)[1], Usage(1, size)) for size, key in heapq.nlargest(limit, sizes))]
    largest.sort(key=lambda one: one.usage.size_bytes, reverse=True)
    return largest[:limit], found[-1][0] + b"\x00" if len(found) == SIZES else None

"""What the log reads: functions of a connection that cannot write.

A batch is read in one snapshot, so that the partition's extent and its records belong together: a trim or an append in between could
otherwise be taken for a hole, or hide one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apsw

from headwater.kernel.errors import Corrupted, OffsetTrimmed
from headwater.log.engines.sqlite.rows import OFFSET_MASK, Row, decode, offset_of, slot_of
from headwater.log.model import BEFORE_FIRST, Batch, Offset, PartitionId, PartitionInfo, Policy, Record
from headwater.sqlite.queries import fetch_all

VALUE_BYTES_MAX = 128 * 2**10

_ROWS = (
    "SELECT slot, time_ms, appended_ms, checksum, key, headers, CASE WHEN length(value) > ? THEN NULL ELSE value END,"
    " coalesce(length(value), 0) FROM records WHERE slot BETWEEN ? AND ? ORDER BY slot LIMIT ?"
)
_ROW = "SELECT slot, time_ms, appended_ms, checksum, key, headers, value FROM records WHERE slot = ?"
_EXTENT = "SELECT first, next FROM partitions WHERE id = ?"
_FROM = "SELECT slot, time_ms_max FROM records WHERE slot BETWEEN ? AND ? ORDER BY slot LIMIT 1"
_DESCRIBE = (
    "SELECT stream, number, policy, first, next, bytes FROM partitions JOIN streams ON streams.name = stream ORDER BY stream, number"
)
_PROGRESS = "SELECT stream, number, finished FROM progress JOIN partitions ON partitions.id = partition_id WHERE group_name = ?"


@dataclass(frozen=True, slots=True)
class Source:
    """The partition to read from, and whether its policy explains holes."""

    partition: PartitionId
    id: int
    compacted: bool


@dataclass(frozen=True, slots=True)
class LongRecord:
    """The next record has a value too long to be read on the event loop."""

    slot: int


@dataclass(frozen=True, slots=True)
class _Scan:
    rows: Sequence[Row]
    long: LongRecord | None  # stands right after `rows`
    complete: bool  # nothing stands after `rows`


def read_batch(connection: apsw.Connection, source: Source, after: Offset, *, limit: int, bytes_max: int) -> Batch | LongRecord:
    """The records after `after`, up to a long one.

    Raises:
        OffsetTrimmed: see `Log.read`.
        Corrupted: the next record does not match its checksum or is missing.
    """
    connection.execute("BEGIN")
    try:
        first, end = connection.execute(_EXTENT, (source.id,)).get
        if after != BEFORE_FIRST and after < first - 1:
            raise OffsetTrimmed(f"{source.partition.stream} starts at {first}", first=first)
        start = max(after + 1, first)
        if start >= end:
            return Batch((), Offset(max(after, end - 1)), at_end=True)
        scan = _scan(connection, (slot_of(source.id, start), slot_of(source.id, OFFSET_MASK)), limit, bytes_max)
    finally:
        if connection.in_transaction:  # a failed read of the disk ends it by itself
            connection.execute("ROLLBACK")
    if not scan.rows and scan.long is not None:
        return scan.long
    if not source.compacted:
        scan = _without_holes(scan, source, start=start, end=end)
    return _batch(scan, source.partition, after=after, end=end)


def _scan(connection: apsw.Connection, slots: tuple[int, int], limit: int, bytes_max: int) -> _Scan:
    rows: list[Row] = []
    total = 0
    cursor = connection.execute(_ROWS, (VALUE_BYTES_MAX, *slots, limit))
    try:
        for *row, size in cursor:
            total += size
            if size > VALUE_BYTES_MAX:
                return _Scan(rows, LongRecord(row[0]), complete=False)
            if rows and total > bytes_max:
                return _Scan(rows, None, complete=False)
            rows.append(tuple(row))
    finally:
        cursor.close()
    return _Scan(rows, None, complete=len(rows) < limit)


def _without_holes(scan: _Scan, source: Source, *, start: int, end: int) -> _Scan:
    """The rows before the first missing record of a stream in which none may be missing."""
    good = 0
    while good < len(scan.rows) and offset_of(scan.rows[good][0]) == start + good:
        good += 1
    if good == len(scan.rows) and (not scan.complete or start + good == end):
        return scan
    if good == 0:
        raise Corrupted(f"record {start} of {source.partition.stream}/{source.partition.number} is missing")
    return _Scan(scan.rows[:good], None, complete=False)


def _batch(scan: _Scan, partition: PartitionId, *, after: Offset, end: int) -> Batch:
    records: list[Record] = []
    for row in scan.rows:
        try:
            records.append(decode(row, partition))
        except Corrupted:
            if not records:
                raise
            return Batch(tuple(records), records[-1].offset, at_end=False)
    if scan.complete:
        return Batch(tuple(records), Offset(max(after, end - 1)), at_end=True)
    following = records[-1].offset
    return Batch(tuple(records), following, at_end=following == end - 1)


def read_long(connection: apsw.Connection, long: LongRecord, partition: PartitionId) -> Record | None:
    """The record in that slot, None if it has been removed. Raises Corrupted."""
    row = connection.execute(_ROW, (long.slot,)).get
    return None if row is None else decode(row, partition)


def offset_at(connection: apsw.Connection, source: Source, time_ms: int) -> Offset:
    """The offset after which every record of `time_ms` or later lies, found by bisection of the running maximum."""
    low, end = connection.execute(_EXTENT, (source.id,)).get
    high = end
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_FROM, (slot_of(source.id, middle), slot_of(source.id, OFFSET_MASK))).get
        if row is None or row[1] >= time_ms:
            high = middle
        else:
            low = offset_of(row[0]) + 1
    return Offset(low - 1)


def describe(connection: apsw.Connection, prefix: str) -> Sequence[PartitionInfo]:
    """The partitions of streams whose names start with `prefix`."""
    return [
        PartitionInfo(PartitionId(stream, number), Policy(policy), Offset(first), Offset(end), size)
        for stream, number, policy, first, end, size in fetch_all(connection, _DESCRIBE)
        if stream.startswith(prefix)
    ]


def progress(connection: apsw.Connection, group: str) -> Mapping[PartitionId, Offset]:
    """How far `group` has come."""
    rows = fetch_all(connection, _PROGRESS, (group,))
    return {PartitionId(stream, number): Offset(finished) for stream, number, finished in rows}

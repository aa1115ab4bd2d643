"""What the log does in the writer thread: functions of a connection in a transaction, which may run again after a rollback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apsw
from msgspec import Struct

from headwater.kernel.errors import Fenced
from headwater.log.admission import check_spec
from headwater.log.engines.sqlite.rows import checksum_of, encode_headers, slot_of
from headwater.log.model import Fence, NewRecord, Offset, OwnedName, PartitionId, Policy, StreamSpec
from headwater.sqlite.queries import fetch_all

_PARTITION = "SELECT next, bytes, time_ms_max, appended_ms FROM partitions WHERE id = ?"
_UPDATE_PARTITION = "UPDATE partitions SET next = ?, bytes = ?, time_ms_max = ?, appended_ms = ? WHERE id = ?"
_INSERT = "INSERT INTO records (slot, time_ms, time_ms_max, appended_ms, checksum, key, headers, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_NEWEST = "SELECT slot FROM newest WHERE partition_id = ? AND key = ?"
_SET_NEWEST = (
    "INSERT INTO newest (partition_id, key, slot, tombstone_ms) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (partition_id, key) DO UPDATE SET slot = excluded.slot, tombstone_ms = excluded.tombstone_ms"
)
_SET_REPLACED = "INSERT INTO replaced (slot) VALUES (?)"
_STREAMS = "SELECT name, policy, age_ms_max, bytes_max FROM streams"
_PARTITIONS = "SELECT stream, number, id FROM partitions ORDER BY stream, number"
_SET_STREAM = (
    "INSERT INTO streams (name, policy, age_ms_max, bytes_max) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET policy = excluded.policy, age_ms_max = excluded.age_ms_max, bytes_max = excluded.bytes_max"
)
_ADD_PARTITION = "INSERT INTO partitions (stream, number) VALUES (?, ?)"
_CLAIM = "INSERT INTO owners (name, epoch) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch"
_EPOCH = "SELECT epoch FROM owners WHERE name = ?"
_SET_GROUP = "INSERT INTO consumer_groups (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET idle_ms = 0, expelled = 0"
_SET_PROGRESS = (
    "INSERT INTO progress (group_name, partition_id, finished) VALUES (?, ?, ?)"
    " ON CONFLICT (group_name, partition_id) DO UPDATE SET finished = max(finished, excluded.finished)"
)


@dataclass(frozen=True, slots=True)
class Stream:
    """A declared stream, its partitions and their ids in the file, by number."""

    spec: StreamSpec
    partitions: tuple[PartitionId, ...]
    partition_ids: tuple[int, ...]


class Placed(Struct, frozen=True, gc=False):
    """A record that has been admitted, its size by `record_bytes`, and the partition that takes it."""

    record: NewRecord
    bytes: int
    partition: PartitionId
    partition_id: int
    compacted: bool


@dataclass(slots=True)
class _End:
    """The end of a partition while records are put there."""

    next: int
    bytes: int
    time_ms_max: int
    appended_ms: int


def load_streams(connection: apsw.Connection) -> Mapping[str, Stream]:
    """Every declared stream."""
    ids: dict[str, list[int]] = {}
    for stream, number, id in fetch_all(connection, _PARTITIONS):
        numbers = ids.setdefault(stream, [])
        assert number == len(numbers), f"{stream} lacks a partition"
        numbers.append(id)
    return {
        name: Stream(
            StreamSpec(name, Policy(policy), len(ids[name]), age_ms_max, bytes_max),
            tuple(PartitionId(name, number) for number in range(len(ids[name]))),
            tuple(ids[name]),
        )
        for name, policy, age_ms_max, bytes_max in fetch_all(connection, _STREAMS)
    }


def declare(connection: apsw.Connection, specs: Sequence[StreamSpec]) -> Mapping[str, Stream]:
    """Create or change streams; returns all of them. Raises InvalidInput."""
    known = load_streams(connection)
    for spec in specs:
        stream = known.get(spec.name)
        check_spec(spec, known=stream.spec if stream else None)
        connection.execute(_SET_STREAM, (spec.name, spec.policy.value, spec.age_ms_max, spec.bytes_max))
        for number in range(len(stream.partition_ids) if stream else 0, spec.partitions):
            connection.execute(_ADD_PARTITION, (spec.name, number))
        known = load_streams(connection)
    return known


def append(connection: apsw.Connection, records: Sequence[Placed], *, now_ms: int) -> Sequence[Offset]:
    """Put records at the ends of their partitions; returns their offsets."""
    ends: dict[int, _End] = {}
    rows = []
    for placed in records:
        end = ends.get(placed.partition_id)
        if end is None:
            end = ends[placed.partition_id] = _End(*connection.execute(_PARTITION, (placed.partition_id,)).get)
            end.appended_ms = max(end.appended_ms, now_ms)
        rows.append(_row(placed, end))
    connection.executemany(_INSERT, rows)
    for placed, row in zip(records, rows, strict=True):
        if placed.compacted:
            _replace(connection, placed, slot=row[0], appended_ms=row[3])
    for id, end in ends.items():
        connection.execute(_UPDATE_PARTITION, (end.next, end.bytes, end.time_ms_max, end.appended_ms, id))
    return [Offset(row[0] - slot_of(placed.partition_id, 0)) for placed, row in zip(records, rows, strict=True)]


def _row(placed: Placed, end: _End) -> tuple[int, int, int, int, int, bytes | None, bytes | None, bytes | None]:
    """The row for one record; moves the partition's end."""
    record = placed.record
    slot = slot_of(placed.partition_id, end.next)
    headers = encode_headers(record.headers)
    end.next += 1
    end.bytes += len(record.value or b"") + len(record.key or b"") + len(headers or b"")
    end.time_ms_max = max(end.time_ms_max, record.time_ms)
    checksum = checksum_of(slot, record.time_ms, end.appended_ms, key=record.key, headers=headers, value=record.value)
    return (slot, record.time_ms, end.time_ms_max, end.appended_ms, checksum, record.key, headers, record.value)


def _replace(connection: apsw.Connection, placed: Placed, *, slot: int, appended_ms: int) -> None:
    key = (placed.partition_id, placed.record.key)
    old = connection.execute(_NEWEST, key).get
    if old is not None:
        connection.execute(_SET_REPLACED, (old,))
    connection.execute(_SET_NEWEST, (*key, slot, appended_ms if placed.record.value is None else None))


def append_fenced(connection: apsw.Connection, records: Sequence[Placed], *, fence: Fence, now_ms: int) -> Sequence[Offset]:
    """Like `append`, for the present owner only. Raises Fenced."""
    epoch = connection.execute(_EPOCH, (fence.name,)).get
    if epoch != fence.epoch:
        raise Fenced(f"{fence.name} has another owner: epoch {epoch}, not {fence.epoch}")
    return append(connection, records, now_ms=now_ms)


def claim(connection: apsw.Connection, owned: OwnedName) -> Fence:
    """Raise the epoch of `owned`."""
    return Fence(owned, int(connection.execute(_CLAIM, (owned,)).get))


def advance(connection: apsw.Connection, group: str, finished: Sequence[tuple[int, Offset]]) -> None:
    """Raise a group's progress: per partition its id and the offset."""
    connection.execute(_SET_GROUP, (group,))
    for partition_id, offset in finished:
        connection.execute(_SET_PROGRESS, (group, partition_id, offset))

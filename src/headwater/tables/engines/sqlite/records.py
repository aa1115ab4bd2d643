"""What is stored as bytes beside rows: changes, outcomes, the ids of columns. MessagePack; fields may be added at the end."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headwater.kernel.errors import Corrupted
from headwater.tables.model import Change, ChangeKind, ClusteringKey, ColumnId, KeyedRow, Outcome, PartitionKey, Revision, StoredRow
from headwater.tables.rows import decode_row

_encode = msgspec.msgpack.Encoder().encode


class _Change(msgspec.Struct, frozen=True, gc=False, array_like=True):
    kind: ChangeKind
    partition: PartitionKey
    clustering: ClusteringKey | None
    revision: Revision
    row: StoredRow | None
    static: StoredRow | None


class _KeyedRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    clustering: ClusteringKey | None
    row: StoredRow | None
    static: StoredRow | None


class _Outcome(msgspec.Struct, frozen=True, gc=False, array_like=True):
    applied: bool
    revision: Revision | None
    current: list[_KeyedRow]


_decode_change = msgspec.msgpack.Decoder(_Change).decode
_decode_outcome = msgspec.msgpack.Decoder(_Outcome).decode
_decode_ids = msgspec.msgpack.Decoder(dict[str, ColumnId]).decode


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except msgspec.MsgspecError as error:
        raise Corrupted("the file of tables holds something that nothing of this program has written") from error


def row_of(data: bytes | None) -> StoredRow | None:
    """A stored row. Raises Corrupted."""
    if data is None:
        return None
    try:
        return decode_row(data)
    except msgspec.MsgspecError as error:
        raise damaged() from error


def damaged() -> Corrupted:
    """What it means that a row cannot be decoded."""
    return Corrupted("a row in the file of tables is damaged")


def encode_change(change: Change) -> bytes:
    """A change without its position and time."""
    return _encode(_Change(change.kind, change.partition, change.clustering, change.revision, change.row, change.static))


def change_of(sequence: int, at_ms: int, data: bytes) -> Change:
    """A stored change. Raises Corrupted."""
    record: _Change = _decoded(_decode_change, data)
    return Change(sequence, at_ms, record.kind, record.partition, record.clustering, record.revision, record.row, record.static)


def encode_outcome(outcome: Outcome) -> bytes:
    """What came of a write."""
    current = [_KeyedRow(one.clustering, one.row, one.static) for one in outcome.current]
    return _encode(_Outcome(outcome.applied, outcome.revision, current))


def outcome_of(data: bytes) -> Outcome:
    """What came of an earlier write, for a repeat of it. Raises Corrupted."""
    record: _Outcome = _decoded(_decode_outcome, data)
    current = tuple(KeyedRow(one.clustering, one.row, one.static) for one in record.current)
    return Outcome(record.applied, record.revision, current, repeated=True)


def encode_ids(ids: Mapping[str, ColumnId]) -> bytes:
    """The ids of columns by name."""
    return _encode(ids)


def ids_of(data: bytes) -> dict[str, ColumnId]:
    """Stored ids of columns. Raises Corrupted."""
    ids: dict[str, ColumnId] = _decoded(_decode_ids, data)
    return ids

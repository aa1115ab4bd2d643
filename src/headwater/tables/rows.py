"""What a write makes of a row: cells, markers, expiry, conditions. Pure; every engine does what this says.

As Cassandra has it. Each cell expires for itself. A row is there while its marker or any of its regular cells is there: INSERT sets the
marker, UPDATE does not, so a row that was only updated is gone with its last cell. A set is one cell. Static cells belong to the partition
and keep no row alive. What has expired is as if it had been deleted, whether or not its room has been taken back.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from headwater.kernel.errors import TooLarge
from headwater.tables.model import (
    FOREVER,
    Cell,
    Change,
    ChangeKind,
    ClusteringKey,
    ColumnId,
    Condition,
    KeyedRow,
    Operator,
    PartitionKey,
    Predicate,
    Put,
    Remove,
    Revision,
    Role,
    Stored,
    StoredRow,
    Write,
)
from headwater.tables.types import order_of

encode_row: Callable[[StoredRow], bytes] = msgspec.msgpack.Encoder().encode
decode_row: Callable[[bytes], StoredRow] = msgspec.msgpack.Decoder(StoredRow).decode

CHANGES_BYTES_MAX = 64 * 1024 * 1024
"""Most bytes of static cells in the changes of one write or clearing."""

_order = lru_cache(maxsize=256)(order_of)


def size_bytes(partition: PartitionKey, clustering: ClusteringKey | None, encoded: bytes) -> int:
    """What a row takes as far as quotas and ceilings go: its key and itself, without what an engine adds."""
    return len(partition) + len(clustering or b"") + len(encoded)


def check_row(write: Write, after_bytes: int, before_bytes: int) -> None:
    """Refuse a row that the write makes larger than rows may be; sizes are those of rows as encoded.

    Raises:
        TooLarge: it is.
    """
    if after_bytes > write.row_bytes_max and after_bytes > before_bytes:
        raise TooLarge(f"a row has at most {write.row_bytes_max} bytes, as stored")


# What is there


def live(row: StoredRow | None, now_s: int) -> StoredRow | None:
    """A row as it is seen, without what has expired; None if it is not there."""
    if row is None:
        return None
    marker = row.marker_expires_s
    if marker is not None and marker != FOREVER and marker <= now_s:
        marker = None
    cells = row.cells
    for cell in cells.values():
        if cell.expires_s != FOREVER and cell.expires_s <= now_s:
            cells = {id: cell for id, cell in cells.items() if cell.expires_s == FOREVER or cell.expires_s > now_s}
            break
    if not cells and marker is None:
        return None
    if cells is row.cells and marker == row.marker_expires_s:
        return row
    return StoredRow(row.revision, cells, marker)


def first_expiry(row: StoredRow) -> int:
    """When the first thing in a row expires, `FOREVER` if nothing ever does."""
    first = row.marker_expires_s or FOREVER
    for cell in row.cells.values():
        if cell.expires_s != FOREVER and (first == FOREVER or cell.expires_s < first):
            first = cell.expires_s
    return first


# Conditions


class Found(msgspec.Struct, frozen=True, gc=False):
    """What is stored of the rows that a write names, expired or not.

    Attributes:
        rows: those that there are.
        static: the static row of the partition.
    """

    rows: Mapping[ClusteringKey, StoredRow]
    static: StoredRow | None


def refusal(write: Write, found: Found, now_s: int) -> Sequence[KeyedRow] | None:
    """The rows that are there, in the order of the writes, if a condition of any of them does not hold; None if all hold.

    Of a batch only the first ones where all are more than `current_bytes_max`: a small request must not make a large answer, nor a large
    record of it.
    """
    if all(one.condition is None or _holds(one.condition, _seen(one, found, now_s)) for one in write.writes):
        return None
    current: list[KeyedRow] = []
    taken_bytes = 0
    for one in write.writes:
        current.append(_seen(one, found, now_s))
        if len(write.writes) > 1:
            taken_bytes += sum(len(encode_row(part)) for part in (current[-1].row, current[-1].static) if part is not None)
        if taken_bytes >= write.current_bytes_max:
            break
    return current


def _seen(write: Put | Remove, found: Found, now_s: int) -> KeyedRow:
    row = None if write.clustering is None else found.rows.get(write.clustering)
    return KeyedRow(write.clustering, live(row, now_s), live(found.static, now_s))


def _holds(condition: Condition, seen: KeyedRow) -> bool:
    target = seen.static if seen.clustering is None else seen.row
    if condition.exists is not None and condition.exists is not (target is not None):
        return False
    if condition.revision is not None and (target is None or target.revision != condition.revision):
        return False
    return all(_satisfies(predicate, seen) for predicate in condition.predicates)


_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: operator.eq,
    Operator.LT: operator.lt,
    Operator.GT: operator.gt,
    Operator.LE: operator.le,
    Operator.GE: operator.ge,
}


def _satisfies(predicate: Predicate, seen: KeyedRow) -> bool:
    """Static columns are those of the partition, whether or not the row is there. Null equals null and is not comparable otherwise."""
    column = predicate.column
    source = seen.static if column.role is Role.STATIC else seen.row
    cell = None if source is None else source.cells.get(column.id)
    value = None if cell is None else cell.value
    if value is None or None in predicate.operands:
        return predicate.operator is Operator.EQ and value is None and predicate.operands[0] is None
    return _compares(predicate, value, _order(column.type))


def _compares(predicate: Predicate, value: Stored, order: Callable[[Stored], Any]) -> bool:
    operands = [order(operand) for operand in predicate.operands]
    if predicate.operator is Operator.BETWEEN:
        return bool(operands[0] <= order(value) <= operands[1])
    return _COMPARE[predicate.operator](order(value), operands[0])


# Writing


class Effect(msgspec.Struct, frozen=True, gc=False):
    """What is to be stored after a write.

    Attributes:
        rows: the rows that it names; None: not there.
        static: the static row.
        static_written: whether that is another than before.
    """

    rows: Mapping[ClusteringKey, StoredRow | None]
    static: StoredRow | None
    static_written: bool


def carry_out(write: Write, found: Found, *, revision: Revision, now_s: int) -> Effect:
    """What a write whose conditions hold makes of what is there."""
    rows: dict[ClusteringKey, StoredRow | None] = {}
    static, static_written = found.static, False
    for one in write.writes:
        if isinstance(one, Remove):
            rows[one.clustering] = None
            continue
        if one.clustering is not None:
            rows[one.clustering] = put_row(one, found.rows.get(one.clustering), revision, now_s)
        if one.statics or one.clustering is None:
            static, static_written = _put_static(one, static, revision, now_s), True
    return Effect(rows, static, static_written)


def put_row(put: Put, before: StoredRow | None, revision: Revision, now_s: int) -> StoredRow | None:
    """What a write of a row, statics aside, makes of what is stored; written out, since most writes are this and nothing else."""
    present = None if before is None else live(before, now_s)
    cells: dict[ColumnId, Cell] = {} if present is None else dict(present.cells)
    marker = None if present is None else present.marker_expires_s
    expires_s = put.expires_s
    if put.marker:
        marker = expires_s
    for id, value in put.cells.items():
        if value is None:
            cells.pop(id, None)
        else:
            cells[id] = Cell(value, expires_s)
    return StoredRow(revision, cells, marker) if cells or marker is not None else None


def _put_static(put: Put, before: StoredRow | None, revision: Revision, now_s: int) -> StoredRow | None:
    """A static row is a row without a marker."""
    return put_row(Put(None, put.statics, {}, False, put.expires_s), before, revision, now_s)


# Changes


def changes_of(partition: PartitionKey, found: Found, effect: Effect, *, revision: Revision, now_ms: int) -> Sequence[Change]:
    """The changes that a write is, with the sequences `revision`, `revision + 1`, …

    Where only the static row changed, it is one change of that; otherwise each change of a row shows it.

    Raises:
        TooLarge: that makes so much of a small request that it would fill the disk.
    """
    now_s = now_ms // 1000
    static = live(effect.static, now_s)
    images = [(key, live(row, now_s)) for key, row in effect.rows.items()]
    images = [(key, after) for key, after in images if after is not None or live(found.rows.get(key), now_s) is not None]
    if static is not None and len(images) > 1 and len(images) * len(encode_row(static)) > CHANGES_BYTES_MAX:
        raise TooLarge(f"each change shows the static columns, which makes more than {CHANGES_BYTES_MAX} bytes; write fewer rows at once")
    changes = [Change(revision + n, now_ms, _kind(after), partition, key, revision, after, static) for n, (key, after) in enumerate(images)]
    if not changes and effect.static_written and (static is not None or live(found.static, now_s) is not None):
        changes.append(Change(revision, now_ms, _kind(static), partition, None, revision, None, static))
    return changes


def _kind(after: StoredRow | None) -> ChangeKind:
    return ChangeKind.DELETE if after is None else ChangeKind.PUT

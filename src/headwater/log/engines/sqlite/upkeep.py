"""Trimming, compaction and the expulsion of idle groups, in steps that are each one short transaction.

Every function runs in the writer thread and may be run again after a rollback.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apsw

from headwater.kernel.errors import InvalidInput
from headwater.log.engines.sqlite.rows import OFFSET_MASK, offset_of, partition_id_of, slot_of
from headwater.log.model import StreamSpec
from headwater.log.retention import IdleTimer
from headwater.sqlite.queries import fetch_all

STEP_RECORDS_MAX = 256
STEP_BYTES_MAX = 8 * 2**20

_EXTENT = "SELECT first, next, bytes FROM partitions WHERE id = ?"
_OLDEST = (
    "SELECT slot, appended_ms, coalesce(length(key), 0) + coalesce(length(headers), 0) + coalesce(length(value), 0)"
    " FROM records WHERE slot BETWEEN ? AND ? ORDER BY slot LIMIT ?"
)
_LAST_BELOW = "SELECT slot FROM records WHERE slot BETWEEN ? AND ? ORDER BY slot DESC LIMIT 1"
_DELETE = "DELETE FROM records WHERE slot BETWEEN ? AND ?"
_SET_FIRST = "UPDATE partitions SET first = max(first, ?), bytes = max(0, bytes - ?) WHERE id = ?"
_FINISHED = (
    "SELECT min(finished) FROM progress JOIN consumer_groups ON consumer_groups.name = progress.group_name"
    " WHERE partition_id = ? AND NOT expelled"
)
_BYTES_OF = "SELECT coalesce(length(key), 0) + coalesce(length(headers), 0) + coalesce(length(value), 0) FROM records WHERE slot = ?"
_DELETE_ONE = "DELETE FROM records WHERE slot = ?"
_REPLACED = "SELECT slot FROM replaced LIMIT ?"
_DELETE_REPLACED = "DELETE FROM replaced WHERE slot = ?"
_TOMBSTONES = (
    "SELECT partition_id, key, slot FROM newest WHERE tombstone_ms <= ? AND NOT EXISTS ("
    " SELECT 1 FROM progress JOIN consumer_groups ON consumer_groups.name = progress.group_name"
    " WHERE progress.partition_id = newest.partition_id AND NOT expelled AND finished < (newest.slot & ?)"
    ") LIMIT ?"
)
_DELETE_NEWEST = "DELETE FROM newest WHERE partition_id = ? AND key = ?"
_GROUPS = "SELECT name, idle_ms, expelled FROM consumer_groups"
_LAG = (
    "SELECT coalesce(sum(max(0, next - 1 - finished)), 0) FROM progress JOIN partitions ON partitions.id = progress.partition_id"
    " WHERE group_name = ?"
)
_SET_IDLE = "UPDATE consumer_groups SET idle_ms = ?, expelled = ? WHERE name = ?"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step removed, and whether the same step finds more."""

    removed: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class GroupsSeen:
    """Lag per group, and how many were expelled just now."""

    lags: Mapping[str, int]
    expelled: int


def begin_trim(connection: apsw.Connection, partition_id: int, *, before: int) -> int:
    """Make records below `before` unreadable at once; returns the offset below which `trim_step` has to remove them.

    Raises:
        InvalidInput: a registered group has not finished them.
    """
    lowest = slot_of(partition_id, 0)
    last = connection.execute(_LAST_BELOW, (lowest, slot_of(partition_id, before) - 1)).get if before > 0 else None
    if last is None:
        return 0
    finished = connection.execute(_FINISHED, (partition_id,)).get
    if finished is not None and finished < offset_of(last):
        raise InvalidInput(f"a group has finished only up to {finished}", where="before")
    connection.execute(_SET_FIRST, (offset_of(last) + 1, 0, partition_id))
    return int(offset_of(last)) + 1


def trim_step(connection: apsw.Connection, partition_id: int) -> Step:
    """Remove some of the records that lie below the partition's first offset."""
    first = connection.execute(_EXTENT, (partition_id,)).get[0]
    if first == 0:
        return Step()
    rows = _oldest(connection, partition_id, last=first - 1)
    return _remove(connection, partition_id, rows)


def expire_step(connection: apsw.Connection, partition_id: int, *, spec: StreamSpec, now_ms: int) -> Step:
    """Remove some of the oldest records beyond the stream's age or bytes that no registered group needs any more."""
    _, end, total = connection.execute(_EXTENT, (partition_id,)).get
    finished = connection.execute(_FINISHED, (partition_id,)).get
    last = end - 1 if finished is None else min(finished, end - 1)
    if last < 0:
        return Step()
    expired = []
    for slot, appended_ms, size in _oldest(connection, partition_id, last=last):
        old = spec.age_ms_max is not None and now_ms - appended_ms > spec.age_ms_max
        if not old and (spec.bytes_max is None or total <= spec.bytes_max):
            break
        total -= size
        expired.append((slot, appended_ms, size))
    return _remove(connection, partition_id, expired)


def _oldest(connection: apsw.Connection, partition_id: int, *, last: int) -> Sequence[tuple[int, int, int]]:
    """Slot, time and bytes of the oldest records up to offset `last`: as many as one step may remove."""
    rows: list[tuple[int, int, int]] = []
    total = 0
    for slot, appended_ms, size in fetch_all(
        connection, _OLDEST, (slot_of(partition_id, 0), slot_of(partition_id, last), STEP_RECORDS_MAX)
    ):
        total += size
        if rows and total > STEP_BYTES_MAX:
            break
        rows.append((slot, appended_ms, size))
    return rows


def _remove(connection: apsw.Connection, partition_id: int, rows: Sequence[tuple[int, int, int]]) -> Step:
    if not rows:
        return Step()
    last = rows[-1][0]
    connection.execute(_DELETE, (slot_of(partition_id, 0), last))
    connection.execute(_SET_FIRST, (offset_of(last) + 1, sum(row[2] for row in rows), partition_id))
    return Step(len(rows), more=True)


def compact_step(connection: apsw.Connection) -> Step:
    """Remove some of the records whose key has a newer one."""
    slots = [slot for (slot,) in fetch_all(connection, _REPLACED, (STEP_RECORDS_MAX,))]
    for slot in slots:
        _remove_one(connection, slot)
        connection.execute(_DELETE_REPLACED, (slot,))
    return Step(len(slots), more=len(slots) == STEP_RECORDS_MAX)


def bury_step(connection: apsw.Connection, *, taken_before_ms: int) -> Step:
    """Remove some of the tombstones that have been visible long enough and that every registered group has passed."""
    rows = fetch_all(connection, _TOMBSTONES, (taken_before_ms, OFFSET_MASK, STEP_RECORDS_MAX))
    for partition_id, key, slot in rows:
        _remove_one(connection, slot)
        connection.execute(_DELETE_NEWEST, (partition_id, key))
    return Step(len(rows), more=len(rows) == STEP_RECORDS_MAX)


def _remove_one(connection: apsw.Connection, slot: int) -> None:
    size = connection.execute(_BYTES_OF, (slot,)).get
    if size is not None:
        connection.execute(_DELETE_ONE, (slot,))
        connection.execute(_SET_FIRST, (0, size, partition_id_of(slot)))


def expel_step(connection: apsw.Connection, *, idle: IdleTimer, now_s: float, idle_ms_max: int) -> GroupsSeen:
    """Add to the idleness of groups that have something to read; those idle for too long stop guarding records.

    Args:
        connection: the writing connection.
        idle: knows when each group advanced since the previous round.
        now_s: the monotonic time of this round.
        idle_ms_max: beyond this a group is expelled.
    """
    lags, expelled_now = {}, 0
    for name, idle_ms, expelled in fetch_all(connection, _GROUPS):
        lags[name] = int(connection.execute(_LAG, (name,)).get)
        total_ms = idle_ms + round(idle.idle_s(name, now_s) * 1000) if lags[name] else 0
        expel = total_ms > idle_ms_max and not expelled
        expelled_now += expel
        if (total_ms, expelled or expel) != (idle_ms, expelled):
            connection.execute(_SET_IDLE, (total_ms, int(expelled or expel), name))
    return GroupsSeen(lags, expelled_now)

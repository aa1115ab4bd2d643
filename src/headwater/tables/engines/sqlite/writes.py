"""What a write does in the writer thread, inside one transaction: the rows, what they take, their changes, and its `write_id`.

A write that stores one row of a table without range columns takes two statements, or three where the size changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import apsw

from headwater.kernel.failpoints import failpoint
from headwater.sqlite.queries import fetch_all, fetch_one
from headwater.tables.engines.sqlite.keys import partition_prefix, row_key
from headwater.tables.engines.sqlite.records import encode_change, encode_outcome, outcome_of, row_of
from headwater.tables.errors import PartitionFull, SchemaChanged, TableQuotaExceeded, WriteIdReused
from headwater.tables.model import FOREVER, Change, ClusteringKey, Outcome, Revision, SpaceId, StoredRow, Usage, Write
from headwater.tables.rows import Found, carry_out, changes_of, check_row, encode_row, first_expiry, refusal

RESERVED_US = 60_000_000

_FIND = """
    SELECT d.epoch, (SELECT data FROM row WHERE key = ?2), (SELECT data FROM row WHERE key = ?3)
    FROM space AS s JOIN declaration AS d ON d.incarnation = s.incarnation WHERE s.id = ?1
"""
_FIND_ROW = "SELECT data FROM row WHERE key = ?"
_INSERT_ROW = "INSERT INTO row (key, data) VALUES (?, ?)"
_UPDATE_ROW = "UPDATE row SET data = ?2 WHERE key = ?1"
_DELETE_ROW = "DELETE FROM row WHERE key = ?"
_INSERT_EXPIRY = "INSERT OR IGNORE INTO expiry (at_s, key) VALUES (?, ?)"
_DELETE_EXPIRY = "DELETE FROM expiry WHERE at_s = ? AND key = ?"
_COUNT_SPACE = "UPDATE space SET rows = rows + ?, bytes = bytes + ? WHERE id = ? RETURNING rows, bytes"
_COUNT_PARTITION = """
    INSERT INTO partition (key, rows, bytes) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes RETURNING bytes
"""
_COUNT_KNOWN_PARTITION = "UPDATE partition SET rows = rows + ?2, bytes = bytes + ?3 WHERE key = ?1 RETURNING bytes"
_DELETE_PARTITION = "DELETE FROM partition WHERE key = ?"
_INSERT_CHANGE = "INSERT INTO change (space, sequence, at_ms, data) VALUES (?, ?, ?, ?)"
_FIND_OUTCOME = "SELECT digest, data FROM outcome WHERE key = ?"
_INSERT_OUTCOME = "INSERT INTO outcome (key, at_ms, digest, data) VALUES (?, ?, ?, ?)"
_RESERVE = "UPDATE counter SET value = max(value, ?) WHERE name = 'revision'"


class Revisions:
    """Gives revisions, which are also the positions of changes: each above all before it, also those before a crash.

    They follow the clock, in microseconds, and go on from the last one where it goes back. The file holds a number that none has passed; it
    is moved on in the transaction that needs it, and counted on only once that is durable. Belongs to the writer thread, `confirm` to the
    event loop.
    """

    def __init__(self, reserved: int) -> None:
        self._last = reserved
        self._reserved = reserved

    def take(self, connection: apsw.Connection, now_ms: int, count: int = 1) -> tuple[Revision, int]:
        """The first of `count` numbers in a row, and how far numbers are reserved once this transaction is durable."""
        first = max(self._last + 1, now_ms * 1000)
        self._last = first + count - 1
        if self._last <= self._reserved:
            return Revision(first), 0
        reserved = self._last + RESERVED_US
        connection.execute(_RESERVE, (reserved,))
        return Revision(first), reserved

    def confirm(self, reserved: int) -> None:
        """A transaction that reserved so far is durable."""
        self._reserved = max(self._reserved, reserved)


@dataclass(slots=True)
class Sums:
    """How what is stored has grown, in a space or partition."""

    rows: int = 0
    size_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.size_bytes)


# One row


def store_row(connection: apsw.Connection, key: bytes, *, before: StoredRow | None, after: StoredRow | None) -> int:
    """Put a row in the place of another, or take it away; returns the bytes of the new one as stored."""
    data = b"" if after is None else encode_row(after)
    if after is not None:
        connection.execute(_INSERT_ROW if before is None else _UPDATE_ROW, (key, data))
    elif before is not None:
        connection.execute(_DELETE_ROW, (key,))
    was, becomes = (FOREVER if row is None else first_expiry(row) for row in (before, after))
    if was != becomes:
        if was != FOREVER:
            connection.execute(_DELETE_EXPIRY, (was, key))
        if becomes != FOREVER:
            connection.execute(_INSERT_EXPIRY, (becomes, key))
    return len(data)


def count(connection: apsw.Connection, space: SpaceId, sums: Sums) -> Usage:
    """Add to what a space takes; says what it takes then."""
    rows, size_bytes = fetch_all(connection, _COUNT_SPACE, (sums.rows, sums.size_bytes, space))[0]
    return Usage(rows, size_bytes)


def count_partition(connection: apsw.Connection, prefix: bytes, sums: Sums, *, known: bool = False) -> int:
    """Add to what a partition takes; says what it takes then. `known`: only if it is counted at all."""
    counted = fetch_all(connection, _COUNT_KNOWN_PARTITION if known else _COUNT_PARTITION, (prefix, sums.rows, sums.size_bytes))
    if counted and not counted[0][0]:
        connection.execute(_DELETE_PARTITION, (prefix,))
    return int(counted[0][0]) if counted else 0


def put_change(connection: apsw.Connection, space: SpaceId, change: Change) -> None:
    """Add to the change stream of a space."""
    connection.execute(_INSERT_CHANGE, (space, change.sequence, change.at_ms, encode_change(change)))


# One write


class Writing:
    """A `Write` being carried out. Call it with the writing connection."""

    def __init__(self, write: Write, revisions: Revisions, *, now_ms: int) -> None:
        self._write = write
        self._revisions = revisions
        self._now_ms = now_ms
        self._prefix = partition_prefix(write.space, write.partition)
        self._stored_bytes: dict[ClusteringKey | None, int] = {}
        self._reserved = 0

    def __call__(self, connection: apsw.Connection) -> tuple[Outcome, int]:
        """What came of it, and how far revisions are reserved by then."""
        write = self._write
        found = self._find(connection)
        if write.write_id is None:
            return self._carry_out(connection, found), self._reserved
        key = self._prefix + write.write_id.encode()
        first = fetch_one(connection, _FIND_OUTCOME, (key,))
        if first is not None:
            if first[0] != write.digest:
                raise WriteIdReused("this write_id was used for another write", where="write_id")
            return outcome_of(first[1]), 0
        outcome = self._carry_out(connection, found)
        connection.execute(_INSERT_OUTCOME, (key, self._now_ms, write.digest, encode_outcome(outcome)))
        return outcome, self._reserved

    def _find(self, connection: apsw.Connection) -> Found:
        """What is there, if the table is still the one that the write was planned for."""
        write = self._write
        first = next((one.clustering for one in write.writes if one.clustering is not None), None)
        keys = (None if first is None else row_key(self._prefix, first), row_key(self._prefix, None) if write.table.statics else None)
        found = fetch_one(connection, _FIND, (write.space, *keys))
        if found is None or found[0] != write.epoch:
            raise SchemaChanged("the table was changed meanwhile")
        rows: dict[ClusteringKey, StoredRow] = {}
        self._note(rows, first, found[1])
        for one in write.writes:
            if one.clustering is not None and one.clustering != first:
                more = fetch_one(connection, _FIND_ROW, (row_key(self._prefix, one.clustering),))
                self._note(rows, one.clustering, None if more is None else more[0])
        static: bytes | None = found[2]
        if static is not None:
            self._stored_bytes[None] = len(static)
        return Found(rows, row_of(static))

    def _note(self, rows: dict[ClusteringKey, StoredRow], clustering: ClusteringKey | None, data: bytes | None) -> None:
        row = row_of(data)
        if row is not None and clustering is not None and data is not None:
            rows[clustering] = row
            self._stored_bytes[clustering] = len(data)

    def _carry_out(self, connection: apsw.Connection, found: Found) -> Outcome:
        write, now_s = self._write, self._now_ms // 1000
        current = refusal(write, found, now_s)
        if current is not None:
            return Outcome(False, None, current)
        revision, self._reserved = self._revisions.take(connection, self._now_ms, len(write.writes))
        effect = carry_out(write, found, revision=revision, now_s=now_s)
        sums = Sums()
        self._store_all(connection, found.rows, effect.rows, sums)
        if effect.static_written:
            self._store(connection, None, found.static, effect.static, sums=sums)
        if sums:
            self._check_room(connection, sums)
        failpoint("tables.stored")
        if write.table.options.changes:
            for change in changes_of(write.partition, found, effect, revision=revision, now_ms=self._now_ms):
                put_change(connection, write.space, change)
        return Outcome(True, revision)

    def _store_all(
        self,
        connection: apsw.Connection,
        before: Mapping[ClusteringKey, StoredRow],
        after: Mapping[ClusteringKey, StoredRow | None],
        sums: Sums,
    ) -> None:
        for clustering, row in after.items():
            self._store(connection, clustering, before.get(clustering), row, sums=sums)

    def _store(
        self,
        connection: apsw.Connection,
        clustering: ClusteringKey | None,
        before: StoredRow | None,
        after: StoredRow | None,
        *,
        sums: Sums,
    ) -> None:
        if before is None and after is None:
            return
        data_bytes = store_row(connection, row_key(self._prefix, clustering), before=before, after=after)
        check_row(self._write, data_bytes, self._stored_bytes.get(clustering, 0))
        key_bytes = len(self._write.partition) + len(clustering or b"")
        came, went = after is not None, before is not None
        sums.size_bytes += came * (key_bytes + data_bytes) - went * (key_bytes + self._stored_bytes.get(clustering, 0))
        if clustering is not None:
            sums.rows += came - went

    def _check_room(self, connection: apsw.Connection, sums: Sums) -> None:
        """Count what has been written and refuse it if it is too much. Only what grows is refused."""
        write = self._write
        if write.table.ranges:
            partition_bytes = count_partition(connection, self._prefix, sums)
        else:
            partition_bytes = sums.size_bytes + sum(self._stored_bytes.values()) + len(self._stored_bytes) * len(write.partition)
        if sums.size_bytes > 0 and partition_bytes > write.partition_bytes_max:
            raise PartitionFull("the partition has reached its ceiling", where="partition")
        usage = count(connection, write.space, sums)
        if sums.rows > 0 and usage.rows > write.room.rows:
            raise TableQuotaExceeded("the quota of rows is used up")
        if sums.size_bytes > 0 and usage.size_bytes > write.room.size_bytes:
            raise TableQuotaExceeded("the quota of bytes is used up")

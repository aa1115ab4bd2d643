"""Writes carried out in the writer thread, one or many, by a few statements over all their rows.

Each statement makes the writer thread queue for the interpreter lock, beside an event loop that is busy with the next requests; so what is
there is read at once, the writes are carried out in memory, each on what the one before left, and what has become of it is stored at once.
Where one of them is refused with an error nothing is stored, and whoever asked carries them out one by one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import Any

import apsw
import msgspec

from headwater.kernel.failpoints import failpoint
from headwater.sqlite.queries import Value, fetch_all, fetch_one
from headwater.tables.engines.sqlite.keys import KEY_HEAD_BYTES, partition_prefix, point_key, row_key
from headwater.tables.engines.sqlite.records import encode_change, encode_outcome, outcome_of, row_of
from headwater.tables.engines.sqlite.writes import Revisions, store_expiry
from headwater.tables.errors import PartitionFull, SchemaChanged, TableQuotaExceeded, WriteIdReused
from headwater.tables.model import FOREVER, Change, ClusteringKey, Outcome, Put, SpaceId, StoredRow, Write
from headwater.tables.rows import Found, carry_out, changes_of, check_row, encode_row, first_expiry, put_row, refusal

_ROWS_MAX = 64  # of one statement

_FIND_SPACE = """
    SELECT d.epoch, s.rows, s.bytes FROM space AS s JOIN declaration AS d ON d.incarnation = s.incarnation WHERE s.id = ?
"""
_FIND_ROWS = "SELECT key, data FROM row WHERE key IN ({})"
_FIND_PARTITIONS = "SELECT key, rows, bytes FROM partition WHERE key IN ({})"
_INSERT_ROWS = "INSERT INTO row (key, data) VALUES {}"
_REPLACE_ROWS = "REPLACE INTO row (key, data) VALUES {}"
_DELETE_ROWS = "DELETE FROM row WHERE key IN (VALUES {})"
_REPLACE_PARTITIONS = "REPLACE INTO partition (key, rows, bytes) VALUES {}"
_DELETE_PARTITIONS = "DELETE FROM partition WHERE key IN (VALUES {})"
_SET_SPACE = "UPDATE space SET rows = ?, bytes = ? WHERE id = ?"
_INSERT_CHANGES = "INSERT INTO change (space, sequence, at_ms, data) VALUES {}"
_FIND_OUTCOME = "SELECT digest, data FROM outcome WHERE key = ?"
_INSERT_OUTCOME = "INSERT INTO outcome (key, at_ms, digest, data) VALUES (?, ?, ?, ?)"


class Writing(msgspec.Struct, frozen=True, gc=False):
    """A write, its time, and where its revisions come from.

    Attributes:
        put_key: the key of the row where the write is one put that asks nothing and tells nobody, as most are; see `put_key_of`.
    """

    write: Write
    revisions: Revisions
    now_ms: int
    put_key: bytes | None

    @property
    def is_small(self) -> bool:
        """Whether it may wait for others of its kind: a batch takes long enough alone."""
        return len(self.write.writes) == 1


def put_key_of(write: Write) -> bytes | None:
    """The key of the one row that is all that a write sets and looks at; None of any other write."""
    put, table = write.writes[0], write.table
    if type(put) is not Put or put.condition is not None or put.statics or put.clustering is None or len(write.writes) > 1:
        return None
    if table.statics or table.options.changes or write.write_id is not None:
        return None
    return point_key(write.space, write.partition, put.clustering)


Carried = tuple[Outcome, int]
"""What came of a write, and how far revisions are reserved by then."""


def write_one(connection: apsw.Connection, writing: Writing) -> Carried:
    """Carry out one write; raises as `TableStore.write`."""
    return write_all(connection, (writing,))[0]


def write_all(connection: apsw.Connection, writings: Sequence[Writing]) -> Sequence[Carried]:
    """Carry out writes as if one by one, in their order; raises what the first of them raises, and then all have to be undone."""
    together = _Together(connection)
    together.find(writings)
    carried = [together.carry_out(writing) for writing in writings]
    together.store()
    return carried


class _Row(msgspec.Struct, gc=False):
    """A row in the file and what it has become; `data` is `row` as stored, None where there is none."""

    before: StoredRow | None = None
    row: StoredRow | None = None
    data: bytes | None = None
    is_new: bool = True
    written: bool = False


@dataclass(slots=True)
class _Counted:
    """What a space or partition takes by now."""

    rows: int = 0
    size_bytes: int = 0
    epoch: int = 0
    written: bool = False

    def add(self, rows: int, size_bytes: int) -> None:
        self.rows += rows
        self.size_bytes += size_bytes
        self.written = True


@dataclass(slots=True)
class _Together:
    connection: apsw.Connection
    rows: dict[bytes, _Row] = field(default_factory=dict)
    partitions: dict[bytes, _Counted] = field(default_factory=dict)
    spaces: dict[SpaceId, _Counted] = field(default_factory=dict)
    changes: list[tuple[SpaceId, Change]] = field(default_factory=list)

    # What is there

    def find(self, writings: Iterable[Writing]) -> None:
        """Read everything that the writes name."""
        for writing in writings:
            write = writing.write
            if write.space not in self.spaces:
                self._find_space(write.space)
            if writing.put_key is not None and not write.table.ranges:
                if writing.put_key not in self.rows:
                    self.rows[writing.put_key] = _Row()
                continue
            prefix = partition_prefix(write.space, write.partition)
            for one in write.writes:
                if one.clustering is not None:
                    self.rows.setdefault(row_key(prefix, one.clustering), _Row())
            if write.table.statics:
                self.rows.setdefault(row_key(prefix, None), _Row())
            if write.table.ranges:
                self.partitions.setdefault(prefix, _Counted())
        for key, data in _find(self.connection, _FIND_ROWS, list(self.rows)):
            row = row_of(data)
            self.rows[key] = _Row(row, row, data, False)
        for key, rows, size_bytes in _find(self.connection, _FIND_PARTITIONS, list(self.partitions)):
            self.partitions[key] = _Counted(rows, size_bytes)

    def _find_space(self, space: SpaceId) -> None:
        found = fetch_one(self.connection, _FIND_SPACE, (space,))
        if found is None:
            raise SchemaChanged("the table was dropped meanwhile")
        epoch, rows, size_bytes = found
        self.spaces[space] = _Counted(rows, size_bytes, epoch)

    # One write

    def carry_out(self, writing: Writing) -> Carried:
        """Carry out one write in memory. Its `write_id` is kept at once, so that the next write finds it."""
        write = writing.write
        if self.spaces[write.space].epoch != write.epoch:
            raise SchemaChanged("the table was changed meanwhile")
        if writing.put_key is not None:
            return self._carry_out_put(writing, writing.put_key)
        prefix = partition_prefix(write.space, write.partition)
        if write.write_id is None:
            return self._carry_out(writing, prefix)
        key = prefix + write.write_id.encode()
        first = fetch_one(self.connection, _FIND_OUTCOME, (key,))
        if first is not None:
            if first[0] != write.digest:
                raise WriteIdReused("this write_id was used for another write", where="write_id")
            return outcome_of(first[1]), 0
        outcome, reserved = self._carry_out(writing, prefix)
        self.connection.execute(_INSERT_OUTCOME, (key, writing.now_ms, write.digest, encode_outcome(outcome)))
        return outcome, reserved

    def _carry_out_put(self, writing: Writing, key: bytes) -> Carried:
        """As `_carry_out`, of a write that has a `put_key`, in fewer steps."""
        write = writing.write
        put = write.writes[0]
        assert type(put) is Put
        place = self.rows[key]
        revision, reserved = writing.revisions.take(self.connection, writing.now_ms)
        row = put_row(put, place.row, revision, writing.now_ms // 1000)
        came, grew = _replace(write, len(key) - KEY_HEAD_BYTES, place, row)
        if came or grew:
            if write.table.ranges:
                partition_bytes = self._count_partition(partition_prefix(write.space, write.partition), came, grew)
            else:
                partition_bytes = 0 if place.data is None else len(write.partition) + len(place.data)
            self._count(write, partition_bytes, came, grew)
        return Outcome(True, revision), reserved

    def _carry_out(self, writing: Writing, prefix: bytes) -> Carried:
        write, now_s = writing.write, writing.now_ms // 1000
        found = self._found(write, prefix)
        current = refusal(write, found, now_s)
        if current is not None:
            return Outcome(False, None, current), 0
        revision, reserved = writing.revisions.take(self.connection, writing.now_ms, len(write.writes))
        effect = carry_out(write, found, revision=revision, now_s=now_s)
        came, grew = 0, 0
        for clustering, row in effect.rows.items():
            one_came, one_grew = self._put(write, prefix, clustering, row)
            came, grew = came + one_came, grew + one_grew
        if effect.static_written:
            grew += self._put(write, prefix, None, effect.static)[1]
        if came or grew:
            partition_bytes = self._count_partition(prefix, came, grew) if write.table.ranges else self._lone_bytes(write, prefix)
            self._count(write, partition_bytes, came, grew)
        if write.table.options.changes:
            changes = changes_of(write.partition, found, effect, revision=revision, now_ms=writing.now_ms)
            self.changes += [(write.space, change) for change in changes]
        return Outcome(True, revision), reserved

    def _found(self, write: Write, prefix: bytes) -> Found:
        rows: dict[ClusteringKey, StoredRow] = {}
        for one in write.writes:
            if one.clustering is not None:
                row = self.rows[row_key(prefix, one.clustering)].row
                if row is not None:
                    rows[one.clustering] = row
        return Found(rows, self.rows[row_key(prefix, None)].row if write.table.statics else None)

    def _put(self, write: Write, prefix: bytes, clustering: ClusteringKey | None, row: StoredRow | None) -> tuple[int, int]:
        """Put a row in the place of another, or take it away; by how much rows and bytes have grown."""
        key_bytes = len(write.partition) + len(clustering or b"")
        came, grew = _replace(write, key_bytes, self.rows[row_key(prefix, clustering)], row)
        return 0 if clustering is None else came, grew

    def _count_partition(self, prefix: bytes, came: int, grew: int) -> int:
        partition = self.partitions[prefix]
        partition.add(came, grew)
        return partition.size_bytes

    def _lone_bytes(self, write: Write, prefix: bytes) -> int:
        """What a partition takes that is one row, and perhaps a static one."""
        keys = {row_key(prefix, ClusteringKey(b"")), row_key(prefix, None)}
        sizes = [len(place.data) for place in map(self.rows.get, keys) if place is not None and place.data is not None]
        return sum(sizes) + len(sizes) * len(write.partition)

    def _count(self, write: Write, partition_bytes: int, came: int, grew: int) -> None:
        """Count what has been written and refuse it if it is too much. Only what grows is refused."""
        if grew > 0 and partition_bytes > write.partition_bytes_max:
            raise PartitionFull("the partition has reached its ceiling", where="partition")
        space = self.spaces[write.space]
        space.add(came, grew)
        if came > 0 and space.rows > write.room.rows:
            raise TableQuotaExceeded("the quota of rows is used up")
        if grew > 0 and space.size_bytes > write.room.size_bytes:
            raise TableQuotaExceeded("the quota of bytes is used up")

    # What has become of it

    def store(self) -> None:
        """Write everything that has changed."""
        self._store_rows()
        self._store_counts()
        failpoint("tables.stored")
        store_changes(self.connection, self.changes)

    def _store_rows(self) -> None:
        """In the order of their keys, which leaves the fullest pages."""
        new: list[tuple[Value, ...]] = []
        other: list[tuple[Value, ...]] = []
        gone: list[tuple[Value, ...]] = []
        for key, place in sorted(self.rows.items(), key=itemgetter(0)):
            if not place.written or (place.is_new and place.data is None):
                continue
            if place.data is None:
                gone.append((key,))
            else:
                (new if place.is_new else other).append((key, place.data))
            was = FOREVER if place.before is None else first_expiry(place.before)
            becomes = FOREVER if place.row is None else first_expiry(place.row)
            if was != becomes:
                store_expiry(self.connection, key, was, becomes)
        _run(self.connection, _INSERT_ROWS, new)
        _run(self.connection, _REPLACE_ROWS, other)
        _run(self.connection, _DELETE_ROWS, gone)

    def _store_counts(self) -> None:
        for id, space in self.spaces.items():
            if space.written:
                self.connection.execute(_SET_SPACE, (space.rows, space.size_bytes, id))
        partitions = [(key, one) for key, one in self.partitions.items() if one.written]
        _run(self.connection, _REPLACE_PARTITIONS, [(key, one.rows, one.size_bytes) for key, one in partitions if one.size_bytes])
        _run(self.connection, _DELETE_PARTITIONS, [(key,) for key, one in partitions if not one.size_bytes])


def _replace(write: Write, key_bytes: int, place: _Row, row: StoredRow | None) -> tuple[int, int]:
    """Put a row in the place of another, or take it away; by how many rows and bytes that has grown. Raises TooLarge."""
    data = None if row is None else encode_row(row)
    before_bytes = -1 if place.data is None else len(place.data)
    if data is not None and len(data) > write.row_bytes_max:
        check_row(write, len(data), max(before_bytes, 0))
    if data is None and before_bytes < 0:
        return 0, 0
    place.row, place.data, place.written = row, data, True
    if data is None:
        return -1, -key_bytes - before_bytes
    return (1, key_bytes + len(data)) if before_bytes < 0 else (0, len(data) - before_bytes)


def store_changes(connection: apsw.Connection, changes: Sequence[tuple[SpaceId, Change]]) -> None:
    """Add to the change streams of spaces."""
    _run(connection, _INSERT_CHANGES, [(space, change.sequence, change.at_ms, encode_change(change)) for space, change in changes])


def _find(connection: apsw.Connection, statement: str, keys: list[bytes]) -> list[tuple[Any, ...]]:
    """What is stored under the keys; the last one is asked for again until the statement is one that stays prepared."""
    found: list[tuple[Any, ...]] = []
    for at in range(0, len(keys), _ROWS_MAX):
        some = keys[at : at + _ROWS_MAX]
        count = 1 << (len(some) - 1).bit_length()
        found += fetch_all(connection, _with_places(statement, count), (*some, *some[-1:] * (count - len(some))))
    return found


def _run(connection: apsw.Connection, statement: str, rows: Sequence[tuple[Value, ...]]) -> None:
    """Run `statement` over all rows, `_ROWS_MAX` of them at once."""
    for at in range(0, len(rows), _ROWS_MAX):
        some = rows[at : at + _ROWS_MAX]
        connection.execute(_with_rows(statement, len(some), len(some[0])), [value for row in some for value in row])


@cache
def _with_places(statement: str, count: int) -> str:
    return statement.format(", ".join("?" * count))


@cache
def _with_rows(statement: str, rows: int, columns: int) -> str:
    return statement.format(", ".join([f"({', '.join('?' * columns)})"] * rows))

"""Deleting the rows of a slice, a bounded number and size at once, in one transaction of the writer thread."""

from contextlib import closing

import apsw

from headwater.sqlite.queries import fetch_one
from headwater.tables.engines.sqlite.keys import partition_prefix, row_key, split
from headwater.tables.engines.sqlite.reads import bounds
from headwater.tables.engines.sqlite.records import row_of
from headwater.tables.engines.sqlite.together import store_changes
from headwater.tables.engines.sqlite.writes import Revisions, Sums, count, count_known_partition, replace_row
from headwater.tables.errors import SchemaChanged
from headwater.tables.model import Change, ClusteringKey, Slice, StoredRow
from headwater.tables.rows import CHANGES_BYTES_MAX, Effect, Found, changes_of, live

CLEAR_BYTES = 8 * 1024 * 1024
"""Of rows that are deleted at once, the last one aside: they have to be read, and writes wait meanwhile."""

_ROWS = "SELECT key, data FROM row WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
_STATIC = "SELECT data FROM row WHERE key = ?"
_EPOCH = "SELECT d.epoch FROM space AS s JOIN declaration AS d ON d.incarnation = s.incarnation WHERE s.id = ?"


class Clearing:
    """A slice being cleared. Call it with the writing connection."""

    def __init__(self, slice: Slice, revisions: Revisions, *, epoch: int, table_changes: bool, now_ms: int) -> None:
        self._slice = slice
        self._epoch = epoch
        self._revisions = revisions
        self._table_changes = table_changes
        self._now_ms = now_ms
        self._prefix = partition_prefix(slice.space, slice.partition)
        self._sums = Sums()
        self._changes: list[Change] = []
        self._reserved = 0

    def __call__(self, connection: apsw.Connection) -> tuple[int, bool, int]:
        """How many rows were deleted, whether none is left, and how far revisions are reserved by then.

        Rows that have expired are removed too, and count towards the limit but not in the answer. Raises SchemaChanged.
        """
        slice = self._slice
        if fetch_one(connection, _EPOCH, (slice.space,)) != (self._epoch,):
            raise SchemaChanged("the table was changed meanwhile")
        static = fetch_one(connection, _STATIC, (row_key(self._prefix, None),))
        kept_static = None if static is None else row_of(static[0])
        most = slice.limit
        if self._table_changes and static is not None:  # each change shows the static cells
            most = min(most, max(1, CHANGES_BYTES_MAX // len(static[0])))
        found, complete = self._found(connection, most)
        deleted = 0
        for key, data in found:
            deleted += self._clear_row(connection, key, data, kept_static)
        if complete and slice.whole and static is not None:
            self._clear(connection, None, static[0], kept_static, static=kept_static)
        if self._sums:
            count(connection, slice.space, self._sums)
            count_known_partition(connection, self._prefix, self._sums)
        store_changes(connection, [(slice.space, change) for change in self._changes])
        return deleted, complete, self._reserved

    def _found(self, connection: apsw.Connection, most: int) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The rows to delete now, and whether these are all."""
        found: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        with closing(connection.execute(_ROWS, (*bounds(self._slice), most + 1))) as cursor:
            for key, data in cursor:
                if len(found) == most or size_bytes >= CLEAR_BYTES:
                    return found, False
                found.append((key, data))
                size_bytes += len(data)
        return found, True

    def _clear_row(self, connection: apsw.Connection, key: bytes, data: bytes, static: StoredRow | None) -> bool:
        row = row_of(data)
        self._sums.rows -= 1
        self._clear(connection, split(key)[2], data, row, static=static)
        return live(row, self._now_ms // 1000) is not None

    def _clear(
        self, connection: apsw.Connection, clustering: ClusteringKey | None, data: bytes, row: StoredRow | None, *, static: StoredRow | None
    ) -> None:
        replace_row(connection, row_key(self._prefix, clustering), before=row, after=None)
        self._sums.size_bytes -= len(self._slice.partition) + len(clustering or b"") + len(data)
        if not self._table_changes or row is None:
            return
        found = Found({} if clustering is None else {clustering: row}, static)
        effect = Effect({} if clustering is None else {clustering: None}, None if clustering is None else static, clustering is None)
        revision, reserved = self._revisions.take(connection, self._now_ms)
        self._reserved = max(self._reserved, reserved)
        self._changes += changes_of(self._slice.partition, found, effect, revision=revision, now_ms=self._now_ms)

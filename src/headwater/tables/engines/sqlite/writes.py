"""What is done in the writer thread, inside one transaction: a row stored, what it takes counted, its revision given.

Writes of clients are carried out many at once: see `headwater.tables.engines.sqlite.together`.
"""

from dataclasses import dataclass

import apsw

from headwater.sqlite.queries import fetch_one
from headwater.tables.model import FOREVER, Revision, SpaceId, StoredRow
from headwater.tables.rows import encode_row, first_expiry

RESERVED_US = 60_000_000

_UPDATE_ROW = "UPDATE row SET data = ?2 WHERE key = ?1"
_DELETE_ROW = "DELETE FROM row WHERE key = ?"
_INSERT_EXPIRY = "INSERT OR IGNORE INTO expiry (at_s, key) VALUES (?, ?)"
_DELETE_EXPIRY = "DELETE FROM expiry WHERE at_s = ? AND key = ?"
_COUNT_SPACE = "UPDATE space SET rows = rows + ?, bytes = bytes + ? WHERE id = ?"
_COUNT_PARTITION = "UPDATE partition SET rows = rows + ?2, bytes = bytes + ?3 WHERE key = ?1 RETURNING bytes"
_DELETE_PARTITION = "DELETE FROM partition WHERE key = ?"
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


def replace_row(connection: apsw.Connection, key: bytes, *, before: StoredRow | None, after: StoredRow | None) -> None:
    """Put less of a row in the place of what is stored, or take it away."""
    if after is None:
        connection.execute(_DELETE_ROW, (key,))
    else:
        connection.execute(_UPDATE_ROW, (key, encode_row(after)))
    was, becomes = (FOREVER if row is None else first_expiry(row) for row in (before, after))
    store_expiry(connection, key, was, becomes)


def store_expiry(connection: apsw.Connection, key: bytes, was: int, becomes: int) -> None:
    """Note when the first thing in a row expires that is stored in the place of another."""
    if was != becomes:
        if was != FOREVER:
            connection.execute(_DELETE_EXPIRY, (was, key))
        if becomes != FOREVER:
            connection.execute(_INSERT_EXPIRY, (becomes, key))


def count(connection: apsw.Connection, space: SpaceId, sums: Sums) -> None:
    """Add to what a space takes."""
    connection.execute(_COUNT_SPACE, (sums.rows, sums.size_bytes, space))


def count_known_partition(connection: apsw.Connection, prefix: bytes, sums: Sums) -> None:
    """Add to what a partition takes, if it is counted at all: where every partition is one row, it is not."""
    counted = fetch_one(connection, _COUNT_PARTITION, (prefix, sums.rows, sums.size_bytes))
    if counted == (0,):
        connection.execute(_DELETE_PARTITION, (prefix,))

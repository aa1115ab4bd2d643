"""Reading a file of tables as a whole: whether every row of it can be read, and whether what is counted is what is there."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import apsw
import msgspec

from headwater.kernel.errors import Corrupted, InvalidInput
from headwater.sqlite.connections import BUSY_TIMEOUT_MS, distrust_schema
from headwater.sqlite.errors import translated
from headwater.sqlite.queries import fetch_all, fetch_one
from headwater.tables.engines.sqlite import catalogue
from headwater.tables.engines.sqlite.keys import partition_prefix, split
from headwater.tables.engines.sqlite.records import change_of, outcome_of, row_of
from headwater.tables.model import FOREVER, NOTHING, ClusteringKey, KeyedRow, PartitionKey, SpaceId, StoredRow, Table, Usage
from headwater.tables.rows import first_expiry, size_bytes
from headwater.tables.schema import table_of
from headwater.tables.showing import RowShower

_TABLES = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('headwater_format', 'declaration', 'space', 'row')"
_ROWS = "SELECT key, data FROM row ORDER BY key"
_SPACES = "SELECT id, rows, bytes, trimmed FROM space WHERE incarnation IS NOT NULL"
_COUNTERS = "SELECT name FROM counter ORDER BY name"
_BESIDE = "SELECT (SELECT count(*) FROM secret), (SELECT coalesce(max(until - after), 1) FROM lost)"
_PARTITION = "SELECT rows, bytes FROM partition WHERE key = ?"
_KEYS = "SELECT key FROM partition"
_EXPIRIES = "SELECT count(*) FROM expiry"
_EXPIRES_THEN = "SELECT 1 FROM expiry WHERE at_s = ? AND key = ?"
_CHANGES = "SELECT sequence, at_ms, data FROM change"
_OUTCOMES = "SELECT data FROM outcome"


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a file.

    Attributes:
        tables, spaces: declarations, and pairs of one and a domain that uses it.
        rows, size_bytes: of all spaces; static rows are not counted among the rows.
    """

    tables: int
    spaces: int
    rows: int
    size_bytes: int


@contextmanager
def opened(path: Path, *, writing: bool = False) -> Iterator[apsw.Connection]:
    """A connection to a store of tables, errors translated.

    Raises:
        Corrupted: it is some other database, or an empty one.
        Unavailable: it cannot be opened.
    """
    flags = apsw.SQLITE_OPEN_READWRITE if writing else apsw.SQLITE_OPEN_READONLY
    with translated(file=path.name):
        connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        distrust_schema(connection)
        with translated(connection, file=path.name):
            if fetch_all(connection, _TABLES) != [(4,)]:
                raise Corrupted(f"{path.name} is no store of tables")
            yield connection
    finally:
        connection.close()


def examine(path: Path) -> Contents:
    """Read everything in a file that nothing writes to.

    Raises:
        Corrupted: the file is no store of tables, something in it cannot be read, or it is not counted as it is.
        Unavailable: the file cannot be read.
    """
    with opened(path) as connection:
        try:
            return _Examination(connection, path.name).run()
        except apsw.SQLError as error:
            raise Corrupted(f"{path.name} is no store of tables that this program knows: {error}") from error


class _Examination:
    """One reading of a file."""

    def __init__(self, connection: apsw.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        declared = catalogue.load(connection)
        self._tables: dict[SpaceId, Table] = {}
        for one in declared:
            try:
                table = table_of(one)
            except (InvalidInput, ValueError, KeyError, TypeError) as error:
                raise self._damaged(f"the schema of {one.name} cannot be read") from error
            self._tables.update(dict.fromkeys(one.domains.values(), table))
        self._declared = len(declared)
        self._showers = {space: RowShower(table) for space, table in self._tables.items()}
        self._expiring = 0
        self._partitions = 0

    def run(self) -> Contents:
        """Everything, one after the other."""
        found = self._rows()
        spaces = fetch_all(self._connection, _SPACES)
        for id_, rows, size, _ in spaces:
            if found.get(id_, NOTHING) != Usage(rows, size):
                raise self._damaged(f"space {id_} does not take what is counted of it")
        counted = sum(1 for (key,) in self._connection.execute(_KEYS) if SpaceId(int.from_bytes(key[:8])) in self._tables)
        if counted != self._partitions:
            raise self._damaged("partitions are counted that are not there")
        if fetch_all(self._connection, _EXPIRIES)[0][0] != self._expiring:
            raise self._damaged("something is to expire that is not there")
        if fetch_all(self._connection, _COUNTERS) != [("epoch",), ("revision",)] or fetch_all(self._connection, _BESIDE)[0][1] <= 0:
            raise self._damaged("the numbers that are given next are missing")
        for sequence, at_ms, data in self._connection.execute(_CHANGES):
            change_of(sequence, at_ms, data)
        for (data,) in self._connection.execute(_OUTCOMES):
            outcome_of(data)
        whole = sum(found.values(), NOTHING)
        return Contents(self._declared, len(spaces), whole.rows, whole.size_bytes)

    def _rows(self) -> dict[SpaceId, Usage]:
        """What the rows of each space take; those of spaces that are being emptied are only decoded."""
        found: dict[SpaceId, Usage] = {}
        stored = ((split(key), key, data) for key, data in self._connection.execute(_ROWS))
        for (space, partition), rows in groupby(stored, key=lambda one: one[0][:2]):
            here = self._partition(space, partition, [(parts[2], key, data) for parts, key, data in rows])
            if space in self._tables:
                found[space] = found.get(space, NOTHING) + here
                self._compare(space, partition, here)
        return found

    def _partition(self, space: SpaceId, partition: PartitionKey, rows: Sequence[tuple[ClusteringKey | None, bytes, bytes]]) -> Usage:
        here = NOTHING
        for clustering, key, data in rows:
            row = row_of(data)
            assert row is not None
            if space in self._tables:
                self._show(space, partition, clustering, row)
            here += Usage(clustering is not None, size_bytes(partition, clustering, data))
            expires_s = first_expiry(row)
            if expires_s != FOREVER:
                self._expiring += 1
                if fetch_one(self._connection, _EXPIRES_THEN, (expires_s, key)) is None:
                    raise self._damaged("a row would never expire, and has to")
        return here

    def _show(self, space: SpaceId, partition: PartitionKey, clustering: ClusteringKey | None, row: StoredRow) -> None:
        """Make of a row what an answer would be: then every value of it is of its type."""
        keyed = KeyedRow(None, None, row) if clustering is None else KeyedRow(clustering, row, None)
        try:
            msgspec.json.encode(self._showers[space].show(partition, (keyed,), now_s=0))
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, AssertionError, struct.error) as error:
            raise self._damaged(f"a row of space {space} is not what its table says") from error

    def _compare(self, space: SpaceId, partition: PartitionKey, here: Usage) -> None:
        if not self._tables[space].ranges:
            return
        self._partitions += 1
        if fetch_one(self._connection, _PARTITION, (partition_prefix(space, partition),)) != (here.rows, here.size_bytes):
            raise self._damaged(f"a partition of space {space} does not take what is counted of it")

    def _damaged(self, what: str) -> Corrupted:
        return Corrupted(f"{self._name} is damaged: {what}")

"""The values that tables are made of.

A *table* is declared by a domain in a *storage group*: all domains of a group that declare it share its schema, none sees another's rows.
The rows that one domain has in one table are a *space*. A space holds *partitions*, named by the hash columns; a partition holds rows in
the order of their range columns (the *clustering key*), and one static row. Keys are kept encoded (`headwater.tables.encoding`), so that
comparing bytes compares rows, descending columns included.

Cells carry the id of their column, not its name: a column that is dropped and added again is another column, and shows nothing of the
old one.
What is made of every row or request is a msgspec struct: a frozen dataclass takes ten times as long.
Times are whole seconds since the epoch, as Cassandra counts expiry: what expires at `s` is there while `now_s < s`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NewType

import msgspec

ColumnId = NewType("ColumnId", int)
SpaceId = NewType("SpaceId", int)
Revision = NewType("Revision", int)
PartitionKey = NewType("PartitionKey", bytes)
"""The hash columns, encoded; self-delimiting."""
ClusteringKey = NewType("ClusteringKey", bytes)
"""The range columns in order of declaration, encoded; empty in a table without any."""

FOREVER = 0
"""An expiry that never comes."""
TTL_MAX_S = 630_720_000
"""Longest life of a cell: twenty years of 365 days, as in Cassandra."""

Stored = None | bool | int | float | str | bytes | list[Any]
"""A value as it is kept: what `headwater.tables.types` makes of JSON. None is null; sets are lists, sorted and without duplicates."""


class Kind(Enum):
    """The scalar types."""

    STRING = "string"
    BLOB = "blob"
    INT = "int"
    VARINT = "varint"
    LONG = "long"
    DECIMAL = "decimal"
    FLOAT = "float"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMEUUID = "timeuuid"
    UUID = "uuid"
    TIMESTAMP = "timestamp"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type, or a set of one."""

    kind: Kind
    is_set: bool = False

    def __str__(self) -> str:
        return f"set<{self.kind.value}>" if self.is_set else self.kind.value


class Role(Enum):
    """What a column is for its row."""

    HASH = "hash"
    RANGE = "range"
    STATIC = "static"
    REGULAR = "regular"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: as declared.
        id: of this column; never used again in the same table, not even for a column of the same name.
        type, role: what it holds and what for.
        descending: of a range column, whether its order is the reverse.
    """

    name: str
    id: ColumnId
    type: ColumnType
    role: Role
    descending: bool = False


class Discipline(Enum):
    """How writes to a table relate to each other."""

    CONDITIONAL = "conditional"  # each is compare-and-set; revisions are ordered per row
    PLAIN = "plain"  # the last one wins; conditions are refused


@dataclass(frozen=True, slots=True)
class Options:
    """What a table is declared with beside its columns.

    Attributes:
        writes: discipline of writes.
        changes: whether every write also goes into the table's change stream.
        default_ttl_s: expiry of what is written without a `_ttl`; 0: none.
        partition_bytes_max: ceiling of one partition's size; None: that of the deployment.
    """

    writes: Discipline = Discipline.CONDITIONAL
    changes: bool = False
    default_ttl_s: int = 0
    partition_bytes_max: int | None = None


@dataclass(frozen=True)
class Table:
    """A schema at work: checked, normalised, every column with its id.

    Attributes:
        name, version: as declared.
        hashes, statics, ranges, regulars: the columns by role; hashes and ranges in order of declaration.
        options: see there.
    """

    name: str
    version: int
    hashes: tuple[Column, ...]
    ranges: tuple[Column, ...]
    statics: tuple[Column, ...]
    regulars: tuple[Column, ...]
    options: Options
    by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)
    by_id: Mapping[ColumnId, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        columns = (*self.hashes, *self.statics, *self.ranges, *self.regulars)
        object.__setattr__(self, "by_name", {column.name: column for column in columns})
        object.__setattr__(self, "by_id", {column.id: column for column in columns})


# Rows


class Cell(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A value that is not null, `Stored`, and when it expires (`FOREVER`: never)."""

    value: Any  # decoding knows no union of text and bytes
    expires_s: int = FOREVER


class StoredRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A row without its key, or the static row of a partition.

    Attributes:
        revision: of the last write; higher than that of every earlier write of the same key, deletes included.
        cells: by column.
        marker_expires_s: until when the row is there even without cells (Cassandra's row marker); None: it has no marker. A static row
            has none.
    """

    revision: Revision
    cells: dict[ColumnId, Cell]
    marker_expires_s: int | None = None


class KeyedRow(msgspec.Struct, frozen=True, gc=False):
    """A live row with its clustering key (None where only the partition's static row is left) and the partition's static row."""

    clustering: ClusteringKey | None
    row: StoredRow | None
    static: StoredRow | None


# Reads


class Slice(msgspec.Struct, frozen=True, gc=False):
    """Consecutive rows of one partition.

    Attributes:
        space, partition: where.
        lower, upper: `lower <= clustering < upper` as bytes; an upper of None is the end of the partition.
        backwards: from the end towards the beginning.
        after: only rows beyond this one in the direction of reading: where the page before ended.
        limit: most rows.
        bytes_max: rows beyond the first are left for the next page from this size on, as stored; static cells count with each row.
        point: whether the whole clustering key is given, in `lower`.
        statics: whether the static row matters.
        whole: no range column is restricted; then a partition with nothing but a static row yields that (as CQL does).
    """

    space: SpaceId
    partition: PartitionKey
    lower: ClusteringKey
    upper: ClusteringKey | None
    backwards: bool
    limit: int
    after: ClusteringKey | None = None
    point: bool = False
    statics: bool = True
    whole: bool = False
    bytes_max: int = 4 * 1024 * 1024


Place = tuple[PartitionKey, ClusteringKey | None]
"""A row among all rows of a space; a clustering key of None is the place before the first row of the partition."""


RowKey = tuple[SpaceId, PartitionKey, ClusteringKey]
"""A row among all rows."""


@dataclass(frozen=True, slots=True)
class Walked:
    """Rows of all partitions of a space, those of one partition together and in order.

    Attributes:
        rows: live ones, each with its partition; a partition with nothing but a static row yields that.
        last: where walking goes on, None at the end. May be given though no row follows.
    """

    rows: Sequence[tuple[PartitionKey, KeyedRow]]
    last: Place | None


class Page(msgspec.Struct, frozen=True, gc=False):
    """Rows of a slice.

    Attributes:
        rows: live ones, in the order asked for.
        last: where reading goes on, None at the end. May be given though no row follows, and with fewer rows than the limit, where many
            expired ones lay between.
    """

    rows: Sequence[KeyedRow]
    last: ClusteringKey | None


# Writes


class Operator(Enum):
    """How a predicate compares."""

    EQ = "eq"
    LT = "lt"
    GT = "gt"
    LE = "le"
    GE = "ge"
    BETWEEN = "between"


class Predicate(msgspec.Struct, frozen=True, gc=False):
    """A comparison of one column with a value, or for BETWEEN with two, both inclusive. EQ with null asks for null."""

    column: Column
    operator: Operator
    operands: tuple[Stored, ...]


class Condition(msgspec.Struct, frozen=True, gc=False):
    """What must hold of the row that is there for a write to happen; all of it.

    Attributes:
        exists: True: it is there; False: it is not; None: does not matter.
        revision: it has this revision. Of a row this is that of its own last write, whatever was written to the static row since.
        predicates: over static and regular columns (those over keys are decided by the planner). On a row that is not there every one fails
            but a comparison with null.
    """

    exists: bool | None = None
    revision: Revision | None = None
    predicates: tuple[Predicate, ...] = ()


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write cells of a row.

    Attributes:
        clustering: of the row; None: only the static row is written.
        cells, statics: by column; None clears.
        marker: whether to set the row marker, as CQL's INSERT does and UPDATE does not.
        expires_s: when what is written expires.
        condition: None: always.
    """

    clustering: ClusteringKey | None
    cells: Mapping[ColumnId, Stored]
    statics: Mapping[ColumnId, Stored]
    marker: bool
    expires_s: int
    condition: Condition | None = None


class Remove(msgspec.Struct, frozen=True, gc=False):
    """Delete a row; `condition` as in `Put`. Removing what is not there is a write that changes nothing."""

    clustering: ClusteringKey
    condition: Condition | None = None


class Bounds(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a write is held to beside the room that there is.

    Attributes:
        epoch: of the declaration that the schema is of; the write is refused if it is not the present one.
        row_bytes_max: the most that a row may take, as `headwater.tables.rows.encode_row` has it; only a write that makes it larger is
            refused.
        current_bytes_max: of a batch that is refused, rows from this size on are left out of `Outcome.current`, as stored.
    """

    epoch: int
    row_bytes_max: int = 1 << 62
    current_bytes_max: int = 4 * 1024 * 1024


class Write(Bounds, frozen=True, gc=False):
    """Writes to one partition that happen together or not at all.

    Attributes:
        space, partition: where.
        table: the schema they were planned with.
        writes: no two of the same row.
        partition_bytes_max: ceiling of the partition's size after the write; only a write that makes it larger is refused.
        room: the most that the space may take after the write; only a write that makes it larger is refused.
        write_id: given by the client: a repeat gets the outcome of the first; None: none.
        digest: of what the write asks for, so that a `write_id` used for something else is recognised.
    """

    space: SpaceId
    partition: PartitionKey
    table: Table
    writes: tuple[Put | Remove, ...]
    partition_bytes_max: int
    room: "Usage"
    write_id: str | None = None
    digest: bytes = b""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of a `Write`.

    Attributes:
        applied: whether it happened.
        revision: of all rows that it wrote, where it happened.
        current: otherwise, per write in their order, the row that was there, whether or not its own condition held; `row` None: none.
            Of a batch only the first ones, where all are more than `Write.current_bytes_max`.
        repeated: the `write_id` was known; this is what came of the first.
    """

    applied: bool
    revision: Revision | None
    current: Sequence[KeyedRow] = ()
    repeated: bool = False


# Changes


class ChangeKind(Enum):
    """What happened to a row."""

    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """A record of a table's change stream. What changes nothing, such as removing what is not there, is no change; neither is expiry.

    Attributes:
        sequence: its position; rises, with gaps.
        at_ms: wall clock of the write.
        kind: what happened.
        partition, clustering: of the row; a clustering of None is the static row alone.
        revision: that the write gave it.
        row, static: what is there after the whole write that it was part of.
    """

    sequence: int
    at_ms: int
    kind: ChangeKind
    partition: PartitionKey
    clustering: ClusteringKey | None
    revision: Revision
    row: StoredRow | None
    static: StoredRow | None


@dataclass(frozen=True, slots=True)
class Changes:
    """Consecutive changes of a space.

    Attributes:
        changes: in order of sequence.
        next: where reading goes on.
        at_end: nothing more is there now.
    """

    changes: Sequence[Change]
    next: int
    at_end: bool


# Declarations


class Declaration(msgspec.Struct, frozen=True):
    """A table as it is on record.

    Attributes:
        group, name: which.
        incarnation: of the table; another after it has been dropped and declared again.
        epoch: given by the store; rises with each change of the record, and no other record of the same store ever has the same.
        schema: as normalised, JSON.
        column_ids: of the columns that exist now.
        next_column_id: for the next column.
        domains: those that declared it, with the space of each. `*` means every domain of the group, also those not named here.
    """

    group: str
    name: str
    incarnation: int
    epoch: int
    schema: bytes
    column_ids: dict[str, ColumnId]
    next_column_id: int
    domains: dict[str, SpaceId]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a space or partition takes; what has expired counts until it is reclaimed.

    Attributes:
        rows: static rows are not counted.
        size_bytes: of keys and rows, static ones included, as `headwater.tables.rows.size_bytes` has it.
    """

    rows: int
    size_bytes: int

    def __add__(self, other: "Usage") -> "Usage":
        """What both take together."""
        return Usage(self.rows + other.rows, self.size_bytes + other.size_bytes)


NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class PartitionUsage:
    """What one partition takes."""

    partition: PartitionKey
    usage: Usage

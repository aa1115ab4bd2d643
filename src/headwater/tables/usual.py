"""The commonest requests, recognised in the bytes of their bodies: the read of one row by its whole key with all of its columns, and the
write of one without a condition. Pure.

Reading JSON strictly and planning what could be anything costs more than what is then done in the file. What is recognised here has the
outcome that `headwater.tables.planner` gives it, byte by byte; what is not, also what is to be refused, is left to that. Steps are written
out, since here a call costs as much as what it does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from headwater.kernel.errors import HeadwaterError
from headwater.tables.encoding import Encoder, encoder_of, string_key
from headwater.tables.model import FOREVER, ClusteringKey, Column, ColumnId, KeyedRow, Kind, PartitionKey, Put, Stored, StoredRow, Table
from headwater.tables.showing import RowShower
from headwater.tables.types import INT_MAX, Reader, converter_of

_EXACT: dict[Kind, Any] = {
    Kind.STRING: str,
    Kind.INT: Annotated[int, msgspec.Meta(ge=-INT_MAX - 1, le=INT_MAX)],
    Kind.BOOLEAN: bool,
}
"""What the decoder checks as the column does, so that it is stored, and of keys shown, as it came."""
_LONG = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]  # beyond that `headwater.http.json` reads floats
_SCALAR: Any = str | _LONG | float | bool
_NO_SCALARS = (Kind.BLOB, Kind.JSON)
_NO_ROWS = b'{"items":[]}'
_NO_CELLS: Mapping[ColumnId, Stored] = {}
_encode = msgspec.json.Encoder().encode
_UNUSUAL = (msgspec.MsgspecError, HeadwaterError, ValueError, TypeError, OverflowError)
"""What reading a body may raise; then it is left to the planner, which says what is wrong."""


class _Body(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    attributes: Any
    table: str | UnsetType = UNSET


class _BodyReader:
    """Reads bodies that have the attributes of one table's columns, each once, perhaps its name, and nothing else.

    A member that was dropped for another of its name is found as `headwater.http.json.parse` finds it: by the colons. Where one is escaped
    that cannot be told.
    """

    def __init__(self, table: Table, columns: Sequence[Column], optional: Sequence[Column] = ()) -> None:
        fields: list[Any] = [(f"c{column.id}", _type_of(column)) for column in columns]
        fields += [(f"c{column.id}", _type_of(column) | None | UnsetType, UNSET) for column in optional]
        names = {f"c{column.id}": column.name for column in (*columns, *optional)}
        shape = msgspec.defstruct("_Attributes", fields, rename=names, gc=False, forbid_unknown_fields=True)
        body = msgspec.defstruct("_BodyOfTable", [("attributes", shape)], bases=(_Body,), gc=False, forbid_unknown_fields=True)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
        self._table_name = table.name
        self._colons_of_table = 1 + table.name.count(":")
        self._colons_of = [1 + column.name.count(":") for column in (*columns, *optional)]
        self._colons = 1 + sum(self._colons_of)

    def read(self, raw: bytes) -> tuple[Any, ...]:
        """The value of each column, UNSET where the body does not name it. Raises what is in `_UNUSUAL`."""
        body: _Body = self._decode(raw)
        values = astuple(body.attributes)
        colons = self._colons
        if body.table is not UNSET:
            if body.table != self._table_name:
                raise ValueError
            colons += self._colons_of_table
        for place, value in enumerate(values):
            if type(value) is str:
                if ":" in value:  # which is found faster than it is counted
                    colons += value.count(":")
            elif value is UNSET:
                colons -= self._colons_of[place]
        if raw.count(b":") != colons or (b"\\" in raw and b"\\u003" in raw):
            raise ValueError
        return values


class _KeyMaker:
    """Makes the keys of one table's rows of values in the order of their columns."""

    def __init__(self, table: Table, *, key_bytes_max: int) -> None:
        places = {column.name: place for place, column in enumerate((*table.hashes, *table.ranges))}
        self._hashes = [_key_part(places[column.name], column) for column in table.hashes]
        self._ranges = [_key_part(places[column.name], column) for column in table.ranges]
        self._is_text = len(table.hashes) == 1 and table.hashes[0].type.kind is Kind.STRING
        self._key_bytes_max = key_bytes_max

    def make(self, values: tuple[Any, ...]) -> tuple[PartitionKey, ClusteringKey]:
        """The partition key and the clustering key. Raises what is in `_UNUSUAL`."""
        if self._is_text:
            partition = string_key(values[0])
        else:
            partition = b"".join([encode(convert(values[place])) for place, convert, encode in self._hashes])
        clustering = b""
        if self._ranges:
            clustering = b"".join([encode(convert(values[place])) for place, convert, encode in self._ranges])
        if len(partition) > self._key_bytes_max or len(clustering) > self._key_bytes_max:
            raise ValueError
        return PartitionKey(partition), ClusteringKey(clustering)


class Point(msgspec.Struct, frozen=True, gc=False):
    """A row by its whole key, and the values of its key columns as they were given."""

    partition: PartitionKey
    clustering: ClusteringKey
    given: tuple[Any, ...]


class UsualRequests:
    """Recognises the commonest requests for one table without static columns.

    Attributes:
        takes_writes: whether it can recognise a write of the whole row.

    Raises ValueError where it is made: a column has a name that the decoder cannot know.
    """

    def __init__(self, table: Table, shower: RowShower, *, key_bytes_max: int, row_bytes_max: int) -> None:
        assert not table.statics, "a point read would need two rows"
        keys = (*table.hashes, *table.ranges)
        self._read_body = _BodyReader(table, keys).read
        self._read_write = _BodyReader(table, keys, table.regulars).read
        self._make_key = _KeyMaker(table, key_bytes_max=key_bytes_max).make
        self._shower = shower
        self._key_names = [column.name for column in keys] if all(column.type.kind in _EXACT for column in keys) else None
        self._ids = [column.id for column in table.regulars]
        self._converted = [
            (column.id, converter_of(column.type)) for column in table.regulars if column.type.is_set or column.type.kind not in _EXACT
        ]
        self.takes_writes = not any(column.type.is_set or column.type.kind in _NO_SCALARS for column in table.regulars)
        self._key_count = len(keys)
        self._default_ttl_s = table.options.default_ttl_s
        self._row_bytes_max = row_bytes_max

    def find_read(self, raw: bytes) -> Point | None:
        """The row that a query asks for; None: it may ask for anything."""
        try:
            values = self._read_body(raw)
            partition, clustering = self._make_key(values)
        except _UNUSUAL:
            return None
        return Point(partition, clustering, values)

    def show(self, point: Point, row: StoredRow | None, *, now_s: int) -> bytes:
        """The answer of a query that found this live row, or none."""
        if row is None:
            return _NO_ROWS
        if self._key_names is None:
            return _encode({"items": self._shower.show(point.partition, (KeyedRow(point.clustering, row, None),), now_s=now_s)})
        return _encode({"items": (self._shower.show_point(zip(self._key_names, point.given, strict=True), row),)})

    def find_write(self, raw: bytes, *, now_s: int) -> tuple[PartitionKey, Put] | None:
        """The write that a body asks for; None: it may ask for anything."""
        if len(raw) > self._row_bytes_max:  # in what is shorter no value is too long
            return None
        try:
            values = self._read_write(raw)
            partition, clustering = self._make_key(values)
            cells: dict[ColumnId, Any] = dict(zip(self._ids, values[self._key_count :], strict=True))
            if UNSET in values:
                cells = {id: value for id, value in cells.items() if value is not UNSET}
            for id, convert in self._converted:
                value = cells.get(id)
                if value is not None:
                    cells[id] = convert(value)
        except _UNUSUAL:
            return None
        marker = [*cells.values()].count(None) == len(cells)  # as an INSERT has it, where nothing else is written
        expires_s = now_s + self._default_ttl_s if self._default_ttl_s else FOREVER
        return partition, Put(clustering, cells, _NO_CELLS, marker, expires_s)


def _type_of(column: Column) -> Any:
    return _SCALAR if column.type.is_set else _EXACT.get(column.type.kind, _SCALAR)


def _key_part(place: int, column: Column) -> tuple[int, Reader, Encoder]:
    return place, converter_of(column.type), encoder_of(column)

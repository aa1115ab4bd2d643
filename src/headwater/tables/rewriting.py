"""Rows as the writes that make them again: what an export holds, so that an import is nothing but writes. Pure.

One write is not enough for every row. What expires at different times was written by different writes, the row marker by one of its own,
and static columns belong to the partition. So a row is as many writes as it has expiries, in any order. Each says its `_ttl`, 0 where it
never expires, so that the default of another table changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence

from headwater.tables.model import FOREVER, Cell, ColumnId, KeyedRow, PartitionKey, Role, Table
from headwater.tables.showing import Item, RowShower
from headwater.tables.types import Shower, shower_of

TTL = "_ttl"
_Shown = Mapping[ColumnId, tuple[str, Shower]]


class RowWrites:
    """The writes of rows of one table, as `attributes` of `PUT …/rows`."""

    def __init__(self, table: Table) -> None:
        hashes = [column.name for column in table.hashes]
        self._partition = RowShower(table, hashes)
        self._key = RowShower(table, [*hashes, *(column.name for column in table.ranges)])
        self._statics = _shown(table, Role.STATIC)
        self._regulars = _shown(table, Role.REGULAR)

    def of(self, rows: Sequence[tuple[PartitionKey, KeyedRow]], now_s: int) -> list[Item]:
        """The writes of live rows; those of static columns come before the first of the rows of their partition."""
        writes: list[Item] = []
        last: PartitionKey | None = None
        for partition, row in rows:
            if partition != last and row.static is not None:
                key = self._partition.show(partition, (row,), now_s=now_s)[0]
                writes += ({**key, **cells} for cells in _by_expiry(row.static.cells, self._statics, now_s))
            last = partition
            if row.row is not None:
                key = self._key.show(partition, (row,), now_s=now_s)[0]
                if row.row.marker_expires_s is not None:
                    writes.append({**key, TTL: _left_s(row.row.marker_expires_s, now_s)})
                writes += ({**key, **cells} for cells in _by_expiry(row.row.cells, self._regulars, now_s))
        return writes


def _shown(table: Table, role: Role) -> _Shown:
    return {column.id: (column.name, shower_of(column.type)) for column in table.by_name.values() if column.role is role}


def _by_expiry(cells: Mapping[ColumnId, Cell], shown: _Shown, now_s: int) -> Iterator[Item]:
    """The cells of columns that there are, those that expire together in one write. What a dropped column left stays behind."""
    groups: dict[int, Item] = {}
    for id_, cell in cells.items():
        if id_ in shown:
            name, show = shown[id_]
            groups.setdefault(cell.expires_s, {})[name] = show(cell.value)
    for expires_s, group in groups.items():
        yield {**group, TTL: _left_s(expires_s, now_s)}


def _left_s(expires_s: int, now_s: int) -> int:
    return 0 if expires_s == FOREVER else expires_s - now_s

"""Rows as the JSON objects of answers: every column asked for, null where there is nothing. Pure.

Columns come in the order in which they came to the table: those of its index, then the others, then what migrations added.
What has expired is null. `_ttl` is the longest time that any cell asked for has left, of those that expire; keys and sets do not count, as
in RESTBase; null where there is none. `_revision` is that of the row, 16 hexadecimal digits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from headwater.tables.encoding import decoder_of
from headwater.tables.model import FOREVER, Cell, Column, ColumnId, KeyedRow, PartitionKey, Revision, Role, StoredRow, Table
from headwater.tables.types import Shower, direct_shower_of

TTL, REVISION = "_ttl", "_revision"
Item = dict[str, object]


def revision_text(revision: Revision) -> str:
    """A revision as it stands in answers, entity tags and conditions."""
    return f"{revision:016x}"


class RowShower:
    """Shows rows of one table with some of its columns.

    Args:
        table: whose rows.
        names: of the columns to be shown; None: all.
        with_ttl, with_revision: whether to add those.

    Attributes:
        has_statics: whether a static column is shown.
    """

    def __init__(self, table: Table, names: Sequence[str] | None = None, *, with_ttl: bool = False, with_revision: bool = False) -> None:
        shown = [table.by_name[name] for name in names] if names is not None else list(table.by_name.values())
        shown.sort(key=lambda column: column.id)
        self.has_statics = any(column.role is Role.STATIC for column in shown)
        self._hashes = _KeyShower(table.hashes, shown)
        self._ranges = _KeyShower(table.ranges, shown)
        self._cells = [_cell_plan(column) for column in shown if column.role is Role.REGULAR]
        self._statics = [_cell_plan(column) for column in shown if column.role is Role.STATIC]
        self._with_ttl = with_ttl
        self._with_revision = with_revision
        self._empty: Item = dict.fromkeys(column.name for column in shown)

    def show_point(self, keys: Iterable[tuple[str, object]], row: StoredRow) -> Item:
        """A live row whose key columns, all of them shown, are known as they are shown; else as `show`, without static columns."""
        item = self._empty.copy()
        item.update(keys)
        cells = row.cells
        for id_, name, show, _ in self._cells:
            cell = cells.get(id_)
            if cell is not None:
                item[name] = cell.value if show is None else show(cell.value)
        return item

    def show(self, partition: PartitionKey, rows: Sequence[KeyedRow], *, now_s: int) -> list[Item]:
        """Live rows of one partition, each as an object that `msgspec.json.encode` writes as it is to be."""
        if not rows:
            return []
        empty = self._empty.copy()
        self._hashes.show(partition, empty)
        show_clustering = self._ranges.show if self._ranges.is_shown else None
        items = []
        for row in rows:
            item = empty.copy()
            if show_clustering is not None and row.clustering is not None:
                show_clustering(row.clustering, item)
            stored = row.row
            if stored is not None:
                _show_cells(self._cells, stored.cells, item, now_s)
            if self._statics and row.static is not None:
                _show_cells(self._statics, row.static.cells, item, now_s)
            if self._with_ttl:
                item[TTL] = self._ttl_s(row, now_s)
            if self._with_revision:
                item[REVISION] = _revision_of(row)
            items.append(item)
        return items

    def _ttl_s(self, row: KeyedRow, now_s: int) -> int | None:
        ends = [*_ends(self._cells, row.row, now_s), *_ends(self._statics, row.static, now_s)]
        return max(ends) - now_s if ends else None


_CellPlan = tuple[ColumnId, str, Shower | None, bool]
"""Id, name, shower, and whether it is a set."""


class _KeyShower:
    def __init__(self, columns: Sequence[Column], shown: Sequence[Column]) -> None:
        kept = max((place + 1 for place, column in enumerate(columns) if column in shown), default=0)
        self._decode: Callable[[bytes], list[Any]] = decoder_of(columns[:kept])
        self._plans = [(column.name, direct_shower_of(column.type), column in shown) for column in columns[:kept]]
        self.is_shown = kept > 0

    def show(self, key: bytes, item: Item) -> None:
        for (name, show, is_shown), value in zip(self._plans, self._decode(key), strict=True):
            if is_shown:
                item[name] = value if show is None else show(value)


def _cell_plan(column: Column) -> _CellPlan:
    return column.id, column.name, direct_shower_of(column.type), column.type.is_set


def _show_cells(plans: Sequence[_CellPlan], cells: Mapping[ColumnId, Cell], item: Item, now_s: int) -> None:
    for id_, name, show, _ in plans:
        cell = cells.get(id_)
        if cell is not None and (cell.expires_s == FOREVER or now_s < cell.expires_s):
            value: Any = cell.value
            item[name] = value if show is None else show(value)


def _ends(plans: Sequence[_CellPlan], row: StoredRow | None, now_s: int) -> list[int]:
    """When what is shown of a row expires, sets aside."""
    if row is None:
        return []
    cells = [row.cells.get(id_) for id_, _, _, is_set in plans if not is_set]
    return [cell.expires_s for cell in cells if cell is not None and cell.expires_s != FOREVER and now_s < cell.expires_s]


def _revision_of(row: KeyedRow) -> str | None:
    stored = row.row if row.row is not None else row.static
    return None if stored is None else revision_text(stored.revision)

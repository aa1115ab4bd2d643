"""From the body of a write to what is written of one row, as CQL allows it and not otherwise. Pure.

A row takes its whole key. Without range columns only static columns can be written. What is not named keeps its value, null clears. Where
no regular column gets a value, or the write is `if: not exists`, it acts as CQL's INSERT, which leaves a row marker; otherwise as UPDATE,
which leaves none, as RESTBase does.
"""

from collections.abc import Mapping

from headwater.kernel.errors import InvalidInput, TooLarge
from headwater.tables.column_plans import ColumnPlan, refuse_unknown
from headwater.tables.conditions import ConditionPlanner, header_of
from headwater.tables.errors import WrongType
from headwater.tables.model import (
    FOREVER,
    TTL_MAX_S,
    ClusteringKey,
    ColumnId,
    Condition,
    Kind,
    PartitionKey,
    Put,
    Remove,
    Role,
    Stored,
    Table,
)
from headwater.tables.slices import KeyPlanner

TTL = "_ttl"
_LONG_KINDS = (Kind.STRING, Kind.BLOB, Kind.JSON)
_EMPTY: Mapping[ColumnId, Stored] = {}


class RowPlanner:
    """Writes of single rows of one table."""

    def __init__(self, plans: Mapping[str, ColumnPlan], keys: KeyPlanner, *, table: Table, row_bytes_max: int) -> None:
        self._table = table
        self._keys = keys
        self._conditions = ConditionPlanner(plans, keys, table=table)
        self._key_names = frozenset(column.name for column in (*table.hashes, *table.ranges))
        self._ranges = tuple(column.name for column in table.ranges)
        self._statics = {name: (plan.id, plan.read) for name, plan in plans.items() if plan.column.role is Role.STATIC}
        self._regulars = {name: (plan.id, plan.read) for name, plan in plans.items() if plan.column.role is Role.REGULAR}
        self._long = frozenset(plan.id for plan in plans.values() if plan.column.type.kind in _LONG_KINDS and not plan.column.type.is_set)
        self._row_bytes_max = row_bytes_max

    def put(self, body: Mapping[str, object], given: Condition | None, *, now_s: int) -> tuple[PartitionKey, Put]:
        """The partition of a row, and what is written of it.

        Raises:
            InvalidInput: a key is missing, a column unknown, a condition or `_ttl` breaks a rule; names the column.
            WrongType: a value is not of its column's type.
            TooLarge: a key or a value is too long.
        """
        attributes = attributes_of(body)
        partition = self._keys.partition_of(attributes)
        cells, statics, named = self._read(attributes)
        alone = named == 0 and bool(statics) and bool(self._ranges) and not cells
        clustering: ClusteringKey | None = None if alone else self._keys.clustering_of(attributes)
        condition = self._conditions.of_write(body, given, partition, clustering)
        inserts = all(value is None for value in cells.values()) or (condition is not None and condition.exists is False)
        return partition, Put(clustering, cells, statics, inserts and not alone, self._expires_s(attributes, now_s), condition)

    def remove(self, body: Mapping[str, object], given: Condition | None) -> tuple[PartitionKey, Remove]:
        """The partition of a row that is named by its whole key, and its removal. Raises as `put`."""
        attributes = attributes_of(body)
        for name in attributes.keys() - self._key_names:
            raise refuse_unknown(name) if name not in self._table.by_name else InvalidInput("a delete names keys only", where=name)
        partition, clustering = self._keys.partition_of(attributes), self._keys.clustering_of(attributes)
        return partition, self.removal(body, given, partition, clustering)

    def removal(self, body: Mapping[str, object], given: Condition | None, partition: PartitionKey, clustering: ClusteringKey) -> Remove:
        """The removal of a row under everything that has to hold for it; raises as `put`."""
        condition = self._conditions.of_write(body, given, partition, clustering)
        if condition is not None and condition.exists is False:
            raise InvalidInput("a row that does not exist cannot be deleted", where="if" if "if" in body else header_of(given))
        return Remove(clustering, condition)

    def _read(self, attributes: Mapping[str, object]) -> tuple[dict[ColumnId, Stored], Mapping[ColumnId, Stored], int]:
        """Regular cells, static cells, and how many range columns are named."""
        cells: dict[ColumnId, Stored] = {}
        rest: list[str] | None = None
        regulars = self._regulars
        for name, value in attributes.items():
            found = regulars.get(name)
            if found is not None:
                cells[found[0]] = None if value is None else found[1](value)
            elif name not in self._key_names and name != TTL:
                rest = rest or []
                rest.append(name)
        statics = _EMPTY if rest is None else self._read_statics(rest, attributes)
        self._refuse_long(cells)
        if not self._ranges:
            return cells, statics, 0
        return cells, statics, sum(name in attributes for name in self._ranges)

    def _read_statics(self, names: list[str], attributes: Mapping[str, object]) -> Mapping[ColumnId, Stored]:
        cells: dict[ColumnId, Stored] = {}
        for name in names:
            found = self._statics.get(name)
            if found is None:
                raise refuse_unknown(name)
            value = attributes[name]
            cells[found[0]] = None if value is None else found[1](value)
        self._refuse_long(cells)
        return cells

    def _refuse_long(self, cells: Mapping[ColumnId, Stored]) -> None:
        """A value that no row has room for; what the row takes as a whole is known only where it is stored."""
        most = self._row_bytes_max
        for id_, value in cells.items():
            if id_ in self._long and value is not None and len(value) > most:  # type: ignore[arg-type]
                raise TooLarge(f"a row has at most {most} bytes, as stored", where=self._table.by_id[id_].name)

    def _expires_s(self, attributes: Mapping[str, object], now_s: int) -> int:
        given = attributes.get(TTL)
        if given is None:  # as `withTTL` shows what never expires; what a query answered can be written again
            ttl_s = self._table.options.default_ttl_s
        elif type(given) is not int:
            raise WrongType("_ttl is an integer of seconds", where=TTL)
        elif not 0 <= given <= TTL_MAX_S:
            raise InvalidInput(f"_ttl is 0 to {TTL_MAX_S} seconds, 0 being none", where=TTL)
        else:
            ttl_s = given
        return now_s + ttl_s if ttl_s else FOREVER


def attributes_of(body: Mapping[str, object]) -> Mapping[str, object]:
    """What a body names by column. Raises InvalidInput: that is no object."""
    attributes = body.get("attributes")
    if type(attributes) is not dict:
        raise InvalidInput("attributes is an object of columns", where="attributes")
    return attributes

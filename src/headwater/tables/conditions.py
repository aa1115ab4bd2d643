"""What has to hold for a write: `if` of a body, joined with what the caller's headers ask for. Pure.

What `if` says of key columns is decided here, since the write names its keys: it holds, or nothing can make it hold.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.kernel.errors import InvalidInput
from headwater.tables.column_plans import ColumnPlan, Comparison, refuse_unknown
from headwater.tables.model import ClusteringKey, Condition, Discipline, Operator, PartitionKey, Predicate, Revision, Role, Stored, Table
from headwater.tables.slices import KeyPlanner

IMPOSSIBLE = Condition(revision=Revision(0))
"""Holds of no row, since none ever has that revision; the write is refused with the row that is there."""

_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: lambda value, operands: value == operands[0],
    Operator.LT: lambda value, operands: value < operands[0],
    Operator.GT: lambda value, operands: value > operands[0],
    Operator.LE: lambda value, operands: value <= operands[0],
    Operator.GE: lambda value, operands: value >= operands[0],
    Operator.BETWEEN: lambda value, operands: operands[0] <= value <= operands[1],
}


class ConditionPlanner:
    """The conditions of writes to one table."""

    def __init__(self, plans: Mapping[str, ColumnPlan], keys: KeyPlanner, *, table: Table) -> None:
        self._plans = plans
        self._keys = keys
        self._is_plain = table.options.writes is Discipline.PLAIN

    def of_write(
        self, body: Mapping[str, object], given: Condition | None, partition: PartitionKey, clustering: ClusteringKey | None
    ) -> Condition | None:
        """Everything that has to hold for a write; None: nothing.

        Args:
            body: with `if` or without.
            given: what the caller's headers ask for.
            partition, clustering: of the row that is written.

        Raises:
            InvalidInput: the table is one of plain writes, or a condition breaks a rule; names the column.
            WrongType: a value is not of its column's type.
        """
        if "if" not in body and given is None:
            return None
        if self._is_plain:
            raise InvalidInput(
                "the table keeps plain writes, which take no condition; declare another one with writes: conditional",
                where="if" if "if" in body else header_of(given),
            )
        return given if "if" not in body else _joined(self._read(body["if"], partition, clustering), given)

    def _read(self, condition: object, partition: PartitionKey, clustering: ClusteringKey | None) -> Condition:
        if isinstance(condition, str):
            if condition.lower().split() != ["not", "exists"]:
                raise InvalidInput("if is 'not exists' or an object of columns", where="if")
            return Condition(exists=False)
        if not isinstance(condition, dict) or not condition:
            raise InvalidInput("if is 'not exists' or an object of columns, at least one", where="if")
        predicates: list[Predicate] = []
        of_keys: list[tuple[ColumnPlan, Sequence[Comparison]]] = []
        for name, value in condition.items():
            plan = self._plans.get(name)
            if plan is None:
                raise refuse_unknown(name)
            comparisons = plan.comparisons(value)
            if plan.column.role in (Role.HASH, Role.RANGE):
                of_keys.append((plan, comparisons))
            else:
                predicates += [Predicate(plan.column, operator, operands) for operator, operands in comparisons]
        if of_keys and not _hold(of_keys, self._keys.values_of(partition, clustering)):
            return IMPOSSIBLE
        return Condition(predicates=tuple(predicates))


def header_of(given: Condition | None) -> str:
    """The header that asked for a condition."""
    return "if-none-match" if given is not None and given.exists is False else "if-match"


def _hold(of_keys: Sequence[tuple[ColumnPlan, Sequence[Comparison]]], keys: Mapping[str, Stored]) -> bool:
    for plan, comparisons in of_keys:
        if plan.name not in keys:
            raise InvalidInput("a write of nothing but static columns has no such value", where=plan.name)
        value = plan.order(keys[plan.name])
        for operator, operands in comparisons:
            if None in operands or not _COMPARE[operator](value, [plan.order(operand) for operand in operands]):
                return False
    return True


def _joined(one: Condition, other: Condition | None) -> Condition:
    if other is None or one is IMPOSSIBLE:
        return one
    if one.exists is False and (other.exists is True or other.revision is not None):
        return IMPOSSIBLE
    exists = one.exists if other.exists is None else other.exists
    return Condition(exists, other.revision, one.predicates + other.predicates)

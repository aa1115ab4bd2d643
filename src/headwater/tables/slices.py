"""From comparisons of key columns to consecutive rows of one partition, as CQL allows them and not otherwise. Pure.

Every hash column is given, with equality. Range columns are given in their order without a gap: some with equality, then at most one with
bounds, then none. Bounds that contradict each other select nothing; that is no error.
"""

from collections.abc import Mapping, Sequence

import msgspec

from headwater.kernel.errors import InvalidInput, TooLarge
from headwater.tables.column_plans import ColumnPlan, Comparison, refuse_unknown
from headwater.tables.encoding import after_prefix, decoder_of
from headwater.tables.model import ClusteringKey, Operator, PartitionKey, Stored, Table

_BOUNDS: dict[Operator, tuple[tuple[int, bool, bool], ...]] = {
    Operator.GE: ((0, True, True),),
    Operator.GT: ((0, True, False),),
    Operator.LE: ((0, False, True),),
    Operator.LT: ((0, False, False),),
    Operator.BETWEEN: ((0, True, True), (1, False, True)),
}
"""Per operator: which operand is a bound, whether it is a least value, and whether it is itself within."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """Consecutive rows: see the attributes of `headwater.tables.model.Slice`.

    Attributes:
        equal: how many range columns are restricted by equality.
    """

    partition: PartitionKey
    lower: ClusteringKey
    upper: ClusteringKey | None
    equal: int
    point: bool = False
    whole: bool = False


class KeyPlanner:
    """The keys of one table.

    Attributes:
        key_bytes_max: the most that a partition key or a clustering key may have.
    """

    def __init__(self, hashes: Sequence[ColumnPlan], ranges: Sequence[ColumnPlan], *, table: Table, key_bytes_max: int) -> None:
        self._hashes = tuple(hashes)
        self._ranges = tuple(ranges)
        self._table = table
        self.key_bytes_max = key_bytes_max
        self._names = frozenset(plan.name for plan in (*hashes, *ranges))
        self._decode_partition = decoder_of(table.hashes)
        self._decode_clustering = decoder_of(table.ranges)

    # Whole keys, of values

    def partition_of(self, attributes: Mapping[str, object]) -> PartitionKey:
        """The partition that a row with these values is in.

        Raises:
            InvalidInput: a hash column is missing or null.
            WrongType, TooLarge.
        """
        return PartitionKey(self._key(self._hashes, attributes))

    def clustering_of(self, attributes: Mapping[str, object]) -> ClusteringKey:
        """The place of a row in its partition. Raises as `partition_of`."""
        return ClusteringKey(self._key(self._ranges, attributes)) if self._ranges else ClusteringKey(b"")

    def _key(self, plans: tuple[ColumnPlan, ...], attributes: Mapping[str, object]) -> bytes:
        try:
            if len(plans) == 1:
                key = plans[0].key_of(attributes[plans[0].name])
            else:
                key = b"".join([plan.key_of(attributes[plan.name]) for plan in plans])
        except KeyError:
            missing = next(plan for plan in plans if plan.name not in attributes)
            raise self._missing(missing) from None
        if len(key) > self.key_bytes_max:
            raise self._too_large(plans, [plan.key_of(attributes[plan.name]) for plan in plans])
        return key

    def values_of(self, partition: PartitionKey, clustering: ClusteringKey | None) -> dict[str, Stored]:
        """What keys were made of, by column."""
        values = {plan.name: value for plan, value in zip(self._hashes, self._decode_partition(partition), strict=True)}
        if clustering is not None:
            values |= {plan.name: value for plan, value in zip(self._ranges, self._decode_clustering(clustering), strict=True)}
        return values

    # Spans, of comparisons

    def span_of(self, attributes: Mapping[str, object]) -> Span:
        """The rows that a read or a delete selects.

        Raises:
            InvalidInput: CQL would refuse it; names the column.
            WrongType, TooLarge.
        """
        if self._names == attributes.keys() and all(type(value) is not dict for value in attributes.values()):
            partition = PartitionKey(self._key(self._hashes, attributes))
            lower = self._key(self._ranges, attributes) if self._ranges else b""
            return _point(partition, lower, len(self._ranges))
        for name in attributes.keys() - self._names:
            raise self._no_key(name)
        return self._clustering_span(self._partition_compared(attributes), attributes)

    def _partition_compared(self, attributes: Mapping[str, object]) -> PartitionKey:
        parts = []
        for plan in self._hashes:
            if plan.name not in attributes:
                raise self._missing(plan)
            comparisons = plan.comparisons(attributes[plan.name])
            if len(comparisons) > 1 or comparisons[0][0] is not Operator.EQ:
                raise InvalidInput(f"{plan.name} is a hash column, which is compared with eq and only once", where=plan.name)
            parts.append(_encoded(plan, comparisons[0]))
        key = b"".join(parts)
        if len(key) > self.key_bytes_max:
            raise self._too_large(self._hashes, parts)
        return PartitionKey(key)

    def _clustering_span(self, partition: PartitionKey, attributes: Mapping[str, object]) -> Span:
        parts: list[bytes] = []
        for place, plan in enumerate(self._ranges):
            if plan.name not in attributes:
                self._refuse_later(place, attributes, "a read or delete that restricts it has to restrict {} too")
                break
            comparisons = plan.comparisons(attributes[plan.name])
            if all(operator is not Operator.EQ for operator, _ in comparisons):
                self._refuse_later(place, attributes, "nothing after {} can be restricted, since that is not restricted by equality")
                return self._bounded(partition, b"".join(parts), plan, comparisons)
            if len(comparisons) > 1:
                raise InvalidInput(f"{plan.name} is restricted by equality and something else at once", where=plan.name)
            parts.append(_encoded(plan, comparisons[0]))
            if sum(map(len, parts)) > self.key_bytes_max:
                raise self._too_large(self._ranges, parts)
        else:
            return _point(partition, b"".join(parts), len(parts))
        prefix = b"".join(parts)
        upper = after_prefix(prefix)
        return Span(partition, ClusteringKey(prefix), None if upper is None else ClusteringKey(upper), len(parts), whole=not parts)

    def _bounded(self, partition: PartitionKey, prefix: bytes, plan: ColumnPlan, comparisons: Sequence[Comparison]) -> Span:
        lower: bytes = prefix
        upper = after_prefix(prefix)
        for operator, operands in comparisons:
            for place, is_least, inclusive in _BOUNDS[operator]:
                key = prefix + plan.encode(operands[place])
                if len(key) > self.key_bytes_max:
                    raise TooLarge(f"a clustering key has at most {self.key_bytes_max} bytes", where=plan.name)
                is_lower = is_least != plan.column.descending
                edge = key if inclusive == is_lower else after_prefix(key)
                if is_lower:
                    lower = max(lower, b"" if edge is None else edge)
                    if edge is None:
                        return _nothing(partition)
                elif edge is not None:
                    upper = edge if upper is None else min(upper, edge)
        if upper is not None and lower >= upper:
            return _nothing(partition)
        equal = next(i for i, other in enumerate(self._ranges) if other is plan)
        return Span(partition, ClusteringKey(lower), None if upper is None else ClusteringKey(upper), equal)

    # Order

    def is_backwards(self, order: object, span: Span) -> bool:
        """Whether `order` asks for the reverse of the declared one.

        As in CQL: the range columns that it names come first, those restricted by equality aside, and all of them as declared or all
        reversed.

        Raises:
            InvalidInput: an order that is neither; names the column.
        """
        if type(order) is not dict:
            raise InvalidInput("order is an object of range columns, each asc or desc", where="order")
        places = {plan.name: place for place, plan in enumerate(self._ranges)}
        reversed_: set[bool] = set()
        for name in sorted(order, key=lambda name: places.get(name, -1)):
            if name not in places:
                raise (
                    refuse_unknown(name)
                    if name not in self._table.by_name
                    else InvalidInput("only range columns have an order", where=name)
                )
            if order[name] not in ("asc", "desc"):
                raise InvalidInput("an order is asc or desc", where=name)
            skipped = next((p.name for p in self._ranges[span.equal : places[name]] if p.name not in order), None)
            if skipped is not None:
                raise InvalidInput(f"an order by it has to name {skipped} too, which comes before it", where=name)
            reversed_.add((order[name] == "desc") != self._ranges[places[name]].column.descending)
            if len(reversed_) > 1:
                raise InvalidInput("an order is the declared one or its reverse in every column that it names", where=name)
        return True in reversed_

    # Refusals

    def _missing(self, plan: ColumnPlan) -> InvalidInput:
        if plan in self._hashes:
            return InvalidInput(f"the hash column {plan.name} is missing; every request names one partition", where=plan.name)
        return InvalidInput(f"the range column {plan.name} is missing", where=plan.name)

    def _no_key(self, name: str) -> InvalidInput:
        if name not in self._table.by_name:
            return refuse_unknown(name)
        return InvalidInput(
            "rows are selected by hash and range columns only; a table with other keys can be fed from the changes", where=name
        )

    def _refuse_later(self, place: int, attributes: Mapping[str, object], why: str) -> None:
        for plan in self._ranges[place + 1 :]:
            if plan.name in attributes:
                raise InvalidInput(why.format(self._ranges[place].name), where=plan.name)

    def _too_large(self, plans: Sequence[ColumnPlan], parts: Sequence[bytes]) -> TooLarge:
        what = "partition" if plans is self._hashes else "clustering"
        longest = max(zip(parts, plans, strict=False), key=lambda pair: len(pair[0]))[1]
        return TooLarge(f"a {what} key has at most {self.key_bytes_max} bytes", where=longest.name)


def _point(partition: PartitionKey, lower: bytes, equal: int) -> Span:
    # No key is the beginning of another, so nothing else lies below that upper end.
    return Span(partition, ClusteringKey(lower), ClusteringKey(lower + b"\0"), equal, point=True)


def _nothing(partition: PartitionKey) -> Span:
    return Span(partition, ClusteringKey(b""), ClusteringKey(b""), 0)


def _encoded(plan: ColumnPlan, equality: Comparison) -> bytes:
    (value,) = equality[1]
    if value is None:
        raise InvalidInput(f"{plan.name} is a key, and a key is never null", where=plan.name)
    return plan.encode(value)

"""A column with everything that its type asks for, made once per table; and comparisons with its values as clients write them. Pure.

A comparison is a bare value, which means equality, or an object of operators, in any case of letters: `{"ge": 1, "lt": 5}`. All have to
hold. An object that has only operators as its keys is always read so. Otherwise a bare object is a value only of a blob; one of a json
column has to be wrapped, since what it means would depend on its keys: `{"eq": {…}}`.
"""

from collections.abc import Sequence

from headwater.kernel.errors import InvalidInput
from headwater.tables.encoding import Encoder, encoder_of
from headwater.tables.model import Column, ColumnId, Kind, Operator, Role, Stored
from headwater.tables.types import Order, Reader, order_of, reader_of

NAME_SHOWN_MAX = 100
"""Characters of a name in an error; a longer one is no column's."""
_OPERATORS = {operator.value: operator for operator in Operator}
_NAMES = ", ".join(_OPERATORS)

Comparison = tuple[Operator, tuple[Stored, ...]]


class ColumnPlan:
    """A column, compiled.

    Attributes:
        column, name, id: which.
        read: JSON, null excepted, to stored form; raises WrongType.
        order: stored form to what compares.
        encode: stored form to key. Only of keys.
    """

    __slots__ = ("column", "encode", "id", "name", "order", "read")

    def __init__(self, column: Column) -> None:
        self.column = column
        self.name: str = column.name
        self.id: ColumnId = column.id
        self.read: Reader = reader_of(column.type, where=column.name)
        self.order: Order = order_of(column.type)
        self.encode: Encoder = encoder_of(column) if column.role in (Role.HASH, Role.RANGE) else _no_key

    def key_of(self, value: object) -> bytes:
        """The key of a JSON value. Raises InvalidInput: null; WrongType."""
        if value is None:
            raise InvalidInput(f"{self.name} is a key, and a key is never null", where=self.name)
        return self.encode(self.read(value))

    def comparisons(self, value: object) -> Sequence[Comparison]:
        """What a client compares the column with. Only equality takes null.

        Raises:
            InvalidInput: an operator that is none, or one that the type does not have.
            WrongType: a value is not of the column's type.
        """
        if type(value) is not dict:
            return [(Operator.EQ, (self._operand(value),))]
        operators = [_OPERATORS.get(name.lower()) for name in value]
        if not value or None in operators:
            return [(Operator.EQ, (self._bare_object(value),))]
        return [self._comparison(operator, operand) for operator, operand in zip(operators, value.values(), strict=True) if operator]

    def _comparison(self, operator: Operator, operand: object) -> Comparison:
        if operator is Operator.EQ:
            return operator, (self._operand(operand),)
        if self.column.type.is_set:
            raise InvalidInput(f"{self.name} is a set, which compares with eq only", where=self.name)
        operands = [operand]
        if operator is Operator.BETWEEN:
            if not isinstance(operand, list) or len(operand) != 2:
                raise InvalidInput(f"between takes an array of the least and the greatest value of {self.name}", where=self.name)
            operands = operand
        if None in operands:
            raise InvalidInput(f"{operator.value} compares {self.name} with null, which only eq does", where=self.name)
        return operator, tuple(map(self.read, operands))

    def _operand(self, value: object) -> Stored:
        return None if value is None else self.read(value)

    def _bare_object(self, value: dict[str, object]) -> Stored:
        kind = self.column.type.kind
        if kind is Kind.BLOB and "$base64" in value:
            return self.read(value)
        if kind is Kind.JSON and not self.column.type.is_set:
            raise InvalidInput(f'an object that {self.name} is to equal stands inside of {{"eq": …}}', where=self.name)
        raise InvalidInput(f"{self.name} is compared by objects of {_NAMES}", where=self.name)


def refuse_unknown(name: str) -> InvalidInput:
    """The refusal of a name that is no column's."""
    return InvalidInput("the table has no such column", where=name[:NAME_SHOWN_MAX])


def _no_key(value: object) -> bytes:
    raise AssertionError("only hash and range columns have keys")

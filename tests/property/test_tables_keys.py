"""Keys as bytes: whatever the columns and values, comparing keys is comparing values, and a slice is what its comparisons say."""

from datetime import datetime
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.tables_planning import SPACE, TOKENS, made, planned
from tests.unit.test_tables_types import stored_in_order, through_json

from headwater.tables.encoding import after_prefix, decode, decoder_of, encode, encode_all
from headwater.tables.model import Column, ColumnId, ColumnType, Kind, Role, Stored, Table
from headwater.tables.types import order_of, parse_type, reader_of, shower_of

EDGES = {Kind(name): values for name, values in stored_in_order()}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
UUID_TEXTS = st.uuids().map(str)
GIVEN: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.STRING: st.text(st.characters(codec="utf-8"), max_size=6) | st.text("\0\1a", max_size=4),
    Kind.INT: st.integers(-(2**31), 2**31 - 1),
    Kind.LONG: st.integers(-(2**63), 2**63 - 1).map(str),
    Kind.VARINT: (st.integers() | st.integers(-(10**60), 10**60)).map(str),
    Kind.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30).map(str)
    | st.builds("{}E{}".format, st.integers(-(10**20), 10**20), st.integers(-9000, 9000)),
    Kind.FLOAT: st.floats(width=32, allow_nan=False, allow_infinity=False),
    Kind.DOUBLE: FINITE,
    Kind.BOOLEAN: st.booleans(),
    Kind.TIMEUUID: UUID_TEXTS.map(lambda text: text[:14] + "1" + text[15:]),
    Kind.UUID: UUID_TEXTS | UUID_TEXTS.map(lambda text: text[:14] + "1" + text[15:]),
    Kind.TIMESTAMP: st.datetimes(datetime(1, 1, 1)).map(lambda at: at.isoformat(timespec="milliseconds") + "Z"),
    Kind.JSON: JSON_VALUES.filter(lambda value: value is not None),
}
BYTES = st.binary(max_size=6) | st.lists(st.sampled_from([0, 1, 254, 255]), max_size=4).map(bytes)


def values_of(kind: Kind) -> st.SearchStrategy[Any]:
    """Stored values of a type, its edges often."""
    read = reader_of(ColumnType(kind), where="c")
    drawn = BYTES if kind is Kind.BLOB else GIVEN[kind].map(read)
    return st.sampled_from(EDGES[kind]) | drawn


def column(kind: Kind, place: int, *, descending: bool) -> Column:
    return Column(f"c{place}", ColumnId(place), ColumnType(kind), Role.RANGE, descending)


@st.composite
def keyed(draw: st.DrawFn, rows: int) -> tuple[list[Column], list[list[Stored]]]:
    """Columns, and rows of values for them that often agree in a column."""
    kinds = draw(st.lists(st.sampled_from(Kind), min_size=1, max_size=3))
    columns = [column(kind, place, descending=draw(st.booleans())) for place, kind in enumerate(kinds)]
    first = [draw(values_of(kind)) for kind in kinds]
    others = [[draw(st.just(value) | values_of(kind)) for value, kind in zip(first, kinds, strict=True)] for _ in range(rows - 1)]
    return columns, [first, *others]


def compared(columns: list[Column], left: list[Stored], right: list[Stored]) -> int:
    """-1, 0 or 1 as the values of two rows compare, column by column."""
    for one, a, b in zip(columns, left, right, strict=True):
        order = order_of(one.type)
        x, y = order(a), order(b)
        if x != y:
            return -1 if (x < y) != one.descending else 1
    return 0


@given(keyed(rows=2))
def test_keys_compare_as_their_values(drawn: tuple[list[Column], list[list[Stored]]]) -> None:
    columns, (left, right) = drawn
    a, b = encode_all(columns, left), encode_all(columns, right)
    assert (a > b) - (a < b) == compared(columns, left, right)


@given(keyed(rows=2))
def test_no_key_is_the_beginning_of_another(drawn: tuple[list[Column], list[list[Stored]]]) -> None:
    columns, (left, right) = drawn
    a, b = encode_all(columns, left), encode_all(columns, right)
    assert a == b or not (a.startswith(b) or b.startswith(a))


@given(keyed(rows=1))
def test_a_key_comes_back_as_what_it_was_made_of(drawn: tuple[list[Column], list[list[Stored]]]) -> None:
    columns, (values,) = drawn
    key = encode_all(columns, values)
    back = decode(columns, key)
    assert compared(columns, back, values) == 0
    assert [type(value) for value in back] == [type(value) for value in values]
    assert encode_all(columns, back) == key
    for one, value in zip(columns, back, strict=True):  # and it can be shown and given again
        assert reader_of(one.type, where="c")(through_json(shower_of(one.type)(value))) == value


@given(keyed(rows=1), st.data())
def test_the_first_columns_of_a_key_can_be_read_alone(drawn: tuple[list[Column], list[list[Stored]]], data: st.DataObject) -> None:
    columns, (values,) = drawn
    count = data.draw(st.integers(1, len(columns)))
    key = encode_all(columns, values)
    assert decoder_of(columns[:count])(key) == decode(columns, key)[:count]
    assert key.startswith(encode_all(columns, values[:count]))


@given(keyed(rows=2))
def test_what_has_a_prefix_lies_between_it_and_what_comes_after(drawn: tuple[list[Column], list[list[Stored]]]) -> None:
    columns, (left, right) = drawn
    prefix, key = encode(columns[0], left[0]), encode_all(columns, right)
    above = after_prefix(prefix)
    assert key.startswith(prefix) == (prefix <= key and (above is None or key < above))


@given(st.binary(max_size=3), st.binary(max_size=4))
def test_after_a_prefix_is_the_first_that_is_above_everything_with_it(prefix: bytes, other: bytes) -> None:
    above = after_prefix(prefix)
    if above is None:
        assert prefix.strip(b"\xff") == b""
        return
    assert above > prefix and not above.startswith(prefix)
    assert other >= above or other < prefix or other.startswith(prefix)


# Slices

TYPES = ["int", "string", "varint", "decimal", "boolean", "timeuuid", "double"]
SMALL: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-2, 2),
    "string": st.sampled_from(["", "\0", "a", "a\0", "b"]),
    "varint": st.sampled_from(["-1", "0", "255", "256", str(2**64)]),
    "decimal": st.sampled_from(["-1.5", "0", "1.0", "1", "10"]),
    "boolean": st.booleans(),
    "timeuuid": st.sampled_from(["0", "1", "f"]).map(lambda digit: f"{digit * 8}-0000-1000-8000-000000000000"),
    "double": st.sampled_from([-1.5, -0.0, 0.0, 2.0]),
}
COMPARE = {
    "eq": lambda value, bound: value == bound,
    "lt": lambda value, bound: value < bound,
    "le": lambda value, bound: value <= bound,
    "gt": lambda value, bound: value > bound,
    "ge": lambda value, bound: value >= bound,
}


@st.composite
def restricted(draw: st.DrawFn) -> tuple[Table, dict[str, Any], list[dict[str, Any]]]:
    """A table, what a query says of its range columns, and rows."""
    types = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    columns = [f"range r{place} {type_}{draw(st.sampled_from(['', ' desc']))}" for place, type_ in enumerate(types)]
    equal = draw(st.integers(0, len(types)))
    said: dict[str, Any] = {f"r{place}": draw(SMALL[types[place]]) for place in range(equal)}
    if equal < len(types) and draw(st.booleans()):
        small = SMALL[types[equal]]
        bounds = draw(st.dictionaries(st.sampled_from(["lt", "le", "gt", "ge", "GE", "between"]), small, min_size=1, max_size=4))
        said[f"r{equal}"] = {name: [bound, draw(small)] if name == "between" else bound for name, bound in bounds.items()}
    rows = draw(st.lists(st.fixed_dictionaries({f"r{place}": SMALL[type_] for place, type_ in enumerate(types)}), max_size=12))
    return made(", ".join(["hash key string", *columns, "regular v string"])), said, rows


def selected(table: Table, said: dict[str, Any], row: dict[str, Any]) -> bool:
    """What a query selects, told from values alone."""
    for name, what in said.items():
        type_ = table.by_name[name].type
        read, order = reader_of(type_, where=name), order_of(type_)
        value = order(read(row[name]))
        for operator, bound in what.items() if isinstance(what, dict) else [("eq", what)]:
            if operator == "between":
                if not order(read(bound[0])) <= value <= order(read(bound[1])):
                    return False
            elif not COMPARE[operator.lower()](value, order(read(bound))):
                return False
    return True


@given(restricted())
def test_a_slice_is_what_its_comparisons_say(drawn: tuple[Table, dict[str, Any], list[dict[str, Any]]]) -> None:
    table, said, rows = drawn
    planner = planned(table)
    slice = planner.query({"attributes": {"key": "k", **said}}, space=SPACE, tokens=TOKENS).slice
    for row in rows:
        write = planner.put({"attributes": {"key": "k", **row}}, now_s=1)
        key = write.writes[0].clustering
        assert key is not None
        inside = slice is not None and slice.lower <= key and (slice.upper is None or key < slice.upper)
        assert inside == selected(table, said, row)
        if slice is not None:
            assert slice.partition == write.partition
            assert not slice.point or (inside == (key == slice.lower))


@given(restricted(), st.data())
def test_a_delete_selects_what_a_query_does(drawn: tuple[Table, dict[str, Any], list[dict[str, Any]]], data: st.DataObject) -> None:
    table, said, _ = drawn
    assume(len(said) < len(table.ranges) or any(isinstance(what, dict) for what in said.values()))
    planner = planned(table)
    body = {"attributes": {"key": "k", **said}}
    read = planner.query(body, space=SPACE, tokens=TOKENS).slice
    cleared = planner.delete(body, space=SPACE)
    if read is None:
        assert cleared is None
    else:
        assert (cleared.lower, cleared.upper, cleared.whole) == (read.lower, read.upper, read.whole)  # type: ignore[union-attr]


@given(st.sampled_from([*Kind]).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(values_of(kind), max_size=6))))
def test_a_set_is_sorted_and_without_duplicates(drawn: tuple[Kind, list[Any]]) -> None:
    kind, values = drawn
    order = order_of(ColumnType(kind))
    show = shower_of(ColumnType(kind))
    shown = [through_json(show(value)) for value in values]
    kept = reader_of(parse_type(f"set<{kind.value}>"), where="c")(shown)
    keys = [order(value) for value in kept or []]  # type: ignore[union-attr]
    assert keys == sorted({order(value) for value in values})

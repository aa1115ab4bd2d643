"""Every type: what it takes, how it comes back, what it refuses, and its order."""

import math
from itertools import pairwise
from typing import Any

import msgspec
import orjson
import pytest

from headwater.kernel.errors import InvalidInput
from headwater.tables import types
from headwater.tables.errors import WrongType
from headwater.tables.model import ColumnType, Kind
from headwater.tables.types import DIGITS_MAX, EXPONENT_MAX, MEMBERS_MAX, order_of, parse_type, reader_of, shower_of

KINDS = [kind.value for kind in Kind]
V1 = "d2177dd0-eaa2-11de-a572-001b779c76e3"
V4 = "d2177dd0-eaa2-41de-a572-001b779c76e3"

# JSON in, stored, JSON out
TAKEN: list[tuple[str, Any, Any, Any]] = [
    ("string", "", "", ""),
    ("string", "0012", "0012", "0012"),
    ("string", "a\0b", "a\0b", "a\0b"),
    ("string", "\U0010ffff\ue000", "\U0010ffff\ue000", "\U0010ffff\ue000"),
    ("blob", {"$base64": ""}, b"", {"$base64": ""}),
    ("blob", {"$base64": "AP8/+w=="}, b"\0\xff?\xfb", {"$base64": "AP8/+w=="}),
    ("int", -(2**31), -(2**31), -(2**31)),
    ("int", 2**31 - 1, 2**31 - 1, 2**31 - 1),
    ("long", "-9223372036854775808", -(2**63), "-9223372036854775808"),
    ("long", "9223372036854775807", 2**63 - 1, "9223372036854775807"),
    ("long", 5, 5, "5"),
    ("long", "-0", 0, "0"),
    ("varint", 2**53, 2**53, 2**53),
    ("varint", -(2**53), -(2**53), -(2**53)),
    ("varint", str(2**53), 2**53, 2**53),
    ("varint", 2**53 + 1, 2**53 + 1, str(2**53 + 1)),
    ("varint", str(2**63), str(2**63), str(2**63)),
    ("varint", str(-(2**63) - 1), str(-(2**63) - 1), str(-(2**63) - 1)),
    ("varint", "-" + "9" * DIGITS_MAX, "-" + "9" * DIGITS_MAX, "-" + "9" * DIGITS_MAX),
    ("decimal", "1.10", "1.10", "1.10"),
    ("decimal", "+1.", "1", "1"),
    ("decimal", ".5", "0.5", "0.5"),
    ("decimal", "-0.00", "0.00", "0.00"),
    ("decimal", "1e3", "1E+3", "1E+3"),
    ("decimal", "0.00000001", "1E-8", "1E-8"),
    ("decimal", 12, "12", "12"),
    ("decimal", f"1E+{EXPONENT_MAX}", f"1E+{EXPONENT_MAX}", f"1E+{EXPONENT_MAX}"),
    ("decimal", "9" * DIGITS_MAX, "9" * DIGITS_MAX, "9" * DIGITS_MAX),
    ("float", 0.1, 0.10000000149011612, 0.10000000149011612),
    ("float", 3.4028234663852886e38, 3.4028234663852886e38, 3.4028234663852886e38),
    ("float", 16777217, 16777216.0, 16777216.0),
    ("double", 5e-324, 5e-324, 5e-324),
    ("double", -1.7976931348623157e308, -1.7976931348623157e308, -1.7976931348623157e308),
    ("double", 1, 1.0, 1.0),
    ("boolean", False, False, False),
    ("boolean", True, True, True),
    ("timeuuid", V1.upper(), bytes.fromhex(V1.replace("-", "")), V1),
    ("uuid", V4, bytes.fromhex(V4.replace("-", "")), V4),
    ("uuid", "00000000-0000-0000-0000-000000000000", bytes(16), "00000000-0000-0000-0000-000000000000"),
    ("timestamp", "1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"),
    ("timestamp", "1969-12-31T23:59:59.9Z", -100, "1969-12-31T23:59:59.900Z"),
    ("timestamp", "2015-02-03T04:05+01:30", 1422930900000, "2015-02-03T02:35:00.000Z"),
    ("timestamp", "2015-02-03", 1422921600000, "2015-02-03T00:00:00.000Z"),
    ("timestamp", "0001-01-01T00:00:00.000Z", -62135596800000, "0001-01-01T00:00:00.000Z"),
    ("timestamp", "9999-12-31T23:59:59.999Z", 253402300799999, "9999-12-31T23:59:59.999Z"),
    ("json", {"b": [1, None, "é"], "a": {}}, '{"a":{},"b":[1,null,"é"]}'.encode(), {"a": {}, "b": [1, None, "é"]}),
    ("json", False, b"false", False),
    ("json", "text", b'"text"', "text"),
    ("set<int>", [3, -1, 3], [-1, 3], [-1, 3]),
    ("set<int>", [], None, None),
    ("set<long>", ["10", "9", 9], [9, 10], ["9", "10"]),
    ("set<string>", ["b", "", "a"], ["", "a", "b"], ["", "a", "b"]),
    ("set<decimal>", ["1.0", "1.00", "-2"], ["-2", "1.0"], ["-2", "1.0"]),
    ("set<boolean>", [True, False, True], [False, True], [False, True]),
    ("set<json>", [[2], [1], {"a": 1}], [b"[1]", b"[2]", b'{"a":1}'], [[1], [2], {"a": 1}]),
    ("set<blob>", [{"$base64": "/w=="}, {"$base64": ""}], [b"", b"\xff"], [{"$base64": ""}, {"$base64": "/w=="}]),
]

REFUSED: list[tuple[str, Any]] = [
    ("string", 1),
    ("string", "\ud800"),
    ("string", "a\udfff"),
    ("string", ["a"]),
    ("blob", "AA=="),
    ("blob", {"$base64": "AA"}),
    ("blob", {"$base64": "A-_="}),
    ("blob", {"$base64": "AA==\n"}),
    ("blob", {"$base64": "é==="}),
    ("blob", {"$base64": None}),
    ("blob", {"$base64": "AA==", "more": 1}),
    ("blob", {"base64": "AA=="}),
    ("blob", [1, 2]),
    ("int", 2**31),
    ("int", -(2**31) - 1),
    ("int", 1.0),
    ("int", "1"),
    ("int", True),
    ("long", 2**63),
    ("long", "-9223372036854775809"),
    ("long", "1.0"),
    ("long", " 1"),
    ("long", "1_000"),
    ("long", "١"),
    ("long", ""),
    ("long", 1e3),
    ("varint", 1e3),
    ("varint", "1" + "0" * DIGITS_MAX),
    ("varint", "9" * 100_000),
    ("varint", False),
    ("decimal", 0.1),
    ("decimal", "NaN"),
    ("decimal", "Infinity"),
    ("decimal", "1,5"),
    ("decimal", "."),
    ("decimal", "1E99999999"),
    ("decimal", f"1E+{EXPONENT_MAX + 1}"),
    ("decimal", f"1E-{EXPONENT_MAX + 1}"),
    ("decimal", "9" * (DIGITS_MAX + 1)),
    ("float", 3.5e38),
    ("float", "1.0"),
    ("float", math.nan),
    ("double", math.inf),
    ("double", -math.inf),
    ("double", math.nan),
    ("double", 10**400),
    ("double", True),
    ("boolean", 0),
    ("boolean", "false"),
    ("timeuuid", V4),
    ("timeuuid", ""),
    ("uuid", V4.replace("-", "")),
    ("uuid", "{" + V4 + "}"),
    ("uuid", V4[:-1] + "g"),
    ("uuid", 5),
    ("timestamp", 1422921600000),
    ("timestamp", "2015-02-03T04:05:06"),
    ("timestamp", "2015-02-03T04:05:06.1234Z"),
    ("timestamp", "2015-02-30"),
    ("timestamp", "2015-02-03T24:00:00Z"),
    ("timestamp", "2015-02-03T23:59:60Z"),
    ("timestamp", "0000-01-01"),
    ("timestamp", "0001-01-01T00:00:00+00:01"),
    ("timestamp", "9999-12-31T23:59:59-00:01"),
    ("timestamp", "20150203"),
    ("timestamp", "2015-W06-2"),
    ("timestamp", "now"),
    ("json", "\ud800"),
    ("json", {"a": ["\udc00"]}),
    ("json", {"a": [None, math.nan]}),
    ("json", [math.inf]),
    ("json", [2**70]),
    ("set<int>", 1),
    ("set<int>", {"1": 1}),
    ("set<int>", [1, "2"]),
    ("set<int>", [1, None]),
    ("set<int>", [[1]]),
    ("set<string>", "abc"),
    ("set<string>", [["a"], ["b"]]),
    ("set<string>", ["a", "\ud800"]),
]


def through_json(value: object) -> object:
    return orjson.loads(msgspec.json.encode(value))


@pytest.mark.parametrize("name", [*KINDS, *(f"set<{name}>" for name in KINDS)])
def test_a_type_is_named_as_it_is_declared(name: str) -> None:
    assert str(parse_type(name)) == name


@pytest.mark.parametrize(
    "name", ["", "text", "String", "set", "set<>", "set<int", "set<text>", "set<set<int>>", "map<int,int>", "list<int>", "int "]
)
def test_no_other_type_is_known(name: str) -> None:
    with pytest.raises(InvalidInput):
        parse_type(name)


@pytest.mark.parametrize(("name", "given", "stored", "shown"), TAKEN)
def test_a_value_is_taken_kept_and_shown(name: str, given: Any, stored: Any, shown: Any) -> None:
    kept = reader_of(parse_type(name), where="c")(given)
    assert (kept, type(kept)) == (stored, type(stored))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept)) == kept
    if kept is not None:
        assert through_json(shower_of(parse_type(name))(kept)) == shown


@pytest.mark.parametrize(("name", "given", "stored", "shown"), [entry for entry in TAKEN if entry[2] is not None])
def test_what_is_shown_is_taken_again(name: str, given: Any, stored: Any, shown: Any) -> None:
    again = reader_of(parse_type(name), where="c")(shown)
    order = order_of(parse_type(name))
    assert order(again) == order(stored)


@pytest.mark.parametrize(("name", "given"), REFUSED)
def test_what_is_of_another_type_is_refused_by_the_name_of_its_column(name: str, given: Any) -> None:
    with pytest.raises(WrongType) as refused:
        reader_of(parse_type(name), where="column")(given)
    assert refused.value.where == "column"
    assert refused.value.detail.startswith(f"column is of type {name}, which takes ")
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("kind", Kind)
def test_no_scalar_type_takes_null_an_array_or_an_object_but_json(kind: Kind) -> None:
    read = reader_of(ColumnType(kind), where="c")
    for value in ([], {}, [1], {"eq": 1}):
        if kind is Kind.JSON:
            assert read(value) == orjson.dumps(value)
        else:
            with pytest.raises(WrongType):
                read(value)


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(WrongType) as refused:
        reader_of(parse_type("int"), where="c")("a secret")
    assert "secret" not in str(refused.value)


ORDERED: list[tuple[str, list[Any]]] = [
    ("string", ["", "\0", "\0a", "A", "a", "a\0", "ab", "é", "\ue000", "\U0001f600"]),
    ("blob", [b"", b"\0", b"\0\0", b"\0\xff", b"\1", b"\x7f", b"\x80", b"\xff", b"\xff\0"]),
    ("int", [-(2**31), -1, 0, 1, 2**31 - 1]),
    ("long", [-(2**63), -(2**40), -1, 0, 1, 9, 10, 2**63 - 1]),
    ("varint", [str(-(10**50)), str(-(2**63) - 1), -(2**63), -256, -255, -1, 0, 1, 255, 256, 2**63 - 1, str(2**63), str(10**50)]),
    ("decimal", ["-1E+9", "-10", "-9.99", "-0.1", "-1E-9", "0.00", "1E-9", "0.0099", "0.01", "0.5", "1.0", "1.01", "9", "10", "1E+9"]),
    ("float", [-3.4028234663852886e38, -1.5, -1.401298464324817e-45, 0.0, 1.401298464324817e-45, 1.0, 3.4028234663852886e38]),
    ("double", [-1.7976931348623157e308, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1.0000000000000002, 1.7976931348623157e308]),
    ("boolean", [False, True]),
    ("timestamp", [-62135596800000, -1, 0, 1, 253402300799999]),
    ("json", [b'"a"', b'"b"', b"1", b"[]", b"true", b"{}"]),
]
UUIDS: list[tuple[str, list[str]]] = [
    (
        "timeuuid",
        [
            "ffffffff-0000-1000-8000-000000000000",
            "00000000-0001-1000-8080-000000000000",  # time before everything else, low bits last in the text
            "00000000-0001-1000-80ff-000000000000",  # ff as a signed byte is before 00
            "00000000-0001-1000-8000-000000000000",
            "00000000-0001-1000-8000-00000000007f",
            "00000000-0001-1000-bf00-000000000000",
            "00000000-0000-1001-8000-000000000000",
        ],
    ),
    (
        "uuid",
        [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-0000-1000-8000-000000000000",  # version 1 by time
            "00000000-0001-1000-8000-000000000000",
            "00000000-0001-1000-80ff-000000000000",  # then by unsigned bytes
            "00000000-0000-4fff-8000-000000000000",  # version 4 by unsigned bytes
            "00000001-0000-4000-8000-000000000000",
            "ffffffff-ffff-4fff-bfff-ffffffffffff",
            "00000000-0000-7000-8000-000000000000",
        ],
    ),
]


def stored_in_order() -> list[tuple[str, list[Any]]]:
    """Values of every type in ascending order."""
    return ORDERED + [(name, [reader_of(parse_type(name), where="c")(text) for text in texts]) for name, texts in UUIDS]


@pytest.mark.parametrize(("name", "ascending"), stored_in_order())
def test_values_compare_as_in_cassandra(name: str, ascending: list[Any]) -> None:
    order = order_of(parse_type(name))
    keys = [order(value) for value in ascending]
    assert all(before < after for before, after in pairwise(keys))


def test_every_type_has_its_order_tested() -> None:
    assert {name for name, _ in stored_in_order()} == set(KINDS)


@pytest.mark.parametrize("name", ["set<int>", "set<json>"])
def test_a_set_has_a_bound(name: str) -> None:
    read = reader_of(parse_type(name), where="c")
    found = read(list(range(MEMBERS_MAX)))
    assert isinstance(found, list) and len(found) == MEMBERS_MAX
    with pytest.raises(WrongType):
        read([0] * (MEMBERS_MAX + 1))


def test_members_of_a_set_are_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiples of 2^61 - 1 all have the same hash, so that a table of them takes a time with the square of their number."""

    class Place(int):
        __hash__ = None  # type: ignore[assignment]

    monkeypatch.setitem(types._ORDERS, Kind.VARINT, Place)
    numbers = [str(n * (2**61 - 1)) for n in (1000, 5, 7, 1000, 5)]
    read = reader_of(parse_type("set<varint>"), where="c")
    assert read(numbers) == [numbers[1], numbers[2], numbers[0]]

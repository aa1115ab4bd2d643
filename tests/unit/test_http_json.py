"""Strict JSON: what is refused, and that nothing else is."""

import json
import sys
from collections.abc import Callable
from types import FrameType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.http.json import CONTAINERS_MAX, parse
from headwater.http.json_places import TOKENS_MAX, InvalidJson
from headwater.kernel.errors import InvalidInput


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a" :1,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":1,"a":1,"b":"\\u003a"}',
        b'{"a":1,"a":1,"b":"\\u003A"}',
        b'{"\\u003a":1,":":1}',
        b'[{"b":{"c":[{"d":1,"d":{}}]}}]',
        b'{"a":{"x":":"},"a":1}',
        b'{"":1,"":2}',
    ],
)
def test_duplicate_keys_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="twice"):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud800":1}',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\xc0\xaf"',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"{}x",
        b"{}{}",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a"}',
        b"{1:2}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x1",
        b"tru",
        b'"\x01"',
        b'"a\nb"',
        b'"\\x"',
        b"// no\n1",
        b"\x00",
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b" 1 ",
        b"null",
        b'{"a":1,"b":":::","c":{"a":1}}',
        b'{"a":"\\u003a","b":":"}',
        b'{"\\u003a":1,"b":":"}',
        b'[{"a":1},{"a":1}]',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"big":18446744073709551615,"neg":-9223372036854775808,"f":1.5e300}',
        b'{"a" : 1 , "b"\t:\n2}',
        '{"ключ":"значение: да","emoji":"😀"}'.encode(),
        b'{"nul":"\\u0000"}',
    ],
)
def test_what_is_json_is_read_as_by_anyone(body: bytes) -> None:
    assert parse(body) == json.loads(body)


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_ends_at_64(opened: bytes, closed: bytes) -> None:
    parse(opened * 64 + b"0" + closed * 64)
    for depth in (65, 200, 300, 1023, 5000, 100_000):
        with pytest.raises(InvalidInput):
            parse(opened * depth + b"0" + closed * depth)


def test_many_siblings_are_not_deep() -> None:
    body = b"[" + b",".join([b'{"a":[[1]]}'] * 1000) + b"]"
    assert parse(body) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"NaN", None),
        (b"", None),
        (b"]", None),
        (b'{"a":NaN}', "/a"),
        (b'{"a":{"x":[],"v":1e999}}', "/a/v"),
        (b'{"a":[0,{"b":[1,2]},{"c":"\\ud800"}]}', "/a/2/c"),
        (b'{"a":"},]{[\\",","b":-Infinity}', "/b"),
        (b'{"a":1,"\\ud800":1}', None),
        (b'{"a":{"b', "/a"),
        (b'{"a":"\xff"}', "/a"),
        (b'{"\xc3\xa9":"\xed\xa0\x80"}', "/\u00e9"),
        (b'{"\\u0061/b":tru}', "/a/b"),
        (b'{"a":[1,2', "/a/1"),
        (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "/a/0/0/0/0/0/0/0"),
        (b'{"b":[0,[]],"a":' + b"[" * 5000, "/a/0/0/0/0/0/0/0"),
        (b'{"' + b"n" * 5000 + b'":NaN}', "/" + "n" * 100),
        (b"[" + b"0," * TOKENS_MAX + b"NaN]", None),
    ],
)
def test_what_is_refused_is_named_by_its_place(body: bytes, where: str | None) -> None:
    with pytest.raises(InvalidJson) as refused:
        parse(body)
    assert refused.value.where == where


MANY = {
    "open": b"[" * 1_000_000,
    "deep": b"[" * 500_000 + b"]" * 500_000,
    "flat": b"[" + b",".join([b"[]"] * 300_000) + b"]",
    "objects": b"[" + b",".join([b"{}"] * 300_000) + b"]",
    "towers": b"[" + b",".join([b"[" * 60 + b"]" * 60] * 8_000) + b"]",
    "too deep": b"[" + b",".join([b"[" * 64 + b"]" * 64] * 700) + b"]",
}


@pytest.mark.parametrize("name", MANY)
def test_of_too_many_arrays_none_is_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orjson, "loads", lambda _: pytest.fail("the body was read"))
    with pytest.raises(InvalidInput, match="arrays and objects" if name != "too deep" else "nested deeper"):
        parse(MANY[name])


def _calls(work: Callable[[], object]) -> int:
    """Calls of functions, of Python and of C, that some work takes."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"[1]"] * (CONTAINERS_MAX - 1)) + b"]",
        b"[" + b",".join([b'{"a:b":1}'] * (CONTAINERS_MAX - 1)) + b"]",
        b"[" + b",".join([b"[" * 60 + b"]" * 60] * 800) + b"]",
        b"[" + b"[]," * 64 + b",".join([b"1"] * 400_000) + b"]",
        b'["' + b"[" * 1_000_000 + b'"]',
        b'["' + b"\\u003a" * 150_000 + b'"]',
    ],
)
def test_nothing_is_done_for_each_member(body: bytes) -> None:
    assert _calls(lambda: parse(body)) < CONTAINERS_MAX / 10, "a few for each collection of garbage, and no more"
    assert parse(body) == json.loads(body)


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 1_000_000, b'"' + b'\\"' * 1_000_000 + b"\\", b'"a' * 1_000_001, b"]" * 3_000_000])
def test_what_never_ends_is_looked_through_once(body: bytes) -> None:
    """Looked through from each quote again it would take hours."""
    with pytest.raises(InvalidJson, match="not valid JSON"):
        parse(b"[" * 70 + body)


def test_brackets_inside_of_strings_are_no_nesting() -> None:
    for text in ("[" * 100, "{[" * 100, '\\"[' * 100, "]" * 100, '"' + "[" * 100):
        body = json.dumps({"a": [text] * 70, text: [[1]]}).encode()
        assert parse(body) == json.loads(body)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(alphabet=':"\\[]{}a', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet=":a", max_size=2), inner, max_size=3),
)


@given(_json, st.sampled_from([":", "\\u003a", "\\u003A"]))
def test_colons_may_be_escaped(value: object, colon: str) -> None:
    strings = json.dumps(value, separators=(",", "\0")).replace(":", colon).replace("\0", ":")
    assert parse(strings.encode()) == value
    if isinstance(value, dict):
        twice = strings[:-1] + ("," if value else "") + '"b":1,"b":2}'
        with pytest.raises(InvalidInput, match="twice"):
            parse(twice.encode())


def test_of_a_large_body_the_key_that_it_has_twice_is_not_named() -> None:
    with pytest.raises(InvalidInput, match="a key twice"):
        parse(b'{"a":1,"a":2,"b":"' + b"x" * 70_000 + b'"}')

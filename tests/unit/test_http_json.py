"""Strict JSON: what is refused, and that nothing else is."""

import json

import pytest

from headwater.http.json import parse
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

"""Whose session a value is: found in what MediaWiki writes, unknown in anything else, whatever it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.sessions.config import SessionsConfig
from headwater.sessions.scanner import DEPTH_MAX, ITEMS_MAX, KEYSPACE_BYTES_MAX, USER_ID_MAX, subject_of, user_id


def php(value: object) -> bytes:
    """`value` as PHP's serialize() writes it."""
    match value:
        case None:
            return b"N;"
        case bool():
            return b"b:%d;" % value
        case int():
            return b"i:%d;" % value
        case float():
            return f"d:{value!r};".encode()
        case str():
            return b's:%d:"%s";' % (len(value.encode()), value.encode())
        case dict():
            return b"a:%d:{%s}" % (len(value), b"".join(php(key) + php(item) for key, item in value.items()))
        case _:
            raise AssertionError(value)


SESSION = {
    "data": {"wsTokenSecrets": {"login": 'x;}"{i:1;'}, "n": 1.5, "none": None},
    "metadata": {"provider": "A\\B", "userId": 42, "userName": "Ä"},
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'JSON..{"data":{"metadata":{"userId":1}},"metadata":{"userId":42,"userName":"x"}}', 42),
        (b'JSON.c2lnbmF0dXJl+/=.{"metadata":{"userId":0}}', 0),
        (b'JSON..{"metadata":{"userId":"42"}}', 42),
        (b'JSON..{"metadata":{"userId":7,"userId":8}}', 8),
        (b"PHP.." + php(SESSION), 42),
        (b"PHP.c2lnbmF0dXJl=." + php(SESSION), 42),
        (b"PHP.." + php({"metadata": {"userId": "42"}}), 42),
        (b"PHP.." + php({"metadata": {"userId": 0}}), 0),
        (b'PHP..a:2:{s:4:"data";O:8:"stdClass":1:{s:1:"a";R:1;}s:8:"metadata";a:1:{s:6:"userId";i:5;}}', 5),
        (b'PHP..a:2:{s:4:"data";C:3:"Foo":9:{};}}{{"i:}s:8:"metadata";a:1:{s:6:"userId";i:5;}}', 5),
        (b'PHP..a:2:{s:4:"data";E:9:"Suit:Club";s:8:"metadata";a:1:{s:6:"userId";i:5;}}', 5),
    ],
)
def test_the_user_of_a_session_is_found(value: bytes, expected: int) -> None:
    assert user_id(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"anything",
        b"JSON..",
        b"JSON.{}",
        b"JSON..[]",
        b'JSON..{"metadata":null}',
        b'JSON..{"metadata":{"userId":-1}}',
        b'JSON..{"metadata":{"userId":1.5}}',
        b'JSON..{"metadata":{"userId":1}} trailing',
        b'JSON..{"data":{"userId":1}}',
        b'json..{"metadata":{"userId":1}}',
        b"JSON.." + b'{"a":' * 100_000,
        b"PHP..i:1;",
        b"PHP.." + php({"metadata": 5}),
        b"PHP.." + php({"metadata": {"userId": 1.5}}),
        b"PHP.." + php(SESSION) + b"x",
        b"PHP.." + php(SESSION)[:-1],
        b'PHP..O:8:"stdClass":1:{s:8:"metadata";a:1:{s:6:"userId";i:5;}}',
        b'PHP..a:1:{s:8:"metadata";a:9999999:{s:6:"userId";i:5;}}',
        b'PHP..a:1:{s:999999999:"metadata";i:1;}',
        b"PHP.." + b"a:1:{i:0;" * 100_000,
        b"PHP.." + b"i" * 1_000_000,
    ],
    ids=range(22),
)
def test_what_does_not_say_is_not_known(value: bytes) -> None:
    assert user_id(value) is None


def test_depth_and_length_are_bounded() -> None:
    def nested(depth: int) -> bytes:
        return b"PHP..a:2:{i:0;" + b"a:1:{i:0;" * depth + b"N;" + b"}" * depth + b's:8:"metadata";a:1:{s:6:"userId";i:5;}}'

    def long(items: int) -> bytes:
        return b"PHP..a:%d:{" % (items + 1) + b"i:0;N;" * items + b's:8:"metadata";a:1:{s:6:"userId";i:5;}}'

    assert user_id(nested(DEPTH_MAX - 1)) == 5
    assert user_id(nested(DEPTH_MAX)) is None
    assert user_id(long(ITEMS_MAX // 2 - 3)) == 5
    assert user_id(long(ITEMS_MAX // 2 + 1)) is None
    assert ITEMS_MAX <= 5_000, "the event loop waits for it"


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text('aOCEsidbNRr:;{}"0123456789', max_size=200).map(str.encode)))
def test_nothing_makes_it_fail(payload: bytes) -> None:
    for prefix in (b"", b"PHP..", b"JSON..", b'PHP..a:1:{s:8:"metadata";'):
        found = user_id(prefix + payload)
        assert found is None or found >= 0


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=9),
            lambda inner: st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
            max_leaves=12,
        ),
        max_size=4,
    ),
    st.integers(0, 1 << 40),
)
def test_whatever_else_is_in_a_session_its_user_is_found(data: dict[str, object], user: int) -> None:
    data = {key: value for key, value in data.items() if key != "metadata"} | {"metadata": {"a": data, "userId": user}}
    small = all(abs(number) < 1 << 63 for number in _integers(data))
    assert not small or user_id(b"PHP.." + php(data)) == user


def _integers(value: object) -> list[int]:
    if isinstance(value, dict):
        return [number for pair in value.items() for part in pair for number in _integers(part)]
    return [value] if isinstance(value, int) else []


def test_a_subject_is_the_keyspace_and_the_user() -> None:
    value = b'JSON..{"metadata":{"userId":42}}'
    assert subject_of(b"enwiki:MWSession:abc", value) == "enwiki:42"
    assert subject_of(b"enwiki:MWSession:abc", b'JSON..{"metadata":{"userId":0}}') is None
    assert subject_of(b"nocolon", value) is None
    assert subject_of(b"\xff:x", value) is None
    assert subject_of(b"enwiki:MWSession:abc", b"opaque") is None


def test_a_keyspace_that_no_wiki_has_is_no_subject_and_none_is_too_long_for_a_request() -> None:
    value = b'JSON..{"metadata":{"userId":%d}}' % USER_ID_MAX
    longest = subject_of(b"w" * KEYSPACE_BYTES_MAX + b":x", value)
    assert longest is not None and len(longest) <= SessionsConfig().subject_bytes_max
    assert subject_of(b"w" * (KEYSPACE_BYTES_MAX + 1) + b":x", value) is None

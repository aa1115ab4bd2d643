"""What paths of the drop-in name: keys, other places, nothing."""

import pytest

from headwater.kernel.errors import InvalidInput
from headwater.sessions.paths import OUTSIDE, KeyPath, KeyTooLong, Moved, NoKey, Paths, Place, check_key_length, clean_path

BASES = {"/sessions/v1/": "sessions", "/echo/v1/": "echo"}
BASE = "/sessions/v1/"


def key(value: bytes) -> Place:
    return KeyPath(BASE, "sessions", value)


BOTH: list[tuple[str, Place]] = [
    ("/sessions/v1/abc", key(b"abc")),
    ("/echo/v1/abc", KeyPath("/echo/v1/", "echo", b"abc")),
    ("/sessions/v1/enwiki%3AMWSession%3Aabc", key(b"enwiki:MWSession:abc")),
    ("/sessions/v1/enwiki:MWSession:abc", key(b"enwiki:MWSession:abc")),
    ("/sessions/v1/id%253Awith", key(b"id%3Awith")),
    ("/sessions/v1/a%3Fb", key(b"a?b")),
    ("/sessions/v1/a%20b", key(b"a b")),
    ("/sessions/v1/a+b", key(b"a+b")),
    ("/sessions/v1/Abc", key(b"Abc")),
    ("/sessions/v1/%C3%A9", key("é".encode())),
    ("/sessions/v1/...", key(b"...")),
    ("/sessions/v1/", NoKey(BASE)),
    ("/sessions/v1/a/b", NoKey(BASE)),
    ("/sessions/v1/a/", NoKey(BASE)),
    ("/sessions/v1/k9/sessions/v1/zzz", NoKey(BASE)),
    ("/sessions/v1", Moved(BASE, shows_key=False)),
    ("/sessions/v1/.", Moved(BASE, shows_key=False)),
    ("/sessions//v1/", Moved(BASE, shows_key=False)),
    ("/sessions", OUTSIDE),
    ("/", OUTSIDE),
    ("/sessions/v2/abc", OUTSIDE),
    ("/x/sessions/v1/abc", OUTSIDE),
]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("path", "place"), BOTH)
def test_what_a_path_names(path: str, place: Place, strict: bool) -> None:
    assert Paths(BASES, strict=strict).resolve(path) == place


@pytest.mark.parametrize(
    ("path", "lenient", "strict"),
    [
        ("/sessions/v1/a%2Fb", key(b"a/b"), NoKey(BASE)),
        ("/sessions/v1/%2F", key(b"/"), Moved(BASE, shows_key=False)),
        ("/sessions/v1/a%2F..%2Fb", key(b"a/../b"), Moved("/sessions/v1/b", shows_key=True)),
        ("/%73essions/v1/abc", OUTSIDE, key(b"abc")),
        ("/sessions%2Fv1/abc", OUTSIDE, key(b"abc")),
    ],
)
def test_a_slash_in_a_key_is_one_only_for_kask(path: str, lenient: Place, strict: Place) -> None:
    assert Paths(BASES, strict=False).resolve(path) == lenient
    assert Paths(BASES, strict=True).resolve(path) == strict


@pytest.mark.parametrize(
    ("path", "lenient", "clean"),
    [
        ("//sessions/v1/abc", NoKey(BASE), "/sessions/v1/abc"),
        ("/sessions//v1/abc", NoKey(BASE), "/sessions/v1/abc"),
        ("/sessions/v1//abc", NoKey(BASE), "/sessions/v1/abc"),
        ("/sessions/v1//a%3Fb", NoKey(BASE), "/sessions/v1/a%3Fb"),
        ("/sessions/v1/x/../abc", NoKey(BASE), "/sessions/v1/abc"),
        ("/sessions/v1/./abc", NoKey(BASE), "/sessions/v1/abc"),
        ("/sessions/v1/..", NoKey(BASE), "/sessions"),
        ("/sessions/v1/%2E%2e", NoKey(BASE), "/sessions"),
        ("/sessions/v1/abc/../../../x", NoKey(BASE), "/x"),
        ("//elsewhere/abc", OUTSIDE, "/elsewhere/abc"),
    ],
)
def test_a_path_that_is_not_clean_leads_to_the_clean_one_only_for_kask(path: str, lenient: Place, clean: str) -> None:
    assert Paths(BASES, strict=False).resolve(path) == lenient
    assert Paths(BASES, strict=True).resolve(path) == Moved(clean, shows_key=True)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("bad", ["%", "%4", "%zz", "%FF", "%C3", "%ED%A0%80", "%00", "%0A", "%7F", "%C2%85"])
def test_keys_that_are_no_text_are_refused_without_being_told(bad: str, strict: bool) -> None:
    with pytest.raises(InvalidInput) as refused:
        Paths(BASES, strict=strict).resolve(f"/sessions/v1/canary{bad}")
    assert "canary" not in refused.value.detail and refused.value.__cause__ is None


def test_the_length_of_a_key_is_counted_in_bytes_once_decoded() -> None:
    check_key_length("é".encode() * 256, 512)
    with pytest.raises(KeyTooLong):
        check_key_length("é".encode() * 256 + b"x", 512)


@pytest.mark.parametrize(
    ("path", "clean"), [("/", "/"), ("/a", "/a"), ("/a/", "/a/"), ("//", "/"), ("/a/../..//b/", "/b/"), ("/..", "/"), ("/a/b/..", "/a")]
)
def test_cleaning_is_that_of_go(path: str, clean: str) -> None:
    assert clean_path(path) == clean

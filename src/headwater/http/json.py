"""JSON of requests and answers. What is read is strict: what any two parsers read alike, and nothing else.

Refused beside what RFC 8259 refuses: duplicate keys, nesting deeper than 64, more than 50,000 arrays and objects, numbers beyond a double,
lone surrogates, a byte order mark. Integers beyond 64 bits are read as floats.

A body is read on the event loop, so what is asked of it is asked of the bytes: nothing here is done once per member in Python.
"""

import json
import re
from typing import TypeVar

import msgspec
import orjson

from headwater.http.json_places import InvalidJson, deep_place, place_in
from headwater.http.messages import Request, Response
from headwater.kernel.errors import InvalidInput

DEPTH_MAX = 64
CONTAINERS_MAX = 50_000
"""Most arrays and objects in a body: making and freeing one takes as long as reading a hundred bytes of text."""
NAMED_BYTES_MAX = 65_536
"""Up to here a body is read again to name the key that it has twice."""
CONTENT_TYPE = "application/json"
T = TypeVar("T")
encode = msgspec.json.Encoder().encode
_NO_STORE = (("cache-control", "no-store"),)


def respond(value: object, *, status: int = 200) -> Response:
    """An answer that says `value` (structs and what JSON knows) as of now: no cache may keep it."""
    return respond_encoded(encode(value), status=status)


def respond_encoded(text: bytes, *, status: int = 200) -> Response:
    """As `respond`, of what is JSON already."""
    return Response(status, text, _NO_STORE, CONTENT_TYPE)


async def body_as(request: Request, kind: type[T]) -> T:
    """The body of `request` as a `kind`; an empty one is all defaults.

    Raises:
        InvalidInput: not strict JSON, or not such a value.
        TooLarge, DeadlineExceeded: as `Request.body`.
    """
    raw = await request.body()
    try:
        return msgspec.convert(parse(raw) if raw.strip() else {}, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from error


def parse(body: bytes) -> object:
    """The value that `body` means.

    Duplicate keys are found without a slower parser: the parsed value, written again, has as many colons as `body` exactly if no key was
    dropped, since colons inside strings are kept.

    Raises:
        InvalidJson: not JSON, or too deep; it says what is at fault and where that stands.
        InvalidInput: a duplicate key.
    """
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _check_containers(body)
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not valid JSON: {error}", place=place_in(body, error.pos)) from error
    colons = body.count(b":")
    if b"\\u003" in body:
        colons += _count_escaped_colons(body)
    if colons != orjson.dumps(value).count(b":"):
        _refuse_duplicate(body)
    return value


_STRINGS = re.compile(rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?+[^"\[\]{}]*+)++', re.DOTALL)
"""Strings, the last one perhaps without its end, and what stands between them that is no bracket. Nothing in it is tried twice: a string of
escaped quotes that never ends is otherwise looked through again from each of them."""
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def _check_containers(body: bytes) -> None:
    """Refuse nesting too deep and too many arrays and objects, before any is made. What is malformed is left to the parser."""
    brackets = _STRINGS.sub(b"", body).translate(_ALIKE, _NO_BRACKETS)
    opening = brackets.count(b"[")
    if opening > CONTAINERS_MAX:
        raise InvalidInput(f"JSON has more than {CONTAINERS_MAX} arrays and objects")
    if 2 * opening != len(brackets):
        return
    for _ in range(DEPTH_MAX):  # each takes away the innermost ones
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise InvalidJson(f"JSON is nested deeper than {DEPTH_MAX}", place=deep_place(body, DEPTH_MAX))


def _count_escaped_colons(body: bytes) -> int:
    """How many colons are written as escapes: behind a backslash that no other backslash escapes."""
    escapes = body.replace(b"\\\\", b"")
    return escapes.count(b"\\u003a") + escapes.count(b"\\u003A")


def _refuse_duplicate(body: bytes) -> None:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members: dict[str, object] = {}
        for key, value in pairs:
            if key in members:
                raise InvalidInput(f"an object has the key {key[:100]!r} twice", where=key[:100])
            members[key] = value
        return members

    if len(body) <= NAMED_BYTES_MAX:
        json.loads(body, object_pairs_hook=unique)
    raise InvalidInput("an object has a key twice")

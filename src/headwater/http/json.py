"""JSON of requests and answers. What is read is strict: what any two parsers read alike, and nothing else.

Refused beside what RFC 8259 refuses: duplicate keys, nesting deeper than 64, numbers beyond a double, lone surrogates, a byte order mark.
Integers beyond 64 bits are read as floats.
"""

import json
from collections.abc import Iterator
from typing import TypeVar

import msgspec
import orjson

from headwater.http.json_places import InvalidJson, deep_place, place_in
from headwater.http.messages import Request, Response
from headwater.kernel.errors import InvalidInput

DEPTH_MAX = 64
CONTENT_TYPE = "application/json"
T = TypeVar("T")


def respond(value: object, *, status: int = 200) -> Response:
    """An answer that says `value` (structs and what JSON knows) as of now: no cache may keep it."""
    return Response(status, msgspec.json.encode(value), (("cache-control", "no-store"),), CONTENT_TYPE)


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

    Duplicate keys are found without a slower parser: the parsed value, written again, has as many colons as `body` exactly
    if no key was dropped, since colons inside strings are kept; only where a colon is escaped can that not be told so.

    Raises:
        InvalidJson: not JSON, or too deep; it says what is at fault and where that stands.
        InvalidInput: a duplicate key.
    """
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"not valid JSON: {error}", place=place_in(body, error.pos)) from error
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        _refuse_depth(value)
    if b"\\u003" in body or body.count(b":") != orjson.dumps(value).count(b":"):
        _refuse_duplicates(body)
    return value


def _refuse_depth(value: object) -> None:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [inner for outer in level for inner in _members(outer) if type(inner) is dict or type(inner) is list]
        if not level:
            return
    raise InvalidJson(f"JSON is nested deeper than {DEPTH_MAX}", place=deep_place(value, DEPTH_MAX) or ())


def _members(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value) if isinstance(value, list) else iter(())


def _refuse_duplicates(body: bytes) -> None:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members: dict[str, object] = {}
        for key, value in pairs:
            if key in members:
                raise InvalidInput(f"an object has the key {key[:100]!r} twice", where=key[:100])
            members[key] = value
        return members

    json.loads(body, object_pairs_hook=unique)

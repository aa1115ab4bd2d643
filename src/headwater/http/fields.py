"""Header fields of an answer as they go to the wire: pure, and checked, so that no value can end its field and begin another."""

import re
from functools import lru_cache

from headwater.http.messages import Response

Fields = list[tuple[bytes, bytes]]

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_CONNECTION = frozenset({b"connection", b"transfer-encoding"})


def fields_of(response: Response) -> Fields:
    """The fields of `response` but its length."""
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.etag is not None:
        fields.append((b"etag", response.etag.encode("latin-1")))
    if response.content_type is not None:
        fields.append((b"content-type", response.content_type.encode("latin-1")))
    if not response.bare:
        fields.append((b"x-content-type-options", b"nosniff"))
    return fields


def has_length(status: int) -> bool:
    """Whether an answer of this status says how long its body is."""
    return status >= 200 and status not in (204, 304)


def head_of(response: Response, body: bytes) -> bytes:
    """All fields of a whole answer as they go to the wire, each with its line end; date and connection are the server's.

    Raises:
        ValueError: a field is not well-formed.
    """
    lines = _lines(response.headers, response.content_type, response.bare)
    etag = response.etag
    if etag is not None:
        if not etag.isascii() or not etag.isprintable():
            raise ValueError("the entity tag of an answer is not well-formed")
        lines = b"etag: %b\r\n%b" % (etag.encode("ascii"), lines)
    return b"%bcontent-length: %d\r\n" % (lines, len(body)) if has_length(response.status) else lines


@lru_cache(maxsize=256)
def _lines(headers: tuple[tuple[str, str], ...], content_type: str | None, bare: bool) -> bytes:
    """The fields of an answer, checked once: most answers have the same."""
    fields = fields_of(Response(200, headers=headers, content_type=content_type, bare=bare))
    for name, value in fields:
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None or name in _CONNECTION:
            raise ValueError(f"the field {name!r} of an answer is not well-formed, or not the application's to set")
    return b"".join([b"%b: %b\r\n" % field for field in fields])

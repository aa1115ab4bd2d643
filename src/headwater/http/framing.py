"""What a request's head must be before an application sees it: pure decisions on what the parser has read.

Sources: RFC 9112 (message syntax; sections 3.2, 6.1 and 6.3 for Host and message length), RFC 9110 section 10.1.1 (Expect).
Stricter than these where leniency lets two parsers read one stream
differently: exactly one Host in every version, no Transfer-Encoding but one `chunked`.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from headwater.http.config import HttpLimits
from headwater.http.problems import CONTENT_TYPE, problem_body, problem_type

Headers = Sequence[tuple[bytes, bytes]]

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_TARGET_PATH = re.compile(rb"/[!-\"$->@-~]*")
_TARGET_QUERY = re.compile(rb"[!-\"$-~]*")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)", re.DOTALL)


class Refused(Exception):
    """The request cannot be served; `code` is one of `headwater.http.problems`."""

    def __init__(self, code: str, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status of the refusal."""
        return problem_type(self.code).status

    def answer(self, *, head_only: bool = False) -> bytes:
        """The whole answer as it goes to the wire; it ends the connection."""
        kind = problem_type(self.code)
        body = problem_body(self.code, self.detail)
        retry = "" if self.retry_after_s is None else f"retry-after: {self.retry_after_s}\r\n"
        head = (
            f"HTTP/1.1 {kind.status} {kind.title}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-content-type-options: nosniff\r\n{retry}connection: close\r\n\r\n"
        )
        return head.encode("ascii") + (b"" if head_only else body)


class Head(Struct, frozen=True, gc=False):
    """A head that has passed: what the target names and how the body is framed.

    Attributes:
        raw_path: percent-encoded path, or `*`.
        query: raw query without the question mark.
        has_query: the target holds a question mark, with anything behind it or not.
        absolute: the target is a whole URI.
        length: announced bytes of the body; None where it is chunked.
        expects_continue: the peer waits for `100 Continue` before it sends the body.
    """

    raw_path: bytes
    query: bytes
    length: int | None
    expects_continue: bool
    has_query: bool
    absolute: bool = False


def check_head(method: bytes, version: str, target: bytes, headers: Headers) -> Head:
    """What a request's head means.

    Raises:
        Refused: bad-request, or expectation-failed.
    """
    if version not in ("1.1", "1.0"):
        raise Refused("bad-request", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    hosts, lengths, codings, expect = 0, 0, 0, False
    length: int | None = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if _HOST.fullmatch(value.rstrip(b" \t")) is None:
                raise Refused("bad-request", "the Host header is malformed")
        elif name == b"content-length":
            lengths += 1
            length = _length(value.rstrip(b" \t"))
        elif name == b"transfer-encoding":
            codings += 1
            if value.rstrip(b" \t").lower() != b"chunked":
                raise Refused("bad-request", "no Transfer-Encoding but chunked is understood")
        elif name == b"expect":
            if value.rstrip(b" \t").lower() != b"100-continue":
                raise Refused("expectation-failed", "only 100-continue can be expected")
            expect = version == "1.1"
    if hosts != 1:
        raise Refused("bad-request", "a request needs exactly one Host header")
    if lengths > 1 or codings > 1 or (lengths and codings) or (codings and version == "1.0"):
        raise Refused("bad-request", "the length of the body is ambiguous")
    raw_path, query = _split_target(method, target)
    if codings:
        length = None
    return Head(raw_path, query, length, expect and length != 0, b"?" in target, target[:1] not in b"/*")


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise Refused("bad-request", "Content-Length is not a number")
    return int(value)


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    if method == b"CONNECT":
        raise Refused("bad-request", "this is not a proxy")
    if target == b"*":
        if method == b"OPTIONS":
            return b"*", b""
        raise Refused("bad-request", "only OPTIONS can ask for *")
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or _HOST.fullmatch(absolute[1]) is None:
            raise Refused("bad-request", "the request target is malformed")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    path, _, query = target.partition(b"?")
    if _TARGET_PATH.fullmatch(path) is None or _TARGET_QUERY.fullmatch(query) is None:
        raise Refused("bad-request", "the request target is malformed")
    return path, query


class HeadMeter:
    """Counts what a head, or the trailers of a body, take, against the limits."""

    __slots__ = ("_bytes_left", "_fields_left", "_limits", "_target_left")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Begin a new head."""
        self._bytes_left: int = self._limits.header_bytes_max
        self._fields_left = self._limits.headers_max
        self._target_left: int = self._limits.target_bytes_max

    def target(self, size: int) -> None:
        """Count bytes of the request target; raises Refused (target-too-long)."""
        self._target_left -= size
        if self._target_left < 0:
            raise Refused("target-too-long", f"the request target exceeds {self._limits.target_bytes_max} bytes")

    def field(self, name: bytes, value: bytes) -> None:
        """Count a header field as `name: value` and its line end; raises Refused (headers-too-large)."""
        self._bytes_left -= len(name) + len(value) + 4
        self._fields_left -= 1
        if self._bytes_left < 0 or self._fields_left < 0:
            raise self.too_large()

    def too_large(self) -> Refused:
        """The refusal of a head above the limits."""
        limits = self._limits
        return Refused("headers-too-large", f"more than {limits.headers_max} header fields or {limits.header_bytes_max} bytes of them")


def resumed_head(length: int | None) -> bytes:
    """A head that sets a fresh parser to read a body of `length`, after the first parser has stopped at a request to upgrade."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n"

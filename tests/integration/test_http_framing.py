"""What a server does with bytes: each row is what is sent and what must come back, over real sockets.

After every row a fresh connection must be answered, and no answer may be a 5xx that the row does not ask for.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.integration.http_server import RunningServer, answers, exchange, own_tls, peer_of, running, speech

__all__ = ["own_tls", "speech"]
CLOSED = ("closed",)
"""Expected instead of statuses: the connection is closed without an answer."""

GET = b"GET /empty HTTP/1.1\r\nHost: a\r\n"
LAST = b"Connection: close\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True)
class Probe:
    """One row: the pieces sent, one write each, and the statuses answered before the connection is closed."""

    name: str
    sent: tuple[bytes, ...]
    statuses: tuple[object, ...]
    bodies: tuple[bytes, ...] | None = None
    half_close: bool = False


def probe(name: str, *sent: bytes, expect: object = 400, bodies: tuple[bytes, ...] | None = None, half_close: bool = False) -> Probe:
    statuses = expect if isinstance(expect, tuple) else (expect,)
    return Probe(name, sent, statuses, bodies, half_close)


def header_bytes(total: int) -> bytes:
    """A GET whose header fields take exactly `total` bytes by the server's count."""
    fixed = len(b"Host: a\r\n") + len(b"Connection: close\r\n")
    return b"GET /empty HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (total - fixed - len(b"X: \r\n")) + b"\r\n" + LAST


def header_count(total: int) -> bytes:
    return GET + b"".join(b"X-%d: y\r\n" % number for number in range(total - 2)) + LAST


def target(size: int) -> bytes:
    return b"GET /t/" + b"x" * (size - 3) + b" HTTP/1.1\r\nHost: a\r\n" + LAST


def body(size: int) -> bytes:
    return POST + b"Content-Length: %d\r\n" % size + LAST + b"x" * size


HOSTS = [
    probe("one host", GET + LAST, expect=200),
    probe("no host", b"GET /empty HTTP/1.1\r\n" + LAST),
    probe("two hosts", GET + b"Host: a\r\n" + LAST),
    probe("two different hosts", GET + b"Host: b\r\n" + LAST),
    probe("two hosts in one field", b"GET /empty HTTP/1.1\r\nHost: a, b\r\n" + LAST),
    probe("empty host", b"GET /empty HTTP/1.1\r\nHost:\r\n" + LAST),
    probe("host with blank", b"GET /empty HTTP/1.1\r\nHost: a b\r\n" + LAST),
    probe("host with path", b"GET /empty HTTP/1.1\r\nHost: a/b\r\n" + LAST),
    probe("host with user", b"GET /empty HTTP/1.1\r\nHost: u@a\r\n" + LAST),
    probe("host with scheme", b"GET /empty HTTP/1.1\r\nHost: http://a\r\n" + LAST),
    probe("host with bad port", b"GET /empty HTTP/1.1\r\nHost: a:b\r\n" + LAST),
    probe("host with long port", b"GET /empty HTTP/1.1\r\nHost: a:123456\r\n" + LAST),
    probe("host of obsolete text", b"GET /empty HTTP/1.1\r\nHost: \xe4\r\n" + LAST),
    probe("host with escape", b"GET /empty HTTP/1.1\r\nHost: a%00b\r\n" + LAST),
    probe("host with unclosed bracket", b"GET /empty HTTP/1.1\r\nHost: [::1\r\n" + LAST),
    probe("host with port", b"GET /empty HTTP/1.1\r\nHost: a:80\r\n" + LAST, expect=200),
    probe("host with empty port", b"GET /empty HTTP/1.1\r\nHost: a:\r\n" + LAST, expect=200),
    probe("host of IPv6", b"GET /empty HTTP/1.1\r\nHost: [::1]:80\r\n" + LAST, expect=200),
    probe("host with trailing blanks", b"GET /empty HTTP/1.1\r\nHost: a \t\r\n" + LAST, expect=200),
    probe("host in other letters", b"GET /empty HTTP/1.1\r\nhOST: a\r\n" + LAST, expect=200),
    probe("HTTP/1.0 with host", b"GET /empty HTTP/1.0\r\nHost: a\r\n\r\n", expect=200),
    probe("HTTP/1.0 without host", b"GET /empty HTTP/1.0\r\n\r\n"),
]

LENGTHS = [
    probe("length and chunked", POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    probe("chunked and length", CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n"),
    probe("length zero and chunked", POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    probe("two equal lengths", POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    probe("two different lengths", POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    probe("two lengths in one field", POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    probe("negative length", POST + b"Content-Length: -3\r\n\r\nabc"),
    probe("signed length", POST + b"Content-Length: +3\r\n\r\nabc"),
    probe("hexadecimal length", POST + b"Content-Length: 0x3\r\n\r\nabc"),
    probe("empty length", POST + b"Content-Length:\r\n\r\n"),
    probe("blank within length", POST + b"Content-Length: 1 2\r\n\r\nabc"),
    probe("underscore within length", POST + b"Content-Length: 1_0\r\n\r\n0123456789"),
    probe("huge length", POST + b"Content-Length: 99999999999999999999999999\r\n\r\n"),
    probe("length of 19 digits", POST + b"Content-Length: 1000000000000000000\r\n\r\n"),
    probe("length with trailing blank", POST + b"Content-Length: 3 \r\n" + LAST + b"abc", expect=200, bodies=(b"abc",)),
    probe("length with leading zeros", POST + b"Content-Length: 003\r\n" + LAST + b"abc", expect=200, bodies=(b"abc",)),
    probe("coding identity", POST + b"Transfer-Encoding: identity\r\n\r\n"),
    probe("coding gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    probe("coding chunked, identity", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    probe("coding chunked twice", CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    probe("coding chunked, chunked", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    probe("coding xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    probe("coding empty", POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    probe("coding with vertical tab", POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    probe("coding with blank before colon", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    probe("coding in HTTP/1.0", b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    probe("coding in other letters", POST + b"Transfer-Encoding: CHUNKED\r\n" + LAST + b"0\r\n\r\n", expect=200, bodies=(b"",)),
    probe("coding on a folded line", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    probe("post without length", POST + LAST, expect=200, bodies=(b"",)),
    probe("get with body", b"GET /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + GET + LAST, expect=(200, 200)),
]

CHUNKS = [
    probe("chunks", CHUNKED + LAST + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", expect=200, bodies=(b"abcde",)),
    probe("chunk size in capitals", CHUNKED + LAST + b"A\r\n0123456789\r\n0\r\n\r\n", expect=200, bodies=(b"0123456789",)),
    probe("chunk size with leading zeros", CHUNKED + LAST + b"0003\r\nabc\r\n0\r\n\r\n", expect=200, bodies=(b"abc",)),
    probe("chunk extension", CHUNKED + LAST + b'3;a=b;c="d"\r\nabc\r\n0\r\n\r\n', expect=200, bodies=(b"abc",)),
    probe("trailers are dropped", CHUNKED + LAST + b"3\r\nabc\r\n0\r\nHost: b\r\nX: y\r\n\r\n", expect=200, bodies=(b"abc",)),
    probe("chunk longer than its size", CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n"),
    probe("chunk size not hexadecimal", CHUNKED + b"\r\nxyz\r\nabc\r\n0\r\n\r\n"),
    probe("chunk size with prefix", CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    probe("chunk size signed", CHUNKED + b"\r\n+3\r\nabc\r\n0\r\n\r\n"),
    probe("chunk size empty", CHUNKED + b"\r\n\r\nabc\r\n0\r\n\r\n"),
    probe("chunk size with blank", CHUNKED + b"\r\n3 \r\nabc\r\n0\r\n\r\n"),
    probe("chunk size with bare LF", CHUNKED + b"\r\n3\nabc\r\n0\r\n\r\n"),
    probe("chunk data with bare LF", CHUNKED + b"\r\n3\r\nabc\n0\r\n\r\n"),
    probe("chunk size overflows", CHUNKED + b"\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    probe("chunk extension unclosed", CHUNKED + b'\r\n3;a="b\r\nabc\r\n0\r\n\r\n'),
    probe("trailer malformed", CHUNKED + b"\r\n3\r\nabc\r\n0\r\nX : y\r\n\r\n"),
    probe("body ends early", POST + b"Content-Length: 10\r\n\r\nabc", half_close=True),
    probe("chunks end early", CHUNKED + b"\r\n3\r\nab", half_close=True),
    probe("endless chunk extension", CHUNKED + b"\r\n3;" + b"x" * 300_000, expect=400),
    probe("many one-byte chunks", CHUNKED + LAST + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n", expect=200, bodies=(b"x" * 40_000,)),
]

LINES = [
    probe("bare LF", b"GET /empty HTTP/1.1\nHost: a\n\n"),
    probe("bare LF after a field", b"GET /empty HTTP/1.1\r\nHost: a\n\r\n"),
    probe("bare CR in a value", GET + b"X: a\rb\r\n\r\n"),
    probe("two CR before LF", GET + b"X: a\r\r\n\r\n"),
    probe("folded line", GET + b"X: a\r\n b\r\n\r\n"),
    probe("folded line with tab", GET + b"X: a\r\n\tb\r\n\r\n"),
    probe("blank before the first field", b"GET /empty HTTP/1.1\r\n Host: a\r\n\r\n"),
    probe("NUL in a value", GET + b"X: a\0b\r\n\r\n"),
    probe("control character in a value", GET + b"X: a\x01b\r\n\r\n"),
    probe("delete character in a value", GET + b"X: a\x7fb\r\n\r\n"),
    probe("NUL in a name", GET + b"X\0Y: a\r\n\r\n"),
    probe("blank before colon", GET + b"X : a\r\n\r\n"),
    probe("no colon", GET + b"X\r\n\r\n"),
    probe("empty name", GET + b": a\r\n\r\n"),
    probe("name with parenthesis", GET + b"X(Y: a\r\n\r\n"),
    probe("name of obsolete text", GET + b"X\xe4: a\r\n\r\n"),
    probe("value of obsolete text", GET + b"X: \xe4\r\n" + LAST, expect=200),
    probe("empty value", GET + b"X:\r\n" + LAST, expect=200),
    probe("tab in a value", GET + b"X: a\tb\r\n" + LAST, expect=200),
    probe("empty lines before", b"\r\n\r\n" + GET + LAST, expect=200),
    probe("unknown method", b"FOO /empty HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("method in small letters", b"get /empty HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("method not allowed", b"DELETE /empty HTTP/1.1\r\nHost: a\r\n" + LAST, expect=405),
    probe("version in small letters", b"GET /empty http/1.1\r\nHost: a\r\n\r\n"),
    probe("version 1.2", b"GET /empty HTTP/1.2\r\nHost: a\r\n\r\n"),
    probe("version 2.0", b"GET /empty HTTP/2.0\r\nHost: a\r\n\r\n"),
    probe("version 0.9", b"GET /empty HTTP/0.9\r\nHost: a\r\n\r\n"),
    probe("version with many digits", b"GET /empty HTTP/1.11\r\nHost: a\r\n\r\n"),
    probe("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    probe("hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)),
    probe("nonsense", b"\x00\x01\x02\x03\r\n\r\n"),
    probe("half a head, then the end", b"GET /empty HT", expect=CLOSED, half_close=True),
    probe("nothing, then the end", expect=CLOSED, half_close=True),
    probe("request, then the end", GET + b"\r\n", expect=200, half_close=True),
]

TARGETS = [
    probe("absolute form", b"GET http://a/empty HTTP/1.1\r\nHost: a\r\n" + LAST, expect=200),
    probe("absolute form without host", b"GET http://a/empty HTTP/1.1\r\n" + LAST),
    probe("absolute form without path", b"GET http://a HTTP/1.1\r\nHost: a\r\n" + LAST, expect=404),
    probe("absolute form with query alone", b"GET http://a?x=y HTTP/1.1\r\nHost: a\r\n" + LAST, expect=404),
    probe("absolute form with user", b"GET http://u:p@a/empty HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("absolute form of another scheme", b"GET ftp://a/empty HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n" + LAST, expect=204),
    probe("asterisk form of GET", b"GET * HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("authority form", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("relative target", b"GET empty HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("empty target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("blank in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("fragment in the target", b"GET /empty#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("raw UTF-8 in the target", b"GET /t/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("NUL in the target", b"GET /t/\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("delete character in the target", b"GET /t/\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    probe("escaped slash", b"GET /t/a%2Fb HTTP/1.1\r\nHost: a\r\n" + LAST, expect=200, bodies=(b"a/b",)),
    probe("escape decoded once", b"GET /t/a%252Fb HTTP/1.1\r\nHost: a\r\n" + LAST, expect=200, bodies=(b"a%2Fb",)),
    probe("escaped UTF-8", b"GET /t/%C3%A9 HTTP/1.1\r\nHost: a\r\n" + LAST, expect=200, bodies=("é".encode(),)),
    probe("escaped invalid UTF-8", b"GET /t/%C3 HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("escaped surrogate", b"GET /t/%ED%A0%80 HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("escaped NUL", b"GET /t/%00 HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("escape not hexadecimal", b"GET /t/%zz HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("escape cut short", b"GET /t/a% HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("bad escape in the query", b"GET /empty?a=%zz HTTP/1.1\r\nHost: a\r\n" + LAST),
    probe("question mark in the query", b"GET /empty?a=?&b=/ HTTP/1.1\r\nHost: a\r\n" + LAST, expect=200),
    probe("dot segments stay", b"GET /t/../empty HTTP/1.1\r\nHost: a\r\n" + LAST, expect=200, bodies=(b"../empty",)),
    probe("two slashes", b"GET //empty HTTP/1.1\r\nHost: a\r\n" + LAST, expect=404),
    probe("target at the limit", target(2048), expect=200),
    probe("target above the limit", target(2049), expect=414),
    probe("endless target", b"GET /" + b"x" * 200_000, expect=414),
]

LIMITS = [
    probe("header bytes at the limit", header_bytes(8192), expect=200),
    probe("header bytes above the limit", header_bytes(8193), expect=431),
    probe("header count at the limit", header_count(100), expect=200),
    probe("header count above the limit", header_count(101), expect=431),
    probe("endless header", GET + b"X: " + b"x" * 200_000, expect=431),
    probe("endless header in pieces", GET + b"X: ", *[b"x" * 1000] * 12, expect=431),
    probe("endless headers", GET + b"X: y\r\n" * 10_000, expect=431),
    probe("endless trailers", CHUNKED + b"\r\n0\r\n" + b"X: y\r\n" * 10_000, expect=400),
    probe("body at the limit", body(65_536), expect=200),
    probe("body above the limit", body(65_537), expect=413),
    probe("body announced far above the limit", POST + b"Content-Length: 1000000000000\r\n\r\n", expect=413),
    probe(
        "chunked body above the limit",
        CHUNKED + LAST + b"8000\r\n" + b"x" * 0x8000 + b"\r\n9000\r\n" + b"x" * 0x9000 + b"\r\n0\r\n\r\n",
        expect=413,
    ),
    probe("endless chunked body", CHUNKED + b"\r\nfffffff\r\n" + b"x" * 1_000_000, expect=413),
]

PIPELINES = [
    probe("three requests at once", GET + b"\r\n" + GET + b"\r\n" + GET + LAST, expect=(200, 200, 200)),
    probe(
        "bodies between requests",
        POST + b"Content-Length: 3\r\n\r\nabc" + CHUNKED + LAST + b"2\r\nde\r\n0\r\n\r\n",
        expect=(200, 200),
        bodies=(b"abc", b"de"),
    ),
    probe(
        "a refusal waits for the answers before it",
        GET + b"\r\n" + POST + b"Content-Length: 2\r\n\r\nab" + b"GET /empty HTTP/1.1\r\n\r\n",
        expect=(200, 200, 400),
    ),
    probe(
        "a slow answer comes before a refusal",
        b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + b"NONSENSE\r\n\r\n",
        expect=(200, 400),
        bodies=(b"slow",),
    ),
    probe(
        "slow and fast answers keep their order",
        b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /t/x HTTP/1.1\r\nHost: a\r\n" + LAST,
        expect=(200, 200),
        bodies=(b"slow", b"x"),
    ),
    probe("nothing after close is served", GET + LAST + GET + b"\r\n", expect=200),
    probe("nothing after HTTP/1.0 is served", b"GET /empty HTTP/1.0\r\nHost: a\r\n\r\n" + GET + b"\r\n", expect=200),
    probe("nothing after a refusal is served", b"GET /empty HTTP/1.1\r\n\r\n" + GET + LAST, expect=400),
    probe("nothing after a broken body is served", CHUNKED + b"\r\nxyz\r\n" + GET + LAST, expect=400),
    probe(
        "a body that looks like a request",
        POST + b"Content-Length: %d\r\n\r\n" % len(GET + b"\r\n") + GET + b"\r\n" + GET + LAST,
        expect=(200, 200),
        bodies=(GET + b"\r\n", b""),
    ),
    probe("a thousand requests at once", (GET + b"\r\n") * 999 + GET + LAST, expect=(200,) * 1000),
    probe("four thousand requests, then the end", (GET + b"\r\n") * 4000, expect=(200,) * 4000, half_close=True),
    probe("upgrade is ignored", GET + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n" + GET + LAST, expect=(200, 200)),
    probe(
        "upgrade with a body is ignored",
        POST + b"Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nabc" + GET + LAST,
        expect=(200, 200),
        bodies=(b"abc", b""),
    ),
    probe(
        "upgrade with chunks is ignored",
        CHUNKED + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET + LAST,
        expect=(200, 200),
        bodies=(b"abc", b""),
    ),
    probe(
        "an early answer keeps a short body apart",
        b"POST /empty-post HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + GET + LAST,
        expect=(200, 200),
    ),
    probe(
        "an unknown path keeps its body apart",
        b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + GET + LAST,
        expect=(404, 200),
    ),
    probe(
        "continue is sent when the body is wanted",
        POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n" + LAST,
        b"abc",
        expect=(100, 200),
        bodies=(b"", b"abc"),
    ),
    probe("continue is not sent for a refused body", POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", expect=413),
    probe("another expectation", POST + b"Expect: tea\r\nContent-Length: 3\r\n\r\nabc", expect=417),
    probe("head has no body", b"HEAD /t/x HTTP/1.1\r\nHost: a\r\n\r\n" + GET + LAST, expect=("head", 200)),
    probe("options tell the methods", b"OPTIONS /empty HTTP/1.1\r\nHost: a\r\n" + LAST, expect=204),
]

STALLS = [
    probe("no byte at all", expect=CLOSED),
    probe("half a request line", b"GET /emp", expect=408),
    probe("half a head", GET, expect=408),
    probe("request of HTTP/0.9", b"GET /\r\n", expect=408),
    probe("a head byte by byte, too slowly", *[bytes([byte]) for byte in GET], expect=408),
    probe("no byte of an announced body", POST + b"Content-Length: 3\r\n\r\n", expect=408),
    probe("half a body", POST + b"Content-Length: 10\r\n\r\nabc", expect=408),
    probe("half a chunk", CHUNKED + b"\r\na\r\nabc", expect=408),
    probe("no end of chunks", CHUNKED + b"\r\n3\r\nabc\r\n", expect=408),
    probe("half a second request", GET + b"\r\n" + GET, expect=(200, 408)),
    probe("an idle connection", GET + b"\r\n", expect=200),
    probe("empty lines for ever", b"\r\n", b"\r\n", expect=CLOSED),
    probe("continue sent, then no body", POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", expect=(100, 408)),
]

PROMPT = [*HOSTS, *LENGTHS, *CHUNKS, *LINES, *TARGETS, *LIMITS, *PIPELINES]
assert len(PROMPT) + len(STALLS) >= 100


@pytest.fixture(scope="module")
def patient(speech: None) -> Iterator[RunningServer]:
    """A server whose deadlines are far away: what it refuses, it refuses for its form."""
    with running(header_bytes_max=8192, target_bytes_max=2048) as server:
        yield server


@pytest.fixture(scope="module")
def hasty(speech: None) -> Iterator[RunningServer]:
    """A server whose deadlines are near."""
    with running(header_timeout=0.2, body_timeout=0.2, idle_timeout=0.2, linger=0.2) as server:
        yield server


def check(server: RunningServer, row: Probe, *, pause_s: float = 0.0) -> None:
    received = exchange(server.port, row.sent, half_close=row.half_close, pause_s=pause_s)
    found = answers(received, head_only=row.statuses[:1] == ("head",))
    expected = [200 if status == "head" else status for status in row.statuses if status != "closed"]
    assert [answer.status for answer in found] == expected, received[:500]
    if row.bodies is not None:
        assert tuple(answer.body for answer in found[: len(row.bodies)]) == row.bodies
    last = found[-1] if found else None
    if last is not None and last.status >= 400 and len(row.sent) == 1 and last.status not in (404, 405):
        assert last.headers["content-type"] == "application/problem+json"
    after = answers(exchange(server.port, (GET + LAST,)))
    assert [answer.status for answer in after] == [200]


@pytest.mark.parametrize("row", PROMPT, ids=lambda row: row.name)
def test_bytes_are_answered_as_they_must_be(patient: RunningServer, row: Probe) -> None:
    check(patient, row)


@pytest.mark.parametrize("row", STALLS, ids=lambda row: row.name)
def test_who_stalls_is_let_go(hasty: RunningServer, row: Probe) -> None:
    check(hasty, row, pause_s=0.02)


REQUEST = CHUNKED + b"X: y\r\n" + LAST + b"3;e=f\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"


@pytest.mark.parametrize("at", range(1, len(REQUEST)))
def test_a_request_may_be_split_anywhere(patient: RunningServer, at: int) -> None:
    (answer,) = answers(exchange(patient.port, (REQUEST[:at], REQUEST[at:]), pause_s=0.001))
    assert (answer.status, answer.body) == (200, b"abcde")


def test_a_request_may_come_byte_by_byte(patient: RunningServer) -> None:
    (answer,) = answers(exchange(patient.port, tuple(REQUEST[at : at + 1] for at in range(len(REQUEST)))))
    assert (answer.status, answer.body) == (200, b"abcde")


def test_refusals_are_counted(patient: RunningServer) -> None:
    before = patient.refused(400)
    exchange(patient.port, (b"GET /empty HTTP/1.1\r\n\r\n",))
    assert patient.refused(400) == before + 1


def test_a_refusal_reaches_a_peer_that_still_sends(patient: RunningServer) -> None:
    """The connection is closed by half: bytes on their way do not reset it before the answer is read."""
    with peer_of(patient.port) as peer:
        peer.sendall(POST + b"Content-Length: 1000000\r\n\r\n")
        for _ in range(50):
            peer.sendall(b"x" * 10_000)
        received = b""
        while part := peer.recv(65_536):
            received += part
    assert [answer.status for answer in answers(received)] == [413]

"""Whole answers: handed to the kernel once, and made of nothing that could be taken for another field."""

import asyncio
import gc
import weakref
from typing import Any, cast

import pytest

from headwater.http.application import application
from headwater.http.config import HttpLimits
from headwater.http.fields import fields_of, head_of
from headwater.http.listening import Listener
from headwater.http.messages import Request, Response, Route
from headwater.http.metrics import METRICS
from headwater.http.serving import Connection, Cycle, _Server
from headwater.kernel.clock import SystemClock
from headwater.kernel.metrics import Metrics

HEAD_END = b"\r\n\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written, and whether it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended = False

    def write(self, data: Any) -> None:
        self.written.append(data)

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""


async def hello(request: Request) -> Response:
    return Response(200, b"hello", (("etag", '"1"'),), "text/plain")


async def nothing(request: Request) -> Response:
    return Response(204)


async def forged(request: Request) -> Response:
    return Response(200, b"hello", (("location", "/\r\nset-cookie: a=b"),))


ROUTES = [Route("GET", f"/{handler.__name__}", handler, "Test.", {}) for handler in (hello, nothing, forged)]


def ask(*requests: bytes, full: bool = False) -> Transport:
    """Send requests over one connection; `full`: the peer reads nothing before the first answer is made, then it does."""

    async def run() -> Transport:
        limits, clock = HttpLimits(), SystemClock()
        app = application(ROUTES, role="test", metrics=Metrics(METRICS), readiness=(), clients=(), limits=limits, clock=clock)
        server = _Server(Listener("127.0.0.1", 0, app, limits))
        server._tick()
        connection, transport = Connection(server), Transport()
        connection.connection_made(transport)
        if full:
            connection.pause_writing()
        for request in requests:
            connection.data_received(request)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if full:
                assert transport.written == []
                connection.resume_writing()
        await asyncio.gather(*connection.tasks)
        connection.connection_lost(ConnectionResetError())
        cast(asyncio.TimerHandle, server._tick_timer).cancel()
        return transport

    return asyncio.run(run())


def get(path: str, *, method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nhost: localhost\r\n\r\n".encode()


def test_an_answer_is_handed_over_once() -> None:
    transport = ask(get("/hello"), get("/hello"))
    assert len(transport.written) == 2 and not transport.ended
    lines = transport.written[1].removesuffix(HEAD_END + b"hello").split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK" and lines[1].startswith(b"date: ") and lines[1].endswith(b" GMT")
    assert lines[2:] == [b'etag: "1"', b"content-type: text/plain", b"x-content-type-options: nosniff", b"content-length: 5"]


def test_an_answer_without_body_ends_with_its_head() -> None:
    (head,) = ask(get("/hello", method="HEAD")).written
    assert head.endswith(b"content-length: 5" + HEAD_END)
    (head,) = ask(get("/nothing")).written
    assert head.startswith(b"HTTP/1.1 204 ") and head.endswith(b"nosniff" + HEAD_END) and b"content-length" not in head


@pytest.mark.parametrize("path", ["/hello", "/nothing"])
def test_the_last_answer_says_so_and_ends_the_connection(path: str) -> None:
    transport = ask(get(path, version="1.0"))
    assert len(transport.written) == 1 and transport.ended
    assert transport.written[0].count(b"connection: close\r\n") == 1 and b"chunked" not in transport.written[0]


def test_an_answer_waits_for_a_peer_that_does_not_read() -> None:
    whole, parts = ask(get("/hello")).written, ask(get("/hello"), full=True).written
    without_date = [b"".join(written).partition(b"\r\n")[0] + b"".join(written).partition(b"\r\n")[2][37:] for written in (whole, parts)]
    assert without_date[0] == without_date[1]


def test_no_value_begins_another_field() -> None:
    transport = ask(get("/forged"))
    assert transport.written[0].startswith(b"HTTP/1.1 500 ") and b"set-cookie" not in transport.written[0] and transport.ended


@pytest.mark.parametrize("field", [("a b", "c"), ("a:", "c"), ("", "c"), ("a", "b\n"), ("a", "\0"), ("connection", "close")])
def test_a_field_that_is_not_well_formed_is_refused(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="well-formed"):
        head_of(Response(200, headers=(field,)), b"")


@pytest.mark.parametrize("etag", ['"a\r\nset-cookie: b"', '"\x7f"', '"é"', '"\0"'])
def test_an_entity_tag_that_is_not_well_formed_goes_nowhere(etag: str) -> None:
    with pytest.raises(ValueError, match="entity tag"):
        head_of(Response(200, etag=etag), b"")


def test_an_entity_tag_is_a_field_among_others() -> None:
    response = Response(201, headers=(("cache-control", "no-store"),), content_type="application/json", etag='"0a"')
    assert sorted(head_of(response, b"{}").split(b"\r\n")) == sorted(
        [*(b"%b: %b" % field for field in fields_of(response)), b"content-length: 2", b""]
    )


def test_a_request_that_was_answered_leaves_nothing_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage that leads back to itself lies in memory until it is collected, and with it the body of each request."""
    born: list[weakref.ref[Cycle]] = []
    make = Cycle.__init__

    def noted(cycle: Cycle, *args: Any, **named: Any) -> None:
        make(cycle, *args, **named)
        born.append(weakref.ref(cycle))

    monkeypatch.setattr(Cycle, "__init__", noted)
    gc.collect()
    gc.disable()
    try:
        ask(*(get("/hello") for _ in range(10)))
        assert len(born) == 10 and sum(cycle() is not None for cycle in born) <= 1, "all but the last, which its connection holds"
    finally:
        gc.enable()

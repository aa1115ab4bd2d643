"""Slow and too many: what the service does to peers that only cost, and that others do not notice."""

import contextlib
import socket
import time

import msgspec
import pytest
from tests.integration.http_server import answers, exchange
from tests.integration.sessions_server import poll, serving

from headwater.kernel.config import Bytes, Seconds
from headwater.sessions.config import SessionHttpLimits, SessionsConfig, SheddingConfig

BASE = "/sessions/v1/"


def limits(**changed: object) -> SessionsConfig:
    return SessionsConfig(http=msgspec.structs.replace(SessionHttpLimits(), **changed))


@pytest.mark.parametrize(
    "sent",
    [
        f"POST {BASE}slow HTTP/1.1\r\nHost: localhost\r\nX: ".encode(),
        f"POST {BASE}slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab".encode(),
        f"POST {BASE}slow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".encode(),
    ],
)
def test_a_head_or_body_that_does_not_come_is_cut_and_nothing_is_stored(sent: bytes) -> None:
    short = Seconds.of("100ms")
    with serving(limits(header_timeout=short, body_timeout=short, body_time_max=short)) as server:
        (answer,) = answers(exchange(server.port, [sent]))
        assert answer.status == 408 and b"slow" not in answer.body
        assert server.ask("GET", f"{BASE}slow").status == 404


def test_a_body_that_trickles_is_cut_as_a_whole() -> None:
    with serving(limits(body_timeout=Seconds(5), body_time_max=Seconds.of("200ms"))) as server:
        head = f"POST {BASE}slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode()
        (answer,) = answers(exchange(server.port, [head, *[b"x"] * 20], pause_s=0.03))
        assert answer.status == 408


@pytest.mark.parametrize("sent", [b"ab", b""])
def test_a_caller_who_goes_away_leaves_nothing_behind(sent: bytes) -> None:
    head = f"POST {BASE}half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n".encode()
    with serving(limits()) as server:
        (answer,) = answers(exchange(server.port, [head, sent], half_close=True))
        assert answer.status == 400
        assert server.ask("GET", f"{BASE}half").status == 404


def test_large_bodies_that_do_not_come_hold_little_memory_and_keep_no_small_session_from_being_saved() -> None:
    shedding = SheddingConfig(large_bodies_bytes_max=Bytes(200_000))
    with serving(SessionsConfig(shedding=shedding)) as server, contextlib.ExitStack() as held:
        head = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        for number in range(2):
            peer = held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            peer.sendall(head.format(f"/sessions/v1/held{number}").encode() + bytes(50_000))
        poll(lambda: server.api._gate.shedding.large_bytes == 200_000)
        for target in ("/sessions/v1/more", "/v2/sessions"):
            answer = server.ask("POST", target, bytes(100_000))
            assert answer.status == 503 and answer.headers["retry-after"] == "1"
            assert server.ask("POST", target, bytes(2_000)).status == 201
        held.close()
        poll(lambda: server.api._gate.shedding.large_bytes == 0)
        assert server.ask("POST", "/sessions/v1/more", bytes(100_000)).status == 201


def test_connections_above_the_cap_are_refused_at_once_and_health_is_answered() -> None:
    with serving(limits(connections_max=2, connections_hard_max=8)) as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(2)]
        for peer in held:
            peer.sendall(f"GET {BASE}a HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert peer.recv(12) == b"HTTP/1.1 404"
        started_s = time.monotonic()
        refused = server.ask("GET", f"{BASE}a")
        assert time.monotonic() - started_s < 5, "not after a time-out of anybody's"
        assert refused.status == 503 and refused.headers["retry-after"] == "1"
        assert server.ask("GET", "/healthz").status == 200 and server.ask("GET", "/readyz").status == 200
        for peer in held:
            peer.close()

"""Servers that are full, slow peers, and the end of a server."""

import asyncio
import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable

import pytest
from tests.integration.http_server import (
    LARGE_BYTES,
    Answer,
    RunningServer,
    answers,
    client_of,
    exchange,
    own_tls,
    peer_of,
    running,
    speech,
)
from tests.integration.peer import Peer

from headwater.http.application import application
from headwater.http.config import ClientConfig, HttpLimits
from headwater.http.metrics import METRICS, READERS_DROPPED, UNSENT
from headwater.http.serving import Listener, serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.errors import InvalidConfig, Unavailable
from headwater.kernel.metrics import Metrics

__all__ = ["own_tls", "speech"]
GET = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEPT = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
TOKEN = "open sesame"
READER = ClientConfig(name="reader", token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), grants=("test:read",))


def get(server: RunningServer, path: bytes, *fields: bytes) -> Answer:
    head = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n" + b"".join(field + b"\r\n" for field in fields) + b"Connection: close\r\n\r\n"
    (answer,) = answers(exchange(server.port, (head,)))
    return answer


def connect(server: RunningServer) -> Peer:
    return peer_of(server.port)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a state of the server that nothing else tells of."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the state did not come"
        time.sleep(0.005)


def under_way(server: RunningServer) -> int:
    text = get(server, b"/metrics").body.decode()
    (line,) = [line for line in text.splitlines() if line.startswith("headwater_http_requests_in_flight{")]
    return int(float(line.rpartition(" ")[2]))


def read_all(peer: Peer) -> bytes:
    received = b""
    while part := peer.recv(65_536):
        received += part
    return received


@pytest.mark.parametrize("watched_loop", [False, True])
def test_a_full_application_refuses_early_and_stays_alive(watched_loop: bool) -> None:
    with running(concurrency_max=2, queue_max=1, queue_time_max=0.1, watched_loop=watched_loop) as server:
        gated = [connect(server) for _ in range(2)]
        for peer in gated:
            peer.sendall(GET % b"/gate")
        until(lambda: under_way(server) == 2)
        begun = time.monotonic()
        full = get(server, b"/empty")
        assert full.status == 503 and full.headers["retry-after"] == "1"
        assert json.loads(full.body)["type"] == "/problems/overloaded"
        assert time.monotonic() - begun < 5
        for path in (b"/livez", b"/readyz", b"/metrics"):
            assert get(server, path).status == 200
        server.open_gate()
        assert [answers(read_all(peer))[0].body for peer in gated] == [b"open", b"open"]
        for peer in gated:
            peer.close()
        assert get(server, b"/empty").status == 200


def test_who_waits_for_a_place_gets_it() -> None:
    with running(concurrency_max=1, queue_max=8, queue_time_max=10.0) as server, connect(server) as first, connect(server) as second:
        first.sendall(GET % b"/gate")
        until(lambda: under_way(server) == 1)
        second.sendall(GET % b"/empty")
        server.open_gate()
        assert answers(read_all(first))[0].status == 200
        assert answers(read_all(second))[0].status == 200


def test_too_many_connections_are_answered_503_but_health_is_not() -> None:
    with running(connections_max=3, connections_hard_max=6) as server:
        kept = [connect(server) for _ in range(3)]
        for peer in kept:
            peer.sendall(KEPT % b"/empty")
            assert peer.recv(65_536).startswith(b"HTTP/1.1 200")
        refused = get(server, b"/empty")
        assert refused.status == 503 and refused.headers["retry-after"] == "1" and refused.headers["connection"] == "close"
        assert get(server, b"/livez").status == 200
        beyond = [connect(server) for _ in range(3)]
        until(lambda: exchange(server.port, ()) == b"")
        for peer in [*kept, *beyond]:
            peer.close()
        until(lambda: b"200" in exchange(server.port, (GET % b"/empty",))[:20])


def test_a_reader_that_does_not_read_is_dropped() -> None:
    with running(write_timeout=0.2, send_buffer=8192) as server, connect(server) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(GET % b"/flood")
        until(lambda: server.metrics.value(METRICS[0], role="test", route="/flood", method="GET", code="200") == 1)
        assert not read_all(peer).endswith(b"0\r\n\r\n"), "what was sent is no whole answer"


def test_readers_that_do_not_read_hold_no_more_than_they_may_in_all() -> None:
    """The slowest are dropped, and whoever reads is served."""
    allowed, readers = 4 * LARGE_BYTES, 16
    with running(unsent_bytes_max=allowed, send_buffer=8192) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(server)) for _ in range(readers)]
        for number, peer in enumerate(peers, 1):
            peer.sendall(GET % b"/large")
            until(lambda: server.metrics.value(METRICS[0], role="test", route="/large", method="GET", code="200") == number)  # noqa: B023
            assert get(server, b"/metrics").status == 200
            assert 0 < server.metrics.value(UNSENT, role="test") <= allowed
        dropped = server.metrics.value(READERS_DROPPED, role="test", reason="memory")
        assert readers / 2 < dropped < readers
        assert len(get(server, b"/large").body) == LARGE_BYTES
        assert server.metrics.value(READERS_DROPPED, role="test", reason="time") == 0
        left = readers - int(server.metrics.value(READERS_DROPPED, role="test", reason="memory"))
        assert left > 0
        for peer in peers[-left:]:
            assert len(read_all(peer)) > LARGE_BYTES, "who was not dropped still gets all of it"


def test_a_torn_answer_cannot_be_taken_for_a_whole_one() -> None:
    with running() as server:
        with pytest.raises(ValueError, match="invalid literal"):
            answers(exchange(server.port, (GET % b"/torn",)))
        client = client_of(server.port)
        client.request("GET", "/torn")
        with pytest.raises(http.client.IncompleteRead):
            client.getresponse().read()
        client.close()


def test_the_end_of_a_server_loses_no_request() -> None:
    with running() as server:
        peers = [connect(server) for _ in range(20)]
        for peer in peers:
            peer.sendall(KEPT % b"/gate")
        until(lambda: under_way(server) == 20)
        idle = connect(server)
        idle.sendall(KEPT % b"/empty")
        assert idle.recv(65_536).startswith(b"HTTP/1.1 200")
        server.stop()
        assert idle.recv(65_536) == b"", "an idle connection is closed"
        server.open_gate()
        for peer in peers:
            (answer,) = answers(read_all(peer))
            assert answer.body == b"open" and answer.headers["connection"] == "close"
            peer.close()
        idle.close()
        server.thread.join(10)
        assert not server.thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            connect(server)


def test_pipelined_requests_are_answered_while_draining() -> None:
    with running() as server, connect(server) as peer:
        peer.sendall(KEPT % b"/gate" + KEPT % b"/t/one" + KEPT % b"/t/two")
        until(lambda: under_way(server) == 1)
        server.stop()
        time.sleep(0.1)
        server.open_gate()
        assert [answer.body for answer in answers(read_all(peer))] == [b"open", b"one", b"two"]


def test_a_drain_is_bounded() -> None:
    with running(drain=0.2) as server, connect(server) as peer:
        peer.sendall(KEPT % b"/gate")
        until(lambda: under_way(server) == 1)
        server.stop()
        server.thread.join(10)
        assert not server.thread.is_alive()


def test_load_during_a_drain_gets_answers_or_no_connection() -> None:
    """Of many clients that ask on and on, none gets half an answer, or none on a connection that was taken in."""
    wrong: list[bytes] = []

    def ask(port: int) -> None:
        whole = received = b"HTTP/1.1 200"
        while received.startswith(whole):
            received = b""
            try:
                with peer_of(port) as peer:
                    peer.sendall(GET % b"/empty")
                    while part := peer.recv(65_536):
                        received += part
                wrong.extend([] if received.startswith(whole) else [received])
            except ConnectionError:
                wrong.extend([received] if received else [])

    with running() as server:
        threads = [threading.Thread(target=ask, args=(server.port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: server.metrics.value(METRICS[0], role="test", route="/empty", method="GET", code="200") > 50)
        server.stop()
        for thread in threads:
            thread.join(10)
        assert wrong == []


def test_readiness_tells_reasons() -> None:
    async def fine() -> str | None:
        return None

    async def broken() -> str | None:
        return "disk is full"

    with running(readiness=[("log", fine), ("bodies", broken)]) as server:
        answer = get(server, b"/readyz")
        assert answer.status == 503
        assert json.loads(answer.body) == {"ready": False, "checks": {"log": None, "bodies": "disk is full"}}
        assert get(server, b"/livez").status == 200


def test_openapi_describes_the_routes() -> None:
    with running() as server:
        document = json.loads(get(server, b"/openapi.json").body)
        assert document["openapi"] == "3.1.0"
        assert set(document["paths"]) >= {"/echo", "/t/{title}", "/livez", "/readyz", "/metrics"}
        assert document["paths"]["/granted"]["get"]["security"] == [{"bearer": ["test:read"]}]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 401),
        ((b"Authorization: Bearer open sesame",), 200),
        ((b"Authorization: bearer open sesame",), 200),
        ((b"Authorization: Bearer wrong",), 401),
        ((b"Authorization: Basic b3BlbjpzZXNhbWU=",), 401),
        ((b"Authorization: Bearer",), 401),
        ((b"Authorization:",), 401),
    ],
)
def test_clients_are_known_by_their_tokens(fields: tuple[bytes, ...], status: int) -> None:
    with running(clients=[READER]) as server:
        answer = get(server, b"/granted", *fields)
        assert answer.status == status
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert get(server, b"/empty").status == 200, "what needs no grant is open"


def test_a_client_without_the_grant_is_forbidden() -> None:
    poor = ClientConfig(name="poor", token_sha256=READER.token_sha256)
    with running(clients=[poor]) as server:
        assert get(server, b"/granted", b"Authorization: Bearer open sesame").status == 403


def listener_on(host: str, port: int) -> Listener:
    limits = HttpLimits()
    app = application([], role="test", metrics=Metrics(METRICS), readiness=[], clients=[], limits=limits, clock=SystemClock())
    return Listener(host, port, app, limits)


def test_a_taken_port_is_told() -> None:
    with running() as server, pytest.raises(Unavailable, match=f"127.0.0.1:{server.port} is taken by another process"):
        asyncio.run(serve([listener_on("127.0.0.1", server.port)], stop=asyncio.Event()))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_open_address_without_clients_is_refused(host: str) -> None:
    with pytest.raises(InvalidConfig, match="reachable from other machines"):
        asyncio.run(serve([listener_on(host, 0)], stop=asyncio.Event()))


def test_when_one_address_fails_none_is_kept() -> None:
    with running() as server:
        first = listener_on("127.0.0.1", 0)
        with pytest.raises(Unavailable):
            asyncio.run(serve([first, listener_on("127.0.0.1", server.port)], stop=asyncio.Event()))
        with pytest.raises(AssertionError, match="not bound"):
            assert first.bound_port

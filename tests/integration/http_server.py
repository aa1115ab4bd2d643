"""A real server in a thread, and a client that sends bytes as they are."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import pathlib
import queue
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import pytest
import uvloop
from tests.certificates import SERVER, Authority, tls_config
from tests.integration.peer import Peer, TlsPeer

from headwater.app.tls import credentials_of, listener_of, use_credentials
from headwater.http.application import application
from headwater.http.config import ClientConfig, HttpLimits, TlsConfig
from headwater.http.listening import Listener
from headwater.http.messages import ReadinessCheck, Request, Response, Route
from headwater.http.metrics import METRICS, REFUSED
from headwater.http.serving import serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Bytes, Seconds
from headwater.kernel.metrics import Metrics

LARGE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class RunningServer:
    """A server that is being served."""

    port: int
    metrics: Metrics
    thread: threading.Thread
    _loop: asyncio.AbstractEventLoop
    _gate: asyncio.Event
    _stop: asyncio.Event
    _listener: Listener

    def use_tls(self, config: TlsConfig) -> None:
        """Read certificates again, as SIGHUP does. Raises InvalidConfig."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def use() -> None:
            try:
                credentials = credentials_of(HttpLimits(tls=config), clock=SystemClock(), where="http")
                use_credentials(self._listener, credentials)
                done.set_result(None)
            except Exception as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(use)
        done.result(10)

    def open_gate(self) -> None:
        """Let every request for `/gate` be answered."""
        self._loop.call_soon_threadsafe(self._gate.set)

    def stop(self) -> None:
        """Ask the server to drain and end; again, nothing."""
        if self.thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    def refused(self, status: int) -> float:
        """How many requests were refused with `status` before they reached the application."""
        return self.metrics.value(REFUSED, role="test", code=str(status))


@dataclass(frozen=True)
class Answer:
    """One answer as read from the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


def routes(gate: asyncio.Event) -> list[Route]:
    """Operations that only HTTP can be wrong with; `/gate` answers when `gate` is set."""

    async def empty(request: Request) -> Response:
        return Response(200)

    async def echo(request: Request) -> Response:
        return Response(200, await request.body())

    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(200, b"slow")

    async def title(request: Request) -> Response:
        return Response(200, request.params["title"].encode())

    async def gated(request: Request) -> Response:
        await gate.wait()
        return Response(200, b"open")

    async def flood(request: Request) -> Response:
        return Response(200, _flood())

    async def large(request: Request) -> Response:
        return Response(200, bytes(LARGE_BYTES))

    async def torn(request: Request) -> Response:
        return Response(200, _torn())

    return [
        Route("GET", "/empty", empty, "Nothing.", {}),
        Route("POST", "/empty-post", empty, "Nothing, without reading the body.", {}),
        Route("POST", "/echo", echo, "The body.", {}, body_bytes_max=65_536),
        Route("GET", "/slow", slow, "Something, late.", {}),
        Route("GET", "/gate", gated, "Something, when the gate opens.", {}),
        Route("GET", "/flood", flood, "Without end.", {}),
        Route("GET", "/large", large, "A large body in one piece.", {}),
        Route("GET", "/torn", torn, "Not to its end.", {}),
        Route("GET", "/t/{title*}", title, "The title.", {}),
        Route("GET", "/granted", empty, "Nothing, for some.", {}, grant="test:read"),
    ]


@dataclass
class Speech:
    """What servers and clients of a test speak, unless told otherwise: plain HTTP, or TLS with these."""

    server: TlsConfig | None = None
    client: ssl.SSLContext | None = None


_speech = Speech()


@pytest.fixture(scope="session")
def own_tls(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """A server's certificate and a client that trusts it."""
    folder: pathlib.Path = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    return Speech(tls_config(authority.issue("server", "localhost", use=SERVER), ca=authority), authority.trusted())


@pytest.fixture(scope="module", autouse=True, params=["http", "https"])
def speech(request: pytest.FixtureRequest, own_tls: Speech) -> Iterator[None]:
    """Import it into a module to run all its tests over HTTP and over HTTPS."""
    if request.param == "https":
        _speech.server, _speech.client = own_tls.server, own_tls.client
    yield
    _speech.server = _speech.client = None


def peer_of(port: int) -> Peer:
    """A connection that speaks what the test speaks."""
    return Peer(port) if _speech.client is None else TlsPeer(port, _speech.client)


def client_of(port: int) -> http.client.HTTPConnection:
    """The standard library's client, which speaks what the test speaks."""
    if _speech.client is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    return http.client.HTTPSConnection("localhost", port, timeout=10, context=_speech.client)


async def _flood() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536


async def _torn() -> AsyncIterator[bytes]:
    yield b"half"
    raise LookupError("gone")


@contextlib.contextmanager
def running(
    *,
    clients: Sequence[ClientConfig] = (),
    readiness: Sequence[ReadinessCheck] = (),
    watched_loop: bool = False,
    tls: TlsConfig | None = None,
    **limits: float,
) -> Iterator[RunningServer]:
    """Serve on 127.0.0.1 in a thread of its own, on uvloop unless `watched_loop`."""
    metrics = Metrics(METRICS)
    secured = HttpLimits(tls=tls if tls is not None else _speech.server)
    configured = msgspec.structs.replace(secured, **{name: _typed(name, value) for name, value in limits.items()})
    up: queue.SimpleQueue[RunningServer] = queue.SimpleQueue()

    async def main() -> None:
        gate, stop, started = asyncio.Event(), asyncio.Event(), asyncio.Event()
        app = application(
            routes(gate),
            role="test",
            metrics=metrics,
            readiness=readiness,
            clients=clients,
            limits=configured,
            clock=SystemClock(),
        )
        listener = listener_of(app, "127.0.0.1:0", configured, credentials_of(configured, clock=SystemClock(), where="http"))
        serving = asyncio.create_task(serve([listener], stop=stop, started=started))
        await started.wait()
        loop = asyncio.get_running_loop()
        up.put(RunningServer(listener.bound_port, metrics, threading.current_thread(), loop, gate, stop, listener))
        await serving

    def run() -> None:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop if watched_loop else uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    server = up.get(timeout=10)
    try:
        yield server
    finally:
        if thread.is_alive():
            server.open_gate()
            server.stop()
        thread.join(20)
        assert not thread.is_alive()


def _typed(name: str, value: float) -> object:
    kind = type(getattr(HttpLimits(), name))
    return {Seconds: Seconds, Bytes: Bytes, int: int, bool: bool}[kind](value)


def exchange(port: int, pieces: Sequence[bytes], *, half_close: bool = False, pause_s: float = 0.0) -> bytes:
    """Send `pieces`, one write each, and read until the server closes; a reset after the pieces counts as a close."""
    try:
        peer = peer_of(port)
    except ConnectionError:
        return b""
    with peer:
        received: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(peer, received))
        reader.start()
        try:
            for piece in pieces:
                peer.sendall(piece)
                if pause_s:
                    time.sleep(pause_s)
            if half_close:
                peer.end()
        except (BrokenPipeError, ConnectionResetError):
            received.append(b"")
        reader.join(20)
        assert not reader.is_alive(), "the server did not close the connection"
        assert b"RESET" not in received, "the connection was reset before its answer could be read"
        return b"".join(received)


def _read_all(peer: Peer, received: list[bytes]) -> None:
    try:
        while part := peer.recv(65_536):
            received.append(part)
    except ConnectionResetError:
        received.append(b"RESET")


def answers(received: bytes, *, head_only: bool = False) -> list[Answer]:
    """The answers in what was received; only the first is to a HEAD if `head_only`."""
    found: list[Answer] = []
    while received:
        head, separator, received = received.partition(b"\r\n\r\n")
        assert separator, f"no end of head: {head[:200]!r}"
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(status_line.split(" ")[1])
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            body, received = _unchunk(received)
        elif not (head_only and not found) and status not in (100, 204, 304):
            length = int(headers["content-length"])
            body, received = received[:length], received[length:]
            assert len(body) == length
        found.append(Answer(status, headers, body))
    return found


def _unchunk(received: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, received = received.partition(b"\r\n")
        length = int(size, 16)
        body, received = body + received[:length], received[length + 2 :]
        if length == 0:
            return body, received

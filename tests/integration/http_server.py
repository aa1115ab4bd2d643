"""A real server in a thread, and a client that sends bytes as they are."""

import asyncio
import contextlib
import queue
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import uvloop

from headwater.http.application import application
from headwater.http.config import ClientConfig, HttpLimits
from headwater.http.messages import ReadinessCheck, Request, Response, Route
from headwater.http.metrics import METRICS, REFUSED
from headwater.http.serving import Listener, serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Bytes, Seconds
from headwater.kernel.metrics import Metrics


@dataclass(frozen=True)
class RunningServer:
    """A server that is being served."""

    port: int
    metrics: Metrics
    thread: threading.Thread
    _loop: asyncio.AbstractEventLoop
    _gate: asyncio.Event
    _stop: asyncio.Event

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

    async def torn(request: Request) -> Response:
        return Response(200, _torn())

    return [
        Route("GET", "/empty", empty, "Nothing.", {}),
        Route("POST", "/empty-post", empty, "Nothing, without reading the body.", {}),
        Route("POST", "/echo", echo, "The body.", {}, body_bytes_max=65_536),
        Route("GET", "/slow", slow, "Something, late.", {}),
        Route("GET", "/gate", gated, "Something, when the gate opens.", {}),
        Route("GET", "/flood", flood, "Without end.", {}),
        Route("GET", "/torn", torn, "Not to its end.", {}),
        Route("GET", "/t/{title*}", title, "The title.", {}),
        Route("GET", "/granted", empty, "Nothing, for some.", {}, grant="test:read"),
    ]


async def _flood() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536


async def _torn() -> AsyncIterator[bytes]:
    yield b"half"
    raise LookupError("gone")


@contextlib.contextmanager
def running(
    *, clients: Sequence[ClientConfig] = (), readiness: Sequence[ReadinessCheck] = (), watched_loop: bool = False, **limits: float
) -> Iterator[RunningServer]:
    """Serve on 127.0.0.1 in a thread of its own, on uvloop unless `watched_loop`."""
    metrics = Metrics(METRICS)
    configured = msgspec.structs.replace(HttpLimits(), **{name: _typed(name, value) for name, value in limits.items()})
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
        listener = Listener("127.0.0.1", 0, app, configured)
        serving = asyncio.create_task(serve([listener], stop=stop, started=started))
        await started.wait()
        up.put(RunningServer(listener.bound_port, metrics, threading.current_thread(), asyncio.get_running_loop(), gate, stop))
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
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(peer, received))
        reader.start()
        try:
            for piece in pieces:
                peer.sendall(piece)
                if pause_s:
                    time.sleep(pause_s)
            if half_close:
                peer.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            received.append(b"")
        reader.join(20)
        assert not reader.is_alive(), "the server did not close the connection"
        assert b"RESET" not in received, "the connection was reset before its answer could be read"
        return b"".join(received)


def _read_all(peer: socket.socket, received: list[bytes]) -> None:
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

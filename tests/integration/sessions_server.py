"""The service of sessions on a real socket in a thread, over the model of its store, which can be told to fail; time can be moved on."""

import asyncio
import contextlib
import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import uvloop
from tests.integration.http_server import Answer, answers, exchange

from headwater.http.application import application
from headwater.http.metrics import METRICS as HTTP
from headwater.http.serving import Listener, serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.sessions.api import SessionsApi
from headwater.sessions.config import SessionClientConfig, SessionsConfig, Verb
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.keys import ring_of
from headwater.sessions.metrics import METRICS
from headwater.sessions.model import Generation, KeyId, Row, RowId, Version
from headwater.sessions.sealing import MASTER_BYTES
from headwater.sessions.service import Sessions

CATALOGUE = (*HTTP, *METRICS)


class MovedClock(SystemClock):
    """The clock of this machine, moved on by a test."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.moved_s * 1000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.moved_s


class FailingStore(MemorySessionStore):
    """A store that raises `error` while it is set, from what requests and readiness ask of it; `gate` holds up writes until it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked = 0

    async def _meet(self, *, writes: bool) -> None:
        self.asked += 1
        if writes and self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error

    async def near(self, id: RowId) -> Row | None:
        await self._meet(writes=False)
        return await super().near(id)

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        await self._meet(writes=True)
        return await super().put(row, expected=expected, clears=clears)

    async def delete(self, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
        await self._meet(writes=True)
        return await super().delete(rows)

    async def generations_since(self, sequence: int, *, limit: int) -> Sequence[Generation]:
        """Asked by the service itself, so it is not counted."""
        if self.error is not None:
            raise self.error
        return await super().generations_since(sequence, limit=limit)


@dataclass(frozen=True)
class SessionsServer:
    """A server that is being served."""

    port: int
    metrics: Metrics
    clock: MovedClock
    store: FailingStore
    api: SessionsApi
    thread: threading.Thread
    _loop: asyncio.AbstractEventLoop
    _stop: asyncio.Event
    _gates: list[asyncio.Event] = field(default_factory=list)

    def ask(self, method: str, target: str, body: bytes | None = None, *, host: str = "127.0.0.1", **headers: str) -> Answer:
        """One request on a connection of its own; underscores in names of headers are dashes."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        received = exchange(self.port, ["\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")])
        (answer,) = answers(received, head_only=method == "HEAD")
        return answer

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.moved_s += seconds

    def fail(self, error: HeadwaterError | Exception | None) -> None:
        """Let the store raise `error` from now on; None heals it."""
        self.store.error = error

    def hold_writes(self) -> None:
        """Let writes wait."""
        gate = asyncio.Event()
        self._gates.append(gate)
        self.store.gate = gate

    def release_writes(self) -> None:
        """Let the writes that wait go on."""
        self.store.gate = None
        for gate in self._gates:
            self._loop.call_soon_threadsafe(gate.set)

    def stop(self) -> None:
        """Ask the server to end."""
        self.release_writes()
        self._loop.call_soon_threadsafe(self._stop.set)


def poll(question: Callable[[], bool]) -> None:
    """Ask again and again until it is so, for at most ten seconds."""
    deadline_s = time.monotonic() + 10
    while not question():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def client(name: str, grants: dict[str, tuple[Verb, ...]]) -> SessionClientConfig:
    """A client whose token is `token-` and its name."""
    digest = hashlib.sha256(f"token-{name}".encode()).hexdigest()
    return SessionClientConfig(name=name, token_sha256=digest, grants=grants)


@contextlib.contextmanager
def serving(config: SessionsConfig) -> Iterator[SessionsServer]:
    """Serve on 127.0.0.1 in a thread of its own."""
    metrics, clock, store = Metrics(CATALOGUE), MovedClock(), FailingStore()
    ring = ring_of({KeyId(1): bytes(range(MASTER_BYTES))}, active=KeyId(1))
    up: queue.SimpleQueue[SessionsServer | BaseException] = queue.SimpleQueue()

    async def main() -> None:
        service = Sessions(store, ring=ring, policies=config.policies(), clock=clock, ids=SystemIds(), metrics=metrics)
        await service.start()
        api = SessionsApi(service, config, metrics=metrics, clock=clock)
        app = application(
            api.routes(),
            role="sessions",
            metrics=metrics,
            readiness=(("storage", service.ready),),
            clients=api.callers,
            limits=config.http,
            clock=clock,
            manner=api.manner(),
        )
        stop, started = asyncio.Event(), asyncio.Event()
        listener = Listener("127.0.0.1", 0, app, config.http)
        server = asyncio.create_task(serve([listener], stop=stop, started=started))
        await started.wait()
        loop = asyncio.get_running_loop()
        up.put(SessionsServer(listener.bound_port, metrics, clock, store, api, threading.current_thread(), loop, stop))
        await server
        await service.stop()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            up.put(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    server = up.get(timeout=10)
    if isinstance(server, BaseException):
        raise server
    try:
        yield server
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()

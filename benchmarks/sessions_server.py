"""The service of sessions with yardsticks beside it, in a process of its own: `python -m benchmarks.sessions_server DIRECTORY`.

Everything is as `headwater serve sessions` has it: encryption, clients, durable writes, memory protected. The yardsticks do less.
"""

import asyncio
import hashlib
import signal
import sys
from pathlib import Path

import uvloop

from headwater.app.hardening import harden
from headwater.app.sessions_process import CATALOGUE
from headwater.http.application import application
from headwater.http.listening import Listener
from headwater.http.messages import Request, Response, Route
from headwater.http.serving import serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.collecting import freeze_survivors
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.sessions.api import SessionsApi
from headwater.sessions.config import NamespaceConfig, SessionClientConfig, SessionsConfig, Verb
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.keys import init_keys, load_ring
from headwater.sessions.service import Sessions
from headwater.sqlite import StorageConfig, shorten_thread_switches

TOKEN = "a-token-for-the-benchmark-0123456789"
NAMESPACE = "sessions"


def configuration() -> SessionsConfig:
    """One namespace, and a client that may read, write and delete there."""

    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    client = SessionClientConfig(name="wiki", token_sha256=digest, grants={NAMESPACE: (Verb.READ, Verb.WRITE, Verb.DELETE)})
    return SessionsConfig(namespaces={NAMESPACE: NamespaceConfig(base="/sessions/v1/")}, clients=(client,))


async def _serve(directory: Path) -> None:
    harden()
    shorten_thread_switches()
    clock, ids, metrics, config = SystemClock(), SystemIds(), Metrics(CATALOGUE), configuration()
    init_keys(directory / "keys", ids)
    store = await SqliteSessionStore.open(directory / "sessions.sqlite", metrics=metrics, clock=clock, storage=StorageConfig())
    service = Sessions(store, ring=load_ring(directory / "keys"), policies=config.policies(), clock=clock, ids=ids, metrics=metrics)
    await service.start()
    api = SessionsApi(service, config, metrics=metrics, clock=clock)
    app = application(
        (*api.routes(), *_yardsticks(service)),
        role="sessions",
        metrics=metrics,
        readiness=(),
        clients=api.callers,
        limits=config.http,
        clock=clock,
        manner=api.manner(),
    )
    listener = Listener("127.0.0.1", 0, app, config.http)
    stop, started = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    serving = asyncio.create_task(serve([listener], stop=stop, started=started))
    await started.wait()
    sys.stdout.write(f"port {listener.bound_port}\n")
    sys.stdout.flush()
    await serving
    await service.stop()
    await store.close()


def _yardsticks(service: Sessions) -> tuple[Route, ...]:
    alone, numbers = asyncio.Lock(), iter(range(10**9))

    async def empty(request: Request) -> Response:
        await request.body()
        return Response(201 if request.method == "POST" else 200)

    async def one_commit(request: Request) -> Response:
        value = await request.body()
        async with alone:
            await service.save(NAMESPACE, b"alone-%d" % next(numbers), value)
        return Response(201)

    return (
        Route("GET", "/bench/empty", empty, "An empty answer.", {200: "Done."}),
        Route("POST", "/bench/empty", empty, "An empty answer to a value.", {201: "Done."}),
        Route("POST", "/bench/one-commit", one_commit, "A session saved with an fsync of its own.", {201: "Done."}),
    )


if __name__ == "__main__":
    freeze_survivors()
    uvloop.run(_serve(Path(sys.argv[1])))

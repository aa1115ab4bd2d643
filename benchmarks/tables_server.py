"""The service of tables with yardsticks beside it, in a process of its own: `python -m benchmarks.tables_server DIRECTORY`.

Everything is as `headwater serve` has it: clients, quotas, durable writes. The yardsticks do less.
"""

import asyncio
import hashlib
import logging
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from headwater.app.metrics import CATALOGUE
from headwater.http.application import application
from headwater.http.config import HttpLimits
from headwater.http.json import parse
from headwater.http.listening import Listener
from headwater.http.messages import Request, Response, Route
from headwater.http.serving import serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.collecting import freeze_survivors
from headwater.kernel.metrics import Metrics
from headwater.sqlite import StorageConfig, shorten_thread_switches
from headwater.tables.api import TablesApi
from headwater.tables.clients import Callers
from headwater.tables.config import TableClientConfig, TablesConfig, Verb
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.service import Tables
from headwater.tables.streaming import Streams
from headwater.tables.tokens import Tokens

TOKEN = "a-token-for-the-benchmark-0123456789"
DOMAIN = "en.example"
FILE = "tables.sqlite"


def configuration() -> TablesConfig:
    """A client that may do everything in one domain."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    return TablesConfig(clients=(TableClientConfig(name="team", token_sha256=digest, grants={DOMAIN: {"*": tuple(Verb)}}),))


def log_warnings_only() -> None:
    """Every table that is declared is logged, and nobody reads what the server writes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


async def _serve(directory: Path) -> None:
    log_warnings_only()
    shorten_thread_switches()
    clock, metrics, config, limits = SystemClock(), Metrics(CATALOGUE), configuration(), HttpLimits()
    store = await SqliteTableStore.open(directory / FILE, metrics=metrics, clock=clock, storage=StorageConfig())
    service = Tables(store, config, tokens=Tokens(bytes(32)), clock=clock, metrics=metrics)
    await service.start()
    stop, started = asyncio.Event(), asyncio.Event()
    streams = Streams(service, stopping=stop, metrics=metrics, streams_max=config.streams_max)
    app = application(
        (*TablesApi(service, streams, config).routes(), *_yardsticks(service)),
        role="tables",
        metrics=metrics,
        readiness=(),
        clients=Callers(config),
        limits=limits,
        clock=clock,
    )
    listener = Listener("127.0.0.1", 0, app, limits)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    serving = asyncio.create_task(serve([listener], stop=stop, started=started))
    await started.wait()
    sys.stdout.write(f"port {listener.bound_port}\n")
    sys.stdout.flush()
    await serving
    await store.close()


def _yardsticks(service: Tables) -> tuple[Route, ...]:
    alone = asyncio.Lock()

    async def empty(request: Request) -> Response:
        await request.body()
        return Response(201 if request.method == "PUT" else 200)

    async def one_commit(request: Request) -> Response:
        body = parse(await request.body())
        assert isinstance(body, dict)
        async with alone:
            await service.put(DOMAIN, body["table"], body, condition=None)
        return Response(201)

    return (
        Route("POST", "/bench/empty", empty, "An empty answer to a query.", {200: "Done."}),
        Route("PUT", "/bench/empty", empty, "An empty answer to a row.", {201: "Done."}),
        Route("PUT", "/bench/one-commit", one_commit, "A row written with an fsync of its own.", {201: "Done."}),
    )


if __name__ == "__main__":
    freeze_survivors()
    uvloop.run(_serve(Path(sys.argv[1])))

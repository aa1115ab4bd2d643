"""The demo as a whole: Headwater between the built-in wiki and the built-in cache, all on this machine, all in this process.

Only the wiki and the cache are not the real thing; everything between them is what `headwater up` runs.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.app.config import HeadwaterConfig, check
from headwater.app.demo.cache import DemoCache
from headwater.app.demo.content import fill
from headwater.app.demo.wiki import DemoWiki
from headwater.app.demo.wiki_api import WikiApi
from headwater.app.logging_config import LoggingConfig, LogLevel
from headwater.app.platform import Platform
from headwater.app.roles import ROLES
from headwater.console.config import ConsoleConfig
from headwater.events.config import EventsConfig
from headwater.http.application import application
from headwater.http.config import HttpLimits
from headwater.http.listening import Listener
from headwater.http.messages import Route
from headwater.http.serving import serve
from headwater.kernel.clock import Clock
from headwater.kernel.config import Bytes, Seconds
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.config import PropagationConfig
from headwater.purging.config import PurgingConfig, TargetConfig
from headwater.sqlite.config import StorageConfig

WIKI = "rivers"
DOMAIN = "rivers.example"
READ_DEADLINE = Seconds.of("2s")
ORIGIN_TIMEOUT_MAX = Seconds.of("3s")
"""Above the read deadline: no fetch of the cache from the pages API takes longer, so the second purge may follow so soon."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens on 127.0.0.1."""

    wiki: int = 8090
    cache: int = 6081
    events: int = 8192
    pages: int = 8082
    purging: int = 8084
    console: int = 8900

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Six ports in a row."""
        return cls(*range(base, base + 6))


def config_of(ports: Ports, data_dir: Path) -> HeadwaterConfig:
    """The configuration of the demo, as one would write it in a file."""
    wiki = WikiConfig(
        domains=(DOMAIN,),
        api_url=f"http://127.0.0.1:{ports.wiki}/api.php",
        poll_interval=Seconds.of("250ms"),
        page_urls=(f"http://127.0.0.1:{ports.cache}/v1/{WIKI}/html/{{title}}",),
    )
    config = HeadwaterConfig(
        data_dir=str(data_dir),
        wikis={WIKI: wiki},
        events=EventsConfig(listen=f"127.0.0.1:{ports.events}"),
        propagation=PropagationConfig(listen=f"127.0.0.1:{ports.pages}", read_deadline=READ_DEADLINE, audit_interval=Seconds(0)),
        purging=PurgingConfig(
            listen=f"127.0.0.1:{ports.purging}",
            targets=(TargetConfig(name="cache", url=f"http://127.0.0.1:{ports.cache}"),),
            origin_timeout_max=ORIGIN_TIMEOUT_MAX,
        ),
        console=ConsoleConfig(listen=f"127.0.0.1:{ports.console}"),
        logging=LoggingConfig(level=LogLevel.WARNING),
        storage=StorageConfig(ballast_bytes=Bytes(0)),
    )
    check(config)
    return config


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The running demo.

    Attributes:
        ports: where everything listens.
        wiki: the built-in wiki, to look at; edits go through its API.
        cache: the built-in cache.
        metrics: of the whole process.
    """

    ports: Ports
    wiki: DemoWiki
    cache: DemoCache
    metrics: Metrics
    clock: Clock


async def run_demonstration(
    ports: Ports, data_dir: Path, work: Callable[[Demonstration], Coroutine[Any, Any, int]], *, clock: Clock, ids: Ids
) -> int:
    """Serve wiki, cache and all roles, do `work` beside them, end everything; returns what `work` returns.

    Raises:
        Unavailable: a port is taken.
        HeadwaterError: what the platform raises; `work` is cancelled then.
    """
    wiki = _grown_wiki(clock)
    platform = Platform(config_of(ports, data_dir), ROLES, clock, ids)
    async with AsyncExitStack() as stack:
        cache = DemoCache(f"http://127.0.0.1:{ports.pages}", clock=clock)
        stack.push_async_callback(cache.close)
        demo = Demonstration(ports, wiki, cache, platform.metrics, clock)
        await stack.enter_async_context(_served(_listeners(demo)))
        running = await stack.enter_async_context(_running(platform))
        working = asyncio.create_task(work(demo))
        try:
            await asyncio.wait((working, running), return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        if running.done():
            running.result()
        return working.result()
    raise AssertionError("unreachable")


class _SetBackClock:
    """A clock that can be behind another one."""

    def __init__(self, clock: Clock, behind_ms: int) -> None:
        self._clock = clock
        self.behind_ms = behind_ms

    def now_ms(self) -> int:
        return self._clock.now_ms() - self.behind_ms

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


def _grown_wiki(clock: Clock) -> DemoWiki:
    """The wiki, all of it written some time ago: its pages have to be found by a backfill, as in any wiki that Headwater comes to late."""
    set_back = _SetBackClock(clock, behind_ms=3_600_000)
    wiki = DemoWiki(set_back)
    fill(wiki)
    set_back.behind_ms = 0
    return wiki


def _listeners(demo: Demonstration) -> list[Listener]:
    """Where the wiki and the cache are served."""
    ports, clock = demo.ports, demo.clock
    api = WikiApi(demo.wiki, clock=clock, server=f"http://127.0.0.1:{ports.wiki}")
    limits = HttpLimits(drain=Seconds.of("1s"))
    routes: tuple[tuple[str, int, Sequence[Route]], ...] = (
        ("demo-wiki", ports.wiki, api.routes()),
        ("demo-cache", ports.cache, demo.cache.routes()),
    )
    return [
        Listener(
            "127.0.0.1",
            port,
            application(own, role=role, metrics=demo.metrics, readiness=(), clients=(), limits=limits, clock=clock),
            limits,
        )
        for role, port, own in routes
    ]


@asynccontextmanager
async def _served(listeners: Sequence[Listener]) -> AsyncIterator[None]:
    """While open, the listeners are served."""
    stop, started = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve(listeners, stop=stop, started=started))
    try:
        await _set_or_ended(started, serving)
        yield
    finally:
        stop.set()
        await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def _running(platform: Platform) -> AsyncIterator["asyncio.Task[None]"]:
    """While open, all roles run; closing stops them in order."""
    ready = asyncio.Event()
    platform.on_ready = lambda _: ready.set()
    running = asyncio.create_task(platform.run())
    try:
        await _set_or_ended(ready, running)
        yield running
    finally:
        platform.stop.set()
        await asyncio.gather(running, return_exceptions=True)


async def _set_or_ended(event: asyncio.Event, task: "asyncio.Task[None]") -> None:
    """Wait for `event`; if `task` ends first, raise what it raised."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if task.done() and not event.is_set():
        task.result()

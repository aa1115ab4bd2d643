"""A small wiki and a cache that outlive Headwater, served by this process, and the truth about them.

`RiverWorld` counts every render that the wiki is asked for, can hold renders back, and computes each page's HTML by itself: what it says is
what everybody must see at rest.
"""

import asyncio
import collections
import pathlib
import threading
import urllib.parse
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tests.acceptance.platform_process import PlatformProcess, fetch
from tests.real.wiki import free_port

from headwater.app.demo.cache import DemoCache
from headwater.app.demo.titles import parse_title
from headwater.app.demo.wiki import DemoWiki, Parsed
from headwater.app.demo.wiki_api import WikiApi
from headwater.app.metrics import CATALOGUE
from headwater.http.application import application
from headwater.http.config import HttpLimits
from headwater.http.listening import Listener
from headwater.http.messages import Request, Response, Route
from headwater.http.serving import serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Seconds
from headwater.kernel.metrics import Metrics
from headwater.mediawiki.normalise import normalise

WIKI = "rivers"
RIVERS = tuple(f"River {number}" for number in range(24))
ALONE = tuple(f"Lake {number}" for number in range(8))
_CONFIG = """
data_dir: {folder}/data
wikis:
  rivers:
    domains: [rivers.example]
    api_url: {wiki}/api.php
    source: follower
    poll_interval: 50ms
    page_urls: ["{cache}/v1/rivers/html/{{title}}"]
events: {{listen: "127.0.0.1:0"}}
propagation: {{listen: "127.0.0.1:{pages_port}", read_deadline: 2s, checkpoint_interval: 300ms, audit_interval: 0s}}
purging:
  listen: "127.0.0.1:0"
  origin_timeout_max: 300ms
  served_poll: 50ms
  targets: [{{name: cache, url: "{cache}"}}]
log: {{maintain_interval: 1d}}
logging: {{level: warning}}
storage: {{ballast_bytes: 0B}}
"""


class CountingWiki(DemoWiki):
    """The built-in wiki; counts the texts it was asked to render, by title."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.renders: collections.Counter[str] = collections.Counter()

    def parse(self, title: Any, text: str) -> Parsed:
        """As the built-in wiki, counted."""
        self.renders[title.text] += 1
        return super().parse(title, text)


class RiverWorld:
    """Wiki and cache, served by a thread until the end. Use as a context manager.

    Args:
        folder: for the configuration, logs and data of Headwater.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.wiki = CountingWiki()
        self.lock = threading.RLock()
        self.may_render = threading.Event()  # cleared: renders wait
        self.may_render.set()
        self.pages_port = free_port()
        self._wiki_port, self._cache_port = free_port(), free_port()
        self.wiki_url, self.cache_url = f"http://127.0.0.1:{self._wiki_port}", f"http://127.0.0.1:{self._cache_port}"
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="river-world")
        self._fill()

    def _fill(self) -> None:
        self.edit("Template:Inner", "inner words")
        self.edit("Template:Box", "box of {{Inner}} for {{{1|}}}")
        for number, title in enumerate(RIVERS):
            self.edit(title, f"A river. {{{{Box|{title}}}}} It flows to [[River {(number + 1) % len(RIVERS)}]].")
        for title in ALONE:
            self.edit(title, "A lake without templates.")
        self.edit("Old River", "#REDIRECT [[River 1]]")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(30)
        self.config.write_text(_CONFIG.format(folder=self.folder, wiki=self.wiki_url, cache=self.cache_url, pages_port=self.pages_port))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.may_render.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    @property
    def config(self) -> pathlib.Path:
        """The configuration file of Headwater beside this world."""
        return self.folder / "headwater.yaml"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        clock, metrics = SystemClock(), Metrics(CATALOGUE)
        cache = DemoCache(f"http://127.0.0.1:{self.pages_port}", clock=clock)
        api = WikiApi(self.wiki, clock=clock, server=self.wiki_url)
        limits = HttpLimits(drain=Seconds.of("1s"))
        routes = (("wiki", self._wiki_port, [self._held(route) for route in api.routes()]), ("cache", self._cache_port, cache.routes()))
        listeners = [
            Listener(
                "127.0.0.1",
                port,
                application(own, role=role, metrics=metrics, readiness=(), clients=(), limits=limits, clock=clock),
                limits,
            )
            for role, port, own in routes
        ]
        started = asyncio.Event()
        serving = asyncio.create_task(serve(listeners, stop=self._stop, started=started))
        await started.wait()
        self._started.set()
        await serving
        await cache.close()

    def _held(self, route: Route) -> Route:
        """The route under this world's lock; a render waits while renders are held back."""

        async def handler(request: Request) -> Response:
            if b"action=parse" in await request.body() or ("action", "parse") in request.query:
                await asyncio.to_thread(self.may_render.wait)
            with self.lock:
                return await route.handler(request)

        return Route(
            route.method,
            route.path,
            handler,
            route.summary,
            route.statuses,
            body_bytes_max=route.body_bytes_max,
            parameters=route.parameters,
        )

    def edit(self, title: str, text: str) -> None:
        """Save a page."""
        with self.lock:
            self.wiki.edit(parse_title(title), text)

    def renders(self) -> collections.Counter[str]:
        """How often each page was rendered so far, the oracle's own renders left out."""
        with self.lock:
            return collections.Counter(self.wiki.renders)

    def truth(self) -> Mapping[str, str]:
        """What each page's HTML is now, by prefixed database key; computed here, past every cache."""
        with self.lock:
            return {
                page.title.text.replace(" ", "_"): normalise(DemoWiki.parse(self.wiki, page.title, page.current.text).html)
                for page in self.wiki.pages()
            }

    def wrong(self, platform: PlatformProcess) -> list[str]:
        """What is not as the truth: pages as the pages API serves them, and copies in the cache."""
        found = []
        for title, html in self.truth().items():
            path = f"/v1/{WIKI}/html/{urllib.parse.quote(title, safe='')}"
            status, headers, body = platform.ask("propagation", f"{path}?redirect=no", headers={"Headwater-Read": "stale"})
            if status != 200 or html not in body.decode() or headers["x-headwater-state"] != "fresh":
                found.append(f"page {title}: {status} {headers.get('x-headwater-state')}")
            cached, cached_headers, copy = fetch(f"{self.cache_url}{path}")
            if cached == 200 and html not in copy.decode():
                found.append(f"copy of {title}: {cached_headers.get('x-cache')}")
        return found

"""Propagation of one fake wiki on engines in memory, with a clock that a test moves; it can crash and start again, and answers requests."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import msgspec

from headwater.http.messages import Client, Request, Response
from headwater.http.problems import problem_of
from headwater.http.routing import Router
from headwater.kernel.config import Seconds
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metric, Metrics
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import BEFORE_FIRST, PartitionId, Record
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.api import routes
from headwater.propagation.config import PropagationConfig
from headwater.propagation.engines.memory import MemoryBodies, MemoryCheckpoints, MemoryCopies
from headwater.propagation.metrics import METRICS
from headwater.propagation.model import CommitRecord, PageKey, Title
from headwater.propagation.owner import Owner
from headwater.propagation.service import PropagationService, WikiParts
from headwater.propagation.shard import Shard
from headwater.testing.clock import ManualClock
from headwater.testing.fakewiki import DOMAIN, FakeWiki, event_streams
from headwater.testing.ids import SequentialIds

WIKI = "rivers"
_TURNS_MAX = 20_000


@dataclass(slots=True)
class World:
    """One wiki and the propagation of it. Everything but `service` outlives a crash."""

    config: PropagationConfig
    wiki_config: WikiConfig
    clock: ManualClock
    log: MemoryLog
    wiki: FakeWiki
    bodies: MemoryBodies
    checkpoints: MemoryCheckpoints
    metrics: Metrics = field(default_factory=lambda: Metrics(METRICS))
    ids: SequentialIds = field(default_factory=SequentialIds)
    copies: MemoryCopies = field(default_factory=MemoryCopies)
    service: PropagationService = field(init=False)

    async def start(self) -> None:
        """Start a service on what there is."""
        self.service = self.make_service()
        await self.service.start()

    def make_service(self) -> PropagationService:
        """A service on what there is, not started: a second owner, for tests of fencing."""
        parts = WikiParts(self.wiki_config, self.wiki, self.wiki, self.checkpoints, self.copies)
        return PropagationService(
            {WIKI: parts},
            config=self.config,
            log=self.log,
            bodies=self.bodies,
            event_streams=event_streams(),
            clock=self.clock,
            ids=self.ids,
            metrics=self.metrics,
        )

    @property
    def owner(self) -> Owner:
        """The wiki's owner."""
        return self.service._wikis[WIKI].owner

    @property
    def shard(self) -> Shard:
        """The shard of the present epoch."""
        assert self.owner.epoch is not None
        return self.owner.epoch.tenure.shard

    async def until(self, condition: "asyncio.Event | None" = None, *, turns: int = _TURNS_MAX) -> None:
        """Let everything run until `condition` is set or, without one, until the wiki is at rest; the clock stands still."""
        for _ in range(turns):
            if condition.is_set() if condition is not None else await self.service.at_rest(WIKI):
                return
            running = self.service._running
            if running is not None and running.done():
                running.result()
            await asyncio.sleep(0)
        raise AssertionError(f"not there after {turns} turns; the owner is {self.owner.state} because {self.owner.reason}")

    async def turns(self, count: int = 200) -> None:
        """Let everything run for a while; the clock stands still."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def crash(self) -> None:
        """End the service where it stands: nothing more is saved."""
        running = self.service._running
        assert running is not None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def restart(self) -> None:
        """Crash, and start a new service."""
        await self.crash()
        await self.start()

    def current(self, title: str) -> CommitRecord:
        """The commit that names what is served under `title`."""
        page = self.shard.find(Title(title))
        assert page is not None, f"{title} is unknown"
        record = self.shard.current(page)
        assert record is not None, f"{title} was never committed"
        return record

    async def served(self, title: str) -> bytes | None:
        """What the store has for the current body of `title`."""
        body = self.current(title).html_hash
        return None if body is None else await self.bodies.get(body)

    async def check_all(self) -> None:
        """Assert that every page of the wiki is what a fresh render gives, and that the shard keeps its invariants."""
        for title in self.wiki.titles():
            assert await self.served(title) == self.wiki.html(title), title
        self.shard.validate(thorough=True)

    async def records(self, stream: str) -> list[Record]:
        """Everything in a stream."""
        found: list[Record] = []
        after = BEFORE_FIRST
        while True:
            batch = await self.log.read(PartitionId(stream), after, limit=1000)
            found.extend(batch.records)
            after = batch.next
            if batch.at_end:
                return found

    async def purged(self, *, since: int = 0) -> list[str]:
        """Addresses asked to be purged, from the record number `since` on."""
        return [msgspec.json.decode(record.value or b"")["meta"]["uri"] for record in (await self.records("resource-purge"))[since:]]

    def count(self, metric: Metric, **labels: str) -> float:
        """The value of one of the wiki's metrics."""
        return self.metrics.value(metric, wiki=WIKI, **labels)

    async def call(self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Response:
        """Answer a request as the HTTP room would, problems included."""
        parts = urlsplit(target)
        try:
            found = Router(routes(self.service)).find(parts.path)
            assert found is not None, f"no route for {target}"
            match, params = found
            route = match.route(method)
            assert route is not None, f"no {method} for {target}"

            async def read_body() -> bytes:
                return body

            query = tuple(parse_qsl(parts.query, keep_blank_values=True))
            return await route.handler(
                Request(method, parts.path, query, headers or {}, Client("test"), "127.0.0.1", read_body, dict(params))
            )
        except HeadwaterError as error:
            return problem_of(error)

    async def get(self, target: str, **headers: str) -> Response:
        """GET; `read="fresh"` sends `Headwater-Read`, other names are sent with `-` for `_`."""
        named = {"headwater-read" if name == "read" else name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("GET", target, headers=named)

    def page_key(self, title: str) -> PageKey:
        """The page that the shard knows under `title`."""
        page = self.shard.find(Title(title))
        assert page is not None
        return page


def header(response: Response, name: str) -> str | None:
    """The value of a response header, or None."""
    return next((value for key, value in response.headers if key == name), None)


@asynccontextmanager
async def world(
    config: PropagationConfig | None = None, wiki_config: WikiConfig | None = None, *, audited: bool = False
) -> AsyncIterator[World]:
    """A running world, ended by a crash; without `audited` nothing is rendered that propagation does not ask for."""
    config = config or PropagationConfig()
    clock = ManualClock()
    log = MemoryLog(clock=clock)
    made = World(
        config=config if audited else msgspec.structs.replace(config, audit_interval=Seconds(0)),
        wiki_config=wiki_config
        or WikiConfig(domains=(DOMAIN,), api_url="http://wiki.example/api.php", page_urls=("http://cache.example/{title}",)),
        clock=clock,
        log=log,
        wiki=FakeWiki(log, clock),
        bodies=MemoryBodies(),
        checkpoints=MemoryCheckpoints(),
    )
    await log.declare(event_streams())
    await made.start()
    try:
        yield made
    finally:
        await made.crash()

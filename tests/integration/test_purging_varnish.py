"""Purging against a real Varnish with the shipped VCL: fills, hits, purges, who may purge, and the race between a fill and a purge."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from tests.integration.small_server import small_server
from tests.real.varnish import RealVarnish
from tests.real.wiki import free_port

from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Seconds
from headwater.kernel.metrics import Metrics
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import NewRecord, Policy, StreamSpec
from headwater.purging import metrics as m
from headwater.purging import service as service_module
from headwater.purging.config import PurgingConfig, TargetConfig
from headwater.purging.engines.http import HttpPurgeTarget, HttpTargetSpec
from headwater.purging.model import STREAM, Purge, purge_of
from headwater.purging.ports import PurgeRequest
from headwater.purging.service import PurgingService
from headwater.testing.ids import SequentialIds

pytestmark = [pytest.mark.real("varnish")]
FRESH = "public, s-maxage=600, max-age=0"
LIMIT_S = 20.0


@dataclass(slots=True)
class Origin:
    """A pages API of one page per path that can be made slow: an answer is fixed when the request arrives, and sent when `gate` is open.

    Attributes:
        text: what every page says now.
        seq: what stands in `X-Headwater-Seq`.
        requests: paths asked for.
    """

    text: str = "old"
    seq: int = 1
    cache_control: str = FRESH
    requests: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head.split(" ")[1])
            body = self.text.encode()
            fields = f"cache-control: {self.cache_control}\r\nx-headwater-seq: {self.seq}\r\ncontent-length: {len(body)}\r\n"
            self.arrived.set()
            await self.gate.wait()
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n{fields}\r\n".encode() + body)
            await writer.drain()

    async def served(self, wiki: str, page_id: int) -> int | None:
        """What READ serves, as the port of purging says."""
        return self.seq


@dataclass(frozen=True, slots=True)
class Stage:
    """A Varnish in front of an origin, and a reader."""

    origin: Origin
    url: str
    session: aiohttp.ClientSession

    async def read(self, path: str = "/v1/rivers/html/Elbe", **headers: str) -> tuple[str, str]:
        """What a reader gets, and whether it came from the cache."""
        async with self.session.get(self.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()}) as answer:
            return await answer.text(), answer.headers["X-Cache"]

    def target(self) -> HttpPurgeTarget:
        """The cache as purging sees it."""
        return HttpPurgeTarget(HttpTargetSpec(name="varnish", url=self.url))


@pytest.fixture(scope="module")
def varnish() -> Iterator[tuple[str, int]]:
    """A running Varnish: its address and the port of the origin that it asks."""
    port = free_port()
    with RealVarnish(substitute={'"8082"': f'"{port}"'}) as cache:
        yield cache.url, port


@contextlib.asynccontextmanager
async def stage(varnish: tuple[str, int]) -> AsyncIterator[Stage]:
    """The origin and a reader for one test."""
    url, port = varnish
    origin = Origin()
    origin.gate.set()
    async with asyncio.timeout(LIMIT_S):
        async with small_server(origin.answer, port), aiohttp.ClientSession() as session:
            yield Stage(origin, url, session)


def scene(varnish: tuple[str, int], act: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        async with stage(varnish) as place:
            async with place.target() as target:
                for path in ("/v1/rivers/html/Elbe", "/v1/rivers/html/Saale"):
                    await target.purge(PurgeRequest(place.url + path, None))
            await act(place)

    asyncio.run(play())


def test_a_copy_is_served_until_it_is_purged(varnish: tuple[str, int]) -> None:
    async def act(place: Stage) -> None:
        assert await place.read() == ("old", "miss")
        assert await place.read() == ("old", "hit")
        async with place.session.get(f"{place.url}/v1/rivers/html/Elbe") as answer:
            assert "Age" in answer.headers
            assert answer.headers["X-Headwater-Seq"] == "1"
        await place.read("/v1/rivers/html/Saale")
        place.origin.text = "new"
        assert await place.read() == ("old", "hit")
        async with place.target() as target:
            await target.purge(PurgeRequest(f"{place.url}/v1/rivers/html/Elbe", 2))
        assert await place.read() == ("new", "miss")
        assert await place.read("/v1/rivers/html/Saale") == ("old", "hit")

    scene(varnish, act)


def test_a_purge_of_what_is_not_there_is_acknowledged(varnish: tuple[str, int]) -> None:
    async def act(place: Stage) -> None:
        async with place.target() as target:
            await target.purge(PurgeRequest(f"{place.url}/v1/rivers/html/Nowhere", None))

    scene(varnish, act)


def test_what_is_not_to_be_kept_is_not_kept(varnish: tuple[str, int]) -> None:
    async def act(place: Stage) -> None:
        for headers in ({"Headwater_Read": "fresh"}, {"Authorization": "Bearer x"}):
            assert (await place.read(**headers))[1] == "miss"
            assert (await place.read(**headers))[1] == "miss"
        for _ in range(2):
            assert (await place.read("/v1/rivers/html/Elbe?redirect=no"))[1] == "miss"
        place.origin.cache_control = "private"
        assert (await place.read("/v1/rivers/html/Private"))[1] == "miss"
        assert (await place.read("/v1/rivers/html/Private"))[1] == "miss"

    scene(varnish, act)


def test_concurrent_misses_are_one_request_to_the_origin(varnish: tuple[str, int]) -> None:
    async def act(place: Stage) -> None:
        place.origin.gate.clear()
        readers = [asyncio.create_task(place.read()) for _ in range(5)]
        await place.origin.arrived.wait()
        await asyncio.sleep(0)
        place.origin.gate.set()
        assert {text for text, _ in await asyncio.gather(*readers)} == {"old"}
        assert place.origin.requests.count("/v1/rivers/html/Elbe") == 1

    scene(varnish, act)


def test_a_purge_that_came_through_a_proxy_is_refused(varnish: tuple[str, int]) -> None:
    async def act(place: Stage) -> None:
        await place.read()
        for headers in ({"X-Forwarded-For": "203.0.113.7"}, {"Via": "1.1 proxy"}, {"Forwarded": "for=203.0.113.7"}):
            async with place.session.request("PURGE", f"{place.url}/v1/rivers/html/Elbe", headers=headers) as answer:
                assert answer.status == 403
        assert await place.read() == ("old", "hit")

    scene(varnish, act)


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again; the limit of the stage ends it."""
    while not await question():  # noqa: ASYNC110 - what is asked about lives in another process
        await asyncio.sleep(0.01)


async def acknowledged(metrics: Metrics) -> bool:
    return metrics.value(m.ACKNOWLEDGED, target="varnish") >= 1


async def race(place: Stage) -> str:
    """A fill begins, the page is committed and purged, the fill lands with what was before; what a reader gets when purging is at rest."""
    clock, metrics = SystemClock(), Metrics(m.METRICS)
    log = MemoryLog(clock=clock)
    await log.declare([StreamSpec(STREAM, Policy.TIME)])
    url = f"{place.url}/v1/rivers/html/Elbe"
    config = PurgingConfig(
        targets=(TargetConfig(name="varnish", url=place.url),), origin_timeout_max=Seconds.of("500ms"), served_poll=Seconds.of("20ms")
    )
    async with place.target() as target:
        service = PurgingService(log, [target], place.origin, config=config, clock=clock, ids=SequentialIds(), metrics=metrics)
        await service.start()
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        place.origin.gate.clear()
        filling = asyncio.create_task(place.read())
        await place.origin.arrived.wait()  # the fill has the old text in its hands
        place.origin.text, place.origin.seq = "new", 2
        own = {"wiki": "rivers", "page_id": 7, "product": "html", "seq": 2}
        event = json.dumps({"meta": {"uri": url, "domain": "rivers.example"}, "headwater": own}).encode()
        await log.append([NewRecord(STREAM, event, clock.now_ms())])
        await until(lambda: acknowledged(metrics))
        place.origin.gate.set()  # and lands after the purge
        assert (await filling)[0] == "old"
        await until(service.at_rest)
        stop.set()
        await running
    text, _ = await place.read()
    return text


def test_the_second_purge_removes_a_fill_that_landed_after_the_first(varnish: tuple[str, int]) -> None:
    async def act(place: Stage) -> None:
        assert await race(place) == "new"

    scene(varnish, act)


def test_without_second_purge_the_old_copy_would_stay(varnish: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def without_floor(value: bytes | None, time_ms: int) -> Purge | None:
        purge = purge_of(value, time_ms)
        assert purge is not None
        return Purge(url=purge.url, seq=None, wiki=None, page_id=None, time_ms=time_ms)

    async def act(place: Stage) -> None:
        monkeypatch.setattr(service_module, "purge_of", without_floor)
        assert await race(place) == "old"

    scene(varnish, act)

"""The built-in wiki and cache over real sockets: the wiki as Headwater's own client sees it, the cache as readers and purging see it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
from tests.integration.small_server import small_server

from headwater.app.demo.cache import DemoCache, lifetime_s
from headwater.app.demo.content import fill
from headwater.app.demo.titles import parse_title
from headwater.app.demo.wiki import DemoWiki
from headwater.app.demo.wiki_api import WikiApi
from headwater.app.metrics import CATALOGUE
from headwater.http.application import application
from headwater.http.config import HttpLimits
from headwater.http.listening import Listener
from headwater.http.messages import Route
from headwater.http.serving import serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.metrics import Metrics
from headwater.mediawiki.answers import PagesAnswer, ParseAnswer
from headwater.mediawiki.client import WikiClient
from headwater.mediawiki.config import WikiConfig
from headwater.purging.engines.http import HttpPurgeTarget, HttpTargetSpec
from headwater.purging.ports import PurgeRequest
from headwater.testing.clock import ManualClock
from headwater.testing.ids import SequentialIds


@contextlib.asynccontextmanager
async def served(*routes: Route) -> AsyncIterator[str]:
    """While open, the routes are served; yields the address."""
    limits = HttpLimits()
    app = application(routes, role="demo", metrics=Metrics(CATALOGUE), readiness=(), clients=(), limits=limits, clock=SystemClock())
    listener = Listener("127.0.0.1", 0, app, limits)
    stop, started = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve([listener], stop=stop, started=started))
    await started.wait()
    try:
        yield f"http://127.0.0.1:{listener.bound_port}"
    finally:
        stop.set()
        await serving


def with_wiki(act: Callable[[DemoWiki, WikiClient, aiohttp.ClientSession, str], Awaitable[None]]) -> None:
    async def scene() -> None:
        wiki = DemoWiki(SystemClock())
        fill(wiki)
        async with served(*WikiApi(wiki, clock=SystemClock(), server="http://127.0.0.1:8090").routes()) as url:
            config = WikiConfig(domains=("rivers.example",), api_url=f"{url}/api.php")
            client = WikiClient("rivers", config, clock=SystemClock(), ids=SequentialIds(), metrics=Metrics(CATALOGUE))
            try:
                async with aiohttp.ClientSession() as session:
                    await act(wiki, client, session, url)
            finally:
                await client.close()

    asyncio.run(scene())


async def api(session: aiohttp.ClientSession, url: str, **parameters: str) -> dict[str, object]:
    form = {"format": "json", "formatversion": "2", **parameters}
    async with session.post(f"{url}/api.php", data=form) as answer:
        found: dict[str, object] = await answer.json()
        return found


def test_the_client_of_headwater_reads_site_pages_and_parses() -> None:
    async def act(wiki: DemoWiki, client: WikiClient, session: aiohttp.ClientSession, url: str) -> None:
        site = await client.site()
        assert site.normalise("template: unit") == "Template:Unit" and site.lifetime_s_max == 86_400
        asked = {"action": "query", "prop": "revisions|info", "rvprop": "ids|content", "rvslots": "main", "titles": "Elbe|Labe|Nowhere"}
        found = {page.title: page for page in (await client.call(PagesAnswer, asked)).query.pages}
        assert found["Nowhere"].missing and found["Labe"].redirect and found["Elbe"].lastrevid > 0
        text = found["Elbe"].revisions[0].slots["main"].content
        assert text == wiki.text_of(parse_title("Elbe"))
        long_text = (text or "") + "\n" + "x" * 20_000  # more than a form: multipart
        parse = (await client.call(ParseAnswer, {"action": "parse", "title": "Elbe", "text": long_text})).parse
        assert parse is not None and "Template:Unit" in [one.title for one in parse.templates]
        assert any(not link.exists for link in parse.links)
        pages = 0
        async for part in client.call_all(PagesAnswer, {"action": "query", "list": "allpages", "aplimit": 50}, answers_max=20):
            pages += len(part.query.allpages)
        assert pages == sum(page.title.namespace == 0 for page in wiki.pages())

    with_wiki(act)


def test_edits_moves_and_deletions_are_in_the_recent_changes() -> None:
    async def act(wiki: DemoWiki, client: WikiClient, session: aiohttp.ClientSession, url: str) -> None:
        await api(session, url, action="edit", title="Elbe", appendtext="\nMore.", summary="longer")
        same = await api(session, url, action="edit", title="Elbe", text=wiki.text_of(parse_title("Elbe")) or "")
        assert same["edit"] == {**same["edit"], "nochange": True}  # type: ignore[dict-item]
        await api(session, url, action="move", **{"from": "Saale", "to": "Saale (river)"})
        await api(session, url, action="delete", title="Havel")
        changes = await api(session, url, action="query", list="recentchanges", rcdir="newer", rclimit="max", rctype="edit|log")
        rows = changes["query"]["recentchanges"]  # type: ignore[index]
        kinds = [(row["type"], row.get("logtype"), row["title"]) for row in rows]
        assert kinds == [("edit", None, "Elbe"), ("log", "move", "Saale"), ("log", "delete", "Havel")]
        assert rows[1]["logparams"]["target_title"] == "Saale (river)" and rows[1]["pageid"] > 0
        assert wiki.text_of(parse_title("Saale")) == "#REDIRECT [[Saale (river)]]"
        created = await api(session, url, action="query", list="recentchanges", rclimit="max", rctype="new")
        assert "Havel" not in [row["title"] for row in created["query"]["recentchanges"]]  # type: ignore[index]
        number = rows[2]["pageid"]
        await api(session, url, action="undelete", title="Havel")
        page = wiki.page(parse_title("Havel"))
        assert page is not None and page.number == number

    with_wiki(act)


def test_errors_are_answers() -> None:
    async def act(wiki: DemoWiki, client: WikiClient, session: aiohttp.ClientSession, url: str) -> None:
        for parameters, code in (
            ({"action": "nothing"}, "badvalue"),
            ({"action": "parse", "page": "Nowhere"}, "missingtitle"),
            ({"action": "edit", "title": "a|b", "text": "x"}, "title"),
            ({"action": "edit", "title": "Elbe"}, "missingparam"),
        ):
            answer = await api(session, url, **parameters)
            assert answer["error"]["code"] == code  # type: ignore[index]

    with_wiki(act)


@dataclass(slots=True)
class Origin:
    """An origin that says how often it was asked."""

    text: str = "old"
    cache_control: str = "public, max-age=0, s-maxage=10, stale-while-revalidate=5"
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            body = self.text.encode()
            head = f'HTTP/1.1 200 OK\r\netag: "{self.text}"\r\ncache-control: {self.cache_control}\r\ncontent-length: {len(body)}\r\n\r\n'
            await self.gate.wait()
            writer.write(head.encode() + body)
            await writer.drain()


def with_cache(act: Callable[[Origin, ManualClock, aiohttp.ClientSession, str], Awaitable[None]], bytes_max: int = 1000) -> None:
    async def scene() -> None:
        origin, clock = Origin(), ManualClock()
        origin.gate.set()
        async with small_server(origin.answer) as port, aiohttp.ClientSession() as session:
            cache = DemoCache(f"http://127.0.0.1:{port}", clock=clock, bytes_max=bytes_max)
            try:
                async with served(*cache.routes()) as url:
                    await act(origin, clock, session, url)
            finally:
                await cache.close()

    asyncio.run(scene())


async def read(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[str, str]:
    async with session.get(url, headers=headers) as answer:
        return await answer.text(), answer.headers["x-cache"]


def test_a_copy_lives_as_long_as_the_origin_says_and_until_it_is_purged() -> None:
    async def act(origin: Origin, clock: ManualClock, session: aiohttp.ClientSession, url: str) -> None:
        page = f"{url}/v1/rivers/html/Elbe"
        assert await read(session, page) == ("old", "miss")
        origin.text = "new"
        clock.advance(9)
        assert await read(session, page) == ("old", "hit")
        async with session.get(page, headers={"If-None-Match": '"old"'}) as answer:
            assert (answer.status, answer.headers["age"]) == (304, "9")
        async with HttpPurgeTarget(HttpTargetSpec(name="cache", url=url)) as target:
            await target.purge(PurgeRequest(page, 5))
        assert await read(session, page) == ("new", "miss")
        clock.advance(16)
        origin.text = "newer"
        assert await read(session, page) == ("newer", "miss")

    with_cache(act)


def test_concurrent_misses_are_one_fetch_and_fresh_reads_pass() -> None:
    async def act(origin: Origin, clock: ManualClock, session: aiohttp.ClientSession, url: str) -> None:
        origin.gate.clear()
        readers = [asyncio.create_task(read(session, f"{url}/a")) for _ in range(5)]
        while not origin.asked:  # noqa: ASYNC110 - the origin answers on another connection
            await asyncio.sleep(0.01)
        origin.gate.set()
        await asyncio.gather(*readers)
        assert origin.asked == 1
        assert (await read(session, f"{url}/a", **{"Headwater-Read": "fresh"}))[1] == "pass"
        assert (await read(session, f"{url}/a?redirect=no"))[1] == "pass"
        assert origin.asked == 3

    with_cache(act)


def test_memory_is_bounded_and_the_least_used_copy_goes() -> None:
    async def act(origin: Origin, clock: ManualClock, session: aiohttp.ClientSession, url: str) -> None:
        origin.text = "x" * 40
        for path in ("a", "b"):
            await read(session, f"{url}/{path}")
        assert (await read(session, f"{url}/a"))[1] == "hit"
        await read(session, f"{url}/c")
        assert [(await read(session, f"{url}/{path}"))[1] for path in ("a", "c", "b")] == ["hit", "hit", "miss"]

    with_cache(act, bytes_max=100)


def test_which_answers_may_be_kept() -> None:
    assert lifetime_s("public, max-age=0, s-maxage=5, stale-while-revalidate=30") == (5, 30)
    assert lifetime_s("max-age=60") == (60, 0)
    assert lifetime_s("Max-Age=60, S-MaxAge=7") == (7, 0)
    assert lifetime_s("") is None
    assert lifetime_s("s-maxage=0") is None
    assert lifetime_s("private, max-age=60") is None
    assert lifetime_s("no-store, s-maxage=60") is None

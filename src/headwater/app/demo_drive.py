"""Drives the demo from outside, over HTTP like everybody else: edits, waits, and compares what is served with fresh renders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import msgspec
from yarl import URL

from headwater.app.demo.titles import PageTitle, parse_title
from headwater.app.demo.wiki import Page
from headwater.app.demo.wikitext import redirect_target
from headwater.app.demo_edits import Edit, edit_number
from headwater.app.demonstration import WIKI, Demonstration
from headwater.kernel.errors import Unavailable
from headwater.kernel.metrics import Metric
from headwater.mediawiki.normalise import normalise
from headwater.propagation import metrics as p
from headwater.propagation.model import Title
from headwater.propagation.urls import canonical_path

_T = TypeVar("_T")

POLL_S = 0.05
STARTING_S = 30.0
REST_S = 120.0
READERS = 8
"""How many pages are read at once when all of them are."""
_COUNTED = {"marked": p.PAGES_MARKED, "rendered": p.COMMITS, "skipped": p.SKIPPED, "cutoffs": p.CUTOFFS, "purged": p.PURGES_EMITTED}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo reports at its end.

    Attributes:
        edits: edits made.
        marked: pages marked stale by them.
        rendered: renders committed, of which `cutoffs` found everything as before; skipped: pages found fresh without a render.
        purged: addresses purged.
        stale_at_rest: pages and cached copies that differ from a fresh render when nothing is left to do.
        seconds: from the first edit until rest.
    """

    edits: int
    marked: int
    rendered: int
    skipped: int
    cutoffs: int
    purged: int
    stale_at_rest: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Served:
    """What a reader gets: status, body, and where a redirect leads."""

    status: int
    body: str
    location: str


class Driver:
    """The demo's editor, reader and judge."""

    def __init__(self, demo: Demonstration, session: aiohttp.ClientSession) -> None:
        self.demo = demo
        self._session = session
        self._pages = f"http://127.0.0.1:{demo.ports.pages}"
        self._counted = dict.fromkeys(_COUNTED, 0)

    async def prepare(self, *, purges_too: bool) -> int:
        """Make all pages known and rendered and let the cache keep a copy of each; returns how many there are.

        Args:
            purges_too: wait for the second purges of these first renders as well, so that the copies stay until an edit removes them.
        """
        await self._until(self._backfilling, STARTING_S, "the backfill does not begin")
        await self._until(self._is_at_rest if purges_too else self._is_rendered, REST_S, "the first renders do not come to an end")
        await self._each(self._read_cached)
        self._counted = {name: self._count(metric) for name, metric in _COUNTED.items()}
        return len(self.demo.wiki)

    async def edit(self, number: int) -> Edit | None:
        """Make the edit with this number and wait until Headwater has applied it; None if somebody else's edit is in its way."""
        change = edit_number(number)
        newest = max((entry["number"] for entry in await self.flow(0)), default=0)
        edit = change.applied(self.demo.wiki.text_of(parse_title(change.title)))
        if edit is None:
            return None
        form = {"action": "edit", "format": "json", "title": edit.title, "text": edit.text, "summary": edit.about, "token": "+\\"}
        async with self._session.post(f"http://127.0.0.1:{self.demo.ports.wiki}/api.php", data=form) as answer:
            answer.raise_for_status()
        key = parse_title(edit.title).key

        async def applied() -> bool:
            return any(entry["what"].partition(":")[2] == key for entry in await self.flow(newest))

        await self._until(applied, STARTING_S, f"the edit of {edit.title} is not seen")
        return edit

    async def flow(self, after: int) -> Sequence[dict[str, Any]]:
        """Edits with numbers above `after`, oldest first."""
        entries: Sequence[dict[str, Any]] = (await self._json(f"{self._pages}/v1/{WIKI}/flow?after={after}&limit=50"))["entries"]
        return entries

    async def until_rest(self) -> None:
        """Wait until no page is stale and no purge, first or second, is unfinished. Raises Unavailable after two minutes."""
        await self._until(self._is_at_rest, REST_S, "it does not come to rest")

    async def outcome(self, edits: int, seconds: float) -> Outcome:
        """The report; compares every page and every cached copy with a fresh render."""
        counts = {name: self._count(metric) - self._counted[name] for name, metric in _COUNTED.items()}
        stale = await self._each(self._stale_copies)
        return Outcome(edits=edits, stale_at_rest=sum(stale), seconds=round(seconds, 3), **counts)

    def _count(self, metric: Metric) -> int:
        return int(self.demo.metrics.value(metric, wiki=WIKI))

    # Readers

    async def _stale_copies(self, page: Page) -> int:
        """How many of the page itself and its cached copy are not as a fresh render."""
        target = redirect_target(page.current.text)
        html = normalise(self.demo.wiki.parse(page.title, page.current.text).html)
        itself = await self._read(self.demo.ports.pages, page.title, "?redirect=no")
        cached = await self._read_cached(page)
        wrong = int(itself.status != 200 or itself.body != html)
        if target is None:
            return wrong + int(cached.status != 200 or cached.body != html)
        return wrong + int(cached.status != 301 or cached.location != canonical_path(WIKI, Title(target.key)))

    async def _read_cached(self, page: Page) -> _Served:
        return await self._read(self.demo.ports.cache, page.title, "")

    async def _read(self, port: int, title: PageTitle, query: str) -> _Served:
        url = URL(f"http://127.0.0.1:{port}{canonical_path(WIKI, Title(title.key))}{query}", encoded=True)
        async with self._session.get(url, allow_redirects=False) as answer:
            return _Served(answer.status, await answer.text(), answer.headers.get("location", ""))

    async def _each(self, work: Callable[[Page], Awaitable[_T]]) -> list[_T]:
        slots = asyncio.Semaphore(READERS)

        async def one(page: Page) -> _T:
            async with slots:
                return await work(page)

        return await asyncio.gather(*(one(page) for page in self.demo.wiki.pages()))

    # Waiting

    async def _backfilling(self) -> bool:
        async with self._session.post(f"{self._pages}/v1/{WIKI}/backfill", json={"action": "start"}) as answer:
            return answer.status == 202

    async def _is_rendered(self) -> bool:
        return bool((await self._json(f"{self._pages}/v1/{WIKI}/rest"))["at_rest"])

    async def _is_at_rest(self) -> bool:
        if not await self._is_rendered():
            return False
        purging = await self._json(f"http://127.0.0.1:{self.demo.ports.purging}/v1/status")
        return bool(purging["caught_up"]) and purging["unfinished"] == 0

    async def _json(self, url: str) -> dict[str, Any]:
        async with self._session.get(url) as answer:
            answer.raise_for_status()
            found: dict[str, Any] = await answer.json()
            return found

    async def _until(self, question: Callable[[], Awaitable[bool]], time_max_s: float, complaint: str) -> None:
        ends_s = self.demo.clock.monotonic_s() + time_max_s
        while not await question():
            if self.demo.clock.monotonic_s() > ends_s:
                raise Unavailable(complaint)
            await self.demo.clock.sleep(POLL_S)


@asynccontextmanager
async def driving(demo: Demonstration) -> AsyncIterator[Driver]:
    """A driver of a running demo."""
    async with aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield Driver(demo, session)

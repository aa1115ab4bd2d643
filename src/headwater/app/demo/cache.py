"""A small HTTP cache that stands in for Varnish in the demo: the same behaviour as `connectors/varnish/headwater.vcl`, in memory.

Copies live by `s-maxage` and `stale-while-revalidate`; misses of one URL become one request; PURGE drops a copy. As with Varnish, a fill
that began before a purge may land after it: that is what the second purge is for. Memory is bounded by bytes; the least recently used
copies go.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from headwater.http.messages import Request, Response, Route
from headwater.kernel.clock import Clock
from headwater.kernel.errors import Unavailable

BYTES_MAX = 16 * 1024 * 1024
ANSWER_BYTES_MAX = 4 * 1024 * 1024
FETCHES_MAX = 32
FETCH_TIMEOUT_S = 30.0

_KEPT = ("content-type", "etag", "location", "cache-control", "link", "vary")
_SHARED_AGE = re.compile(r"(?:^|[,\s])s-maxage=(\d{1,9})")
_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})")
_STALE = re.compile(r"(?:^|[,\s])stale-while-revalidate=(\d{1,9})")
_PRIVATE = re.compile(r"no-store|private|no-cache")

Key = tuple[str, str]  # host, path as sent


@dataclass(frozen=True, slots=True)
class Copy:
    """One stored answer. Times are on the monotonic clock."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    stored_s: float
    fresh_until_s: float
    stale_until_s: float

    @property
    def etag(self) -> str | None:
        """The answer's ETag."""
        return next((value for name, value in self.headers if name == "etag"), None)


def lifetime_s(cache_control: str) -> tuple[int, int] | None:
    """Seconds fresh, and seconds stale but servable, that an answer may live in a shared cache; None if it may not be kept."""
    text = cache_control.lower()
    age = _SHARED_AGE.search(text) or _AGE.search(text)
    if age is None or _PRIVATE.search(text) or int(age[1]) == 0:
        return None
    stale = _STALE.search(text)
    return int(age[1]), int(stale[1]) if stale is not None else 0


class DemoCache:
    """The cache in front of one origin. Create it inside a running event loop, close it when done."""

    def __init__(self, origin_url: str, *, clock: Clock, bytes_max: int = BYTES_MAX) -> None:
        """`origin_url` is `http://host:port`; no other address is contacted."""
        self._origin_url = origin_url.rstrip("/")
        self._clock = clock
        self._bytes_max = bytes_max
        self._copies: OrderedDict[Key, Copy] = OrderedDict()
        self._bytes = 0
        self._fetches: dict[Key, asyncio.Task[Copy]] = {}
        self.hits = self.misses = self.purges = 0
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=FETCHES_MAX),
            trust_env=False,
        )

    async def close(self) -> None:
        """Drop what is under way and close connections."""
        for fetch in list(self._fetches.values()):
            fetch.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)
        await self._session.close()

    def routes(self) -> Sequence[Route]:
        """Everything: GET from the cache, PURGE of a copy."""
        return (
            Route("GET", "/{path*}", self._get, "The origin's answer, from the cache where it has a copy.", {200: "as the origin"}),
            Route("PURGE", "/{path*}", self._purge, "Drop the copy of this URL.", {200: "it is gone"}),
        )

    async def _purge(self, request: Request) -> Response:
        self.purges += 1
        self._drop(_key(request))
        return Response(200, b"purged\n", content_type="text/plain")

    async def _get(self, request: Request) -> Response:
        if request.query or request.headers.keys() & {"authorization", "headwater-read"}:
            query = f"?{urlencode(list(request.query))}" if request.query else ""
            passed = {name: request.headers[name] for name in ("authorization", "headwater-read") if name in request.headers}
            return self._answer(request, await self._fetch(_key(request), query, passed), "pass")
        key = _key(request)
        copy = self._copies.get(key)
        now_s = self._clock.monotonic_s()
        if copy is not None and now_s < copy.stale_until_s:
            self._copies.move_to_end(key)
            self.hits += 1
            if now_s >= copy.fresh_until_s:
                self._fill(key)
            return self._answer(request, copy, "hit")
        self.misses += 1
        return self._answer(request, await asyncio.shield(self._fill(key)), "miss")

    def _fill(self, key: Key) -> asyncio.Task[Copy]:
        """The fetch of this URL that is under way, or a new one."""
        fetch = self._fetches.get(key)
        if fetch is None:
            fetch = self._fetches[key] = asyncio.create_task(self._fetch_and_keep(key))
            fetch.add_done_callback(lambda done: self._filled(key, done))
        return fetch

    def _filled(self, key: Key, done: "asyncio.Task[Copy]") -> None:
        del self._fetches[key]
        if not done.cancelled():
            done.exception()  # whoever waits has it; a refresh in the background keeps the stale copy

    async def _fetch_and_keep(self, key: Key) -> Copy:
        copy = await self._fetch(key, "", {})
        if copy.stale_until_s > copy.stored_s:
            self._drop(key)
            self._copies[key] = copy
            self._bytes += len(copy.body)
            while self._bytes > self._bytes_max:
                self._drop(next(iter(self._copies)))
        return copy

    def _drop(self, key: Key) -> None:
        copy = self._copies.pop(key, None)
        self._bytes -= len(copy.body) if copy is not None else 0

    async def _fetch(self, key: Key, query: str, headers: Mapping[str, str]) -> Copy:
        host, path = key
        url = URL(self._origin_url + path + query, encoded=True)
        try:
            async with self._session.get(url, headers={**headers, "Host": host}, allow_redirects=False) as answer:
                body = await answer.content.read(ANSWER_BYTES_MAX)
                while len(body) < ANSWER_BYTES_MAX and (more := await answer.content.read(ANSWER_BYTES_MAX - len(body))):
                    body += more
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the origin does not answer: {type(error).__name__}", retry_after_s=1) from error
        now_s = self._clock.monotonic_s()
        lives_s = lifetime_s(answer.headers.get("Cache-Control", "")) if answer.status < 500 else None
        fresh_s, stale_s = lives_s or (0, 0)
        kept = [
            (name.lower(), value)
            for name, value in answer.headers.items()
            if name.lower() in _KEPT or name.lower().startswith("x-headwater-")
        ]
        return Copy(answer.status, tuple(kept), body, now_s, now_s + fresh_s, now_s + fresh_s + stale_s)

    def _answer(self, request: Request, copy: Copy, outcome: str) -> Response:
        age_s = max(0, int(self._clock.monotonic_s() - copy.stored_s))
        headers = (*copy.headers, ("age", str(age_s)), ("x-cache", outcome))
        wanted = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
        if copy.status == 200 and copy.etag is not None and copy.etag in wanted:
            return Response(304, headers=headers)
        return Response(copy.status, copy.body, headers=headers)


def _key(request: Request) -> Key:
    return request.headers["host"].lower(), request.raw_path

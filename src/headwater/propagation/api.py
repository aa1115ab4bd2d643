"""HTTP of propagation: reads of pages, and what operators ask. Reference: `docs/reference/pages-api.md`."""

from collections.abc import Sequence

import msgspec

from headwater.http import json
from headwater.http.messages import Request, Response, Route
from headwater.http.problems import problem
from headwater.kernel.clock import Clock
from headwater.kernel.errors import InvalidInput, NotFound
from headwater.propagation.config import PropagationConfig, ReadPolicy
from headwater.propagation.metrics import READ_SECONDS, READS
from headwater.propagation.model import CommitRecord, Title
from headwater.propagation.pages import Elsewhere, Located, Pages
from headwater.propagation.service import PropagationService
from headwater.propagation.shard import Freshness
from headwater.propagation.urls import canonical_path

_HTML = "text/html; charset=utf-8"
_NOT_KEPT = ("cache-control", "private, no-cache")
_VARY = ("vary", "Headwater-Read")
AFTER_MAX = 10**15  # no process makes so many entries


class ViewsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Titles of pages that were viewed."""

    titles: list[str]


class BackfillBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to do with a backfill; `anew` begins at the first page."""

    action: str = "start"
    anew: bool = False


class RetryBody(msgspec.Struct, forbid_unknown_fields=True):
    """Ids of the parked pages to retry; without them, all."""

    pages: list[int] | None = None


class PagesApi:
    """The handlers of one service."""

    def __init__(self, service: PropagationService) -> None:
        self._service = service
        self._config: PropagationConfig = service.config
        self._clock: Clock = service.clock

    # Pages

    async def html(self, request: Request) -> Response:
        """Read a page."""
        wiki, began_s = request.params["wiki"], self._clock.monotonic_s()
        pages = self._service.pages(wiki)
        served = "refused"
        try:
            response, served = await self._html(request, pages)
        except NotFound as error:
            served = "absent"
            response = problem(error.code, error.detail, headers=(("cache-control", self._kept(self._config.absent_lifetime)), _VARY))
        finally:
            self._service.metrics.inc(READS, wiki=wiki, served=served)
            self._service.metrics.observe(READ_SECONDS, self._clock.monotonic_s() - began_s, wiki=wiki)
        return response

    async def _html(self, request: Request, pages: Pages) -> tuple[Response, str]:
        wiki, text = request.params["wiki"], request.params["title"]
        title = pages.normalise(text)
        if title != text:
            return self._moved(request, wiki, title), "redirect"
        located = await pages.locate(title, _asked(request))
        if isinstance(located, Elsewhere):
            return self._moved(request, wiki, located.title), "redirect"
        as_is = request.query_value("redirect") == "no"
        # Caches file a copy under the whole address, and purges name the one without a query.
        keep = not (request.query or request.has_query) and request.raw_path == canonical_path(wiki, title)
        if located.record.redirect is not None and not as_is:
            target = canonical_path(wiki, located.record.redirect)
            return Response(301, headers=(("location", target), *self._headers(located, keep=keep, etag=False))), "redirect"
        if _matches(request, located.record):
            return Response(304, headers=self._headers(located, keep=keep)), located.freshness.value
        located, body = await pages.body(located)
        return Response(200, body, self._headers(located, keep=keep), _HTML), located.freshness.value

    def _moved(self, request: Request, wiki: str, title: Title) -> Response:
        """To the one address of the page, whatever its state."""
        query = "?redirect=no" if request.query_value("redirect") == "no" else ""
        cache = ("cache-control", self._kept(self._config.absent_lifetime))
        return Response(301, headers=(("location", canonical_path(wiki, title) + query), cache))

    def _headers(self, located: Located, *, keep: bool, etag: bool = True) -> tuple[tuple[str, str], ...]:
        """What a reader and a cache may know about what is served; `keep` says whether a shared cache may keep it at all.

        Only the canonical address may be kept: purges name no other spelling of it.
        """
        cache = self._cache_control(located.freshness) if keep else _NOT_KEPT[1]
        tag = (("etag", f'"{located.record.html_hash}"'),) if etag else ()
        return (
            *tag,
            ("x-headwater-seq", str(located.record.body_seq)),
            ("x-headwater-state", located.freshness.value),
            ("cache-control", cache),
            _VARY,
        )

    def _cache_control(self, freshness: Freshness) -> str:
        config = self._config
        if freshness is Freshness.FRESH:
            return f"public, max-age=0, must-revalidate, s-maxage={int(config.fresh_lifetime)}"
        return f"public, max-age=0, s-maxage={int(config.stale_lifetime)}, stale-while-revalidate={int(config.stale_while_revalidate)}"

    def _kept(self, lifetime_s: float) -> str:
        return f"public, max-age=0, s-maxage={int(lifetime_s)}"

    async def explain(self, request: Request) -> Response:
        """Say why a page is as it is."""
        return json.respond(self._service.explain(request.params["wiki"], request.params["title"]))

    async def dependents(self, request: Request) -> Response:
        """Say who depends on a resource."""
        limit = _limit(request, 100, self._config.dependents_max)
        return json.respond(self._service.dependents(request.params["wiki"], request.params["name"], limit=limit))

    async def views(self, request: Request) -> Response:
        """Take a report of views."""
        body = await json.body_as(request, ViewsBody)
        return json.respond({"known": self._service.viewed(request.params["wiki"], body.titles)})

    # Operators

    async def status(self, request: Request) -> Response:
        """Say how all wikis are."""
        return json.respond(await self._service.status())

    async def rest(self, request: Request) -> Response:
        """Say whether nothing is to be done."""
        return json.respond({"at_rest": await self._service.at_rest(request.params["wiki"])})

    async def flow(self, request: Request) -> Response:
        """List recent edits."""
        after = request.query_number("after", 0, least=0, most=AFTER_MAX)
        limit = _limit(request, 50, self._config.flow_max)
        return json.respond({"entries": self._service.flow(request.params["wiki"], after=after, limit=limit)})

    async def backfill_status(self, request: Request) -> Response:
        """Say how far the backfill is."""
        return json.respond(await self._service.backfill(request.params["wiki"], "status"))

    async def backfill(self, request: Request) -> Response:
        """Start or stop the backfill."""
        body = await json.body_as(request, BackfillBody)
        return json.respond(await self._service.backfill(request.params["wiki"], body.action, anew=body.anew), status=202)

    async def dead_letters(self, request: Request) -> Response:
        """List parked pages."""
        limit = _limit(request, 100, self._config.dead_letters_max)
        return json.respond({"dead_letters": self._service.dead_letters(request.params["wiki"], limit=limit)})

    async def retry(self, request: Request) -> Response:
        """Retry parked pages."""
        body = await json.body_as(request, RetryBody)
        return json.respond({"retried": self._service.retry(request.params["wiki"], body.pages)}, status=202)


def _asked(request: Request) -> ReadPolicy | None:
    """What `Headwater-Read` asks for. Raises InvalidInput."""
    asked = request.headers.get("headwater-read")
    if asked is None:
        return None
    try:
        return ReadPolicy(asked.strip().lower())
    except ValueError as error:
        raise InvalidInput("the header is fresh or stale", where="Headwater-Read") from error


def _matches(request: Request, record: CommitRecord) -> bool:
    """Whether the reader has the body already (RFC 9110, weak comparison)."""
    given = request.headers.get("if-none-match", "")
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return "*" in tags or f'"{record.html_hash}"' in tags


def _limit(request: Request, default: int, most: int) -> int:
    return request.query_number("limit", min(default, most), least=1, most=most)


_UNAVAILABLE = {503: "The shard is recovering, too many wait, or the page was not ready in time; see Retry-After."}
_NO_WIKI = {404: "No such wiki."}
_BAD = {400: "A parameter or the body is wrong."}


def routes(service: PropagationService) -> Sequence[Route]:
    """The routes of the pages API."""
    api = PagesApi(service)
    return (*_page_routes(api), *_operator_routes(api))


def _page_routes(api: PagesApi) -> Sequence[Route]:
    return (
        Route(
            "GET",
            "/v1/{wiki}/html/{title*}",
            api.html,
            "The HTML of a page.",
            {
                200: "The page; X-Headwater-State says whether it is fresh.",
                301: "The page's one address, or what it redirects to.",
                304: "The reader has it already.",
                400: "No page can have such a title, or Headwater-Read is wrong.",
                404: "No such page, or no such wiki.",
                **_UNAVAILABLE,
            },
            parameters=(
                ("query", "redirect", "`no` shows a redirect itself."),
                ("header", "Headwater-Read", "`fresh` waits for the render, `stale` takes what there is."),
                ("header", "If-None-Match", "Entity tags that the reader has."),
            ),
        ),
        Route(
            "GET",
            "/v1/{wiki}/pages/{title*}/explain",
            api.explain,
            "Why a page is as it is: what it was made from, since when and why it is stale, its last commits.",
            {200: "The explanation.", 404: "No such wiki, or a page that the shard does not know.", **_BAD, **_UNAVAILABLE},
        ),
        Route(
            "GET",
            "/v1/{wiki}/resources/{name*}/dependents",
            api.dependents,
            "The blast radius of an edit: how many pages depend on a resource, and which.",
            {200: "The dependents.", **_NO_WIKI, **_BAD, **_UNAVAILABLE},
            parameters=(("query", "limit", "Most titles in the answer."),),
        ),
        Route(
            "POST",
            "/v1/{wiki}/views",
            api.views,
            "Report views, so that stale pages that are viewed are rendered first.",
            {200: "Counted; how many are known.", **_NO_WIKI, **_BAD, **_UNAVAILABLE},
            grant="pages:write",
            body_bytes_max=1024 * 1024,
        ),
    )


def _operator_routes(api: PagesApi) -> Sequence[Route]:
    return (
        Route("GET", "/v1/status", api.status, "How all wikis of this process are.", {200: "The status."}),
        Route("GET", "/v1/{wiki}/rest", api.rest, "Whether nothing is to be done for a wiki.", {200: "The answer.", **_NO_WIKI}),
        Route(
            "GET",
            "/v1/{wiki}/flow",
            api.flow,
            "Recent edits and what followed from them.",
            {200: "The edits, oldest first.", **_NO_WIKI, **_BAD},
            parameters=(("query", "after", "Number of the last edit known."), ("query", "limit", "Most edits in the answer.")),
        ),
        Route(
            "GET",
            "/v1/{wiki}/backfill",
            api.backfill_status,
            "How far the backfill of a wiki is.",
            {200: "The status.", **_NO_WIKI, **_UNAVAILABLE},
        ),
        Route(
            "POST",
            "/v1/{wiki}/backfill",
            api.backfill,
            "Start, go on with or stop the backfill of a wiki.",
            {202: "The status.", **_NO_WIKI, **_BAD, **_UNAVAILABLE},
            grant="pages:write",
        ),
        Route(
            "GET",
            "/v1/{wiki}/dead-letters",
            api.dead_letters,
            "Pages that could not be rendered, with reasons.",
            {200: "The dead letters.", **_NO_WIKI, **_BAD, **_UNAVAILABLE},
            parameters=(("query", "limit", "Most dead letters in the answer."),),
        ),
        Route(
            "POST",
            "/v1/{wiki}/dead-letters/retry",
            api.retry,
            "Render parked pages again.",
            {202: "How many will be.", **_NO_WIKI, **_BAD, **_UNAVAILABLE},
            grant="pages:write",
        ),
    )

"""The action API and the page view of the built-in wiki: the subset of MediaWiki 1.39 that the renderer and the follower use.

Answers have the form of `format=json&formatversion=2`; errors are 200 with an `error` object, as MediaWiki's are. Editing needs no token.
"""

import html
from collections.abc import Awaitable, Callable, Mapping, Sequence

from headwater.app.demo.answers import (
    allpages,
    continued,
    logevents,
    page_object,
    pages_asked,
    parse_object,
    recentchanges,
    siteinfo,
)
from headwater.app.demo.forms import parameters
from headwater.app.demo.titles import MAIN, parse_title
from headwater.app.demo.wiki import TEXT_BYTES_MAX, DemoWiki, Page
from headwater.app.demo.wikitext import redirect_target
from headwater.http import json
from headwater.http.messages import Request, Response, Route
from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError, InvalidInput, NotFound
from headwater.mediawiki.timestamps import timestamp_of

BODY_BYTES_MAX = 3 * TEXT_BYTES_MAX  # percent-encoding triples a text at most
_OK = {200: "the answer, or an `error` object"}
_Action = Callable[[Mapping[str, str]], dict[str, object]]


class WikiApi:
    """Routes over a `DemoWiki`."""

    def __init__(self, wiki: DemoWiki, *, clock: Clock, server: str) -> None:
        """`server` is the address of this wiki as `http://host:port`."""
        self._wiki = wiki
        self._clock = clock
        self._server = server
        self._actions: dict[str, _Action] = {
            "query": self._query,
            "parse": self._parse,
            "edit": self._edit,
            "delete": self._delete,
            "undelete": self._restore,
            "move": self._move,
        }

    def routes(self) -> Sequence[Route]:
        """The action API, page views, and a way from the root to the main page."""
        answer: Callable[[Request], Awaitable[Response]] = self._api
        return (
            Route("GET", "/api.php", answer, "Action API.", _OK),
            Route("POST", "/api.php", answer, "Action API.", _OK, body_bytes_max=BODY_BYTES_MAX),
            Route("GET", "/index.php/{title*}", self._view, "A page as the wiki shows it.", {200: "the page", 404: "no such page"}),
            Route("GET", "/", self._root, "The main page.", {302: "its address"}),
        )

    async def _api(self, request: Request) -> Response:
        try:
            given = await parameters(request)
            action = self._actions.get(given.get("action", ""))
            if action is None:
                raise InvalidInput(f'Unrecognized value for parameter "action": {given.get("action", "")[:50]}.', where="badvalue")
            answer = action(given)
        except NotFound as error:
            answer = _error("missingtitle", error)
        except HeadwaterError as error:
            answer = _error(error.where or error.code, error)
        if request.query_value("curtimestamp"):
            answer["curtimestamp"] = timestamp_of(self._clock.now_ms() // 1000)
        return json.respond(answer)

    async def _view(self, request: Request) -> Response:
        title = parse_title(request.params["title"])
        page = self._wiki.page(title)
        if page is None:
            raise NotFound("no page has this title")
        parsed = self._wiki.parse(title, page.current.text)
        shown = html.escape(title.text)
        body = (
            f"<!DOCTYPE html><html><head><meta charset=utf-8><title>{shown}</title></head><body><h1>{shown}</h1>{parsed.html}</body></html>"
        )
        return Response(200, body.encode(), headers=(("cache-control", "no-store"),), content_type="text/html; charset=utf-8")

    async def _root(self, request: Request) -> Response:
        return Response(302, headers=(("location", "/index.php/Main_Page"),))

    def _query(self, given: Mapping[str, str]) -> dict[str, object]:
        query: dict[str, object] = {}
        following: dict[str, str] = {}
        meta, lists = given.get("meta", "").split("|"), given.get("list", "").split("|")
        if "siteinfo" in meta:
            query |= siteinfo(self._server, len(self._wiki), timestamp_of(self._clock.now_ms() // 1000))
        if "userinfo" in meta:
            query["userinfo"] = {"id": 0, "name": "127.0.0.1", "anon": True, "rights": ["read", "edit", "createpage", "delete", "move"]}
        if "tokens" in meta:
            query["tokens"] = {"csrftoken": "+\\", "logintoken": "+\\"}
        for name, answer in (("recentchanges", recentchanges), ("logevents", logevents), ("allpages", allpages)):
            if name in lists:
                query[name], more = answer(self._wiki, given)
                following |= more
        asked: Sequence[Page | dict[str, object]] = []
        if given.get("generator") == "allpages":
            rows, more = allpages(self._wiki, {key[1:]: value for key, value in given.items() if key.startswith("g")})
            following |= {f"g{key}": value for key, value in more.items()}
            numbers = [row["pageid"] for row in rows]
            asked = [page for number in numbers if isinstance(number, int) and (page := self._wiki.page_numbered(number)) is not None]
        elif given.keys() & {"titles", "pageids", "revids"}:
            asked, told = pages_asked(self._wiki, given)
            query |= told
        if asked:
            query["pages"] = [page_object(page, given) if isinstance(page, Page) else page for page in asked]
        return continued({"query": query}, following)

    def _parse(self, given: Mapping[str, str]) -> dict[str, object]:
        if "text" in given:
            title = parse_title(given.get("title", "API"))
            page, text, revision = self._wiki.page(title), given["text"], None
        else:
            page = self._page(given)
            title, text, revision = page.title, page.current.text, page.current.number
        began_s = self._clock.monotonic_s()
        parsed = self._wiki.parse(title, text)
        spent_s = self._clock.monotonic_s() - began_s
        number = page.number if page is not None else 0
        return {"parse": parse_object(self._wiki, parsed, given, title=title, number=number, revision=revision, spent_s=spent_s)}

    def _page(self, given: Mapping[str, str]) -> Page:
        if given.get("pageid", "").isdecimal():
            page = self._wiki.page_numbered(int(given["pageid"]))
        else:
            page = self._wiki.page(parse_title(given.get("page", given.get("title", ""))))
        target = redirect_target(page.current.text) if page is not None and "redirects" in given else None
        if target is not None:
            page = self._wiki.page(target) or page
        if page is None:
            raise NotFound("The page you specified doesn't exist.")
        return page

    def _edit(self, given: Mapping[str, str]) -> dict[str, object]:
        title = self._page(given).title if "pageid" in given else parse_title(given.get("title", ""), MAIN)
        before = self._wiki.text_of(title) or ""
        if "text" in given:
            text = given["text"]
        elif "appendtext" in given or "prependtext" in given:
            text = given.get("prependtext", "") + before + given.get("appendtext", "")
        else:
            raise InvalidInput("One of the parameters text, appendtext and prependtext is required.", where="missingparam")
        page, changed = self._wiki.edit(title, text.rstrip(), given.get("summary", ""))
        edit: dict[str, object] = {"result": "Success", "pageid": page.number, "title": title.text, "contentmodel": "wikitext"}
        if not changed:
            return {"edit": edit | {"nochange": True}}
        current = page.current
        edit |= {"oldrevid": current.parent, "newrevid": current.number, "newtimestamp": timestamp_of(current.time_s)}
        return {"edit": edit | ({} if current.parent else {"new": True})}

    def _delete(self, given: Mapping[str, str]) -> dict[str, object]:
        page = self._page(given)
        self._wiki.delete(page.title, given.get("reason", ""))
        return {"delete": {"title": page.title.text, "reason": given.get("reason", "")}}

    def _restore(self, given: Mapping[str, str]) -> dict[str, object]:
        page = self._wiki.restore(parse_title(given.get("title", "")), given.get("reason", ""))
        return {"undelete": {"title": page.title.text, "revisions": len(page.revisions)}}

    def _move(self, given: Mapping[str, str]) -> dict[str, object]:
        source, target = parse_title(given.get("from", "")), parse_title(given.get("to", ""))
        self._wiki.move(source, target, given.get("reason", ""))
        return {"move": {"from": source.text, "to": target.text, "redirectcreated": True}}


def _error(code: str, error: HeadwaterError) -> dict[str, object]:
    return {"error": {"code": code, "info": error.detail}}

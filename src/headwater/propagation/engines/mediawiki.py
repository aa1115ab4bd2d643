"""The renderer of wikis: current wikitext, parsed as text, so that no cache of the wiki can answer with old HTML.

`action=parse&page=` answers from the wiki's parser cache until the wiki's own job has touched the page; `action=parse&text=` never does
(decision 0010). Concurrent renders join the fetch of their texts into one request of at most 50 pages, never one that has been sent
already.

What a page reads: `c:` and `e:` of itself; `c:` of each template, and `e:` of one that does not exist; `e:` of each link, and `f:` of a
linked file; `f:` of each image; `e:` of what it redirects to; `t:hour` or `t:day` where the wiki would keep the HTML for less than it
keeps others; the renderer's version.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError
from headwater.mediawiki.answers import PageInfo, PagesAnswer, Parse, ParseAnswer
from headwater.mediawiki.errors import AnswerTooLarge, WikiBusy, WikiRefused, WikiUnavailable
from headwater.mediawiki.normalise import RENDERER, normalise
from headwater.mediawiki.ports import TITLES_MAX, ActionApi
from headwater.mediawiki.titles import FILE_NAMESPACE, SiteInfo, database_key
from headwater.propagation.model import Failed, Gone, Outcome, PageKey, Rendered, Resource, Retry, Title, content, existence, file
from headwater.propagation.ports import RenderRequest

_JOIN_S: Final = 0.003  # how long a fetch of text waits for others to join it
_ANSWERS_MAX: Final = 2 * TITLES_MAX  # answers to one fetch: the wiki cuts them by size
_INLINE_CHARS_MAX: Final = 32 * 1024  # longer HTML is normalised in a thread
_BUSY_RETRY_S, _DOWN_RETRY_S, _RACE_RETRY_S = 1.0, 2.0, 0.1
_HOUR_S = 3600
_RACES = frozenset({"nosuchrevid", "missingtitle", "nosuchpageid", "missingcontent-revid"})
_PAGES_PER_LIST_MAX = 500


@dataclass(frozen=True, slots=True)
class _Text:
    """A page's current revision; `redirect` is the local page that it leads to."""

    info: PageInfo
    redirect: Title | None = None


class _Texts:
    """Fetches current texts, many pages in one request."""

    def __init__(self, client: ActionApi, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._waiting: dict[PageKey, asyncio.Future[_Text | HeadwaterError]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch(self, page: PageKey) -> _Text:
        """The page as it is after this call began. Raises what the client raises."""
        future = self._waiting.get(page)
        if future is None:
            future = self._waiting[page] = asyncio.get_running_loop().create_future()
            if len(self._waiting) == 1:
                self._start(self._send_soon(self._waiting))
            if len(self._waiting) == TITLES_MAX:
                full, self._waiting = self._waiting, {}
                self._start(self._send(full))
        found = await asyncio.shield(future)
        if isinstance(found, HeadwaterError):
            raise found
        return found

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_soon(self, batch: dict[PageKey, asyncio.Future[_Text | HeadwaterError]]) -> None:
        await self._clock.sleep(_JOIN_S)
        if self._waiting is batch:  # otherwise it was full and has been sent
            self._waiting = {}
            await self._send(batch)

    async def _send(self, batch: Mapping[PageKey, asyncio.Future[_Text | HeadwaterError]]) -> None:
        try:
            found: Mapping[PageKey, _Text] | HeadwaterError = await self._ask(tuple(batch))
        except HeadwaterError as error:
            found = error
        except BaseException as error:  # a bug, or the end: whoever waits has to learn of it
            for future in batch.values():
                future.cancel(f"the fetch ended: {type(error).__name__}")
            raise
        for page, future in batch.items():
            if not future.done():
                lacking = WikiUnavailable(f"the wiki's answer lacks page {page}")
                future.set_result(found if isinstance(found, HeadwaterError) else found.get(page, lacking))

    async def _ask(self, pages: Sequence[PageKey]) -> Mapping[PageKey, _Text]:
        """Pages by key: each with its current revision, or missing. A page about which the wiki says neither is left out."""
        ids = "|".join(map(str, pages))
        request = {"action": "query", "prop": "revisions|info", "rvprop": "ids|content|contentmodel", "rvslots": "main", "pageids": ids}
        known: dict[PageKey, PageInfo] = {}
        async for answer in self._client.call_all(PagesAnswer, request, answers_max=_ANSWERS_MAX):
            known.update({PageKey(page.pageid): page for page in answer.query.pages if page.missing or page.revisions})
        targets = await self._redirects([page for page in known.values() if page.redirect])
        return {key: _Text(page, targets.get(page.title)) for key, page in known.items()}

    async def _redirects(self, pages: Sequence[PageInfo]) -> Mapping[str, Title]:
        """Where redirects lead, by their titles; those to other wikis, to special pages and to themselves are left out."""
        if not pages:
            return {}
        ids = "|".join(str(page.pageid) for page in pages)
        answer = await self._client.call(PagesAnswer, {"action": "query", "redirects": True, "pageids": ids})
        site = await self._client.site()
        steps = {step.from_: step.to for step in answer.query.redirects if not step.tointerwiki and step.to != step.from_}
        return {old: Title(database_key(new)) for old, new in steps.items() if site.namespace_of(database_key(new)) >= 0}


class MediaWikiRenderer:
    """`Renderer` for a MediaWiki. `close` ends what is under way; the client belongs to whoever made it."""

    def __init__(self, client: ActionApi, *, clock: Clock) -> None:
        self._client = client
        self._texts = _Texts(client, clock)

    async def close(self) -> None:
        """End what is under way."""
        await self._texts.close()

    async def render(self, request: RenderRequest) -> Outcome:
        try:
            text = await self._texts.fetch(request.page)
            if text.info.missing:
                return self._gone(request)
            return await self._parse(request, text)
        except HeadwaterError as error:
            return outcome_of(error)

    async def resolve(self, title: Title) -> tuple[PageKey, Title] | None:
        answer = await self._client.call(PagesAnswer, {"action": "query", "prop": "info", "titles": title})
        for page in answer.query.pages:
            if page.pageid and not page.missing:
                return PageKey(page.pageid), Title(database_key(page.title))
        return None

    async def pages(self, after: str | None, limit: int) -> tuple[Sequence[tuple[PageKey, Title]], str | None]:
        site = await self._client.site()
        namespaces = sorted(number for number in site.local_names if number >= 0)
        number, _, token = (after or "").partition("|")
        for namespace in namespaces[namespaces.index(int(number)) if number else 0 :]:
            found, more = await self._pages_in(namespace, token, limit)
            rest = namespaces[namespaces.index(namespace) + 1 :]
            following = f"{namespace}|{more}" if more else f"{rest[0]}|" if rest else None
            if found or following is None:
                return found, following
            token = more
        return (), None

    async def _pages_in(self, namespace: int, token: str, limit: int) -> tuple[Sequence[tuple[PageKey, Title]], str]:
        """Pages of one namespace from `token` on, and the next token, empty at its end."""
        request: dict[str, str | int] = {
            "action": "query",
            "list": "allpages",
            "apnamespace": namespace,
            "aplimit": min(limit, _PAGES_PER_LIST_MAX),
        }
        if token:
            request["apcontinue"] = token
        answer = await self._client.call(PagesAnswer, request)
        found = [(PageKey(page.pageid), Title(database_key(page.title))) for page in answer.query.allpages]
        return found, str(answer.continue_.get("apcontinue", ""))

    def _gone(self, request: RenderRequest) -> Outcome:
        """The wiki says that the page is missing, which a lagging replica says of a page that was just created too."""
        if {content(request.title), existence(request.title)} & request.revs.keys():
            return Retry(float(self._client.config.replication_window), "replication window")
        return Gone(request.title)

    async def _parse(self, request: RenderRequest, text: _Text) -> Outcome:
        info = text.info
        revision = info.revisions[0]
        slot = revision.slots.get("main")
        if slot is None or slot.content is None:
            return Failed(f"the wiki does not give the text of revision {revision.revid}")
        parameters: dict[str, str | int | bool] = {
            "action": "parse",
            "title": info.title,
            "text": slot.content,
            "contentmodel": slot.contentmodel,
            "revid": revision.revid,
            "prop": "text|templates|images|links|limitreportdata",
            "disablelimitreport": True,
            "disableeditsection": True,
        }
        if slot.contentformat:
            parameters["contentformat"] = slot.contentformat
        site = await self._client.site()
        parse = (await self._client.call(ParseAnswer, parameters)).parse
        if parse is None:
            return Retry(_DOWN_RETRY_S, "the wiki's answer lacks the parse")
        if parse.pageid != request.page:  # the revision belongs to another page by now, whose title the wiki has taken
            return Retry(_RACE_RETRY_S, "the revision moved to another page meanwhile")
        if len(parse.text) > _INLINE_CHARS_MAX:
            rendered = await asyncio.to_thread(rendered_of, parse, site, rev=revision.revid, redirect=text.redirect)
        else:
            rendered = rendered_of(parse, site, rev=revision.revid, redirect=text.redirect)
        unproven = unproven_reads(request.revs, rendered)
        if unproven is not None:
            return Retry(float(self._client.config.replication_window), f"replication window: {unproven}")
        return rendered


def outcome_of(error: HeadwaterError) -> Retry | Failed:
    """What an error of the client means for the page that met it."""
    match error:
        case WikiRefused() if error.api_code in _RACES:
            return Retry(_RACE_RETRY_S, f"the page changed meanwhile ({error.api_code})")
        case WikiRefused() | AnswerTooLarge():
            return Failed(f"the wiki refuses: {error.detail}")
        case WikiBusy():
            return Retry(error.retry_after_s or _BUSY_RETRY_S, error.detail)
        case _:
            return Retry(error.retry_after_s or _DOWN_RETRY_S, error.detail)


def rendered_of(parse: Parse, site: SiteInfo, *, rev: int, redirect: Title | None) -> Rendered:
    """The render that a parse makes: normalised HTML and everything that it was made from. Pure."""
    title = Title(database_key(parse.title))
    return Rendered(
        title=title,
        body=normalise(parse.text).encode(),
        reads=frozenset(_reads(parse, site, title, redirect)),
        rev=rev,
        redirect=redirect if redirect != title else None,
    )


def _reads(parse: Parse, site: SiteInfo, title: Title, redirect: Title | None) -> set[Resource]:
    reads = {content(title), existence(title), Resource(RENDERER)}
    for template in parse.templates:
        key = database_key(template.title)
        reads.add(content(key))
        if not template.exists:
            reads.add(existence(key))
    for link in parse.links:
        key = database_key(link.title)
        reads.add(existence(key))
        if link.ns == FILE_NAMESPACE:  # such a link is blue if there is a file, page or not
            reads.add(file(key))
    reads.update(file(site.key_of(FILE_NAMESPACE, image)) for image in parse.images)
    if redirect is not None:
        reads.add(existence(redirect))
    lifetime_s = parse.cache_lifetime_s()
    if lifetime_s is not None and site.lifetime_s_max is not None and lifetime_s < site.lifetime_s_max:
        reads.add(Resource("t:hour" if lifetime_s <= _HOUR_S else "t:day"))
    return reads


def unproven_reads(revs: Mapping[Resource, int | None], rendered: Rendered) -> Resource | None:
    """A read of which this render may have seen a version older than the newest known, or None if there is none. Pure.

    `revs` names what changed within the replication window. The text parsed is known by its revision. Of everything else that
    changed, nobody says which version the parse met on which replica; so it is proven only when the window has passed. It is enough
    to look at the reads met: the first read that was old is itself among them.
    """
    own = content(rendered.title)
    for resource in sorted(revs.keys() & rendered.reads):
        newest = revs[resource]
        if resource == own and newest is not None and rendered.rev >= newest:
            continue
        return resource
    return None

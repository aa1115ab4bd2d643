"""A small deterministic wiki: pages with templates, links and redirects, a renderer of them, and the events of their edits.

Text: `{{Name}}` includes `Template:Name`, `[[Title]]` links, `#REDIRECT [[Title]]` redirects, `{{HOUR}}` and `{{DAY}}` show the
number of the local hour or day; everything else is shown as it is. The events
have the form of EventBus. Hold renders with `hold`, answer for the wiki with `answers`.
"""

import asyncio
import re
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from headwater.kernel.clock import Clock, iso_utc
from headwater.kernel.errors import InvalidInput, Unavailable
from headwater.log.model import NewRecord, Policy, StreamSpec
from headwater.log.ports import Log
from headwater.propagation.changes import STREAMS
from headwater.propagation.model import Gone, Outcome, PageKey, Rendered, Resource, Title
from headwater.propagation.ports import RenderRequest
from headwater.propagation.streams import PAGE_CHANGED, PURGES

_TEMPLATE = re.compile(r"\{\{([^{}]+)\}\}")
_LINK = re.compile(r"\[\[([^\[\]]+)\]\]")
_REDIRECT = re.compile(r"#REDIRECT \[\[([^\[\]]+)\]\]")
_SPANS_MS = {"HOUR": 3_600_000, "DAY": 86_400_000}
DOMAIN = "rivers.example"


def event_streams() -> tuple[StreamSpec, ...]:
    """The streams that propagation reads and emits, as the events service would declare them."""
    return tuple(StreamSpec(name, Policy.TIME) for name in (*STREAMS, PURGES, PAGE_CHANGED))


@dataclass(slots=True)
class _Page:
    page: PageKey
    title: Title
    revs: dict[int, str] = field(default_factory=dict)
    deleted: bool = False

    @property
    def rev(self) -> int:
        return max(self.revs)


@dataclass(slots=True)
class FakeWiki:
    """The wiki, its renderer and its rules for titles, in one object.

    Attributes:
        rendered: how often each title was rendered.
        answers: outcomes to give for a title before anything else, in order.
        down: the wiki does not answer questions about titles and pages.
        time_offset_min: minutes by which its local time is ahead of UTC.
        hold: while set to an unset event, renders read the wiki and then wait for it.
    """

    log: Log
    clock: Clock
    domain: str = DOMAIN
    rendered: Counter[str] = field(default_factory=Counter)
    answers: dict[str, deque[Outcome]] = field(default_factory=lambda: defaultdict(deque))
    down: bool = False
    time_offset_min: int = 0
    hold: asyncio.Event | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    _pages: dict[PageKey, _Page] = field(default_factory=dict)
    _next_page: int = 1
    _next_rev: int = 100
    _next_event: int = 1

    # Renderer

    async def render(self, request: RenderRequest) -> Outcome:
        """Render what the page is at this instant; `hold` delays the answer, not the look."""
        page = self._pages.get(request.page)
        title = request.title if page is None else page.title
        waiting = self.answers[title]
        outcome = waiting.popleft() if waiting else self._outcome(page, title)
        self.rendered[title] += 1
        self.started.set()
        if self.hold is not None:
            await self.hold.wait()
        else:
            await asyncio.sleep(0)
        return outcome

    async def resolve(self, title: Title) -> tuple[PageKey, Title] | None:
        """The page that has `title` now."""
        self._answer()
        page = self._find(title)
        return None if page is None else (page.page, page.title)

    async def pages(self, after: str | None, limit: int) -> tuple[Sequence[tuple[PageKey, Title]], str | None]:
        """Pages in the order of their ids."""
        self._answer()
        keys = sorted(key for key, page in self._pages.items() if not page.deleted and key > int(after or 0))
        token = str(keys[limit - 1]) if len(keys) > limit else None
        return [(key, self._pages[key].title) for key in keys[:limit]], token

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("the wiki does not answer")

    # Site

    async def site(self) -> "FakeWiki":
        """Itself: its rules never change."""
        self._answer()
        return self

    def normalise(self, text: str) -> str:
        """Blanks become `_`, the first letter of the name is upper case; `<` is in no title."""
        text = text.strip(" _").replace(" ", "_")
        namespace, colon, name = text.partition(":")
        if namespace.lower() == "template" and colon:
            return f"Template:{name[:1].upper()}{name[1:]}"
        if not text or "<" in text:
            raise InvalidInput("no title can be like this")
        return text[:1].upper() + text[1:]

    def title_of_url(self, url: str) -> str | None:
        """The title after `/wiki/`."""
        _, found, title = url.partition("/wiki/")
        return title if found else None

    def namespace_of(self, key: str) -> int:
        """10 for templates, 6 for files, else 0."""
        return {"Template": 10, "File": 6}.get(key.partition(":")[0], 0)

    # What is shown

    def html(self, title: str) -> bytes | None:
        """What a fresh render of `title` gives now, or None."""
        page = self._find(Title(title))
        outcome = None if page is None else self._outcome(page, page.title)
        return outcome.body if isinstance(outcome, Rendered) else None

    def key(self, title: str) -> PageKey:
        """The id of the page that has `title`."""
        page = self._find(Title(title))
        assert page is not None, f"no page {title}"
        return page.page

    def rev(self, title: str) -> int:
        """The current revision of the page that has `title`."""
        return self._pages[self.key(title)].rev

    def titles(self) -> Sequence[str]:
        """Titles of all pages that exist."""
        return [page.title for page in self._pages.values() if not page.deleted]

    def _outcome(self, page: _Page | None, title: Title) -> Outcome:
        if page is None or page.deleted:
            return Gone(title)
        text = page.revs[page.rev]
        reads = {Resource(f"c:{page.title}"), Resource(f"e:{page.title}")}
        redirect = _REDIRECT.fullmatch(text)
        if redirect is not None:
            target = Title(redirect[1])
            reads.add(Resource(f"e:{target}"))
            return Rendered(page.title, f"to {target}".encode(), frozenset(reads), page.rev, target)
        return Rendered(page.title, self._expand(text, reads, 0).encode(), frozenset(reads), page.rev)

    def _expand(self, text: str, reads: set[Resource], depth: int) -> str:
        def include(match: re.Match[str]) -> str:
            if match[1] in _SPANS_MS:
                reads.add(Resource(f"t:{match[1].lower()}"))
                return str((self.clock.now_ms() + self.time_offset_min * 60_000) // _SPANS_MS[match[1]])
            title = Title(f"Template:{match[1]}")
            reads.update((Resource(f"c:{title}"), Resource(f"e:{title}")))
            page = self._find(title)
            return f"[no {title}]" if page is None or depth > 10 else self._expand(page.revs[page.rev], reads, depth + 1)

        def link(match: re.Match[str]) -> str:
            reads.add(Resource(f"e:{match[1]}"))
            return f"<a class={'blue' if self._find(Title(match[1])) else 'red'}>{match[1]}</a>"

        return _LINK.sub(link, _TEMPLATE.sub(include, text))

    def _find(self, title: Title) -> _Page | None:
        return next((page for page in self._pages.values() if page.title == title and not page.deleted), None)

    # Edits

    async def edit(self, title: str, text: str, *, silent: bool = False, tags: Sequence[str] = ()) -> int:
        """Write `text` to a page, which is created if it does not exist; `silent` sends no event. Returns the revision."""
        page = self._find(Title(title))
        parent = 0 if page is None else page.rev
        if page is None:
            page = _Page(PageKey(self._next_page), Title(title))
            self._next_page += 1
            self._pages[page.page] = page
        rev = self._next_rev
        self._next_rev += 1
        page.revs[rev] = text
        if not silent:
            fields: dict[str, object] = {"rev_id": rev, "page_is_redirect": text.startswith("#REDIRECT"), "tags": list(tags)}
            await self._send("mediawiki.revision-create", page, {**fields, **({"rev_parent_id": parent} if parent else {})})
        return rev

    async def delete(self, title: str) -> None:
        """Delete a page."""
        page = self._pages[self.key(title)]
        page.deleted = True
        await self._send("mediawiki.page-delete", page, {})

    async def restore(self, page: PageKey) -> None:
        """Bring a deleted page back as it was."""
        self._pages[page].deleted = False
        await self._send("mediawiki.page-undelete", self._pages[page], {})

    async def move(self, title: str, new: str) -> None:
        """Move a page without leaving a redirect."""
        page = self._pages[self.key(title)]
        page.revs[self._next_rev] = page.revs[page.rev]
        self._next_rev += 1
        page.title = Title(new)
        prior = {"page_title": title, "page_namespace": 0}
        await self._send("mediawiki.page-move", page, {"rev_id": page.rev, "prior_state": prior})

    async def hide(self, title: str, rev: int) -> None:
        """Hide a revision."""
        page = self._pages[self.key(title)]
        visibility = {"text": False, "user": True, "comment": True}
        await self._send("mediawiki.revision-visibility-change", page, {"rev_id": rev, "visibility": visibility})

    async def _send(self, stream: str, page: _Page, fields: Mapping[str, object]) -> None:
        now_ms, event_id = self.clock.now_ms(), f"{self.domain}-{self._next_event}"
        self._next_event += 1
        dt, uri = iso_utc(now_ms), f"http://{self.domain}/wiki/{page.title}"
        event = {
            "meta": {"id": event_id, "dt": dt, "domain": self.domain, "stream": stream, "uri": uri},
            "page_id": page.page,
            "page_title": page.title,
            "page_namespace": self.namespace_of(page.title),
            **fields,
        }
        headers = (("id", event_id.encode()), ("dt", dt.encode()), ("schema", b""))
        key = f"{self.domain}:{page.page}".encode()
        await self.log.append([NewRecord(stream, msgspec.json.encode(event), now_ms, key=key, headers=headers)])

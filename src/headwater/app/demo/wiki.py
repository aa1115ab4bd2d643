"""The built-in wiki's state: pages, revisions and the log of changes, in memory, by MediaWiki's rules for identity.

A page keeps its id through moves; a restored page has its old id and revision back; deleting a page removes its edit rows from the recent
changes. Rows are kept up to a maximum, the oldest go first.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headwater.app.demo.markup import Markup
from headwater.app.demo.titles import PageTitle
from headwater.app.demo.wikitext import Expansion, redirect_target
from headwater.kernel.clock import Clock
from headwater.kernel.errors import InvalidInput, NotFound, TooLarge

CHANGES_MAX = 20_000
REVISIONS_PER_PAGE_MAX = 20
PAGES_MAX = 10_000
TEXT_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of one page. `time_s` is wall time in whole seconds, as MediaWiki's."""

    number: int
    parent: int
    text: str
    time_s: int
    comment: str

    @property
    def sha1(self) -> str:
        """SHA-1 of the text, hexadecimal, as the action API gives it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Page:
    """A page: its id never changes, its title may. The last of `revisions` is the current one."""

    number: int
    title: PageTitle
    revisions: deque[Revision] = field(default_factory=lambda: deque(maxlen=REVISIONS_PER_PAGE_MAX))

    @property
    def current(self) -> Revision:
        """The current revision."""
        return self.revisions[-1]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the recent changes.

    Attributes:
        number: rises with every row.
        kind: `edit`, `new` or `log`.
        title: of the page at that time.
        page, revision, parent: numbers; 0 where there is none.
        log: type, action and number in the log, for `log` rows.
        parameters: details of a log row, e.g. the new title of a move.
    """

    number: int
    kind: str
    title: PageTitle
    page: int
    revision: int
    parent: int
    time_s: int
    comment: str
    log: tuple[str, str, int] | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A page's HTML and what it was made from."""

    html: str
    templates: Sequence[PageTitle]
    links: Sequence[PageTitle]
    images: Sequence[str]
    categories: Sequence[str]


class DemoWiki:
    """All pages of the wiki. Every operation is atomic: nothing awaits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pages: dict[int, Page] = {}
        self._by_title: dict[PageTitle, Page] = {}
        self._deleted: dict[PageTitle, Page] = {}
        self._rows: deque[Row] = deque(maxlen=CHANGES_MAX)
        self._last_page = self._last_revision = self._last_row = self._last_log = 0

    def __len__(self) -> int:
        """How many pages exist."""
        return len(self._pages)

    @property
    def rows(self) -> Iterable[Row]:
        """The recent changes, oldest first."""
        return self._rows

    def pages(self) -> Sequence[Page]:
        """All pages by title."""
        return sorted(self._pages.values(), key=lambda page: (page.title.namespace, page.title.name))

    def page(self, title: PageTitle) -> Page | None:
        """The page that has this title now."""
        return self._by_title.get(title)

    def page_numbered(self, number: int) -> Page | None:
        """The page of this id."""
        return self._pages.get(number)

    def text_of(self, title: PageTitle) -> str | None:
        """Current text of a page, or None if there is none."""
        page = self._by_title.get(title)
        return page.current.text if page is not None else None

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1000

    def edit(self, title: PageTitle, text: str, comment: str = "") -> tuple[Page, bool]:
        """Save a text; the page is created where there is none. Returns the page and whether anything changed.

        Raises:
            TooLarge: text or wiki above its limits.
            InvalidInput: a namespace that has no pages.
        """
        if len(text.encode()) > TEXT_BYTES_MAX or (len(self) >= PAGES_MAX and title not in self._by_title):
            raise TooLarge("the page or the wiki is too large")
        if title.namespace < 0:
            raise InvalidInput("pages of this namespace cannot be edited", where="title")
        page = self._by_title.get(title)
        if page is not None and page.current.text == text:
            return page, False
        parent = page.current.number if page is not None else 0
        if page is None:
            self._last_page += 1
            page = Page(self._last_page, title)
            self._place(page)
        self._last_revision += 1
        page.revisions.append(Revision(self._last_revision, parent, text, self._now_s(), comment))
        self._add_row("edit" if parent else "new", page, parent=parent, comment=comment)
        return page, True

    def delete(self, title: PageTitle, comment: str = "") -> Page:
        """Delete a page. Raises NotFound."""
        page = self._existing(title)
        del self._pages[page.number], self._by_title[title]
        self._deleted[title] = page
        kept = [row for row in self._rows if row.page != page.number or row.kind == "log"]
        self._rows = deque(kept, maxlen=CHANGES_MAX)
        self._add_log("delete", "delete", page, comment)
        return page

    def restore(self, title: PageTitle, comment: str = "") -> Page:
        """Bring a deleted page back with its id and revisions. Raises NotFound."""
        page = self._deleted.pop(title, None)
        if page is None or title in self._by_title:
            raise NotFound("no deleted page has this title", where="title")
        self._place(page)
        self._add_log("delete", "restore", page, comment)
        return page

    def move(self, source: PageTitle, target: PageTitle, comment: str = "") -> Page:
        """Rename a page and leave a redirect. Raises NotFound, InvalidInput (the target exists)."""
        page = self._existing(source)
        if target in self._by_title or target.namespace < 0:
            raise InvalidInput("a page of that title exists", where="to")
        del self._by_title[source]
        page.title = target
        self._by_title[target] = page
        self._last_revision += 1
        last = page.current
        page.revisions.append(Revision(self._last_revision, last.number, last.text, self._now_s(), comment))
        moved = {"target_ns": target.namespace, "target_title": target.text}
        self._add_log("move", "move", page, comment, title=source, revision=self._last_revision, parameters=moved)
        self._last_page += 1
        self._last_revision += 1
        left = Page(self._last_page, source)
        left.revisions.append(Revision(self._last_revision, 0, f"#REDIRECT [[{target.text}]]", self._now_s(), comment))
        self._place(left)
        return page

    def _place(self, page: Page) -> None:
        self._pages[page.number] = page
        self._by_title[page.title] = page

    def _existing(self, title: PageTitle) -> Page:
        page = self._by_title.get(title)
        if page is None:
            raise NotFound("no page has this title", where="title")
        return page

    def _add_row(self, kind: str, page: Page, *, parent: int, comment: str) -> None:
        self._last_row += 1
        revision = page.current.number
        self._rows.append(Row(self._last_row, kind, page.title, page.number, revision, parent, self._now_s(), comment))

    def _add_log(
        self,
        kind: str,
        action: str,
        page: Page,
        comment: str,
        *,
        title: PageTitle | None = None,
        revision: int = 0,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        self._last_row += 1
        self._last_log += 1
        row = Row(
            self._last_row,
            "log",
            title or page.title,
            page.number,
            revision,
            0,
            self._now_s(),
            comment,
            (kind, action, self._last_log),
            parameters or {},
        )
        self._rows.append(row)

    def parse(self, title: PageTitle, text: str) -> Parsed:
        """The HTML of `text` as if it stood on the page of this title."""
        expansion = Expansion(title, self.text_of)
        markup = Markup(lambda linked: linked in self._by_title or linked.namespace < 0)
        target = redirect_target(text)
        html = markup.redirect(target) if target is not None else markup.html(expansion.expand(text))
        return Parsed(
            html=html,
            templates=_sorted(expansion.templates),
            links=_sorted(markup.links),
            images=sorted(markup.images),
            categories=sorted(markup.categories),
        )


def _sorted(titles: Iterable[PageTitle]) -> list[PageTitle]:
    return sorted(titles, key=lambda title: (title.namespace, title.name))

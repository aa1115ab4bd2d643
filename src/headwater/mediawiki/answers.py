"""Answers of the action API (`format=json&formatversion=2`), as far as Headwater reads them.

Source: https://www.mediawiki.org/wiki/API:Main_page and the answers of MediaWiki 1.39. Fields that are not named here are ignored; a
field that some wiki leaves out has a default, so that a missing right or a hidden value is not a broken answer.
"""

from typing import Annotated

import msgspec

# Ids are stored in 64 bits with a sign. A wiki that gives others is not understood, rather than believed until a write fails.
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class ApiError(msgspec.Struct, frozen=True):
    """The `error` object: HTTP 200 with this is a refusal. `code` is stable, `info` is text, `lag` the seconds of a `maxlag` refusal."""

    code: str
    info: str = ""
    lag: float | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer may carry."""

    error: ApiError | None = None
    continue_: dict[str, str | int] = msgspec.field(name="continue", default_factory=dict)
    curtimestamp: str = ""


class Slot(msgspec.Struct, frozen=True):
    """The content of a revision's slot; `texthidden` or `textmissing` stand in for content that is not given."""

    contentmodel: str = "wikitext"
    contentformat: str = ""
    content: str | None = None


class Revision(msgspec.Struct, frozen=True):
    """A revision of a page."""

    revid: Id
    slots: dict[str, Slot] = {}


class PageInfo(msgspec.Struct, frozen=True):
    """A page as `prop=info|revisions` tells it. A page that does not exist is `missing`, a title that cannot exist `invalid`."""

    ns: int = 0
    title: str = ""
    pageid: Id = 0
    missing: bool = False
    invalid: bool = False
    lastrevid: Id = 0
    redirect: bool = False
    revisions: tuple[Revision, ...] = ()


class RedirectStep(msgspec.Struct, frozen=True):
    """One step from a redirect to what it names; `tointerwiki` when that is on another wiki."""

    from_: str = msgspec.field(name="from")
    to: str
    tointerwiki: str = ""


class PagesQuery(msgspec.Struct, frozen=True):
    """`query` of an answer about pages."""

    pages: tuple[PageInfo, ...] = ()
    redirects: tuple[RedirectStep, ...] = ()
    allpages: tuple[PageInfo, ...] = ()


class PagesAnswer(Answer, frozen=True, kw_only=True):
    """An answer about pages."""

    query: PagesQuery = PagesQuery()


class PageLink(msgspec.Struct, frozen=True):
    """A page that a parse met: linked or transcluded."""

    ns: int
    title: str
    exists: bool = False


class LimitReportEntry(msgspec.Struct, frozen=True):
    """One line of `limitreportdata`."""

    name: str
    value: object = msgspec.field(name="0", default=None)


class Parse(msgspec.Struct, frozen=True):
    """`parse` of an answer: HTML and what it was made from. `templates` is the flattened, transitive set."""

    title: str
    pageid: Id = 0
    text: str = ""
    templates: tuple[PageLink, ...] = ()
    links: tuple[PageLink, ...] = ()
    images: tuple[str, ...] = ()
    limitreportdata: tuple[LimitReportEntry, ...] = ()

    def cache_lifetime_s(self) -> int | None:
        """How long the wiki itself would keep this HTML, or None if it does not say."""
        for entry in self.limitreportdata:
            if entry.name == "cachereport-ttl" and isinstance(entry.value, int):
                return entry.value
        return None


class ParseAnswer(Answer, frozen=True, kw_only=True):
    """The answer of `action=parse`."""

    parse: Parse | None = None


class Namespace(msgspec.Struct, frozen=True):
    """A namespace: `name` as the wiki shows it, `canonical` in English, `case` `first-letter` or `case-sensitive`."""

    id: int
    name: str = ""
    canonical: str = ""
    case: str = "first-letter"


class NamespaceAlias(msgspec.Struct, frozen=True):
    """Another name of a namespace."""

    id: int
    alias: str


class Interwiki(msgspec.Struct, frozen=True):
    """A prefix that leads to another wiki, unless `localinterwiki` says that it is this one."""

    prefix: str
    localinterwiki: bool = False


class General(msgspec.Struct, frozen=True):
    """`siprop=general`, the part that matters."""

    wikiid: str
    server: str
    servername: str = ""
    articlepath: str = "/index.php/$1"
    script: str = "/index.php"
    generator: str = ""
    lang: str = "en"
    time: str = ""
    mainpage: str = "Main Page"
    timeoffset: float = 0  # minutes by which the wiki's local time is ahead of UTC
    # PHP writes False where there is no such path.
    variantarticlepath: str | bool = False


class SiteQuery(msgspec.Struct, frozen=True):
    """`query` of `meta=siteinfo|userinfo`."""

    general: General | None = None
    namespaces: dict[str, Namespace] = {}
    namespacealiases: tuple[NamespaceAlias, ...] = ()
    interwikimap: tuple[Interwiki, ...] = ()


class SiteAnswer(Answer, frozen=True, kw_only=True):
    """The answer to `meta=siteinfo`."""

    query: SiteQuery = SiteQuery()


class UserInfo(msgspec.Struct, frozen=True):
    """Who we are to the wiki, and what we may do."""

    name: str = ""
    rights: tuple[str, ...] = ()


class Tokens(msgspec.Struct, frozen=True):
    """Tokens of `meta=tokens`."""

    logintoken: str = ""


class UserQuery(msgspec.Struct, frozen=True):
    """`query` of `meta=userinfo|tokens`."""

    userinfo: UserInfo = UserInfo()
    tokens: Tokens = Tokens()


class UserAnswer(Answer, frozen=True, kw_only=True):
    """The answer to `meta=userinfo|tokens`."""

    query: UserQuery = UserQuery()


class Login(msgspec.Struct, frozen=True):
    """The outcome of `action=login`."""

    result: str
    reason: str = ""


class LoginAnswer(Answer, frozen=True, kw_only=True):
    """The answer of `action=login`."""

    login: Login | None = None

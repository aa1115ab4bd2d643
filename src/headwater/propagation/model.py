"""Values of propagation: what is tracked, and what travels. Source: `docs/explanation/propagation.md`.

A *resource* is a versioned input, written `kind:name`; a *change* says that one changed, at an LSN; a *page* was made from resources
(its *reads*) and surely saw every change up to its *step*.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

Resource = NewType("Resource", str)  # `c:Template:Cite_web`; kinds c, e, f, w, m, s, t, x
Lsn = NewType("Lsn", int)  # base + offset on changes.<wiki>: the one order of that wiki
PageKey = NewType("PageKey", int)  # the wiki's page id
Title = NewType("Title", str)  # prefixed database key, as MediaWiki returns it with blanks as `_`
BodyHash = NewType("BodyHash", str)  # SHA-256 of the normalised body, hex
Seq = NewType("Seq", int)  # epoch * 2**32 + n; strictly rising over all attempts of a shard

HTML = "html"  # the one product of this version


def content(title: str) -> Resource:
    """The resource that is the wikitext of a page."""
    return Resource(f"c:{title}")


def existence(title: str) -> Resource:
    """The resource that is whether a page exists or redirects."""
    return Resource(f"e:{title}")


def file(title: str) -> Resource:
    """The resource that is the file behind a title of the file namespace."""
    return Resource(f"f:{title}")


def seq_of(epoch: int, n: int) -> Seq:
    """The sequence number of attempt `n` in `epoch`."""
    assert 0 <= n < 2**32
    return Seq(epoch << 32 | n)


class Urgency(IntEnum):
    """Class of a dirty page; lower is rendered first."""

    NOW = 0  # own edit, revert, suppression: within 1 s
    HOT = 1  # viewed in the last 10 minutes, or cached: within 1 min
    WARM = 2  # viewed in the last 24 h: within 1 h
    REST = 3  # on view, else when idle: within 24 h


@dataclass(frozen=True, slots=True)
class Change:
    """One record of `changes.<wiki>`, without its position.

    Attributes:
        resource: what changed.
        cause: `edit`, `create`, `delete`, `restore`, `move`, `visibility`, `upload`, `purge`, `import`, …
        urgency: class of the pages it marks, if they have no higher one.
        event_id: `meta.id` of the event it was made from.
        time_ms: when the event says that it happened.
        rev: revision, only for edits; a change whose `rev` is not above the highest seen is ignored.
        page_id, title: node to create or rename, dirty even if nobody reads it.
        erase_rev: a revision whose stored copies must go (visibility).
    """

    resource: Resource
    cause: str
    urgency: Urgency
    event_id: str
    time_ms: int
    rev: int | None = None
    page_id: PageKey | None = None
    title: Title | None = None
    erase_rev: int | None = None


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One record of `commits.<wiki>`: what a page is now, and what it was made from.

    Attributes:
        page: the page's key; the record's key in the log.
        product: `html`.
        seq: of the attempt that made this record.
        step: the LSN up to which the render surely saw every change.
        title: of the page at that render.
        html_hash: body that is current from now on; None when the page is gone.
        body_seq: `seq` of the last commit that changed what is served (body, title, redirect or gone).
        redirect: title that the page redirects to, or None.
        rev: revision of the page that was rendered; None when gone.
        reads: resources of the last render, sorted.
        time_ms: when it was committed.
    """

    page: PageKey
    product: str
    seq: Seq
    step: Lsn
    title: Title
    html_hash: BodyHash | None
    body_seq: Seq
    redirect: Title | None
    rev: int | None
    reads: tuple[Resource, ...]
    time_ms: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to render one page once.

    Attributes:
        number: unique within the epoch; a commit is accepted only under the page's own current lease.
        floor: `applied` at the moment of the lease: the render must reflect every change up to it.
    """

    number: int
    page: PageKey
    title: Title
    floor: Lsn
    urgency: Urgency
    attempt: int  # how many times in a row the page has failed before, for delays


@dataclass(frozen=True, slots=True)
class Rendered:
    """A render. `reads` includes negative reads (resources that do not exist); `body` is normalised.

    `body_hash` is the hash of `body` where somebody has computed it already: of a large body outside the event loop.
    """

    title: Title
    body: bytes
    reads: frozenset[Resource]
    rev: int
    redirect: Title | None = None
    body_hash: BodyHash | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """The page does not exist."""

    title: Title


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: the wiki is busy, lags or timed out."""

    after_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The page cannot be rendered; repeating at once will not help."""

    reason: str


Outcome = Rendered | Gone | Retry | Failed

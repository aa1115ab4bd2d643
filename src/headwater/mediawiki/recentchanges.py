"""From rows of a wiki's recent changes to the events that the wiki's EventBus would send. Pure.

Ids are deterministic: of the revision for edits, of the log entry for everything else, so that a row seen twice is one event. What
`redirect` says of a row is the *present* state of the row's title: it is passed on for edits only, where the worst that it does is an
event too careful. A log action of an unknown kind makes its page be rendered again (`resource_change`), which a hash cuts off if nothing
changed.

Source of the events: the schemas in `headwater/events/schemas`; of the rows: `docs/explanation/mediawiki.md` and
`tests/data/recentchanges`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from headwater.kernel.ids import name_uuid
from headwater.mediawiki.answers import Answer, PageInfo
from headwater.mediawiki.eventbus import Event, LeftRedirect, Meta, Performer, PriorShown, PriorTags, PriorTitle, Shown
from headwater.mediawiki.timestamps import seconds_of
from headwater.mediawiki.titles import FILE_NAMESPACE, DbKey, SiteInfo, database_key

RCPROP = "ids|title|timestamp|loginfo|flags|user|userid|comment|sizes|sha1|tags|redirect"
RCTYPE = "edit|new|log"
LEPROP = "ids|title|type|timestamp|details|user|userid|comment"

_REVISION_SCHEMA = "/mediawiki/revision/create/1.1.0"
_TAGS_SCHEMA = "/mediawiki/revision/tags-change/1.0.0"
_SHA1_LENGTH = 31  # digits of a SHA-1 in base 36
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Bits(msgspec.Struct, frozen=True):
    """What of a revision is hidden."""

    content: bool = False
    comment: bool = False
    user: bool = False


class Protection(msgspec.Struct, frozen=True):
    """One restriction of a page."""

    type: str
    level: str = ""


class LogParams(msgspec.Struct, frozen=True):
    """Details of the log actions that are followed; each kind has a few of them."""

    target_ns: int = 0
    target_title: str = ""
    suppressredirect: bool = False
    details: tuple[Protection, ...] = ()
    type: str = ""
    ids: tuple[int, ...] = ()
    old: Bits | None = None
    new: Bits | None = None
    dest_title: str = ""
    img_sha1: str = ""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `list=recentchanges`. What the reader may not see is missing, with a flag in its place."""

    type: str
    rcid: int = 0
    ns: int = 0
    title: str = ""
    pageid: int = 0
    revid: int = 0
    old_revid: int = 0
    timestamp: str
    user: str = ""
    userid: int = 0
    bot: bool = False
    minor: bool = False
    redirect: bool = False
    newlen: int = 0
    sha1: str = ""
    comment: str = ""
    tags: tuple[str, ...] = ()
    logid: int = 0
    logtype: str = ""
    logaction: str = ""
    logparams: msgspec.Raw = msgspec.Raw(b"{}")
    actionhidden: bool = False

    @property
    def time_s(self) -> int:
        """When it happened by the wiki's clock, in whole seconds since the epoch."""
        return seconds_of(self.timestamp)

    @property
    def kind(self) -> str:
        """`edit`, `new`, or the log's type and action as `move/move_redir`."""
        return f"{self.logtype}/{self.logaction}" if self.type == "log" else self.type


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `list=logevents`: the same under other names."""

    logid: int
    ns: int = 0
    title: str = ""
    logpage: int = 0
    params: msgspec.Raw = msgspec.Raw(b"{}")
    type: str = ""
    action: str = ""
    timestamp: str
    user: str = ""
    userid: int = 0
    comment: str = ""
    actionhidden: bool = False

    def as_row(self) -> Row:
        """This entry as a row of recent changes, which has no `rcid`."""
        return Row(
            type="log",
            ns=self.ns,
            title=self.title,
            pageid=self.logpage,
            timestamp=self.timestamp,
            user=self.user,
            userid=self.userid,
            comment=self.comment,
            logid=self.logid,
            logtype=self.type,
            logaction=self.action,
            logparams=self.params,
            actionhidden=self.actionhidden,
        )


class ChangesQuery(msgspec.Struct, frozen=True):
    """`query` of the two lists."""

    recentchanges: tuple[Row, ...] = ()
    logevents: tuple[LogRow, ...] = ()


class ChangesAnswer(Answer, frozen=True, kw_only=True):
    """The answer of `list=recentchanges` or `list=logevents`."""

    query: ChangesQuery = ChangesQuery()


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a row means.

    Attributes:
        events: in the order in which they are to be sent; may be empty.
        known: the row's kind is one that this module knows.
        readable: the wiki shows the row's subject; otherwise nothing can be made of it.
    """

    events: tuple[Event, ...] = ()
    known: bool = True
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Context:
    """What rows of one wiki are read with.

    Attributes:
        wiki: name of the wiki in the configuration; part of every id.
        domain: `meta.domain` of the events.
        site: the wiki's titles and addresses.
        pages: present state of the titles that `titles_wanted` named.
    """

    wiki: str
    domain: str
    site: SiteInfo
    pages: Mapping[str, PageInfo]


def base36(sha1_hex: str) -> str | None:
    """A SHA-1 as MediaWiki's events write it; None for an empty one."""
    if not sha1_hex:
        return None
    number, digits = int(sha1_hex, 16), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(_SHA1_LENGTH, "0")


def params_of(row: Row) -> LogParams:
    """The row's details; empty where they have another shape than the known kinds give."""
    try:
        return msgspec.json.decode(row.logparams, type=LogParams)
    except msgspec.ValidationError:
        return LogParams()


def titles_wanted(rows: Sequence[Row]) -> tuple[str, ...]:
    """Titles whose present state is needed to read these rows, each once: old titles of moves that left a redirect, sources of merges."""
    found = {
        row.title: None
        for row in rows
        if not row.actionhidden and ((row.logtype == "move" and not params_of(row).suppressredirect) or row.kind == "merge/merge")
    }
    return tuple(found)


def map_row(row: Row, context: Context) -> Mapped:
    """The events of one row."""
    if row.actionhidden or (row.type in ("edit", "new") and not row.title):
        return Mapped(readable=False)
    if row.type == "edit":
        return Mapped(_edit(row, context))
    if row.type == "new":
        return Mapped((_revision(row, context, "mediawiki.page-create", rev=row.revid), *_edit(row, context)))
    reader = _LOG_KINDS.get(row.kind) or _LOG_TYPES.get(row.logtype)
    if reader is not None:
        return Mapped(reader(row, context))
    if row.kind in _WITHOUT_EVENT or row.logtype in _WITHOUT_EVENT:
        return Mapped()
    return Mapped(_rendered_again(row, context), known=False)


def _meta(row: Row, context: Context, stream: str, identity: str, *, title: str | None = None) -> Meta:
    return Meta(
        uri=context.site.url_of(database_key(title or row.title)),
        id=name_uuid(f"{context.wiki}/{stream}/{identity}"),
        dt=row.timestamp,
        domain=context.domain,
        stream=stream,
    )


def _performer(row: Row) -> Performer | None:
    return Performer(row.user, row.userid or None, row.bot or None) if row.user else None


def _edit(row: Row, context: Context) -> tuple[Event, ...]:
    """The revision, and its tags where it has some: they say whether it undoes another."""
    created = _revision(row, context, "mediawiki.revision-create", rev=row.revid)
    if not row.tags:
        return (created,)
    stream = "mediawiki.revision-tags-change"
    meta = _meta(row, context, stream, f"{row.revid}/{'|'.join(row.tags)}")
    return created, msgspec.structs.replace(created, schema=_TAGS_SCHEMA, meta=meta, prior_state=PriorTags())


def _revision(row: Row, context: Context, stream: str, *, rev: int, page: PageInfo | None = None, is_redirect: bool | None = None) -> Event:
    """An event about revision `rev` of the row's page, or of `page` at the row's title."""
    edited = row.type in ("edit", "new")
    return Event(
        schema=_REVISION_SCHEMA,
        meta=_meta(row, context, stream, str(rev) if edited else f"log/{row.logid}"),
        database=context.site.wikiid,
        page_id=page.pageid if page else row.pageid,
        page_title=database_key(row.title),
        page_namespace=row.ns,
        page_is_redirect=row.redirect if edited else is_redirect,
        rev_id=rev,
        rev_parent_id=row.old_revid or None,
        rev_timestamp=row.timestamp,
        rev_sha1=base36(row.sha1) if edited else None,
        rev_minor_edit=row.minor if edited else None,
        rev_len=row.newlen if edited else None,
        performer=_performer(row),
        comment=row.comment,
        tags=row.tags or None,
    )


def _page(row: Row, context: Context, kind: str, *, schema: str | None = None) -> Event:
    """An event about the row's page as a whole; `kind` as in `mediawiki.page-<kind>`."""
    stream = f"mediawiki.page-{kind}"
    return Event(
        schema=f"/mediawiki/page/{schema or kind}/1.0.0",
        meta=_meta(row, context, stream, f"log/{row.logid}"),
        database=context.site.wikiid,
        page_id=row.pageid,
        page_title=database_key(row.title),
        page_namespace=row.ns,
        rev_id=row.revid or None,
        performer=_performer(row),
        comment=row.comment,
    )


def _file(row: Row, context: Context, kind: str) -> tuple[Event, ...]:
    """The change of a file, for rows in the namespace of files."""
    if row.ns != FILE_NAMESPACE:
        return ()
    stream = "headwater.file-change"
    return (
        Event(
            schema="/headwater/file-change/1.0.0",
            meta=_meta(row, context, stream, f"log/{row.logid}"),
            database=context.site.wikiid,
            page_id=row.pageid,
            page_title=database_key(row.title),
            page_namespace=row.ns,
            kind=kind,
            sha1=params_of(row).img_sha1 or None,
        ),
    )


def _move(row: Row, context: Context) -> tuple[Event, ...]:
    """The page at its new title, and the redirect at the old one if there is one now: a move leaves no row for it."""
    params = params_of(row)
    moved = msgspec.structs.replace(
        _page(row, context, "move"),
        meta=_meta(row, context, "mediawiki.page-move", f"log/{row.logid}", title=params.target_title),
        page_title=database_key(params.target_title),
        page_namespace=params.target_ns,
        prior_state=PriorTitle(database_key(row.title), row.ns),
    )
    left = context.pages.get(row.title)
    if params.suppressredirect or left is None or left.pageid in (0, row.pageid):
        return (moved,)
    # The title may hold another page by now; the row of that change follows, and a page created twice is created once.
    redirect = LeftRedirect(left.pageid, database_key(row.title), row.ns, left.lastrevid)
    return (
        msgspec.structs.replace(moved, new_redirect_page=redirect),
        _revision(row, context, "mediawiki.page-create", rev=left.lastrevid, page=left, is_redirect=left.redirect),
    )


def _restrictions(row: Row, context: Context) -> tuple[Event, ...]:
    levels = {protection.type: protection.level for protection in params_of(row).details}
    changed = _page(row, context, "restrictions-change")
    return (msgspec.structs.replace(changed, page_restrictions=levels, reason=row.comment),)


def _delete(row: Row, context: Context) -> tuple[Event, ...]:
    return (_page(row, context, "delete"), *_file(row, context, "delete"))


def _suppress_page(row: Row, context: Context) -> tuple[Event, ...]:
    return (_page(row, context, "suppress", schema="delete"), *_file(row, context, "delete"))


def _restore(row: Row, context: Context) -> tuple[Event, ...]:
    return (_page(row, context, "undelete"), *_file(row, context, "restore"))


def _created(row: Row, context: Context) -> tuple[Event, ...]:
    """A page that came with its revisions: it may have been there before, which `page-create` then says too carefully."""
    if row.revid == 0:  # nothing says which revision is current now
        return _revision(row, context, "mediawiki.page-create", rev=0), *_rendered_again(row, context)
    return tuple(_revision(row, context, stream, rev=row.revid) for stream in ("mediawiki.page-create", "mediawiki.revision-create"))


def _upload(row: Row, context: Context) -> tuple[Event, ...]:
    return (*_created(row, context), *_file(row, context, "upload"))


def _new_version(row: Row, context: Context) -> tuple[Event, ...]:
    """The page of the file gets a revision that only says so."""
    return (_revision(row, context, "mediawiki.revision-create", rev=row.revid), *_file(row, context, row.logaction))


def _visibility(row: Row, context: Context) -> tuple[Event, ...]:
    """One event for each revision; old versions of files are in no page's HTML."""
    params = params_of(row)
    if params.type not in ("revision", "archive") or params.new is None:
        return ()
    return tuple(_hidden(row, context, rev, params) for rev in params.ids)


def _hidden(row: Row, context: Context, rev: int, params: LogParams) -> Event:
    assert params.new is not None
    stream = "mediawiki.revision-visibility-change"
    # With several revisions `old` is that of one of them at best.
    prior = PriorShown(_shown(params.old)) if params.old is not None and len(params.ids) == 1 else None
    return Event(
        schema="/mediawiki/revision/visibility-change/1.0.0",
        meta=_meta(row, context, stream, f"log/{row.logid}/{rev}"),
        database=context.site.wikiid,
        page_id=row.pageid,
        page_title=database_key(row.title),
        page_namespace=row.ns,
        rev_id=rev,
        performer=_performer(row),
        comment=row.comment,
        visibility=_shown(params.new),
        prior_state=prior,
    )


def _shown(bits: Bits) -> Shown:
    return Shown(text=not bits.content, user=not bits.user, comment=not bits.comment)


def _merge(row: Row, context: Context) -> tuple[Event, ...]:
    """Revisions moved from one page to another; the source may have become a redirect, or nothing, without a row of its own."""
    source = context.pages.get(row.title)
    goal = params_of(row).dest_title
    changed = _resource(row, context, database_key(goal)) if goal else ()
    if source is None or not source.pageid:
        return (_page(row, context, "delete"), *changed)
    return (
        _revision(row, context, "mediawiki.revision-create", rev=source.lastrevid, page=source, is_redirect=source.redirect),
        *changed,
    )


def _rendered_again(row: Row, context: Context) -> tuple[Event, ...]:
    """For changes that show in a page although no revision tells: its language, what an extension logs."""
    return _resource(row, context, database_key(row.title)) if row.title and row.ns >= 0 else ()


def _resource(row: Row, context: Context, title: DbKey) -> tuple[Event, ...]:
    stream = "resource_change"
    meta = _meta(row, context, stream, f"log/{row.logid}/{title}", title=title)
    return (Event(schema="/resource_change/1.0.0", meta=meta, tags=("purge",)),)


_Reader = Callable[[Row, Context], tuple[Event, ...]]
_LOG_KINDS: dict[str, _Reader] = {
    "delete/delete": _delete,
    "delete/delete_redir": _delete,
    "delete/delete_redir2": _delete,
    "delete/restore": _restore,
    "delete/revision": _visibility,
    "suppress/delete": _suppress_page,
    "suppress/revision": _visibility,
    "merge/merge": _merge,
    "upload/upload": _upload,
    "upload/overwrite": _new_version,
    "upload/revert": _new_version,
    "pagelang/pagelang": _rendered_again,
    "protect/move_prot": _rendered_again,
}
_LOG_TYPES: dict[str, _Reader] = {"move": _move, "protect": _restrictions, "import": _created}
# Kinds, or whole logs, that change no page, or whose change has an edit row of its own.
_WITHOUT_EVENT = frozenset(
    {
        "delete/event",
        "suppress/event",
        "suppress/block",
        "suppress/reblock",
        "block",
        "contentmodel",
        "create",
        "gblblock",
        "gblrename",
        "globalauth",
        "interwiki",
        "managetags",
        "newusers",
        "patrol",
        "renameuser",
        "rights",
        "spamblacklist",
        "tag",
        "thanks",
        "titleblacklist",
        "abusefilter",
        "abusefilterprivatedetails",
    }
)

"""Which resources did an event change? Pure: the same events give the same changes.

Sources: the streams of the EventBus extension as of MediaWiki 1.39, and those of Headwater's follower, which have the same form. The rules
are in `docs/explanation/propagation.md`: an edit touches `c:` alone and carries its revision; what may change whether a page exists or
redirects touches `e:` too; any event in the file namespace touches `f:`; creation, restore and move name the node.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from headwater.kernel.errors import InvalidInput
from headwater.mediawiki.titles import FILE_NAMESPACE
from headwater.propagation.model import Change, Lsn, PageKey, Resource, Title, Urgency, content, existence, file

CLOCKS_DIFFER_MS_MAX = 3_600_000
REVERT_TAGS = frozenset({"mw-undo", "mw-rollback", "mw-manual-revert"})
REDIRECT_TAGS = frozenset({"mw-new-redirect", "mw-removed-redirect", "mw-changed-redirect-target"})
STREAMS_WITHOUT_CHANGES = frozenset(
    {
        "mediawiki.page-links-change",  # follows from the content, whose change has come already
        "mediawiki.page-properties-change",
        "mediawiki.page-restrictions-change",  # protection makes a null revision, which comes by itself
        "mediawiki.recentchange",  # says again what the other streams say
        "mediawiki.user-blocks-change",
        "resource-purge",  # what is to be purged is an answer to a change, not a change
        "headwater.page-changed",
    }
)


class SiteNames(Protocol):
    """What the wiki's addresses and titles mean; `headwater.mediawiki.titles.SiteInfo` is one."""

    def title_of_url(self, url: str) -> str | None:
        """The prefixed database key of the page that an address shows, or None."""
        ...

    def namespace_of(self, key: str) -> int:
        """The namespace of a prefixed database key."""
        ...


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """An event as it lies in the log.

    Attributes:
        stream: where it lies.
        value: its bytes.
        event_id: the effective `meta.id`.
        time_ms: the effective `meta.dt` in milliseconds since the epoch.
    """

    stream: str
    value: bytes
    event_id: str
    time_ms: int


class _Meta(msgspec.Struct, frozen=True):
    uri: str = ""


class _OtherPage(msgspec.Struct, frozen=True):
    page_id: int | None = None
    page_title: str | None = None
    page_namespace: int = 0


class _Visibility(msgspec.Struct, frozen=True):
    text: bool = True
    user: bool = True
    comment: bool = True


class _PriorState(msgspec.Struct, frozen=True):
    page_title: str | None = None
    page_namespace: int = 0
    tags: tuple[str, ...] = ()


class _Event(msgspec.Struct, frozen=True):
    """The fields of all streams that matter here; others are passed over."""

    meta: _Meta = _Meta()
    page_id: int | None = None
    page_title: str | None = None
    page_namespace: int = 0
    page_is_redirect: bool = False
    rev_id: int | None = None
    rev_parent_id: int | None = None
    rev_is_revert: bool = False
    tags: tuple[str, ...] = ()
    prior_state: _PriorState = _PriorState()
    visibility: _Visibility = _Visibility()
    new_redirect_page: _OtherPage | None = None
    kind: str = ""


_event_of = msgspec.json.Decoder(_Event, strict=False)  # `1.0` is an integer of JSON Schema, so it may come


def parse_time_ms(dt: str) -> int:
    """Milliseconds since the epoch meant by an RFC 3339 time. Raises InvalidInput."""
    try:
        time = datetime.fromisoformat(dt)
    except ValueError as error:
        raise InvalidInput(f"{dt[:64]!r} is no RFC 3339 time", where="/meta/dt") from error
    if time.tzinfo is None:
        raise InvalidInput("the time has no time zone", where="/meta/dt")
    return round(time.timestamp() * 1000)


def happened_ms(dt: str, taken_ms: int) -> int:
    """When an event happened, in milliseconds since the epoch: what it says of itself, as far as that can be.

    A time that cannot be read costs no change, and one that no event can have bends neither ages nor what may be forgotten: the intake
    took the event at `taken_ms`, so it did not happen later than that, but for clocks that differ.
    """
    try:
        said_ms = parse_time_ms(dt)
    except InvalidInput:
        return taken_ms
    return said_ms if 0 <= said_ms <= taken_ms + CLOCKS_DIFFER_MS_MAX else taken_ms


def never(_: Title) -> bool:
    """Says of no title that it may be a redirect."""
    return False


def changes_of(event: SourceEvent, *, site: SiteNames, may_redirect: Callable[[Title], bool] = never) -> tuple[Change, ...]:
    """The changes that follow from `event`, in the order in which they are to be appended.

    Args:
        event: from a stream of the wiki, of the wiki's own domains.
        site: the wiki's titles.
        may_redirect: whether a title is, or may have been, a redirect so far; then an edit touches `e:` beside `c:`.

    Raises:
        InvalidInput: the event lacks what its stream always has.
    """
    (changes,) = changes_of_batch([event], site=site, may_redirect=may_redirect)
    if isinstance(changes, InvalidInput):
        raise changes
    return changes


def changes_of_batch(
    events: Iterable[SourceEvent], *, site: SiteNames, may_redirect: Callable[[Title], bool]
) -> Sequence[tuple[Change, ...] | InvalidInput]:
    """`changes_of` for events that are appended together, an outcome for each.

    Within the batch, earlier changes count: a title whose `e:` was touched may be a redirect for a later edit, and the `e:` and `f:` of one
    revision, which several streams tell, are written once.
    """
    batch = _Batch(site, may_redirect)
    outcomes: list[tuple[Change, ...] | InvalidInput] = []
    for event in events:
        try:
            outcomes.append(batch.changes_of(event))
        except InvalidInput as error:
            outcomes.append(error)
    return outcomes


class ExistenceMemory:
    """Answers `may_redirect` for an owner that writes changes ahead of applying them: what it wrote and has not applied counts too."""

    def __init__(self, shard_says: Callable[[Title], bool]) -> None:
        self._shard_says = shard_says
        self._unapplied: dict[Resource, Lsn] = {}

    def may_redirect(self, title: Title) -> bool:
        """Whether `title` is a redirect, or may be one."""
        return existence(title) in self._unapplied or self._shard_says(title)

    def written(self, changes: Iterable[Change], lsn: Lsn) -> None:
        """`changes` are on their way, the last of them at most at `lsn`."""
        self._unapplied.update((change.resource, lsn) for change in changes if change.resource.startswith("e:"))

    def applied(self, lsn: Lsn) -> None:
        """The shard has applied everything up to `lsn`, and speaks for itself."""
        self._unapplied = {resource: at for resource, at in self._unapplied.items() if at > lsn}


class _Batch:
    def __init__(self, site: SiteNames, may_redirect: Callable[[Title], bool]) -> None:
        self._site = site
        self._may_redirect = may_redirect
        self._touched: set[Resource] = set()
        self._told: set[tuple[Resource, int]] = set()  # what a revision changed beside its content

    def changes_of(self, source: SourceEvent) -> tuple[Change, ...]:
        make = _MAKERS.get(source.stream)
        if make is None:
            return ()
        try:
            event = _event_of.decode(source.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"an event of {source.stream} does not decode: {error}") from error
        changes = make(self, source, event)
        if source.stream in _TELLS_OF_A_REVISION and event.rev_id is not None:
            changes = [change for change in changes if change.rev is not None or (change.resource, event.rev_id) not in self._told]
            self._told.update((change.resource, event.rev_id) for change in changes if change.rev is None)
        self._touched.update(change.resource for change in changes)
        return tuple(changes)

    def is_redirect(self, title: Title) -> bool:
        return existence(title) in self._touched or self._may_redirect(title)

    def revision_create(self, source: SourceEvent, event: _Event) -> list[Change]:
        title, rev = _title(event), event.rev_id
        if rev is None or event.page_id is None:
            raise InvalidInput("a new revision has no rev_id or no page_id", where="/rev_id")
        created = not event.rev_parent_id
        reverts = event.rev_is_revert or not REVERT_TAGS.isdisjoint(event.tags)
        urgency = Urgency.NOW if reverts else Urgency.REST
        write = _Writer(source, "revert" if reverts else "create" if created else "edit", urgency)
        changes = [write.change(content(title), rev=rev)]
        redirects = event.page_is_redirect or not REDIRECT_TAGS.isdisjoint(event.tags) or self.is_redirect(title)
        if created:
            changes.append(write.change(existence(title), names=(event.page_id, title)))
        elif redirects:
            changes.append(write.change(existence(title)))
        return changes + _file(write, event.page_namespace, title)

    def tags_change(self, source: SourceEvent, event: _Event) -> list[Change]:
        title, added = _title(event), frozenset(event.tags) - frozenset(event.prior_state.tags)
        changes: list[Change] = []
        if event.rev_id is not None and not REVERT_TAGS.isdisjoint(added):
            changes.append(_Writer(source, "revert", Urgency.NOW).change(content(title), rev=event.rev_id))
        if not REDIRECT_TAGS.isdisjoint(added):
            changes.append(_Writer(source, "redirect", Urgency.REST).change(existence(title)))
        return changes

    def page_delete(self, source: SourceEvent, event: _Event) -> list[Change]:
        return self._delete(_Writer(source, "delete", Urgency.REST), event)

    def page_suppress(self, source: SourceEvent, event: _Event) -> list[Change]:
        return self._delete(_Writer(source, "suppress", Urgency.NOW), event)

    def _delete(self, write: "_Writer", event: _Event) -> list[Change]:
        title = _title(event)
        return [write.change(existence(title)), write.change(content(title)), *_file(write, event.page_namespace, title)]

    def page_undelete(self, source: SourceEvent, event: _Event) -> list[Change]:
        title, write = _title(event), _Writer(source, "restore", Urgency.REST)
        if event.page_id is None:
            raise InvalidInput("a restored page has no page_id", where="/page_id")
        named = write.change(existence(title), names=(event.page_id, title))
        return [named, write.change(content(title)), *_file(write, event.page_namespace, title)]

    def page_move(self, source: SourceEvent, event: _Event) -> list[Change]:
        title, before, write = _title(event), event.prior_state, _Writer(source, "move", Urgency.REST)
        if before.page_title is None or event.page_id is None:
            raise InvalidInput("a moved page has no prior title or no page_id", where="/prior_state/page_title")
        old, left = Title(before.page_title), event.new_redirect_page
        left_names = None if left is None or left.page_id is None else (left.page_id, old)
        return [
            write.change(existence(title), names=(event.page_id, title)),
            write.change(content(title)),
            write.change(existence(old), names=left_names),
            write.change(content(old)),
            *_file(write, event.page_namespace, title),
            *_file(write, before.page_namespace, old),
        ]

    def visibility_change(self, source: SourceEvent, event: _Event) -> list[Change]:
        title, seen = _title(event), event.visibility
        if event.rev_id is None:
            raise InvalidInput("a change of visibility has no rev_id", where="/rev_id")
        hidden = not (seen.text and seen.user and seen.comment)
        write = _Writer(source, "visibility", Urgency.NOW)
        return [
            write.change(content(title), erase_rev=event.rev_id if hidden else None),
            *_file(write, event.page_namespace, title),
        ]

    def resource_change(self, source: SourceEvent, event: _Event) -> list[Change]:
        found = self._site.title_of_url(event.meta.uri)
        if found is None:
            return []  # an address that shows no page of the wiki
        write = _Writer(source, "purge", Urgency.REST)
        return [write.change(content(Title(found))), *_file(write, self._site.namespace_of(found), Title(found))]

    def file_change(self, source: SourceEvent, event: _Event) -> list[Change]:
        title, write = _title(event), _Writer(source, event.kind or "upload", Urgency.REST)
        exists = event.kind != "delete" and event.page_id
        names = (event.page_id, title) if exists and event.page_id else None
        return [write.change(existence(title), names=names), write.change(content(title)), *_file(write, FILE_NAMESPACE, title)]


@dataclass(frozen=True, slots=True)
class _Writer:
    source: SourceEvent
    cause: str
    urgency: Urgency

    def change(
        self, resource: Resource, *, rev: int | None = None, names: tuple[int, Title] | None = None, erase_rev: int | None = None
    ) -> Change:
        return Change(
            resource=resource,
            cause=self.cause,
            urgency=self.urgency,
            event_id=self.source.event_id,
            time_ms=self.source.time_ms,
            rev=rev,
            page_id=None if names is None else PageKey(names[0]),
            title=None if names is None else names[1],
            erase_rev=erase_rev,
        )


_MAKERS: dict[str, Callable[[_Batch, SourceEvent, _Event], list[Change]]] = {
    "mediawiki.page-create": _Batch.revision_create,
    "mediawiki.revision-create": _Batch.revision_create,
    "mediawiki.revision-tags-change": _Batch.tags_change,
    "mediawiki.page-delete": _Batch.page_delete,
    "mediawiki.page-suppress": _Batch.page_suppress,
    "mediawiki.page-undelete": _Batch.page_undelete,
    "mediawiki.page-move": _Batch.page_move,
    "mediawiki.revision-visibility-change": _Batch.visibility_change,
    "resource_change": _Batch.resource_change,
    "headwater.file-change": _Batch.file_change,
}
_TELLS_OF_A_REVISION = frozenset({"mediawiki.page-create", "mediawiki.revision-create", "mediawiki.revision-tags-change"})
STREAMS = tuple(_MAKERS)


def _title(event: _Event) -> Title:
    if not event.page_title:
        raise InvalidInput("the event names no page", where="/page_title")
    return Title(event.page_title.replace(" ", "_"))


def _file(write: _Writer, namespace: int, title: Title) -> list[Change]:
    return [write.change(file(title))] if namespace == FILE_NAMESPACE else []

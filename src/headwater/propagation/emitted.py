"""The events that a commit emits: purges of addresses, and the news that a page changed.

Pure. Their ids are made from what they say, so that a consumer recognises one that was written twice.
"""

import msgspec

from headwater.kernel.clock import iso_utc
from headwater.kernel.ids import name_uuid
from headwater.log.model import NewRecord
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.model import CommitRecord, Title
from headwater.propagation.streams import PAGE_CHANGED, PURGES
from headwater.propagation.urls import canonical_path, urls_of

_PURGE_SCHEMA = "/resource_change/1.1.0"
_PAGE_CHANGED_SCHEMA = "/headwater/page-changed/1.0.0"


class Meta(msgspec.Struct, frozen=True):
    """`meta` of an emitted event."""

    uri: str
    id: str
    dt: str
    domain: str
    stream: str


class PurgedPage(msgspec.Struct, frozen=True):
    """The page that an address belongs to, and the floor that its purge carries."""

    wiki: str
    page_id: int
    product: str
    seq: int


class PurgeEvent(msgspec.Struct, frozen=True):
    """Copies of `meta.uri` made before `headwater.seq` are to go."""

    schema: str = msgspec.field(name="$schema")
    meta: Meta
    tags: tuple[str, ...]
    headwater: PurgedPage


class PageChanged(msgspec.Struct, frozen=True):
    """A page's content, title or redirect target is another than before; `html_hash` is None when it is gone."""

    schema: str = msgspec.field(name="$schema")
    meta: Meta
    wiki: str
    page_id: int
    page_title: str
    product: str
    seq: int
    html_hash: str | None
    rev_id: int | None
    cause: str


def purge_records(
    wiki: str, wiki_config: WikiConfig, record: CommitRecord, urls: tuple[str, ...], *, again: str = ""
) -> tuple[NewRecord, ...]:
    """One purge per address of a page that `record` changed.

    Args:
        again: why the same addresses are purged for the same commit once more; makes other ids.
    """
    page = PurgedPage(wiki, record.page, record.product, record.seq)
    made = []
    for url in urls:
        event_id = name_uuid(f"{wiki}/{record.page}/{record.seq}/{url}" + (f"/{again}" if again else ""))
        meta = Meta(url, event_id, iso_utc(record.time_ms), wiki_config.domains[0], PURGES)
        made.append(_record(PurgeEvent(_PURGE_SCHEMA, meta, ("headwater",), page), record, f"{wiki}:{record.page}"))
    return tuple(made)


def page_changed_record(wiki: str, wiki_config: WikiConfig, record: CommitRecord, cause: str) -> NewRecord:
    """The news that `record` changed its page, because of `cause`."""
    domain = wiki_config.domains[0]
    event_id = name_uuid(f"{wiki}/{record.page}/{record.seq}/{PAGE_CHANGED}")
    meta = Meta(f"https://{domain}{canonical_path(wiki, record.title)}", event_id, iso_utc(record.time_ms), domain, PAGE_CHANGED)
    event = PageChanged(
        schema=_PAGE_CHANGED_SCHEMA,
        meta=meta,
        wiki=wiki,
        page_id=record.page,
        page_title=record.title,
        product=record.product,
        seq=record.seq,
        html_hash=record.html_hash,
        rev_id=record.rev,
        cause=cause,
    )
    return _record(event, record, f"{domain}:{record.page}")


def urls_to_purge(wiki_config: WikiConfig, record: CommitRecord, before: CommitRecord | None, titles: tuple[Title, ...]) -> tuple[str, ...]:
    """Addresses whose copies `record` makes wrong; `before` is the page's commit until now, `titles` what it was and is called."""
    new_revision = before is None or before.rev != record.rev
    return tuple(urls_of(titles, wiki_config, new_revision=new_revision))


def _record(event: PurgeEvent | PageChanged, record: CommitRecord, key: str) -> NewRecord:
    headers = (("id", event.meta.id.encode()), ("dt", event.meta.dt.encode()), ("schema", event.schema.encode()))
    return NewRecord(event.meta.stream, msgspec.json.encode(event), record.time_ms, key=key.encode(), headers=headers)

"""What is known about a wiki's shard and its pages, as values for the API, the console and the command line.

Nothing here changes anything.
"""

from collections.abc import Sequence

import msgspec

from headwater.propagation.backfill import Backfill
from headwater.propagation.flow import CommitSummary, FlowEntry
from headwater.propagation.model import Lsn, PageKey, Resource, Title, Urgency
from headwater.propagation.owner import Owner
from headwater.propagation.parking import DeadLetter
from headwater.propagation.shard import Shard
from headwater.propagation.state import Mark
from headwater.propagation.tenure import Tenure


class ClassStatus(msgspec.Struct, frozen=True):
    """Pages that wait in one class: how many, and since when the stalest (ms since the epoch; None: none waits)."""

    urgency: int
    dirty: int
    stalest_ms: int | None


class WindowStatus(msgspec.Struct, frozen=True):
    """How many renders may be under way in one window, and how long 95 % of the last took at most."""

    name: str
    size: int
    p95_ms: float


class CountsStatus(msgspec.Struct, frozen=True):
    """What happened since this process took over the shard."""

    applied: int
    ignored: int
    marked: int
    leased: int
    skipped: int
    committed: int
    cutoffs: int
    overtaken: int
    reverified: int
    retried: int
    failed: int
    parked: int


class BackfillStatus(msgspec.Struct, frozen=True):
    """A backfill: pages seen and, of them, made known; times in ms since the epoch; `waiting` pages have still to be rendered;
    `delayed` says why the last batch was put off, if it was."""

    running: bool
    seen: int
    added: int
    started_ms: int | None
    finished_ms: int | None
    waiting: int
    delayed: str | None = None


class AuditStatus(msgspec.Struct, frozen=True):
    """What audits found since this process took over the shard: pages and copies compared, and how many of them were wrong."""

    pages: int
    mismatches: int
    copies: int
    stale_copies: int


class WikiStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One wiki's shard. LSNs and seqs are decimal strings: they may exceed what JavaScript's numbers hold."""

    wiki: str
    state: str
    reason: str | None
    epoch: int | None = None
    pages: int = 0
    applied: str | None = None
    checkpoint_ms: int | None = None
    classes: tuple[ClassStatus, ...] = ()
    in_flight: int = 0
    dead_letters: int = 0
    readers_waiting: int = 0
    at_rest: bool = False
    windows: tuple[WindowStatus, ...] = ()
    counts: CountsStatus | None = None
    backfill: BackfillStatus | None = None
    audit: AuditStatus | None = None
    flow: tuple[FlowEntry, ...] = ()


class Status(msgspec.Struct, frozen=True):
    """All wikis of this process."""

    now_ms: int
    wikis: tuple[WikiStatus, ...]


class ReadStatus(msgspec.Struct, frozen=True):
    """One resource that a page was made from, with its last change where that is known."""

    resource: str
    changed: str | None
    cause: str | None
    time_ms: int | None
    rev: int | None
    stale: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a page is as it is."""

    wiki: str
    page_id: int
    title: str
    freshness: str
    urgency: int | None
    stale_since_ms: int | None
    parked: DeadLetter | None
    step: str | None
    seq: str | None
    body_seq: str | None
    html_hash: str | None
    redirect: str | None
    rev: int | None
    committed_ms: int | None
    reads: tuple[ReadStatus, ...]
    commits: tuple[CommitSummary, ...]


class Dependents(msgspec.Struct, frozen=True):
    """The blast radius of a change of `resource`: how many pages depend on it, and the first of them."""

    resource: str
    count: int
    titles: tuple[str, ...]


def status_of(owner: Owner, *, at_rest: bool, readers_waiting: int, flow_max: int) -> WikiStatus:
    """The status of one wiki."""
    wiki, epoch = owner.around.wiki, owner.epoch
    if epoch is None:
        return WikiStatus(wiki=wiki, state=owner.state.value, reason=owner.reason)
    tenure, dispatcher = epoch.tenure, epoch.dispatcher
    shard, counts = tenure.shard, tenure.shard.counts
    return WikiStatus(
        wiki=wiki,
        state=owner.state.value,
        reason=owner.reason,
        epoch=shard.epoch,
        pages=len(shard),
        applied=str(shard.applied),
        checkpoint_ms=epoch.checkpointer.saved_ms,
        classes=_classes(shard),
        in_flight=shard.in_flight(),
        dead_letters=len(tenure.dead_letters),
        readers_waiting=readers_waiting,
        at_rest=at_rest,
        windows=tuple(
            WindowStatus(name, window.size, window.p95_ms()) for name, window in (("urgent", dispatcher.urgent), ("bulk", dispatcher.bulk))
        ),
        counts=CountsStatus(**{name: getattr(counts, name) for name in CountsStatus.__struct_fields__}),
        backfill=backfill_status(epoch.backfill, shard),
        audit=AuditStatus(**{name: getattr(owner.audited, name) for name in AuditStatus.__struct_fields__}),
        flow=tuple(owner.flow.entries(0, flow_max)),
    )


def backfill_status(backfill: Backfill, shard: Shard) -> BackfillStatus:
    """How far a backfill has come."""
    waiting, note = sum(shard.backlog().values()) + shard.in_flight(), backfill.note
    if note is None:
        return BackfillStatus(False, 0, 0, None, None, waiting)
    return BackfillStatus(
        note.running, note.seen, note.added, note.started_ms, note.finished_ms, waiting, backfill.delayed if note.running else None
    )


def _classes(shard: Shard) -> tuple[ClassStatus, ...]:
    backlog, stalest_ms = shard.backlog(), shard.stalest_ms()
    return tuple(ClassStatus(int(urgency), backlog[urgency], stalest_ms.get(urgency)) for urgency in Urgency)


def explain(owner: Owner, tenure: Tenure, page: PageKey) -> Explanation:
    """Why `page`, which is known, is as it is."""
    shard = tenure.shard
    record, stale = shard.current(page), dict(shard.stale_reads(page))
    urgency, parked = shard.urgency(page), shard.parked()
    return Explanation(
        wiki=owner.around.wiki,
        page_id=page,
        title=shard.title(page) or "",
        freshness=shard.freshness(page).value,
        urgency=None if urgency is None else int(urgency),
        stale_since_ms=shard.since_ms(page),
        parked=tenure.dead_letters.get(page) if page in parked else None,
        step=None if record is None else str(record.step),
        seq=None if record is None else str(record.seq),
        body_seq=None if record is None else str(record.body_seq),
        html_hash=None if record is None else record.html_hash,
        redirect=None if record is None else record.redirect,
        rev=None if record is None else record.rev,
        committed_ms=None if record is None else record.time_ms,
        reads=() if record is None else tuple(_read(resource, shard.last_change(resource), stale) for resource in record.reads),
        commits=tuple(owner.history.of(page)),
    )


def _read(resource: Resource, mark: Mark | None, stale: dict[Resource, Lsn]) -> ReadStatus:
    if mark is None:
        changed = stale.get(resource)
        return ReadStatus(resource, None if changed is None else str(changed), None, None, None, changed is not None)
    return ReadStatus(resource, str(mark.lsn), mark.cause, mark.time_ms, mark.rev, resource in stale)


def dependents(shard: Shard, resource: Resource, limit: int) -> Dependents:
    """Who depends on `resource`."""
    count, pages = shard.dependents(resource, limit)
    titles: Sequence[Title | None] = [shard.title(page) for page in pages]
    return Dependents(resource, count, tuple(title for title in titles if title is not None))

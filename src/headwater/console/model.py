"""What an operator sees, as values, and how it is made from the roles' answers. Pure.

Answers are read leniently: a field that a role does not send has a default, so that console and roles may be of different versions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from headwater.console.ports import Answer
from headwater.console.sessions import SessionsView, sessions_view

_T = TypeVar("_T")

STATUS_ROLES = ("events", "propagation", "purging", "tables")
METRICS_ROLE = "sessions"
CLASS_NAMES = ("now", "hot", "warm", "rest")


class RoleHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One role: `ready`, `not ready` with reasons, or `down`."""

    name: str
    address: str
    state: str
    reasons: list[str]


class ClassView(msgspec.Struct, frozen=True):
    """Pages that wait in one class. `age_s` is that of the stalest, None if none waits."""

    name: str
    dirty: int
    age_s: float | None


class EditView(msgspec.Struct, frozen=True, kw_only=True):
    """One recent edit and what came of it. Durations are in seconds since it was applied, None while it has not happened."""

    wiki: str
    number: int
    cause: str
    what: str
    happened_ms: int
    applied_ms: int
    marked: int
    rendered: int
    cutoffs: int
    purged: int
    rendered_s: float | None
    fresh_s: float | None


class FollowerView(msgspec.Struct, frozen=True, kw_only=True):
    """The follower of one wiki."""

    state: str
    lag_s: float | None
    last_error: str | None
    may_have_gap: bool


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """What audits compared since the role started, and what of it was wrong (and repaired)."""

    pages: int = 0
    mismatches: int = 0
    copies: int = 0
    stale_copies: int = 0


class WikiView(msgspec.Struct, frozen=True, kw_only=True):
    """One wiki. `renders_per_s` is None until there are two answers to compare."""

    wiki: str
    state: str
    reason: str | None
    pages: int
    classes: list[ClassView]
    in_flight: int
    renders_per_s: float | None
    skipped: int
    cutoffs: int
    committed: int
    dead_letters: int
    at_rest: bool
    audit: AuditView
    follower: FollowerView | None


class TargetView(msgspec.Struct, frozen=True, kw_only=True):
    """One cache that is purged."""

    name: str
    layer: int
    state: str
    waiting: int
    oldest_age_s: float | None
    acknowledged: int
    retried: int
    parked: int


class PurgingView(msgspec.Struct, frozen=True, kw_only=True):
    """Purging as a whole; None in the overview while the role does not answer."""

    unfinished: int
    waiting_second: int
    purged: int
    dead_letters: int
    targets: list[TargetView]


class TablesView(msgspec.Struct, frozen=True, kw_only=True):
    """Tables of all domains; None in the overview while the role does not answer. `bytes` is as stored, without what SQLite adds."""

    tables: int = 0
    spaces: int = 0
    rows: int = 0
    bytes: int = 0
    full_partitions: int = 0


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on the page. `verdict` says it in one line; `healthy` is False if somebody should look."""

    now_ms: int
    healthy: bool
    verdict: str
    roles: list[RoleHealth]
    wikis: list[WikiView]
    edits: list[EditView]
    purging: PurgingView | None
    sessions: SessionsView | None = None
    tables: TablesView | None = None


class _Readiness(msgspec.Struct, frozen=True):
    ready: bool = False
    checks: dict[str, str | None] = {}


class _Class(msgspec.Struct, frozen=True):
    urgency: int = 3
    dirty: int = 0
    stalest_ms: int | None = None


class _Counts(msgspec.Struct, frozen=True):
    skipped: int = 0
    committed: int = 0
    cutoffs: int = 0


class _Flow(msgspec.Struct, frozen=True):
    number: int
    cause: str = ""
    what: str = ""
    happened_ms: int = 0
    applied_ms: int = 0
    marked: int = 0
    rendered: int = 0
    cutoffs: int = 0
    purged: int = 0
    committed_ms: int | None = None
    fresh_ms: int | None = None


class _Wiki(msgspec.Struct, frozen=True):
    wiki: str
    state: str = "unknown"
    reason: str | None = None
    pages: int = 0
    classes: tuple[_Class, ...] = ()
    in_flight: int = 0
    dead_letters: int = 0
    at_rest: bool = False
    audit: AuditView | None = None
    counts: _Counts | None = None
    flow: tuple[_Flow, ...] = ()


class _Propagation(msgspec.Struct, frozen=True):
    now_ms: int = 0
    wikis: tuple[_Wiki, ...] = ()


class _Follower(msgspec.Struct, frozen=True):
    state: str = "unknown"
    lag_s: float | None = None
    last_error: str | None = None
    may_have_gap: bool = False


class _Events(msgspec.Struct, frozen=True):
    followers: dict[str, _Follower] = {}


_READINESS = msgspec.json.Decoder(_Readiness)
_PROPAGATION = msgspec.json.Decoder(_Propagation)
_EVENTS = msgspec.json.Decoder(_Events)
_PURGING = msgspec.json.Decoder(PurgingView)
_TABLES = msgspec.json.Decoder(TablesView)


@dataclass(frozen=True, slots=True)
class Sample:
    """The roles' answers of one moment.

    Attributes:
        now_ms: wall time.
        at_s: monotonic time.
        readiness, status: answers of `/readyz` and `/v1/status` by role.
        metrics: answers of `/metrics` by role, of the one that has no status.
    """

    now_ms: int
    at_s: float
    readiness: Mapping[str, Answer]
    status: Mapping[str, Answer]
    metrics: Mapping[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the statuses said. A role whose answer cannot be read counts as not answering."""

    propagation: _Propagation
    events: _Events
    purging: PurgingView | None
    sessions: SessionsView | None
    tables: TablesView | None
    faults: Mapping[str, str]


def decode(status: Mapping[str, Answer], metrics: Mapping[str, Answer]) -> Decoded:
    """Read the answers of `/v1/status` and `/metrics`."""
    faults: dict[str, str] = {}
    events = _read(_EVENTS, status, "events", faults)
    purging = _read(_PURGING, status, "purging", faults)
    tables = _read(_TABLES, status, "tables", faults)
    return Decoded(
        _read(_PROPAGATION, status, "propagation", faults) or _Propagation(),
        events or _Events(),
        purging,
        _sessions(metrics, faults),
        tables,
        faults,
    )


def _sessions(metrics: Mapping[str, Answer], faults: dict[str, str]) -> SessionsView | None:
    answer = metrics.get(METRICS_ROLE)
    if answer is None or answer.status is None:
        return None
    try:
        return sessions_view(answer.body.decode())
    except ValueError:
        faults[METRICS_ROLE] = "/metrics cannot be read"
        return None


def _read(decoder: msgspec.json.Decoder[_T], status: Mapping[str, Answer], role: str, faults: dict[str, str]) -> _T | None:
    answer = status.get(role)
    if answer is None or answer.status is None:
        return None
    if answer.status != 200:
        faults[role] = f"/v1/status answers {answer.status}"
        return None
    try:
        return decoder.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        faults[role] = "/v1/status cannot be read"
        return None


def health_of(name: str, address: str, answer: Answer, fault: str | None) -> RoleHealth:
    """What a role's `/readyz` (and its status, if that was at fault) says of it."""
    if answer.status is None:
        return RoleHealth(name=name, address=address, state="down", reasons=[answer.fault])
    try:
        readiness = _READINESS.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        readiness = _Readiness()
        fault = fault or f"/readyz answers {answer.status}"
    reasons = [f"{check}: {reason}" for check, reason in readiness.checks.items() if reason is not None]
    reasons += [fault] if fault is not None else []
    ready = readiness.ready and fault is None
    return RoleHealth(name=name, address=address, state="ready" if ready else "not ready", reasons=reasons)


def overview_of(sample: Sample, before: Sample | None, addresses: Mapping[str, str], edits_max: int) -> Overview:
    """The page's content.

    Args:
        sample: the present answers.
        before: an earlier moment, for rates.
        addresses: of the roles, by name.
        edits_max: how many edits to keep, the newest first.
    """
    told = decode(sample.status, sample.metrics)
    roles = [
        health_of(role, addresses[role], sample.readiness.get(role, Answer(None, fault="not asked")), told.faults.get(role))
        for role in addresses
    ]
    earlier = {} if before is None else {one.wiki: one for one in decode(before.status, {}).propagation.wikis}
    elapsed_s = 0.0 if before is None else sample.at_s - before.at_s
    wikis = [_wiki_view(one, earlier.get(one.wiki), elapsed_s, told) for one in told.propagation.wikis]
    edits = [_edit_view(one.wiki, entry) for one in told.propagation.wikis for entry in one.flow]
    edits.sort(key=lambda edit: (edit.applied_ms, edit.number), reverse=True)
    troubles = _troubles(roles, wikis, told.purging) + (told.sessions.troubles() if told.sessions is not None else [])
    if told.tables is not None and told.tables.full_partitions:
        troubles.append(f"{told.tables.full_partitions} partitions of tables are full")
    return Overview(
        now_ms=sample.now_ms,
        healthy=not troubles,
        verdict="; ".join(troubles) or _calm(wikis, told.purging),
        roles=roles,
        wikis=wikis,
        edits=edits[:edits_max],
        purging=told.purging,
        sessions=told.sessions,
        tables=told.tables,
    )


def _wiki_view(one: _Wiki, earlier: _Wiki | None, elapsed_s: float, told: Decoded) -> WikiView:
    counts = one.counts or _Counts()
    follower = told.events.followers.get(one.wiki)
    rate: float | None = None
    if earlier is not None and earlier.counts is not None and elapsed_s > 0 and counts.committed >= earlier.counts.committed:
        rate = (counts.committed - earlier.counts.committed) / elapsed_s
    return WikiView(
        wiki=one.wiki,
        state=one.state,
        reason=one.reason,
        pages=one.pages,
        classes=[_class_view(entry, told.propagation.now_ms) for entry in one.classes],
        in_flight=one.in_flight,
        renders_per_s=rate,
        skipped=counts.skipped,
        cutoffs=counts.cutoffs,
        committed=counts.committed,
        dead_letters=one.dead_letters,
        at_rest=one.at_rest,
        audit=one.audit or AuditView(),
        follower=None
        if follower is None
        else FollowerView(state=follower.state, lag_s=follower.lag_s, last_error=follower.last_error, may_have_gap=follower.may_have_gap),
    )


def _class_view(entry: _Class, now_ms: int) -> ClassView:
    name = CLASS_NAMES[entry.urgency] if 0 <= entry.urgency < len(CLASS_NAMES) else str(entry.urgency)
    age_s = None if entry.stalest_ms is None else max(0.0, (now_ms - entry.stalest_ms) / 1000)
    return ClassView(name, entry.dirty, age_s)


def _edit_view(wiki: str, entry: _Flow) -> EditView:
    def since_s(reached_ms: int | None) -> float | None:
        return None if reached_ms is None else max(0, reached_ms - entry.applied_ms) / 1000

    return EditView(
        wiki=wiki,
        number=entry.number,
        cause=entry.cause,
        what=entry.what,
        happened_ms=entry.happened_ms,
        applied_ms=entry.applied_ms,
        marked=entry.marked,
        rendered=entry.rendered,
        cutoffs=entry.cutoffs,
        purged=entry.purged,
        rendered_s=since_s(entry.committed_ms),
        fresh_s=since_s(entry.fresh_ms),
    )


def _troubles(roles: Sequence[RoleHealth], wikis: Sequence[WikiView], purging: PurgingView | None) -> list[str]:
    found = [f"{role.name} is {role.state}" for role in roles if role.state != "ready"]
    for wiki in wikis:
        found += [f"{wiki.wiki}: {wiki.dead_letters} pages cannot be rendered"] if wiki.dead_letters else []
        follower = wiki.follower
        found += [f"{wiki.wiki}: the follower may have a gap"] if follower is not None and follower.may_have_gap else []
        found += [f"{wiki.wiki}: {follower.last_error}"] if follower is not None and follower.last_error else []
    if purging is not None:
        found += [f"cache {target.name} does not answer" for target in purging.targets if target.state != "up"]
        found += [f"{purging.dead_letters} purges given up"] if purging.dead_letters else []
    return found


def _calm(wikis: Sequence[WikiView], purging: PurgingView | None) -> str:
    waiting = sum(entry.dirty for wiki in wikis for entry in wiki.classes) + sum(wiki.in_flight for wiki in wikis)
    if waiting:
        return f"{waiting} pages are being made fresh"
    if purging is not None and purging.unfinished > purging.waiting_second:
        return "every page is fresh; caches are being purged"
    return "everything is fresh"

"""AUDIT: takes pages at random and asks whether what is served is what a fresh render gives, and whether caches serve the same.

It trusts nothing that propagation believes: an event that was never sent, a store that lost a body, a cache that lost a purge show here and
nowhere else. A page found wrong is repaired by a change like any other (`repairs.py`), a copy found old is purged again.

A difference alone proves nothing: the wiki may have been edited a moment ago. It is a suspicion, which counts only if no event explains it
within `audit_grace`, and a second render shows it again. Where one is confirmed, the pages that the page was made from are audited next:
the one that changed unnoticed is among them, and its repair reaches all the others. Nothing is leased or committed here.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import structlog

from headwater.kernel.clock import iso_utc
from headwater.kernel.errors import Corrupted, InvalidInput, Unavailable
from headwater.log.model import NewRecord
from headwater.propagation.emitted import purge_records
from headwater.propagation.metrics import AUDIT_COPIES, AUDITS, BODIES_REPAIRED, PURGES_EMITTED
from headwater.propagation.model import BodyHash, CommitRecord, Gone, PageKey, Rendered, Title, Urgency, content, existence
from headwater.propagation.ports import Copy, RenderRequest
from headwater.propagation.repairs import change_records, repair_of
from headwater.propagation.shard import Freshness
from headwater.propagation.surroundings import hash_of
from headwater.propagation.tenure import Tenure
from headwater.propagation.urls import urls_of

PICKS_MAX: Final = 8  # pages looked at for one that is fresh
SUSPECTS_MAX: Final = 64  # differences that wait to be explained; beyond it no other page is looked at
TRAIL_MAX: Final = 256  # pages to look at next because a page made from them was wrong
STALE_COPY: Final = "stale"

_log = structlog.get_logger(__name__)


class Finding(Enum):
    """What an audit of one page found."""

    EQUAL = "equal"
    SUSPECT = "suspect"  # different, but an event may still explain it
    MISMATCH = "mismatch"
    OVERTAKEN = "overtaken"  # an event explains the difference, or the page changed meanwhile
    UNANSWERED = "unanswered"  # the wiki did not render it


@dataclass(frozen=True, slots=True)
class Shown:
    """What readers see of a page; `body` is None if there is no page."""

    body: BodyHash | None
    title: Title
    redirect: Title | None


@dataclass(slots=True)
class AuditCounts:
    """What audits found since this process took over the shard; only ever rises."""

    pages: int = 0  # compared with a fresh render
    mismatches: int = 0
    copies: int = 0  # compared with what is current
    stale_copies: int = 0


class Audit:
    """The audit of one wiki in one epoch.

    Args:
        append: appends under the fence of the changes, and waits out a full disk.
        caught_up: whether every event in the log is applied.
        backed_up: whether pages wait for renders; then audits wait too.
    """

    def __init__(
        self,
        tenure: Tenure,
        counts: AuditCounts,
        *,
        append: Callable[[Sequence[NewRecord]], Awaitable[object]],
        caught_up: Callable[[], Awaitable[bool]],
        backed_up: Callable[[], bool],
    ) -> None:
        self._tenure = tenure
        self._around = tenure.around
        self._counts = counts
        self._append = append
        self._caught_up = caught_up
        self._backed_up = backed_up
        self._suspects: OrderedDict[PageKey, tuple[int, CommitRecord]] = (
            OrderedDict()
        )  # with the time to look again; the first is due first
        self._trail: deque[PageKey] = deque(maxlen=TRAIL_MAX)

    async def run(self) -> None:
        """Audit one page after the other, at the configured pace. Raises Fenced, OutcomeUnknown."""
        interval_s = self._around.config.audit_interval
        while interval_s:
            await self._around.clock.sleep(interval_s)
            if not self._backed_up():
                await self._look()
        await asyncio.Event().wait()

    async def _look(self) -> None:
        """Look at one page: again at a suspect whose time has come, else at another one."""
        due = next(iter(self._suspects.values()), None)
        if due is not None and due[0] <= self._around.clock.now_ms():
            await self.look_again(due[1])
        elif len(self._suspects) < SUSPECTS_MAX:
            record = self._pick()
            if record is not None:
                await self.audit(record)

    def _pick(self) -> CommitRecord | None:
        """The last commit of a page that is fresh: one that leads to the cause of a mismatch, else a random one."""
        shard = self._tenure.shard
        for _ in range(PICKS_MAX):
            page = self._trail.popleft() if self._trail else shard.page_near(self._around.ids.jitter())
            record = None if page is None or page in self._suspects else shard.current(page)
            if record is not None and self._still(record):
                return record
        return None

    def _still(self, record: CommitRecord) -> bool:
        """Whether `record` is still the page's last commit and nothing is known to have changed since."""
        shard = self._tenure.shard
        current = shard.current(record.page)
        return current is not None and current.seq == record.seq and shard.freshness(record.page) is Freshness.FRESH

    async def audit(self, record: CommitRecord) -> Finding:
        """Compare one page with a fresh render and, if it is as it should be, its copies with it. A suspect is looked at again later."""
        finding, _ = await self._compare(record)
        if finding is Finding.SUSPECT:
            grace_ms = int(self._around.config.audit_grace * 1000)
            self._suspects[record.page] = (self._around.clock.now_ms() + grace_ms, record)
            return finding
        return await self._conclude(record, finding)

    async def look_again(self, record: CommitRecord) -> Finding:
        """Compare a suspect again after its time of grace; repair what is still wrong then."""
        self._suspects.pop(record.page, None)
        explained = not (self._still(record) and await self._caught_up())
        finding, shown = (Finding.OVERTAKEN, None) if explained else await self._compare(record)
        if finding is Finding.SUSPECT:
            finding = Finding.MISMATCH
            assert shown is not None
            await self._repair(record, shown)
            self._follow(record)
        return await self._conclude(record, finding)

    async def _conclude(self, record: CommitRecord, finding: Finding) -> Finding:
        self._around.inc(AUDITS, outcome=finding.value)
        self._counts.pages += finding in (Finding.EQUAL, Finding.MISMATCH)
        if finding is Finding.EQUAL:
            await self._audit_copies(record)
        return finding

    def _follow(self, record: CommitRecord) -> None:
        """Let the pages that a wrong page was made from be looked at next."""
        for resource in record.reads:
            kind, _, title = resource.partition(":")
            page = self._tenure.shard.find(Title(title)) if kind == "c" else None
            if page is not None and page != record.page and page not in self._trail:
                self._trail.append(page)

    # The page

    async def _compare(self, record: CommitRecord) -> tuple[Finding, Shown | None]:
        """Render the page freshly and compare; also what the render shows."""
        shard = self._tenure.shard
        request = RenderRequest(record.page, shard.title(record.page) or record.title, shard.applied, self._tenure.revs_to_prove())
        outcome = await self._around.renderer.render(request)
        if not isinstance(outcome, Rendered | Gone):
            return Finding.UNANSWERED, None
        shown = await _shown_by(outcome)
        stored = record.html_hash is None or await self._is_stored(record.html_hash)
        if not self._still(record):
            return Finding.OVERTAKEN, None
        return (Finding.EQUAL if stored and self._is_same(record, shown) else Finding.SUSPECT), shown

    def _is_same(self, record: CommitRecord, shown: Shown) -> bool:
        return shown == Shown(record.html_hash, record.title, record.redirect)

    async def _is_stored(self, body: BodyHash) -> bool:
        """Whether a body is in the store, undamaged. A damaged one is removed, so that the next commit puts it again."""
        try:
            return await self._around.bodies.get(body) is not None
        except Corrupted as error:
            _log.error("body_damaged", wiki=self._around.wiki, body=body, error=error.detail)
            self._around.inc(BODIES_REPAIRED, found="damaged")
            await self._around.bodies.erase([body])
            return False

    async def _repair(self, record: CommitRecord, shown: Shown) -> None:
        """Mark the page, and whoever was made from what turned out to be different."""
        self._counts.mismatches += 1
        _log.error(
            "audit_mismatch",
            wiki=self._around.wiki,
            page=record.page,
            title=record.title,
            committed=record.html_hash,
            rendered=shown.body,
            seq=record.seq,
        )
        now_ms = self._around.clock.now_ms()
        change = repair_of(record, Urgency.WARM, now_ms)  # readers hasten it; a template's dependents must not crowd out what is urgent
        changes = [replace(change, page_id=record.page, title=shown.title)]
        if (record.html_hash is None, record.title, record.redirect) != (shown.body is None, shown.title, shown.redirect):
            titles = {record.title, shown.title}
            resources = {resource for title in titles for resource in (content(title), existence(title))} - {change.resource}
            changes.extend(replace(change, resource=resource) for resource in sorted(resources))
        await self._append(change_records(self._around.wiki, changes, now_ms))

    # Its copies

    async def _audit_copies(self, record: CommitRecord) -> None:
        """Ask what readers get at the page's addresses; purge again what is older than it may be."""
        config, copies = self._around.config, self._around.copies
        age_ms = self._around.clock.now_ms() - record.time_ms
        if copies is None or not config.audit_copies or age_ms < config.audit_copies_age_max * 1000:
            return
        stale = []
        for url in urls_of((record.title,), self._around.wiki_config, new_revision=False):
            try:
                found = judge(await copies.copy(url), record)
            except (Unavailable, InvalidInput):
                found = "unanswered"
            if not self._still(record):
                return  # what was found says nothing about the commit of now
            self._around.inc(AUDIT_COPIES, found=found)
            self._counts.copies += found in ("current", STALE_COPY)
            if found == STALE_COPY:
                stale.append(url)
        if stale:
            await self._purge_again(record, tuple(stale))

    async def _purge_again(self, record: CommitRecord, urls: tuple[str, ...]) -> None:
        self._counts.stale_copies += len(urls)
        _log.error("audit_stale_copy", wiki=self._around.wiki, page=record.page, title=record.title, seq=record.seq, urls=urls)
        now_ms = self._around.clock.now_ms()
        told_now = replace(record, time_ms=now_ms)
        purges = purge_records(self._around.wiki, self._around.wiki_config, told_now, urls, again=f"audit/{iso_utc(now_ms)}")
        await self._tenure.append(purges, self._tenure.commits_fence)
        self._around.inc(PURGES_EMITTED, len(urls))


async def _shown_by(outcome: Rendered | Gone) -> Shown:
    if isinstance(outcome, Gone):
        return Shown(None, outcome.title, None)
    return Shown(outcome.body_hash or await hash_of(outcome.body), outcome.title, outcome.redirect)


def judge(copy: Copy, record: CommitRecord) -> str:
    """`current`, `stale`, or `unmarked`: not made by the pages API, so there is nothing to compare. Pure."""
    if copy.seq is None:
        return "unmarked"
    is_current = copy.seq == record.body_seq and copy.body in (None, record.html_hash)
    return "current" if is_current else STALE_COPY

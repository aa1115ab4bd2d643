"""The follower: polls a wiki's recent changes and puts them into the log as the events that the wiki's EventBus would send.

Invariants: one owner per wiki (the claim `headwater.follower.<wiki>`); events and the position behind them are in one atomic append, so a
crash repeats a page of rows and loses none; a change whose row appears up to `overlap` late, or in the second of another, is not missed
(`position`). Beside another source (`source: both`) it only looks at rows older than a few seconds and adds what the log lacks.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import structlog

from headwater.kernel.clock import Clock
from headwater.kernel.errors import Fenced, HeadwaterError, OutcomeUnknown
from headwater.kernel.failpoints import failpoint
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.log.model import Fence, NewRecord, OwnedName, PartitionId, Policy, StreamSpec
from headwater.log.ports import Log
from headwater.log.scanning import records_to_end
from headwater.mediawiki import metrics as m
from headwater.mediawiki.answers import Answer, PageInfo, PagesAnswer
from headwater.mediawiki.config import Source
from headwater.mediawiki.errors import WikiError
from headwater.mediawiki.ports import TITLES_MAX, ActionApi, EventSink
from headwater.mediawiki.position import POSITION_KEY, FollowerPosition, Window, decode, encode
from headwater.mediawiki.recentchanges import (
    LEPROP,
    RCPROP,
    RCTYPE,
    ChangesAnswer,
    Context,
    Mapped,
    Row,
    map_row,
    titles_wanted,
)
from headwater.mediawiki.timestamps import seconds_of, timestamp_of

ROWS_MAX: Final = 500  # rows in one page of a list, and in one append
PAGES_MAX: Final = 10_000  # pages of a list in one poll; the next poll goes on, from the start of its window
GRACE_S: Final = 5  # beside another source, rows younger than this are left to it
BACKOFF_S_MAX: Final = 15.0
_GAP_AGE_S = 7 * 86_400  # a position older than this may have been overtaken by the wiki's own trimming
_CLOCK_SLACK_S = 1  # the wiki stamps whole seconds

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """What an operator may want to know.

    Attributes:
        wiki: name of the wiki.
        state: `starting`, `following`, `waiting` (after an error), `stopped` (another owner has taken over).
        lag_s: age of the time up to which the wiki has been seen; None before the first poll.
        last_poll_ms: wall time of the last poll that succeeded.
        last_error: code and detail of the last error, None if the last poll succeeded.
        errors_in_a_row: failed polls since the last one that succeeded.
        rows, events: seen and put into the log since the start of the process.
        reconciled: events that another source should have sent and had not.
        unreadable: rows whose subject the wiki hides from us.
        unknown: rows of a kind that we do not know.
        suppressions_followed: whether our rights allow to follow suppressions; None while unknown.
        may_have_gap: the wiki's recent changes no longer reach back to where we were: a backfill is needed.
    """

    wiki: str
    state: str = "starting"
    lag_s: float | None = None
    last_poll_ms: int | None = None
    last_error: str | None = None
    errors_in_a_row: int = 0
    rows: int = 0
    events: int = 0
    reconciled: int = 0
    unreadable: int = 0
    unknown: int = 0
    suppressions_followed: bool | None = None
    may_have_gap: bool = False


@dataclass(slots=True)
class _List:
    """One of the two lists that are read alike."""

    name: str  # in the API
    prefix: str  # of its parameters
    more: dict[str, str]

    def request(self, start_s: int) -> dict[str, str | int | bool]:
        """Parameters of a reading from second `start_s` on."""
        p = self.prefix
        return {
            "action": "query",
            "list": self.name,
            f"{p}dir": "newer",
            f"{p}start": timestamp_of(start_s),
            f"{p}limit": ROWS_MAX,
            "curtimestamp": True,
            **self.more,
        }

    def rows(self, answer: ChangesAnswer) -> Sequence[tuple[int, Row]]:
        """Ids and rows of an answer."""
        if self.name == "recentchanges":
            return [(row.rcid, row) for row in answer.query.recentchanges]
        return [(row.logid, row.as_row()) for row in answer.query.logevents]


_CHANGES = _List("recentchanges", "rc", {"rcprop": RCPROP, "rctype": RCTYPE})
_SUPPRESSIONS = _List("logevents", "le", {"leprop": LEPROP, "letype": "suppress"})


class Follower:
    """Follows one wiki. `run` until cancelled; `poll` alone for tests and single steps, after `take_over`."""

    def __init__(self, client: ActionApi, *, log: Log, sink: EventSink, clock: Clock, ids: Ids, metrics: Metrics) -> None:
        self._client = client
        self._wiki = client.name
        self._config = client.config
        self._log = log
        self._sink = sink
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._overlap_s = max(1, round(self._config.overlap))
        self._beside_another = self._config.source is Source.BOTH
        self._stream = f"follower.{self._wiki}"
        self._fence: Fence | None = None
        self._position: FollowerPosition | None = None
        self._status = FollowerStatus(self._wiki)
        self._wiki_now: tuple[int, float] | None = None  # the wiki's second, and our monotonic time when it said so

    def status(self) -> FollowerStatus:
        """The present state; costs nothing."""
        return replace(self._status, lag_s=self._lag_s())

    async def run(self) -> None:
        """Follow until cancelled, or until another owner takes over. Errors of the wiki and of the log are waited out."""
        while True:
            try:
                if self._fence is None or self._position is None:  # a take-over may have failed half-way
                    await self.take_over()
                more = await self.poll()
            except Fenced:
                self._status = replace(self._status, state="stopped")
                _log.warning("follower_stopped", wiki=self._wiki, reason="another owner has taken over")
                return
            except HeadwaterError as error:
                if isinstance(error, OutcomeUnknown):
                    self._fence = None  # whether the append happened is read from the log, as a new owner
                await self._clock.sleep(self._failed(error))
                continue
            if not more:
                await self._clock.sleep(float(self._config.poll_interval))

    async def take_over(self) -> None:
        """Become the owner and read the position, or make the first one: now, less the overlap (a backfill covers what was before).

        Raises:
            WikiUnavailable, WikiBusy, WikiRefused: the wiki does not say what time it is.
            Unavailable, OutcomeUnknown, StorageFull: of the log.
        """
        await self._log.declare([StreamSpec(self._stream, Policy.COMPACT)])
        self._fence = await self._log.claim(OwnedName(f"headwater.follower.{self._wiki}"))
        rights = await self._client.rights() if self._config.username is not None else frozenset[str]()
        may_suppress = "suppressionlog" in rights
        stored = await self._stored_position()
        now_s = await self._now_of_wiki()
        if stored is None:
            start = Window(now_s)
            stored = FollowerPosition(start, start if may_suppress else None)
            await self._log.append_atomic([self._record(stored)], fence=self._fence)
        elif may_suppress and stored.suppressions is None:
            stored = replace(stored, suppressions=Window(stored.changes.covered_s))
        self._position = stored
        gap = now_s - stored.changes.covered_s > _GAP_AGE_S and await self._trimmed_since(stored.changes)
        self._status = replace(self._status, suppressions_followed=may_suppress, may_have_gap=gap)
        _log.info("follower_started", wiki=self._wiki, behind_s=now_s - stored.changes.covered_s, may_have_gap=gap)

    async def poll(self) -> bool:
        """Read what is new once. Returns whether there is more to read at once.

        Raises:
            Fenced: another owner has taken over.
            WikiUnavailable, WikiBusy, WikiRefused, AnswerTooLarge: of the wiki; what was appended before stays.
            Unavailable, OutcomeUnknown, StorageFull, Overloaded: of the log.
        """
        assert self._position is not None, "poll before take_over"
        began = self._clock.monotonic_s()
        more = await self._read(_CHANGES)
        if self._status.suppressions_followed and self._position.suppressions is not None:
            more = await self._read(_SUPPRESSIONS) or more
        self._metrics.observe(m.FOLLOWER_POLL_SECONDS, self._clock.monotonic_s() - began, wiki=self._wiki)
        self._metrics.set(m.FOLLOWER_LAG_SECONDS, self._lag_s() or 0.0, wiki=self._wiki)
        self._status = replace(self._status, state="following", last_poll_ms=self._clock.now_ms(), last_error=None, errors_in_a_row=0)
        return more

    async def _read(self, which: _List) -> bool:
        """One reading of a list from its window's start to its end, or to `PAGES_MAX` pages; returns whether more is there."""
        window = self._window(which)
        request = which.request(window.start_s(self._overlap_s))
        asked_s = self._clock.monotonic_s()
        began_s: int | None = None
        async for answer in self._client.call_all(ChangesAnswer, request, answers_max=PAGES_MAX):
            if began_s is None:
                began_s = self._began(answer, asked_s)
                if began_s < window.covered_s - self._overlap_s // 2:
                    self._go_back(which, began_s)
                    return True
            rows = [(number, row) for number, row in which.rows(answer) if row.time_s <= began_s or not self._beside_another]
            await self._take(which, rows, began_s)
            is_cut = len(rows) < len(which.rows(answer))
            if is_cut or not answer.continue_:
                self._set_window(which, self._window(which).after_reading(began_s=began_s, overlap_s=self._overlap_s))
                return False
        return True

    def _began(self, answer: Answer, asked_s: float) -> int:
        """The wiki's second before which the first page of this reading was asked for."""
        now_s, elapsed_s = seconds_of(answer.curtimestamp), self._clock.monotonic_s() - asked_s
        self._wiki_now = (now_s, self._clock.monotonic_s())
        grace_s = GRACE_S if self._beside_another else 0
        return now_s - int(elapsed_s) - _CLOCK_SLACK_S - grace_s

    def _go_back(self, which: _List, began_s: int) -> None:
        """The wiki's clock, or that of one of its servers, ran ahead when it was asked before: what it stamps now would not be met."""
        window = self._window(which)
        _log.warning("follower_wiki_clock_went_back", wiki=self._wiki, seconds=window.covered_s - began_s)
        self._set_window(which, replace(window, covered_s=began_s))

    async def _take(self, which: _List, rows: Sequence[tuple[int, Row]], began_s: int) -> None:
        """Put the events of the rows not met before into the log, with the position after them."""
        assert self._fence is not None and self._position is not None
        window = self._window(which)
        known = window.has(number for number, _ in rows)
        fresh = [row for number, row in rows if number not in known]
        if not fresh:
            return
        mapped = await self._mapped(fresh)
        after = window.after_page([(number, row.time_s) for number, row in rows], began_s=began_s, overlap_s=self._overlap_s)
        position = self._with(which, after)
        events = [msgspec.json.encode(event) for each in mapped for event in each.events]
        failpoint("follower.append")
        if events:
            result = await self._sink.accept_atomic(events, beside=[self._record(position)], fence=self._fence)
            self._count(result.new, result.invalid)
        else:
            await self._log.append_atomic([self._record(position)], fence=self._fence)
        self._position = position
        self._note(fresh, mapped)

    async def _mapped(self, rows: Sequence[Row]) -> Sequence[Mapped]:
        site = await self._client.site()
        pages = await self._pages_of(titles_wanted(rows))
        context = Context(self._wiki, self._config.domains[0], site, pages)
        mapped = []
        for row in rows:
            mapped.append(map_row(row, context))
            if len(mapped) % 50 == 0:
                await asyncio.sleep(0)  # a page of rows takes some milliseconds: let others run
        return mapped

    async def _pages_of(self, titles: Sequence[str]) -> dict[str, PageInfo]:
        """The present state of these titles, as the wiki writes them."""
        found: dict[str, PageInfo] = {}
        for first in range(0, len(titles), TITLES_MAX):
            part = titles[first : first + TITLES_MAX]
            answer = await self._client.call(PagesAnswer, {"action": "query", "prop": "info", "titles": "|".join(part)})
            found.update({page.title: page for page in answer.query.pages})
        return found

    def _count(self, new: int, invalid: int) -> None:
        reconciled = new if self._beside_another else 0
        self._status = replace(self._status, events=self._status.events + new, reconciled=self._status.reconciled + reconciled)
        self._metrics.inc(m.FOLLOWER_EVENTS, new, wiki=self._wiki)
        self._metrics.inc(m.FOLLOWER_RECONCILED, reconciled, wiki=self._wiki)
        if invalid:
            _log.error("follower_events_invalid", wiki=self._wiki, events=invalid)

    def _note(self, rows: Sequence[Row], mapped: Sequence[Mapped]) -> None:
        unreadable = sum(not each.readable for each in mapped)
        unknown = [row.kind for row, each in zip(rows, mapped, strict=True) if not each.known]
        for row in rows:
            self._metrics.inc(m.FOLLOWER_ROWS, wiki=self._wiki, kind=row.logtype if row.type == "log" else row.type)
        self._metrics.inc(m.FOLLOWER_UNREADABLE, unreadable, wiki=self._wiki)
        self._metrics.inc(m.FOLLOWER_UNKNOWN, len(unknown), wiki=self._wiki)
        if unknown:
            _log.warning("follower_rows_unknown", wiki=self._wiki, kinds=sorted(set(unknown)))
        self._status = replace(
            self._status,
            rows=self._status.rows + len(rows),
            unreadable=self._status.unreadable + unreadable,
            unknown=self._status.unknown + len(unknown),
        )

    def _failed(self, error: HeadwaterError) -> float:
        """Remember a failed poll; returns for how many seconds to wait."""
        errors = self._status.errors_in_a_row + 1
        code = f"wiki-{error.outcome}" if isinstance(error, WikiError) else error.code
        self._status = replace(self._status, state="waiting", errors_in_a_row=errors, last_error=f"{code}: {error.detail}")
        self._metrics.inc(m.FOLLOWER_ERRORS, wiki=self._wiki, code=code)
        self._metrics.set(m.FOLLOWER_LAG_SECONDS, self._lag_s() or 0.0, wiki=self._wiki)
        backoff_s = min(BACKOFF_S_MAX, float(self._config.poll_interval) * 2.0 ** min(errors, 10)) * (0.5 + self._ids.jitter() / 2)
        wait_s = max(backoff_s, error.retry_after_s or 0.0)
        _log.warning("follower_poll_failed", wiki=self._wiki, code=code, detail=error.detail, wait_s=round(wait_s, 3))
        return wait_s

    def _lag_s(self) -> float | None:
        if self._wiki_now is None or self._position is None:
            return None
        said_s, at_s = self._wiki_now
        return max(0.0, said_s + self._clock.monotonic_s() - at_s - self._position.changes.covered_s)

    def _window(self, which: _List) -> Window:
        assert self._position is not None
        window = self._position.changes if which is _CHANGES else self._position.suppressions
        assert window is not None
        return window

    def _with(self, which: _List, window: Window) -> FollowerPosition:
        assert self._position is not None
        return replace(self._position, changes=window) if which is _CHANGES else replace(self._position, suppressions=window)

    def _set_window(self, which: _List, window: Window) -> None:
        self._position = self._with(which, window)

    def _record(self, position: FollowerPosition) -> NewRecord:
        return NewRecord(self._stream, encode(position), self._clock.now_ms(), key=POSITION_KEY)

    async def _stored_position(self) -> FollowerPosition | None:
        """The newest position on the stream."""
        found: FollowerPosition | None = None
        async for record in records_to_end(self._log, PartitionId(self._stream)):
            if record.key == POSITION_KEY and record.value is not None:
                found = decode(record.value)
        return found

    async def _now_of_wiki(self) -> int:
        answer = await self._client.call(Answer, {"action": "query", "curtimestamp": True})
        now_s = seconds_of(answer.curtimestamp)
        self._wiki_now = (now_s, self._clock.monotonic_s())
        return now_s

    async def _trimmed_since(self, window: Window) -> bool:
        """Whether the wiki's recent changes begin after where we were, with a row that we have not met."""
        request: dict[str, str | int] = {
            "action": "query",
            "list": "recentchanges",
            "rcdir": "newer",
            "rclimit": 1,
            "rcprop": "ids|timestamp",
        }
        answer = await self._client.call(ChangesAnswer, request)
        oldest = answer.query.recentchanges[:1]
        return any(row.time_s > window.start_s(self._overlap_s) and not window.has([row.rcid]) for row in oldest)

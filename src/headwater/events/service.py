"""The intake: what is sent is examined, told apart from what is known, and durable in the log before it counts as accepted.

Invariants: an accepted event is in the log byte for byte; an id is stored once within the window; nothing of a malformed request is
stored; at most `queue_events_max` events and `queue_bytes_max` bytes are under way.
"""

import asyncio
import contextlib
import functools
from collections.abc import Sequence

import structlog

from headwater.events import metrics
from headwater.events.claims import Claim, Claims, Ticket
from headwater.events.config import EventsConfig
from headwater.events.deduplication import Deduplication, DeduplicationLimits
from headwater.events.examination import Rules, examine
from headwater.events.model import Event, IntakeStatus, Result, Status, result_of
from headwater.events.ports import SeenIds
from headwater.events.writer import AtomicWork, Writer, WriterLimits
from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError, InvalidInput, OutcomeUnknown, Overloaded, TooLarge
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.log.model import Fence, NewRecord
from headwater.log.ports import Log

_logger = structlog.get_logger(__name__)

SLICE_BYTES_MAX = 32 * 1024  # examined on the event loop at a stretch: well under a millisecond
SLICE_EVENTS_MAX = 100
_RETRY_AFTER_S = 1.0


class Intake:
    """Accepts events. `start` before use, `stop` at the end; for one event loop."""

    def __init__(
        self,
        log: Log,
        index: SeenIds,
        *,
        rules: Rules,
        config: EventsConfig,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
    ) -> None:
        self._log = log
        self._rules = rules
        self._config = config
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._claims = Claims()
        self._deduplication = Deduplication(log, index, clock, metrics, limits=_deduplication_limits(config))
        self._writer = Writer(log, self._claims, self._deduplication, metrics, limits=_writer_limits(config))
        self._tasks: list[asyncio.Task[None]] = []
        self._events_under_way = 0
        self._bytes_under_way = 0
        self._counts = dict.fromkeys(Status, 0)

    async def start(self) -> None:
        """Declare the streams, bring the index to the end of the log, begin to work. Raises what the log or the index raise."""
        await self._writer.declare(self._rules.streams.names)
        existing = {info.partition.stream for info in await self._log.describe()}
        ours = {stream for stream in existing if self._rules.streams.rule_of(stream) is not None}
        await self._writer.declare(sorted(ours))
        await self._deduplication.catch_up(ours)
        self._tasks = [asyncio.create_task(self._writer.run()), asyncio.create_task(self._keep_index())]

    async def stop(self) -> None:
        """Finish what is under way, write the index, end. Events that come later are refused."""
        await self._writer.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(HeadwaterError):  # the index is a projection; the next start reads the log
            await self._deduplication.flush()

    async def ready(self) -> str | None:
        """Why no event can be accepted, or None."""
        if not self._tasks:
            return "the index of deduplication is not yet at the end of the log"
        if self._writer.crash is not None:
            return "the writer has ended"
        return "the index of deduplication is behind" if self._deduplication.is_behind else None

    def status(self) -> IntakeStatus:
        """Counters and the window, for the console."""
        window = self._deduplication.window()
        age_ms = 0 if window.oldest_ms is None else self._clock.now_ms() - window.oldest_ms
        return IntakeStatus(
            accepted=self._counts[Status.ACCEPTED],
            duplicates=self._counts[Status.DUPLICATE],
            invalid=self._counts[Status.INVALID],
            failed=self._counts[Status.ERROR],
            in_flight=self._claims.open,
            unsettled=self._deduplication.unsettled,
            window_ids=window.ids + self._deduplication.pending,
            window_s=max(0, age_ms) / 1000,
        )

    async def accept(self, events: Sequence[bytes], *, domains: frozenset[str] | None = None) -> Sequence[Result]:
        """Store events that clients sent, each on its own; durable when this returns.

        Repeating it is safe for every event with a `meta.id`: a repeated id is a DUPLICATE, which counts as accepted; one that is under way
        in another call waits for that one's outcome. If the caller is cancelled the events may still be stored.

        Args:
            events: one JSON object each, kept byte for byte.
            domains: values of `meta.domain` that the client may tell of; None for all.

        Returns:
            A result per event, in order. Errors in it: InvalidInput, Forbidden, TooLarge are the client's; StorageFull, Unavailable,
            Overloaded mean that the event was not stored, OutcomeUnknown that nobody knows yet.

        Raises:
            InvalidInput: an element is not strict JSON; says which. Nothing was stored.
            TooLarge: more events than a request may hold. Nothing was stored.
            Overloaded: too much is under way. Nothing was stored.
        """
        if len(events) > self._config.events_max:
            raise TooLarge(f"a request has at most {self._config.events_max} events, this one has {len(events)}")
        began_s = self._clock.monotonic_s()
        size = sum(map(len, events))
        self._reserve(len(events), size)
        try:
            outcomes = await self._examine(events, internal=False, domains=domains)
            results = await self._store(outcomes)
        finally:
            self._events_under_way -= len(events)
            self._bytes_under_way -= size
        self._metrics.observe(metrics.ACCEPT_SECONDS, self._clock.monotonic_s() - began_s)
        return results

    async def accept_atomic(
        self, events: Sequence[bytes], *, beside: Sequence[NewRecord], fence: Fence, source: str = "follower"
    ) -> Sequence[Result]:
        """Store what is new among events that Headwater made itself, together with `beside`, all or nothing, under `fence`.

        An event is a DUPLICATE if its id is known, or if another source has told of the same happening (see `identity`). `beside` is
        appended even if no event is new. Streams closed to clients are open. Those that break their schema are left out as INVALID.

        Raises:
            Fenced, StorageFull, Unavailable, Overloaded, NotFound, InvalidInput, TooLarge: nothing was stored.
            OutcomeUnknown: it may have been stored; the owner must stop and claim anew.
        """
        outcomes = await self._without_known(await self._examine(events, internal=True))
        while True:
            await self._settle_doubts(outcomes)
            held = self._held_by_others(outcomes)
            if not held:
                break
            for claim in held:
                await claim.ticket.wait()
        results, claimed, twins = self._claim_all(outcomes)
        claims = [claim for _, claim in claimed]
        work = AtomicWork(claims, beside, fence, source, asyncio.Event())
        if claims or beside:
            self._writer.put(work)
            await work.done.wait()
        if work.failure is not None:
            raise work.failure
        for index, claim in claimed:
            results[index] = claim.result()
        for index in twins:
            results[index] = Result(Status.DUPLICATE, _event(outcomes[index]).id)
        return self._counted(results)

    def _reserve(self, count: int, size: int) -> None:
        """Take places for so many events and bytes; a request larger than all places may come alone. Raises Overloaded."""
        config = self._config
        is_full = self._events_under_way + count > config.queue_events_max or self._bytes_under_way + size > config.queue_bytes_max
        if not self._tasks or self._deduplication.is_behind or (self._events_under_way and is_full):
            raise Overloaded("too many events are under way", retry_after_s=_RETRY_AFTER_S)
        self._events_under_way += count
        self._bytes_under_way += size

    async def _examine(self, events: Sequence[bytes], *, internal: bool, domains: frozenset[str] | None = None) -> list[Event | Result]:
        judge = functools.partial(
            examine, rules=self._rules, ids=self._ids, now_ms=self._clock.now_ms(), internal=internal, domains=domains
        )
        outcomes: list[Event | Result] = []
        left_bytes, left_events = SLICE_BYTES_MAX, SLICE_EVENTS_MAX
        for index, value in enumerate(events):
            if left_bytes < len(value) or left_events == 0:
                left_bytes, left_events = SLICE_BYTES_MAX, SLICE_EVENTS_MAX
                await asyncio.sleep(0)
            left_bytes, left_events = left_bytes - len(value), left_events - 1
            try:
                outcome = judge(value) if len(value) <= SLICE_BYTES_MAX else await asyncio.to_thread(judge, value)
            except InvalidInput as error:
                raise InvalidInput(f"event {index}: {error.detail}", where=f"/{index}/{error.where or ''}".rstrip("/")) from error
            outcomes.append(outcome)
        return outcomes

    async def _store(self, outcomes: Sequence[Event | Result]) -> Sequence[Result]:
        results: list[Result | None] = [outcome if isinstance(outcome, Result) else None for outcome in outcomes]
        waiting = [index for index, result in enumerate(results) if result is None]
        while waiting:
            if self._deduplication.unsettled:
                await self._settle_doubts([outcomes[index] for index in waiting])
            waiting = await self._round(outcomes, results, waiting)
        return self._counted(results)

    async def _round(self, outcomes: Sequence[Event | Result], results: list[Result | None], waiting: Sequence[int]) -> list[int]:
        """Store what is new; returns the events whose twin under way came to nothing, so that they have to try themselves."""
        ticket = Ticket()
        mine: list[tuple[int, Claim]] = []
        others: list[tuple[int, Claim]] = []
        for count, index in enumerate(waiting, 1):
            event = _event(outcomes[index])
            holder = self._claims.holder(event.keys[:1])
            if holder is not None:
                others.append((index, holder))
            else:
                results[index] = self._answer_doubtful(event)
                if results[index] is None:
                    claim = self._claims.take(event, ticket)
                    mine.append((index, claim))
                    self._writer.put(claim)
            if count % SLICE_EVENTS_MAX == 0:
                await asyncio.sleep(0)
        await ticket.wait()
        for index, claim in mine:
            results[index] = claim.result()
        return await self._join(outcomes, results, others) if others else []

    async def _join(self, outcomes: Sequence[Event | Result], results: list[Result | None], others: list[tuple[int, Claim]]) -> list[int]:
        again: list[int] = []
        for index, claim in others:
            await claim.ticket.wait()
            outcome = claim.result()
            if outcome.accepted:
                results[index] = Result(Status.DUPLICATE, _event(outcomes[index]).id)
            elif isinstance(outcome.error, OutcomeUnknown):
                results[index] = outcome
            else:
                again.append(index)
        return again

    def _answer_doubtful(self, event: Event) -> Result | None:
        """The answer to an event of which nobody knows whether it is in the log; None for any other, which the writer looks up."""
        if not (self._deduplication.unsettled and self._deduplication.doubts(event)):
            return None
        if self._deduplication.knows([event])[0]:
            return Result(Status.DUPLICATE, event.id)
        detail = "an earlier attempt with this id may be in the log; nobody knows yet"
        return result_of(OutcomeUnknown(detail, retry_after_s=_RETRY_AFTER_S), event.id)

    async def _settle_doubts(self, outcomes: Sequence[Event | Result]) -> None:
        if any(isinstance(outcome, Event) and self._deduplication.doubts(outcome) for outcome in outcomes):
            try:
                await self._deduplication.settle()
            except HeadwaterError as error:
                _logger.warning("dedup_settle_failed", error=error.code)

    def _held_by_others(self, outcomes: Sequence[Event | Result]) -> list[Claim]:
        events = [outcome for outcome in outcomes if isinstance(outcome, Event)]
        holders = (self._claims.holder((event.keys[0], *event.alike)) for event in events)
        return [claim for claim in holders if claim is not None]

    def _claim_all(self, outcomes: Sequence[Event | Result]) -> tuple[list[Result | None], list[tuple[int, Claim]], list[int]]:
        """Claim what is new, without a pause; returns results so far, claims, and repetitions of a claim of this same call."""
        ticket = Ticket()
        results: list[Result | None] = [outcome if isinstance(outcome, Result) else None for outcome in outcomes]
        claimed: list[tuple[int, Claim]] = []
        twins: list[int] = []
        new = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, Event)]
        for _, event in new:
            if self._deduplication.doubts(event):
                raise OutcomeUnknown(f"event {event.id} may be in the log; nobody knows yet", retry_after_s=_RETRY_AFTER_S)
        for (index, event), known in zip(new, self._deduplication.knows([event for _, event in new]), strict=True):
            if known:
                results[index] = Result(Status.DUPLICATE, event.id)
            elif self._claims.holder(event.keys[:1]) is not None:
                twins.append(index)
            else:
                claimed.append((index, self._claims.take(event, ticket)))
        return results, claimed, twins

    async def _without_known(self, outcomes: Sequence[Event | Result]) -> Sequence[Event | Result]:
        """`outcomes` with the known events answered: most of a reconciliation, looked up in slices that leave the event loop free."""
        answered = list(outcomes)
        for start in range(0, len(outcomes), SLICE_EVENTS_MAX):
            asked = [
                (index, outcome)
                for index, outcome in enumerate(outcomes[start : start + SLICE_EVENTS_MAX], start)
                if isinstance(outcome, Event)
            ]
            for (index, event), known in zip(asked, self._deduplication.knows([event for _, event in asked]), strict=True):
                if known:
                    answered[index] = Result(Status.DUPLICATE, event.id)
            await asyncio.sleep(0)
        return answered

    def _counted(self, results: Sequence[Result | None]) -> Sequence[Result]:
        counted: list[Result] = []
        for result in results:
            assert result is not None
            counted.append(result)
            self._counts[result.status] += 1
            if result.status is Status.DUPLICATE:
                self._metrics.inc(metrics.DUPLICATES)
            elif result.status is Status.INVALID:
                self._metrics.inc(metrics.INVALID)
            elif result.error is not None:
                self._metrics.inc(metrics.REFUSED, code=result.error.code)
        return counted

    async def _keep_index(self) -> None:
        """Write ids to the index when enough wait or long enough, and settle doubts; off the way of any answer."""
        tick_s = self._config.dedup_flush_interval
        while True:
            await self._clock.sleep(tick_s)
            self._metrics.set(metrics.IN_FLIGHT, self._claims.open)
            try:
                await self._deduplication.flush()
                if self._deduplication.unsettled:
                    await self._deduplication.settle()
            except HeadwaterError as error:
                _logger.warning("dedup_index_write_failed", error=error.code)


def _event(outcome: Event | Result) -> Event:
    assert isinstance(outcome, Event)
    return outcome


def _deduplication_limits(config: EventsConfig) -> DeduplicationLimits:
    return DeduplicationLimits(
        window_ms=int(config.dedup_window * 1000),
        pending_max=config.dedup_pending_max,
        flush_ids_max=config.dedup_flush_ids,
        read_records_max=config.catch_up_records_max,
        settle_after_s=config.settle_after,
    )


def _writer_limits(config: EventsConfig) -> WriterLimits:
    return WriterLimits(
        batch_events_max=config.batch_events_max,
        batch_bytes_max=config.batch_bytes_max,
        streams_max=config.streams_max,
        retention_ms=int(config.retention * 1000),
        stream_bytes_max=config.stream_bytes_max,
    )

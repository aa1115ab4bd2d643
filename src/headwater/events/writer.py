"""Puts claimed events into the log: one append at a time, of everything that waits.

While one append waits for the disk the next batch gathers, so that many requests share one fsync. One at a time also keeps the order of a
key and lets positions be covered in order.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headwater.events import metrics
from headwater.events.claims import Claim, Claims
from headwater.events.deduplication import SOURCE_HEADER, Deduplication
from headwater.events.model import Event, Result, Status, result_of
from headwater.events.streams import spec_of
from headwater.kernel.errors import HeadwaterError, OutcomeUnknown, Overloaded, Unavailable
from headwater.kernel.failpoints import failpoint
from headwater.kernel.metrics import Metrics
from headwater.log.model import AppendFailure, Fence, NewRecord, Offset, PartitionId, Position, StreamSpec
from headwater.log.ports import Log


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """Most events and bytes of one append; most streams that may exist; how long and how large a stream's past is kept."""

    batch_events_max: int
    batch_bytes_max: int
    streams_max: int
    retention_ms: int
    stream_bytes_max: int


@dataclass(slots=True, eq=False)
class AtomicWork:
    """Claimed events and other records that become visible together, under a fence; `failure` is why nothing did."""

    claims: Sequence[Claim]
    beside: Sequence[NewRecord]
    fence: Fence
    source: str
    done: asyncio.Event
    failure: BaseException | None = None


class Writer:
    """Appends what is put to it, in order. `run` must be under way."""

    def __init__(self, log: Log, claims: Claims, deduplication: Deduplication, metrics: Metrics, *, limits: WriterLimits) -> None:
        self._log = log
        self._claims = claims
        self._deduplication = deduplication
        self._metrics = metrics
        self._limits = limits
        self._queue: deque[Claim | AtomicWork] = deque()
        self._waiting = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._declared: set[str] = set()
        self._crash: BaseException | None = None

    @property
    def crash(self) -> BaseException | None:
        """The bug that killed the writer, if one did."""
        return self._crash

    async def declare(self, streams: Iterable[str]) -> None:
        """Declare event streams in the log. Raises what the log raises."""
        specs = [self._spec(stream) for stream in streams]
        await self._log.declare(specs)
        self._declared.update(spec.name for spec in specs)

    def put(self, work: Claim | AtomicWork) -> None:
        """Queue one piece of work; its ticket, or its `done`, tells when it is finished."""
        if self._crash is not None:
            self._abandon(work, self._crash)
            return
        self._queue.append(work)
        self._idle.clear()
        self._waiting.set()

    async def drain(self) -> None:
        """Return once nothing is queued or under way."""
        await self._idle.wait()

    async def run(self) -> None:
        """Append until cancelled. A bug ends it: all who wait, now or later, get that exception."""
        try:
            while True:
                await self._waiting.wait()
                await self._work_off()
                self._waiting.clear()
                self._idle.set()
        except BaseException as error:
            self._crash = Unavailable("the intake has stopped") if isinstance(error, asyncio.CancelledError) else error
            while self._queue:
                self._abandon(self._queue.popleft(), self._crash)
            self._idle.set()
            raise

    async def _work_off(self) -> None:
        while self._queue:
            first = self._queue[0]
            if isinstance(first, AtomicWork):
                try:
                    await self._append_atomic(first)
                except BaseException as error:
                    self._abandon(self._queue.popleft(), _fate(error))
                    raise
                self._queue.popleft()
                continue
            batch = self._take_batch()
            try:
                await self._append(batch)
            except BaseException as error:
                for claim in batch:
                    self._abandon(claim, _fate(error))
                raise

    def _take_batch(self) -> list[Claim]:
        batch: list[Claim] = []
        size = 0
        while self._queue and len(batch) < self._limits.batch_events_max:
            work = self._queue[0]
            if isinstance(work, AtomicWork):
                break
            size += len(work.event.value)
            if batch and size > self._limits.batch_bytes_max:
                break
            self._queue.popleft()
            batch.append(work)
        return batch

    async def _append(self, batch: list[Claim]) -> None:
        batch = self._without_known(await self._with_streams(batch))
        if not batch:
            return
        self._metrics.observe(metrics.APPEND_EVENTS, len(batch))
        failpoint("intake.append")
        outcomes: Sequence[Position | AppendFailure]
        try:
            outcomes = await self._log.append([_record(claim.event) for claim in batch])
        except HeadwaterError as error:
            outcomes = [AppendFailure(error)] * len(batch)
        failpoint("intake.appended")
        self._settle(batch, outcomes)

    def _without_known(self, batch: list[Claim]) -> list[Claim]:
        """Answer the claims on events that are known; returns the others. One look-up serves the whole batch."""
        try:
            known = self._deduplication.knows([claim.event for claim in batch])
        except HeadwaterError as error:
            self._settle(batch, [AppendFailure(error)] * len(batch))
            return []
        for claim, is_known in zip(batch, known, strict=True):
            if is_known:
                self._claims.settle(claim, Result(Status.DUPLICATE, claim.event.id))
        return [claim for claim in batch if claim.outcome is None]

    async def _append_atomic(self, work: AtomicWork) -> None:
        try:
            known = await self._with_streams(work.claims)
            if len(known) < len(work.claims):
                raise Overloaded("more streams than may exist; nothing was stored")
            records = [_record(claim.event, work.source) for claim in work.claims]
            failpoint("intake.append")
            positions = await self._log.append_atomic([*records, *work.beside], fence=work.fence)
            failpoint("intake.appended")
        except HeadwaterError as error:
            work.failure = error
            left = [claim for claim in work.claims if claim.outcome is None]
            self._settle(left, [AppendFailure(error)] * len(left))
        else:
            self._settle(work.claims, positions[: len(work.claims)])
        work.done.set()

    async def _with_streams(self, batch: Sequence[Claim]) -> list[Claim]:
        """Declare streams that are new, and settle the claims on those that cannot be; returns the others."""
        new = {claim.event.stream for claim in batch} - self._declared
        failures: dict[str, HeadwaterError] = {}
        for stream in sorted(new):
            if len(self._declared) >= self._limits.streams_max:
                failures[stream] = Overloaded(f"{self._limits.streams_max} streams exist; no more may come")
                continue
            try:
                await self.declare([stream])
            except HeadwaterError as error:
                failures[stream] = error
        if not failures:
            return list(batch)
        refused = [claim for claim in batch if claim.event.stream in failures]
        self._settle(refused, [AppendFailure(failures[claim.event.stream]) for claim in refused])
        return [claim for claim in batch if claim.event.stream not in failures]

    def _settle(self, batch: Sequence[Claim], outcomes: Sequence[Position | AppendFailure]) -> None:
        stored: list[Event] = []
        doubtful: list[Event] = []
        covered: dict[PartitionId, Offset] = {}
        for claim, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Position):
                stored.append(claim.event)
                covered[outcome.partition] = max(outcome.offset, covered.get(outcome.partition, outcome.offset))
            elif isinstance(outcome.error, OutcomeUnknown):
                doubtful.append(claim.event)
        if doubtful:
            self._deduplication.doubt(doubtful)  # first: it keeps their streams from being covered
        self._deduplication.accepted(stored, covered)
        for stream, events in Counter(event.stream for event in stored).items():
            self._metrics.inc(metrics.ACCEPTED, events, stream=stream)
        for claim, outcome in zip(batch, outcomes, strict=True):
            self._claims.settle(claim, _result(claim.event, outcome))

    def _abandon(self, work: Claim | AtomicWork, error: BaseException) -> None:
        claims = work.claims if isinstance(work, AtomicWork) else (work,)
        for claim in claims:
            if claim.outcome is None and claim.crash is None:
                self._claims.settle(claim, error)
        if isinstance(work, AtomicWork):
            work.failure = error
            work.done.set()

    def _spec(self, stream: str) -> StreamSpec:
        return spec_of(stream, age_ms_max=self._limits.retention_ms, bytes_max=self._limits.stream_bytes_max)


def _fate(error: BaseException) -> BaseException:
    """What the callers of an append get that ended with `error`."""
    return OutcomeUnknown("the intake was stopped in the middle") if isinstance(error, asyncio.CancelledError) else error


def _record(event: Event, source: str | None = None) -> NewRecord:
    headers: tuple[tuple[str, bytes], ...] = (("id", event.id.encode()), ("dt", event.dt.encode()), ("schema", event.schema.encode()))
    if source is not None:
        headers = (*headers, (SOURCE_HEADER, source.encode()))
    return NewRecord(event.stream, event.value, event.time_ms, key=event.partition_key, headers=headers)


def _result(event: Event, outcome: Position | AppendFailure) -> Result:
    return Result(Status.ACCEPTED, event.id) if isinstance(outcome, Position) else result_of(outcome.error, event.id)

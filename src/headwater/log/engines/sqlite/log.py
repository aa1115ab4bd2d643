"""`SqliteLog`: appends gathered into few transactions, reads on the event loop.

Invariants: what is answered is durable; what is served matches its checksum; a stream that is not compacted has no holes between its first
and its last record, so a record that vanished from the file is noticed too.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw
import structlog

from headwater.kernel.clock import Clock
from headwater.kernel.errors import Corrupted, NotFound, Overloaded
from headwater.kernel.metrics import Metrics
from headwater.kernel.waiting import Waiters
from headwater.log import metrics as m
from headwater.log.admission import Limits, check_all, check_call, check_name, partition_number, refusal
from headwater.log.engines.sqlite import reads, upkeep, writes
from headwater.log.engines.sqlite.reads import Source
from headwater.log.engines.sqlite.writes import Placed, Stream
from headwater.log.model import (
    AppendFailure,
    Batch,
    Fence,
    GroupName,
    NewRecord,
    Offset,
    OwnedName,
    PartitionId,
    PartitionInfo,
    Policy,
    Position,
    StreamSpec,
)
from headwater.log.retention import IdleTimer, Maintained, RetentionRules, TrustedClock
from headwater.sqlite import Database, Platform, StorageConfig, load_migrations
from headwater.sqlite.errors import translated

logger = structlog.get_logger(__name__)
T = TypeVar("T")

DRAIN_BYTES_MAX = 8 * 2**20
MAINTAIN_STEPS_MAX = 1_000


@dataclass(slots=True)
class _Append:
    """One caller's records on their way to the writer."""

    records: Sequence[Placed]
    bytes: int
    caller: asyncio.Future[Sequence[Offset]]


@dataclass(slots=True)
class _Drain:
    """What one transaction took of the waiting appends. Filled in the writer thread, read on the loop after it."""

    taken: list[_Append] = field(default_factory=list)
    ran: bool = False


@dataclass(slots=True)
class _Budget:
    """How many steps a round of upkeep may still make."""

    left: int


class SqliteLog:
    """`Log` and `Retention` in one file for all streams. Make one with `SqliteLog.open`; belongs to that event loop."""

    def __init__(self, database: Database, *, clock: Clock, metrics: Metrics, limits: Limits, rules: RetentionRules) -> None:
        self._database = database
        self._clock = clock
        self._trusted = TrustedClock(clock)
        self._idle = IdleTimer(clock)
        self._metrics = metrics
        self._limits = limits
        self._rules = rules
        self._streams: Mapping[str, Stream] = {}
        self._specs: Mapping[str, StreamSpec] = {}
        self._waiters = Waiters[PartitionId](clock)
        self._pending: deque[_Append] = deque()
        self._pending_bytes = 0
        self._drain_asked = False
        self._closing = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        metrics: Metrics,
        limits: Limits | None = None,
        rules: RetentionRules | None = None,
        storage: StorageConfig | None = None,
        platform: Platform | None = None,
    ) -> Self:
        """Open or create the log in the file at `path`; errors as of `Database.open`.

        Args:
            path: the file.
            clock: for times of arrival, waits and durations.
            metrics: with the catalogues of `headwater.log.metrics` and `headwater.sqlite.metrics`.
            limits: what one call may carry.
            rules: when groups are expelled and tombstones removed.
            storage: sizes of the file's caches, write-ahead log and ballast.
            platform: what tests replace of the operating system.
        """
        migrations = load_migrations("headwater.log.engines.sqlite.migrations")
        database = await Database.open(
            path, name="log", migrations=migrations, metrics=metrics, clock=clock, config=storage, platform=platform
        )
        log = cls(database, clock=clock, metrics=metrics, limits=limits or Limits(), rules=rules or RetentionRules())
        with translated(database.reader):
            log._know(writes.load_streams(database.reader))
        return log

    def _know(self, streams: Mapping[str, Stream]) -> None:
        self._streams = streams
        self._specs = {name: stream.spec for name, stream in streams.items()}

    async def close(self) -> None:
        """Finish what was handed in, wake readers that wait, close the file."""
        self._closing = True
        self._waiters.wake_all()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._database.close()

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Let `work` run to its end although the caller is cancelled: what it does after the commit must not be left out."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller has it too, unless it was cancelled

    # Writing

    async def declare(self, streams: Sequence[StreamSpec]) -> None:
        """See `Log.declare`."""
        specs = list(streams)
        if all(self._specs.get(spec.name) == spec for spec in specs):
            return  # nothing to write, so that a start on a full disk comes through

        async def declare() -> None:
            self._know(await self._database.write(lambda connection: writes.declare(connection, specs)))

        await self._finish(declare())

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        """See `Log.append`."""
        failures: dict[int, AppendFailure] = {}
        placed: list[Placed] = []
        for index, (record, size) in enumerate(zip(records, check_call(records, self._limits), strict=True)):
            error = refusal(record, size, self._specs.get(record.stream), self._limits)
            if error is None:
                placed.append(self._place(record, size))
            else:
                failures[index] = AppendFailure(error)
        positions = _positions(placed, await self._hand_in(placed) if placed else ())
        if not failures:
            return positions
        appended = iter(positions)
        return [failures[index] if index in failures else next(appended) for index in range(len(records))]

    def _place(self, record: NewRecord, size: int) -> Placed:
        stream = self._streams[record.stream]
        number = partition_number(record, stream.spec)
        return Placed(record, size, stream.partitions[number], stream.partition_ids[number], stream.spec.policy is Policy.COMPACT)

    async def _hand_in(self, placed: Sequence[Placed]) -> Sequence[Offset]:
        """Leave the records for the writer, asking for a drain unless one is on its way that will take them along."""
        size = sum([each.bytes for each in placed])
        if self._pending_bytes + size > self._limits.waiting_bytes_max and self._pending_bytes:
            raise Overloaded(f"{self._pending_bytes} bytes wait for the disk", retry_after_s=1)
        loop = asyncio.get_running_loop()
        caller: asyncio.Future[Sequence[Offset]] = loop.create_future()
        self._pending_bytes += size
        self._pending.append(_Append(placed, size, caller))
        self._ask_for_drain()
        return await caller

    def _ask_for_drain(self) -> None:
        if not self._drain_asked:
            self._drain_asked = True
            task = asyncio.get_running_loop().create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        """Have one transaction take what waits when it runs, and answer everyone at once."""
        drain = _Drain()
        try:
            offsets = await self._database.write(lambda connection: self._take(connection, drain))
        except Exception as error:  # whatever it is, those who wait must hear of it, or they wait for ever
            if not drain.ran:
                self._drain_asked = False
                drain.taken = list(self._pending)
                self._pending.clear()
            self._answer_failure(drain, error)
        else:
            self._answer_success(drain, offsets)
        if self._pending:
            self._ask_for_drain()

    def _take(self, connection: apsw.Connection, drain: _Drain) -> Sequence[Offset]:
        """In the writer thread: append all that waits.

        The flag is cleared before the queue is emptied, and the loop fills the queue before it looks at the flag; so what this does not
        take has a drain of its own.
        """
        drain.ran = True
        self._drain_asked = False
        placed: list[Placed] = []
        size = 0
        while self._pending and size < DRAIN_BYTES_MAX:
            append = self._pending.popleft()
            drain.taken.append(append)
            placed.extend(append.records)
            size += append.bytes
        return writes.append(connection, placed, now_ms=self._trusted.now_ms())

    def _answer_failure(self, drain: _Drain, error: Exception) -> None:
        for append in drain.taken:
            self._pending_bytes -= append.bytes
            if not append.caller.done():
                append.caller.set_exception(_copy(error))

    def _answer_success(self, drain: _Drain, offsets: Sequence[Offset]) -> None:
        start = 0
        for append in drain.taken:
            self._pending_bytes -= append.bytes
            end = start + len(append.records)
            if not append.caller.done():
                append.caller.set_result(offsets[start:end])
            start = end
        self._appended(placed for append in drain.taken for placed in append.records)

    def _appended(self, placed: Iterable[Placed]) -> None:
        """Count what is durable now and wake who waits for it."""
        counts: dict[str, tuple[int, int]] = {}
        partitions = set()
        for each in placed:
            records, bytes = counts.get(each.partition.stream, (0, 0))
            counts[each.partition.stream] = (records + 1, bytes + each.bytes)
            partitions.add(each.partition)
        for stream, (records, bytes) in counts.items():
            self._metrics.inc(m.RECORDS_APPENDED, records, stream=stream)
            self._metrics.inc(m.BYTES_APPENDED, bytes, stream=stream)
        self._waiters.wake(partitions)

    async def append_atomic(self, records: Sequence[NewRecord], *, fence: Fence) -> Sequence[Position]:
        """See `Log.append_atomic`."""
        sizes = check_all(records, self._specs, self._limits)
        placed = [self._place(record, size) for record, size in zip(records, sizes, strict=True)]

        def work(connection: apsw.Connection) -> Sequence[Offset]:
            return writes.append_fenced(connection, placed, fence=fence, now_ms=self._trusted.now_ms())

        async def append() -> Sequence[Offset]:
            offsets = await self._database.write(work)
            self._appended(placed)
            return offsets

        offsets = await self._finish(append())
        return _positions(placed, offsets)

    async def claim(self, owned: OwnedName) -> Fence:
        """See `Log.claim`."""
        check_name(owned, what="owned name")
        # It frees nothing, but whoever recovers on a full disk has to come through, or reads end with the process before.
        return await self._database.write(lambda connection: writes.claim(connection, owned), frees_space=True)

    async def not_writable(self) -> str | None:
        """Why nothing can be appended, or None: a readiness check."""
        return await self._database.not_writable()

    async def advance(self, group: GroupName, positions: Mapping[PartitionId, Offset]) -> None:
        """See `Log.advance`."""
        check_name(group, what="group")
        finished = [(self._source(partition).id, offset) for partition, offset in positions.items()]
        self._idle.heard(group)
        await self._database.write(lambda connection: writes.advance(connection, group, finished))

    # Reading

    def _source(self, partition: PartitionId) -> Source:
        stream = self._streams.get(partition.stream)
        if stream is None or not 0 <= partition.number < stream.spec.partitions:
            raise NotFound(f"no partition {partition.number} of stream {partition.stream!r}")
        return Source(partition, stream.partition_ids[partition.number], stream.spec.policy is Policy.COMPACT)

    async def read(self, partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
        """See `Log.read`."""
        assert limit > 0
        batch = await self._read(partition, after, limit)
        if wait_s > 0 and batch.at_end and not batch.records and not self._closing:
            await self._waiters.wait(partition, wait_s)
            batch = await self._read(partition, after, limit)
        if not batch.at_end:
            await asyncio.sleep(0)  # whoever reads on and on lets others run in between
        return batch

    async def _read(self, partition: PartitionId, after: Offset, limit: int) -> Batch:
        source = self._source(partition)
        reader = self._database.reader
        limit = min(limit, self._limits.read_records_max)
        try:
            while True:
                with translated(reader):
                    found = reads.read_batch(reader, source, after, limit=limit, bytes_max=self._limits.read_bytes_max)
                if isinstance(found, Batch):
                    return found
                # Copying megabytes would hold up the loop, so one long record is read and checked in a thread.
                record = await self._database.read(partial(reads.read_long, long=found, partition=partition))
                if record is not None:
                    return Batch((record,), record.offset, at_end=False)
        except Corrupted as error:
            self._metrics.inc(m.RECORDS_CORRUPTED, stream=partition.stream)
            logger.error("log_record_corrupted", stream=partition.stream, partition=partition.number, detail=error.detail)
            raise

    async def offset_at(self, partition: PartitionId, time_ms: int) -> Offset:
        """See `Log.offset_at`."""
        source = self._source(partition)
        with translated(self._database.reader):
            return reads.offset_at(self._database.reader, source, time_ms)

    async def describe(self, prefix: str = "") -> Sequence[PartitionInfo]:
        """See `Log.describe`."""
        with translated(self._database.reader):
            return reads.describe(self._database.reader, prefix)

    async def progress(self, group: GroupName) -> Mapping[PartitionId, Offset]:
        """See `Log.progress`."""
        with translated(self._database.reader):
            return reads.progress(self._database.reader, group)

    # Upkeep

    async def trim(self, partition: PartitionId, before: Offset) -> None:
        """See `Log.trim`."""
        id = self._source(partition).id
        await self._database.write(lambda connection: upkeep.begin_trim(connection, id, before=before), frees_space=True)
        while (await self._database.write(lambda connection: upkeep.trim_step(connection, id), frees_space=True)).more:
            pass

    async def maintain(self) -> Maintained:
        """See `Retention.maintain`."""
        seen = await self._expel()
        budget = _Budget(MAINTAIN_STEPS_MAX)
        trimmed = 0
        for stream in list(self._streams.values()):
            removed = 0
            for id in stream.partition_ids:
                await self._repeat(budget, partial(upkeep.trim_step, partition_id=id))
                if stream.spec.policy is Policy.TIME:
                    expire = partial(upkeep.expire_step, partition_id=id, spec=stream.spec, now_ms=self._trusted.now_ms())
                    removed += await self._repeat(budget, expire)
            if removed:
                self._metrics.inc(m.RECORDS_TRIMMED, removed, stream=stream.spec.name)
            trimmed += removed
        oldest_ms = self._trusted.now_ms() - round(self._rules.tombstone_grace_s * 1000)
        compacted = await self._repeat(budget, upkeep.compact_step)
        compacted += await self._repeat(budget, partial(upkeep.bury_step, taken_before_ms=oldest_ms))
        self._metrics.inc(m.RECORDS_COMPACTED, compacted)
        await self._report_sizes()
        return Maintained(trimmed, compacted, seen.expelled, more=budget.left == 0)

    async def _repeat(self, budget: _Budget, step: Callable[[apsw.Connection], upkeep.Step]) -> int:
        """Run `step` until it finds nothing more or the budget is used up; each run is one transaction of its own."""
        removed = 0
        while budget.left:
            budget.left -= 1
            done = await self._database.write(step, frees_space=True)
            removed += done.removed
            if not done.more:
                break
        return removed

    async def _expel(self) -> upkeep.GroupsSeen:
        now_s = self._clock.monotonic_s()
        idle = self._idle.snapshot()
        idle_ms_max = round(self._rules.group_idle_s_max * 1000)
        seen = await self._database.write(
            lambda connection: upkeep.expel_step(connection, idle=idle, now_s=now_s, idle_ms_max=idle_ms_max), frees_space=True
        )
        self._idle.end_round(now_s)
        if seen.expelled:
            self._metrics.inc(m.GROUPS_EXPELLED, seen.expelled)
            logger.warning("log_groups_expelled", groups=seen.expelled)
        for group, lag in seen.lags.items():
            self._metrics.set(m.GROUP_LAG, lag, group=group)
        return seen

    async def _report_sizes(self) -> None:
        sizes: dict[str, int] = {}
        for info in await self.describe():
            sizes[info.partition.stream] = sizes.get(info.partition.stream, 0) + info.bytes
        for stream, size in sizes.items():
            self._metrics.set(m.STREAM_BYTES, size, stream=stream)


def _positions(placed: Sequence[Placed], offsets: Sequence[Offset]) -> list[Position]:
    return [Position(each.partition, offset) for each, offset in zip(placed, offsets, strict=True)]


def _copy(error: Exception) -> Exception:
    """An error of its own for each caller, since raising adds to an error's traceback."""
    copied = copy(error)
    copied.__cause__ = error
    return copied

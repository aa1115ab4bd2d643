"""What the laws need to know of an engine, and small ways to use a log that several laws share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from headwater.kernel.errors import HeadwaterError
from headwater.log.admission import Limits
from headwater.log.model import BEFORE_FIRST, AppendFailure, NewRecord, Offset, PartitionId, Policy, Position, Record, StreamSpec
from headwater.log.ports import Log, Retention
from headwater.log.retention import RetentionRules
from headwater.testing.clock import ManualClock

PATIENCE_S = 1.0
DAY_S = 86_400.0


class LogUnderTest(Log, Retention, Protocol):
    """A log that the laws can also maintain and close."""

    async def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """How a law wants its log.

    Attributes:
        clock: the only clock that the log may use.
        limits: what one call may carry.
        rules: when groups are expelled and tombstones removed.
    """

    clock: ManualClock = field(default_factory=ManualClock)
    limits: Limits = field(default_factory=Limits)
    rules: RetentionRules = field(default_factory=RetentionRules)


class LogEngine(Protocol):
    """Makes logs of one engine.

    Attributes:
        durable: what a log held is there when it is closed and opened again.
    """

    durable: bool

    async def open(self, setting: Setting) -> LogUnderTest:
        """The engine's log: empty the first time, later what the last one left behind."""
        ...


Law = Callable[[LogEngine], Coroutine[Any, Any, None]]


@asynccontextmanager
async def opened(engine: LogEngine, setting: Setting | None = None) -> AsyncIterator[LogUnderTest]:
    """A log with the streams `events` (TIME, two partitions), `pages` (COMPACT) and `notes` (KEEP)."""
    log = await engine.open(setting or Setting())
    try:
        await log.declare(
            [
                StreamSpec("events", Policy.TIME, partitions=2, age_ms_max=int(7 * DAY_S * 1000)),
                StreamSpec("pages", Policy.COMPACT),
                StreamSpec("notes", Policy.KEEP),
            ]
        )
        yield log
    finally:
        await log.close()


EVENTS = PartitionId("events", 0)
EVENTS_1 = PartitionId("events", 1)
PAGES = PartitionId("pages", 0)
NOTES = PartitionId("notes", 0)


def event(value: bytes, *, partition: int = 0, time_ms: int = 1_000) -> NewRecord:
    """A record of stream `events`."""
    return NewRecord("events", value, time_ms, partition=partition)


def page(key: bytes, value: bytes | None) -> NewRecord:
    """A record of the compacted stream `pages`."""
    return NewRecord("pages", value, 1_000, key=key)


def note(value: bytes) -> NewRecord:
    """A record of stream `notes`."""
    return NewRecord("notes", value, 1_000)


async def put(log: Log, *records: NewRecord) -> list[Position]:
    """Append records that must all succeed."""
    positions = []
    for outcome in await log.append(records):
        assert isinstance(outcome, Position), outcome
        positions.append(outcome)
    assert len(positions) == len(records)
    return positions


def failure(outcome: Position | AppendFailure) -> HeadwaterError:
    """The error of a record that must have failed."""
    assert isinstance(outcome, AppendFailure), outcome
    return outcome.error


async def read_all(log: Log, partition: PartitionId, after: Offset = BEFORE_FIRST, *, limit: int = 100) -> list[Record]:
    """Every record after `after`, by reading on from `next` until `at_end`."""
    records: list[Record] = []
    while True:
        batch = await log.read(partition, after, limit=limit)
        assert len(batch.records) <= limit
        assert batch.at_end or batch.next > after, "a read that is not at the end makes headway"
        assert not batch.records or batch.next >= batch.records[-1].offset
        records.extend(batch.records)
        after = batch.next
        if batch.at_end:
            return records


async def values(log: Log, partition: PartitionId, after: Offset = BEFORE_FIRST) -> list[bytes | None]:
    """The values of every record after `after`."""
    return [record.value for record in await read_all(log, partition, after)]


async def raises(expected: type[HeadwaterError], call: Awaitable[object]) -> HeadwaterError:
    """The error that `call` must raise."""
    try:
        result = await call
    except expected as error:
        return error
    raise AssertionError(f"{expected.__name__} expected, got {result!r}")


async def done_soon(task: "asyncio.Task[object]") -> bool:
    """Whether `task` ends without the clock being moved."""
    done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
    return bool(done)


def offsets(records: Sequence[Record]) -> list[Offset]:
    """The records' offsets."""
    return [record.offset for record in records]

"""Which events are known: what the index holds, what waits for it in memory, and what an unknown outcome has left in doubt.

The index is a projection of the log. Invariants:

* A position is *covered* only if every event up to it is in the index. One append is under way at a time, so that positions come in
  order. In a stream with doubtful events no position is covered until the log has been read again from the last covered one.
* An id is known, free or *doubtful*. Doubtful ids are those of an append whose outcome nobody knows; they become known when the
  log shows them, and free only once the log, read to its end after the append can no longer land, does not.
"""

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import structlog

from headwater.events import identity, metrics
from headwater.events.model import Event, Key, Seen, Window
from headwater.events.ports import SeenIds
from headwater.kernel.clock import Clock
from headwater.kernel.errors import Corrupted, HeadwaterError, OffsetTrimmed, StorageFull
from headwater.kernel.metrics import Metrics
from headwater.log.model import BEFORE_FIRST, Offset, PartitionId, Record
from headwater.log.ports import Log
from headwater.log.retention import TrustedClock

_logger = structlog.get_logger(__name__)

DAMAGED_MAX = 100  # records of a partition passed over in one reading; more of them are no accident of single records
SOURCE_HEADER = "source"  # names who told Headwater, for events that did not come from a client


@dataclass(frozen=True, slots=True)
class DeduplicationLimits:
    """Window in ms; most ids waiting in memory; ids per write of the index; records per read of the log; seconds after which an append
    can no longer land.
    """

    window_ms: int
    pending_max: int
    flush_ids_max: int
    read_records_max: int
    settle_after_s: float


@dataclass(slots=True)
class _Doubt:
    """Ids of one stream in doubt, each with the monotonic second from which an append of it can no longer land."""

    until_s: dict[Key, float] = field(default_factory=dict)


class Deduplication:
    """Knows which events have been accepted. For one event loop."""

    def __init__(self, log: Log, index: SeenIds, clock: Clock, metrics: Metrics, *, limits: DeduplicationLimits) -> None:
        self._log = log
        self._index = index
        self._clock = clock
        self._trusted = TrustedClock(clock)  # a wrong time server must not empty the index
        self._metrics = metrics
        self._limits = limits
        self._pending: list[Seen] = []
        self._pending_keys: dict[Key, None] = {}
        self._covered: dict[PartitionId, Offset] = {}  # positions not yet written to the index
        self._doubts: dict[str, _Doubt] = {}
        self._flushing = asyncio.Lock()
        self._settling = asyncio.Lock()

    @property
    def pending(self) -> int:
        """Accepted events that wait for the index."""
        return len(self._pending)

    @property
    def is_behind(self) -> bool:
        """So many events wait for the index that no more may be accepted."""
        return len(self._pending) >= self._limits.pending_max

    @property
    def unsettled(self) -> int:
        """Ids in doubt."""
        return sum(len(doubt.until_s) for doubt in self._doubts.values()) if self._doubts else 0

    def window(self) -> Window:
        """The effective window of the index."""
        return self._index.window()

    def knows(self, events: Sequence[Event]) -> Sequence[bool]:
        """Of each event, whether it has been accepted within the window: one question to the index for all."""
        asked = [(event.keys[0], *event.alike) for event in events]
        seen = self._index.seen(list(itertools.chain.from_iterable(asked)), since_ms=self._since_ms())
        pending = self._pending_keys
        return [any(key in pending or key in seen for key in keys) for keys in asked]

    def doubts(self, event: Event) -> bool:
        """Whether nobody knows yet if this id is in the log."""
        doubt = self._doubts.get(event.stream)
        return doubt is not None and event.keys[0] in doubt.until_s

    def accepted(self, events: Iterable[Event], positions: Mapping[PartitionId, Offset]) -> None:
        """Remember events that are durable now, and the highest positions that they took."""
        self._remember(Seen(event.keys, event.time_ms) for event in events)
        for partition, offset in positions.items():
            if partition.stream not in self._doubts:
                self._covered[partition] = offset

    def doubt(self, events: Iterable[Event]) -> None:
        """Remember that nobody knows whether these events are in the log."""
        until_s = self._clock.monotonic_s() + self._limits.settle_after_s
        for event in events:
            self._doubts.setdefault(event.stream, _Doubt()).until_s[event.keys[0]] = until_s
        self._metrics.set(metrics.UNSETTLED, self.unsettled)

    async def catch_up(self, streams: Collection[str]) -> None:
        """Bring the index to the end of the log; `streams` are the event streams that exist.

        Raises:
            Corrupted, Unavailable, StorageFull: the intake must not start.
        """
        ends = {info.partition: info.end for info in await self._log.describe()}
        covered = await self._index.covered()
        if any(partition not in ends or offset >= ends[partition] for partition, offset in covered.items()):
            _logger.warning("dedup_index_of_another_log")
            self._metrics.inc(metrics.INDEX_REBUILDS)
            await self._index.clear()
            covered = {}
        for partition in sorted(partition for partition in ends if partition.stream in streams):
            await self._read_on(partition, covered.get(partition))
        self._report()

    async def settle(self) -> None:
        """Read the streams with doubtful events again; ids found are known, those that can no longer land are free.

        Raises:
            Corrupted, Unavailable, StorageFull: some doubts are not settled; they stay.
        """
        async with self._settling:
            for stream in list(self._doubts):
                await self._settle_stream(stream)
        self._metrics.set(metrics.UNSETTLED, self.unsettled)

    async def flush(self) -> None:
        """Write what waits to the index. On an error of the index the rest goes on waiting, and the error is raised."""
        async with self._flushing:
            left, covered = len(self._pending), dict(self._covered)  # what comes meanwhile waits for the next time
            while left > self._limits.flush_ids_max:
                left -= await self._flush_some(self._limits.flush_ids_max, {})
            if left or covered:
                await self._flush_some(left, covered)
        self._report()

    async def _flush_some(self, ids: int, covered: Mapping[PartitionId, Offset]) -> int:
        entries = self._pending[:ids]
        try:
            await self._index.add(entries, covered, since_ms=self._since_ms())
        except HeadwaterError:
            self._metrics.inc(metrics.INDEX_FAILURES)
            raise
        del self._pending[:ids]
        for entry in entries:
            for key in entry.keys:
                self._pending_keys.pop(key, None)
        for partition, offset in covered.items():
            if self._covered.get(partition) == offset:
                del self._covered[partition]
        return ids

    def _remember(self, entries: Iterable[Seen]) -> None:
        for entry in entries:
            self._pending.append(entry)
            for key in entry.keys:
                self._pending_keys[key] = None

    async def _settle_stream(self, stream: str) -> None:
        doubt = self._doubts[stream]
        asked = dict(doubt.until_s)
        now_s = self._clock.monotonic_s()  # before the reads: what could still land after this moment stays in doubt
        await self.flush()  # the index's positions are then where the stream has to be read from
        covered = await self._index.covered()
        for info in await self._log.describe(stream):
            if info.partition.stream == stream:
                await self._read_on(info.partition, covered.get(info.partition))
        found = self._index.seen(list(asked), since_ms=self._since_ms())
        for key, until_s in asked.items():
            if (key in found or now_s >= until_s) and doubt.until_s.get(key) == until_s:
                del doubt.until_s[key]
        if not doubt.until_s:
            del self._doubts[stream]

    async def _read_on(self, partition: PartitionId, after: Offset | None) -> None:
        """Put into the index what the log has after `after`, or within the window if that is None."""
        if after is None:
            after = await self._log.offset_at(partition, max(0, self._since_ms()))
        at_end, damaged = False, 0
        while not at_end:
            try:
                batch = await self._log.read(partition, after, limit=self._limits.read_records_max)
            except OffsetTrimmed:
                after = BEFORE_FIRST
                continue
            except Corrupted as error:
                damaged += 1
                if damaged > DAMAGED_MAX:
                    raise
                # Those who act upon the record stop in front of it; here it costs no more than that its id may be accepted again.
                self._metrics.inc(metrics.INDEX_UNREADABLE)
                _logger.error("dedup_record_unreadable", stream=partition.stream, partition=partition.number, detail=error.detail)
                after = Offset(after + 1)
                continue
            if batch.records or batch.next != after:
                await self._add([_seen(record) for record in batch.records], {partition: batch.next})
                self._metrics.inc(metrics.INDEX_READ, len(batch.records))
            after, at_end = batch.next, batch.at_end

    async def _add(self, entries: Sequence[Seen], covered: Mapping[PartitionId, Offset]) -> None:
        """Put entries into the index; on a full disk let them wait in memory, as long as there is room, like those of new events."""
        try:
            await self._index.add(entries, covered, since_ms=self._since_ms())
        except StorageFull:
            self._metrics.inc(metrics.INDEX_FAILURES)
            if len(self._pending) + len(entries) > self._limits.pending_max:
                raise
            self._remember(entries)
            self._covered.update(covered)

    def _since_ms(self) -> int:
        return self._trusted.now_ms() - self._limits.window_ms

    def _report(self) -> None:
        window = self._index.window()
        age_ms = 0 if window.oldest_ms is None else self._clock.now_ms() - window.oldest_ms
        self._metrics.set(metrics.WINDOW_IDS, window.ids)
        self._metrics.set(metrics.WINDOW_SECONDS, max(0, age_ms) / 1000)
        self._metrics.set(metrics.PENDING, len(self._pending))


def _seen(record: Record) -> Seen:
    headers = dict(record.headers)
    event_id = headers.get("id", b"").decode()
    stream = record.position.partition.stream
    internal = SOURCE_HEADER in headers
    keys: tuple[Key, ...] = (identity.id_key(event_id, internal=internal),)
    if not internal and record.value is not None:
        event = orjson.loads(record.value)
        keys = (*keys, *identity.identities(stream, event, headers.get("dt", b"").decode()))
    return Seen(keys, record.time_ms)

"""The log on SQLite does what the log in memory does, for any sequence of calls; offsets may differ, what stands at them may not."""

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headwater.kernel.config import Bytes
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics
from headwater.log import metrics as log_metrics
from headwater.log.admission import Limits
from headwater.log.engines.memory import MemoryLog
from headwater.log.engines.sqlite import SqliteLog
from headwater.log.model import BEFORE_FIRST, AppendFailure, Fence, GroupName, NewRecord, Offset, OwnedName, PartitionId, Policy, StreamSpec
from headwater.log.ports import Log
from headwater.log.retention import RetentionRules
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.clock import ManualClock

DAY_S = 86_400.0
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # durability is not what is tested here, and thousands of fsyncs take long
LIMITS = Limits(record_bytes_max=60, append_records_max=5, read_records_max=4, read_bytes_max=100)
RULES = RetentionRules(group_idle_s_max=5 * DAY_S, tombstone_grace_s=DAY_S)
PARTITIONS = [PartitionId("events", 0), PartitionId("events", 1), PartitionId("pages", 0), PartitionId("notes", 0)]
OWNED = [OwnedName("a"), OwnedName("b")]

KEYS = st.sampled_from([b"", b"k", b"l", b"m"])
HEADERS = st.lists(st.tuples(st.sampled_from(["id", "dt", ""]), st.binary(max_size=4)), max_size=2).map(tuple)
VALUES, TIMES = st.binary(max_size=40), st.integers(0, 50)
EVENTS = st.builds(NewRecord, stream=st.just("events"), value=VALUES, time_ms=TIMES, headers=HEADERS, partition=st.integers(0, 1))
PAGES = st.builds(NewRecord, stream=st.just("pages"), value=st.one_of(st.none(), VALUES), time_ms=TIMES, key=KEYS)
NOTES = st.builds(NewRecord, stream=st.just("notes"), value=VALUES, time_ms=TIMES)
ANYTHING = st.builds(
    NewRecord,
    stream=st.sampled_from(["events", "pages", "notes", "unknown"]),
    value=st.one_of(st.none(), st.binary(max_size=70)),
    time_ms=st.integers(-1, 50),
    key=st.one_of(st.none(), KEYS),
    partition=st.one_of(st.none(), st.integers(0, 2)),
)
GOOD = st.one_of(EVENTS, PAGES, PAGES, NOTES)


async def _outcome(call: Awaitable[Any]) -> Any:
    """What a call returns, or the kind of error that it raises."""
    try:
        return await call
    except HeadwaterError as error:
        return type(error)


class LogMachine(RuleBasedStateMachine):
    """Makes the same calls on both and compares."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.directory = tempfile.TemporaryDirectory(dir=MEMORY)
        self.memory = MemoryLog(clock=self.clock, limits=LIMITS, rules=RULES)
        self.sqlite = self.do(self._open())
        self.fences: list[tuple[Fence, Fence]] = []
        # Per partition, the offsets at which the same record stands in both.
        self.offsets: dict[PartitionId, list[tuple[Offset, Offset]]] = {partition: [] for partition in PARTITIONS}
        specs = [
            StreamSpec("events", Policy.TIME, 2, age_ms_max=int(3 * DAY_S * 1000), bytes_max=150),
            StreamSpec("pages", Policy.COMPACT),
            StreamSpec("notes", Policy.KEEP),
        ]
        self.do(self.memory.declare(specs))
        self.do(self.sqlite.declare(specs))
        for owned in (OWNED[0], OWNED[1], OWNED[0]):
            self.claim(owned)

    async def _open(self) -> SqliteLog:
        return await SqliteLog.open(
            Path(self.directory.name) / "log.sqlite",
            clock=self.clock,
            metrics=Metrics((*log_metrics.METRICS, *sqlite_metrics.METRICS)),
            limits=LIMITS,
            rules=RULES,
            storage=StorageConfig(ballast_bytes=Bytes(0)),
        )

    def do(self, call: Awaitable[Any]) -> Any:
        """The outcome of one call."""
        return self.loop.run_until_complete(_outcome(call))

    def same(self, memory: Any, sqlite: Any) -> None:
        """Both outcomes are positions of the same records, or errors of the same kind; notes where the records stand."""
        if isinstance(memory, type) or isinstance(sqlite, type):
            assert memory is sqlite
            return
        assert len(memory) == len(sqlite)
        for one, other in zip(memory, sqlite, strict=True):
            if isinstance(one, AppendFailure) or isinstance(other, AppendFailure):
                assert type(one.error) is type(other.error)
            else:
                assert one.partition == other.partition
                self.offsets[one.partition].append((one.offset, other.offset))

    @rule(records=st.lists(GOOD, min_size=2, max_size=5))
    def append_good(self, records: list[NewRecord]) -> None:
        self.same(self.do(self.memory.append(records)), self.do(self.sqlite.append(records)))

    @rule(records=st.lists(st.one_of(ANYTHING, GOOD), max_size=6))
    def append(self, records: list[NewRecord]) -> None:
        self.same(self.do(self.memory.append(records)), self.do(self.sqlite.append(records)))

    @rule(owned=st.sampled_from(OWNED))
    def claim(self, owned: OwnedName) -> None:
        self.fences.append((self.do(self.memory.claim(owned)), self.do(self.sqlite.claim(owned))))

    @rule(records=st.lists(st.one_of(GOOD, GOOD, GOOD, ANYTHING), max_size=3), index=st.integers(0, 4))
    def append_atomic(self, records: list[NewRecord], index: int) -> None:
        made_up = (Fence(OWNED[0], 99), Fence(OWNED[0], 99))
        one, other = self.fences[-1 - index] if index < len(self.fences) else made_up
        self.same(self.do(self.memory.append_atomic(records, fence=one)), self.do(self.sqlite.append_atomic(records, fence=other)))

    def place(self, partition: PartitionId, index: int) -> tuple[Offset, Offset]:
        """The offsets of the record that was appended `index` records ago, or the beginning."""
        offsets = self.offsets[partition]
        return offsets[-1 - index] if index < len(offsets) else (BEFORE_FIRST, BEFORE_FIRST)

    @rule(group=st.sampled_from(["g", "h"]), partition=st.sampled_from(PARTITIONS), index=st.integers(0, 4))
    def advance(self, group: str, partition: PartitionId, index: int) -> None:
        one, other = self.place(partition, index)
        assert self.do(self.memory.advance(GroupName(group), {partition: one})) is self.do(
            self.sqlite.advance(GroupName(group), {partition: other})
        )

    @rule(partition=st.sampled_from(PARTITIONS), index=st.integers(0, 4))
    def trim(self, partition: PartitionId, index: int) -> None:
        one, other = self.place(partition, index)
        assert self.do(self.memory.trim(partition, one)) is self.do(self.sqlite.trim(partition, other))

    @rule(days=st.sampled_from([0.5, 1.1, 3.1, 6.0]))
    def pass_time(self, days: float) -> None:
        self.clock.advance(days * DAY_S)

    @rule()
    def maintain(self) -> None:
        one, other = self.do(self.memory.maintain()), self.do(self.sqlite.maintain())
        assert one.expelled == other.expelled

    @rule(partition=st.sampled_from(PARTITIONS), index=st.integers(0, 4), limit=st.integers(1, 6))
    def read_on(self, partition: PartitionId, index: int, limit: int) -> None:
        one, other = self.place(partition, index)
        first, second = (
            self.do(self.memory.read(partition, one, limit=limit)),
            self.do(self.sqlite.read(partition, other, limit=limit)),
        )
        if isinstance(first, type) or isinstance(second, type):
            assert first is second
        elif partition.stream != "pages":
            assert [record.value for record in first.records] == [record.value for record in second.records]

    @rule(time_ms=st.integers(0, 51))
    def find_time(self, time_ms: int) -> None:
        partition = PARTITIONS[0]
        for log in (self.memory, self.sqlite):
            after = self.do(log.offset_at(partition, time_ms))
            found = self.do(_read_all(log, partition, after))
            everything = self.do(_read_all(log, partition, BEFORE_FIRST))
            wanted = [record for record in everything if record.time_ms >= time_ms]
            assert found == everything[len(everything) - len(found) :]
            assert [record for record in found if record.time_ms >= time_ms] == wanted

    @rule()
    def reopen(self) -> None:
        # What passed since the last round of upkeep is not counted as idleness over a restart, so both make a round first.
        self.maintain()
        self.do(self.sqlite.close())
        self.sqlite = self.do(self._open())

    @invariant()
    def holds_the_same(self) -> None:
        for partition in PARTITIONS:
            one = self.do(_read_all(self.memory, partition, BEFORE_FIRST))
            other = self.do(_read_all(self.sqlite, partition, BEFORE_FIRST))
            if partition.stream == "pages":
                one, other = _newest(one), _newest(other)
            assert [(r.key, r.value, r.headers, r.time_ms) for r in one] == [(r.key, r.value, r.headers, r.time_ms) for r in other]
        for group in (GroupName("g"), GroupName("h")):
            one, other = self.do(self.memory.progress(group)), self.do(self.sqlite.progress(group))
            assert one.keys() == other.keys()
            for partition, offset in one.items():
                assert (offset, other[partition]) in [*self.offsets[partition], (BEFORE_FIRST, BEFORE_FIRST)]

    def teardown(self) -> None:
        if hasattr(self, "sqlite"):
            self.do(self.sqlite.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.directory.cleanup()


async def _read_all(log: Log, partition: PartitionId, after: Offset) -> list[Any]:
    records: list[Any] = []
    while True:
        batch = await log.read(partition, after, limit=10)
        records.extend(batch.records)
        after = batch.next
        if batch.at_end:
            return records


def _newest(records: list[Any]) -> list[Any]:
    newest = {record.key: record for record in records}
    return [record for record in records if newest[record.key] is record]


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))

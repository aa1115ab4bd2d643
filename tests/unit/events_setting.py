"""An intake on in-memory engines, for the tests of the events room."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from headwater.events.config import EventsConfig
from headwater.events.engines.memory import MemorySeenIds
from headwater.events.examination import Rules
from headwater.events.metrics import METRICS
from headwater.events.ports import SeenIds
from headwater.events.schemas import SchemaRegistry
from headwater.events.service import Intake
from headwater.events.streams import StreamTable
from headwater.kernel.metrics import Metrics
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import BEFORE_FIRST, AppendFailure, NewRecord, PartitionId, Position, Record
from headwater.testing.clock import ManualClock
from headwater.testing.ids import SequentialIds

RECORDINGS = Path(__file__).parents[1] / "data" / "eventbus"
SCHEMAS = SchemaRegistry.load()

T = TypeVar("T")


class PickyLog(MemoryLog):
    """A log that answers for chosen records what a test wants, and can be made to wait."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.refuse: Callable[[NewRecord], AppendFailure | None] = lambda _record: None
        self.lose: Callable[[NewRecord], AppendFailure | None] = lambda _record: None
        self.gate: asyncio.Event | None = None
        self.appends: list[int] = []
        self.reads = 0

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        """Refused records are left out, lost ones are appended although the answer says that nobody knows."""
        if self.gate is not None:
            await self.gate.wait()
        self.appends.append(len(records))
        refused = {index: failure for index, record in enumerate(records) if (failure := self.refuse(record)) is not None}
        lost = {index: failure for index, record in enumerate(records) if (failure := self.lose(record)) is not None}
        kept = [record for index, record in enumerate(records) if index not in refused]
        positions = iter(await super().append(kept))
        outcomes = [refused[index] if index in refused else next(positions) for index in range(len(records))]
        return [lost.get(index, outcome) for index, outcome in enumerate(outcomes)]

    async def read(self, partition: PartitionId, after: Any, *, limit: int, wait_s: float = 0.0) -> Any:
        """Counted."""
        self.reads += 1
        return await super().read(partition, after, limit=limit, wait_s=wait_s)


@dataclass
class Setting:
    """One intake and what it stands on; `restart` makes a new one over the same log."""

    config: EventsConfig = field(default_factory=EventsConfig)
    clock: ManualClock = field(default_factory=ManualClock)
    rules: Rules = field(init=False)
    log: PickyLog = field(init=False)
    index: SeenIds = field(init=False)
    metrics: Metrics = field(init=False)
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        self.rules = Rules(SCHEMAS, StreamTable(self.config.rules()), self.config.event_bytes_max)
        self.log = PickyLog(self.clock)
        self.index = self.new_index()
        self.make_intake()

    def new_index(self) -> SeenIds:
        """An empty index."""
        return MemorySeenIds(ids_max=self.config.dedup_ids_max)

    def make_intake(self) -> None:
        """A new process over the same log and index."""
        self.metrics = Metrics(METRICS)
        self.intake = Intake(
            self.log, self.index, rules=self.rules, config=self.config, clock=self.clock, ids=SequentialIds(), metrics=self.metrics
        )

    async def restart(self, *, index: SeenIds | None = None) -> None:
        """Stop in good order and start again."""
        await self.intake.stop()
        await self.kill(index=index)

    async def kill(self, *, index: SeenIds | None = None) -> None:
        """Start again without stopping: what the old process held in memory is gone."""
        for task in self.intake._tasks:
            task.cancel()
        await asyncio.gather(*self.intake._tasks, return_exceptions=True)
        self.index = index or self.index
        self.make_intake()
        await self.intake.start()

    async def stored(self, stream: str) -> list[Record]:
        """All records of a stream."""
        records: list[Record] = []
        after, at_end = BEFORE_FIRST, False
        while not at_end:
            batch = await MemoryLog.read(self.log, PartitionId(stream), after, limit=1000)
            records.extend(batch.records)
            after, at_end = batch.next, batch.at_end
        return records

    async def values(self, stream: str) -> list[bytes | None]:
        """The bytes of all records of a stream."""
        return [record.value for record in await self.stored(stream)]


def run(test: Callable[[Setting], Awaitable[T]], config: EventsConfig | None = None) -> T:
    """Run `test` with a started intake."""

    async def main() -> T:
        setting = Setting(config or EventsConfig())
        await setting.intake.start()
        try:
            return await test(setting)
        finally:
            await setting.intake.stop()

    return asyncio.run(main())


def change(event_id: str | None = "id-1", *, stream: str = "resource_change", **more: object) -> dict[str, Any]:
    """A small valid event."""
    meta: dict[str, object] = {"uri": "http://rivers.example/wiki/Main", "domain": "rivers.example", "stream": stream}
    if event_id is not None:
        meta["id"] = event_id
    return {"$schema": "/resource_change/1.0.0", "meta": meta, "tags": [], **more}


def raw(event: Mapping[str, object]) -> bytes:
    """The event as bytes."""
    return orjson.dumps(event)


def recorded(name: str) -> list[dict[str, Any]]:
    """The events of a recording."""
    events: list[dict[str, Any]] = orjson.loads((RECORDINGS / name).read_bytes())
    return events

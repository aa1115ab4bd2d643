"""The follower misses nothing and repeats nothing, whatever order and second rows appear in, and whenever it is stopped.

A fake wiki shows each row some time after the second that it carries, at most the overlap later, in any order of ids; it answers two rows
at a time, and its clock moves with every request. The log is the memory engine; the sink appends to it as the intake does.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.kernel.config import Seconds
from headwater.kernel.errors import Fenced, HeadwaterError, OutcomeUnknown
from headwater.kernel.metrics import Metrics
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import BEFORE_FIRST, Fence, NewRecord, PartitionId, Policy, StreamSpec
from headwater.mediawiki import metrics as m
from headwater.mediawiki.answers import Answer
from headwater.mediawiki.config import Source, WikiConfig
from headwater.mediawiki.errors import WikiBusy
from headwater.mediawiki.follower import Follower
from headwater.mediawiki.ports import A, SinkResult, Value
from headwater.mediawiki.recentchanges import ChangesAnswer, ChangesQuery, Row
from headwater.mediawiki.timestamps import seconds_of, timestamp_of
from headwater.mediawiki.titles import SiteInfo
from headwater.testing.clock import ManualClock
from headwater.testing.ids import SequentialIds

OVERLAP_S = 10
PAGE_ROWS = 2
EVENTS = "mediawiki.revision-create"
SITE = SiteInfo("w", "http://w", "/index.php/$1", "/index.php", {}, {0: ""}, frozenset(), frozenset())
START_S = 1_800_000_000


@dataclass(frozen=True)
class Late:
    """A row: the second that it carries, and when it can be seen (both since the start)."""

    rcid: int
    time_s: int
    appears_s: float


@dataclass
class FakeWiki:
    """An `ActionApi` that has only recent changes."""

    clock: ManualClock
    rows: Sequence[Late]
    config: WikiConfig
    request_s: float = 0.0
    ahead_s: int = 0
    busy: int = 0
    name: str = "w"
    asked: list[Mapping[str, Value]] = field(default_factory=list)

    def now_s(self) -> float:
        """Seconds since the start, by the wiki's clock."""
        return self.clock.monotonic_s()

    async def call(self, answer: type[A], parameters: Mapping[str, Value]) -> A:
        """Answers a list of recent changes, or only the time."""
        self.asked.append(parameters)
        self.clock.advance(self.request_s / 2)
        if self.busy:
            self.busy -= 1
            raise WikiBusy("maxlag", retry_after_s=7)
        if answer is Answer:
            return cast(A, Answer(curtimestamp=timestamp_of(START_S + int(self.now_s()))))
        after = tuple(map(int, str(parameters.get("rccontinue", "-1|-1")).split("|")))
        start_s = seconds_of(str(parameters["rcstart"])) - START_S if "rcstart" in parameters else 0
        shown = sorted((r.time_s, r.rcid) for r in self.rows if r.appears_s <= self.now_s() and r.time_s >= start_s)
        page = [row for row in shown if row > after][: PAGE_ROWS + 1]
        found = tuple(
            Row(type="edit", rcid=rcid, title="A", pageid=1, revid=rcid, timestamp=timestamp_of(START_S + time_s))
            for time_s, rcid in page[:PAGE_ROWS]
        )
        more: dict[str, str | int] = {"rccontinue": f"{page[PAGE_ROWS - 1][0]}|{page[PAGE_ROWS - 1][1]}"} if len(page) > PAGE_ROWS else {}
        self.clock.advance(self.request_s / 2)
        stamp = timestamp_of(START_S + int(self.now_s()) + self.ahead_s)
        return cast(A, ChangesAnswer(query=ChangesQuery(recentchanges=found), continue_=more, curtimestamp=stamp))

    async def call_all(self, answer: type[A], parameters: Mapping[str, Value], *, answers_max: int) -> AsyncIterator[A]:
        """Follows `continue`."""
        more: Mapping[str, Value] = {}
        for _ in range(answers_max):
            part = await self.call(answer, {**parameters, **more})
            yield part
            if not part.continue_:
                return
            more = part.continue_

    async def site(self) -> SiteInfo:
        """A site with nothing but a main namespace."""
        return SITE

    async def rights(self) -> frozenset[str]:
        """None at all."""
        return frozenset()


@dataclass
class LogSink:
    """An `EventSink` that appends every event that another source has not told of, and fails when told to: before the append or after."""

    log: MemoryLog
    failures: list[str]
    told: set[int] = field(default_factory=set)  # revisions

    async def accept_atomic(self, events: Sequence[bytes], *, beside: Sequence[NewRecord], fence: Fence) -> SinkResult:
        """Append, unless a failure is due."""
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "before":
            raise OutcomeUnknown("lost on the way there")
        new = [event for event in events if msgspec.json.decode(event)["rev_id"] not in self.told]
        await self.log.append_atomic([*(NewRecord(EVENTS, event, 0) for event in new), *beside], fence=fence)
        if failure == "after":
            raise OutcomeUnknown("lost on the way back")
        return SinkResult(len(new), known=len(events) - len(new))


async def revisions(log: MemoryLog) -> list[int]:
    """Revision ids of all events in the log, in order."""
    found: list[int] = []
    after = BEFORE_FIRST
    while True:
        batch = await log.read(PartitionId(EVENTS), after, limit=100)
        found += [msgspec.json.decode(record.value or b"")["rev_id"] for record in batch.records]
        after = batch.next
        if batch.at_end:
            return found


@dataclass
class World:
    """A wiki, a log and a follower, which can be replaced as after a crash."""

    rows: Sequence[Late]
    request_s: float = 0.0
    source: Source = Source.FOLLOWER
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = ManualClock(START_S * 1000)
        self.log = MemoryLog(clock=self.clock)
        self.sink = LogSink(self.log, self.failures)
        config = WikiConfig(domains=("w.example",), api_url="http://w/api.php", source=self.source, overlap=Seconds(OVERLAP_S))
        self.wiki = FakeWiki(self.clock, self.rows, config, self.request_s)
        self.metrics = Metrics(m.METRICS)
        self.follower = self.another()

    def another(self) -> Follower:
        """A follower that knows nothing but the log."""
        return Follower(self.wiki, log=self.log, sink=self.sink, clock=self.clock, ids=SequentialIds(), metrics=self.metrics)

    async def begin(self) -> None:
        """Declare the stream of events and take over."""
        await self.log.declare([StreamSpec(EVENTS, Policy.KEEP)])
        await self.follower.take_over()

    async def poll(self) -> None:
        """Poll until nothing more is there; an unknown outcome ends the epoch."""
        while True:
            try:
                if not await self.follower.poll():
                    return
            except OutcomeUnknown:
                await self.follower.take_over()


LATE_ROWS = st.lists(st.tuples(st.integers(0, 40), st.floats(0, OVERLAP_S)), max_size=25)
STEPS = st.lists(st.tuples(st.floats(0.1, 30), st.booleans()), min_size=1, max_size=8)
FAILURES = st.lists(st.sampled_from(["", "before", "after"]), max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    late=LATE_ROWS,
    order=st.randoms(use_true_random=False),
    steps=STEPS,
    request_s=st.floats(0, 3),
    failures=FAILURES,
    source=st.sampled_from([Source.FOLLOWER, Source.BOTH]),
)
def test_every_row_becomes_one_event(
    late: list[tuple[int, float]],
    order: random.Random,
    steps: list[tuple[float, bool]],
    request_s: float,
    failures: list[str],
    source: Source,
) -> None:
    ids = list(range(1, len(late) + 1))
    order.shuffle(ids)
    rows = [Late(rcid, time_s, time_s + delay_s) for rcid, (time_s, delay_s) in zip(ids, late, strict=True)]

    async def scenario() -> None:
        world = World(rows, request_s, source, list(failures))
        await world.begin()
        for wait_s, restart in steps:
            world.clock.advance(wait_s)
            await world.poll()
            if restart:
                world.follower = world.another()
                await world.follower.take_over()
        world.clock.advance(60)
        await world.poll()
        assert sorted(await revisions(world.log)) == sorted(ids)

    asyncio.run(scenario())


def test_a_window_that_ends_at_the_newest_row_would_miss_the_late_one() -> None:
    """The row of second 5 appears at 15, when rows of second 14 have long been read."""
    rows = [Late(1, 14, 14), Late(2, 5, 15)]

    async def scenario() -> list[int]:
        world = World(rows)
        await world.begin()
        for _ in range(3):
            world.clock.advance(7.4)
            await world.poll()
        return await revisions(world.log)

    assert asyncio.run(scenario()) == [1, 2]


def test_rows_younger_than_a_long_reading_do_not_hide_what_appears_behind_it() -> None:
    """Pages are read at 21.5, 24.5 and 27.5; the row of second 12 appears at 22, when its page has been read."""
    times = [13, 14, 15, 16, 24, 26]
    rows = [Late(rcid, time_s, time_s) for rcid, time_s in enumerate(times, 1)] + [Late(7, 12, 22)]

    async def scenario() -> list[int]:
        world = World(rows, request_s=3.0)
        await world.begin()
        world.clock.advance(20 - world.clock.monotonic_s())
        await world.poll()
        await world.poll()
        return await revisions(world.log)

    assert asyncio.run(scenario()) == [1, 2, 3, 4, 5, 6, 7]


def test_a_restart_after_days_goes_on_where_it_was() -> None:
    rows = [Late(rcid, rcid * 5_000, rcid * 5_000) for rcid in range(1, 60)]

    async def scenario() -> list[int]:
        world = World(rows)
        await world.begin()
        world.clock.advance(6_000)
        await world.poll()
        world.clock.advance(700_000)
        world.follower = world.another()
        await world.follower.take_over()
        assert world.follower.status().may_have_gap is False
        await world.poll()
        return await revisions(world.log)

    assert asyncio.run(scenario()) == list(range(1, 60))


def test_a_wiki_that_has_trimmed_what_was_not_read_is_reported() -> None:
    async def scenario() -> bool:
        world = World([Late(1, 300_000, 300_000)])
        await world.begin()
        world.clock.advance(700_000)
        world.follower = world.another()
        await world.follower.take_over()
        return world.follower.status().may_have_gap

    assert asyncio.run(scenario())


def test_beside_another_source_young_rows_are_left_to_it() -> None:
    async def scenario() -> tuple[list[int], list[int]]:
        world = World([Late(1, 10, 10)], source=Source.BOTH)
        await world.begin()
        world.clock.advance(12)
        await world.poll()
        young = await revisions(world.log)
        world.clock.advance(8)
        await world.poll()
        return young, await revisions(world.log)

    young, old = asyncio.run(scenario())
    assert (young, old) == ([], [1])


@pytest.mark.parametrize(("source", "reconciled"), [(Source.BOTH, 2), (Source.FOLLOWER, 0)])
def test_what_the_other_source_did_not_tell_is_added_and_counted(source: Source, reconciled: int) -> None:
    async def scenario() -> World:
        world = World([Late(rcid, rcid, rcid) for rcid in (1, 2, 3, 4)], source=source)
        world.sink.told = {1, 3}
        await world.begin()
        world.clock.advance(60)
        await world.poll()
        assert await revisions(world.log) == [2, 4]
        return world

    world = asyncio.run(scenario())
    assert (world.follower.status().events, world.follower.status().reconciled) == (2, reconciled)
    assert world.metrics.value(m.FOLLOWER_RECONCILED, wiki="w") == reconciled


def test_a_server_of_the_wiki_whose_clock_runs_ahead_hides_nothing() -> None:
    rows = [Late(rcid, 10 * rcid, 10 * rcid) for rcid in range(1, 10)]

    async def scenario(*, restarted: bool) -> set[int]:
        world = World(rows)
        await world.begin()
        world.wiki.ahead_s = 3600
        world.clock.advance(12)
        await world.poll()
        world.wiki.ahead_s = 0
        if restarted:
            world.follower = world.another()
            await world.follower.take_over()
        for _ in range(9):
            world.clock.advance(9)
            await world.poll()
        return set(await revisions(world.log))  # rows met before are told again, and known to the intake by their ids

    for restarted in (False, True):
        assert asyncio.run(scenario(restarted=restarted)) == set(range(1, 10))


def test_another_owner_ends_it() -> None:
    async def scenario() -> None:
        world = World([Late(1, 5, 5)])
        await world.begin()
        await world.another().take_over()
        world.clock.advance(6)
        try:
            await world.follower.poll()
        except Fenced:
            await asyncio.wait_for(world.follower.run(), 5)  # returns: it does not claim again
            assert world.follower.status().state == "stopped"
            return
        raise AssertionError("the old owner appended")

    asyncio.run(scenario())


def test_a_busy_wiki_is_waited_for_as_long_as_it_asks() -> None:
    async def scenario() -> None:
        world = World([Late(1, 5, 5)])
        await world.begin()
        world.clock.advance(6)
        world.wiki.busy = 1
        running = asyncio.create_task(world.follower.run())
        await world.clock.wait_for_sleepers(1)
        assert world.follower.status().errors_in_a_row == 1
        assert await revisions(world.log) == []
        await world.clock.run_for(6.9)
        assert await revisions(world.log) == []
        await world.clock.run_for(0.2)
        assert await revisions(world.log) == [1]
        assert world.follower.status().last_error is None
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_a_quiet_wiki_writes_nothing() -> None:
    async def scenario() -> int:
        world = World([])
        await world.begin()
        (before,) = await world.log.describe("follower.w")
        for _ in range(5):
            world.clock.advance(5)
            await world.poll()
        (after,) = await world.log.describe("follower.w")
        return after.end - before.end

    assert asyncio.run(scenario()) == 0


def test_errors_of_the_log_stop_nothing() -> None:
    async def scenario() -> None:
        world = World([Late(1, 5, 5)], failures=["before"])
        await world.begin()
        world.clock.advance(6)
        running = asyncio.create_task(world.follower.run())
        for _ in range(10):
            await world.clock.run_for(1)
        assert await revisions(world.log) == [1]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert issubclass(OutcomeUnknown, HeadwaterError)

"""The consumer of `resource-purge` over a log and caches in memory, on a clock that only the test moves."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from headwater.kernel.config import Seconds
from headwater.kernel.errors import InvalidInput, NotFound, Overloaded, Unavailable
from headwater.kernel.metrics import Metrics
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import GroupName, NewRecord, Offset, PartitionId, Policy, StreamSpec
from headwater.purging import metrics as m
from headwater.purging.config import PurgingConfig, TargetConfig
from headwater.purging.engines.memory import MemoryCache
from headwater.purging.model import EVERY_TARGET, GROUP, STREAM
from headwater.purging.ports import PurgeRequest
from headwater.purging.service import PurgingService
from headwater.testing.clock import ManualClock
from headwater.testing.ids import SequentialIds

ELBE, SAALE = "http://rivers.example/Elbe", "http://rivers.example/Saale"
SETTLE_S = 60


@dataclass(slots=True)
class Pages:
    """The pages API: what it serves, or the reason why it does not say."""

    seq: int | None = 0
    failure: Unavailable | None = None

    async def served(self, wiki: str, page_id: int) -> int | None:
        """As the port says."""
        assert (wiki, page_id) == ("rivers", 7)
        if self.failure is not None:
            raise self.failure
        return self.seq


@dataclass(slots=True)
class House:
    """Everything around one service."""

    clock: ManualClock = field(default_factory=ManualClock)
    pages: Pages = field(default_factory=Pages)
    caches: list[MemoryCache] = field(default_factory=lambda: [MemoryCache("cache")])
    settings: dict[str, object] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=lambda: Metrics(m.METRICS))
    log: MemoryLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = MemoryLog(clock=self.clock)

    def service(self) -> PurgingService:
        """A service that has not started, as after a restart of the process."""
        targets = tuple(TargetConfig(name=c.name, url="http://127.0.0.1:1", layer=c.layer, concurrency_max=2) for c in self.caches)
        config = PurgingConfig(targets=targets, origin_timeout_max=Seconds(SETTLE_S), **self.settings)  # type: ignore[arg-type]
        return PurgingService(self.log, self.caches, self.pages, config=config, clock=self.clock, ids=SequentialIds(), metrics=self.metrics)

    async def append(self, *values: bytes) -> None:
        """Put records on the stream."""
        await self.log.append([NewRecord(STREAM, value, self.clock.now_ms()) for value in values])

    async def progress(self) -> int:
        """Where the group stands."""
        return (await self.log.progress(GroupName(GROUP))).get(PartitionId(STREAM), Offset(-1))


def event(url: str, *, seq: int | None = None, domain: str = "rivers.example") -> bytes:
    own = {} if seq is None else {"headwater": {"wiki": "rivers", "page_id": 7, "product": "html", "seq": seq}}
    return json.dumps({"$schema": "/resource_change/1.0.0", "meta": {"uri": url, "domain": domain}, **own}).encode()


def during(house: House, act: Callable[[PurgingService], Awaitable[None]]) -> None:
    """Run the service while `act` acts, then stop it."""

    async def scene() -> None:
        await house.log.declare([StreamSpec(STREAM, Policy.TIME)])
        service = house.service()
        await service.start()
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        try:
            await house.clock.settle()
            await act(service)
        finally:
            stop.set()
            await running

    asyncio.run(scene())


def urls(purges: Sequence[PurgeRequest]) -> list[str]:
    return [purge.url for purge in purges]


def test_without_the_stream_it_does_not_start() -> None:
    async def scene() -> None:
        with pytest.raises(NotFound):
            await House().service().start()

    asyncio.run(scene())


def test_purges_of_the_wiki_reach_every_target_and_are_finished() -> None:
    house = House(caches=[MemoryCache("edge", 1), MemoryCache("inner", 0)])

    async def act(service: PurgingService) -> None:
        await house.append(event(ELBE), event(SAALE), event("http://canary.example/", domain="canary"))
        await house.clock.run_for(1)
        assert all(sorted(urls(cache.purges)) == [ELBE, SAALE] for cache in house.caches)
        assert await service.at_rest()
        status = await service.status()
        assert (status.unfinished, status.purged, status.caught_up) == (0, 2, True)

    during(house, act)
    again = len(house.caches[0].purges)

    async def nothing(service: PurgingService) -> None:
        await house.clock.run_for(5)

    during(house, nothing)
    assert len(house.caches[0].purges) == again


def test_own_purges_are_finished_only_after_the_second_one() -> None:
    house = House()

    async def act(service: PurgingService) -> None:
        before = await house.progress()
        await house.append(event(ELBE, seq=5))
        await house.clock.run_for(10)
        assert house.caches[0].purges == [PurgeRequest(ELBE, 5)]  # the pages API serves seq 0 still
        house.pages.seq = 5
        await house.clock.run_for(SETTLE_S - 1)
        assert len(house.caches[0].purges) == 1
        assert await house.progress() == before
        assert not await service.at_rest()
        await house.clock.run_for(2)
        assert house.caches[0].purges == [PurgeRequest(ELBE, 5)] * 2
        assert await service.at_rest()
        await house.clock.run_for(2)
        assert await house.progress() > before

    during(house, act)


def test_a_stop_before_the_second_purge_repeats_both() -> None:
    house = House(pages=Pages(seq=5))

    async def first_life(service: PurgingService) -> None:
        await house.append(event(ELBE, seq=5))
        await house.clock.run_for(SETTLE_S / 2)

    during(house, first_life)
    assert len(house.caches[0].purges) == 1

    async def second_life(service: PurgingService) -> None:
        await house.clock.run_for(SETTLE_S + 2)
        assert await service.at_rest()

    during(house, second_life)
    assert len(house.caches[0].purges) == 3


def test_a_target_without_answer_is_tried_again_until_it_answers() -> None:
    house = House()
    house.caches[0].failure = Unavailable("no answer")

    async def act(service: PurgingService) -> None:
        await house.append(event(ELBE))
        await house.clock.run_for(20)
        assert house.caches[0].calls > 3
        status = await service.status()
        assert status.targets[0].state == "down"
        assert status.targets[0].oldest_age_s is not None and status.targets[0].oldest_age_s > 15
        house.caches[0].failure = None
        await house.clock.run_for(60)
        assert urls(house.caches[0].purges) == [ELBE]
        assert len(service.letters) == 0

    during(house, act)
    assert house.metrics.value(m.RETRIED, target="cache") > 3


def test_a_refusal_is_a_dead_letter_at_once_and_the_record_is_finished() -> None:
    house = House()
    house.caches[0].failure = InvalidInput("answered 403")

    async def act(service: PurgingService) -> None:
        before = await house.progress()
        await house.append(event(ELBE, seq=5))
        await house.clock.run_for(1)
        assert await service.at_rest()
        assert await house.progress() > before
        (letter,), following = await service.letters.read(10)
        assert (letter.target, letter.url, letter.seq, letter.reason, letter.attempts) == ("cache", ELBE, 5, "answered 403", 1)
        assert following is None

    during(house, act)
    assert house.metrics.value(m.PARKED, target="cache") == 1


def test_a_dead_letter_survives_a_restart_and_is_resolved_by_trying_it_again() -> None:
    house = House(pages=Pages(seq=5))
    house.caches[0].failure = InvalidInput("answered 403")

    async def act(service: PurgingService) -> None:
        await house.append(event(ELBE, seq=5))
        await house.clock.run_for(1)

    during(house, act)

    async def after_restart(service: PurgingService) -> None:
        assert len(service.letters) == 1
        (letter,), _ = await service.letters.read(10)
        house.caches[0].failure = None
        await service.retry(letter.id)
        await house.clock.run_for(SETTLE_S + 3)
        assert len(service.letters) == 0
        assert (await service.letters.read(10))[0] == []
        with pytest.raises(NotFound):
            await service.retry(letter.id)

    during(house, after_restart)


def test_a_later_purge_of_the_url_resolves_the_dead_letter() -> None:
    house = House()
    house.caches[0].failure = InvalidInput("answered 403")

    async def act(service: PurgingService) -> None:
        await house.append(event(ELBE))
        await house.clock.run_for(1)
        assert len(service.letters) == 1
        house.caches[0].failure = None
        await house.append(event(SAALE))
        await house.clock.run_for(2)
        assert len(service.letters) == 1
        await house.append(event(ELBE))
        await house.clock.run_for(2)
        assert len(service.letters) == 0

    during(house, act)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_target_that_was_down_for_an_hour_gets_what_it_missed(restarted: bool) -> None:
    house = House()
    cache = house.caches[0]

    async def an_hour(service: PurgingService) -> None:
        cache.failure = Unavailable("no answer")
        await house.append(*(event(f"{ELBE}/{number}") for number in range(10)))
        await house.clock.run_for(3600)
        assert len(service.letters) == 10 and cache.purges == []

    async def back(service: PurgingService) -> None:
        cache.failure = None
        await house.append(event(SAALE))
        await house.clock.run_for(60)
        assert sorted(urls(cache.purges)) == [*(f"{ELBE}/{number}" for number in range(10)), SAALE]
        assert len(service.letters) == 0 and (await service.letters.read(100))[0] == []

    async def both(service: PurgingService) -> None:
        await an_hour(service)
        await back(service)

    for life in (an_hour, back) if restarted else (both,):
        during(house, life)
    assert house.metrics.value(m.REVIVED, target="cache") == 10


def test_a_discarded_dead_letter_is_gone() -> None:
    house = House()
    house.caches[0].failure = InvalidInput("answered 403")

    async def act(service: PurgingService) -> None:
        await house.append(event(ELBE))
        await house.clock.run_for(1)
        (letter,), _ = await service.letters.read(10)
        await service.discard(letter.id)
        assert (await service.letters.read(10))[0] == []
        with pytest.raises(NotFound):
            await service.discard(letter.id)

    during(house, act)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b'{"meta": {}}',
        b"\xff",
        event("ftp://rivers.example/x"),
        event("http://a@rivers.example/"),
        event("http://rivers.example/\r\nX: y"),
    ],
)
def test_what_cannot_be_purged_is_parked_and_does_not_hold_up_the_rest(value: bytes) -> None:
    house = House()

    async def act(service: PurgingService) -> None:
        await house.append(value, event(ELBE))
        await house.clock.run_for(1)
        assert urls(house.caches[0].purges) == [ELBE]
        assert await service.at_rest()
        (letter,), _ = await service.letters.read(10)
        assert letter.target == EVERY_TARGET
        with pytest.raises(InvalidInput):
            await service.retry(letter.id)

    during(house, act)


def test_a_dead_target_delays_no_other_and_holds_up_only_a_window() -> None:
    dead, quick = MemoryCache("dead"), MemoryCache("quick")
    dead.failure = Unavailable("no answer")
    house = House(caches=[dead, quick], settings={"unfinished_max": 50, "park_after": Seconds(100)})

    async def act(service: PurgingService) -> None:
        await house.append(*[event(f"http://rivers.example/{number}") for number in range(120)])
        await house.clock.run_for(10)
        assert len(quick.purges) == 50
        assert (await service.status()).unfinished == 50
        for letter_free in (False, False, True):
            await house.clock.run_for(110)
            assert (await service.at_rest()) is letter_free
        assert len(quick.purges) == 120
        assert len(service.letters) == 120

    during(house, act)


def test_requests_to_a_target_are_bounded_while_it_hangs() -> None:
    house = House()
    house.caches[0].gate.clear()

    async def act(service: PurgingService) -> None:
        await house.append(*[event(f"http://rivers.example/{number}") for number in range(30)])
        await house.clock.run_for(5)
        assert house.caches[0].in_flight_most == 2
        house.caches[0].gate.set()
        await house.clock.run_for(5)
        assert len(house.caches[0].purges) == 30
        assert house.caches[0].in_flight_most == 2

    during(house, act)


def test_retrying_is_refused_while_too_much_is_under_way() -> None:
    house = House(settings={"unfinished_max": 1})
    house.caches[0].failure = InvalidInput("answered 403")

    async def act(service: PurgingService) -> None:
        await house.append(event(ELBE))
        await house.clock.run_for(1)
        (letter,), _ = await service.letters.read(10)
        house.caches[0].gate.clear()
        await house.append(event(SAALE))
        await house.clock.run_for(1)
        with pytest.raises(Overloaded):
            await service.retry(letter.id)
        house.caches[0].gate.set()

    during(house, act)


def test_a_dead_letter_that_cannot_be_stored_keeps_the_record_unfinished() -> None:
    house = House()
    house.caches[0].failure = InvalidInput("answered 403")

    async def act(service: PurgingService) -> None:
        before = await house.progress()
        await house.append(event(ELBE))
        house.log.fail_next(Unavailable("the disk sleeps"))
        await house.clock.run_for(0.1)
        assert await house.progress() == before
        assert not await service.at_rest()
        await house.clock.run_for(10)
        assert len(service.letters) == 1
        assert await service.at_rest()

    during(house, act)

"""Ticks: pages that show the time are rendered again when an hour or a day has ended, once, through crashes and clocks that are set."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from headwater.kernel.errors import OutcomeUnknown
from headwater.log.model import BEFORE_FIRST
from headwater.propagation.codec import decode_change
from headwater.propagation.metrics import RECOVERIES, TICKS
from headwater.propagation.model import Change, Urgency
from headwater.propagation.owner import OwnerState
from headwater.propagation.streams import changes_of_wiki
from headwater.propagation.ticks import began_ms, ends_ms
from headwater.testing.propagation_world import WIKI, World, world

HOUR_S = 3600
HALF_HOUR_S = 1800
DAY_MS = 86_400_000
Case = Callable[[World], Awaitable[None]]


def run(case: Case) -> None:
    async def in_world() -> None:
        async with world() as made:
            await case(made)

    asyncio.run(in_world())


async def ticks(made: World) -> list[Change]:
    batch = await made.log.read(changes_of_wiki(WIKI), BEFORE_FIRST, limit=1000)
    return [change for record in batch.records if (change := decode_change(record.value or b"")).cause == "time"]


async def passing(made: World, seconds: float) -> None:
    """Let time pass, half an hour at once, so that what looks every second does not look at each."""
    while seconds > 0:
        made.clock.advance(min(seconds, HALF_HOUR_S))
        seconds -= HALF_HOUR_S
        await made.turns(100)
        await made.until()


async def pages(made: World) -> None:
    """A page that shows the hour, one that shows the day, one that shows neither; the hour has just begun and is settled."""
    await made.wiki.edit("Clock", "{{HOUR}}")
    await made.wiki.edit("Calendar", "{{DAY}}")
    await made.wiki.edit("River", "river")
    await made.until()
    await passing(made, 60)
    made.wiki.rendered.clear()


def test_what_shows_the_hour_is_rendered_once_when_it_ends_and_nothing_else_is() -> None:
    async def case(made: World) -> None:
        await pages(made)
        before = len(await ticks(made))
        await passing(made, 3 * HOUR_S)
        assert dict(made.wiki.rendered) == {"Clock": 3}
        told = (await ticks(made))[before:]
        assert [change.resource for change in told] == ["t:hour"] * 3
        assert {change.urgency for change in told} == {Urgency.REST}
        assert [change.time_ms % 3_600_000 for change in told] == [0, 0, 0]
        assert len({change.event_id for change in told}) == 3
        await made.check_all()
        assert "http://cache.example/Clock" in await made.purged()

    run(case)


def test_what_shows_the_day_is_rendered_when_it_ends() -> None:
    async def case(made: World) -> None:
        await pages(made)
        await passing(made, 15 * HOUR_S)  # 08:01 to 23:01
        assert made.wiki.rendered["Calendar"] == 0
        await passing(made, HOUR_S)
        assert made.wiki.rendered["Calendar"] == 1
        assert made.count(TICKS, span="day") == 1
        await made.check_all()

    run(case)


def test_the_local_day_and_the_day_of_utc_end_for_a_wiki_with_an_offset() -> None:
    async def case(made: World) -> None:
        made.wiki.time_offset_min = -300
        await made.restart()
        await pages(made)
        await passing(made, 16 * HOUR_S)
        assert made.count(TICKS, span="day") == 1  # midnight of UTC: `{{CURRENTDAY}}` is that of UTC in every wiki
        await passing(made, 5 * HOUR_S)
        assert made.count(TICKS, span="day") == 2
        await made.check_all()

    run(case)


def test_nothing_is_written_for_a_wiki_without_such_pages() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("River", "river")
        await made.until()
        await passing(made, 26 * HOUR_S)
        assert await ticks(made) == []

    run(case)


def test_spans_that_ended_while_nobody_owned_the_shard_give_one_tick() -> None:
    async def case(made: World) -> None:
        await pages(made)
        before = len(await ticks(made))
        await made.crash()
        made.clock.advance(5 * HOUR_S)
        await made.start()
        await made.until()
        await passing(made, 1)
        assert len(await ticks(made)) == before + 1
        assert dict(made.wiki.rendered) == {"Clock": 1}
        await made.check_all()

    run(case)


def test_a_restart_within_a_span_gives_no_tick() -> None:
    async def case(made: World) -> None:
        await pages(made)
        before = await ticks(made)
        for _ in range(3):
            await made.restart()
            await made.until()
            await passing(made, 300)
        assert await ticks(made) == before
        assert not made.wiki.rendered

    run(case)


@pytest.mark.parametrize("applied", [True, False])
def test_a_tick_whose_append_has_an_unknown_outcome_is_written_once(applied: bool) -> None:
    async def case(made: World) -> None:
        await pages(made)
        before, recoveries = len(await ticks(made)), made.count(RECOVERIES)
        if applied:
            made.log.lose_next_answer()
        else:
            made.log.fail_next(OutcomeUnknown("no answer"))
        await made.clock.run_for(1)
        made.clock.advance(HOUR_S)
        await made.turns()
        assert made.owner.state is OwnerState.RECOVERING
        await made.clock.run_for(1)
        await made.until()
        assert made.count(RECOVERIES) == recoveries + 1
        assert len(await ticks(made)) == before + 1
        assert set(made.wiki.rendered) == {"Clock"}  # perhaps twice: the epoch may end while it is being rendered
        await made.check_all()

    run(case)


def test_a_render_from_before_the_end_is_made_again_though_nobody_read_the_time_then() -> None:
    async def case(made: World) -> None:
        await passing(made, HOUR_S - 60)
        made.wiki.hold = asyncio.Event()
        made.wiki.started.clear()
        await made.wiki.edit("Clock", "{{HOUR}}")
        await made.until(made.wiki.started)  # it has looked at the clock
        made.clock.advance(120)
        await made.turns()
        made.wiki.hold.set()
        made.wiki.hold = None
        await made.until()
        assert made.wiki.rendered["Clock"] == 2
        await made.check_all()

    run(case)


def test_a_render_after_the_tick_is_not_stale_by_it() -> None:
    async def case(made: World) -> None:
        await pages(made)
        await passing(made, HOUR_S)
        await made.wiki.edit("Watch", "{{HOUR}}")
        await made.until()
        await passing(made, 300)
        assert made.wiki.rendered["Watch"] == 1

    run(case)


def test_a_tick_waits_until_the_wikis_clock_has_surely_passed() -> None:
    async def case(made: World) -> None:
        await pages(made)
        before = len(await ticks(made))
        await passing(made, HOUR_S - 60 + 4)
        assert len(await ticks(made)) == before
        await passing(made, 2)
        assert len(await ticks(made)) == before + 1

    run(case)


def test_a_clock_that_is_set_back_gives_no_second_tick_and_a_wrong_one_does_not_end_them() -> None:
    async def case(made: World) -> None:
        await pages(made)
        before = len(await ticks(made))
        await passing(made, HOUR_S)
        made.clock.jump_wall(-120)
        await passing(made, 61)  # it looks while it is the hour before once more
        await passing(made, 300)
        assert len(await ticks(made)) == before + 1
        made.clock.jump_wall(1000 * HOUR_S)  # the clock is far wrong …
        await passing(made, 120)
        made.clock.jump_wall(-1000 * HOUR_S)  # … and is put right
        await passing(made, 120)
        wrong = len([change for change in await ticks(made) if change.resource == "t:hour"])
        await passing(made, HOUR_S)
        assert len([change for change in await ticks(made) if change.resource == "t:hour"]) == wrong + 1
        await made.check_all()

    run(case)


@pytest.mark.parametrize(
    ("now_min", "offset_min", "began_min", "ends_min"),
    [
        (90, 0, 60, 120),
        (60, 0, 60, 120),
        (85, 330, 60, 90),  # half past is the local hour
        (95, 330, 90, 120),
        (80, 345, 75, 120),
        (130, -210, 120, 150),
        (155, -210, 150, 180),
    ],
)
def test_an_hour_is_one_of_utc_or_of_local_time(now_min: int, offset_min: int, began_min: int, ends_min: int) -> None:
    now_ms = DAY_MS + now_min * 60_000
    assert began_ms(now_ms, 3_600_000, offset_min) == DAY_MS + began_min * 60_000
    assert ends_ms(now_ms, 3_600_000, offset_min) == DAY_MS + ends_min * 60_000

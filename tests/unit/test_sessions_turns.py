"""Many saves of one session at once: all come through, one after another, and none begins anew for another's sake."""

import asyncio
from collections.abc import Sequence

import pytest

from headwater.kernel.errors import Overloaded
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.model import Row, RowId, Version
from headwater.sessions.service_metrics import CONFLICTS
from headwater.sessions.turns import Turns
from headwater.testing.sessions_world import SPACE, SessionsWorld

PLACE = (SPACE, b"key")


class SlowStore(MemorySessionStore):
    """A store in which other tasks run before a write lands."""

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().put(row, expected=expected, clears=clears)


def test_sixty_four_saves_of_one_session_at_once_all_come_through() -> None:
    async def work(world: SessionsWorld) -> None:
        values = [b"%d" % number for number in range(64)]
        saved = await asyncio.gather(*(world.sessions.save(SPACE, b"key", value) for value in values))
        assert [one.created for one in saved] == [True] + [False] * 63
        assert await world.value(b"key") == values[-1], "in the order of coming, the last one stays"
        assert world.metrics.value(CONFLICTS) == 0
        assert len(world.sessions._turns) == 0

    asyncio.run(SessionsWorld(store=SlowStore()).run(work))


def test_saves_and_deletes_at_once_end_without_an_error() -> None:
    async def work(world: SessionsWorld) -> None:
        saves = [world.sessions.save(SPACE, b"key", b"%d" % number) for number in range(32)]
        deletes = [world.sessions.delete(SPACE, b"key") for _ in range(8)]
        await asyncio.gather(*saves, *deletes)
        await world.sessions.delete(SPACE, b"key")
        assert await world.value(b"key") is None

    asyncio.run(SessionsWorld(store=SlowStore()).run(work))


def test_a_save_that_fails_or_is_given_up_lets_the_next_one_have_its_turn() -> None:
    async def work(world: SessionsWorld) -> None:
        store = world.store
        assert isinstance(store, SlowStore)
        first = asyncio.create_task(world.sessions.save(SPACE, b"key", b"1"))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(world.sessions.save(SPACE, b"key", value)) for value in (b"2", b"3", b"4")]
        await asyncio.sleep(0)
        waiting[1].cancel()
        first.cancel()
        await asyncio.gather(*waiting, first, return_exceptions=True)
        assert [task.cancelled() for task in waiting] == [False, True, False]
        assert await world.value(b"key") == b"4"
        assert len(world.sessions._turns) == 0

    asyncio.run(SessionsWorld(store=SlowStore()).run(work))


def test_who_is_given_up_when_his_turn_has_come_leaves_it_to_the_next() -> None:
    async def work() -> None:
        turns = Turns()
        assert turns.take_free(PLACE) and not turns.take_free(PLACE)
        one, other = asyncio.create_task(turns.wait(PLACE)), asyncio.create_task(turns.wait(PLACE))
        await asyncio.sleep(0)
        turns.leave(PLACE)
        one.cancel()
        await other
        turns.leave(PLACE)
        assert len(turns) == 0

    asyncio.run(work())


def test_only_so_many_wait() -> None:
    async def work() -> None:
        turns = Turns(waiting_max=1)
        assert turns.take_free(PLACE)
        waiting = asyncio.create_task(turns.wait(PLACE))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await turns.wait(PLACE)
        turns.leave(PLACE)
        await waiting
        turns.leave(PLACE)
        assert len(turns) == 0

    asyncio.run(work())

"""Revocations are known to every process of a store within a second, without any clock being compared."""

import asyncio

from headwater.kernel.errors import Unavailable
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.model import Generation, Policy
from headwater.testing.clock import ManualClock
from headwater.testing.sessions_world import SPACE, SessionsWorld

KEY = b"key"


class SharedStore(MemorySessionStore):
    """A store that several processes use; counts how often a generation was asked for."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def get_generation(self, scope: bytes):  # type: ignore[no-untyped-def]
        self.asked += 1
        return await super().get_generation(scope)


async def _two() -> tuple[SessionsWorld, SessionsWorld, SharedStore, ManualClock]:
    store, clock = SharedStore(), ManualClock()
    one, other = SessionsWorld(Policy(SPACE), store=store, clock=clock), SessionsWorld(Policy(SPACE), store=store, clock=clock)
    await one.sessions.start()
    await other.sessions.start()
    return one, other, store, clock


def test_a_revocation_answers_when_the_bound_has_passed_and_others_know_it_by_then() -> None:
    async def work() -> None:
        one, other, _, clock = await _two()
        await one.sessions.save(SPACE, KEY, b"v", subject="me")
        assert await other.value(KEY) == b"v"
        revoking = asyncio.create_task(one.sessions.revoke_subject(SPACE, "me"))
        await clock.settle()
        assert await one.value(KEY) is None
        await clock.run_for(0.999)
        assert not revoking.done()
        await clock.run_for(0.001)
        assert revoking.done()
        assert await other.value(KEY) is None
        await one.sessions.stop()
        await other.sessions.stop()

    asyncio.run(work())


def test_a_process_that_could_not_refresh_asks_the_store() -> None:
    async def work() -> None:
        one, other, store, clock = await _two()
        await one.sessions.save(SPACE, KEY, b"v", subject="me")
        await other.sessions.stop()  # its refreshing has come to a halt
        revoking = asyncio.create_task(one.sessions.revoke_subject(SPACE, "me"))
        await clock.settle()
        before = store.asked
        await other.value(KEY)
        assert store.asked == before, "a young map is believed"
        await clock.run_for(1.001)
        assert await other.value(KEY) is None
        assert store.asked > before
        await revoking
        await one.sessions.stop()

    asyncio.run(work())


def test_one_process_alone_answers_at_once() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v", subject="me")
        await world.sessions.revoke_subject(SPACE, "me")
        assert await world.value(KEY) is None

    asyncio.run(SessionsWorld().run(work))


def test_a_delete_is_not_undone_by_a_process_whose_clock_is_behind() -> None:
    """Nor is a session lost that such a process makes after the delete."""

    async def work() -> None:
        store = SharedStore()
        ahead, behind = SessionsWorld(store=store, clock=ManualClock(60_000_000)), SessionsWorld(store=store, clock=ManualClock(59_950_000))
        await ahead.sessions.start()
        await behind.sessions.start()
        await ahead.sessions.save(SPACE, KEY, b"v")
        await ahead.sessions.delete(SPACE, KEY)
        assert await behind.value(KEY) is None
        await behind.sessions.save(SPACE, KEY, b"anew")
        assert await ahead.value(KEY) == b"anew"
        await ahead.sessions.save(SPACE, KEY, b"and again")
        assert await behind.value(KEY) == b"and again"
        await ahead.sessions.stop()
        await behind.sessions.stop()

    asyncio.run(work())


def test_a_store_that_cannot_be_read_makes_sessions_unready_and_comes_back() -> None:
    async def work(world: SessionsWorld) -> None:
        assert await world.sessions.ready() is None
        original = world.memory.generations_since

        async def fail(sequence: int, *, limit: int) -> list[Generation]:
            raise Unavailable("the disk fails")

        world.memory.generations_since = fail  # type: ignore[method-assign]
        await world.clock.run_for(0.5)
        assert await world.sessions.ready() is not None
        world.memory.generations_since = original  # type: ignore[method-assign]
        await world.clock.run_for(0.5)
        assert await world.sessions.ready() is None

    asyncio.run(SessionsWorld().run(work))

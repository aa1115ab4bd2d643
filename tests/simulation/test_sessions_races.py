"""Many things at once to the same session: whatever the order, what was ended stays ended.

Each round starts a save, or several, beside a revocation, a delete or a rotation, from a chosen state and with the tasks interleaved by
lot at every call of the store. A service without the guard that a round tests fails it.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence, Set
from random import Random

import pytest

from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.errors import ConditionFailed, Revoked
from headwater.sessions.finding import Finder
from headwater.sessions.model import EXISTS, Generation, Policy, Row, RowId, Version
from headwater.testing.sessions_world import SPACE, SessionsWorld

ROUNDS = 10_000
KEY, OLD, NEW = b"wiki:MWSession:x", b"before", b"saved beside it"


class InterleavedStore(MemorySessionStore):
    """Memory whose every operation lets other tasks run for a while, before and after it happens."""

    def __init__(self, lot: Random) -> None:
        super().__init__()
        self._lot = lot

    async def _wander(self) -> None:
        for _ in range(self._lot.randrange(4)):
            await asyncio.sleep(0)

    async def near(self, id: RowId) -> Row | None:
        await self._wander()
        found = await super().near(id)
        await self._wander()
        return found

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        await self._wander()
        done = await super().put(row, expected=expected, clears=clears)
        await self._wander()
        return done

    async def extend(self, id: RowId, deadline: bytes, *, version: Version, replaces: bytes | None = None) -> bool:
        await self._wander()
        return await super().extend(id, deadline, version=version, replaces=replaces)

    async def delete(self, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
        await self._wander()
        removed = await super().delete(rows)
        await self._wander()
        return removed

    async def put_generations(self, generations: Sequence[Generation]) -> None:
        await self._wander()
        await super().put_generations(generations)
        await self._wander()


def world_of(seed: int, *, key_ids: tuple[int, ...] = (1,)) -> tuple[SessionsWorld, Random]:
    """Sessions over a store that interleaves by this seed."""
    lot = Random(seed)
    return SessionsWorld(Policy(SPACE), store=InterleavedStore(lot), key_ids=key_ids), lot


async def refused_or_done(work: Coroutine[object, object, object]) -> None:
    """Wait for `work`; being refused as revoked, or as not there, is as good as done."""
    with contextlib.suppress(Revoked, ConditionFailed):
        await work


async def save_beside_revoke(seed: int) -> bytes | None:
    """What is there after a save and a revocation side by side."""
    world, lot = world_of(seed, key_ids=(1,) if seed % 2 else (2, 1))
    sessions = world.sessions
    if seed % 2 == 0:
        world.use_keys(1, 2)
    await sessions.save(SPACE, KEY, OLD, subject="me")
    if seed % 2 == 0:
        world.use_keys(2, 1)
    saves = [
        refused_or_done(sessions.save(SPACE, KEY, NEW, subject=lot.choice((None, "me")), may_read=True)) for _ in range(lot.randrange(1, 4))
    ]
    revoking = sessions.revoke_subject(SPACE, "me") if seed % 3 else sessions.revoke_namespace(SPACE)
    tasks: list[Coroutine[object, object, None]] = [*saves, revoking]
    lot.shuffle(tasks)
    await asyncio.gather(*tasks)
    await refused_or_done(sessions.save(SPACE, KEY, b"later", subject="me"))
    return await world.value(KEY)


async def save_beside_delete(seed: int) -> bytes | None:
    """What is there after updates and a delete side by side."""
    world, lot = world_of(seed, key_ids=(1,) if seed % 2 else (2, 1))
    sessions = world.sessions
    await sessions.save(SPACE, KEY, OLD)
    deleting = asyncio.create_task(sessions.delete(SPACE, KEY))
    updates = [sessions.save(SPACE, KEY, NEW, condition=EXISTS, may_read=True) for _ in range(lot.randrange(1, 4))]
    started = [asyncio.create_task(refused_or_done(update)) for update in updates]
    reads = [asyncio.create_task(sessions.read(SPACE, KEY)) for _ in range(2)]
    await asyncio.gather(deleting, *started, *reads)
    return await world.value(KEY)


async def rotate_beside(seed: int) -> tuple[list[bytes], bytes | None]:
    """Rotations, a save and a touch side by side: the keys under which a live session stands on its own, and what one of them serves."""
    world, lot = world_of(seed)
    sessions = world.sessions
    await sessions.save(SPACE, KEY, OLD)
    tasks = [
        sessions.rotate(SPACE, KEY, grace_s=0.0),
        refused_or_done(sessions.save(SPACE, KEY, NEW, condition=EXISTS)),
        sessions.touch(SPACE, KEY),
    ]
    tasks += [sessions.rotate(SPACE, KEY, grace_s=0.0)] if seed % 2 else []
    lot.shuffle(tasks)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    keys = [KEY, *(result[0] for result in results if isinstance(result, tuple))]
    served = [key for key in keys if await world.value(key) is not None]
    return served, await world.value(served[-1]) if served else None


async def count(rounds: range) -> int:
    """In how many rounds a revoked session was alive."""
    return sum([await save_beside_revoke(seed) is not None for seed in rounds])


def test_a_save_beside_a_revocation_never_leaves_the_session_alive() -> None:
    assert asyncio.run(count(range(ROUNDS))) == 0


def test_updates_beside_a_delete_never_leave_the_session_alive() -> None:
    async def alive() -> list[int]:
        return [seed for seed in range(2_000) if await save_beside_delete(seed) is not None]

    assert asyncio.run(alive()) == []


def test_a_rotation_beside_others_leaves_one_key_to_the_session() -> None:
    async def wrong() -> list[int]:
        found = [(seed, *await rotate_beside(seed)) for seed in range(2_000)]
        return [seed for seed, served, _ in found if len(served) != 1 or served == [KEY]]

    assert asyncio.run(wrong()) == []


def test_a_service_that_writes_the_generation_of_now_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Finder, "is_current", lambda *_: True)
    assert asyncio.run(count(range(50))) > 0

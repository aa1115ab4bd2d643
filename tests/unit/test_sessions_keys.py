"""Service keys: their files, and sessions that outlive a change of keys."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from headwater.kernel.errors import Unavailable
from headwater.kernel.ids import SystemIds
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.errors import KeysUnusable, Revoked
from headwater.sessions.keys import activate_key, active_id, add_key, init_keys, key_ids, load_ring, retire_key
from headwater.sessions.model import Generation, KeyId, Policy, Row, RowId, Version
from headwater.testing.sessions_world import SPACE, SessionsWorld

KEY = b"wiki:MWSession:0123456789abcdef"
IDS = SystemIds()


def test_a_ring_is_made_added_to_activated_and_retired(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert key_ids(keys) == []
    assert init_keys(keys, IDS) == 1
    assert keys.stat().st_mode & 0o777 == 0o700
    assert (keys / "1.key").stat().st_mode & 0o777 == 0o400
    assert add_key(keys, IDS) == 2
    assert [key.id for key in load_ring(keys).keys] == [1, 2]
    activate_key(keys, KeyId(2))
    assert [key.id for key in load_ring(keys).keys] == [2, 1]
    with pytest.raises(KeysUnusable, match="active"):
        retire_key(keys, KeyId(2), rows=0)
    with pytest.raises(KeysUnusable, match="3 rows"):
        retire_key(keys, KeyId(1), rows=3)
    retire_key(keys, KeyId(1), rows=0)
    assert key_ids(keys) == [2] and active_id(keys) == 2
    assert add_key(keys, IDS) == 3


def test_the_configuration_may_name_keys_itself(tmp_path: Path) -> None:
    init_keys(tmp_path, IDS)
    for _ in range(2):
        add_key(tmp_path, IDS)
    assert [key.id for key in load_ring(tmp_path, ids=[KeyId(1), KeyId(3)], active=KeyId(3)).keys] == [3, 1]
    with pytest.raises(KeysUnusable, match="4"):
        load_ring(tmp_path, ids=[KeyId(1)], active=KeyId(4))


def test_keys_that_others_may_read_or_of_another_size_are_refused(tmp_path: Path) -> None:
    init_keys(tmp_path, IDS)
    path = tmp_path / "1.key"
    for mode in (0o600, 0o440, 0o404, 0o444):
        path.chmod(mode)
        with pytest.raises(KeysUnusable, match="0400"):
            load_ring(tmp_path)
    path.chmod(0o600)
    path.write_bytes(bytes(31))
    path.chmod(0o400)
    with pytest.raises(KeysUnusable, match="32 bytes"):
        load_ring(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "active")
    with pytest.raises(KeysUnusable, match="cannot be read"):
        load_ring(tmp_path)


def test_keys_of_another_user_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init_keys(tmp_path / "keys", IDS)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeysUnusable, match="belongs to the user of this process"):
        load_ring(tmp_path / "keys")


def test_a_pipe_in_the_place_of_a_key_holds_nobody_up(tmp_path: Path) -> None:
    init_keys(tmp_path, IDS)
    os.mkfifo(tmp_path / "2.key", 0o400)
    with pytest.raises(KeysUnusable, match="a file of mode 0400"):
        load_ring(tmp_path)


def test_one_key_under_two_ids_is_refused(tmp_path: Path) -> None:
    init_keys(tmp_path, IDS)
    (tmp_path / "2.key").write_bytes((tmp_path / "1.key").read_bytes())
    (tmp_path / "2.key").chmod(0o400)
    with pytest.raises(KeysUnusable, match="the same"):
        load_ring(tmp_path)


def test_keys_are_never_overwritten_and_a_missing_ring_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeysUnusable, match="keys init"):
        load_ring(tmp_path / "none")
    with pytest.raises(KeysUnusable, match="keys init"):
        add_key(tmp_path / "none", IDS)
    init_keys(tmp_path, IDS)
    before = (tmp_path / "1.key").read_bytes()
    with pytest.raises(KeysUnusable, match="already"):
        init_keys(tmp_path, IDS)
    assert (tmp_path / "1.key").read_bytes() == before
    for _ in range(7):
        add_key(tmp_path, IDS)
    with pytest.raises(KeysUnusable, match="retire"):
        add_key(tmp_path, IDS)


def run(work: Callable[[SessionsWorld], Awaitable[None]], *policies: Policy, key_ids: tuple[int, ...] = (1,)) -> None:
    asyncio.run(SessionsWorld(*policies, key_ids=key_ids).run(work))


async def _in_use(world: SessionsWorld) -> dict[int, int]:
    return {int(key_id): rows for key_id, rows in (await world.sessions.keys_in_use()).items()}


def test_sessions_are_served_through_a_whole_change_of_keys() -> None:
    async def work(world: SessionsWorld) -> None:
        for number in range(5):
            await world.sessions.save(SPACE, b"%d" % number, b"v%d" % number, subject="me")
        for ids in ((1, 2), (2, 1)):
            world.use_keys(*ids)
            assert [(await world.sessions.read(SPACE, b"%d" % n)) is not None for n in range(5)] == [True] * 5
        await world.clock.settle()
        assert await _in_use(world) == {2: 5}, "reading moved them"
        world.use_keys(2)
        assert [await world.value(b"%d" % n) for n in range(5)] == [b"v%d" % n for n in range(5)]

    run(work)


def test_a_write_moves_a_session_to_the_active_key_and_leaves_nothing_under_the_others() -> None:
    async def work(world: SessionsWorld) -> None:
        first = await world.sessions.save(SPACE, KEY, b"v", subject="me")
        world.use_keys(2, 1)
        world.clock.advance(1)
        second = await world.sessions.save(SPACE, KEY, b"w")
        assert second.header.created_ms == first.header.created_ms and second.header.subject == "me"
        assert await _in_use(world) == {2: 1}

    run(work)


def test_a_session_that_moves_while_it_is_looked_for_is_found() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        world.use_keys(2, 1)
        near = world.memory.near

        async def move_after_it(id: RowId) -> Row | None:
            world.memory.near = near  # type: ignore[method-assign]
            found = await near(id)
            await world.sessions.save(SPACE, KEY, b"moved")
            return found

        world.memory.near = move_after_it  # type: ignore[method-assign]
        assert await world.value(KEY) == b"moved"

    run(work)


def test_a_deleted_session_is_not_brought_back_by_one_who_is_moving_it() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        world.use_keys(2, 1)
        put = world.memory.put

        async def put_after_delete(*args: object, **named: object) -> bool:
            world.memory.put = put  # type: ignore[method-assign]
            await world.sessions.delete(SPACE, KEY)
            return await put(*args, **named)  # type: ignore[arg-type]

        world.memory.put = put_after_delete  # type: ignore[method-assign]
        assert await world.value(KEY) == b"v"  # begins the move
        await world.clock.settle()
        assert await world.value(KEY) is None
        assert (await world.sessions.save(SPACE, KEY, b"anew")).created
        await world.sessions.delete(SPACE, KEY)
        world.clock.advance(130)
        await world.sessions._upkeep.reclaim()
        assert await _in_use(world) == {}

    run(work)


def test_a_delete_that_fails_half_way_leaves_no_session_that_is_gone_for_a_minute_alone() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        world.use_keys(2, 1)
        put, puts = world.memory.put, [0]

        async def put_once(row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
            puts[0] += 1
            if puts[0] > 1:
                raise Unavailable("the disk fails")
            return await put(row, expected=expected, clears=clears)

        world.memory.put = put_once  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await world.sessions.delete(SPACE, KEY)
        world.memory.put = put  # type: ignore[method-assign]
        assert await world.value(KEY) is None
        world.clock.advance(130)
        await world.sessions._upkeep.reclaim()
        assert await world.value(KEY) is None

    run(work)


def test_a_key_that_was_deleted_while_keys_change_is_free_again_whatever_is_revoked() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        world.use_keys(2, 1)
        await world.sessions.delete(SPACE, KEY)
        await world.sessions.revoke_namespace(SPACE)
        assert (await world.sessions.save(SPACE, KEY, b"anew")).created

    run(work)


def test_a_revocation_holds_under_every_key() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, b"a", b"v", subject="me")
        world.use_keys(2, 1)
        await world.sessions.save(SPACE, b"b", b"v", subject="me")
        await world.sessions.revoke_subject(SPACE, "me")
        assert [await world.value(b"a"), await world.value(b"b")] == [None, None]
        for key in (b"a", b"b"):
            with pytest.raises(Revoked):
                await world.sessions.save(SPACE, key, b"late")
        await world.sessions.save(SPACE, b"c", b"v", subject="me")
        world.use_keys(3, 2, 1)
        assert await world.value(b"c") == b"v"
        await world.clock.settle()
        assert await world.value(b"c") == b"v"
        await world.restart()
        assert await world.value(b"c") == b"v" and await world.value(b"a") is None

    run(work)


class _Held(MemorySessionStore):
    """Revocations wait for the disk until `gate` opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def put_generations(self, generations: Sequence[Generation]) -> None:
        await self.gate.wait()
        await super().put_generations(generations)


def test_a_revocation_holds_for_what_moves_to_a_new_key_while_it_is_written() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, b"a", b"v", subject="me")
        revoking = asyncio.create_task(world.sessions.revoke_subject(SPACE, "me"))
        await world.clock.settle()
        world.use_keys(2, 1)
        assert await world.value(b"a") == b"v"
        await world.clock.settle()
        assert await _in_use(world) == {2: 1}
        store.gate.set()
        await revoking
        assert await world.value(b"a") is None

    store = _Held()
    asyncio.run(SessionsWorld(store=store).run(work))


def test_rotating_and_deleting_work_while_keys_change() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        world.use_keys(2, 1)
        rotated = await world.sessions.rotate(SPACE, KEY, grace_s=5)
        assert rotated is not None
        assert await world.value(KEY) == await world.value(rotated[0]) == b"v"
        await world.sessions.delete(SPACE, KEY)
        assert await world.value(KEY) is None and await world.value(rotated[0]) is None
        world.use_keys(1, 2)
        assert await world.value(KEY) is None and await world.value(rotated[0]) is None

    run(work)

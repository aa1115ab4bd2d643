"""A disk that is full or fails: nothing that was answered is lost, nothing is half done, and what frees space or revokes still works."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headwater.kernel.config import Bytes
from headwater.kernel.errors import StorageFull, Unavailable
from headwater.kernel.metrics import Metrics
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.errors import Revoked
from headwater.sessions.model import Policy
from headwater.sqlite import Platform, StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.clock import ManualClock
from headwater.testing.faults import Disk, FaultVfs, Operation
from headwater.testing.sessions_world import SPACE, SessionsWorld

BALLAST_BYTES = 1 << 20
VALUE = b"v" * 4_000


def run(directory: Path, work: Callable[[SessionsWorld, Disk], Awaitable[None]]) -> None:
    """Do `work` with sessions on a disk that can be full and fail."""

    async def case() -> None:
        disk = Disk(directory)
        vfs = FaultVfs(disk)
        clock = ManualClock()
        store = await SqliteSessionStore.open(
            directory / "sessions.sqlite",
            metrics=Metrics(sqlite_metrics.METRICS),
            clock=clock,
            storage=StorageConfig(ballast_bytes=Bytes(BALLAST_BYTES), wal_bytes_max=Bytes(128 * 1024)),
            platform=Platform(vfs=vfs.vfs_name, allocate=disk.allocate),
        )
        world = SessionsWorld(Policy(SPACE), store=store, clock=clock)
        await world.sessions.start()
        try:
            await work(world, disk)
        finally:
            disk.heal()
            disk.quota_bytes = None
            await world.sessions.stop()
            await store.close()

    asyncio.run(case())


async def _fill(world: SessionsWorld) -> list[bytes]:
    """Save until the disk is full; returns the keys that were answered."""
    saved: list[bytes] = []
    with pytest.raises(StorageFull):
        for number in range(10_000):
            key = b"%d" % number
            await world.sessions.save(SPACE, key, VALUE, subject="me" if number % 2 else "you")
            saved.append(key)
    return saved


def test_a_full_disk_refuses_saves_and_nothing_else(tmp_path: Path) -> None:
    async def work(world: SessionsWorld, disk: Disk) -> None:
        disk.quota_bytes = BALLAST_BYTES + (1 << 20)
        saved = await _fill(world)
        assert len(saved) > 50
        assert [await world.value(key) for key in saved] == [VALUE] * len(saved)
        await world.sessions.delete(SPACE, saved[0])
        assert await world.value(saved[0]) is None
        await world.sessions.revoke_subject(SPACE, "me")
        assert await world.value(saved[1]) is None and await world.value(saved[2]) == VALUE
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, saved[1], VALUE)
        disk.quota_bytes = None
        world.clock.advance(2)
        await world.sessions.save(SPACE, b"again", VALUE)
        await world.restart()
        assert await world.value(saved[0]) is None and await world.value(saved[1]) is None
        assert await world.value(saved[2]) == await world.value(b"again") == VALUE

    run(tmp_path, work)


def test_a_full_disk_keeps_nobody_logged_in_who_leaves_a_trace_when_he_goes(tmp_path: Path) -> None:
    """What was rotated, what has expired and may still be revoked, and everything while keys change is not removed but marked."""

    async def work(world: SessionsWorld, disk: Disk) -> None:
        await world.sessions.save(SPACE, b"rotated", VALUE)
        moved = await world.sessions.rotate(SPACE, b"rotated", grace_s=60)
        assert moved is not None
        await world.sessions.save(SPACE, b"expired", VALUE, subject="me", ttl_s=1)
        world.clock.advance(2)
        disk.quota_bytes = BALLAST_BYTES + (1 << 20)
        saved = await _fill(world)
        await world.sessions.delete(SPACE, b"rotated")
        await world.sessions.delete(SPACE, b"expired")
        world.use_keys(2, 1)
        await world.sessions.delete(SPACE, saved[0])
        disk.quota_bytes = None
        await world.restart()
        for key in (b"rotated", moved[0], b"expired", saved[0]):
            assert await world.value(key) is None
        assert await world.value(saved[1]) == VALUE

    run(tmp_path, work)


def test_a_disk_that_fails_to_write_leaves_the_session_as_it_was(tmp_path: Path) -> None:
    async def work(world: SessionsWorld, disk: Disk) -> None:
        await world.sessions.save(SPACE, b"k", b"before")
        disk.fail(Operation.WRITE, lasting=True)
        for attempt in (
            world.sessions.save(SPACE, b"k", VALUE),
            world.sessions.save(SPACE, b"new", VALUE),
            world.sessions.delete(SPACE, b"k"),
        ):
            with pytest.raises(Unavailable):
                await attempt
        assert await world.value(b"k") == b"before" and await world.value(b"new") is None
        disk.heal()
        await world.sessions.save(SPACE, b"k", b"after")
        assert await world.value(b"k") == b"after"

    run(tmp_path, work)


def test_a_disk_that_cannot_be_read_is_said_and_not_taken_for_an_absent_session(tmp_path: Path) -> None:
    async def work(world: SessionsWorld, disk: Disk) -> None:
        for number in range(2_000):
            await world.sessions.save(SPACE, b"%d" % number, VALUE)
        disk.fail(Operation.READ, lasting=True)
        with pytest.raises(Unavailable):
            for number in range(2_000):
                assert await world.value(b"%d" % number) == VALUE
        disk.heal()
        assert await world.value(b"0") == VALUE

    run(tmp_path, work)

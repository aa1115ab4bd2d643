"""What is answered survives a power cut at any moment: no saved session is lost, none that was deleted or revoked is back.

A busy run is recorded through the VFS; from the recording, disks are built as a power cut could have left them. Two broken variants of the
product fail the same comparison.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.model import Policy
from headwater.sqlite import Platform, StorageConfig, connections
from headwater.sqlite import metrics as sqlite_metrics
from headwater.sqlite.writer import Item, Writer
from headwater.testing.clock import ManualClock
from headwater.testing.faults import Disk, Event, FaultVfs, Mark, broken_images
from headwater.testing.sessions_world import SPACE, SessionsWorld

CI_IMAGES = 2_000
PROOF_IMAGES = 100_000
WORKERS = 6
ROUNDS = 4
GRACE_S = 3_600.0

State = dict[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Begun:
    """A worker has asked for something that will leave its keys like this."""

    worker: int
    after: State


@dataclass(frozen=True, slots=True)
class Answered:
    """What a worker asked for last has been answered."""

    worker: int


async def _open(directory: Path, platform: Platform | None = None) -> tuple[SqliteSessionStore, SessionsWorld]:
    storage = StorageConfig(ballast_bytes=Bytes(0), wal_bytes_max=Bytes(64 * 1024))
    clock = ManualClock()
    store = await SqliteSessionStore.open(
        directory / "sessions.sqlite", metrics=Metrics(sqlite_metrics.METRICS), clock=clock, storage=storage, platform=platform
    )
    world = SessionsWorld(Policy(SPACE), store=store, clock=clock, key_ids=(2, 1))
    await world.sessions.start()
    return store, world


class _Worker:
    """One caller with sessions and a subject of its own; marks what it asks for and what is answered."""

    def __init__(self, number: int, world: SessionsWorld, disk: Disk) -> None:
        self._number, self._world, self._disk = number, world, disk
        self._state: State = {}

    async def run(self) -> None:
        sessions, subject = self._world.sessions, f"s{self._number}"
        for turn in range(ROUNDS):
            one, two = (b"%d.%d.%s" % (self._number, turn, name) for name in (b"one", b"two"))
            for size in (40, 3_000):
                for key in (one, two):
                    value = b"%s %d " % (key, size) * (size // 10)
                    await self._do({key: value}, sessions.save(SPACE, key, value, subject=subject))
            await self._do({one: None}, sessions.delete(SPACE, one))
            await self._do({two: self._state[two]}, sessions.rotate(SPACE, two, grace_s=GRACE_S))
            if turn % 2:
                await self._do(dict.fromkeys(self._state), sessions.revoke_subject(SPACE, subject))
            if turn == 1 and self._number == 0:
                self._world.use_keys(3, 2, 1)

    async def _do(self, change: State, operation: Coroutine[object, object, object]) -> None:
        self._state = {**self._state, **change}
        self._disk.mark(Begun(self._number, self._state))
        await operation
        self._disk.mark(Answered(self._number))


async def _record(directory: Path, *, when_open: Callable[[], None] = lambda: None) -> Sequence[Event]:
    disk = Disk(directory, recording=True, sync_delay_s=0.001)
    vfs = FaultVfs(disk)
    store, world = await _open(directory, Platform(vfs=vfs.vfs_name))
    disk.mark("open")
    when_open()
    await asyncio.gather(*(_Worker(number, world, disk).run() for number in range(WORKERS)))
    await world.sessions.stop()
    await store.close()
    return disk.journal


def _allowed(journal: Sequence[Event]) -> dict[int, list[State]]:
    """For each worker what may be there: what was answered last, or what it had asked for."""
    allowed: dict[int, list[State]] = {number: [{}] for number in range(WORKERS)}
    for event in journal:
        match event:
            case Mark(Begun(worker, after)):
                allowed[worker] = [allowed[worker][-1], after]
            case Mark(Answered(worker)):
                allowed[worker] = allowed[worker][-1:]
    return allowed


async def _verify(image: Path, allowed: dict[int, list[State]]) -> None:
    store, world = await _open(image)
    world.use_keys(3, 2, 1)
    try:
        for states in allowed.values():
            found = {key: await world.value(key) for key in states[-1]}
            before = {key: states[0].get(key) for key in states[-1]}
            assert found in (before, states[-1]), "neither what was answered nor what was under way"
    finally:
        await world.sessions.stop()
        await store.close()


def _check_images(journal: Sequence[Event], images: int, directory: Path, *, seed: int) -> list[str]:
    """Build and verify that many images; returns those that sessions did not survive."""

    def verify(image: Path, past: Sequence[Event]) -> None:
        asyncio.run(_verify(image, _allowed(past)))

    return broken_images(journal, images=images, directory=directory, lot=Random(seed), verify=verify)


def test_sessions_survive_power_cuts(tmp_path: Path, memory: Path) -> None:
    (tmp_path / "run").mkdir()
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, CI_IMAGES, memory, seed=1) == []


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(100))
def test_sessions_survive_many_power_cuts(tmp_path: Path, memory: Path, seed: int) -> None:
    (tmp_path / "run").mkdir()
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, PROOF_IMAGES // 100, memory, seed=seed) == []


def test_a_writer_that_does_not_sync_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SYNCHRONOUS", "OFF")
    (tmp_path / "run").mkdir()
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, 30, tmp_path, seed=1)


def test_a_writer_that_answers_before_the_commit_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_items = Writer._run_items

    def run_and_answer(writer: Writer, items: Sequence[Item]) -> None:
        run_items(writer, items)
        writer._answer(items)

    (tmp_path / "run").mkdir()
    journal = asyncio.run(_record(tmp_path / "run", when_open=lambda: monkeypatch.setattr(Writer, "_run_items", run_and_answer)))
    assert _check_images(journal, 60, tmp_path, seed=1)

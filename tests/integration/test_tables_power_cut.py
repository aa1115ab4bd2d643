"""What is answered survives a power cut at any moment: rows, batches, ranges and schemas, whole, and the change stream agrees.

A busy run is recorded through the VFS; from the recording, disks are built as a power cut could have left them. Three broken variants of
the product fail the same comparison.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import apsw
import pytest
from tests.integration.tables_under_fault import State, Worker, open_store, space_of, verify

from headwater.sqlite import Platform, connections
from headwater.sqlite.writer import Item, Writer
from headwater.tables.engines.sqlite import together
from headwater.tables.model import Change, SpaceId
from headwater.testing.faults import Disk, Event, FaultVfs, Mark, broken_images

CI_IMAGES = 2_000
PROOF_IMAGES = 100_000
WORKERS = 4
TURNS = 3


async def _record(directory: Path, *, when_open: Callable[[], None] = lambda: None) -> Sequence[Event]:
    directory.mkdir()  # noqa: ASYNC240 - a test makes a directory
    disk = Disk(directory, recording=True, sync_delay_s=0.001)
    vfs = FaultVfs(disk)
    store, clock = await open_store(directory, Platform(vfs=vfs.vfs_name))
    spaces = [await space_of(store, clock, number) for number in range(WORKERS)]
    disk.mark("open")
    when_open()
    await asyncio.gather(*(Worker(space, n, "0", say=lambda *what: disk.mark(what)).work(TURNS) for n, space in enumerate(spaces)))
    await store.close()
    return disk.journal


def _allowed(journal: Sequence[Event]) -> dict[int, list[State]]:
    """For each worker what may be there: what was answered last, or what it had asked for."""
    allowed: dict[int, list[State]] = {number: [{f"schema/{number}": "{}"}] for number in range(WORKERS)}
    for event in journal:
        match event:
            case Mark((int(worker), dict(after))):
                allowed[worker] = [allowed[worker][-1], after]
            case Mark((int(worker),)):
                allowed[worker] = allowed[worker][-1:]
    return allowed


def _check_images(journal: Sequence[Event], images: int, directory: Path, *, seed: int) -> list[str]:
    def verified(image: Path, past: Sequence[Event]) -> None:
        asyncio.run(verify(image, _allowed(past), workers=WORKERS))

    return broken_images(journal, images=images, directory=directory, lot=Random(seed), verify=verified)


@pytest.mark.parametrize("seed", range(4))
def test_tables_survive_power_cuts(tmp_path: Path, memory: Path, seed: int) -> None:
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, CI_IMAGES // 4, memory, seed=seed) == []


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(100))
def test_tables_survive_many_power_cuts(tmp_path: Path, memory: Path, seed: int) -> None:
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, PROOF_IMAGES // 100, memory, seed=seed) == []


def test_a_writer_that_does_not_sync_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SYNCHRONOUS", "OFF")
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, 30, tmp_path, seed=1)


def test_a_writer_that_answers_before_the_commit_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_items = Writer._run_items

    def run_and_answer(writer: Writer, items: Sequence[Item]) -> None:
        run_items(writer, items)
        writer._answer(items)

    journal = asyncio.run(_record(tmp_path / "run", when_open=lambda: monkeypatch.setattr(Writer, "_run_items", run_and_answer)))
    assert _check_images(journal, 60, tmp_path, seed=1)


def test_changes_that_are_written_after_their_rows_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[tuple[SpaceId, Change]] = []
    store_changes = together.store_changes

    def store_all_but_one(connection: apsw.Connection, changes: Sequence[tuple[SpaceId, Change]]) -> None:
        late.extend(changes)
        store_changes(connection, late[:-1])
        del late[:-1]

    def break_it() -> None:
        monkeypatch.setattr(together, "store_changes", store_all_but_one)

    journal = asyncio.run(_record(tmp_path / "run", when_open=break_it))
    assert _check_images(journal, 30, tmp_path, seed=1)

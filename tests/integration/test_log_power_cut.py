"""What is answered survives a power cut at any moment, whatever of the un-synced sectors reached the disk.

One busy run of the log is recorded through the VFS; from the recording, disks are built as a power cut could have left them, and each is
opened and compared with what had been answered by then. Two broken variants of the product fail the same comparison.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from tests.integration.log_on_disk import EVENTS, EVENTS_1, NOTES, PAGES, STREAMS, open_log, read_all

from headwater.kernel.errors import OffsetTrimmed
from headwater.log.model import NewRecord, Offset, OwnedName, PartitionId, Position
from headwater.sqlite import Platform, connections
from headwater.sqlite.writer import Item, Writer
from headwater.testing.faults import Disk, Event, FaultVfs, Loss, Mark, Sync, broken_images, power_cut

CI_IMAGES = 200
PROOF_IMAGES = 5_000
APPENDERS = 6
APPENDS = 8


@dataclass(frozen=True, slots=True)
class Answered:
    """An append that the caller has been told is durable."""

    position: Position
    key: bytes | None
    value: bytes


def _value(name: str, size: int) -> bytes:
    return (name.encode() + b" ") * (size // (len(name) + 1) + 1)


async def _record(directory: Path, *, when_declared: Callable[[], None] = lambda: None) -> Sequence[Event]:
    """Run the log with concurrent appenders, pairs, compaction and trimming on a slow disk; returns the disk's journal with answers."""
    disk = Disk(directory, recording=True, sync_delay_s=0.001)
    vfs = FaultVfs(disk)
    log = await open_log(directory, platform=Platform(vfs=vfs.vfs_name))
    await log.declare(STREAMS)
    disk.mark("declared")
    when_declared()
    fence = await log.claim(OwnedName("pairs"))

    async def append(record: NewRecord) -> None:
        (outcome,) = await log.append([record])
        assert isinstance(outcome, Position)
        disk.mark(Answered(outcome, record.key, record.value or b""))

    async def appender(name: int) -> None:
        for n in range(APPENDS):
            await append(NewRecord("notes", _value(f"{name}.{n}", 40 * 7 ** (n % 4)), 1))
            await append(NewRecord("pages", b"%04d" % n + _value("page", 500), 1, key=b"%d" % name))

    async def pairs() -> None:
        for n in range(APPENDS * 2):
            value = _value(f"pair {n}", 3_000)
            positions = await log.append_atomic([NewRecord("events", value, 1, partition=n) for n in (0, 1)], fence=fence)
            for position in positions:
                disk.mark(Answered(position, None, value))
            await log.maintain()

    await asyncio.gather(pairs(), *(appender(name) for name in range(APPENDERS)))
    await log.close()
    return disk.journal


async def _verify(image: Path, answered: Sequence[Answered]) -> None:
    """Open what the power cut left and find everything that was answered, nothing torn, no half pair."""
    log = await open_log(image)
    try:
        await log.declare(STREAMS)
        found = {p: {record.offset: record.value for record in await read_all(log, p)} for p in (EVENTS, EVENTS_1, NOTES)}
        pages = {record.key: record.value or b"" for record in await read_all(log, PAGES)}
        first = {info.partition: info.first for info in await log.describe()}
    finally:
        await log.close()
    for each in answered:
        partition, offset = each.position.partition, each.position.offset
        if each.key is not None:
            assert pages[each.key][:4] >= each.value[:4], f"a newer page {each.key!r} was answered"
        elif offset >= first[partition]:
            assert found[partition].get(offset) == each.value, f"{each.position} was answered and is not there"
    both = max(first[EVENTS], first[EVENTS_1])
    assert _from(found[EVENTS], both) == _from(found[EVENTS_1], both), "half a pair is there"


def _from(found: Mapping[Offset, bytes | None], first: int) -> dict[Offset, bytes | None]:
    return {offset: value for offset, value in found.items() if offset >= first}


def _check_images(journal: Sequence[Event], images: int, directory: Path, *, seed: int) -> list[str]:
    """Build and verify that many images, of any time after the log was declared; returns those that it did not survive."""

    def verify(image: Path, past: Sequence[Event]) -> None:
        asyncio.run(_verify(image, [event.what for event in past if isinstance(event, Mark) and isinstance(event.what, Answered)]))

    return broken_images(journal, images=images, directory=directory, lot=Random(seed), verify=verify)


def test_what_is_answered_survives_power_cuts(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, CI_IMAGES, tmp_path, seed=1) == []


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(10))
def test_what_is_answered_survives_many_power_cuts(tmp_path: Path, seed: int) -> None:
    (tmp_path / "run").mkdir()
    journal = asyncio.run(_record(tmp_path / "run"))
    assert _check_images(journal, PROOF_IMAGES // 10, tmp_path, seed=seed) == []


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

    def break_it() -> None:
        monkeypatch.setattr(Writer, "_run_items", run_and_answer)

    (tmp_path / "run").mkdir()
    journal = asyncio.run(_record(tmp_path / "run", when_declared=break_it))
    assert _check_images(journal, 60, tmp_path, seed=1)


def test_every_answer_comes_after_a_sync(tmp_path: Path) -> None:
    """Between a record's write to the write-ahead log and its answer lies a sync of that log."""

    async def count() -> tuple[int, int]:
        disk = Disk(tmp_path)
        vfs = FaultVfs(disk)
        log = await open_log(tmp_path, platform=Platform(vfs=vfs.vfs_name), wal_bytes_max=64 * 2**20)
        await log.declare(STREAMS)
        before = disk.syncs["log.sqlite-wal"]
        for n in range(10):
            await log.append([NewRecord("notes", b"%d" % n, 1)])
            assert disk.syncs["log.sqlite-wal"] >= before + n + 1
        alone = disk.syncs["log.sqlite-wal"] - before
        await asyncio.gather(*(log.append([NewRecord("notes", b"v", 1)]) for _ in range(64)))
        together = disk.syncs["log.sqlite-wal"] - before - alone
        await log.close()
        return alone, together

    alone, together = asyncio.run(count())
    assert alone == 10
    assert 1 <= together <= 8, "concurrent appends share their syncs"


def test_the_journal_knows_what_is_durable(tmp_path: Path) -> None:
    """The simulated disk itself: without a sync nothing is certain, after it everything is."""
    disk = Disk(tmp_path, recording=True)
    vfs = FaultVfs(disk)
    with_sync = asyncio.run(_one_append(tmp_path, vfs))
    last_sync = max(index for index, event in enumerate(disk.journal[:with_sync]) if isinstance(event, Sync))
    for at, there in ((last_sync, False), (last_sync + 1, True)):
        image = tmp_path / f"image-{at}"
        image.mkdir()
        power_cut(disk.journal, at=at, loss=Loss.ALL, lot=Random(1), into=image)
        assert bool(asyncio.run(_notes(image))) is there


async def _one_append(directory: Path, vfs: FaultVfs) -> int:
    log = await open_log(directory, platform=Platform(vfs=vfs.vfs_name))
    await log.declare(STREAMS)
    await log.append([NewRecord("notes", b"v", 1)])
    answered_at = len(vfs.disk.journal)
    await log.close()
    return answered_at


async def _notes(directory: Path) -> list[object]:
    log = await open_log(directory)
    try:
        return list(await read_all(log, NOTES))
    finally:
        await log.close()


def test_trimmed_readers_are_told(tmp_path: Path) -> None:
    """The recorded run trims, so that the images above hold half-done trims too."""
    (tmp_path / "run").mkdir()
    asyncio.run(_record(tmp_path / "run"))

    async def first() -> int:
        log = await open_log(tmp_path / "run")
        try:
            with pytest.raises(OffsetTrimmed):
                await log.read(PartitionId("events"), Offset(0), limit=1)
            return (await log.describe("events"))[0].first
        finally:
            await log.close()

    assert asyncio.run(first()) > 1

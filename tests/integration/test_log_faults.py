"""A disk that is full, fails or lies, and a process that is killed: what is answered stays, what is damaged is never served."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from tests.integration.log_on_disk import NOTES, STREAMS, new_metrics, open_log, read_all

from headwater.kernel.errors import Corrupted, OutcomeUnknown, Overloaded, StorageFull, Unavailable
from headwater.kernel.metrics import Metrics
from headwater.log import metrics as log_metrics
from headwater.log.engines.sqlite import SqliteLog
from headwater.log.model import BEFORE_FIRST, AppendFailure, NewRecord, Offset, OwnedName, PartitionId, Policy, Position, StreamSpec
from headwater.sqlite import Platform
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.clock import ManualClock
from headwater.testing.faults import Disk, FaultVfs, Operation

KIB = 1024


def _note(value: bytes) -> NewRecord:
    return NewRecord("notes", value, 1)


async def _append(log: SqliteLog, value: bytes) -> Position:
    (outcome,) = await log.append([_note(value)])
    assert isinstance(outcome, Position)
    return outcome


async def _fill(log: SqliteLog, size: int) -> list[Position]:
    """Append until the disk is full; returns what was answered."""
    answered = []
    for _ in range(10_000):
        try:
            answered.append(await _append(log, b"v" * size))
        except StorageFull:
            return answered
    raise AssertionError("the disk never fills")


class FullDisk:
    """A log on a disk with a quota of its own."""

    def __init__(self, directory: Path, *, ballast_bytes: int = 256 * KIB) -> None:
        self.clock = ManualClock()
        self.metrics: Metrics = new_metrics()
        self.disk = Disk(directory, quota_bytes=1_500 * KIB)
        self._vfs = FaultVfs(self.disk)
        self._directory = directory
        self._ballast_bytes = ballast_bytes

    async def open(self) -> SqliteLog:
        log = await open_log(
            self._directory,
            platform=Platform(vfs=self._vfs.vfs_name, allocate=self.disk.allocate),
            metrics=self.metrics,
            clock=self.clock,
            ballast_bytes=self._ballast_bytes,
        )
        await log.declare(STREAMS)
        return log

    def gauge(self) -> tuple[float, float]:
        """Whether the storage is full, and the ballast held."""
        return (
            self.metrics.value(sqlite_metrics.STORAGE_FULL, database="log"),
            self.metrics.value(sqlite_metrics.BALLAST_BYTES, database="log"),
        )


def test_a_full_disk_refuses_writes_and_serves_reads(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        full = FullDisk(tmp_path)
        log = await full.open()
        answered = await _fill(log, 4 * KIB)
        assert len(answered) > 50
        for _ in range(3):
            with pytest.raises(StorageFull):
                await _append(log, b"v" * 64 * KIB)
        assert full.gauge() == (1, 256 * KIB)
        assert [record.position for record in await read_all(log, NOTES)] == answered
        full.disk.quota_bytes = None
        answered.append(await _append(log, b"space is back"))
        assert full.gauge() == (0, 256 * KIB)
        assert [record.position for record in await read_all(log, NOTES)] == answered
        await log.close()

    run(scenario())


def test_trimming_makes_space_on_a_full_disk(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        full = FullDisk(tmp_path)
        log = await full.open()
        answered = await _fill(log, 4 * KIB)
        while True:
            try:
                answered.append(await _append(log, b"small"))
            except StorageFull:
                break
        cut = len(answered) // 2
        await log.trim(NOTES, answered[cut].offset)
        full.clock.advance(2)
        resumed = [await _append(log, b"v" * 4 * KIB) for _ in range(cut // 3)]
        assert full.gauge()[0] == 0
        assert [record.position for record in await read_all(log, NOTES)] == answered[cut:] + resumed
        await log.close()
        log = await full.open()
        assert [record.position for record in await read_all(log, NOTES)] == answered[cut:] + resumed
        await log.close()

    run(scenario())


def test_a_full_disk_is_said_so_for_as_long_as_it_is_full(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        full = FullDisk(tmp_path)
        log = await full.open()
        assert await log.not_writable() is None
        await _fill(log, 4 * KIB)
        full.disk.quota_bytes = 0
        for _ in range(2):
            assert await log.not_writable() == "the disk is full"
        full.disk.quota_bytes = None
        assert await log.not_writable() is None
        assert full.gauge()[0] == 0, "asking is enough: it does not take a client that tries"
        await log.close()

    run(scenario())


def test_an_owner_can_begin_on_a_full_disk(tmp_path: Path, run: Callable[..., object]) -> None:
    """Otherwise a restart would end the reads that the full disk left."""

    async def scenario() -> None:
        full = FullDisk(tmp_path)
        log = await full.open()
        first = await log.claim(OwnedName("pages"))
        await _fill(log, 4 * KIB)
        await log.close()
        full.disk.quota_bytes = full.disk.used_bytes()
        log = await full.open()
        second = await log.claim(OwnedName("pages"))
        assert second.epoch == first.epoch + 1
        with pytest.raises(StorageFull):
            await _append(log, b"v" * 64 * KIB)
        await log.close()

    run(scenario())


def test_without_ballast_trimming_fails_on_a_full_disk(tmp_path: Path, run: Callable[..., object]) -> None:
    """What the ballast is for: the test above would fail without it."""

    async def scenario() -> None:
        full = FullDisk(tmp_path, ballast_bytes=0)
        log = await full.open()
        answered = await _fill(log, 4 * KIB)
        full.disk.quota_bytes = 0
        with pytest.raises(StorageFull):
            await log.trim(NOTES, answered[len(answered) // 2].offset)
        assert [record.position for record in await read_all(log, NOTES)] == answered, "a trim that failed removed nothing"
        full.disk.quota_bytes = None
        await log.close()

    run(scenario())


def test_the_ballast_comes_back_with_the_space(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        full = FullDisk(tmp_path)
        log = await full.open()
        answered = await _fill(log, 4 * KIB)
        await log.trim(NOTES, answered[1].offset)
        released = full.gauge()[1] == 0
        full.disk.quota_bytes = None
        full.clock.advance(2)
        await _append(log, b"v")
        assert released
        assert full.gauge() == (0, 256 * KIB)
        await log.close()

    run(scenario())


def test_a_failed_write_is_reported_and_leaves_nothing(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        disk = Disk(tmp_path)
        vfs = FaultVfs(disk)
        log = await open_log(tmp_path, platform=Platform(vfs=vfs.vfs_name))
        await log.declare(STREAMS)
        first = await _append(log, b"before")
        for nth in range(1, 5):
            disk.fail(Operation.WRITE, file_suffix="-wal", nth=nth)
            with pytest.raises(Unavailable):
                await _append(log, b"v" * 3 * 4096)
            disk.heal()
        last = await _append(log, b"after")
        assert [record.position for record in await read_all(log, NOTES)] == [first, last]
        await log.close()

    run(scenario())


def test_a_failed_read_is_an_error_and_not_an_end(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        log = await open_log(tmp_path)
        await log.declare(STREAMS)
        for _ in range(200):
            await _append(log, b"v" * 3_000)
        await log.close()
        disk = Disk(tmp_path)
        vfs = FaultVfs(disk)
        log = await open_log(tmp_path, platform=Platform(vfs=vfs.vfs_name))
        disk.fail(Operation.READ, file_suffix="log.sqlite", nth=20, lasting=True)
        with pytest.raises(Unavailable):
            await read_all(log, NOTES)
        disk.heal()
        assert len(await read_all(log, NOTES)) == 200
        await log.close()

    run(scenario())


@pytest.mark.parametrize("file_suffix", ["-wal", "log.sqlite"], ids=["commit", "checkpoint"])
def test_a_failed_sync_ends_the_process_and_is_never_retried(tmp_path: Path, run: Callable[..., object], file_suffix: str) -> None:
    async def scenario() -> None:
        ended: list[int] = []
        disk = Disk(tmp_path)
        vfs = FaultVfs(disk)
        log = await open_log(tmp_path, platform=Platform(vfs=vfs.vfs_name, exit_process=ended.append))
        await log.declare(STREAMS)
        disk.fail(Operation.SYNC, file_suffix=file_suffix)
        with pytest.raises((OutcomeUnknown, Unavailable)):
            for _ in range(40):
                await _append(log, b"v" * 4 * KIB)
        assert ended == [70]
        syncs = dict(disk.syncs)
        with pytest.raises(Unavailable):
            await _append(log, b"v")
        assert dict(disk.syncs) == syncs, "nothing is synced after a failed sync"
        await log.close()

    run(scenario())


_CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.integration.log_on_disk import STREAMS, open_log
from headwater.kernel.clock import SystemClock
from headwater.log.model import NewRecord
from headwater.sqlite import Platform
from headwater.testing.faults import Disk, FaultVfs, Operation

async def main() -> None:
    directory, fail = Path(sys.argv[1]), sys.argv[2] == "fail"
    disk = Disk(directory)
    vfs = FaultVfs(disk)
    log = await open_log(directory, platform=Platform(vfs=vfs.vfs_name), clock=SystemClock())
    await log.declare(STREAMS)
    if fail:
        disk.fail(Operation.SYNC, file_suffix="-wal", nth=5)
    async def appender(name: int) -> None:
        n = 0
        while True:
            value = b"%d.%d" % (name, n)
            (position,) = await log.append([NewRecord("notes", value, 1)])
            os.write(1, b"%d %s\\n" % (position.offset, value))
            n += 1
    await asyncio.gather(*(appender(name) for name in range(8)))

asyncio.run(main())
"""


def _child(directory: Path, mode: str) -> "subprocess.Popen[bytes]":
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", _CHILD, str(directory), mode], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root)


def test_a_process_ends_with_status_70_when_a_sync_fails(tmp_path: Path) -> None:
    child = _child(tmp_path, "fail")
    answered, errors = child.communicate(timeout=60)
    assert child.returncode == 70, errors.decode()
    _all_answered_are_there(tmp_path, answered)


@pytest.mark.parametrize("lines", [1, 40, 300])
def test_what_is_answered_survives_a_kill(tmp_path: Path, lines: int) -> None:
    child = _child(tmp_path, "run")
    assert child.stdout is not None
    answered = b"".join(child.stdout.readline() for _ in range(lines))
    os.kill(child.pid, signal.SIGKILL)
    rest, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    _all_answered_are_there(tmp_path, answered + rest)


def _all_answered_are_there(directory: Path, answered: bytes) -> None:
    async def stored() -> dict[int, bytes | None]:
        log = await open_log(directory)
        try:
            return {record.offset: record.value for record in await read_all(log, NOTES)}
        finally:
            await log.close()

    lines = re.findall(rb"^(\d+) (\d+\.\d+)\n", answered, re.MULTILINE)
    assert lines
    there = asyncio.run(stored())
    for offset, value in lines:
        assert there.get(int(offset)) == value


def test_a_damaged_record_is_reported_and_never_served(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        metrics = new_metrics()
        log = await open_log(tmp_path, metrics=metrics)
        await log.declare(STREAMS)
        values = [b"record %03d " % n + b"v" * 300 for n in range(60)]
        for value in values:
            await _append(log, value)
        await log.close()
        path = tmp_path / "log.sqlite"
        content = path.read_bytes()
        at = content.index(b"record 030")
        path.write_bytes(content[: at + 7] + b"1" + content[at + 8 :])
        log = await open_log(tmp_path, metrics=metrics)
        batch = await log.read(NOTES, BEFORE_FIRST, limit=1_000)
        assert [record.value for record in batch.records] == values[:30]
        assert not batch.at_end
        for _ in range(2):
            with pytest.raises(Corrupted):
                await log.read(NOTES, batch.next, limit=1_000)
        assert metrics.value(log_metrics.RECORDS_CORRUPTED, stream="notes") == 2
        rest = await log.read(NOTES, Offset(batch.next + 1), limit=1_000)
        assert [record.value for record in rest.records] == values[31:]
        await log.close()

    run(scenario())


def test_a_damaged_long_record_is_reported(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        log = await open_log(tmp_path)
        await log.declare(STREAMS)
        await _append(log, b"a" * 500_000)
        await log.close()
        path = tmp_path / "log.sqlite"
        content = bytearray(path.read_bytes())
        content[content.index(b"a" * 1_000, len(content) // 2)] ^= 1
        path.write_bytes(content)
        log = await open_log(tmp_path)
        with pytest.raises(Corrupted):
            await log.read(NOTES, BEFORE_FIRST, limit=1)
        await log.close()

    run(scenario())


@pytest.mark.parametrize("gone", [0, 3, 9], ids=["first", "middle", "last"])
def test_a_record_that_vanished_is_noticed(tmp_path: Path, run: Callable[..., object], gone: int) -> None:
    async def scenario() -> None:
        log = await open_log(tmp_path)
        await log.declare(STREAMS)
        for n in range(10):
            await _append(log, b"%d" % n)
        await log.close()
        connection = apsw.Connection(str(tmp_path / "log.sqlite"))
        connection.execute("DELETE FROM records WHERE slot IN (SELECT slot FROM records ORDER BY slot LIMIT 1 OFFSET ?)", (gone,))
        connection.close()
        log = await open_log(tmp_path)
        with pytest.raises(Corrupted):
            await read_all(log, NOTES)
        await log.close()

    run(scenario())


def test_a_file_that_contradicts_itself_lets_nobody_wait_for_ever(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        log = await open_log(tmp_path)
        await log.declare(STREAMS)
        for n in range(5):
            await _append(log, b"%d" % n)
        connection = apsw.Connection(str(tmp_path / "log.sqlite"))
        connection.execute("UPDATE partitions SET next = 2 WHERE stream = 'notes'")
        connection.close()
        for _ in range(2):
            with pytest.raises(apsw.ConstraintError):
                await asyncio.wait_for(_append(log, b"onto another record"), 30)
        assert isinstance((await log.append([NewRecord("events", b"elsewhere", 1)]))[0], Position)
        await log.close()

    run(scenario())


def test_too_much_waiting_is_refused_early(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        log = await open_log(tmp_path)
        await log.declare([*STREAMS, StreamSpec("large", Policy.KEEP)])
        value = b"v" * (8 * 2**20)
        outcomes = await asyncio.gather(*(log.append([NewRecord("large", value, 1)]) for _ in range(20)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        stored = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert len(refused) == 4 and len(stored) == 16
        assert not any(isinstance(outcome, AppendFailure) for outcomes in stored for outcome in outcomes)
        assert (await log.describe("large"))[0].end == 16
        assert isinstance((await log.append([NewRecord("large", b"later", 1)]))[0], Position)
        await log.close()

    run(scenario())


def test_a_cancelled_append_may_land_and_wakes_readers(tmp_path: Path, run: Callable[..., object]) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        log = await open_log(tmp_path, clock=clock)
        await log.declare(STREAMS)
        reader = asyncio.ensure_future(log.read(PartitionId("notes"), BEFORE_FIRST, limit=1, wait_s=60))
        await clock.wait_for_sleepers(1)
        append = asyncio.ensure_future(log.append([_note(b"v")]))
        await asyncio.sleep(0)
        append.cancel()
        assert (await asyncio.wait_for(reader, 10)).records
        await log.close()

    run(scenario())

"""The SQLite toolkit: group commit, isolation of neighbours, limits, formats, the lock of a data directory."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import pytest

from headwater.kernel.errors import AlreadyOwned, Corrupted, FormatTooNew, InvalidInput, Overloaded, Unavailable
from headwater.kernel.metrics import Metrics
from headwater.sqlite import Database, DirectoryLock, Failure, Migration, StorageConfig, load_migrations, shorten_thread_switches
from headwater.sqlite import metrics as m
from headwater.sqlite.errors import translated
from headwater.testing.clock import ManualClock

ONE = Migration(1, "CREATE TABLE numbers (n INTEGER PRIMARY KEY, who TEXT) STRICT", 1)
Run = Callable[..., object]


async def _open(
    path: Path, *, migrations: Sequence[Migration] = (ONE,), metrics: Metrics | None = None, config: StorageConfig | None = None
) -> Database:
    return await Database.open(
        path / "t.sqlite",
        name="t",
        migrations=migrations,
        metrics=metrics or Metrics(m.METRICS),
        clock=ManualClock(),
        config=config or StorageConfig(ballast_bytes=type(StorageConfig().ballast_bytes)(0)),
    )


def _insert(n: int) -> Callable[[apsw.Connection], int]:
    def work(connection: apsw.Connection) -> int:
        connection.execute("INSERT INTO numbers (n) VALUES (?)", (n,))
        return n

    return work


def _numbers(database: Database) -> list[object]:
    return [n for (n,) in database.reader.execute("SELECT n FROM numbers ORDER BY n").fetchall()]


def test_writes_that_wait_share_a_commit_and_keep_their_order(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        metrics = Metrics(m.METRICS)
        database = await _open(tmp_path, metrics=metrics)
        gate, order = threading.Event(), []

        def note(n: int) -> Callable[[apsw.Connection], int]:
            def work(connection: apsw.Connection) -> int:
                order.append(n)
                return _insert(n)(connection)

            return work

        blocked = asyncio.ensure_future(database.write(lambda _: gate.wait(10)))
        await asyncio.sleep(0)
        writes = [asyncio.ensure_future(database.write(note(n))) for n in range(50)]
        await asyncio.sleep(0)
        assert database.waiting == 51
        gate.set()
        assert await asyncio.gather(*writes) == list(range(50)) == order
        await blocked
        assert _numbers(database) == list(range(50))
        assert metrics.value(m.COMMITS, database="t") <= 3
        assert database.waiting == 0
        await database.close()

    run(scenario())


def test_a_work_that_raises_leaves_its_neighbours_alone(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database = await _open(tmp_path)

        def fails(connection: apsw.Connection) -> None:
            _insert(100)(connection)
            raise InvalidInput("no")

        outcomes = await asyncio.gather(
            database.write(_insert(1)),
            database.write(fails),
            database.write(_insert(1)),
            database.write(_insert(2)),
            return_exceptions=True,
        )
        assert outcomes[0] == 1 and outcomes[3] == 2
        assert isinstance(outcomes[1], InvalidInput)
        assert isinstance(outcomes[2], apsw.ConstraintError), "a broken constraint is the work's own affair"
        assert _numbers(database) == [1, 2]
        await database.close()

    run(scenario())


class _Together:
    """Inserts numbers for many callers at once, and notes how it was asked."""

    def __init__(self, refuses: Callable[[Sequence[int]], bool] = lambda _: False) -> None:
        self.runs: list[Sequence[int]] = []
        self.alone: list[int] = []
        self._refuses = refuses

    def for_all(self, connection: apsw.Connection, numbers: Sequence[int]) -> Sequence[int] | None:
        self.runs.append(numbers)
        for n in numbers:
            _insert(n)(connection)
        return None if self._refuses(numbers) else [-n for n in numbers]

    def for_one(self, connection: apsw.Connection, n: int) -> int:
        self.alone.append(n)
        _insert(n)(connection)
        return -n

    async def write(self, database: Database, numbers: Sequence[int]) -> list[object]:
        return await asyncio.gather(
            *(database.write_together(self.for_all, n, self.for_one) for n in numbers),
            return_exceptions=True,
        )


def test_what_waits_together_is_written_by_one_run(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database, together = await _open(tmp_path), _Together()
        assert await together.write(database, range(100)) == [-n for n in range(100)]
        assert [len(numbers) for numbers in together.runs] == [64, 36] and not together.alone
        assert _numbers(database) == list(range(100))
        await database.close()

    run(scenario())


def test_a_write_that_fails_among_others_fails_alone(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database, together = await _open(tmp_path), _Together()
        outcomes = await together.write(database, [1, 2, 1, 3])
        assert outcomes[:2] == [-1, -2] and outcomes[3] == -3
        assert isinstance(outcomes[2], apsw.ConstraintError)
        assert together.alone == [1, 2, 1, 3] and _numbers(database) == [1, 2, 3]
        await database.close()

    run(scenario())


def test_what_cannot_be_done_for_all_is_undone_and_done_one_by_one(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database, together = await _open(tmp_path), _Together(refuses=lambda _: True)
        assert await together.write(database, [3, 1, 2]) == [-3, -1, -2]
        assert together.alone == [3, 1, 2] and _numbers(database) == [1, 2, 3]
        await database.close()

    run(scenario())


def test_many_writes_of_one_caller_are_written_with_those_of_others(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database, together = await _open(tmp_path), _Together()
        some = database.write_each(together.for_all, range(10), together.for_one)
        one = database.write_together(together.for_all, 10, together.for_one)
        more = database.write_each(together.for_all, range(11, 70), together.for_one)
        assert database.waiting == 70
        assert await some == [-n for n in range(10)] and await one == -10 and await more == [-n for n in range(11, 70)]
        assert [len(numbers) for numbers in together.runs] == [11, 59] and not together.alone
        assert database.waiting == 0
        await database.close()

    run(scenario())


def test_of_many_writes_of_one_caller_each_fails_alone(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database, together = await _open(tmp_path), _Together()
        found = await database.write_each(together.for_all, [1, 2, 1, 3], together.for_one)
        assert [one for one in found if not isinstance(one, Failure)] == [-1, -2, -3]
        assert isinstance(found[2], Failure) and isinstance(found[2].error, apsw.ConstraintError)
        assert together.alone == [1, 2, 1, 3] and _numbers(database) == [1, 2, 3]
        await database.close()

    run(scenario())


def test_what_is_handed_in_before_the_end_is_written(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database, together = await _open(tmp_path), _Together()
        futures = [database.write_together(together.for_all, n, together.for_one) for n in range(3)]
        await database.close()
        assert await asyncio.gather(*futures) == [0, -1, -2]
        with pytest.raises(Unavailable):
            database.write_together(together.for_all, 4, together.for_one)

    run(scenario())


def test_nobody_else_may_read_the_files(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        before = os.umask(0o022)
        try:
            database = await _open(tmp_path, config=StorageConfig())
            await database.write(_insert(1))
            modes = await asyncio.to_thread(lambda: [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()])
            assert len(modes) >= 3 and set(modes) == {0o600}
            await database.close()
        finally:
            os.umask(before)

    run(scenario())


def test_the_queue_is_bounded(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database = await _open(tmp_path, config=StorageConfig(waiting_writes_max=3))
        gate = threading.Event()
        waiting = [asyncio.ensure_future(database.write(lambda _: gate.wait(10))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await database.write(_insert(1))
        assert refused.value.retry_after_s
        gate.set()
        await asyncio.gather(*waiting)
        assert await database.write(_insert(2)) == 2
        await database.close()

    run(scenario())


def test_closing_finishes_what_was_handed_in(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database = await _open(tmp_path)
        writes = [asyncio.ensure_future(database.write(_insert(n))) for n in range(20)]
        await asyncio.sleep(0)
        await database.close()
        assert await asyncio.gather(*writes) == list(range(20))
        with pytest.raises(Unavailable):
            await database.write(_insert(99))
        await database.close()
        again = await _open(tmp_path)
        assert _numbers(again) == list(range(20))
        await again.close()

    run(scenario())


def test_readers_cannot_write_and_see_commits_at_once(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database = await _open(tmp_path)
        with pytest.raises(apsw.ReadOnlyError):
            database.reader.execute("INSERT INTO numbers (n) VALUES (1)")
        for n in range(20):
            await database.write(_insert(n))
            assert len(_numbers(database)) == n + 1
            assert await database.read(lambda connection: connection.execute("SELECT count(*) FROM numbers").get) == n + 1
        await database.close()

    run(scenario())


def test_the_write_ahead_log_stays_bounded(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        config = StorageConfig(wal_bytes_max=type(StorageConfig().wal_bytes_max)(64 * 1024))
        database = await _open(tmp_path, config=config)
        for n in range(200):
            await database.write(_insert(n))
            assert (tmp_path / "t.sqlite-wal").stat().st_size < 128 * 1024
        await database.close()

    run(scenario())


def test_a_newer_format_is_refused_unless_it_says_otherwise(tmp_path: Path, run: Run) -> None:
    readable = Migration(2, "ALTER TABLE numbers ADD COLUMN why TEXT", 1)
    unreadable = Migration(3, "DROP TABLE numbers", 3)

    async def scenario() -> None:
        await (await _open(tmp_path)).close()
        upgraded = await _open(tmp_path, migrations=(ONE, readable))
        upgraded.reader.execute("SELECT why FROM numbers").fetchall()
        await upgraded.write(_insert(1))
        await upgraded.close()
        rolled_back = await _open(tmp_path)
        assert _numbers(rolled_back) == [1]
        await rolled_back.close()
        await (await _open(tmp_path, migrations=(ONE, readable, unreadable))).close()
        with pytest.raises(FormatTooNew):
            await _open(tmp_path, migrations=(ONE, readable))

    run(scenario())


def test_a_failed_migration_changes_nothing(tmp_path: Path, run: Run) -> None:
    broken = Migration(2, "CREATE TABLE more (n INTEGER); INSERT INTO missing VALUES (1)", 1)

    async def scenario() -> None:
        with pytest.raises(apsw.SQLError):
            await _open(tmp_path, migrations=(ONE, broken))
        database = await _open(tmp_path)
        assert database.reader.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").get == 0
        await database.close()

    run(scenario())


def test_a_file_that_is_no_database_is_reported(tmp_path: Path, run: Run) -> None:
    (tmp_path / "t.sqlite").write_bytes(b"this is no database" * 1000)
    with pytest.raises(Corrupted, match=r"^t\.sqlite is damaged"):
        run(_open(tmp_path))


def test_a_damaged_page_is_reported_with_the_name_of_the_file(tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        database = await _open(tmp_path)
        root = await database.write(lambda connection: connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'numbers'").get)
        await database.close()
        with (tmp_path / "t.sqlite").open("r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(b"\xff" * 4096)
        database = await _open(tmp_path)
        question = "SELECT n FROM numbers"
        with pytest.raises(Corrupted, match=r"^t\.sqlite is damaged"):
            await database.write(lambda connection: connection.execute(question).fetchall())
        with pytest.raises(Corrupted, match=r"^t\.sqlite is damaged"):
            await database.read(lambda connection: connection.execute(question).fetchall())
        with pytest.raises(Corrupted, match=r"^t\.sqlite is damaged"), translated(database.reader):
            database.reader.execute(question).fetchall()
        await database.close()

    run(scenario())


def test_migrations_are_loaded_in_order() -> None:
    migrations = load_migrations("headwater.log.engines.sqlite.migrations")
    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))
    assert all(1 <= migration.oldest_reader <= migration.number for migration in migrations)


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    lock = DirectoryLock(directory)
    lock.acquire()
    assert (directory / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(AlreadyOwned, match=str(os.getpid())):
        DirectoryLock(directory).acquire()
    code = (
        "import sys; from pathlib import Path\n"
        "from headwater.kernel.errors import AlreadyOwned\n"
        "from headwater.sqlite import DirectoryLock\n"
        "try: DirectoryLock(Path(sys.argv[1])).acquire()\n"
        "except AlreadyOwned as error: print(error); sys.exit(3)\n"
    )
    refused = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 3
    assert str(directory) in refused.stdout and str(os.getpid()) in refused.stdout
    lock.release()
    assert subprocess.run([sys.executable, "-c", code, str(directory)], timeout=60, check=False).returncode == 0
    lock.acquire()
    lock.release()


def test_thread_switches_are_shortened() -> None:
    before = sys.getswitchinterval()
    try:
        shorten_thread_switches()
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    finally:
        sys.setswitchinterval(before)


def test_triggers_and_views_that_somebody_put_into_the_file_do_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        database = await _open(tmp_path)
        await database.write(_insert(1))
        await database.close()
        stranger = apsw.Connection(str(tmp_path / "t.sqlite"))
        stranger.execute("CREATE TRIGGER keep BEFORE DELETE ON numbers BEGIN SELECT RAISE(IGNORE); END")
        stranger.execute("CREATE VIEW seen AS SELECT n FROM numbers")
        stranger.close()
        database = await _open(tmp_path)
        with pytest.raises(apsw.SQLError, match="seen"):
            database.reader.execute("SELECT n FROM seen").fetchall()
        await database.write(lambda connection: connection.execute("DELETE FROM numbers").fetchall())
        assert database.reader.execute("SELECT n FROM numbers").fetchall() == []
        await database.close()

    asyncio.run(work())

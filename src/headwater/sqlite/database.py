"""One SQLite file: many readers on the event loop, one writer thread, durable group commits.

Point reads run on the event loop itself, through `reader`: they take some 10 µs, and a thread would first wait for the interpreter
lock. Writes go to the writer thread (`headwater.sqlite.writer`). Belongs to the event loop that opened it.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import apsw

from headwater.kernel.clock import Clock, SystemClock
from headwater.kernel.errors import HeadwaterError, Overloaded, StorageFull, Unavailable
from headwater.kernel.metrics import Metrics
from headwater.sqlite.ballast import Ballast
from headwater.sqlite.config import StorageConfig
from headwater.sqlite.connections import open_reader, open_writer
from headwater.sqlite.errors import is_failed_sync, translate, translated
from headwater.sqlite.migrations import Migration, migrate
from headwater.sqlite.writer import EXIT_STATUS, Failure, Item, Platform, Writer

__all__ = ["Database", "Failure", "Platform"]

A = TypeVar("A")
T = TypeVar("T")


def _prepare(
    path: Path,
    migrations: Sequence[Migration],
    *,
    config: StorageConfig,
    platform: Platform,
    ballast: Ballast,
    now_ms: int,
    page_bytes: int | None,
) -> apsw.Connection:
    """The writing connection to a file of the present format. On a full disk the ballast makes room for what opening itself needs."""
    with translated(file=path.name):
        try:
            connection = _open_migrated(path, migrations, config=config, platform=platform, now_ms=now_ms, page_bytes=page_bytes)
            ballast.hold()
            return connection
        except apsw.Error as error:
            if is_failed_sync(error):
                platform.exit_process(EXIT_STATUS)
            if not isinstance(translate(error), StorageFull) or not ballast.exists():
                raise
        ballast.release()
        return _open_migrated(path, migrations, config=config, platform=platform, now_ms=now_ms, page_bytes=page_bytes)


def _open_migrated(
    path: Path, migrations: Sequence[Migration], *, config: StorageConfig, platform: Platform, now_ms: int, page_bytes: int | None
) -> apsw.Connection:
    connection = open_writer(path, config=config, vfs=platform.vfs, page_bytes=page_bytes)
    try:
        migrate(connection, migrations, now_ms=now_ms)
    except BaseException:
        connection.close()
        raise
    return connection


def _rewrite_first_page(connection: apsw.Connection) -> None:
    """The smallest write that needs room: it changes nothing."""
    connection.pragma("user_version", connection.pragma("user_version"))


class Database:
    """An open file. Make one with `Database.open`.

    Attributes:
        reader: connection for reads on the event loop. It cannot write. Fetch everything at once: a cursor left open keeps the
            write-ahead log from being reset. Wrap reads in `headwater.sqlite.errors.translated`.
        name: short name in metrics and logs.
    """

    def __init__(
        self, path: Path, *, writer: Writer, reader: apsw.Connection, open_another: Callable[[], apsw.Connection], waiting_max: int
    ) -> None:
        self.reader = reader
        self.path = path
        self._open_another = open_another
        self._background: apsw.Connection | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._writer = writer
        self._waiting = 0
        self._waiting_max = waiting_max
        self._gathered: list[Item] = []
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        writer.start(self._answer, self._end)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        name: str,
        migrations: Sequence[Migration],
        metrics: Metrics,
        clock: Clock | None = None,
        config: StorageConfig | None = None,
        platform: Platform | None = None,
        page_bytes: int | None = None,
    ) -> Self:
        """Open or create the file, bring it to the present format, and start its writer.

        Args:
            path: the file; the write-ahead log, its index and the ballast lie beside it.
            name: short name in metrics, logs and the thread's name.
            migrations: from `load_migrations`.
            metrics: with `headwater.sqlite.metrics.METRICS` in its catalogue.
            clock: for intervals and durations.
            config: sizes and limits.
            platform: what tests replace of the operating system.
            page_bytes: page size of a new file, None for SQLite's own.

        Raises:
            FormatTooNew: a newer program made the file.
            Corrupted: the file is damaged.
            StorageFull, Unavailable: the disk is full or fails.
        """
        clock, config, platform = clock or SystemClock(), config or StorageConfig(), platform or Platform()

        def open_another() -> apsw.Connection:
            return open_reader(path, config=config, vfs=platform.vfs)

        ballast = Ballast(path, config.ballast_bytes, platform.allocate)
        prepare = partial(
            _prepare, path, migrations, config=config, platform=platform, ballast=ballast, now_ms=clock.now_ms(), page_bytes=page_bytes
        )
        connection = await asyncio.to_thread(prepare)
        writer = Writer(connection, name=name, config=config, metrics=metrics, clock=clock, platform=platform, ballast=ballast)
        return cls(path, writer=writer, reader=open_another(), open_another=open_another, waiting_max=config.waiting_writes_max)

    @property
    def waiting(self) -> int:
        """Writes that have not been answered yet."""
        return self._waiting

    async def not_writable(self) -> str | None:
        """Why nothing can be written, or None: a readiness check. While the disk is known to be full it tries once more."""
        if not self._writer.full:
            return None
        try:
            await self.write(_rewrite_first_page)
        except HeadwaterError as error:
            return error.detail
        return None

    async def write(self, work: Callable[[apsw.Connection], T], *, frees_space: bool = False) -> T:
        """Run `work` in the writer thread inside a durable transaction and return its result after the fsync.

        Works run in the order given, each in a savepoint of its own, several in one transaction. What `work` raises reaches the caller and
        rolls back this work only. A caller that is cancelled no longer knows: its work may still be done.

        Args:
            work: given the writing connection; must not end the transaction, keep cursors or block.
            frees_space: the work removes more than it adds. On a full disk it may use the ballast; it may then run twice, the first
                run rolled back.

        Raises:
            Overloaded: too many writes wait; nothing was done.
            StorageFull: the disk is full; nothing was written.
            Unavailable: the disk fails or the database is closing; nothing was written.
            OutcomeUnknown: the disk failed in the middle and the process is ending.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._gather(Item(work, future, frees_space))
        return await future

    def write_together(
        self, for_all: Callable[[apsw.Connection, Sequence[A]], Sequence[T] | None], argument: A, alone: Callable[[apsw.Connection, A], T]
    ) -> "asyncio.Future[T]":
        """As `write`, but callers that wait with the same `for_all` may be served by one run of it, in one savepoint.

        For small writes that come by the thousand: the interpreter lock, for which every statement queues, is then taken once for many.

        Args:
            for_all: given the writing connection and the arguments of several callers in their order; returns a result for each, or None
                if it cannot be done for all of them at once. If so, or if it raises, it is rolled back and `alone` runs for each.
            argument: what this caller wants done.
            alone: does it for one argument; what it raises reaches the caller of this argument only.

        Raises: as `write`, at once or when awaited.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._gather(Item(alone, future, False, for_all, (argument,)))
        return future

    def write_each(
        self,
        for_all: Callable[[apsw.Connection, Sequence[A]], Sequence[T] | None],
        arguments: Sequence[A],
        alone: Callable[[apsw.Connection, A], T],
    ) -> "asyncio.Future[Sequence[T | Failure]]":
        """As `write_together` for each of `arguments`, in their order: the results, and a `Failure` in the place of each that raised.

        Raises what no write of this moment could have escaped.
        """
        future: asyncio.Future[Sequence[T | Failure]] = self._loop.create_future()
        self._gather(Item(alone, future, False, for_all, arguments, True))
        return future

    def _gather(self, item: Item) -> None:
        """Hand in one write. All that come in one turn of the event loop are handed in together: a thread is woken once for them."""
        if self._closing:
            raise Unavailable("the database is closing")
        if self._waiting >= self._waiting_max:
            raise Overloaded(f"{self._waiting_max} writes wait for the disk", retry_after_s=1)
        self._waiting += len(item.arguments)
        if not self._gathered:
            self._loop.call_soon(self._hand_in)
        self._gathered.append(item)

    def _hand_in(self) -> None:
        if self._gathered:
            items, self._gathered = self._gathered, []
            self._writer.put(items)

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run a long read in a background thread with a connection of its own, one at a time.

        Raises:
            Unavailable: the disk fails or the database is closing.
            Corrupted: the file is damaged.
        """
        if self._closing:
            raise Unavailable("the database is closing")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-read")
        return await self._loop.run_in_executor(self._executor, self._read, work)

    def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        with translated(file=self.path.name):
            if self._background is None:
                self._background = self._open_another()
            return work(self._background)

    def _answer(self, group: Sequence[Item]) -> None:
        """Called in the writer thread: one wake-up of the loop for the whole group."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer_callers, group)

    def _answer_callers(self, group: Sequence[Item]) -> None:
        for item in group:
            self._waiting -= len(item.arguments)
            future: asyncio.Future[object] = item.caller
            if future.done():
                continue
            if item.error is None:
                future.set_result(item.result)
            else:
                future.set_exception(item.error)

    def _end(self) -> None:
        """Called in the writer thread as its last act."""
        self._closing = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set_result, None)

    async def close(self) -> None:
        """Finish the writes handed in, copy the write-ahead log into the file, close it. Idempotent."""
        if not self._closing:
            self._hand_in()
            self._writer.stop()
        self._closing = True
        await asyncio.shield(self._ended)
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)
            self._executor = None
        for connection in (self.reader, self._background):
            if connection is not None:
                connection.close()

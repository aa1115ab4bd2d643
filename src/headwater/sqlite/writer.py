"""The writer thread of one SQLite file: collects what waits and commits it as one durable transaction.

Invariants: a caller is answered only after the fsync of the commit that holds its work; work runs in the order in which it was given; a
work that raises leaves nothing behind and does not disturb its neighbours; after a failed fsync the process ends at once and never tries
again, since the kernel may have dropped the pages and would report success.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

import apsw
import structlog
from msgspec import Struct

from headwater.kernel.clock import Clock
from headwater.kernel.errors import OutcomeUnknown, StorageFull, Unavailable
from headwater.kernel.metrics import Metrics
from headwater.sqlite import metrics as m
from headwater.sqlite.ballast import Allocate, Ballast
from headwater.sqlite.config import StorageConfig
from headwater.sqlite.errors import is_failed_sync, translate

logger = structlog.get_logger(__name__)

EXIT_STATUS = 70  # EX_SOFTWARE of sysexits.h
GROUP_SECONDS_MAX = 0.02
TOGETHER_MAX = 64
BALLAST_RETRY_S = 1.0

Work = Callable[..., Any]
WorkForAll = Callable[[apsw.Connection, Sequence[Any]], Sequence[Any] | None]


@dataclass(frozen=True, slots=True)
class Platform:
    """What a database needs of the operating system; tests bring their own.

    Attributes:
        vfs: name of the registered SQLite VFS, None for the default one.
        exit_process: ends the process without clean-up.
        allocate: occupies blocks of a file, as `os.posix_fallocate`.
    """

    vfs: str | None = None
    exit_process: Callable[[int], object] = os._exit
    allocate: Allocate = os.posix_fallocate


class Item(Struct, eq=False):
    """One write on its way: the work, how to tell its caller, and then what came of it.

    Attributes:
        work: what to do for this caller alone, given the connection, and the argument where there is a `for_all`.
        caller: whom to tell.
        frees_space: it removes more than it adds.
        for_all: what to do at once for all callers that stand next to each other with the same; None: they are never taken together.
        arguments: what this caller gives to `for_all`, each a write.
        many: the result is that of each of them, its error where one came of it.
        result, error: what came of it.
    """

    work: Work
    caller: Any
    frees_space: bool = False
    for_all: WorkForAll | None = None
    arguments: Sequence[Any] = (None,)
    many: bool = False
    result: Any = None
    error: BaseException | None = None


class Failure(Struct, frozen=True):
    """In the place of a result: what the write raised, as its caller shall see it. It left nothing behind."""

    error: BaseException


def _writes_of(items: Sequence[Item]) -> int:
    return sum([len(item.arguments) for item in items])


class _Stopped(Exception):
    """The process is ending (or, in a test, would have ended)."""


class Writer:
    """Runs in a thread of its own; `answer` is called there with each group that is finished."""

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        name: str,
        config: StorageConfig,
        metrics: Metrics,
        clock: Clock,
        platform: Platform,
        ballast: Ballast,
    ) -> None:
        self._connection = connection
        self._name = name
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._platform = platform
        self._ballast = ballast
        self._answer: Callable[[Sequence[Item]], None] = lambda _: None
        self._closed: Callable[[], None] = lambda: None
        self._queue: SimpleQueue[Sequence[Item] | None] = SimpleQueue()
        self._waiting: deque[Item] = deque()
        self._stopping = False
        self._ballast_tried_s = clock.monotonic_s()
        self._full = False
        self._ended = False
        self._wal_pages = 0
        self._page_bytes = int(connection.pragma("page_size"))
        self._thread = threading.Thread(target=self._run, name=f"sqlite-{name}", daemon=True)

    def start(self, answer: Callable[[Sequence[Item]], None], closed: Callable[[], None]) -> None:
        """Begin to work; `closed` is called in the thread when it ends."""
        self._answer, self._closed = answer, closed
        self._connection.set_wal_hook(self._note_wal)
        self._report_space()
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether the last ordinary write found the disk full. Any thread may ask."""
        return self._full

    def put(self, items: Sequence[Item]) -> None:
        """Hand in writes. Thread-safe, never blocks."""
        self._queue.put(items)
        if self._ended:
            self._refuse_rest()

    def stop(self) -> None:
        """End after what has been handed in."""
        self._queue.put(None)

    # In the thread

    def _run(self) -> None:
        try:
            self._serve()
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except _Stopped:
            pass
        except BaseException:
            # Nobody would ever be answered again, so a defect here has to end the process.
            logger.exception("sqlite_writer_failed", database=self._name)
            with suppress(_Stopped):
                self._end_process()
        self._connection.close()
        self._ended = True
        self._refuse_rest()
        self._closed()

    def _refuse_rest(self) -> None:
        """Answer what nobody will run any more."""
        self._take_in()
        rest = list(self._waiting)
        self._waiting.clear()
        for item in rest:
            item.error = Unavailable("the database has been closed")
        self._answer(rest)

    def _serve(self) -> None:
        while self._wait():
            group: list[Item] = []
            try:
                self._commit(group)
            except _Stopped:
                for item in group:
                    item.error = OutcomeUnknown("the disk failed while this was written")
                self._answer(group)
                raise
            self._answer(group)
            if self._wal_pages * self._page_bytes >= self._config.wal_bytes_max:
                self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _wait(self) -> bool:
        """Wait until there is something to write; False when all is done that was handed in before the end."""
        self._take_in()
        while not self._waiting and not self._stopping:
            self._note(self._queue.get())
        return bool(self._waiting)

    def _take_in(self) -> None:
        """Take in what has been handed in meanwhile."""
        with suppress(Empty):
            while True:
                self._note(self._queue.get_nowait())

    def _note(self, items: Sequence[Item] | None) -> None:
        if items is None:
            self._stopping = True
        else:
            self._waiting.extend(items)

    def _commit(self, group: list[Item]) -> None:
        """Run what waits, commit it, and put into `group` each item with what came of it."""
        start_s = self._clock.monotonic_s()
        try:
            self._collect(group, start_s)
        except apsw.Error as error:
            self._fail(group, error)
            return
        self._metrics.inc(m.COMMITS, database=self._name)
        self._metrics.observe(m.COMMIT_SECONDS, self._clock.monotonic_s() - start_s, database=self._name)
        self._metrics.observe(m.GROUP_WRITES, _writes_of(group), database=self._name)
        if self._full:
            self._leave_full(group)

    def _collect(self, group: list[Item], start_s: float) -> None:
        items_max = self._config.group_writes_max
        items = self._next_items(items_max)
        group += items
        self._connection.execute("BEGIN IMMEDIATE")
        while items:
            self._run_items(items)
            left = items_max - _writes_of(group)
            if left <= 0 or self._clock.monotonic_s() - start_s > GROUP_SECONDS_MAX:
                break
            self._take_in()
            items = self._next_items(left)
            group += items
        written_s = self._clock.monotonic_s()
        self._connection.execute("COMMIT")
        self._metrics.observe(m.SYNC_SECONDS, self._clock.monotonic_s() - written_s, database=self._name)

    def _next_items(self, writes_max: int) -> list[Item]:
        """The next item, with those behind it that can be done together with it."""
        waiting = self._waiting
        if not waiting:
            return []
        items = [waiting.popleft()]
        for_all = items[0].for_all
        if for_all is not None:
            left = min(writes_max, TOGETHER_MAX) - len(items[0].arguments)
            while waiting and waiting[0].for_all == for_all and len(waiting[0].arguments) <= left:
                left -= len(waiting[0].arguments)
                items.append(waiting.popleft())
        return items

    def _run_items(self, items: Sequence[Item]) -> None:
        """Run items together, or else one by one. Raises what ended the whole transaction."""
        if items[0].for_all is not None and self._ballast.held and self._run_together(items):
            return
        for item in items:
            self._run_item(item)

    def _run_together(self, items: Sequence[Item]) -> bool:
        """Run the work that items share, in one savepoint for all; False if it cannot be done so, and then nothing has happened."""
        execute, for_all = self._connection.execute, items[0].for_all
        assert for_all is not None
        execute("SAVEPOINT work")
        results: Sequence[Any] | None = None
        try:
            results = for_all(self._connection, [argument for item in items for argument in item.arguments])
        except Exception as error:
            self._check_transaction(error)
        if results is None:
            execute("ROLLBACK TO work")
            execute("RELEASE work")
            return False
        execute("RELEASE work")
        found = iter(results)
        for item in items:
            own = list(islice(found, len(item.arguments)))
            item.result = own if item.many else own[0]
        return True

    def _check_transaction(self, error: Exception) -> None:
        """Raise `error` where SQLite itself has rolled everything back, for want of space or memory; a work may have wrapped its error."""
        if not self._connection.in_transaction:
            raise (error.__cause__ if isinstance(error.__cause__, apsw.Error) else error) from None

    def _run_item(self, item: Item) -> None:
        """Run what an item asks for alone. Raises what ended the whole transaction."""
        if not item.frees_space and not self._has_room():
            item.error = StorageFull("the disk is full; writes resume when there is space")
            self._metrics.inc(m.WRITES_REFUSED, database=self._name, code=StorageFull.code)
            return
        if item.frees_space and self._full and self._ballast.held and self._config.ballast_bytes:
            self._release_ballast()
        if item.many:
            item.result = [self._run_work(partial(item.work, self._connection, argument)) for argument in item.arguments]
            return
        arguments = () if item.for_all is None else item.arguments
        result = self._run_work(partial(item.work, self._connection, *arguments))
        if isinstance(result, Failure):
            item.error = result.error
        else:
            item.result = result

    def _run_work(self, work: Callable[[], Any]) -> Any:
        """The result of one work in a savepoint of its own, or its failure. Raises what ended the whole transaction."""
        execute = self._connection.execute
        execute("SAVEPOINT work")
        try:
            result = work()
        except Exception as error:
            self._check_transaction(error)
            execute("ROLLBACK TO work")
            execute("RELEASE work")
            if isinstance(error, apsw.Error) and isinstance(translate(error, self._connection), StorageFull):
                raise
            return Failure(self._known(error))
        execute("RELEASE work")
        return result

    def _known(self, error: BaseException) -> BaseException:
        """`error` as the caller shall see it."""
        if not isinstance(error, apsw.Error):
            return error
        if is_failed_sync(error):
            self._end_process()
        known = translate(error, self._connection)
        if known is None:
            return error
        known.__cause__ = error
        self._metrics.inc(m.WRITES_REFUSED, database=self._name, code=known.code)
        return known

    def _fail(self, group: list[Item], error: apsw.Error) -> None:
        """The transaction is lost: nothing of the group was written, and everyone is told why."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for item in group:
            if item.error is None:
                item.result, item.error = None, self._known(error)
        if not isinstance(translate(error, self._connection), StorageFull):
            return
        self._enter_full()
        if any(item.frees_space for item in group) and self._ballast.held and self._config.ballast_bytes:
            self._retry_with_ballast([item for item in group if item.frees_space])

    # Disk full

    def _has_room(self) -> bool:
        """Whether ordinary writes may try: the ballast is there, or trimming has made as much room inside the file."""
        if self._ballast.held:
            return True
        now_s = self._clock.monotonic_s()
        if now_s - self._ballast_tried_s >= BALLAST_RETRY_S:
            self._ballast_tried_s = now_s
            if self._ballast.hold():
                logger.info("sqlite_ballast_restored", database=self._name)
                self._report_space()
                return True
        return int(self._connection.pragma("freelist_count")) * self._page_bytes >= self._config.ballast_bytes

    def _enter_full(self) -> None:
        if not self._full:
            logger.error("sqlite_storage_full", database=self._name)
        self._full = True
        self._report_space()

    def _leave_full(self, group: Sequence[Item]) -> None:
        if any(item.error is None and not item.frees_space for item in group):
            logger.info("sqlite_storage_recovered", database=self._name)
            self._full = False
            self._report_space()

    def _release_ballast(self) -> None:
        logger.warning("sqlite_ballast_released", database=self._name, bytes=self._ballast.held_bytes)
        self._ballast.release()
        self._ballast_tried_s = self._clock.monotonic_s()
        self._report_space()

    def _retry_with_ballast(self, freeing: Sequence[Item]) -> None:
        """Give up the ballast and run what frees space once more."""
        self._release_ballast()
        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for item in freeing:
                item.error = None
                self._run_item(item)
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for item in freeing:
                item.result, item.error = None, self._known(error)
        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _report_space(self) -> None:
        self._metrics.set(m.STORAGE_FULL, self._full, database=self._name)
        self._metrics.set(m.BALLAST_BYTES, self._ballast.held_bytes, database=self._name)

    # Write-ahead log

    def _note_wal(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self, mode: int) -> None:
        """Copy the write-ahead log into the database, so that the next commit starts it anew. A full disk leaves it for later."""
        start_s = self._clock.monotonic_s()
        try:
            pages, copied = self._connection.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            if is_failed_sync(error):
                self._end_process()
            if isinstance(translate(error, self._connection), StorageFull):
                self._enter_full()
            logger.warning("sqlite_checkpoint_failed", database=self._name, error=str(error))
            return
        self._metrics.observe(m.CHECKPOINT_SECONDS, self._clock.monotonic_s() - start_s, database=self._name)
        self._wal_pages = pages - copied
        self._metrics.set(m.WAL_BYTES, pages * self._page_bytes, database=self._name)

    def _end_process(self) -> NoReturn:
        logger.critical("sqlite_process_ends", database=self._name, exit_status=EXIT_STATUS)
        sys.stdout.flush()
        sys.stderr.flush()
        self._platform.exit_process(EXIT_STATUS)
        raise _Stopped

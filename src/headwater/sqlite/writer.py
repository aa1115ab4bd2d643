"""The writer thread of one SQLite file: collects what waits and commits it as one durable transaction.

Invariants: a caller is answered only after the fsync of the commit that holds its work; work runs in the order in which it was given; a
work that raises leaves nothing behind and does not disturb its neighbours; after a failed fsync the process ends at once and never tries
again, since the kernel may have dropped the pages and would report success.
"""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

import apsw
import structlog

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
BALLAST_RETRY_S = 1.0

Work = Callable[[apsw.Connection], Any]


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


@dataclass(slots=True, eq=False)
class Item:
    """One write on its way: the work, how to tell its caller, and then what came of it."""

    work: Work
    caller: Any
    frees_space: bool = False
    result: Any = None
    error: BaseException | None = None


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
        self._queue: SimpleQueue[Item | None] = SimpleQueue()
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

    def put(self, item: Item) -> None:
        """Hand in one write. Thread-safe, never blocks."""
        self._queue.put(item)
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
        rest: list[Item] = []
        with suppress(Empty):
            while True:
                item = self._queue.get_nowait()
                if item is not None:
                    item.error = Unavailable("the database has been closed")
                    rest.append(item)
        self._answer(rest)

    def _serve(self) -> None:
        stopping = False
        while not stopping:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            try:
                stopping = self._commit(group)
            except _Stopped:
                for item in group:
                    item.error = OutcomeUnknown("the disk failed while this was written")
                self._answer(group)
                raise
            self._answer(group)
            if self._wal_pages * self._page_bytes >= self._config.wal_bytes_max:
                self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _commit(self, group: list[Item]) -> bool:
        """Run the first item and all that wait behind it, commit, and fill in what came of each; say whether to stop afterwards."""
        start_s = self._clock.monotonic_s()
        try:
            stopping = self._collect(group, start_s)
        except apsw.Error as error:
            self._fail(group, error)
            return False
        self._metrics.inc(m.COMMITS, database=self._name)
        self._metrics.observe(m.COMMIT_SECONDS, self._clock.monotonic_s() - start_s, database=self._name)
        self._metrics.observe(m.GROUP_WRITES, len(group), database=self._name)
        if self._full:
            self._leave_full(group)
        return stopping

    def _collect(self, group: list[Item], start_s: float) -> bool:
        stopping = False
        index = 0
        self._connection.execute("BEGIN IMMEDIATE")
        while True:
            self._run_item(group[index])
            index += 1
            if index == self._config.group_writes_max or self._clock.monotonic_s() - start_s > GROUP_SECONDS_MAX:
                break
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None:
                stopping = True
                break
            group.append(item)
        self._connection.execute("COMMIT")
        return stopping

    def _run_item(self, item: Item) -> None:
        """Run one work in a savepoint of its own. Raises what ended the whole transaction."""
        if not item.frees_space and not self._has_room():
            item.error = StorageFull("the disk is full; writes resume when there is space")
            self._metrics.inc(m.WRITES_REFUSED, database=self._name, code=StorageFull.code)
            return
        if item.frees_space and self._full and self._ballast.held and self._config.ballast_bytes:
            self._release_ballast()
        execute = self._connection.execute
        execute("SAVEPOINT work")
        try:
            item.result = item.work(self._connection)
        except Exception as error:
            if not self._connection.in_transaction:
                # SQLite itself has rolled everything back, for want of space or memory; the work may have wrapped its error.
                raise (error.__cause__ if isinstance(error.__cause__, apsw.Error) else error) from None
            execute("ROLLBACK TO work")
            execute("RELEASE work")
            if isinstance(error, apsw.Error) and isinstance(translate(error, self._connection), StorageFull):
                raise
            item.error = self._known(error)
            return
        execute("RELEASE work")

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
        try:
            pages, copied = self._connection.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            if is_failed_sync(error):
                self._end_process()
            if isinstance(translate(error, self._connection), StorageFull):
                self._enter_full()
            logger.warning("sqlite_checkpoint_failed", database=self._name, error=str(error))
            return
        self._wal_pages = pages - copied
        self._metrics.set(m.WAL_BYTES, pages * self._page_bytes, database=self._name)

    def _end_process(self) -> NoReturn:
        logger.critical("sqlite_process_ends", database=self._name, exit_status=EXIT_STATUS)
        sys.stdout.flush()
        sys.stderr.flush()
        self._platform.exit_process(EXIT_STATUS)
        raise _Stopped

"""Copies the write-ahead log of a file into its database beside the writer thread, so that writes do not wait for it.

SQLite lets one connection copy while another commits. What is committed meanwhile stays for the writer, which copies that short rest
itself: only a commit that finds the whole log copied begins it anew.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import apsw

from headwater.sqlite.errors import is_failed_sync


class Copier:
    """A thread and a connection of its own, made when first needed. Belongs to the writer thread.

    After a failed fsync `end_process` is called in the copier's thread; what it raises reaches the writer by its next call.
    """

    def __init__(self, open_connection: Callable[[], apsw.Connection], *, name: str, end_process: Callable[[], object]) -> None:
        self._open = open_connection
        self._end_process = end_process
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite-copy-{name}")
        self._connection: apsw.Connection | None = None
        self._run: Future[int | None] | None = None

    def begin(self) -> None:
        """Copy what the log holds now, unless that is under way."""
        if self._run is None or self._run.done():
            self.finish()
            self._run = self._executor.submit(self._copy)

    @property
    def is_idle(self) -> bool:
        """Whether nothing has been begun since the last `finish`."""
        return self._run is None

    @property
    def copied_pages(self) -> int | None:
        """How many pages of the log are in the database, as the run begun last has left it. None: not over yet, or it failed."""
        return self._run.result() if self._run is not None and self._run.done() else None

    def finish(self) -> None:
        """Wait for the end of what is under way, and forget what came of it."""
        run, self._run = self._run, None
        if run is not None:
            run.result()

    def close(self) -> None:
        """Wait, and give everything back."""
        self._executor.shutdown()
        if self._connection is not None:
            self._connection.close()

    def _copy(self) -> int | None:
        try:
            if self._connection is None:
                self._connection = self._open()
            _, copied = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            if is_failed_sync(error):
                self._end_process()
            return None  # the writer copies it all when the log has grown further: it meets the same error and deals with it
        return copied

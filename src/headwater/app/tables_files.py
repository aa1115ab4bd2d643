"""What an operator does to the file of tables: backups while it is used, restoring while it is not.

Both read every row before they say that they have succeeded. A restored file is of the past, and readers of change streams may have been
ahead of it: `headwater.tables.engines.sqlite.restoring` says how they learn of that.
"""

from dataclasses import dataclass
from pathlib import Path

import structlog

from headwater.app.storage import TABLES_FILE, owned_directory
from headwater.kernel.clock import Clock
from headwater.sqlite.copying import check, copy_to, put_in_place
from headwater.tables.engines.sqlite.examining import Contents, examine
from headwater.tables.engines.sqlite.restoring import bring_to_format, given_by, move_on

__all__ = ["COPY_FILE", "Contents", "TableFiles"]

COPY_FILE = "tables-restoring.sqlite"

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The hands of an operator on the file of tables in a data directory."""

    data_dir: Path
    clock: Clock

    @property
    def store(self) -> Path:
        """The file that is served."""
        return self.data_dir / TABLES_FILE

    def backup(self, target: Path) -> Contents:
        """Copy the store into the new file `target`, while it may be served, and read the copy as a whole.

        Raises:
            NotFound: there is no store yet.
            InvalidInput: the target exists.
            Corrupted: the store is damaged; there is no target then.
            StorageFull, Unavailable: the disk is full or fails; there is no target then.
        """
        copy_to(self.store, target)
        try:
            contents = examine(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        _logger.info("tables_backed_up", target=str(target), rows=contents.rows)
        return contents

    def restore(self, source: Path, *, dry_run: bool = False) -> Contents:
        """Put a backup in place of the store, while no process runs on the data directory. A kill leaves the old store or the new one.

        Args:
            source: a file that `backup` made.
            dry_run: look at all of it and whether a process runs, and put nothing in place.

        Raises:
            AlreadyOwned: a process runs.
            NotFound, Corrupted, FormatTooNew: there is no usable backup; the store is as it was.
            StorageFull, Unavailable: the disk; the store is as it was.
        """
        check(source)
        with owned_directory(self.data_dir):
            copy = self.data_dir / COPY_FILE
            copy.unlink(missing_ok=True)  # of a restore that was killed
            copy_to(source, copy)
            try:
                now_ms = self.clock.now_ms()
                bring_to_format(copy, now_ms=now_ms)
                contents = examine(copy)
                if not dry_run:
                    move_on(copy, given_by(self.store), now_ms=now_ms)
                    put_in_place(copy, self.store)
                    _logger.info("tables_restored", source=str(source), rows=contents.rows)
            finally:
                copy.unlink(missing_ok=True)
        return contents

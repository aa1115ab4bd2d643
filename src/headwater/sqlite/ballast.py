"""Space held in reserve beside a database.

On a full disk even a DELETE fails, since in WAL mode it first needs room in the write-ahead log. So some room is occupied while there is
plenty and given up when records must be trimmed to make space.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

Allocate = Callable[[int, int, int], None]


class Ballast:
    """The file `<database>.ballast`. Belongs to the writer thread."""

    def __init__(self, database: Path, bytes: int, allocate: Allocate = os.posix_fallocate) -> None:
        self._path = database.with_name(database.name + ".ballast")
        self._bytes = bytes
        self._allocate = allocate
        self.held = False

    @property
    def held_bytes(self) -> int:
        """Bytes in reserve now."""
        return self._bytes if self.held else 0

    def exists(self) -> bool:
        """Whether an earlier process left one behind that holds space."""
        return self._path.exists() and self._path.stat().st_size > 0

    def hold(self) -> bool:
        """Occupy the space, blocks and not only a length; say whether it is held."""
        if self.held or not self._bytes:
            self.held = True
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return False
            raise
        try:
            if os.fstat(descriptor).st_size != self._bytes:
                os.ftruncate(descriptor, 0)
                self._allocate(descriptor, 0, self._bytes)
            self.held = True
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)
        return self.held

    def release(self) -> None:
        """Give the space up."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self.held = not self._bytes

"""One process owns a data directory."""

import contextlib
import fcntl
import os
from pathlib import Path

from headwater.kernel.errors import AlreadyOwned

_PID_BYTES_MAX = 32


class DirectoryLock:
    """An exclusive lock on `<directory>/lock`, given up by the operating system when the process dies, however it dies."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Create the directory if need be and own it; the file then holds the process id.

        Raises:
            AlreadyOwned: another process owns it, or this one does through another lock.
        """
        assert self._descriptor is None, "the lock is held"
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, _PID_BYTES_MAX).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyOwned(
                f"data directory {self._path.parent} is owned by process {owner}; stop that process or choose another data_dir"
            ) from error
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # on a full disk the owner has no name, and is the owner all the same
            os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))

    def release(self) -> None:
        """Give the directory up. The file stays, since removing it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

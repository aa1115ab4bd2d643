"""A disk that counts, remembers and fails: an SQLite VFS for tests of durability.

`FaultVfs` passes everything on to the real file system and

* counts what is synced,
* keeps a journal of writes, syncs, truncations and deletions, from which `power_cut` builds what could be on the disk if the power
  had failed at any moment: what was synced is there, of everything since any subset of 512-byte sectors;
* fails an operation at its Nth call, or every write that would take the directory beyond a quota.
"""

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count, pairwise
from pathlib import Path
from typing import Protocol

import apsw

SECTOR_BYTES = 512
_numbers = count(1)


class Operation(Enum):
    """What can fail, with the extended result code that SQLite's own VFS gives."""

    READ = apsw.SQLITE_IOERR_READ
    WRITE = apsw.SQLITE_IOERR_WRITE
    SYNC = apsw.SQLITE_IOERR_FSYNC
    TRUNCATE = apsw.SQLITE_IOERR_TRUNCATE


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written to a file, not durable before a `Sync` of it."""

    file: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file cut or extended, not durable before a `Sync` of it."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything written to a file is durable; `directory` if its entry, and those of files deleted before, are too."""

    file: str
    directory: bool


@dataclass(frozen=True, slots=True)
class Delete:
    """A file removed, not durable before the directory is."""

    file: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that the test wants to place in time, such as an answer."""

    what: object


Event = Write | Truncate | Sync | Delete | Mark


@dataclass(slots=True)
class _Fault:
    operation: Operation
    file_suffix: str
    calls_left: int
    lasting: bool


@dataclass(slots=True)
class Disk:
    """The state of a `FaultVfs`.

    Attributes:
        journal: what happened, in order, if `recording`.
        syncs: how often each file was synced.
        quota_bytes: how many bytes the files of `directory` may have, None for any number.
        sync_delay_s: how long a sync takes at least.
    """

    directory: Path
    recording: bool = False
    quota_bytes: int | None = None
    sync_delay_s: float = 0.0
    journal: list[Event] = field(default_factory=list)
    syncs: Counter[str] = field(default_factory=Counter)
    _faults: list[_Fault] = field(default_factory=list)

    def mark(self, what: object) -> None:
        """Note in the journal that something happened now."""
        self.journal.append(Mark(what))

    def fail(self, operation: Operation, *, file_suffix: str = "", nth: int = 1, lasting: bool = False) -> None:
        """Let the `nth` call from now on files that end in `file_suffix` fail, and with `lasting` all later ones too."""
        self._faults.append(_Fault(operation, file_suffix, nth, lasting))

    def heal(self) -> None:
        """Forget every planned failure."""
        self._faults.clear()

    def note(self, event: Event) -> None:
        """Add to the journal."""
        if self.recording:
            self.journal.append(event)

    def check(self, operation: Operation, file: str) -> None:
        """Raise what was planned for this call."""
        for fault in self._faults:
            if fault.operation is operation and file.endswith(fault.file_suffix):
                fault.calls_left -= 1
                if fault.calls_left == 0 or (fault.calls_left < 0 and fault.lasting):
                    error = apsw.IOError(f"injected: {operation.name} of {file}")
                    error.extendedresult = operation.value  # type: ignore[attr-defined] # read by apsw
                    raise error

    def used_bytes(self) -> int:
        """Bytes of all files in the directory but the index of the write-ahead log, which lives in memory."""
        return sum(path.stat().st_size for path in self.directory.iterdir() if path.is_file() and not path.name.endswith("-shm"))

    def make_room(self, grow_bytes: int) -> bool:
        """Whether the quota lets a file grow that much."""
        quota_bytes = self.quota_bytes  # a test may lift it while the writer asks
        return quota_bytes is None or grow_bytes <= 0 or self.used_bytes() + grow_bytes <= quota_bytes

    def allocate(self, descriptor: int, offset: int, length: int) -> None:
        """`os.posix_fallocate` under the quota, for `Platform.allocate`."""
        if not self.make_room(offset + length - os.fstat(descriptor).st_size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(descriptor, offset, length)


class _File(apsw.VFSFile):
    """One open file."""

    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk = disk
        self._name = Path(path).name if path else "(temporary)"
        journalled = flags[0] & (apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL)
        self._new_entry = bool(journalled and path and not Path(path).exists())
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - the driver's name
        """Read, unless told to fail."""
        self._disk.check(Operation.READ, self._name)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the driver's name
        """Write, unless told to fail or out of room."""
        self._disk.check(Operation.WRITE, self._name)
        if self._disk.quota_bytes is not None and not self._disk.make_room(offset + len(data) - self.xFileSize()):
            raise apsw.FullError("injected: no space left on device")
        super().xWrite(data, offset)
        self._disk.note(Write(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - the driver's name
        """Cut, unless told to fail."""
        self._disk.check(Operation.TRUNCATE, self._name)
        super().xTruncate(newsize)
        self._disk.note(Truncate(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - the driver's name
        """Sync, unless told to fail; only then is it in the journal."""
        self._disk.check(Operation.SYNC, self._name)
        super().xSync(flags)
        if self._disk.sync_delay_s:
            time.sleep(self._disk.sync_delay_s)
        self._disk.syncs[self._name] += 1
        self._disk.note(Sync(self._name, directory=self._new_entry))
        self._new_entry = False


class FaultVfs(apsw.VFS):
    """A VFS over `disk`; give `vfs_name` to `Platform.vfs`, and keep the object as long as a database is open."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.vfs_name = f"headwater-fault-{next(_numbers)}"
        super().__init__(self.vfs_name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 - the driver's name
        """Open a file that reports to the disk."""
        return _File(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - the driver's name
        """Remove a file."""
        super().xDelete(filename, syncdir)
        self.disk.note(Delete(Path(filename).name))


class Lot(Protocol):
    """Draws lots, as `random.Random` with a seed does."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def randrange(self, stop: int, /) -> int:
        """An int in [0, stop)."""
        ...


class Loss(Enum):
    """How much of what was not synced is on the disk after a power cut."""

    ALL = "all"  # nothing of it was written
    NONE = "none"  # all of it was written
    WRITES = "writes"  # whole writes, chosen by lot
    SECTORS = "sectors"  # single sectors, chosen by lot: torn pages
    EARLIER = "earlier"  # only the latest writes
    LATER = "later"  # only the earliest writes, the last of them torn


def power_cut(journal: Sequence[Event], *, at: int, loss: Loss, lot: Lot, into: Path) -> None:
    """Write into the empty directory `into` what could be on the disk had the power failed before event `at`."""
    durable: dict[str, bytearray] = {}
    pending: dict[str, list[Write | Truncate]] = {}
    deleted: set[str] = set()
    for event in journal[:at]:
        match event:
            case Write(file) | Truncate(file):
                pending.setdefault(file, []).append(event)
            case Sync(file, directory):
                for change in pending.pop(file, ()):
                    _apply(durable.setdefault(file, bytearray()), change)
                if directory:
                    for gone in deleted:
                        durable.pop(gone, None)
                    deleted.clear()
            case Delete(file):
                pending.pop(file, None)
                deleted.add(file)
            case Mark():
                pass
    for file, changes in pending.items():
        content = durable.setdefault(file, bytearray())
        for change in _survivors(changes, loss, lot):
            _apply(content, change)
    for file in deleted:
        if loss is Loss.NONE or (loss is not Loss.ALL and lot.random() < 0.5):
            durable.pop(file, None)
    for file, content in durable.items():
        (into / file).write_bytes(content)


def broken_images(
    journal: Sequence[Event], *, images: int, directory: Path, lot: Lot, verify: Callable[[Path, Sequence[Event]], None]
) -> list[str]:
    """Build that many disks out of a recording, all kinds of losses in turn, and verify each; returns those that failed.

    The power fails at any event after the first mark. `verify` is given the disk and what had happened by then; it raises where the disk is
    not what it has to be.
    """
    losses = list(Loss)
    first = next(index for index, event in enumerate(journal) if isinstance(event, Mark))
    failures: list[str] = []
    for number in range(images):
        image = directory / f"image-{number}"
        image.mkdir()
        loss, at = losses[number % len(losses)], first + 1 + lot.randrange(len(journal) - first)
        power_cut(journal, at=at, loss=loss, lot=lot, into=image)
        try:
            verify(image, journal[:at])
        except Exception as error:  # a torn database fails in any way it likes
            failures.append(f"image {number}, {loss}, cut at {at}: {error!r}")
        shutil.rmtree(image)
    return failures


def _survivors(changes: Sequence[Write | Truncate], loss: Loss, lot: Lot) -> Iterable[Write | Truncate]:
    """Which of the changes that were not synced reached the disk."""
    cut = lot.randrange(len(changes) + 1)
    match loss:
        case Loss.ALL:
            return ()
        case Loss.NONE:
            return changes
        case Loss.WRITES:
            return [change for change in changes if lot.random() < 0.5]
        case Loss.SECTORS:
            return [sector for change in changes for sector in _sectors(change) if lot.random() < 0.5]
        case Loss.EARLIER:
            return changes[cut:]
        case Loss.LATER:
            return [*changes[:cut], *(sector for change in changes[cut : cut + 1] for sector in _sectors(change) if lot.random() < 0.5)]


def _sectors(change: Write | Truncate) -> Iterable[Write | Truncate]:
    """A write as the sectors that a disk writes one by one."""
    if isinstance(change, Truncate):
        return (change,)
    end = change.offset + len(change.data)
    edges = [change.offset, *range(change.offset - change.offset % SECTOR_BYTES + SECTOR_BYTES, end, SECTOR_BYTES), end]
    return [
        Write(change.file, start, change.data[start - change.offset : stop - change.offset])
        for start, stop in pairwise(edges)
        if stop > start
    ]


def _apply(content: bytearray, change: Write | Truncate) -> None:
    size = change.size if isinstance(change, Truncate) else change.offset + len(change.data)
    if size > len(content):
        content.extend(bytes(size - len(content)))
    if isinstance(change, Truncate):
        del content[size:]
    else:
        content[change.offset : size] = change.data

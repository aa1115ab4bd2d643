"""The service keys: files of 32 random bytes that only their owner may read, and the ring of those in use.

A directory holds `<id>.key` files of mode 0400 and a file `active` with the id that new rows are sealed under. To rotate, `add` makes
a file, every process is told to read the ring again, `activate` makes the new key the one for writing; when no row is sealed under the
old one any more, it is retired. Reads try every key of the ring, so no step has to happen everywhere at once.
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headwater.kernel.durability import sync_directory, write_durably
from headwater.kernel.ids import Ids
from headwater.sessions.errors import KeysUnusable
from headwater.sessions.model import KeyId
from headwater.sessions.sealing import MASTER_BYTES, ServiceKey, derive

KEY_MODE = 0o400
DIRECTORY_MODE = 0o700
KEYS_MAX = 8
KEY_ID_MAX = 65_535
_FILE_NAME = re.compile(r"([1-9]\d{0,4})\.key")
_ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Service keys in use.

    Attributes:
        keys: the active one first, then the others, newest first.
    """

    keys: tuple[ServiceKey, ...]

    def __post_init__(self) -> None:
        assert self.keys and len({key.id for key in self.keys}) == len(self.keys)

    @property
    def active(self) -> ServiceKey:
        """The key that rows are written under."""
        return self.keys[0]

    @property
    def ids(self) -> frozenset[KeyId]:
        """The ids of all keys."""
        return frozenset(key.id for key in self.keys)


def ring_of(masters: Mapping[KeyId, bytes], *, active: KeyId) -> KeyRing:
    """The ring of these master keys.

    Raises:
        KeysUnusable: the active key is not among them.
    """
    if active not in masters:
        raise KeysUnusable(f"key {active} is to be active and has no file")
    order = [active, *sorted((key_id for key_id in masters if key_id != active), reverse=True)]
    return KeyRing(tuple(derive(key_id, masters[key_id]) for key_id in order))


def load_ring(directory: Path, *, ids: Sequence[KeyId] | None = None, active: KeyId | None = None) -> KeyRing:
    """Read the ring of a directory.

    Args:
        directory: where the files lie.
        ids: the keys to use; None: all that have a file.
        active: the key to write under; None: what the file `active` says.

    Raises:
        KeysUnusable: a file is missing, of another size, another owner's, a copy of another, or open to anybody but its owner.
    """
    chosen = list(ids) if ids is not None else key_ids(directory)
    if len(chosen) > KEYS_MAX:
        raise KeysUnusable(f"{len(chosen)} keys are in use, at most {KEYS_MAX} can be: retire some")
    masters = {key_id: _read_key(_file(directory, key_id)) for key_id in chosen}
    if len(set(masters.values())) < len(masters):
        raise KeysUnusable(f"two of the keys in {directory} are the same: a copy of a key under another id changes nothing")
    return ring_of(masters, active=active if active is not None else active_id(directory))


def key_ids(directory: Path) -> list[KeyId]:
    """The ids that have a file, in order; none if there is no directory."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(KeyId(int(match[1])) for each in directory.iterdir() if (match := _FILE_NAME.fullmatch(each.name)))
    return []


def active_id(directory: Path) -> KeyId:
    """What the file `active` says.

    Raises:
        KeysUnusable: there is no such file, or it holds no id.
    """
    try:
        return KeyId(int((directory / _ACTIVE).read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as error:
        raise KeysUnusable(f"{directory} does not say which key is active: run `headwater sessions keys init`") from error


def init_keys(directory: Path, ids: Ids) -> KeyId:
    """Make the directory and its first key, active.

    Raises:
        KeysUnusable: there are keys already, or the directory cannot be made.
    """
    if key_ids(directory):
        raise KeysUnusable(f"{directory} has keys already; add one to rotate")
    first = KeyId(1)
    with _as_unusable(directory):
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        _write_key(_file(directory, first), ids.token(MASTER_BYTES))
        _write_active(directory, first)
    return first


def add_key(directory: Path, ids: Ids) -> KeyId:
    """Make a further key, for reading only until it is activated.

    Raises:
        KeysUnusable: there is no ring yet, it is full, or the file cannot be written.
    """
    present = key_ids(directory)
    if not present:
        raise KeysUnusable(f"{directory} has no keys yet: run `headwater sessions keys init`")
    if len(present) >= KEYS_MAX:
        raise KeysUnusable(f"{KEYS_MAX} keys are in use: retire one first")
    added = KeyId(present[-1] + 1)
    if added > KEY_ID_MAX:
        raise KeysUnusable(f"key ids end at {KEY_ID_MAX}")
    with _as_unusable(directory):
        _write_key(_file(directory, added), ids.token(MASTER_BYTES))
    return added


def activate_key(directory: Path, key_id: KeyId) -> None:
    """Let new rows be sealed under this key, once processes have read the ring again.

    Raises:
        KeysUnusable: the key has no usable file.
    """
    if key_id not in (present := key_ids(directory)):
        raise KeysUnusable(f"key {key_id} has no file in {directory}; there is {', '.join(map(str, present)) or 'none'}")
    _read_key(_file(directory, key_id))
    with _as_unusable(directory):
        _write_active(directory, key_id)


def retire_key(directory: Path, key_id: KeyId, *, rows: int) -> None:
    """Delete the file of a key that `rows` rows are sealed under; what it sealed can then never be read again.

    Raises:
        KeysUnusable: it is active, rows still need it, or it has no file.
    """
    refuse_to_retire(directory, key_id, rows=rows)
    with _as_unusable(directory):
        _file(directory, key_id).unlink()
        sync_directory(directory)


def refuse_to_retire(directory: Path, key_id: KeyId, *, rows: int) -> None:
    """Refuse what would lose sessions.

    Raises:
        KeysUnusable: the key is active, `rows` rows still need it, or it has no file.
    """
    if key_id == active_id(directory):
        raise KeysUnusable(f"key {key_id} is active: activate another one first")
    if rows:
        raise KeysUnusable(f"{rows} rows are sealed under key {key_id}: they move when they are used, or end")
    if key_id not in key_ids(directory):
        raise KeysUnusable(f"key {key_id} has no file")


def _file(directory: Path, key_id: KeyId) -> Path:
    return directory / f"{key_id}.key"


def _read_key(path: Path) -> bytes:
    try:
        # Without waiting: a pipe in the place of a key would hold the service up at a reload.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise KeysUnusable(f"{path} cannot be read: {error.strerror}") from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or stat.S_IMODE(state.st_mode) != KEY_MODE or state.st_uid != os.geteuid():
            raise KeysUnusable(f"{path} has to be a file of mode 0400 that belongs to the user of this process")
        content = os.read(descriptor, MASTER_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) != MASTER_BYTES:
        raise KeysUnusable(f"{path} has to hold exactly {MASTER_BYTES} bytes")
    return content


def _write_key(path: Path, master: bytes) -> None:
    """Durable before it is used: a row under a key that a power cut took away would be lost."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
    try:
        os.fchmod(descriptor, KEY_MODE)
        os.write(descriptor, master)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.link(new, path)  # unlike a rename it never replaces a key
    new.unlink()
    sync_directory(path.parent)


def _write_active(directory: Path, key_id: KeyId) -> None:
    write_durably(directory / _ACTIVE, b"%d\n" % key_id)


class _as_unusable:  # noqa: N801 - reads as a phrase
    """Turns errors of the file system into KeysUnusable."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise KeysUnusable(f"{self._directory} cannot be changed: {error.strerror}") from error

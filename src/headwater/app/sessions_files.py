"""What an operator does to the files of sessions: service keys, backups, restoring. Every act that changes something is noted.

The note is a line of JSON in `audit.jsonl` beside the data: when, who, what, and no key, id, value or subject. Restoring a backup would
bring back sessions that were logged out or revoked since, so it invalidates all of them, unless somebody says otherwise and why.
"""

import json
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from headwater.app.sessions_config import Places
from headwater.kernel.clock import Clock, iso_utc
from headwater.kernel.durability import write_durably
from headwater.kernel.errors import AlreadyOwned, InvalidConfig, InvalidInput, Unavailable
from headwater.kernel.ids import Ids
from headwater.sessions.config import KeysConfig
from headwater.sessions.engines.sqlite_files import bring_to_format, forget_sessions, rows_by_key
from headwater.sessions.keys import KeyRing, activate_key, active_id, add_key, init_keys, key_ids, load_ring, refuse_to_retire, retire_key
from headwater.sessions.model import KeyId
from headwater.sqlite.copying import check, copy_to, put_in_place
from headwater.sqlite.lock import DirectoryLock

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyState:
    """One service key: whether new rows are sealed under it, and how many rows are now."""

    id: KeyId
    active: bool
    rows: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What restoring did: sessions in the backup, and whether they are valid now."""

    sessions: int
    kept: bool


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """The hands of an operator on the files of sessions."""

    places: Places
    clock: Clock
    ids: Ids

    def init_keys(self) -> KeyId:
        """Make the first key. Raises KeysUnusable."""
        made = init_keys(self.places.keys, self.ids)
        self.note("keys-init", key_id=made)
        return made

    def add_key(self) -> KeyId:
        """Make a further key, to read with. Raises KeysUnusable."""
        made = add_key(self.places.keys, self.ids)
        self.note("keys-add", key_id=made)
        return made

    def activate_key(self, key_id: KeyId) -> None:
        """Let a key be the one to write with, from the next start or reload of the process on. Raises KeysUnusable."""
        activate_key(self.places.keys, key_id)
        self.note("keys-activate", key_id=key_id)

    def retire_key(self, key_id: KeyId, *, dry_run: bool = False) -> None:
        """Delete a key; with `dry_run` only say whether that would be refused.

        Raises:
            KeysUnusable: it is active, or rows are sealed under it.
            InvalidInput: a running process still writes under it.
        """
        if self._writes_under() == key_id != active_id(self.places.keys):  # of an active one there is more to say than to reload
            raise InvalidInput(f"the running process still writes under key {key_id}: tell it to reload (SIGHUP) first")
        rows = rows_by_key(self.places.store).get(key_id, 0)
        if dry_run:
            refuse_to_retire(self.places.keys, key_id, rows=rows)
            return
        retire_key(self.places.keys, key_id, rows=rows)
        self.note("keys-retire", key_id=key_id)

    def list_keys(self) -> list[KeyState]:
        """Every key that has a file."""
        rows, active = rows_by_key(self.places.store), active_id(self.places.keys)
        return [KeyState(key_id, key_id == active, rows.get(key_id, 0)) for key_id in key_ids(self.places.keys)]

    def backup(self, target: Path) -> None:
        """Copy the store into the new file `target` while the process may be running. The keys are not in it.

        Raises:
            NotFound: there is no store yet.
            InvalidInput: the target exists.
            HeadwaterError: the disk is full, failing or damaged; there is no target then.
        """
        copy_to(self.places.store, target)
        self.note("backup", target=str(target))

    def restore(self, source: Path, *, keep_because: str | None, dry_run: bool = False) -> Restored:
        """Put a backup in place of the store, while no process runs on it.

        Args:
            source: a file that `backup` made.
            dry_run: look at the backup and whether the process runs, and do nothing.
            keep_because: why the sessions in it stay valid, those that were logged out or revoked since included; None: none stays.

        Raises:
            AlreadyOwned: the process of sessions runs.
            NotFound, Corrupted, FormatTooNew: there is no usable backup.
            StorageFull, Unavailable: the disk; the store is as it was.
        """
        check(source)
        with self._owned():
            copy = self.places.own / "restoring.sqlite"
            copy.unlink(missing_ok=True)
            copy_to(source, copy)
            try:
                bring_to_format(copy, now_ms=self.clock.now_ms())
                sessions = sum(rows_by_key(copy).values())
                if dry_run:
                    return Restored(sessions, keep_because is not None)
                if keep_because is None:
                    forget_sessions(copy)
                    # Rows that somebody puts back by hand are of generations that are over, once the process has seen this mark.
                    _write(self.places.invalidate, b"")
                self.note("restore", source=str(source), sessions=sessions, kept=keep_because is not None, reason=keep_because)
                put_in_place(copy, self.places.store)
            finally:
                copy.unlink(missing_ok=True)
        return Restored(sessions, keep_because is not None)

    def note(self, act: str, **facts: object) -> None:
        """Write an act down, durably, before or after it is done. Raises Unavailable."""
        line = json.dumps({"time": iso_utc(self.clock.now_ms()), "act": act, "by": _who(), **facts}, ensure_ascii=False)
        self.places.own.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.places.audit, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line.encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(f"{self.places.audit} cannot be written: {error.strerror}") from error
        _logger.info("sessions_administered", act=act, **facts)

    def _writes_under(self) -> KeyId | None:
        """The key that a running process writes under, None where none runs."""
        try:
            with self._owned():
                return None
        except AlreadyOwned:
            try:
                return KeyId(int(self.places.writing_key.read_text()))
            except (OSError, ValueError) as error:
                raise Unavailable("the running process does not say which key it writes under") from error

    @contextmanager
    def _owned(self) -> Iterator[None]:
        lock = DirectoryLock(self.places.own)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()


def ring_in_use(places: Places, config: KeysConfig, ids: Ids) -> KeyRing:
    """The service keys that the configuration names; the embedded default makes its first one itself.

    Raises:
        InvalidConfig: others may look into the directory of the keys.
        KeysUnusable: a key is missing or unusable.
    """
    if not places.keys_are_given and not places.store.exists():
        _make_first_key(places.keys, ids)
    if places.keys.exists() and stat.S_IMODE(places.keys.stat().st_mode) & 0o077:
        raise InvalidConfig(f"{places.keys} is open to others: its mode has to be 0700", where="sessions.keys.directory")
    active = None if config.active is None else KeyId(config.active)
    return load_ring(places.keys, ids=[KeyId(one) for one in config.ids] or None, active=active)


def _make_first_key(directory: Path, ids: Ids) -> None:
    present = key_ids(directory)
    if not present:
        init_keys(directory, ids)
    elif len(present) == 1 and not (directory / "active").exists():  # the process died between the two steps of the first start
        activate_key(directory, present[0])


def say_writing_key(places: Places, ring: KeyRing) -> None:
    """Tell `keys retire` under which key this process writes from now on. Raises Unavailable."""
    _write(places.writing_key, b"%d\n" % ring.active.id)


def keys_joining(places: Places, ring: KeyRing) -> frozenset[KeyId]:
    """The keys of a ring that were not in use until now: new ones, and those that come back. None where no ring was noted before.

    Raises:
        Unavailable: the note cannot be read.
    """
    try:
        noted = {KeyId(int(line)) for line in places.keys_in_use.read_text().splitlines()}
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise Unavailable(f"{places.keys_in_use} cannot be read: it says which keys were in use") from error
    if not noted:  # a ring has a key, so this was never noted, and every session would be ended for it
        raise Unavailable(f"{places.keys_in_use} is empty: it says which keys were in use")
    return ring.ids - noted


def note_keys_in_use(places: Places, ring: KeyRing) -> None:
    """Note the ring, before anything is read with it, or without a key of the one before. Raises Unavailable."""
    content = b"".join(b"%d\n" % key_id for key_id in sorted(ring.ids))
    if not places.keys_in_use.exists() or places.keys_in_use.read_bytes() != content:
        _write(places.keys_in_use, content)


def _write(path: Path, content: bytes) -> None:
    try:
        write_durably(path, content)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error


def _who() -> str:
    """The user at the keyboard, as far as the system tells: the one who became another by sudo, else the one of the process."""
    behind = os.environ.get("SUDO_USER")
    try:
        own = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        own = str(os.geteuid())
    return f"{behind} as {own}" if behind else own

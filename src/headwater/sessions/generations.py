"""Which generation each subject and namespace has: the map in memory, kept near to the store.

A row is valid only while it carries the current tokens. Tokens are random and compared for equality; no clock takes part. What is not in
the store has the first generation. The map is read again every `REFRESH_S`; where other processes can write to the store and the map is
older than `AGE_MAX_S`, the store is asked for each token, so a revocation is known everywhere that long after it became durable.

Records are authenticated, for whoever can write to the database could otherwise undo a revocation. What this map knows never goes back: a
record that is altered, older than the known one or gone is counted, the known one stays in force and is written again. Where none is known,
an altered record gets a new token, so nothing of its scope that was there before is served. What cannot be noticed is a record that was
removed, or replaced by an earlier one, before the process started.

A record is dropped once it changes nothing: nobody could hold a live row with an earlier token any more, and no row of its scope has been
seen, nor written, during two whole walks over all rows.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
import structlog

from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.sessions.keys import KeyRing
from headwater.sessions.model import FIRST_TOKEN, NEVER_MS, NO_SUBJECT, TOKEN_BYTES, Generation, KeyId, Token, Version, next_version
from headwater.sessions.ports import SessionStore
from headwater.sessions.sealing import is_genuine, sign_generation
from headwater.sessions.service_metrics import GENERATIONS_DROPPED, GENERATIONS_REJECTED

REFRESH_S = 0.4
AGE_MAX_S = 1.0
PAGE_RECORDS = 1_000
DROPPED_AT_ONCE = 1_000

_FIRST = Generation(b"", KeyId(0), FIRST_TOKEN)
"""What stands for the record of a scope that has none."""

logger = structlog.get_logger(__name__)


class Generations:
    """The current tokens, as far as this process knows them."""

    def __init__(self, store: SessionStore, *, ring: KeyRing, clock: Clock, ids: Ids, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._keys = {key.id: key for key in ring.keys}
        self._records: dict[bytes, Generation] = {}
        self._to_write: dict[bytes, Generation] = {}
        self._unknown: dict[bytes, tuple[Generation, bool]] = {}
        self._needed: set[bytes] = set()
        self._needed_before: set[bytes] | None = None  # None: no whole walk has ended yet
        self._closing: dict[bytes, asyncio.Event] = {}
        self._sequence = 0
        self._refreshed_s = float("-inf")

    def __len__(self) -> int:
        return len(self._records)

    @property
    def stale(self) -> bool:
        """Whether the map is too old to be believed. Where no other process writes, it holds all that was ever revoked."""
        return self._store.shared and self._clock.monotonic_s() - self._refreshed_s > AGE_MAX_S

    def use_keys(self, ring: KeyRing) -> None:
        """Authenticate with these keys from now on. Records of a key that was unknown are in force at once if they are genuine."""
        self._keys = {key.id: key for key in ring.keys}
        unknown, self._unknown = self._unknown, {}
        for record, adopting in unknown.values():
            self._learn(record, adopting=adopting)

    def current(self, scope: bytes, subject: bytes) -> tuple[Token, Token]:
        """The tokens of a namespace's scope and of a subject's, from memory."""
        known = self._records.get
        return known(scope, _FIRST).token, known(subject, _FIRST).token

    def is_in_doubt(self, *scopes: bytes) -> bool:
        """Whether the record of a scope is of a key that is unknown: nothing of it is served, and nothing of it is to be destroyed."""
        known = [self._records.get(scope) for scope in scopes]
        return any(record is not None and not record.mac for record in known)

    def need(self, scope: bytes) -> None:
        """Note that a row carries the token of this scope, or soon will: its record stays."""
        if scope in self._records:
            self._needed.add(scope)

    def is_settled(self, scope: bytes) -> bool:
        """Whether `settle` has nothing to wait for."""
        return scope not in self._closing

    async def settle(self, scope: bytes) -> None:
        """Wait until it is decided whether the record of a scope is dropped; who writes a row takes its token after this."""
        while (closing := self._closing.get(scope)) is not None:
            await closing.wait()

    async def read_through(self, scopes: Sequence[bytes]) -> None:
        """Ask the store for the tokens of these scopes."""
        for scope in scopes:
            record = await self._store.get_generation(scope)
            if record is not None:
                self._learn(record)

    async def adopt(self) -> None:
        """Learn everything at the start. Records without authentication are from a program that had none, and are signed now."""
        await self._read(adopting=True)
        await self._write()

    async def refresh(self) -> None:
        """Read what the store has learned since the last time."""
        await self._read(adopting=False)
        await self._write()

    async def _read(self, *, adopting: bool) -> None:
        started_s = self._clock.monotonic_s()
        while True:
            records = await self._store.generations_since(self._sequence, limit=PAGE_RECORDS)
            for record in records:
                self._learn(record, adopting=adopting)
                self._sequence = max(self._sequence, record.sequence)
            if len(records) < PAGE_RECORDS:
                break
        self._refreshed_s = started_s

    async def _write(self) -> None:
        """Put right in the store what it has wrong; what fails is tried again the next time."""
        if self._to_write:
            records = list(self._to_write.values())
            await self._store.put_generations(records)
            for record in records:
                if self._to_write.get(record.scope) is record:
                    del self._to_write[record.scope]
            logger.error("sessions_generations_written_again", count=len(records))

    async def renew(self, scopes: Sequence[tuple[bytes, KeyId]], *, until_ms: int = NEVER_MS) -> None:
        """Give scopes a new generation; returns when it is durable and every process knows it.

        Args:
            scopes: with the id of the service key of each, which is in the ring.
            until_ms: no row that carries an earlier token lives longer.
        """
        records = [self._new(scope, key_id, until_ms) for scope, key_id in scopes]
        await self._store.put_generations(records)
        self._records |= {record.scope: record for record in records if self._is_ahead(record)}
        await self.read_through([scope for scope, _ in scopes])  # for their sequences, or what another process has put after them
        if self._store.shared:
            await self._clock.sleep(AGE_MAX_S)

    async def audit(self) -> None:
        """Compare everything that is stored with what is known, in pages; what differs is put right."""
        known, seen = dict(self._records), set[bytes]()
        after = 0
        while records := await self._store.generations_since(after, limit=PAGE_RECORDS):
            for record in records:
                self._learn(record)
                seen.add(record.scope)
            after = records[-1].sequence
            await self._clock.sleep(0)
        for scope, record in known.items():
            if scope not in seen and self._records.get(scope) is record and scope not in self._closing:
                self._doubt("gone", record)
        await self._write()

    async def drop(self) -> int:
        """After a walk over all rows: drop the records that change nothing any more; returns how many.

        Only where one process writes: another one could be writing a row with the token of a record that is dropped here.
        """
        needed, before = self._needed, self._needed_before
        self._needed, self._needed_before = set(), needed
        if self._store.shared or before is None:
            return 0
        doomed = self._ended(needed | before)
        if not doomed:
            return 0
        ended = asyncio.Event()
        self._closing = {record.scope: ended for record in doomed}
        try:
            await self._store.delete_generations(doomed)
            for record in doomed:
                if self._records.get(record.scope) is record:
                    del self._records[record.scope]
                    self._unknown.pop(record.scope, None)
        finally:
            self._closing = {}
            ended.set()
        self._metrics.inc(GENERATIONS_DROPPED, len(doomed))
        return len(doomed)

    def _ended(self, needed: set[bytes]) -> list[Generation]:
        now_ms = self._clock.now_ms()
        ended: Iterable[Generation] = (
            record
            for scope, record in self._records.items()
            if record.until_ms <= now_ms
            and record.sequence
            and scope not in needed
            and scope not in self._needed
            and scope not in self._to_write
        )
        return [record for _, record in zip(range(DROPPED_AT_ONCE), ended, strict=False)]

    def _learn(self, record: Generation, *, adopting: bool = False) -> None:
        """Take a stored record over, unless it is not what the store was given last."""
        scope, known, key = record.scope, self._records.get(record.scope), self._keys.get(record.key_id)
        if known is not None and _is_same(record, known):
            if record.sequence > known.sequence:
                self._records[scope] = record
        elif len(scope) != TOKEN_BYTES or scope == NO_SUBJECT:
            self._metrics.inc(GENERATIONS_REJECTED, reason="altered")  # no scope is like this: it revokes nothing
        elif key is None:
            # Of a retired key there are no rows. If the id is all that was altered, there are some, and nobody is to be served one of them.
            if known is None or not known.mac:
                seen_at_start = self._unknown.get(scope) == (record, True)
                self._unknown[scope] = record, adopting or seen_at_start
            if known is None:
                self._records[scope] = msgspec.structs.replace(record, token=self._new_token(), version=Version(0), mac=b"")
            elif known.mac:
                self._doubt("altered", known)
        elif adopting and not record.mac and not record.version:
            self._records[scope] = self._to_write[scope] = self._signed(record)
        elif not is_genuine(key, record):
            self._doubt("altered", known if known is not None and known.mac else self._new(scope, record.key_id, NEVER_MS))
        elif known is not None and record.version < known.version:
            self._doubt("put back", known)
        elif known is None or not known.mac or record.sequence > known.sequence:
            self._records[scope] = record

    def _doubt(self, reason: str, right: Generation) -> None:
        """Count a record that is not as it was written, keep the right one in force, and have it written again."""
        self._metrics.inc(GENERATIONS_REJECTED, reason=reason)
        self._records[right.scope] = self._to_write[right.scope] = right

    def _is_ahead(self, record: Generation) -> bool:
        known = self._records.get(record.scope)
        return known is None or known.version < record.version

    def _new(self, scope: bytes, key_id: KeyId, until_ms: int) -> Generation:
        known = self._records.get(scope)
        version = next_version(self._clock.now_ms(), 0 if known is None else known.version)
        return self._signed(Generation(scope, key_id, self._new_token(), version, until_ms))

    def _new_token(self) -> Token:
        return Token(self._ids.token(TOKEN_BYTES))

    def _signed(self, record: Generation) -> Generation:
        return msgspec.structs.replace(record, mac=sign_generation(self._keys[record.key_id], record))


def _is_same(one: Generation, other: Generation) -> bool:
    return bool(one.mac) and msgspec.structs.replace(one, sequence=0) == msgspec.structs.replace(other, sequence=0)

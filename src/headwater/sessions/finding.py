"""Looking a session up: under every service key, authentic, of the current generation, in time.

All look-ups that serve nothing take the same steps, whether the session is absent, expired, revoked or put back. The store answers with
the next row where there is none; that is authenticated and judged like the right one, and is not authentic, since its record key is
another. What cannot be served is not opened: a decoy of typical size is decrypted instead. What follows from all this is chosen by index,
and nothing ends early.
"""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.sessions.generations import Generations
from headwater.sessions.keys import KeyRing
from headwater.sessions.model import (
    FIRST_TOKEN,
    NEVER_MS,
    NO_SUBJECT,
    Deadlines,
    Head,
    KeyId,
    Kind,
    Policy,
    Row,
    RowId,
    Standing,
    Token,
    Version,
    judge,
)
from headwater.sessions.ports import SessionStore
from headwater.sessions.quotas import Quota
from headwater.sessions.sealing import NONCE_BYTES, Header, Opened, RecordKey, Sealer, version_of
from headwater.sessions.service_metrics import ROWS_REJECTED
from headwater.sessions.versions import SeenVersions

DECOY_BYTES = 1024
_NONE = Version(0)
_SERVED = (Standing.LIVE, Standing.POINTER)


@dataclass(frozen=True, slots=True)
class Desk:
    """One service key at work for one namespace.

    Attributes:
        sealer: makes and opens its rows.
        scope: of the namespace among the generations.
        decoy_key, decoy: what is opened instead of a row that cannot be served.
    """

    sealer: Sealer
    scope: bytes
    decoy_key: RecordKey
    decoy: Row


@dataclass(frozen=True, slots=True)
class Space:
    """One namespace at work.

    Attributes:
        policy: its rules.
        quota: what it has used of them.
        desks: one for each service key, the active one first.
    """

    policy: Policy
    quota: Quota
    desks: tuple[Desk, ...]


class Found(msgspec.Struct):
    """What there is under a session's key.

    Attributes:
        standing: what it is worth.
        desk, id, record: of the row that counts; of the active service key if there is none.
        opened: what it holds; None if there is no authentic row. Without subject and value where it is neither live nor leads on.
        rows: what is stored under this key for each service key, whatever it is worth.
        version: the highest of the rows that are authentic. What another row says counts for nothing: a version near the largest number,
            written by who can write to the database, would leave none for the next saves.
    """

    standing: Standing
    desk: Desk
    id: RowId
    record: RecordKey
    opened: Opened | None = None
    rows: Sequence[Row | None] = ()
    version: Version = _NONE

    @property
    def live(self) -> Opened | None:
        """The session, if there is one."""
        return self.opened if self.standing is Standing.LIVE else None

    def versions(self) -> dict[RowId, Version]:
        """What all rows under this key say of their versions, to compare and set."""
        return {row.id: version_of(row) for row in self.rows if row is not None}

    def size_bytes(self) -> int:
        """The size of all rows under this key."""
        return sum([row.size_bytes for row in self.rows if row is not None])


def space_of(policy: Policy, ring: KeyRing, quota: Quota, ids: Ids) -> Space:
    """Put the keys of a ring to work for a namespace."""
    return Space(policy, quota, tuple(_desk(Sealer(key, policy.name), ids) for key in ring.keys))


def _desk(sealer: Sealer, ids: Ids) -> Desk:
    key = ids.token(32)
    id, record = sealer.row_id(key), sealer.record_key(key)
    head = Head(Kind.VALUE, sealer.key.id, Version(0), 0, NEVER_MS, sealer.namespace, FIRST_TOKEN, NO_SUBJECT, FIRST_TOKEN)
    opened = Opened(head, Deadlines(0, NEVER_MS), None, bytes(DECOY_BYTES))  # expired, as most misses are that were a session once
    return Desk(sealer, sealer.scope(), record, sealer.seal(record, opened, id=id, nonce=ids.token(NONCE_BYTES)))


class Finder:
    """Looks sessions up."""

    def __init__(self, store: SessionStore, generations: Generations, seen: SeenVersions, *, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._shared = store.shared
        self._generations = generations
        self._seen = seen
        self._clock = clock
        self._metrics = metrics

    async def find(self, space: Space, key: bytes) -> Found:
        """What there is under `key`. The first row in the order of the service keys counts; all are looked at, the active key's last.

        A row moves to the active key meanwhile in one step, or first appears there and then goes: whoever looks in the order in which it
        moves cannot miss it.

        Look-ups that are asked for in one turn of the event loop are made one right after the other, in the next turn: between other steps
        of their requests each would take half as long again, since the processor has forgotten its code meanwhile.
        """
        await asyncio.sleep(0)
        found = await (self._find_at(space.desks[0], key) if len(space.desks) == 1 else self._find_at_all(space, key))
        await asyncio.sleep(0)
        return found

    async def _find_at_all(self, space: Space, key: bytes) -> Found:
        found = await self._find_at(space.desks[-1], key)
        for desk in space.desks[-2::-1]:
            newer = await self._find_at(desk, key)
            rows, version = (*newer.rows, *found.rows), max(newer.version, found.version)
            if found.opened is None or newer.opened is not None:
                found = newer
            found.rows, found.version = rows, version
        return found

    async def _find_at(self, desk: Desk, key: bytes, floor: int | None = None) -> Found:
        """What there is under one service key; a row below `floor` was put back.

        Without `floor` it is that of the row which came, after it came. Another row may have been written while the store was at work, so
        one that seems older is read again, with the floor known before.
        """
        sealer = desk.sealer
        id, record = sealer.locate(key)
        stored = await self._store.near(id) or desk.decoy
        is_there = hmac.compare_digest(stored.id, id)
        row, header = stored, sealer.read_header(record, stored, id=id)
        if header is None:  # damaged: the row, or the one that came in its place
            row, header = desk.decoy, sealer.read_header(record, desk.decoy, id=id)
            assert header is not None
        head, present = header.head, self._seen.floor(stored.id)
        is_new_enough = head.version >= (present if floor is None else floor)
        if is_there and header.is_authentic and not is_new_enough and floor is None:
            return await self._find_at(desk, key, present)
        if self._shared and self._generations.stale:
            await self._generations.read_through((desk.scope, head.subject))
        is_current, now_ms = self.is_current(desk.scope, head), self._clock.now_ms()
        standing = judge(head, header.deadlines, has_value=len(row.sealed) > 0, is_current=is_current, now_ms=now_ms)
        found = Found(standing, desk, id, record, None, ((None,), (stored,))[is_there])
        is_genuine = header.is_authentic & is_new_enough
        self._open(found, row, header, is_genuine=is_genuine, is_new=is_genuine & (head.version > present))
        return found

    def _open(self, found: Found, row: Row, header: Header, *, is_genuine: bool, is_new: bool) -> None:
        """Complete `found` by what the row holds, if it is genuine; open a decoy instead of what cannot be served."""
        desk, head, has_value = found.desk, header.head, len(row.sealed) > 0
        found.standing = (Standing.GONE, found.standing)[is_genuine]
        is_served = found.standing in _SERVED
        record, opened, id = ((desk.decoy_key, desk.decoy, desk.decoy.id), (found.record, row, found.id))[is_served]
        content = desk.sealer.read_content(record, opened, id=id)
        if content is None or (found.rows[0] is not None) > is_genuine:
            self._reject(("altered", "put back")[header.is_authentic and content is not None])
            found.standing = Standing.GONE
            return
        if is_new:
            self._seen.raise_to(found.id, head.version)
        value = (None, (b"", content.value)[is_served])[has_value]
        whole = Opened(head, header.deadlines, (None, content.subject)[is_served], value)
        found.opened, found.version = (None, whole)[is_genuine], (_NONE, head.version)[is_genuine]

    def is_current(self, scope: bytes, head: Head) -> bool:
        """Whether a row carries the current generations of its namespace and its subject."""
        of_namespace, of_subject = self._generations.current(scope, head.subject)
        return hmac.compare_digest(of_namespace + of_subject, head.namespace_token + head.subject_token)

    def tokens(self, scope: bytes, subject: bytes) -> tuple[Token, Token]:
        """The current generations of a namespace and of a subject in it."""
        return self._generations.current(scope, subject)  # no subject is a scope that nobody revokes

    def _reject(self, reason: str) -> None:
        self._metrics.inc(ROWS_REJECTED, reason=reason)  # not logged: whoever can damage rows could fill the log


def scopes_of(space: Space, subject: str | None) -> Sequence[tuple[bytes, KeyId]]:
    """The scope of a subject, or of the namespace itself, under every service key, with the key's id."""
    return [(desk.sealer.scope(subject) if subject is not None else desk.scope, desk.sealer.key.id) for desk in space.desks]

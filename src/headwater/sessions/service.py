"""Sessions: saving, reading, ending and revoking them. Everything that is decided here is decided by values in `model`.

What holds after every operation, and after a process was killed in the middle of one:

* a read serves only an authentic row of the current generations, before its deadline;
* a session that was deleted or revoked stays so: every write of a row names the version it replaces, carries the generations that were
  checked with it, and is void if they have changed by the time it lands;
* each write touches one row; where two are needed, each alone leaves something valid.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence, Set
from functools import partial

import msgspec
import structlog

from headwater.kernel.clock import Clock
from headwater.kernel.errors import InvalidInput, Overloaded, TooLarge
from headwater.kernel.failpoints import failpoint
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.sessions import scanner
from headwater.sessions.errors import ConditionFailed, QuotaExceeded, Revoked
from headwater.sessions.finding import Desk, Finder, Found, Space, scopes_of, space_of
from headwater.sessions.generations import Generations
from headwater.sessions.keys import KeyRing
from headwater.sessions.model import (
    ABSENT,
    ANY,
    FIRST_TOKEN,
    NEVER_MS,
    NO_SUBJECT,
    SUBJECT_BYTES_MAX,
    Condition,
    Deadlines,
    Head,
    KeyId,
    Kind,
    Policy,
    Row,
    RowId,
    Saved,
    Session,
    SessionHeader,
    Standing,
    Version,
    absolute_end,
    condition_holds,
    deadlines_from,
    expiry,
    next_version,
    revoked_until,
    used,
)
from headwater.sessions.ports import SessionStore
from headwater.sessions.quotas import Quota
from headwater.sessions.sealing import NONCE_BYTES, Opened, Sealer, encode_deadline, encode_head, version_of
from headwater.sessions.service_metrics import CONFLICTS, QUOTA_REFUSALS, RESEALED, REVOCATIONS, SAVES_UNCHANGED
from headwater.sessions.turns import Turns
from headwater.sessions.upkeep import Upkeep
from headwater.sessions.versions import SKEW_VERSIONS, SeenVersions

logger = structlog.get_logger(__name__)

ATTEMPTS_MAX = 16
HOPS_MAX = 4
MINTED_BYTES = 32
DELETED_TOMBSTONE_MS = 60_000


class Sessions:
    """The sessions of all namespaces. For one event loop."""

    def __init__(self, store: SessionStore, *, ring: KeyRing, policies: Sequence[Policy], clock: Clock, ids: Ids, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._seen = SeenVersions(tolerance=SKEW_VERSIONS if store.shared else 0)
        self._generations = Generations(store, ring=ring, clock=clock, ids=ids, metrics=metrics)
        self._finder = Finder(store, self._generations, self._seen, clock=clock, metrics=metrics)
        self._turns = Turns()
        self._last_version = 0
        self._ring = ring
        self._spaces = {policy.name: space_of(policy, ring, Quota(policy, clock), ids) for policy in policies}
        self._upkeep = Upkeep(store, self._generations, self._finder, clock=clock, metrics=metrics)

    async def start(self) -> None:
        """Learn the generations, then keep them, the quotas and the space in order. Raises what the store raises."""
        await self._generations.adopt()
        self._upkeep.start(self._spaces)

    async def stop(self) -> None:
        """End what runs in the background. The store stays open."""
        await self._upkeep.stop()

    async def ready(self) -> str | None:
        """Why sessions cannot be served, or None."""
        return self._upkeep.trouble()

    def use_keys(self, ring: KeyRing) -> None:
        """Work with this ring from now on; operations under way end with the one before."""
        self._ring = ring
        self._generations.use_keys(ring)
        self._spaces = {name: space_of(space.policy, ring, space.quota, self._ids) for name, space in self._spaces.items()}
        self._upkeep.use(self._spaces)
        logger.info("sessions_keys_in_use", active=ring.active.id, keys=sorted(ring.ids))

    async def end_rows_of(self, ring: KeyRing, key_ids: Set[KeyId]) -> None:
        """End whatever is stored under these keys of a ring that is about to be used; durable when this returns. Raises as a revocation."""
        joining = [key for key in ring.keys if key.id in key_ids]
        self._generations.use_keys(KeyRing((*self._ring.keys, *(key for key in joining if key.id not in self._ring.ids))))
        await self._generations.renew([(Sealer(key, name).scope(), key.id) for key in joining for name in self._spaces])
        logger.info("sessions_of_keys_ended", keys=sorted(key_ids))

    async def keys_in_use(self) -> Mapping[KeyId, int]:
        """How many rows are sealed under each service key, counted now."""
        return await self._upkeep.count_keys()

    def is_anonymous(self, value: bytes) -> bool | None:
        """Whether `value` is the session of nobody in particular; None if it does not say."""
        user = scanner.user_id(value)
        return None if user is None else user == 0

    async def read(self, ns: str, key: bytes) -> Session | None:
        """The live session under `key`, or None: absent, expired, revoked and altered are alike, in time too."""
        space = self._spaces[ns]
        found = await self._finder.find(space, key)
        if found.standing is Standing.POINTER:
            found, key = await self._follow(space, found, key)
        opened = found.live
        if opened is None:
            return None
        if found.desk is not space.desks[0]:
            self._upkeep.spawn(found.id, partial(self._reseal, space, key))
        deadlines = opened.deadlines
        moved = None if space.policy.idle_s is None else used(self._clock.now_ms(), space.policy, deadlines)
        if moved is not None:
            deadlines = moved
            self._upkeep.spawn(found.id, partial(self._extend, found, moved, if_unmoved=True))
        assert opened.value is not None
        head = opened.head
        return Session(opened.value, head.created_ms, expiry(head, deadlines), head.version, opened.subject)

    async def save(
        self,
        ns: str,
        key: bytes,
        value: bytes,
        *,
        condition: Condition = ANY,
        ttl_s: float | None = None,
        subject: str | None = None,
        may_read: bool = False,
    ) -> Saved:
        """Make or overwrite a session; durable when this returns. Overwriting keeps its beginning, so its absolute end too.

        Args:
            ns, key: where.
            value: what; not looked into unless the namespace says so.
            condition: what must be there for it to happen.
            ttl_s: ends sooner than the namespace's rules say, never later.
            subject: whose session it is; None: as before, or as the value says.
            may_read: the caller may also read it, so it may learn that the value was there already: then only its end moves.

        Raises:
            ConditionFailed: the condition does not hold.
            Revoked: the session was revoked, rotated or has reached its absolute end.
            QuotaExceeded, StorageFull, Overloaded: there is no room; nothing was written.
            TooLarge, InvalidInput: key, value or subject is too large.
        """
        space = self._spaces[ns]
        self._check(space.policy, key, value, subject)
        if subject is None and space.policy.scan_subjects:
            subject = scanner.subject_of(key, value)
        self._take_write(space)
        place = (ns, key)
        if not self._turns.take_free(place):
            await self._turns.wait(place)
        try:
            return await self._save(space, key, Draft(value, condition, ttl_s, subject, may_read))
        finally:
            self._turns.leave(place)

    async def delete(self, ns: str, key: bytes) -> None:
        """End a session, and what it was rotated to; durable when this returns. Nothing happens if there is none.

        Raises:
            StorageFull, Overloaded, Unavailable: the session may still be there.
        """
        await self._delete(self._spaces[ns], key, HOPS_MAX)

    async def touch(self, ns: str, key: bytes, *, ttl_s: float | None = None) -> SessionHeader | None:
        """Let a session's time begin anew, as a save of the same value would; None if there is none. Raises QuotaExceeded as `save`."""
        space = self._spaces[ns]
        self._take_write(space)
        for _ in range(ATTEMPTS_MAX):
            found, _key = await self._find(space, key)
            if found.live is None:
                return None
            deadlines = deadlines_from(self._clock.now_ms(), space.policy, ttl_s)
            if await self._extend(found, deadlines):
                return _header(found.live, deadlines)
        raise _contended()

    async def mint(self, ns: str, value: bytes, *, subject: str | None = None, ttl_s: float | None = None) -> tuple[bytes, SessionHeader]:
        """Make a session under a key of 256 random bits, in URL-safe base64. Raises as `save`."""
        key = self._new_key()
        saved = await self.save(ns, key, value, condition=ABSENT, ttl_s=ttl_s, subject=subject)
        return key, saved.header

    async def rotate(self, ns: str, key: bytes, *, grace_s: float) -> tuple[bytes, SessionHeader] | None:
        """Move a session to a new key; for `grace_s` the old one leads to it, and can never become a session again. None if there is none.

        First the session is written under its new key, then what was under the old one is replaced by the way there. Between the two, both
        keys have it. Raises as `save`.
        """
        space = self._spaces[ns]
        self._take_write(space)
        for _ in range(ATTEMPTS_MAX):
            found, at_key = await self._find(space, key)
            live = found.live
            if live is None:
                return None
            new_key = self._new_key()
            sealer = space.desks[0].sealer
            moved = await self._fresh(space, found, live.subject)
            if moved is None:
                continue
            new_id = sealer.row_id(new_key)
            await self._put(space, Found(Standing.GONE, space.desks[0], new_id, sealer.record_key(new_key)), moved)
            failpoint("sessions.rotate")
            head = msgspec.structs.replace(moved.head, kind=Kind.POINTER, version=self._version(found, found.id))
            ends = Deadlines(self._clock.now_ms() + round(grace_s * 1000), live.deadlines.idle_ms)
            if await self._put(space, self._at_active(space, found, at_key), Opened(head, ends, live.subject, new_key)):
                return new_key, _header(moved, moved.deadlines)
            await self._delete(space, new_key, 0)
        raise _contended()

    async def revoke_subject(self, ns: str, subject: str) -> None:
        """End all sessions of a subject; when this returns it is durable, and no process serves one any more."""
        await self._revoke(ns, subject)

    async def revoke_namespace(self, ns: str) -> None:
        """End all sessions of a namespace, in the same way."""
        await self._revoke(ns, None)

    async def _revoke(self, ns: str, subject: str | None) -> None:
        failpoint("sessions.revoke")
        space: Space | None = None
        while space is not self._spaces[ns]:  # keys changed meanwhile: what has moved to a new one carries none of the tokens that are over
            space = self._spaces[ns]
            until_ms = NEVER_MS if subject is None else revoked_until(self._clock.now_ms(), space.policy)
            await self._generations.renew(scopes_of(space, subject), until_ms=until_ms)
        scope = "namespace" if subject is None else "subject"
        self._metrics.inc(REVOCATIONS, namespace=ns, scope=scope)
        logger.info("sessions_revoked", namespace=ns, scope=scope)

    def _take_write(self, space: Space) -> None:
        """Count a write of a caller against the rate of its namespace. Raises QuotaExceeded."""
        try:
            space.quota.take_write()
        except QuotaExceeded as error:
            self._count_refusal(space, error)
            raise

    def _count_refusal(self, space: Space, error: QuotaExceeded) -> None:
        self._metrics.inc(QUOTA_REFUSALS, namespace=space.policy.name, quota=error.where or "")

    async def _find(self, space: Space, key: bytes) -> tuple[Found, bytes]:
        found = await self._finder.find(space, key)
        return await self._follow(space, found, key) if found.standing is Standing.POINTER else (found, key)

    async def _follow(self, space: Space, found: Found, key: bytes) -> tuple[Found, bytes]:
        """What a rotated key leads to, and under which key; after too many rotations it is what is found last, which is no session."""
        for _ in range(HOPS_MAX):
            if found.standing is not Standing.POINTER:
                break
            assert found.opened is not None and found.opened.value is not None
            key = found.opened.value
            found = await self._finder.find(space, key)
        return found, key

    async def _save(self, space: Space, key: bytes, draft: "Draft") -> Saved:
        replaced: Saved | None = None
        for _ in range(ATTEMPTS_MAX):
            found, at_key = await self._finder.find(space, key), key
            if found.standing is Standing.POINTER:
                found, at_key = await self._follow(space, found, key)
            if found.standing in (Standing.BARRED, Standing.POINTER):
                raise Revoked("this session was ended and cannot be saved again")
            live = found.live
            if live is None and replaced is not None:
                return replaced  # deleted in the meantime, as if this save had come before
            if not condition_holds(draft.condition, None if live is None else live.head.version):
                raise ConditionFailed("the session is not as the condition says")
            if live is not None and draft.repeats(live) and found.desk is space.desks[0]:
                deadlines = deadlines_from(self._clock.now_ms(), space.policy, draft.ttl_s)
                if await self._extend(found, deadlines):
                    self._metrics.inc(SAVES_UNCHANGED, namespace=space.policy.name)
                    return Saved(False, False, _header(live, deadlines))
                continue
            subject = draft.subject if draft.subject is not None or live is None else live.subject
            fresh = await self._fresh(space, found, subject, draft)
            if fresh is None:
                continue
            saved = Saved(live is None, True, _header(fresh, fresh.deadlines))
            if await self._put(space, self._at_active(space, found, at_key), fresh):
                return saved
            replaced = saved if live is not None else None
            self._metrics.inc(CONFLICTS)
        raise _contended()

    async def _fresh(self, space: Space, found: Found, subject: str | None, draft: "Draft | None" = None) -> Opened | None:
        """A session to be written under the active service key: new, or in place of a live one. None if that has been revoked meanwhile.

        Without a draft the value and its deadlines stay. The generations are taken after the last time other tasks could run, and in the
        same moment it is seen that the live one still had its own.
        """
        live = found.live
        desk, now_ms, policy = space.desks[0], self._clock.now_ms(), space.policy
        scope = NO_SUBJECT if subject is None else desk.sealer.scope(subject)
        if self._generations.stale:
            await self._generations.read_through((desk.scope, scope))
        if not self._generations.is_settled(scope):
            await self._generations.settle(scope)
        if live is not None and not self._finder.is_current(found.desk.scope, live.head):
            return None
        tokens = self._finder.tokens(desk.scope, scope)
        self._generations.need(scope)
        created_ms = now_ms if live is None else live.head.created_ms
        absolute_ms = absolute_end(created_ms, policy)
        if live is not None:
            absolute_ms = min(absolute_ms, live.head.absolute_ms)
        version = self._version(found, found.id)
        head = Head(Kind.VALUE, desk.sealer.key.id, version, created_ms, absolute_ms, policy.name, tokens[0], scope, tokens[1])
        if draft is not None:
            return Opened(head, deadlines_from(now_ms, policy, draft.ttl_s), subject, draft.value)
        assert live is not None
        return Opened(head, live.deadlines, subject, live.value)

    def _at_active(self, space: Space, found: Found, key: bytes) -> Found:
        """`found`, with the place under the active service key: all writes go there, so that they meet each other."""
        desk = space.desks[0]
        if found.desk is desk:
            return found
        sealer = desk.sealer
        return Found(found.standing, desk, sealer.row_id(key), sealer.record_key(key), None, found.rows)

    async def _put(self, space: Space, place: Found, content: Opened) -> bool:
        """Write a row in place of all that is stored under its key; False if something else has been written there meanwhile.

        Raises:
            QuotaExceeded: it does not fit in.
        """
        row = place.desk.sealer.seal(place.record, content, id=place.id, nonce=self._ids.token(NONCE_BYTES))
        stored = place.versions()
        rows, size = 1 - len(stored), row.size_bytes - place.size_bytes()
        if content.value is not None:
            try:
                space.quota.check(rows=rows, bytes=size)
            except QuotaExceeded as error:
                self._count_refusal(space, error)
                raise
        failpoint("sessions.save")
        clears = [id for id in stored if id != place.id]
        if not await self._store.put(row, expected=stored.get(place.id), clears=clears):
            return False
        failpoint("sessions.saved")
        self._seen.raise_to(place.id, content.head.version)
        space.quota.add(rows=rows, bytes=size)
        return True

    async def _extend(self, found: Found, deadlines: Deadlines, *, if_unmoved: bool = False) -> bool:
        """Move the deadlines of a row; `if_unmoved`: unless somebody else has, who may have shortened them meanwhile."""
        assert found.opened is not None
        head = found.opened.head
        deadline = encode_deadline(found.record, deadlines, id=found.id, head=encode_head(head))
        replaces = next(row.deadline for row in found.rows if row is not None and row.id == found.id) if if_unmoved else None
        return await self._store.extend(found.id, deadline, version=head.version, replaces=replaces)

    async def _reseal(self, space: Space, key: bytes) -> None:
        """Move a session to the active service key. Whatever is done to it meanwhile leaves something there, and this then does nothing."""
        found = await self._finder.find(space, key)
        live = found.live
        if live is None or found.desk is space.desks[0]:
            return
        fresh = await self._fresh(space, found, live.subject)
        if fresh is not None and await self._put(space, self._at_active(space, found, key), fresh):
            self._metrics.inc(RESEALED)

    async def _delete(self, space: Space, key: bytes, hops: int) -> None:
        """End what is stored under a key until nothing is left that could live.

        What it was rotated to goes first, so that a repetition after a failure still finds the way there.
        """
        for _ in range(ATTEMPTS_MAX):
            found = await self._finder.find(space, key)
            opened = found.opened
            if not any(found.rows) or found.standing is Standing.BARRED or (opened is not None and opened.value is None):
                return
            if found.standing is Standing.POINTER and hops > 0:
                assert opened is not None and opened.value is not None
                await self._delete(space, opened.value, hops - 1)
            failpoint("sessions.delete")
            for id, version in (await self._end(space, found, key)).items():
                self._seen.raise_to(id, version)
        raise _contended()

    async def _end(self, space: Space, found: Found, key: bytes) -> dict[RowId, Version]:
        """Try to end what is stored under a key; returns the lowest versions that are genuine from now on.

        A header stays of what was rotated, and of what has expired and may still be revoked. While several service keys are in use, a
        tombstone stays under each of them, so that nobody who is just moving the row to another key brings it back.
        """
        opened, stored = found.opened, found.versions()
        is_barred_later = found.standing is Standing.GONE and opened is not None and opened.head.subject != NO_SUBJECT
        if opened is not None and (found.standing is Standing.POINTER or is_barred_later):
            head = msgspec.structs.replace(opened.head, version=self._version(found, found.id))
            header = found.desk.sealer.seal(found.record, Opened(head, opened.deadlines, None, None), id=found.id, nonce=b"")
            return {found.id: head.version} if await self._store.put(header, expected=stored[found.id]) else {}
        if len(space.desks) == 1:
            removed = await self._store.delete(stored)
            # Of several deletes at once only one has removed it: counted twice, they would make room beyond the quota.
            gone = [row for row in found.rows if row is not None and row.id in removed]
            space.quota.add(rows=-len(gone), bytes=-sum(row.size_bytes for row in gone))
            return {row.id: Version(found.version + 1) for row in gone}
        buried: dict[RowId, Version] = {}
        # The active key's last: alone it would hide what is under the others for as long as it stays, which would then be back.
        for desk in reversed(space.desks):
            tombstone = self._tombstone(space, desk, key, found)
            if not await self._store.put(tombstone, expected=stored.get(tombstone.id)):
                break
            buried[tombstone.id] = version_of(tombstone)
        return buried

    def _tombstone(self, space: Space, desk: Desk, key: bytes, found: Found) -> Row:
        id, record = desk.sealer.row_id(key), desk.sealer.record_key(key)
        version, (token, _) = self._version(found, id), self._finder.tokens(desk.scope, NO_SUBJECT)
        head = Head(Kind.TOMBSTONE, desk.sealer.key.id, version, 0, NEVER_MS, space.policy.name, token, NO_SUBJECT, FIRST_TOKEN)
        ends = Deadlines(self._clock.now_ms() + DELETED_TOMBSTONE_MS, NEVER_MS)
        return desk.sealer.seal(record, Opened(head, ends, None, None), id=id, nonce=b"")

    def _version(self, found: Found, id: RowId) -> Version:
        """A version for the next write of a row, above all genuine ones that are or were under this key."""
        version = next_version(self._clock.now_ms(), self._last_version, self._seen.floor(id), found.version)
        self._last_version = version
        return version

    def _new_key(self) -> bytes:
        return base64.urlsafe_b64encode(self._ids.token(MINTED_BYTES)).rstrip(b"=")

    @staticmethod
    def _check(policy: Policy, key: bytes, value: bytes, subject: str | None) -> None:
        if len(key) > policy.key_bytes_max:
            raise TooLarge(f"a key has at most {policy.key_bytes_max} bytes", where="key")
        if len(value) > policy.value_bytes_max:
            raise TooLarge(f"a value has at most {policy.value_bytes_max} bytes", where="value")
        if subject is not None and not 0 < len(subject.encode()) <= SUBJECT_BYTES_MAX:
            raise InvalidInput(f"a subject has 1 to {SUBJECT_BYTES_MAX} bytes", where="subject")


class Draft(msgspec.Struct, frozen=True, gc=False):
    """What a caller wants to be saved; fields as the arguments of `Sessions.save`."""

    value: bytes
    condition: Condition
    ttl_s: float | None
    subject: str | None
    may_read: bool

    def __repr__(self) -> str:
        return "Draft(…)"

    def repeats(self, live: Opened) -> bool:
        """Whether there is nothing to write but the deadlines, for a caller who may know that."""
        assert live.value is not None
        same_subject = self.subject is None or self.subject == live.subject
        return self.may_read and same_subject and hmac.compare_digest(self.value, live.value)


def _header(opened: Opened, deadlines: Deadlines) -> SessionHeader:
    head = opened.head
    return SessionHeader(head.created_ms, expiry(head, deadlines), head.version, opened.subject)


def _contended() -> Overloaded:
    return Overloaded("this session is being written by too many at once", retry_after_s=1)

"""The values that sessions are made of, and the decisions about them that need neither keys nor storage.

Times are milliseconds since the epoch on the wall clock; `NEVER_MS` stands for a deadline that never comes. A session ends at the first
of three: `ttl_ms` after its last save or touch, `idle_ms` after its last use, `absolute_ms` after it was made; a save never moves the
last. At its deadline it is gone: a session lives while `now < deadline`.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NewType

import msgspec

KeyId = NewType("KeyId", int)
RowId = NewType("RowId", bytes)
Version = NewType("Version", int)
Token = NewType("Token", bytes)

NEVER_MS = 1 << 62
VERSION_TIME_SHIFT = 16
TOKEN_BYTES = 16
SUBJECT_BYTES_MAX = 512
FIRST_TOKEN = Token(bytes(TOKEN_BYTES))
"""The generation of every subject and namespace that has never been revoked."""
NO_SUBJECT = bytes(TOKEN_BYTES)
REVOKED_HEADERS_KEPT_MS = 3_600_000
ENDED_HEADERS_KEPT_MS = 60_000


class KeyEntropy(Enum):
    """How hard the keys of a namespace are to guess: what a thief of database and service keys together can do."""

    HIGH = "high"  # at least 128 random bits in each key: nothing opens
    LOW = "low"  # keys can be guessed: whoever has the service keys too can try them


class Kind(IntEnum):
    """What a row is."""

    VALUE = 0  # a session
    POINTER = 1  # a session that was rotated: what is sealed is its new key
    TOMBSTONE = 2  # a session deleted while several service keys are in use; nothing is sealed


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one namespace.

    Attributes:
        name: of the namespace; ASCII, at most 64 bytes.
        ttl_s: from a save or touch to the end; None: no such limit.
        idle_s: from the last use, reads included, to the end; None: reads do not matter. Reads are written down in steps of a sixteenth
            of it, so a session that is read may end up to that much early, never late.
        absolute_s: from the first save to the end, whatever happens in between; None: no such limit.
        value_bytes_max, key_bytes_max: sizes, both inclusive.
        rows_max, bytes_max, writes_per_s_max: quotas; None: no such limit.
        key_entropy: what its keys are like.
        scan_subjects: whether subjects are looked for in values that MediaWiki wrote.
    """

    name: str
    ttl_s: float | None = 86_400.0
    idle_s: float | None = None
    absolute_s: float | None = None
    value_bytes_max: int = 1 << 20
    key_bytes_max: int = 512
    rows_max: int | None = None
    bytes_max: int | None = None
    writes_per_s_max: float | None = None
    key_entropy: KeyEntropy = KeyEntropy.HIGH
    scan_subjects: bool = False


class Head(msgspec.Struct, frozen=True, gc=False):
    """What is fixed when a row is written, as values. It is stored in the clear, and authentic once the row has been opened.

    Attributes:
        kind: what the row is.
        key_id: the service key it is sealed under.
        version: higher than that of every earlier write of the row.
        created_ms, absolute_ms: when the session was made, and the latest moment at which it ends.
        namespace: its name.
        namespace_token, subject_token: the generations it belongs to.
        subject: keyed hash of its subject; `NO_SUBJECT` if it has none.
    """

    kind: Kind
    key_id: KeyId
    version: Version
    created_ms: int
    absolute_ms: int
    namespace: str
    namespace_token: Token
    subject: bytes
    subject_token: Token


class Deadlines(msgspec.Struct, frozen=True, gc=False):
    """When a row ends unless it is saved, touched or used."""

    ttl_ms: int
    idle_ms: int


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row as it is stored; `headwater.sessions.sealing` makes and reads its parts.

    Attributes:
        id: keyed hash of namespace and key.
        head: the encoded `Head`.
        deadline: the encoded `Deadlines` with their authentication.
        sealed: subject and value, encrypted; empty where only the header is kept.
    """

    id: RowId
    head: bytes
    deadline: bytes
    sealed: bytes

    @property
    def size_bytes(self) -> int:
        """What the row takes, without what the engine adds."""
        return len(self.id) + len(self.head) + len(self.deadline) + len(self.sealed)


class RowOutline(msgspec.Struct, frozen=True, gc=False):
    """A row without what is sealed in it, for maintenance."""

    id: RowId
    head: bytes
    deadline: bytes
    sealed_bytes: int


class Generation(msgspec.Struct, frozen=True, gc=False):
    """The current generation of a subject or namespace that has been revoked.

    Attributes:
        scope: keyed hash of the namespace and the subject, or of the namespace alone.
        key_id: the service key of that hash.
        token: random; what a row has to carry to be valid.
        version: higher than that of every earlier record of the scope; 0 in records of a program that knew no versions.
        until_ms: no row that carries an earlier token lives longer.
        mac: authenticates all of the above; empty in records of a program that did not.
        sequence: rises with every record that is put, given by the store; 0 before it is stored.
    """

    scope: bytes
    key_id: KeyId
    token: Token
    version: Version = Version(0)
    until_ms: int = NEVER_MS
    mac: bytes = b""
    sequence: int = 0


class SessionHeader(msgspec.Struct, frozen=True, gc=False):
    """A session without its value."""

    created_ms: int
    expires_ms: int
    version: Version
    subject: str | None

    @property
    def etag(self) -> str:
        """Its entity tag, made only for whoever shows one."""
        return etag_of(self.version)

    def __repr__(self) -> str:
        return "SessionHeader(…)"


class Session(msgspec.Struct, frozen=True, gc=False):
    """A live session; `expires_ms` is `NEVER_MS` if it has no end."""

    value: bytes
    created_ms: int
    expires_ms: int
    version: Version
    subject: str | None

    @property
    def etag(self) -> str:
        """Its entity tag, made only for whoever shows one."""
        return etag_of(self.version)

    def __repr__(self) -> str:
        return "Session(…)"


class Saved(msgspec.Struct, frozen=True, gc=False):
    """What a save did.

    Attributes:
        created: whether there was no live session before.
        rewritten: False where the value was the same and only its end was moved.
        header: the session now.
    """

    created: bool
    rewritten: bool
    header: SessionHeader


class Presence(Enum):
    """Conditions of a save that say whether the session must be there."""

    ANY = "any"
    ABSENT = "absent"  # If-None-Match: *
    EXISTS = "exists"  # update only


@dataclass(frozen=True, slots=True)
class Match:
    """Condition of a save: the session is the one with this etag."""

    etag: str


Condition = Presence | Match
ANY, ABSENT, EXISTS = Presence.ANY, Presence.ABSENT, Presence.EXISTS


def etag_of(version: Version) -> str:
    """The entity tag of a write, without quotes."""
    return f"{version:x}"


def condition_holds(condition: Condition, version: Version | None) -> bool:
    """Whether a save may go on, given the version of the live session or None."""
    match condition:
        case Match(etag):
            return version is not None and etag == etag_of(version)
        case Presence.ANY:
            return True
        case Presence.ABSENT:
            return version is None
        case Presence.EXISTS:
            return version is not None


def deadlines_from(now_ms: int, policy: Policy, ttl_s: float | None) -> Deadlines:
    """The deadlines of a session saved, touched or used now; a `ttl_s` can shorten what the policy gives, never lengthen it."""
    life_s = policy.ttl_s if ttl_s is None or policy.ttl_s is None else min(policy.ttl_s, ttl_s)
    return Deadlines(_after(now_ms, ttl_s if life_s is None else life_s), _after(now_ms, policy.idle_s))


def used(now_ms: int, policy: Policy, deadlines: Deadlines) -> Deadlines | None:
    """The deadlines of a session read now, or None while writing them down is not worth it."""
    if policy.idle_s is None:
        return None
    idle_ms = _after(now_ms, policy.idle_s)
    step_ms = policy.idle_s * 1000 / 16
    return Deadlines(deadlines.ttl_ms, idle_ms) if idle_ms - deadlines.idle_ms >= step_ms else None


def absolute_end(created_ms: int, policy: Policy) -> int:
    """The latest end of a session made at `created_ms`."""
    return _after(created_ms, policy.absolute_s)


def expiry(head: Head, deadlines: Deadlines) -> int:
    """When a row ends."""
    return min(head.absolute_ms, deadlines.ttl_ms, deadlines.idle_ms)


def revoked_until(now_ms: int, policy: Policy) -> int:
    """Until when a session revoked now can matter at most: nothing extends it any more, and a late save is refused for a while."""
    lives_s = [life_s for life_s in (policy.ttl_s, policy.idle_s, policy.absolute_s) if life_s is not None]
    return now_ms + round(min(lives_s) * 1000) + REVOKED_HEADERS_KEPT_MS if lives_s else NEVER_MS


def next_version(now_ms: int, *floors: int) -> Version:
    """A version above all `floors`, and above those of earlier runs as long as the wall clock does not go back."""
    return Version(max(now_ms << VERSION_TIME_SHIFT, max(floors, default=-1) + 1))


class Standing(Enum):
    """What a stored row is worth now."""

    LIVE = "live"
    POINTER = "pointer"  # rotated, and its old key still leads to the new one
    GONE = "gone"  # expired or deleted: as if there were no row
    BARRED = "barred"  # revoked, rotated or at the end of its absolute lifetime: gone for reads, and a save must not bring it back


def judge(head: Head, deadlines: Deadlines, *, has_value: bool, is_current: bool, now_ms: int) -> Standing:
    """What an authentic row is worth.

    Args:
        head, deadlines: of the row.
        has_value: False where only the header is left.
        is_current: whether it carries the current generations.
        now_ms: the wall clock.
    """
    end_ms = expiry(head, deadlines)
    is_ended = (head.absolute_ms <= now_ms) & (now_ms < head.absolute_ms + ENDED_HEADERS_KEPT_MS)
    facts = has_value | is_current << 1 | (now_ms >= end_ms) << 2 | (now_ms < end_ms + REVOKED_HEADERS_KEPT_MS) << 3 | is_ended << 4
    return _STANDINGS[head.kind][facts]


def _standing(kind: Kind, *, has_value: bool, is_current: bool, is_over: bool, is_remembered: bool, is_ended: bool) -> Standing:
    leads_nowhere = kind is Kind.POINTER and (is_over or not has_value)
    if kind is not Kind.TOMBSTONE and (leads_nowhere or not is_current):  # a tombstone bars nothing, whatever is revoked later
        return Standing.BARRED if is_remembered else Standing.GONE
    if is_over:
        return Standing.BARRED if is_ended and kind is Kind.VALUE else Standing.GONE
    if kind is Kind.TOMBSTONE or not has_value:
        return Standing.GONE
    return Standing.POINTER if kind is Kind.POINTER else Standing.LIVE


_FACTS = ("has_value", "is_current", "is_over", "is_remembered", "is_ended")
"""What a standing depends on beside the kind, in the order of the bits by which it is looked up."""


def _standings(kind: Kind) -> tuple[Standing, ...]:
    every = range(1 << len(_FACTS))
    return tuple(_standing(kind, **{fact: bool(facts >> bit & 1) for bit, fact in enumerate(_FACTS)}) for facts in every)


_STANDINGS = tuple(map(_standings, Kind))
"""Looked up, not decided at each look-up: which way a session has ended must not be told by the time it takes to see that."""


def header_kept_until(head: Head, deadlines: Deadlines, *, is_current: bool) -> int:
    """Until when something of a row must stay after its end, so that a late save finds it and is refused if it was revoked."""
    may_be_barred = head.subject != NO_SUBJECT or head.kind is Kind.POINTER or not is_current
    return expiry(head, deadlines) + (REVOKED_HEADERS_KEPT_MS if may_be_barred else ENDED_HEADERS_KEPT_MS)


def _after(now_ms: int, seconds: float | None) -> int:
    return NEVER_MS if seconds is None else now_ms + round(seconds * 1000)

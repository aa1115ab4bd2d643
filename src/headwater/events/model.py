"""Values of the events service: an event that has been examined, and what became of one that was sent.

What is made for every event is a struct of msgspec, which is made several times faster than a dataclass.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from msgspec import Struct

from headwater.kernel.errors import HeadwaterError

Key = NewType("Key", bytes)  # 16 bytes: digest of an id or of an identity, see `identity.py`


class Event(Struct, frozen=True, gc=False):
    """An event that may be stored.

    Attributes:
        value: the bytes as sent; stored as they are.
        stream: where it goes.
        schema: URI of its schema with the leading slash.
        id: `meta.id`, or the one given to it because it had none.
        dt: `meta.dt` as sent, or the time of the intake; RFC 3339.
        partition_key: records of one key keep their order; None for none.
        keys: under which it will be known: its id first, then its identities across sources.
        alike: further keys under which it may be known already: the same happening told by another source, the same id given by Headwater.
        time_ms: when the intake examined it.
    """

    value: bytes
    stream: str
    schema: str
    id: str
    dt: str
    partition_key: bytes | None
    keys: tuple[Key, ...]
    alike: tuple[Key, ...]
    time_ms: int


class Seen(Struct, frozen=True, gc=False):
    """An accepted event as the index remembers it: its keys (id first) and when it was accepted, ms since the epoch."""

    keys: tuple[Key, ...]
    time_ms: int


@dataclass(frozen=True, slots=True)
class Window:
    """How far back the index remembers: events held, and the time of the oldest in ms (None when empty)."""

    ids: int
    oldest_ms: int | None


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which an event breaks its schema.

    Attributes:
        pointer: JSON pointer of the field at fault, relative to the event; a missing field is named itself.
        keyword: the keyword of the schema that is broken.
        schema_path: where that keyword stands in the schema.
        message: what is wrong, without the value.
    """

    pointer: str
    keyword: str
    schema_path: str
    message: str

    @property
    def data_path(self) -> str:
        """The field in the dotted form that EventGate's clients know: `.meta.dt`."""
        return self.pointer.replace("/", ".")


class Status(Enum):
    """What became of one event."""

    ACCEPTED = "accepted"  # it is durable now
    DUPLICATE = "duplicate"  # it was durable before under this id or, for reconciliation, under another
    INVALID = "invalid"  # it breaks its schema; nothing was stored
    ERROR = "error"  # it was not stored for the reason given, or nobody knows (OutcomeUnknown)


class Result(Struct, frozen=True):
    """What became of one event: with `error` unless it was accepted, with `violations` when it is invalid."""

    status: Status
    id: str | None = None
    error: HeadwaterError | None = None
    violations: tuple[Violation, ...] = ()

    @property
    def accepted(self) -> bool:
        """The event is in the log, whoever put it there."""
        return self.status is Status.ACCEPTED or self.status is Status.DUPLICATE


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """Counters since the start of the process, and the present window of deduplication."""

    accepted: int
    duplicates: int
    invalid: int
    failed: int
    in_flight: int
    unsettled: int
    window_ids: int
    window_s: float


def result_of(error: HeadwaterError, event_id: str | None = None) -> Result:
    """The result of an event that `error` kept from being stored."""
    return Result(Status.ERROR, event_id, error)

"""Values of the log: records, positions, partitions, policies.

A *stream* is a named sequence of records in one or more *partitions*; a *position* is a partition and an *offset* in it. Offsets
rise within a partition and **have gaps**: nobody may compute the next offset by adding one.

What is made for every record is a struct of msgspec: made several times faster than a dataclass, and never walked over by the collector
(`gc=False`), for it cannot be part of a cycle.
"""

import zlib
from dataclasses import dataclass
from enum import Enum
from typing import NewType

from msgspec import Struct

from headwater.kernel.errors import HeadwaterError

Offset = NewType("Offset", int)
OwnedName = NewType("OwnedName", str)  # the thing owned, e.g. `headwater.commits.rivers.0`, never a process
GroupName = NewType("GroupName", str)

BEFORE_FIRST = Offset(-1)  # `after` of a read that starts at the first record

Headers = tuple[tuple[str, bytes], ...]


class Policy(Enum):
    """What may be removed from a stream."""

    TIME = "time"  # trimmed by age and bytes, never below a registered group's progress
    COMPACT = "compact"  # the newest record of each key stays; a record without value removes its key
    KEEP = "keep"  # nothing, except by an explicit trim


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Declaration of a stream.

    Attributes:
        name: the stream's name, `[A-Za-z0-9._-]{1,200}`.
        policy: what may be removed.
        partitions: how many; a stream that is declared again never loses any.
        age_ms_max: with TIME, records older than this may be trimmed; None keeps any age.
        bytes_max: with TIME, beyond this many bytes per partition the oldest may be trimmed; None keeps any size.
    """

    name: str
    policy: Policy
    partitions: int = 1
    age_ms_max: int | None = None
    bytes_max: int | None = None


class PartitionId(Struct, frozen=True, order=True, gc=False):
    """One partition of one stream."""

    stream: str
    number: int = 0


class Position(Struct, frozen=True, order=True, gc=False):
    """Where a record stands."""

    partition: PartitionId
    offset: Offset


class NewRecord(Struct, frozen=True, gc=False):
    """A record to append.

    Attributes:
        stream: a declared stream.
        value: the bytes, returned as they are; None is a tombstone (compact streams only).
        time_ms: wall time of what the record says, milliseconds since the epoch.
        key: records of one key keep their order and, under COMPACT, replace each other.
        headers: names and bytes beside the value.
        partition: where to put it; None lets `partition_of(key)` decide.
    """

    stream: str
    value: bytes | None
    time_ms: int
    key: bytes | None = None
    headers: Headers = ()
    partition: int | None = None


class Record(Struct, frozen=True, gc=False):
    """A record as read."""

    position: Position
    value: bytes | None
    time_ms: int
    key: bytes | None
    headers: Headers

    @property
    def offset(self) -> Offset:
        """The record's offset in its partition."""
        return self.position.offset


@dataclass(frozen=True, slots=True)
class AppendFailure:
    """Why one record of an `append` was not appended."""

    error: HeadwaterError


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of ownership: valid until somebody claims `name` again. Epochs rise with every claim."""

    name: OwnedName
    epoch: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The answer to a read.

    Attributes:
        records: in order of offset; may be empty although `at_end` is False.
        next: what to give as `after` to read on.
        at_end: no record after `next` existed when the batch was read.
    """

    records: tuple[Record, ...]
    next: Offset
    at_end: bool


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """A partition's extent: `first` is the first offset that may still be read, `end` is above every offset given out so far."""

    partition: PartitionId
    policy: Policy
    first: Offset
    end: Offset
    bytes: int


def partition_of(key: bytes | None, partitions: int) -> int:
    """The partition in which every engine puts a record of `key`: CRC-32 modulo the number of partitions; 0 without a key."""
    return 0 if key is None or partitions == 1 else zlib.crc32(key) % partitions

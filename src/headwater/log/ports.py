"""The port Log: the truth of everything that Headwater knows.

It promises what a single SQLite file and a Kafka cluster can both give, and no more. Laws: `headwater.testing.log_laws`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from headwater.log.model import (
    AppendFailure,
    Batch,
    Fence,
    GroupName,
    NewRecord,
    Offset,
    OwnedName,
    PartitionId,
    PartitionInfo,
    Position,
    StreamSpec,
)
from headwater.log.retention import Maintained


class Log(Protocol):
    """An ordered, durable log of records in partitions.

    Every method may raise `Unavailable` (nothing happened) and, where it writes, `StorageFull` (nothing was written) and
    `OutcomeUnknown` (it may have happened). No method blocks the event loop for longer than one small read.
    """

    async def declare(self, streams: Sequence[StreamSpec]) -> None:
        """Create the streams that do not exist and change the policies of those that do. Idempotent, durable.

        Raises:
            InvalidInput: a malformed name, no partitions, fewer than the stream has, or a change to or from COMPACT; nothing was declared.
        """
        ...

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Position | AppendFailure]:
        """Append each record on its own: durable when this returns, one outcome per record, in the order given.

        Records of one key keep their order. There is no atomicity between records: after a crash any prefix per partition may be
        there. Not idempotent: a repeated call appends again.

        Returns per record its position, or an `AppendFailure` (NotFound: undeclared stream or partition; InvalidInput: tombstone or missing
        key where the policy forbids it; TooLarge).

        Raises:
            TooLarge: the whole call exceeds what one call may carry; nothing was appended.
        """
        ...

    async def append_atomic(self, records: Sequence[NewRecord], *, fence: Fence) -> Sequence[Position]:
        """Append all records or none, over several partitions, visible together, durable when this returns.

        Raises:
            Fenced: `fence.name` has been claimed again; nothing was appended.
            OutcomeUnknown: it may have been appended. The owner must stop and claim anew; it may never carry on.
            NotFound, InvalidInput, TooLarge: nothing was appended.
        """
        ...

    async def claim(self, owned: OwnedName) -> Fence:
        """Become the owner of `owned`. When this returns, every older fence of that name is dead: no append under it can still land."""
        ...

    async def read(self, partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
        """Records after `after`, at most `limit`, in order of offset; waits up to `wait_s` for a first one.

        Continue from `Batch.next`; only `Batch.at_end` says that nothing more is there. Under COMPACT replaced records may or may not
        be seen. A reader that reads on and on lets other tasks run between batches.

        Raises:
            NotFound: no such partition.
            OffsetTrimmed: records after `after` have been trimmed; says the first offset still there. Never raised for BEFORE_FIRST,
                which reads from wherever the partition starts, nor by compaction.
            Corrupted: the next record does not match its checksum; records before it are served by an earlier read.
        """
        ...

    async def offset_at(self, partition: PartitionId, time_ms: int) -> Offset:
        """What to give as `after` to read every record whose time is at or after `time_ms` (earlier ones may come along)."""
        ...

    async def describe(self, prefix: str = "") -> Sequence[PartitionInfo]:
        """The partitions of all streams whose names start with `prefix`, ordered."""
        ...

    async def progress(self, group: GroupName) -> Mapping[PartitionId, Offset]:
        """How far `group` has come, per partition. Empty for an unknown group."""
        ...

    async def advance(self, group: GroupName, positions: Mapping[PartitionId, Offset]) -> None:
        """Say that everything up to and including these offsets is finished, and register the group against trimming.

        Durable when this returns. A position lower than the one stored is ignored: progress never goes back.
        """
        ...

    async def trim(self, partition: PartitionId, before: Offset) -> None:
        """Remove records with offsets below `before`, in bounded steps.

        Raises:
            InvalidInput: a registered group has not come that far; nothing was removed.
        """
        ...


class Retention(Protocol):
    """The upkeep of a log that has no broker to do it: applies the policies of the streams."""

    async def maintain(self) -> Maintained:
        """Trim, compact and expel what the policies allow now, in bounded steps between which appends go on.

        A TIME stream loses its oldest records beyond its age or bytes, never one that a registered group has not finished; a COMPACT
        stream loses replaced records, and tombstones after a grace that every group has passed. Readers that continue from `next` lose
        nothing else. Safe to cancel and to repeat.
        """
        ...

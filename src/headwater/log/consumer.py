"""Reading one partition as a group: records handed out in order, finished in any order, progress saved contiguously."""

from collections.abc import Sequence
from typing import Self

from headwater.log.model import BEFORE_FIRST, GroupName, Offset, PartitionId, Record
from headwater.log.ports import Log
from headwater.log.progress import PartitionProgress


class Consumer:
    """One group's reader of one partition. After a crash, records that were not saved as finished are handed out again."""

    def __init__(self, log: Log, partition: PartitionId, group: GroupName, *, committed: Offset) -> None:
        self._log = log
        self._partition = partition
        self._group = group
        self._next = committed
        self._saved = committed
        self._progress = PartitionProgress(committed)

    @classmethod
    async def open(cls, log: Log, partition: PartitionId, group: GroupName) -> Self:
        """Continue where `group` stands, or at the first record; the group guards the partition from now on. Errors as of `Log`."""
        progress = await log.progress(group)
        committed = progress.get(partition, BEFORE_FIRST)
        if partition not in progress:
            await log.advance(group, {partition: committed})
        return cls(log, partition, group, committed=committed)

    @property
    def under_way(self) -> int:
        """Records handed out and not finished."""
        return self._progress.under_way

    @property
    def committed(self) -> Offset:
        """Everything up to and including this offset is finished, saved or not."""
        return self._progress.committed

    async def fetch(self, *, limit: int, wait_s: float = 0.0) -> tuple[Sequence[Record], bool]:
        """The next records, and whether the end of the partition was reached. Errors as of `Log.read`; after one, nothing was skipped."""
        batch = await self._log.read(self._partition, self._next, limit=limit, wait_s=wait_s)
        for record in batch.records:
            self._progress.start(record.offset)
        self._progress.reach(batch.next)
        self._next = batch.next
        return batch.records, batch.at_end

    def finish(self, offset: Offset) -> None:
        """The record at `offset` needs no more work."""
        self._progress.finish(offset)

    async def save(self) -> None:
        """Make the progress durable if there is any. Errors as of `Log.advance`; may be repeated."""
        committed = self._progress.committed
        if committed > self._saved:
            await self._log.advance(self._group, {self._partition: committed})
            self._saved = max(self._saved, committed)

"""Reading a partition from some offset to its end: how a projection of a compacted stream is made at the start."""

from collections.abc import AsyncIterator

from headwater.log.model import BEFORE_FIRST, Offset, PartitionId, Record
from headwater.log.ports import Log

RECORDS_MAX = 500  # read at once


async def records_to_end(log: Log, partition: PartitionId, after: Offset = BEFORE_FIRST) -> AsyncIterator[Record]:
    """Every record after `after`, in order of offset, up to where the partition ends when it is reached. Raises what `Log.read` raises."""
    while True:
        batch = await log.read(partition, after, limit=RECORDS_MAX)
        for record in batch.records:
            yield record
        if batch.at_end:
            return
        after = batch.next

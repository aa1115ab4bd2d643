"""A log on a disk that counts, remembers and fails; shared by the tests of durability."""

from pathlib import Path

from headwater.kernel.clock import Clock
from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.log import metrics as log_metrics
from headwater.log.engines.sqlite import SqliteLog
from headwater.log.model import BEFORE_FIRST, PartitionId, Policy, Record, StreamSpec
from headwater.sqlite import Platform, StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.clock import ManualClock

STREAMS = [
    StreamSpec("events", Policy.TIME, partitions=2, bytes_max=20_000),
    StreamSpec("pages", Policy.COMPACT),
    StreamSpec("notes", Policy.KEEP),
]
EVENTS, EVENTS_1, PAGES, NOTES = PartitionId("events"), PartitionId("events", 1), PartitionId("pages"), PartitionId("notes")


def new_metrics() -> Metrics:
    """Metrics of the log and of the files."""
    return Metrics((*log_metrics.METRICS, *sqlite_metrics.METRICS))


async def open_log(
    directory: Path,
    *,
    platform: Platform | None = None,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
    ballast_bytes: int = 0,
    wal_bytes_max: int = 64 * 1024,
) -> SqliteLog:
    """The log in `directory`, with a small write-ahead log so that checkpoints happen often."""
    return await SqliteLog.open(
        directory / "log.sqlite",
        clock=clock or ManualClock(),
        metrics=metrics or new_metrics(),
        storage=StorageConfig(ballast_bytes=Bytes(ballast_bytes), wal_bytes_max=Bytes(wal_bytes_max)),
        platform=platform,
    )


async def read_all(log: SqliteLog, partition: PartitionId) -> list[Record]:
    """Every record of a partition."""
    records: list[Record] = []
    after = BEFORE_FIRST
    while True:
        batch = await log.read(partition, after, limit=1_000)
        records.extend(batch.records)
        after = batch.next
        if batch.at_end:
            return records

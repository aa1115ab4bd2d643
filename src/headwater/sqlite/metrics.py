"""Metrics of every SQLite file; `database` is its short name (log, events, bodies, shard)."""

from headwater.kernel.metrics import COUNT_BUCKETS, counter, gauge, histogram

COMMITS = counter("sqlite_commits", "Durable transactions, each with one fsync of the write-ahead log.", "database")
COMMIT_SECONDS = histogram("sqlite_commit_seconds", "Time from the begin of a group of writes to its durable commit.", "database")
SYNC_SECONDS = histogram(
    "sqlite_sync_seconds", "The last part of that: from the end of the statements until the commit was durable.", "database"
)
CHECKPOINT_SECONDS = histogram(
    "sqlite_checkpoint_seconds", "Time to copy the write-ahead log into the database; writes wait meanwhile.", "database"
)
GROUP_WRITES = histogram("sqlite_group_writes", "Writes that shared one transaction.", "database", buckets=COUNT_BUCKETS)
WRITES_REFUSED = counter(
    "sqlite_writes_refused",
    "Writes refused or rolled back, by the code of the error.",
    "database",
    "code",
    known={"code": ("corrupted", "storage-full", "too-large", "unavailable")},
)
WAL_BYTES = gauge("sqlite_wal_bytes", "Bytes in the write-ahead log that readers and the next commit go through.", "database")
STORAGE_FULL = gauge("sqlite_storage_full", "1 while writes are refused because the disk is full, else 0.", "database")
BALLAST_BYTES = gauge("sqlite_ballast_bytes", "Bytes held in reserve for trimming on a full disk.", "database")

METRICS = (
    COMMITS,
    COMMIT_SECONDS,
    SYNC_SECONDS,
    CHECKPOINT_SECONDS,
    GROUP_WRITES,
    WRITES_REFUSED,
    WAL_BYTES,
    STORAGE_FULL,
    BALLAST_BYTES,
)

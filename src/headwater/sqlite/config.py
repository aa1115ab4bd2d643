"""Section `storage` of the configuration file: how every SQLite file is run."""

from typing import Annotated

import msgspec

from headwater.kernel.config import Bytes, Section, doc


class StorageConfig(Section, frozen=True):
    """Limits of the SQLite files under the data directory; each applies per file."""

    ballast_bytes: Annotated[
        Bytes,
        doc("Size of the ballast file beside each database, given up when the disk is full so that trimming can work; 0 keeps none."),
    ] = Bytes.of("8MiB")
    waiting_writes_max: Annotated[
        int, msgspec.Meta(ge=1, le=1_000_000), doc("Writes that may wait for the writer thread; beyond it they are refused as overloaded.")
    ] = 10_000
    group_writes_max: Annotated[int, msgspec.Meta(ge=1, le=10_000), doc("Writes that share one transaction and one fsync.")] = 512
    wal_bytes_max: Annotated[
        Bytes, doc("Size of the write-ahead log at which it is copied into the database; of sessions at 1MiB at the latest.")
    ] = Bytes.of("8MiB")
    writer_cache_bytes: Annotated[Bytes, doc("Page cache of the writer.")] = Bytes.of("4MiB")
    reader_cache_bytes: Annotated[Bytes, doc("Page cache of each reader; there are two per file.")] = Bytes.of("4MiB")
    mmap_bytes: Annotated[
        Bytes,
        doc("How much of a file readers map into memory. 0: a read error on a mapped page kills the process, elsewhere it is an error."),
    ] = Bytes(0)

"""The data directory: who owns it, and the files in it."""

import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from headwater.app.config import HeadwaterConfig
from headwater.kernel.clock import Clock
from headwater.kernel.errors import InvalidConfig, StorageFull
from headwater.kernel.metrics import Metrics
from headwater.log.engines.sqlite.log import SqliteLog
from headwater.sqlite.lock import DirectoryLock

LOG_FILE = "log.sqlite"
SEEN_IDS_FILE = "events.sqlite"
BODIES_FILE = "bodies.sqlite"
TABLES_FILE = "tables.sqlite"


def shard_file(wiki: str) -> str:
    """The file of a wiki's index."""
    return f"shard-{wiki}.sqlite"


def site_file(wiki: str) -> str:
    """The file of what a wiki last said about itself."""
    return f"site-{wiki}.json"


@contextmanager
def owned_directory(path: Path) -> Iterator[Path]:
    """The data directory, created if need be and owned by this process while open.

    Raises:
        AlreadyOwned: another process owns it.
        InvalidConfig: it cannot be written by this process.
        StorageFull: there is no room even for an empty directory.
    """
    lock = DirectoryLock(path)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"the disk of the data directory {path} is full") from error
        raise InvalidConfig(f"the data directory {path} cannot be used: {error.strerror}", where="data_dir") from error
    try:
        yield path
    finally:
        lock.release()


@asynccontextmanager
async def opened_log(config: HeadwaterConfig, data_dir: Path, *, clock: Clock, metrics: Metrics) -> AsyncIterator[SqliteLog]:
    """The log of the data directory. Raises Corrupted, FormatTooNew, StorageFull, Unavailable."""
    log = await SqliteLog.open(
        data_dir / LOG_FILE,
        clock=clock,
        metrics=metrics,
        limits=config.log.limits(),
        rules=config.log.rules(),
        storage=config.storage,
    )
    try:
        yield log
    finally:
        await log.close()

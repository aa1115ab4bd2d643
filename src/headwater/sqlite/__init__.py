"""Engine toolkit for SQLite: one writer with group commit per file, readers, migrations, the lock of a data directory.

database        one file: what an engine opens, reads from and writes to
writer          its writer thread: what waits becomes one durable transaction; `scheduling` lets it have the interpreter
connections     every setting that durability rests on
migrations      the format of a file
copying         copies of a file, taken while it is written to, and put in its place
ballast         space held in reserve for a disk that is full
lock            one process owns a data directory
errors          what an error of SQLite means to the rest of Headwater
queries         rows at the edge of the driver; `config` and `metrics` as in every room
"""

from headwater.sqlite.config import StorageConfig
from headwater.sqlite.database import Database, Failure, Platform
from headwater.sqlite.lock import DirectoryLock
from headwater.sqlite.migrations import Migration, load_migrations
from headwater.sqlite.scheduling import shorten_thread_switches

__all__ = ["Database", "Failure", "DirectoryLock", "Migration", "Platform", "StorageConfig", "load_migrations", "shorten_thread_switches"]

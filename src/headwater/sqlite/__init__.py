"""Engine toolkit for SQLite: one writer with group commit per file, readers, migrations, the lock of a data directory."""

from headwater.sqlite.config import StorageConfig
from headwater.sqlite.database import Database, Platform
from headwater.sqlite.lock import DirectoryLock
from headwater.sqlite.migrations import Migration, load_migrations
from headwater.sqlite.scheduling import shorten_thread_switches

__all__ = ["Database", "DirectoryLock", "Migration", "Platform", "StorageConfig", "load_migrations", "shorten_thread_switches"]

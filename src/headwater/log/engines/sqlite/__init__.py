"""The log in one SQLite file: the embedded engine."""

from headwater.log.engines.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]

"""Tables in a SQLite file of their own, owned by one process.

keys        rows as keys of one table; `records` what else is stored as bytes
store       the store: what runs on the event loop, what in the writer thread, what in the background
reads       slices and walks; `writes` what a write does in the writer thread, `clearing` the same for many rows
catalogue   declarations and spaces
upkeep      taking back room
examining   the file read as a whole; `restoring`: made ready to replace one that was lost
"""

from headwater.tables.engines.sqlite.store import SqliteTableStore

__all__ = ["SqliteTableStore"]

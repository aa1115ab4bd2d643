"""The index of accepted events in a SQLite file of its own.

Many rows go to each statement as one JSON array, so that the writer thread takes the interpreter lock once per statement and not once per
row. Events are evicted as a prefix in the order (time, n): whatever key was last seen at or before the
bound belongs to an evicted event.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import apsw
import orjson

from headwater.events.model import Key, Seen, Window
from headwater.kernel.clock import Clock
from headwater.kernel.errors import Corrupted
from headwater.kernel.metrics import Metrics
from headwater.log.model import Offset, PartitionId
from headwater.sqlite.config import StorageConfig
from headwater.sqlite.database import Database
from headwater.sqlite.errors import translated
from headwater.sqlite.migrations import load_migrations

KEY_BYTES = 16
EVICTED_AT_ONCE_MAX = 10_000

_SEEN = "SELECT hex(key) FROM seen WHERE time_ms >= ? AND key IN (SELECT unhex(value) FROM json_each(?))"
_WINDOW = "SELECT held, (SELECT min(time_ms) FROM event) FROM state"
_COVERED = "SELECT stream, number, position FROM covered"
_ADD_EVENTS = "INSERT INTO event (time_ms, n, keys) SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?)"
_ADD_KEYS = "INSERT OR REPLACE INTO seen (key, time_ms, n) SELECT unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each(?)"
_COVER = "INSERT OR REPLACE INTO covered (stream, number, position) SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)"
_COUNT = "UPDATE state SET held = held + ?, next_n = next_n + ?"
_OLDEST = "SELECT time_ms, n, hex(keys) FROM event ORDER BY time_ms, n LIMIT ?"
_DROP_KEYS = "DELETE FROM seen WHERE key IN (SELECT unhex(value) FROM json_each(?)) AND (time_ms, n) <= (?, ?)"
_DROP_EVENTS = "DELETE FROM event WHERE (time_ms, n) <= (?, ?)"
_CLEAR = "DELETE FROM event; DELETE FROM seen; DELETE FROM covered; UPDATE state SET held = 0"


class SqliteSeenIds:
    """`SeenIds` in a file. Make one with `SqliteSeenIds.open`."""

    def __init__(self, database: Database, *, ids_max: int) -> None:
        assert ids_max > 0
        self._database = database
        self._ids_max = ids_max

    @classmethod
    async def open(cls, path: Path, *, ids_max: int, metrics: Metrics, clock: Clock, storage: StorageConfig) -> Self:
        """Open or create the file; a damaged one is thrown away, since the log has everything that is in it.

        Raises:
            FormatTooNew: a newer program made the file.
            StorageFull, Unavailable: the disk is full or fails.
        """

        async def open_database() -> Database:
            migrations = load_migrations("headwater.events.engines.index_schema")
            return await Database.open(path, name="events", migrations=migrations, metrics=metrics, clock=clock, config=storage)

        try:
            database = await open_database()
        except Corrupted:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            database = await open_database()
        return cls(database, ids_max=ids_max)

    async def close(self) -> None:
        """Finish what is being written, close the file."""
        await self._database.close()

    async def covered(self) -> Mapping[PartitionId, Offset]:
        """The positions covered."""
        with translated(self._database.reader):
            rows = self._database.reader.execute(_COVERED).fetchall()
        return {PartitionId(str(stream), _integer(number)): Offset(_integer(position)) for stream, number, position in rows}

    def seen(self, keys: Sequence[Key], *, since_ms: int) -> frozenset[Key]:
        """Which keys are known: one statement for all, on the calling thread."""
        with translated(self._database.reader):
            return _known(self._database.reader, keys, since_ms)

    async def add(self, entries: Sequence[Seen], covered: Mapping[PartitionId, Offset], *, since_ms: int) -> None:
        """Add in one transaction; what falls out of the window is dropped in bounded steps."""
        await self._database.write(lambda connection: _add(connection, entries, covered, since_ms))
        while await self._database.write(lambda connection: _evict(connection, since_ms, self._ids_max), frees_space=True):
            pass

    async def clear(self) -> None:
        """Forget everything."""
        await self._database.write(_clear, frees_space=True)

    def window(self) -> Window:
        """How many events are held, and the time of the oldest."""
        with translated(self._database.reader):
            held, oldest_ms = self._database.reader.execute(_WINDOW).fetchall()[0]
        return Window(_integer(held), None if oldest_ms is None else _integer(oldest_ms))


def _integer(value: "apsw.SQLiteValue") -> int:
    assert isinstance(value, int), "the table is STRICT"
    return value


def _known(connection: apsw.Connection, keys: Sequence[Key], since_ms: int) -> frozenset[Key]:
    asked = orjson.dumps([key.hex() for key in keys]).decode()
    return frozenset([Key(bytes.fromhex(str(row[0]))) for row in connection.execute(_SEEN, (since_ms, asked)).fetchall()])


def _clear(connection: apsw.Connection) -> None:
    connection.execute(_CLEAR)


def _add(connection: apsw.Connection, entries: Sequence[Seen], covered: Mapping[PartitionId, Offset], since_ms: int) -> None:
    known = {key.hex() for key in _known(connection, [entry.keys[0] for entry in entries], since_ms)}
    n: int = connection.execute("SELECT next_n FROM state").get
    events: list[tuple[int, int, str]] = []
    keys: list[tuple[str, int, int]] = []
    for entry in entries:
        names = [key.hex() for key in entry.keys]
        if names[0] in known:
            continue
        known.add(names[0])
        events.append((entry.time_ms, n, "".join(names)))
        keys.extend((name, entry.time_ms, n) for name in names)
        n += 1
    for statement, rows in ((_ADD_EVENTS, events), (_ADD_KEYS, keys)):
        connection.execute(statement, (orjson.dumps(rows).decode(),))
    positions = [(partition.stream, partition.number, offset) for partition, offset in covered.items()]
    connection.execute(_COVER, (orjson.dumps(positions).decode(),))
    connection.execute(_COUNT, (len(events), len(events)))


def _evict(connection: apsw.Connection, since_ms: int, ids_max: int) -> bool:
    """Drop the oldest events that are too old or too many, a bounded number; says whether more may be left."""
    held: int = connection.execute("SELECT held FROM state").get
    surplus = max(0, held - ids_max)
    oldest = connection.execute(_OLDEST, (EVICTED_AT_ONCE_MAX,))
    gone: list[tuple[int, int, str]] = []
    for row in oldest:
        if len(gone) >= surplus and row[0] >= since_ms:
            break
        gone.append(row)
    oldest.close()
    if not gone:
        return False
    bound = gone[-1][:2]
    names = [keys[at : at + 2 * KEY_BYTES] for _, _, keys in gone for at in range(0, len(keys), 2 * KEY_BYTES)]
    connection.execute(_DROP_KEYS, (orjson.dumps(names).decode(), *bound))
    connection.execute(_DROP_EVENTS, bound)
    connection.execute(_COUNT, (-len(gone), 0))
    return len(gone) == EVICTED_AT_ONCE_MAX

"""`TableStore` in a SQLite file.

A point read and a short slice run on the event loop: they take less than handing them to a thread. Writes go to the writer thread, whose
group commit is what makes them durable. What takes longer is read in the background, in pieces.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

import apsw

from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import to_its_end
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.failpoints import failpoint
from headwater.kernel.metrics import Metrics
from headwater.kernel.waiting import Waiters
from headwater.sqlite import Database, Failure, Platform, StorageConfig, load_migrations
from headwater.sqlite.errors import translate, translated
from headwater.sqlite.queries import fetch_all
from headwater.tables.engines.sqlite import catalogue, reads
from headwater.tables.engines.sqlite.clearing import Clearing
from headwater.tables.engines.sqlite.keys import space_prefix
from headwater.tables.engines.sqlite.together import Writing, put_key_of, write_all, write_one
from headwater.tables.engines.sqlite.upkeep import Kept, Upkeep
from headwater.tables.engines.sqlite.writes import Revisions
from headwater.tables.model import (
    NOTHING,
    Changes,
    Declaration,
    Outcome,
    Page,
    PartitionUsage,
    Place,
    RowKey,
    Slice,
    SpaceId,
    StoredRow,
    Usage,
    Walked,
    Write,
)

PAGE_BYTES = 8192  # rows of 1 KiB lie whole in the leaves of the tree

_NO_ROWS = Page((), None)


class SqliteTableStore:
    """`TableStore` in a file. Make one with `SqliteTableStore.open`; for one event loop."""

    def __init__(
        self, database: Database, *, revisions: Revisions, present: set[SpaceId], lost: Sequence[reads.Lost], clock: Clock
    ) -> None:
        self._lost = lost
        self.database = database
        self._reader = database.reader
        self._points = database.reader.cursor()  # kept, since making one takes a third of the search; each read leaves it at its end
        self._revisions = revisions
        self._present = present
        self._upkeep = Upkeep()
        self._waiters = Waiters[SpaceId](clock)

    @classmethod
    async def open(cls, path: Path, *, metrics: Metrics, clock: Clock, storage: StorageConfig, platform: Platform | None = None) -> Self:
        """Open or create the file.

        Raises:
            FormatTooNew: a newer program made the file.
            Corrupted: the file is damaged.
            StorageFull, Unavailable: the disk is full or fails.
        """
        migrations = load_migrations("headwater.tables.engines.sqlite.schema")
        database = await Database.open(
            path,
            name="tables",
            migrations=migrations,
            metrics=metrics,
            clock=clock,
            config=storage,
            platform=platform,
            page_bytes=PAGE_BYTES,
        )
        with translated(database.reader):
            reserved = fetch_all(database.reader, "SELECT value FROM counter WHERE name = 'revision'")[0][0]
            present, lost = catalogue.spaces(database.reader), reads.read_lost(database.reader)
        return cls(database, revisions=Revisions(reserved), present=present, lost=lost, clock=clock)

    async def close(self) -> None:
        """Finish what is being written, close the file."""
        self._waiters.wake_all()
        await self.database.close()

    async def secret(self, candidate: bytes) -> bytes:
        """What signs the tokens of pages, the same for the life of the file: `candidate` if there was none yet."""

        def keep(connection: apsw.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO secret (name, value) VALUES ('tokens', ?)", (candidate,))
            kept = fetch_all(connection, "SELECT value FROM secret WHERE name = 'tokens'")[0][0]
            assert isinstance(kept, bytes)
            return kept

        return await self.database.write(keep)

    # The catalogue

    async def declarations(self) -> Sequence[Declaration]:
        """In the background."""
        return await self.database.read(catalogue.load)

    async def declare(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration | None:
        """Compare and set in one transaction."""
        return await to_its_end(self._declare(declaration, replaces, ends_streams))

    async def _declare(self, declaration: Declaration, replaces: int | None, ends_streams: bool) -> Declaration | None:
        def declare(connection: apsw.Connection) -> tuple[Declaration | None, int]:
            stored = catalogue.declare(connection, declaration, replaces)
            if stored is None or not ends_streams:
                return stored, 0
            end, reserved = self._revisions.take(connection, 0)  # a number above all, whatever the clock says
            catalogue.end_streams(connection, stored, end)
            return stored, reserved

        stored, reserved = await self.database.write(declare)
        failpoint("tables.declared")
        self._revisions.confirm(reserved)
        if stored is not None:
            self._present.update(stored.domains.values())
        return stored

    async def add_space(self, declaration: Declaration, domain: str) -> SpaceId | None:
        """One record, in one transaction."""
        return await to_its_end(self._add_space(declaration.incarnation, domain))

    async def _add_space(self, incarnation: int, domain: str) -> SpaceId | None:
        space = await self.database.write(partial(catalogue.add_space, incarnation=incarnation, domain=domain))
        failpoint("tables.declared")
        if space is not None:
            self._present.add(space)
        return space

    async def drop(self, declaration: Declaration, *, domain: str | None) -> bool:
        """Compare and set in one transaction; it makes room, so a full disk does not stop it."""
        return await to_its_end(self._drop(declaration, domain))

    async def _drop(self, declaration: Declaration, domain: str | None) -> bool:
        gone = await self.database.write(partial(catalogue.drop, declaration=declaration, domain=domain), frees_space=True)
        if gone is None:
            return False
        self._present.difference_update(gone)
        self._waiters.wake(gone)
        return True

    # Reads

    async def read(self, slice: Slice, *, now_s: int) -> Page:
        """On the calling thread, unless the slice is long or much of it has expired."""
        if slice.space not in self._present:
            return _NO_ROWS
        page = None
        if slice.point or slice.limit <= reads.LOOP_ROWS:
            try:  # without `translated`, which costs as much as the search
                page = self._read(slice, now_s)
            except apsw.Error as error:
                known = translate(error, self._reader)
                if known is None:
                    raise
                raise known from error
        if page is None:
            page = await self.database.read(partial(reads.read_slice, slice=slice, now_s=now_s, rows_max=None))
        assert page is not None, "a read without bounds has an end"
        return page

    async def read_rows(self, keys: Sequence[RowKey], *, now_s: int) -> Sequence[StoredRow | None]:
        """On the calling thread."""
        try:
            return reads.read_rows(self._points, keys, self._present, now_s=now_s)
        except apsw.Error as error:
            known = translate(error, self._reader)
            if known is None:
                raise
            raise known from error

    def _read(self, slice: Slice, now_s: int) -> Page | None:
        if slice.point:
            return reads.read_point(self._reader, slice, now_s=now_s)
        return reads.read_slice(self._reader, slice, now_s=now_s, rows_max=slice.limit + reads.LOOP_EXPIRED_ROWS)

    async def walk(self, space: SpaceId, after: Place | None, *, limit: int, now_s: int) -> Walked:
        """In the background, one snapshot per page."""
        if space not in self._present:
            return Walked((), None)
        return await self.database.read(partial(reads.walk, space=space, after=after, limit=limit, now_s=now_s))

    async def usage(self, space: SpaceId) -> Usage:
        """One search, on the calling thread."""
        if space not in self._present:
            return NOTHING
        with translated(self._reader):
            return reads.read_usage(self._reader, space)

    async def total(self) -> Usage:
        """In the background."""
        return await self.database.read(reads.read_total)

    async def largest(self, space: SpaceId, *, limit: int) -> Sequence[PartitionUsage]:
        """In the background: counted partitions are sorted; where each is one row, all rows are looked at, in pieces."""
        if space not in self._present:
            return []
        largest = await self.database.read(partial(reads.largest_partitions, space=space, limit=limit))
        low: bytes | None = None if largest else space_prefix(space)
        while low is not None:
            look = partial(reads.largest_rows, space=space, so_far=largest, low=low, limit=limit)
            largest, low = await self.database.read(look)
        return largest

    # Writes

    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        """In one transaction with its changes."""
        if write.table.options.changes:  # whoever waits for changes is woken also if the caller is not there any more
            return await to_its_end(self._write(write, now_ms))
        return await self._write(write, now_ms)

    async def _write(self, write: Write, now_ms: int) -> Outcome:
        failpoint("tables.write")
        writing = Writing(write, self._revisions, now_ms, put_key_of(write))
        if writing.is_small:
            outcome, reserved = await self.database.write_together(write_all, writing, write_one)
        else:
            outcome, reserved = await self.database.write(partial(write_one, writing=writing))
        failpoint("tables.written")
        self._revisions.confirm(reserved)
        if write.table.options.changes:
            self._waiters.wake((write.space,))
        return outcome

    async def write_each(self, writes: Sequence[Write], *, now_ms: int) -> Sequence[Outcome | HeadwaterError]:
        """In few transactions, most often one, with their changes."""
        if any(write.table.options.changes for write in writes):
            return await to_its_end(self._write_each(writes, now_ms))
        return await self._write_each(writes, now_ms)

    async def _write_each(self, writes: Sequence[Write], now_ms: int) -> Sequence[Outcome | HeadwaterError]:
        failpoint("tables.write")
        writings = [Writing(write, self._revisions, now_ms, put_key_of(write)) for write in writes]
        carried = await self.database.write_each(write_all, writings, write_one)
        failpoint("tables.written")
        outcomes: list[Outcome | HeadwaterError] = []
        for write, one in zip(writes, carried, strict=True):
            if isinstance(one, Failure):
                if not isinstance(one.error, HeadwaterError):
                    raise one.error
                outcomes.append(one.error)
                continue
            outcome, reserved = one
            if reserved:
                self._revisions.confirm(reserved)
            if write.table.options.changes:
                self._waiters.wake((write.space,))
            outcomes.append(outcome)
        return outcomes

    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        """In one transaction; it makes room, so a full disk does not stop it."""
        return await to_its_end(self._clear(slice, epoch, table_changes, now_ms))

    async def _clear(self, slice: Slice, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        def clear(connection: apsw.Connection) -> tuple[int, bool, int]:  # may run twice, each time from the beginning
            return Clearing(slice, self._revisions, epoch=epoch, table_changes=table_changes, now_ms=now_ms)(connection)

        deleted, complete, reserved = await self.database.write(clear, frees_space=True)
        failpoint("tables.cleared")
        self._revisions.confirm(reserved)
        if table_changes:
            self._waiters.wake((slice.space,))
        return deleted, complete

    # The change stream

    async def changes(self, space: SpaceId, after: int, *, limit: int, wait_s: float) -> Changes:
        """On the calling thread; whoever waits is woken by the write."""
        found = self._changes(space, after, limit)
        if not found.changes and wait_s > 0:
            await self._waiters.wait(space, wait_s)
            found = self._changes(space, after, limit)
        return found

    def _changes(self, space: SpaceId, after: int, limit: int) -> Changes:
        if space not in self._present:
            return Changes((), after, True)
        reads.refuse_lost(self._lost, after)
        with translated(self._reader):
            return reads.read_changes(self._reader, space, after, limit=limit, known=[until for _, until in self._lost])

    # Upkeep

    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        """In one transaction."""
        kept = Kept(now_ms, now_ms - changes_kept_ms, now_ms - write_ids_kept_ms)
        return await self.database.write(partial(self._upkeep.reclaim, kept=kept, limit=limit), frees_space=True)

"""What the laws need to know of an engine, and small ways to use a table that several laws share."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace as altered

from headwater.kernel.errors import HeadwaterError
from headwater.tables.encoding import decode, encode_all
from headwater.tables.model import (
    FOREVER,
    Change,
    ClusteringKey,
    Column,
    ColumnId,
    Condition,
    Declaration,
    KeyedRow,
    Options,
    Outcome,
    Page,
    PartitionKey,
    Put,
    Remove,
    Role,
    Slice,
    SpaceId,
    Stored,
    StoredRow,
    Table,
    Usage,
    Write,
)
from headwater.tables.ports import TableStore
from headwater.tables.types import parse_type
from headwater.testing.clock import ManualClock

BOUNDLESS = Usage(1 << 62, 1 << 62)
PATIENCE_S = 1.0
DAY_MS = 86_400_000


class StoreUnderTest(TableStore, Protocol):
    """A store that the laws can also close."""

    async def close(self) -> None:
        """End it."""
        ...


class TableEngine(Protocol):
    """Makes stores of one engine.

    Attributes:
        durable: what a store held is there when it is closed and opened again.
    """

    durable: bool

    async def open(self, clock: ManualClock) -> StoreUnderTest:
        """The engine's store: empty the first time, later what the last one left behind."""
        ...


Hashes = Stored | tuple[Stored, ...]
"""The hash column or columns."""

Law = Callable[[TableEngine], Coroutine[Any, Any, None]]


def table_of(
    *,
    hashes: str = "h:string",
    ranges: str = "r:int",
    statics: str = "",
    regulars: str = "v:string w:string tags:set<string>",
    options: Options | None = None,
) -> Table:
    """A table, each column given as `name:type`; a range column whose type is followed by `-` is descending."""
    numbers = iter(range(1, 100))

    def columns(text: str, role: Role) -> tuple[Column, ...]:
        made = []
        for one in text.split():
            name, _, type = one.partition(":")
            made.append(Column(name, ColumnId(next(numbers)), parse_type(type.rstrip("-")), role, descending=type.endswith("-")))
        return tuple(made)

    hash_columns, static_columns = columns(hashes, Role.HASH), columns(statics, Role.STATIC)
    range_columns, regular_columns = columns(ranges, Role.RANGE), columns(regulars, Role.REGULAR)
    return Table("t", 1, hash_columns, range_columns, static_columns, regular_columns, options or Options())


@dataclass
class Space:
    """One table of one domain in a store, used by names and values instead of ids and bytes.

    Attributes:
        store, clock: where and when.
        declaration, table: as declared; laws put others in their place.
        space: whose rows.
    """

    store: StoreUnderTest
    clock: ManualClock
    declaration: Declaration
    table: Table
    space: SpaceId
    room: Usage = BOUNDLESS
    partition_bytes_max: int = 1 << 62

    @property
    def now_s(self) -> int:
        """Seconds."""
        return self.clock.now_ms() // 1000

    def partition(self, hashes: Hashes) -> PartitionKey:
        """A partition key."""
        return PartitionKey(encode_all(self.table.hashes, hashes if isinstance(hashes, tuple) else (hashes,)))

    def clustering(self, *ranges: Stored) -> ClusteringKey:
        """A clustering key."""
        return ClusteringKey(encode_all(self.table.ranges, ranges))

    def put_of(
        self,
        key: Sequence[Stored] | None,
        cells: Mapping[str, Stored],
        *,
        ttl_s: int = 0,
        marker: bool | None = None,
        condition: Condition | None = None,
    ) -> Put:
        """A put of named cells; without `marker` as RESTBase chooses: INSERT if nothing but keys or nulls is given."""
        of_role: dict[Role, dict[ColumnId, Stored]] = {Role.REGULAR: {}, Role.STATIC: {}}
        for name, value in cells.items():
            column = self.table.by_name[name]
            of_role[column.role][column.id] = value
        if marker is None:
            marker = all(value is None for value in cells.values())
        clustering = None if key is None else self.clustering(*key)
        expires_s = self.now_s + ttl_s if ttl_s else FOREVER
        return Put(clustering, of_role[Role.REGULAR], of_role[Role.STATIC], marker, expires_s, condition)

    def remove_of(self, key: Sequence[Stored], condition: Condition | None = None) -> Remove:
        """A remove."""
        return Remove(self.clustering(*key), condition)

    async def write(self, *writes: Put | Remove, partition: Hashes = "p", write_id: str | None = None, digest: bytes = b"d") -> Outcome:
        """Write to one partition."""
        write = self.write_of(*writes, partition=partition, write_id=write_id, digest=digest)
        return await self.store.write(write, now_ms=self.clock.now_ms())

    def write_of(self, *writes: Put | Remove, partition: Hashes = "p", write_id: str | None = None, digest: bytes = b"d") -> Write:
        """Writes to one partition."""
        return Write(
            self.space,
            self.partition(partition),
            self.table,
            writes,
            self.partition_bytes_max,
            self.room,
            write_id,
            digest,
            epoch=self.declaration.epoch,
        )

    async def put(self, key: Stored, partition: Hashes = "p", *, ttl_s: int = 0, **cells: Stored) -> Outcome:
        """Put one row of a table with one range column; None: the static row."""
        return await self.write(self.put_of(None if key is None else (key,), cells, ttl_s=ttl_s), partition=partition)

    async def insert(self, key: Stored, partition: Hashes = "p", *, ttl_s: int = 0, **cells: Stored) -> Outcome:
        """Put one row with its marker."""
        return await self.write(self.put_of((key,), cells, ttl_s=ttl_s, marker=True), partition=partition)

    async def put_if(self, key: Stored, condition: Condition, partition: Hashes = "p", **cells: Stored) -> Outcome:
        """Put one row under a condition."""
        return await self.write(self.put_of((key,), cells, condition=condition), partition=partition)

    async def remove(self, key: Stored, partition: Hashes = "p", *, condition: Condition | None = None) -> Outcome:
        """Remove one row."""
        return await self.write(self.remove_of((key,), condition), partition=partition)

    def slice(self, partition: Hashes = "p", *, limit: int = 1000, backwards: bool = False) -> Slice:
        """A whole partition."""
        lower = ClusteringKey(b"")
        return Slice(self.space, self.partition(partition), lower, None, backwards, limit, whole=True, statics=bool(self.table.statics))

    async def page(self, slice: Slice) -> Page:
        """Read."""
        return await self.store.read(slice, now_s=self.now_s)

    async def all(self, slice: Slice) -> list[KeyedRow]:
        """Every row of a slice, page after page."""
        rows: list[KeyedRow] = []
        while True:
            page = await self.page(slice)
            rows += page.rows
            if page.last is None:
                return rows
            assert slice.after is None or page.last != slice.after, "a page that is not the last makes headway"
            slice = altered(slice, after=page.last)

    async def keys(self, slice: Slice) -> list[Stored]:
        """The first range column of every row of a slice."""
        return [decode(self.table.ranges, row.clustering)[0] for row in await self.all(slice) if row.clustering is not None]

    async def get(self, key: Stored, partition: Hashes = "p") -> dict[str, Stored] | None:
        """The cells of one row, static ones too; None if it is not there."""
        found = await self.keyed(key, partition)
        return None if found is None else self.shown(found)

    async def keyed(self, key: Stored, partition: Hashes = "p") -> KeyedRow | None:
        """One row."""
        slice = altered(self.slice(partition), lower=self.clustering(key), point=True, whole=False)
        rows = (await self.page(slice)).rows
        assert len(rows) <= 1
        return rows[0] if rows else None

    def shown(self, row: KeyedRow) -> dict[str, Stored]:
        """Cells by name."""
        return {**self.cells(row.static), **self.cells(row.row)}

    def cells(self, row: StoredRow | None) -> dict[str, Stored]:
        """Cells of a stored row by name."""
        return {} if row is None else {self.table.by_id[id].name: cell.value for id, cell in row.cells.items() if id in self.table.by_id}

    async def clear(self, slice: Slice) -> tuple[int, bool]:
        """Delete the rows of a slice."""
        changes = self.table.options.changes
        return await self.store.clear(slice, epoch=self.declaration.epoch, table_changes=changes, now_ms=self.clock.now_ms())

    async def usage(self) -> Usage:
        """What the space takes."""
        return await self.store.usage(self.space)

    async def changes(self, after: int = 0) -> list[Change]:
        """All changes after a position."""
        found: list[Change] = []
        while True:
            page = await self.store.changes(self.space, after, limit=7, wait_s=0)
            found += page.changes
            assert page.at_end or page.next > after
            after = page.next
            if page.at_end:
                return found

    async def walk(self, limit: int = 1000) -> list[tuple[PartitionKey, KeyedRow]]:
        """Every row of the space."""
        found: list[tuple[PartitionKey, KeyedRow]] = []
        place = None
        while True:
            walked = await self.store.walk(self.space, place, limit=limit, now_s=self.now_s)
            assert len(walked.rows) <= limit
            found += walked.rows
            if walked.last is None:
                return found
            assert walked.last != place, "a walk makes headway"
            place = walked.last

    async def reclaim(self, *, limit: int = 10_000, changes_kept_ms: int = 7 * DAY_MS, write_ids_kept_ms: int = DAY_MS) -> int:
        """Take back room until nothing is left to do; returns the rounds."""
        for rounds in range(1, 200):
            if not await self.store.reclaim(
                now_ms=self.clock.now_ms(), changes_kept_ms=changes_kept_ms, write_ids_kept_ms=write_ids_kept_ms, limit=limit
            ):
                return rounds
        raise AssertionError("taking back room never ends")


async def declare(store: TableStore, table: Table, *domains: str, name: str = "t", group: str = "g") -> Declaration:
    """Put a new table on record."""
    ids = {column.name: column.id for column in table.by_id.values()}
    spaces = {domain: SpaceId(0) for domain in domains or ("d",)}
    declared = await store.declare(Declaration(group, name, 0, 0, b"{}", ids, 100, spaces), replaces=None)
    assert declared is not None
    return declared


@asynccontextmanager
async def opened(engine: TableEngine, table: Table | None = None) -> AsyncIterator[Space]:
    """A store with one table of one domain."""
    clock = ManualClock()
    store = await engine.open(clock)
    try:
        table = table or table_of()
        declared = await declare(store, table)
        yield Space(store, clock, declared, table, declared.domains["d"])
    finally:
        await store.close()


async def raises(expected: type[HeadwaterError], call: Awaitable[object]) -> HeadwaterError:
    """The error that `call` must raise."""
    try:
        await call
    except expected as error:
        return error
    raise AssertionError(f"{expected.__name__} was not raised")

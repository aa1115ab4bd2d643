"""Tables: declaring them, reading and writing rows. Plans are made by `planner`, carried out by the store, decided in `rows`.

What holds after every operation: a write that was answered is durable, and its change is in the table's stream with it; a write that was
refused left nothing behind; what is planned against a schema is carried out against that schema, or planned again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import run_until
from headwater.kernel.errors import StorageFull
from headwater.kernel.metrics import Metrics
from headwater.tables.catalogue import Catalogue, Declared, InUse, Listed, MayDeclare
from headwater.tables.config import TablesConfig
from headwater.tables.errors import NoSuchTable, PartitionFull, PositionUnknown, SchemaChanged, TableQuotaExceeded
from headwater.tables.metrics import ANSWER_ROWS, PLANNED_AGAIN, REFUSED_FULL, ROWS_CLEARED, ROWS_READ, ROWS_WRITTEN, WRITES
from headwater.tables.model import Condition, KeyedRow, Outcome, PartitionKey, Remove, Slice, SpaceId, Table, Usage, Write
from headwater.tables.planner import WritePlan
from headwater.tables.points import Points
from headwater.tables.ports import TableStore
from headwater.tables.quotas import BOUNDLESS, Quotas
from headwater.tables.rewriting import RowWrites
from headwater.tables.showing import revision_text
from headwater.tables.tokens import Tokens

ATTEMPTS_MAX = 8
LARGEST_SHOWN = 10
FULL_COUNTED_MAX = 1000
T = TypeVar("T")
Planned = Callable[[InUse, int], WritePlan]
"""Plans a write of a table, given the time in seconds."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rows, and the token of the next page if there may be one."""

    items: Sequence[Mapping[str, object]]
    next: str | None = None


class Written(msgspec.Struct, frozen=True):
    """What came of a write.

    Attributes:
        applied: whether it happened.
        revision: of the rows, if it did; 16 hexadecimal digits.
        current: otherwise the row that is there (None: none), or the rows of a batch in its order, the first ones if they are large.
    """

    applied: bool
    revision: str | None = None
    current: object = None


class Deleted(msgspec.Struct, frozen=True):
    """How many rows a delete of a range removed (None: it was of one row, which may not have been there), and whether none is left."""

    deleted: int | None
    complete: bool


class ChangesShown(msgspec.Struct, frozen=True):
    """Changes as JSON values; `next` is where to go on."""

    changes: Sequence[Mapping[str, object]]
    next: int
    at_end: bool


class Stats(msgspec.Struct, frozen=True):
    """What a domain's table takes and how it performs; durations in seconds since the process started, None before the first."""

    rows: int
    bytes: int
    largest_partitions: Sequence[Mapping[str, object]]
    reads: int
    read_p50_s: float | None
    read_p99_s: float | None
    writes: int
    write_p50_s: float | None
    write_p99_s: float | None


class Status(msgspec.Struct, frozen=True):
    """How much there is in all.

    Attributes:
        tables, spaces: declarations, and pairs of one and a domain that uses it.
        rows, bytes: of all spaces.
        full_partitions: those that refused a write since the process began and have neither taken one nor lost rows to a delete since;
            counted up to `FULL_COUNTED_MAX`.
    """

    tables: int
    spaces: int
    rows: int
    bytes: int
    full_partitions: int


class Tables:
    """The tables of all domains. For one event loop."""

    def __init__(self, store: TableStore, config: TablesConfig, *, tokens: Tokens, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._metrics = metrics
        self._rows_read = metrics.tally(ROWS_READ)
        self._answer_rows = metrics.tally_of_times(ANSWER_ROWS)
        self._rows_written = metrics.tally(ROWS_WRITTEN)
        self._applied = metrics.tally(WRITES, outcome="applied")
        self._row_bytes_max, self._answer_bytes_max = int(config.row_bytes_max), int(config.answer_bytes_max)
        self._partition_bytes_max = int(config.partition_bytes_max)
        self._tokens = tokens
        self._points = Points(store, self._as_write, clock=clock)
        self._full: set[tuple[SpaceId, PartitionKey]] = set()
        self._catalogue = Catalogue(store, config, clock=clock, metrics=metrics)
        self._quotas = Quotas(config.quotas, store, self._catalogue, clock=clock)

    async def start(self) -> None:
        """Learn which tables there are. Raises what the store raises."""
        await self._catalogue.load()

    # Declarations

    async def declare(
        self, domain: str, name: str, body: Mapping[str, object], *, dry_run: bool, may: MayDeclare = lambda _: True
    ) -> Declared:
        """Declare or migrate a table; raises as `Catalogue.declare`."""
        return await self._catalogue.declare(domain, name, body, dry_run=dry_run, may=may)

    def schema(self, domain: str, name: str) -> Mapping[str, object]:
        """The schema as normalised; raises as `Catalogue.in_use`."""
        return self._catalogue.schema(domain, name)

    def table(self, domain: str, name: str) -> Table:
        """The schema at work; raises as `Catalogue.in_use`."""
        return self._catalogue.in_use(domain, name).table

    async def drop(self, domain: str, name: str) -> None:
        """Drop a table; raises as `Catalogue.drop`."""
        await self._catalogue.drop(domain, name)
        self._quotas.forget()
        left = self._catalogue.spaces()
        self._full = {full for full in self._full if full[0] in left}

    # Rows

    async def query(self, domain: str, name: str, body: Mapping[str, object]) -> Answer:
        """Consecutive rows of one partition.

        Raises:
            InvalidInput, WrongType: the query breaks a rule.
            NoSuchTable: the domain has declared no such table.
        """
        began_s = self._clock.monotonic_s()
        in_use = self._catalogue.in_use(domain, name)
        query = in_use.planner.query(body, space=in_use.space, tokens=self._tokens)
        if query.slice is None:  # nothing can be there
            return Answer(())
        now_s = self._clock.now_ms() // 1000
        page = await self._store.read(query.slice, now_s=now_s)
        items = query.show(page.rows, now_s)
        self._note_read(in_use, len(items), began_s)
        return Answer(items, None if page.last is None else query.token(page.last))

    async def query_point(self, domain: str, name: str, raw: bytes) -> bytes | None:
        """As `query`, from JSON to JSON, of a body that asks for one row by its whole key; None: `query` has to read it.

        Raises NoSuchTable.
        """
        began_s = self._clock.monotonic_s()
        in_use = self._catalogue.in_use(domain, name)
        found = await self._points.read(in_use, raw)
        if found is None:
            return None
        self._note_read(in_use, found.rows, began_s)
        return found.text

    def _note_read(self, in_use: InUse, rows: int, began_s: float) -> None:
        self._rows_read.inc(rows)
        self._answer_rows.observe(rows)
        in_use.reads.add(self._clock.monotonic_s() - began_s)

    async def put(self, domain: str, name: str, body: Mapping[str, object], *, condition: Condition | None) -> Written:
        """Write one row; durable when this returns.

        Raises:
            InvalidInput, WrongType, TooLarge: the row breaks a rule.
            NoSuchTable: the domain has declared no such table.
            PartitionFull, TableQuotaExceeded, StorageFull, Overloaded: there is no room; nothing was written.
            WriteIdReused: the `write_id` belongs to another write.
            SchemaChanged: the table is migrated again and again.
        """
        return await self._write(
            domain, name, lambda in_use, now_s: in_use.planner.put(body, now_s=now_s, condition=condition), single=True
        )

    async def put_point(self, domain: str, name: str, raw: bytes) -> str | None:
        """As `put`, from JSON to the revision, of a body that writes one row without a condition; None: nothing was done, `put` has to.

        Raises as `put`.
        """
        if self._config.quotas:  # which this write might have to wait for
            return None
        began_s = self._clock.monotonic_s()
        in_use = self._catalogue.in_use(domain, name)
        written = await self._points.write(in_use, raw)
        if written is None:
            return None
        in_use.writes.add(self._clock.monotonic_s() - began_s)
        self._applied.inc()
        self._rows_written.inc()
        if self._full:
            self._full.discard((written.write.space, written.write.partition))
        return written.revision

    async def batch(self, domain: str, name: str, body: Mapping[str, object]) -> Written:
        """Write rows of one partition, all or none; raises as `put`."""
        return await self._write(domain, name, lambda in_use, now_s: in_use.planner.batch(body, now_s=now_s), single=False)

    async def delete(self, domain: str, name: str, body: Mapping[str, object], *, condition: Condition | None) -> Written | Deleted:
        """Delete one row, or as many rows of a range as are deleted at once; raises as `put`."""
        in_use = self._catalogue.in_use(domain, name)
        plan = in_use.planner.delete(body, space=in_use.space, condition=condition)
        if isinstance(plan, WritePlan):
            written = await self._write(domain, name, lambda again, _: _still_write(again, body, condition), single=True)
            return written if not written.applied else Deleted(None, True)
        return await self._again(domain, name, lambda: self._clear_once(domain, name, body))

    async def _clear_once(self, domain: str, name: str, body: Mapping[str, object]) -> Deleted:
        in_use = self._catalogue.in_use(domain, name)
        plan = in_use.planner.delete(body, space=in_use.space)
        if plan is None:
            return Deleted(0, True)
        assert isinstance(plan, Slice), "keys never change in a migration"
        deleted, complete = await self._store.clear(
            plan, epoch=in_use.declaration.epoch, table_changes=in_use.table.options.changes, now_ms=self._clock.now_ms()
        )
        if deleted:
            self._full.discard((plan.space, plan.partition))
        self._metrics.inc(ROWS_CLEARED, deleted)
        await self._quotas.note(domain, plan.space)
        return Deleted(deleted, complete)

    async def _write(self, domain: str, name: str, planned: Planned, *, single: bool) -> Written:
        began_s = self._clock.monotonic_s()
        in_use, plan, outcome = await self._again(domain, name, lambda: self._write_once(domain, name, planned))
        in_use.writes.add(self._clock.monotonic_s() - began_s)
        if outcome.repeated:
            self._metrics.inc(WRITES, outcome="repeated")
        elif outcome.applied:
            self._applied.inc()
            self._rows_written.inc(len(plan.writes))
        else:
            self._metrics.inc(WRITES, outcome="refused")
        if outcome.applied:
            assert outcome.revision is not None
            return Written(True, revision_text(outcome.revision))
        current = self._current(in_use, plan.partition, outcome.current)
        return Written(False, None, current[0] if single else current)

    async def _write_once(self, domain: str, name: str, planned: Planned) -> tuple[InUse, WritePlan, Outcome]:
        in_use = self._catalogue.in_use(domain, name)
        now_ms = self._clock.now_ms()
        plan = planned(in_use, now_ms // 1000)
        space = in_use.space
        if space is None:  # only now, so that what is refused leaves none behind
            await self._catalogue.make_space(in_use)
            return await self._write_once(domain, name, planned)
        write = self._as_write(in_use, plan, await self._quotas.room(domain, name, space))
        try:
            outcome = await self._store.write(write, now_ms=now_ms)
        except PartitionFull:
            if len(self._full) < FULL_COUNTED_MAX:
                self._full.add((space, plan.partition))
            self._metrics.inc(REFUSED_FULL, limit="partition")
            raise PartitionFull(
                "the partition has reached its ceiling; nothing was written", where=in_use.planner.partition_text(plan.partition)
            ) from None
        except StorageFull as error:
            if not isinstance(error, TableQuotaExceeded):  # which may be found to be wrong
                self._metrics.inc(REFUSED_FULL, limit="disk")
            raise
        if self._full and outcome.applied:
            self._full.discard((space, plan.partition))
        await self._quotas.note(domain, space)
        return in_use, plan, outcome

    def _as_write(self, in_use: InUse, plan: WritePlan, room: Usage = BOUNDLESS) -> Write:
        assert in_use.space is not None
        return Write(
            in_use.space,
            plan.partition,
            in_use.table,
            plan.writes,
            in_use.table.options.partition_bytes_max or self._partition_bytes_max,
            room,
            plan.write_id,
            plan.digest,
            epoch=in_use.declaration.epoch,
            row_bytes_max=self._row_bytes_max,
            current_bytes_max=self._answer_bytes_max,
        )

    async def _again(self, domain: str, name: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns, planned again where the table or what is left of a quota has changed."""
        for _ in range(ATTEMPTS_MAX):
            generation = self._catalogue.generation
            try:
                return await attempt()
            except SchemaChanged:
                self._metrics.inc(PLANNED_AGAIN)
                await self._catalogue.refresh(generation)
            except TableQuotaExceeded:
                if not await self._quotas.count_again(domain):
                    self._metrics.inc(REFUSED_FULL, limit="quota")
                    raise
        async with self._catalogue.unchanged:  # where tables are changed without end, the next change waits for this
            if self._catalogue.in_use(domain, name).space is None:
                raise SchemaChanged("the table is changed again and again; nothing was written")
            return await attempt()

    def _current(self, in_use: InUse, partition: PartitionKey, rows: Sequence[KeyedRow]) -> Sequence[Mapping[str, object] | None]:
        now_s = self._clock.now_ms() // 1000
        return [in_use.planner.show_current(partition, row, now_s) for row in rows]

    # The change stream

    async def changes(self, domain: str, name: str, after: int, *, limit: int, wait_s: float) -> ChangesShown:
        """Changes of a table after a position, 0 being the beginning; waits up to `wait_s` for a first one.

        Raises:
            NoSuchTable: there is no such table, or it was declared without `changes`; also while this waits.
            PositionUnknown: there was no such position.
            ChangesTrimmed: some of them are gone.
        """
        in_use = self._streamed(domain, name)
        if in_use.space is None:  # and reading makes none
            if after:
                raise PositionUnknown
            if wait_s > 0:
                await self._catalogue.change(wait_s)
            return ChangesShown((), after, True)
        found = await run_until(in_use.ended, self._store.changes(in_use.space, after, limit=limit, wait_s=wait_s))
        if found is None or (in_use.ended.is_set() and not found.changes):  # the next look says why
            if self._streamed(domain, name).space != in_use.space:
                raise NoSuchTable("the table has been dropped; there is another of its name", where="table")
            return await self.changes(domain, name, after, limit=limit, wait_s=0)
        shown = [in_use.planner.show_change(change) for change in found.changes]
        return ChangesShown(shown, found.next, found.at_end)

    def _streamed(self, domain: str, name: str) -> InUse:
        in_use = self._catalogue.in_use(domain, name)
        if not in_use.table.options.changes:
            raise NoSuchTable("this table has no change stream: declare it with `changes: true` and a higher version", where="table")
        return in_use

    # Administration

    async def walk(self, domain: str, name: str, *, after: str | None, limit: int, as_writes: bool = False) -> Answer:
        """Rows of all partitions, from where the token `after` ended; or the writes that make them again. Raises as `query`."""
        in_use = self._catalogue.in_use(domain, name)
        if in_use.space is None:
            return Answer(())
        place = None if after is None else in_use.planner.walk_place(after, space=in_use.space, tokens=self._tokens)
        now_s = self._clock.now_ms() // 1000
        found = await self._store.walk(in_use.space, place, limit=limit, now_s=now_s)
        if as_writes:
            items = RowWrites(in_use.table).of(found.rows, now_s)
        else:
            items = [in_use.planner.show_walked(partition, row, now_s) for partition, row in found.rows]
        return Answer(items, None if found.last is None else in_use.planner.walk_token(found.last, space=in_use.space, tokens=self._tokens))

    def tables_of(self, domain: str) -> Sequence[Listed]:
        """The tables of a domain; raises as `Catalogue.tables_of`."""
        return self._catalogue.tables_of(domain)

    async def status(self) -> Status:
        """How much there is. Raises what the store raises."""
        total = await self._store.total()
        tables, spaces = self._catalogue.counts()
        return Status(tables, spaces, total.rows, total.size_bytes, len(self._full))

    async def stats(self, domain: str, name: str) -> Stats:
        """What a table takes and how it performs. Raises as `query`."""
        in_use = self._catalogue.in_use(domain, name)
        rows = size_bytes = 0
        largest: list[Mapping[str, object]] = []
        if in_use.space is not None:
            usage = await self._store.usage(in_use.space)
            rows, size_bytes = usage.rows, usage.size_bytes
            for one in await self._store.largest(in_use.space, limit=LARGEST_SHOWN):
                key = in_use.planner.partition_values(one.partition)
                largest.append({"partition": key, "rows": one.usage.rows, "bytes": one.usage.size_bytes})
        reads, writes = in_use.reads, in_use.writes
        return Stats(
            rows,
            size_bytes,
            largest,
            reads.count,
            reads.percentile_s(0.5),
            reads.percentile_s(0.99),
            writes.count,
            writes.percentile_s(0.5),
            writes.percentile_s(0.99),
        )


def _still_write(in_use: InUse, body: Mapping[str, object], condition: Condition | None) -> WritePlan:
    """The plan of a delete of one row; keys never change in a migration, so it is one still."""
    plan = in_use.planner.delete(body, space=in_use.space, condition=condition)
    assert isinstance(plan, WritePlan) and isinstance(plan.writes[0], Remove)
    return plan

"""Which tables there are: declarations as on record, kept in memory ready for use, and how they come, change and go.

One process owns the store, so what is in memory is what is on record; every change goes to the record first, one after the other, and to
its end whatever becomes of the caller. A declaration under the domain `*` holds for every domain: a space is made for a domain when it
first writes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import to_its_end
from headwater.kernel.errors import Forbidden, StorageFull
from headwater.kernel.metrics import Metrics
from headwater.kernel.waiting import Waiters
from headwater.tables.config import EVERY, TablesConfig
from headwater.tables.errors import MigrationRefused, NoSuchTable, SchemaChanged
from headwater.tables.forecast import forecast
from headwater.tables.groups import Groups, check_domain
from headwater.tables.latencies import Latencies
from headwater.tables.metrics import DECLARED, DROPPED, HINTS_IGNORED, SPACES, TABLES
from headwater.tables.migration import Outcome, Plan, plan
from headwater.tables.model import Declaration, PartitionUsage, SpaceId, Table
from headwater.tables.planner import TablePlanner
from headwater.tables.ports import TableStore
from headwater.tables.schema import load, table_of

_log = structlog.get_logger(__name__)

ATTEMPTS_MAX = 8
MISSING_SHOWN = 5
LARGEST_ASKED = 5


MayDeclare = Callable[[str], bool]
"""Whether who declares a table might do so in a domain (`*`: in all of them)."""


class Declared(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a declaration did, or with a dry run would do.

    Attributes:
        outcome: `created`, `changed` or `unchanged`.
        table, domain: which.
        schema: as normalised.
        ignored: options that are accepted and mean nothing here.
        steps: what a migration does, in order.
        warnings, forecast: of a dry run.
        dry_run: nothing was done.
    """

    outcome: str
    table: str
    domain: str
    schema: Mapping[str, object]
    ignored: Sequence[str] = ()
    steps: Sequence[str] = ()
    warnings: Sequence[str] = ()
    forecast: Mapping[str, object] | None = None
    dry_run: bool = False


class Listed(msgspec.Struct, frozen=True):
    """A table that a domain can use; `all_domains`: since it was declared for all."""

    table: str
    all_domains: bool


@dataclass(slots=True)
class InUse:
    """A table of a domain, ready for use.

    Attributes:
        declaration: as on record.
        table, planner: made from it.
        domain: whose rows.
        space: where they are; None while a domain of a table for all has written nothing.
        reads, writes: how long operations took.
        ended: set once the space has been dropped, or its change stream turned off.
    """

    declaration: Declaration
    table: Table
    planner: TablePlanner
    domain: str
    space: SpaceId | None
    reads: Latencies = field(default_factory=Latencies)
    writes: Latencies = field(default_factory=Latencies)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Catalogue:
    """The declarations of one store. For one event loop.

    Attributes:
        generation: another one after every change of what is in memory.
        unchanged: held by whoever needs the record to stay as it is; waits for changes that are under way.
    """

    def __init__(self, store: TableStore, config: TablesConfig, *, clock: Clock, metrics: Metrics) -> None:
        self.generation = 0
        self.unchanged = asyncio.Lock()
        self._store = store
        self._config = config
        self._metrics = metrics
        self._groups = Groups(config.groups)
        self._declarations: dict[tuple[str, str], Declaration] = {}
        self._compiled: dict[tuple[str, str], tuple[tuple[int, int], Table, TablePlanner]] = {}
        self._in_use: dict[tuple[str, str], InUse] = {}
        self._kept: dict[SpaceId, tuple[Latencies, Latencies, asyncio.Event]] = {}
        self._changed = Waiters[None](clock)

    async def load(self) -> None:
        """Learn what is on record. Raises what the store raises."""
        self._declarations = {(one.group, one.name): one for one in await self._store.declarations()}
        self._compiled = {key: value for key, value in self._compiled.items() if key in self._declarations}
        for space in self._kept.keys() - self.spaces():
            self._kept.pop(space)[2].set()
        self._in_use.clear()
        self._note_change()

    async def refresh(self, generation: int) -> None:
        """Learn what is on record, unless something was learnt since `generation`."""
        async with self.unchanged:
            if generation == self.generation:
                await self.load()

    async def change(self, wait_s: float) -> None:
        """Return when something has changed, or after `wait_s`."""
        await self._changed.wait(None, wait_s)

    def in_use(self, domain: str, name: str) -> InUse:
        """The table of a domain.

        Raises:
            NoSuchTable: it has declared none of that name.
            InvalidInput: `domain` is no domain.
        """
        found = self._in_use.get((domain, name))
        if found is not None:
            return found
        declaration = self._declaration(domain, name)
        if declaration is None or domain == EVERY:
            raise NoSuchTable("this domain has declared no table of that name; declare it first", where="table")
        table, planner = self._compile(declaration)
        space = declaration.domains.get(domain)
        if space is None:  # such are as many as clients can think of
            return InUse(declaration, table, planner, domain, None)
        kept = self._kept.get(space)
        if kept is None:  # which outlives migrations
            kept = self._kept[space] = Latencies(), Latencies(), asyncio.Event()
        found = self._in_use[domain, name] = InUse(declaration, table, planner, domain, space, *kept)
        return found

    def schema(self, domain: str, name: str) -> Mapping[str, object]:
        """The schema of a table as normalised; of one for all domains also under `*`. Raises as `in_use`."""
        declaration = self._declaration(domain, name)
        if declaration is None:
            raise NoSuchTable("this domain has declared no table of that name; declare it first", where="table")
        return load(declaration.schema)

    async def make_space(self, in_use: InUse) -> None:
        """Make a space for the domain of a table for all, if it has none by now.

        Raises:
            SchemaChanged: the table is another by now.
        """
        await to_its_end(self._make_space(in_use))

    async def _make_space(self, in_use: InUse) -> None:
        async with self.unchanged:
            present = self._declarations.get((in_use.declaration.group, in_use.declaration.name))
            if present is None or present.incarnation != in_use.declaration.incarnation:
                raise SchemaChanged("the table was changed at the same time")
            if in_use.domain not in present.domains:
                space = await self._store.add_space(present, in_use.domain)
                if space is None:
                    await self.load()
                    raise SchemaChanged("the table was changed at the same time")
                present.domains[in_use.domain] = space  # in place, since they may be a hundred thousand
                self._note_change()

    def tables_of(self, domain: str) -> Sequence[Listed]:
        """The tables that a domain can use, by name; under `*` those that all can.

        Raises:
            InvalidInput: `domain` is no domain.
            NoSuchDomain: no storage group holds it.
        """
        group = self._group(domain)
        own = [one.name for one in self._declarations.values() if one.group == group and domain in one.domains and domain != EVERY]
        shared = [one.name for one in self._declarations.values() if one.group == EVERY]
        return sorted([Listed(name, False) for name in own] + [Listed(name, True) for name in shared], key=lambda one: one.table)

    def counts(self) -> tuple[int, int]:
        """How many declarations there are, and how many spaces."""
        return len(self._declarations), sum(len(one.domains) for one in self._declarations.values())

    def spaces(self) -> set[SpaceId]:
        """All spaces that have not been dropped."""
        return {space for one in self._declarations.values() for space in one.domains.values()}

    def spaces_of(self, domain: str) -> Mapping[str, SpaceId]:
        """The spaces of a domain by the name of their table."""
        return {one.name: one.domains[domain] for one in self._declarations.values() if domain in one.domains}

    async def declare(self, domain: str, name: str, body: Mapping[str, object], *, dry_run: bool, may: MayDeclare) -> Declared:
        """Put a table on record, or change it; with `dry_run` say what would happen.

        Raises:
            Forbidden: the schema is that of other domains too, in which the client may not declare.
            InvalidInput: the schema, the name or the domain breaks a rule.
            MigrationRefused: the present table cannot become this one, or it belongs to all domains.
            StorageFull: there are too many tables.
            SchemaChanged: the record is changed again and again.
        """
        if dry_run:
            planned, present = self._plan(domain, name, body, may)
            return await self._describe(planned, domain, present)
        return await to_its_end(self._declare(domain, name, body, may))

    async def _declare(self, domain: str, name: str, body: Mapping[str, object], may: MayDeclare) -> Declared:
        async with self.unchanged:
            for _ in range(ATTEMPTS_MAX):
                planned, _present = self._plan(domain, name, body, may)
                if planned.outcome is not Outcome.UNCHANGED:
                    try:
                        stored = await self._put(planned.declaration, replaces=planned.replaces, ends_streams=planned.ends_streams)
                        if planned.ends_streams:
                            self._end_streams(stored)
                    except SchemaChanged:
                        continue
                    _log.info("table_declared", outcome=planned.outcome.value, group=stored.group, table=name, epoch=stored.epoch)
                self._count_declared(planned)
                return _declared(planned, domain)
        raise SchemaChanged("others declare this table at the same time")

    def _plan(self, domain: str, name: str, body: Mapping[str, object], may: MayDeclare) -> tuple[Plan, Declaration | None]:
        """What a declaration would do, and to what."""
        group = self._group(domain)
        self._check_scope(domain, name)
        present = self._declarations.get((group, name))
        planned = plan(present, body, name=name, group=group, domain=domain, limits=self._config)
        if planned.changes_schema and domain != EVERY:
            _demand_all(self._groups.sharing(domain), group, may)
        if present is None and len(self._declarations) >= self._config.tables_max:
            raise StorageFull(f"there are {self._config.tables_max} tables")
        return planned, present

    async def drop(self, domain: str, name: str) -> None:
        """Take a table away from a domain, with its rows; under `*` from all. Nothing happens if there is none.

        Raises:
            InvalidInput: `domain` is no domain.
            MigrationRefused: the table was declared for all domains and can only be dropped for all.
            SchemaChanged: the record is changed again and again.
        """
        await to_its_end(self._drop(domain, name))

    async def _drop(self, domain: str, name: str) -> None:
        async with self.unchanged:
            await self._drop_alone(domain, name)

    async def _drop_alone(self, domain: str, name: str) -> None:
        for _ in range(ATTEMPTS_MAX):
            group = self._group(domain)
            declaration = self._declarations.get((group, name))
            if declaration is None and domain != EVERY and (EVERY, name) in self._declarations:
                raise MigrationRefused("this table was declared for all domains: drop it under the domain *", where="domain")
            if declaration is None or (domain != EVERY and domain not in declaration.domains):
                return
            if await self._store.drop(declaration, domain=None if domain == EVERY else domain):
                await self.load()
                self._metrics.inc(DROPPED)
                _log.info("table_dropped", group=group, table=name)
                return
            await self.load()
        raise SchemaChanged("others change this table at the same time")

    # How declarations are found and kept

    def _group(self, domain: str) -> str:
        if domain == EVERY:
            return EVERY
        check_domain(domain)
        return self._groups.group_of(domain)

    def _declaration(self, domain: str, name: str) -> Declaration | None:
        """What holds for a domain: what its group declared, if it took part in that, else what all share."""
        own = self._declarations.get((self._group(domain), name))
        if own is not None and (domain == EVERY or domain in own.domains):
            return own
        return self._declarations.get((EVERY, name))

    def _check_scope(self, domain: str, name: str) -> None:
        """A name is declared either for all domains or by single ones, so that nobody's rows change place."""
        if domain == EVERY:
            if any(group != EVERY and table == name for group, table in self._declarations):
                raise MigrationRefused("single domains have declared a table of that name", where="domain")
        elif (EVERY, name) in self._declarations:
            raise MigrationRefused("this table was declared for all domains: declare it under the domain *", where="domain")

    async def _put(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration:
        stored = await self._store.declare(declaration, replaces=replaces, ends_streams=ends_streams)
        if stored is None:
            await self.load()
            raise SchemaChanged("the table was changed at the same time")
        self._declarations[stored.group, stored.name] = stored
        for domain in stored.domains:
            self._in_use.pop((domain, stored.name), None)
        self._note_change()
        return stored

    def _end_streams(self, declaration: Declaration) -> None:
        """Wake who waits for changes, of which there will be none."""
        for space in declaration.domains.values():
            if space in self._kept:
                reads, writes, ended = self._kept[space]
                self._kept[space] = reads, writes, asyncio.Event()
                ended.set()

    def _compile(self, declaration: Declaration) -> tuple[Table, TablePlanner]:
        key = declaration.group, declaration.name
        found = self._compiled.get(key)
        version = declaration.incarnation, declaration.epoch
        if found is None or found[0] != version:
            table = table_of(declaration)
            found = self._compiled[key] = (version, table, TablePlanner(table, self._config))
        return found[1], found[2]

    def _note_change(self) -> None:
        self.generation += 1
        self._changed.wake_all()
        tables, spaces = self.counts()
        self._metrics.set(TABLES, tables)
        self._metrics.set(SPACES, spaces)

    # What is answered

    def _count_declared(self, planned: Plan) -> None:
        self._metrics.inc(DECLARED, outcome=planned.outcome.value)
        for option in planned.ignored:
            self._metrics.inc(HINTS_IGNORED, option=option)

    async def _describe(self, planned: Plan, domain: str, present: Declaration | None) -> Declared:
        largest: Sequence[PartitionUsage] = ()
        space = None if present is None else present.domains.get(domain)
        if space is not None:
            largest = await self._store.largest(space, limit=LARGEST_ASKED)
        expected = forecast(table_of(planned.declaration), largest, partition_bytes_max=int(self._config.partition_bytes_max))
        declared = _declared(planned, domain)
        return msgspec.structs.replace(declared, warnings=expected.warnings, forecast=expected.figures, dry_run=True)


def _demand_all(sharing: Sequence[str], group: str, may: MayDeclare) -> None:
    missing = [domain for domain in sharing if not may(domain)]
    if missing:
        more = f" and {len(missing) - MISSING_SHOWN} more" if len(missing) > MISSING_SHOWN else ""
        raise Forbidden(
            f"this sets the schema for all domains of the storage group {group}, and you may not declare this table in "
            f"{', '.join(missing[:MISSING_SHOWN])}{more}",
            where="domain",
        )


def _declared(planned: Plan, domain: str) -> Declared:
    schema = load(planned.declaration.schema)
    return Declared(planned.outcome.value, planned.declaration.name, domain, schema, planned.ignored, planned.steps)

"""Which tables there are: declarations as on record, kept in memory ready for use, and how they come, change and go.

One process owns the store, so what is in memory is what is on record; every change goes to the record first. A declaration under the domain
`*` holds for every domain: a space is made for a domain when it first writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from headwater.kernel.errors import StorageFull
from headwater.kernel.metrics import Metrics
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
LARGEST_ASKED = 5


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


@dataclass(slots=True)
class InUse:
    """A table of a domain, ready for use.

    Attributes:
        declaration: as on record.
        table, planner: made from it.
        domain: whose rows.
        space: where they are; None while a domain of a table for all has written nothing.
        reads, writes: how long operations took.
    """

    declaration: Declaration
    table: Table
    planner: TablePlanner
    domain: str
    space: SpaceId | None
    reads: Latencies = field(default_factory=Latencies)
    writes: Latencies = field(default_factory=Latencies)


class Catalogue:
    """The declarations of one store. For one event loop."""

    def __init__(self, store: TableStore, config: TablesConfig, *, metrics: Metrics) -> None:
        self._store = store
        self._config = config
        self._metrics = metrics
        self._groups = Groups(config.groups)
        self._declarations: dict[tuple[str, str], Declaration] = {}
        self._compiled: dict[tuple[str, str], tuple[tuple[int, int], Table, TablePlanner]] = {}
        self._in_use: dict[tuple[str, str], InUse] = {}

    async def load(self) -> None:
        """Learn what is on record. Raises what the store raises."""
        self._declarations = {(one.group, one.name): one for one in await self._store.declarations()}
        self._in_use.clear()
        self._count()

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
            raise NoSuchTable("this domain has declared no table of that name", where="table")
        table, planner = self._compile(declaration)
        space = declaration.domains.get(domain)
        found = InUse(declaration, table, planner, domain, space)
        if space is not None:  # others are as many as clients can think of
            self._in_use[domain, name] = found
        return found

    def schema(self, domain: str, name: str) -> Mapping[str, object]:
        """The schema of a table as normalised; of one for all domains also under `*`. Raises as `in_use`."""
        declaration = self._declaration(domain, name)
        if declaration is None:
            raise NoSuchTable("this domain has declared no table of that name", where="table")
        return load(declaration.schema)

    async def space(self, in_use: InUse) -> SpaceId:
        """Where the rows of a table are; made now if there is none yet.

        Raises:
            SchemaChanged: the table is another by now.
        """
        if in_use.space is not None:
            return in_use.space
        declaration = in_use.declaration
        with_domain = msgspec.structs.replace(
            declaration, epoch=declaration.epoch + 1, domains={**declaration.domains, in_use.domain: SpaceId(0)}
        )
        stored = await self._put(with_domain, replaces=declaration.epoch)
        return stored.domains[in_use.domain]

    def spaces_of(self, domain: str) -> Mapping[str, SpaceId]:
        """The spaces of a domain by the name of their table."""
        return {one.name: one.domains[domain] for one in self._declarations.values() if domain in one.domains}

    async def declare(self, domain: str, name: str, body: Mapping[str, object], *, dry_run: bool) -> Declared:
        """Put a table on record, or change it; with `dry_run` say what would happen.

        Raises:
            InvalidInput: the schema, the name or the domain breaks a rule.
            MigrationRefused: the present table cannot become this one, or it belongs to all domains.
            StorageFull: there are too many tables.
        """
        for _ in range(ATTEMPTS_MAX):
            group = self._group(domain)
            self._check_scope(domain, name)
            present = self._declarations.get((group, name))
            if present is None and len(self._declarations) >= self._config.tables_max:
                raise StorageFull(f"there are {self._config.tables_max} tables")
            planned = plan(present, body, name=name, group=group, domain=domain, limits=self._config)
            if dry_run:
                return await self._describe(planned, domain, present)
            if planned.outcome is not Outcome.UNCHANGED:
                try:
                    await self._put(planned.declaration, replaces=planned.replaces)
                except SchemaChanged:
                    continue
                _log.info(
                    "table_declared", outcome=planned.outcome.value, group=group, table=name, schema_version=planned.declaration.epoch
                )
            self._count_declared(planned)
            return _declared(planned, domain)
        raise SchemaChanged("others declare this table at the same time")

    async def drop(self, domain: str, name: str) -> None:
        """Take a table away from a domain, with its rows; under `*` from all. Nothing happens if there is none.

        Raises:
            InvalidInput: `domain` is no domain.
            MigrationRefused: the table was declared for all domains and can only be dropped for all.
        """
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

    async def _put(self, declaration: Declaration, *, replaces: int | None) -> Declaration:
        stored = await self._store.declare(declaration, replaces=replaces)
        if stored is None:
            await self.load()
            raise SchemaChanged("the table was changed at the same time")
        self._declarations[stored.group, stored.name] = stored
        self._in_use = {key: value for key, value in self._in_use.items() if value.declaration.epoch == self._epoch(value)}
        self._count()
        return stored

    def _epoch(self, in_use: InUse) -> int | None:
        present = self._declarations.get((in_use.declaration.group, in_use.declaration.name))
        return None if present is None else present.epoch

    def _compile(self, declaration: Declaration) -> tuple[Table, TablePlanner]:
        key = declaration.group, declaration.name
        found = self._compiled.get(key)
        version = declaration.incarnation, declaration.epoch
        if found is None or found[0] != version:
            table = table_of(declaration)
            found = self._compiled[key] = (version, table, TablePlanner(table, self._config))
        return found[1], found[2]

    def _count(self) -> None:
        self._metrics.set(TABLES, len(self._declarations))
        self._metrics.set(SPACES, sum(len(one.domains) for one in self._declarations.values()))

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


def _declared(planned: Plan, domain: str) -> Declared:
    schema = load(planned.declaration.schema)
    return Declared(planned.outcome.value, planned.declaration.name, domain, schema, planned.ignored, planned.steps)

"""Tables in a line each, and planners for them, for the tests of what is planned."""

from collections.abc import Mapping

from headwater.kernel.config import Bytes
from headwater.tables.config import TablesConfig
from headwater.tables.model import Column, ColumnId, Discipline, Options, Role, SpaceId, Table
from headwater.tables.planner import Query, TablePlanner
from headwater.tables.tokens import Tokens
from headwater.tables.types import parse_type

SPACE = SpaceId(7)
TOKENS = Tokens(b"secret of the tests, of 32 bytes.")
TID = "d2177dd0-eaa2-11de-a572-001b779c76e3"
LIMITS = TablesConfig(
    limit_default=10, limit_max=20, key_bytes_max=Bytes(64), batch_rows_max=3, clear_rows_max=5, row_bytes_max=Bytes(1000)
)


def made(declared: str, *, writes: Discipline = Discipline.CONDITIONAL, default_ttl_s: int = 0, name: str = "pages") -> Table:
    """A table of columns such as `hash key string, range rev int desc, static owner string, regular body json`."""
    columns = [_column(place, words.split()) for place, words in enumerate(declared.split(", "), 1)]
    of = {role: tuple(column for column in columns if column.role is role) for role in Role}
    options = Options(writes=writes, default_ttl_s=default_ttl_s)
    return Table(name, 1, of[Role.HASH], of[Role.RANGE], of[Role.STATIC], of[Role.REGULAR], options)


def _column(place: int, words: list[str]) -> Column:
    role, name, type_, *order = words
    return Column(name, ColumnId(place), parse_type(type_), Role(role), descending=order == ["desc"])


def planned(table: Table, *, config: TablesConfig = LIMITS) -> TablePlanner:
    """A planner with small limits."""
    return TablePlanner(table, config)


def asked(table: Table, attributes: Mapping[str, object], /, **others: object) -> Query:
    """The plan of a query."""
    return planned(table).query({"attributes": attributes, **others}, space=SPACE, tokens=TOKENS)

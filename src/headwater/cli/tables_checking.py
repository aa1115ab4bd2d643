"""What an import would do, without a write: each line is planned as the service would plan it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.cli.tables_importing import Fault
from headwater.cli.tables_lines import lines_of
from headwater.kernel.errors import HeadwaterError
from headwater.tables.config import TablesConfig
from headwater.tables.migration import plan
from headwater.tables.planner import TablePlanner
from headwater.tables.schema import table_of


def planner_of(schema: Mapping[str, Any], config: TablesConfig) -> TablePlanner:
    """What plans writes of a table with that schema. Raises InvalidInput: it breaks a rule."""
    planned = plan(None, schema, name=schema["table"], group="", domain="", limits=config)
    return TablePlanner(table_of(planned.declaration), config)


def check_lines(path: Path, planner: TablePlanner) -> Iterator[Fault | None]:
    """For each row of a file why it would be refused, None where it would be written unless something is full."""
    with path.open("rb") as file:
        for line in lines_of(file, number=0, end=0):
            if line.fault is not None:
                yield Fault(line.number, line.fault, line.where)
            elif line.row is not None:
                try:
                    planner.put({"attributes": line.row}, now_s=0)
                except HeadwaterError as error:
                    yield Fault(line.number, error.detail, error.where)
                else:
                    yield None

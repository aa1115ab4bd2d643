"""The command `headwater tables import`, around what it does with lines."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.app.config import HeadwaterConfig
from headwater.cli.exits import Exit
from headwater.cli.output import complain, print_json
from headwater.cli.roles import role_clients
from headwater.cli.tables_asking import ROLE, Target, declare_table, show_declared
from headwater.cli.tables_checking import check_lines, planner_of
from headwater.cli.tables_importing import Fault, Importing, begin
from headwater.cli.tables_lines import header_of
from headwater.cli.tables_progress import bar
from headwater.kernel.errors import HeadwaterError, InvalidInput, NotFound
from headwater.kernel.ids import SystemIds


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What was asked of an import."""

    file: Path
    declare: bool
    restart: bool
    errors_max: int
    connections: int
    as_json: bool


def import_file(config: Path | None, token: str | None, place: tuple[str, str], options: ImportOptions) -> Exit:
    """Import a file, or go on with it. Raises what `Importing.go` raises."""
    _, target = _target(config, token, place)
    _refuse_missing(options.file)
    if options.declare:
        declared = declare_table(target, _schema_in(options.file, target.table), dry_run=False)
        if not options.as_json:
            show_declared(declared, dry_run=False, as_json=False)
    schema = target.schema()
    progress = options.file.with_name(options.file.name + ".import")
    run = begin(options.file, progress, target, restart=options.restart, ids=SystemIds())
    importing = Importing(target, schema, run, progress, options.errors_max, options.connections)
    try:
        with bar(target.table, options.file.stat().st_size, quiet=options.as_json, unit="bytes") as show:
            status = importing.go(options.file, show)
    except (HeadwaterError, KeyboardInterrupt):
        complain(f"everything up to line {run.finished.number} is done; the same command goes on from there")
        raise
    _report(importing.written, run.finished.refused, importing.faults, options=options, verb="written")
    return status


def check_file(config: Path | None, token: str | None, place: tuple[str, str], options: ImportOptions) -> Exit:
    """Check every line of a file. Raises InvalidInput, NotFound, Unavailable."""
    loaded, target = _target(config, token, place)
    _refuse_missing(options.file)
    if options.declare:
        declared = declare_table(target, _schema_in(options.file, target.table), dry_run=True)
        schema: Mapping[str, Any] = declared["schema"]
        if not options.as_json:
            show_declared(declared, dry_run=True, as_json=False)
    else:
        schema = target.schema()
    good, faults = 0, []
    for fault in check_lines(options.file, planner_of(schema, loaded.tables)):
        good += fault is None
        if fault is not None:
            complain(str(fault))
            faults.append(fault)
            if len(faults) > options.errors_max:
                break
    _report(good, len(faults), faults, options=options, verb="would be written")
    return Exit.FAILED if faults else Exit.OK


def _target(config: Path | None, token: str | None, place: tuple[str, str]) -> tuple[HeadwaterConfig, Target]:
    loaded, clients = role_clients(config, token)
    return loaded, Target(clients[ROLE], *place)


def _refuse_missing(file: Path) -> None:
    if not file.is_file():
        raise NotFound(f"there is no file {file}")


def _schema_in(file: Path, table: str) -> dict[str, Any]:
    """The schema in the header of a file, for a table that may have another name."""
    with file.open("rb") as opened:
        header = header_of(opened)
    if header is None or not isinstance(header.get("schema"), dict):
        raise InvalidInput(f"the first line of {file} has no schema, so --declare cannot be done")
    return {**header["schema"], "table": table}


def _report(done: int, refused: int, faults: Sequence[Fault], *, options: ImportOptions, verb: str) -> None:
    if options.as_json:
        shown = [{"line": one.line, "where": one.where, "detail": one.detail} for one in faults]
        print_json({"file": str(options.file), verb.replace(" ", "_"): done, "refused": refused, "faults": shown})
    else:
        sys.stdout.write(f"{options.file}: {done} lines {verb}{f', {refused} refused' if refused else ''}\n")

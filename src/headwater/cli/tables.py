"""`headwater tables`: what a team and an operator do with tables. All but `backup` and `restore` ask a running service."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import ConfigOption, DryRunOption, JsonOption, TokenOption
from headwater.cli.output import complain, errors_as_exits, print_json

if TYPE_CHECKING:
    from headwater.app.tables_files import Contents, TableFiles

tables = typer.Typer(
    help="Declare tables, look at them, export and import rows, back up and restore.", no_args_is_help=True, rich_markup_mode=None
)

DomainArgument = Annotated[str, typer.Argument(help="Domain, for instance en.wikipedia.org; * for all of them.", metavar="DOMAIN")]
TableArgument = Annotated[str, typer.Argument(help="Name of the table.", metavar="TABLE")]
RestartOption = Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on where the last one was interrupted.")]


@tables.command("list")
def list_tables(domain: DomainArgument, config: ConfigOption = None, token: TokenOption = None, json: JsonOption = False) -> None:
    """List the tables of a domain that may be read."""
    from headwater.cli.roles import role_clients
    from headwater.cli.tables_asking import ROLE, show_list

    with errors_as_exits(as_json=json):
        show_list(role_clients(config, token)[1][ROLE], domain, as_json=json)


@tables.command("declare")
def declare(
    domain: DomainArgument,
    schema: Annotated[Path, typer.Argument(help="File with the schema as JSON.", metavar="FILE")],
    table: Annotated[str | None, typer.Option(help="Name of the table; without it the one in the schema.")] = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Declare a table or migrate it. A dry run shows the steps, warnings, and what may become of its partitions."""
    from headwater.cli.tables_asking import declare_table, read_schema, show_declared, target_of
    from headwater.kernel.errors import InvalidInput

    with errors_as_exits(as_json=json):
        declared = read_schema(schema)
        name = table or declared.get("table")
        if not isinstance(name, str):
            raise InvalidInput(f"{schema} has no `table`; name it with --table")
        body = {**declared, "table": name}
        answer = declare_table(target_of(config, token, domain, name), body, dry_run=dry_run)
        show_declared(answer, dry_run=dry_run, as_json=json)


@tables.command("show")
def show(
    domain: DomainArgument, table: TableArgument, config: ConfigOption = None, token: TokenOption = None, json: JsonOption = False
) -> None:
    """Show the schema of a table as it is on record."""
    from headwater.cli.tables_asking import show_schema, target_of

    with errors_as_exits(as_json=json):
        show_schema(target_of(config, token, domain, table), as_json=json)


@tables.command("stats")
def stats(
    domain: DomainArgument, table: TableArgument, config: ConfigOption = None, token: TokenOption = None, json: JsonOption = False
) -> None:
    """Show rows, bytes, latencies and the largest partitions."""
    from headwater.cli.tables_asking import show_stats, target_of

    with errors_as_exits(as_json=json):
        show_stats(target_of(config, token, domain, table), as_json=json)


@tables.command("drop")
def drop(
    domain: DomainArgument,
    table: TableArgument,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Drop a table with the domain's rows, for ever. It is no error if there is none."""
    from headwater.cli.tables_asking import drop_table, target_of

    with errors_as_exits(as_json=json):
        raise typer.Exit(drop_table(target_of(config, token, domain, table), dry_run=dry_run, as_json=json))


@tables.command("export")
def export(
    domain: DomainArgument,
    table: TableArgument,
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist.", metavar="FILE")],
    restart: RestartOption = False,
    page_rows: Annotated[int, typer.Option(min=1, max=1000, help="Most rows asked for at once.")] = 500,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Write all rows of a table into a file of JSON lines, each as it is when it is read.

    The first line has the schema. Interrupted or killed, the same command goes on. Needs the verbs read and administer.
    """
    from headwater.cli.tables_asking import target_of
    from headwater.cli.tables_exporting import Exporting

    with errors_as_exits(as_json=json):
        Exporting(target_of(config, token, domain, table), file, page_rows).run(restart=restart, as_json=json)


@tables.command("import")
def import_(  # noqa: PLR0913 - options of a command
    domain: DomainArgument,
    table: TableArgument,
    file: Annotated[Path, typer.Argument(help="File of JSON lines, each the attributes of a write.", metavar="FILE")],
    declare: Annotated[bool, typer.Option("--declare", help="First declare the table as the first line of the file says.")] = False,
    restart: RestartOption = False,
    errors_max: Annotated[int, typer.Option(min=0, help="End when more lines than this were refused.")] = 0,
    connections: Annotated[int, typer.Option(min=1, max=64, help="Requests under way at once.")] = 8,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Write every line of a file into a table.

    Interrupted or killed, the same command goes on, and no write is carried out twice. Exit status 1 if any line was refused; each is
    named on standard error. A dry run checks every line and writes none. Needs the verbs read and write; with --declare also declare.
    """
    from headwater.cli.tables_moving import ImportOptions, check_file, import_file

    with errors_as_exits(as_json=json):
        options = ImportOptions(file, declare, restart, errors_max, connections, as_json=json)
        do = check_file if dry_run else import_file
        raise typer.Exit(do(config, token, (domain, table), options))


@tables.command("backup")
def backup(
    target: Annotated[Path, typer.Argument(help="File to write; it must not exist.", metavar="FILE")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Copy all tables of all domains into a file, while the service runs or not, and read the copy as a whole."""
    with errors_as_exits(as_json=json):
        contents = _files(config).backup(target)
        _say_contents(contents, f"{target}: {target.stat().st_size} bytes with", json={"backup": str(target)} if json else None)


@tables.command("restore")
def restore(
    source: Annotated[Path, typer.Argument(help="File that `backup` made.", metavar="FILE")],
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put a backup in place of all tables of all domains, with the service stopped.

    It is read as a whole first. Readers of change streams that were ahead of it are answered 410 afterwards.
    """
    with errors_as_exits(as_json=json):
        contents = _files(config).restore(source, dry_run=dry_run)
        _say_contents(contents, "would be restored:" if dry_run else "restored:", json={"dry_run": dry_run} if json else None)
        if not dry_run:
            complain("rows written since the backup are gone, those deleted since are there again")


def _files(config: Path | None) -> "TableFiles":
    import os

    from headwater.app.config import load_config
    from headwater.app.logging_config import log_as
    from headwater.app.tables_files import TableFiles
    from headwater.kernel.clock import SystemClock

    loaded = load_config(config, os.environ)
    log_as(loaded.logging)
    return TableFiles(Path(loaded.data_dir), SystemClock())


def _say_contents(contents: "Contents", what: str, *, json: dict[str, object] | None) -> None:
    if json is not None:
        found = {"tables": contents.tables, "spaces": contents.spaces, "rows": contents.rows, "row_bytes": contents.size_bytes}
        print_json({**json, **found})
    else:
        sys.stdout.write(f"{what} {contents.rows} rows of {contents.tables} tables, each of them read\n")

"""The tree of commands. Every command loads what it needs when it is called, so that `headwater version` starts fast."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.exits import MEANINGS, Exit
from headwater.cli.options import ConfigOption, DryRunOption, JsonOption, TokenOption
from headwater.cli.output import complain, errors_as_exits, print_json
from headwater.cli.sessions import sessions
from headwater.cli.tables import tables

_EPILOG = "Exit status: " + "; ".join(f"{status.value} {meaning}" for status, meaning in MEANINGS.items()) + "."

app = typer.Typer(
    name="headwater",
    help="Makes everything fresh that was made from an edited page.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dead_letters = typer.Typer(
    help="Pages and purges that were given up: list them, try them again, or let them go.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(dead_letters, name="dead-letters")
doctor = typer.Typer(help="Try out a running service, step by step.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(doctor, name="doctor")

app.add_typer(sessions, name="sessions")
app.add_typer(tables, name="tables")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def headwater(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Makes everything fresh that was made from an edited page."""


@app.command()
def demo(
    edits: Annotated[int | None, typer.Option(min=0, help="Make so many edits, then no more.")] = None,
    exit_: Annotated[bool, typer.Option("--exit", help="After the edits wait for rest, compare with fresh renders, and end.")] = False,
    json: JsonOption = False,
    port_base: Annotated[
        int | None, typer.Option(min=1024, max=65000, help="Use the ports from here on instead of the usual ones.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data directory; without it a temporary one, removed at the end.")] = None,
) -> None:
    """Run Headwater beside a small built-in wiki and cache, and watch edits flow.

    With `--edits N --exit` the exit status is 1 unless nothing is stale at rest; `--json` prints as last line one JSON object with
    `edits`, `marked`, `rendered`, `skipped`, `cutoffs`, `purged`, `stale_at_rest` and `seconds`.
    """
    from headwater.cli.demonstrating import DemoOptions, run_demo

    if exit_ and edits is None:
        raise typer.BadParameter("say with --edits how many edits to make before the end", param_hint="'--exit'")
    with errors_as_exits(as_json=json):
        status = run_demo(DemoOptions(edits=edits, exit_at_rest=exit_, as_json=json, port_base=port_base, data_dir=data_dir))
    raise typer.Exit(status)


@app.command()
def up(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Run everything until SIGTERM or Ctrl-C: sessions in a process of their own, all other roles in this one.

    SIGHUP reads the configuration again.
    """
    from headwater.cli.serving import run_everything

    with errors_as_exits(as_json=json):
        run_everything(config, as_json=json)


@app.command()
def serve(
    roles: Annotated[
        list[str],
        typer.Argument(help="Any of: events, propagation, purging, tables, console; or sessions, which share no process.", metavar="ROLE…"),
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
    end_with_stdin: Annotated[
        bool, typer.Option("--end-with-stdin", help="End when the standard input is closed; for whoever supervises sessions.", hidden=True)
    ] = False,
) -> None:
    """Run chosen roles in this process, one service per container."""
    with errors_as_exits(as_json=json):
        if roles == ["sessions"]:
            from headwater.cli.serving_sessions import run_sessions

            run_sessions(config, as_json=json, end_with_stdin=end_with_stdin)
        else:
            from headwater.cli.serving import run_roles

            run_roles(config, tuple(roles), as_json=json)


@app.command()
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Validate the configuration without starting anything."""
    from headwater.cli.serving import check_config

    with errors_as_exits(as_json=json):
        check_config(config, as_json=json)


@app.command()
def status(
    roles: Annotated[list[str] | None, typer.Argument(help="Only these roles; without any, all.", metavar="[ROLE]…")] = None,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Ask every role how it is: ready or why not, pages stale, purges waiting, dead letters."""
    from headwater.cli.asking import show_status

    with errors_as_exits(as_json=json):
        raise typer.Exit(show_status(config, tuple(roles or ()), token=token, as_json=json))


@doctor.command("sessions")
def doctor_sessions(
    namespace: Annotated[str | None, typer.Option(help="Namespace to try; without it the first one configured.")] = None,
    config: ConfigOption = None,
    token: TokenOption = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="Ask over TLS and trust these authorities (PEM), not those configured.")] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Certificate (PEM) to show; needs --private-key.")] = None,
    private_key: Annotated[Path | None, typer.Option("--private-key", help="Private key (PEM) of --certificate.")] = None,
    server_name: Annotated[str | None, typer.Option("--server-name", help="Name that the certificate of the service is for.")] = None,
    json: JsonOption = False,
) -> None:
    """Write, read, let expire and delete a session of a running service. Exit status 1 if anything is not as it should be.

    With --ca, --certificate, --private-key or --server-name the service is asked over TLS, as they say instead of the configuration.
    """
    from headwater.cli.doctoring import examine_sessions
    from headwater.http.config import AskingConfig

    if (certificate is None) != (private_key is None):
        raise typer.BadParameter("--certificate and --private-key go together", param_hint="'--certificate'")
    files = {"ca": ca, "certificate": certificate, "private_key": private_key}
    given = {name: str(file) for name, file in files.items() if file is not None}
    asking = AskingConfig(server_name=server_name, **given) if given or server_name else None
    with errors_as_exits(as_json=json):
        raise typer.Exit(examine_sessions(config, namespace=namespace, token=token, asking=asking, as_json=json))


@app.command()
def explain(
    wiki: Annotated[str, typer.Argument(help="Id of the wiki in the configuration.")],
    name: Annotated[
        str,
        typer.Argument(
            help="Title of a page; with --dependents a resource: c:Template:River its text, e:River its existence, f:Map.svg a file.",
            metavar="TITLE",
        ),
    ],
    dependents: Annotated[bool, typer.Option("--dependents", help="Which pages read the resource: the reach of an edit.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most pages to list with --dependents.")] = 20,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a page was made from, why and since when it is stale, and its last commits."""
    from headwater.cli.asking import show_dependents, show_explanation

    with errors_as_exits(as_json=json):
        if dependents:
            show_dependents(config, wiki, name, limit=limit, token=token, as_json=json)
        else:
            show_explanation(config, wiki, name, token=token, as_json=json)


@app.command()
def follow(
    wiki: Annotated[str | None, typer.Option(help="Only this wiki.")] = None,
    edits: Annotated[int | None, typer.Option(min=1, help="End after so many edits have become fresh.")] = None,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Watch edits flow: what changed, pages marked, rendered, cut off, purged, and when all of it was fresh."""
    from headwater.cli.following import follow_edits

    with errors_as_exits(as_json=json):
        follow_edits(config, wiki=wiki, edits_max=edits, token=token, as_json=json)


@app.command()
def backfill(
    wiki: Annotated[str, typer.Option(help="Id of the wiki in the configuration.")],
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on where the last one stopped.")] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Make every page of a wiki known. Ctrl-C interrupts it; called again, it goes on where it stopped."""
    from headwater.cli.backfilling import run_backfill

    with errors_as_exits(as_json=json):
        raise typer.Exit(run_backfill(config, wiki, restart=restart, dry_run=dry_run, token=token, as_json=json))


@dead_letters.command("list")
def list_dead_letters(
    wiki: Annotated[str | None, typer.Option(help="Only pages of this wiki, no purges.")] = None,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """List what was given up, with the reason."""
    from headwater.cli.letters import show_letters

    with errors_as_exits(as_json=json):
        show_letters(config, wiki=wiki, token=token, as_json=json)


@dead_letters.command("retry")
def retry_dead_letters(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids as `list` shows them.", metavar="[ID]…")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Try again what was given up."""
    from headwater.cli.letters import settle_letters

    with errors_as_exits(as_json=json):
        settle_letters(config, tuple(ids or ()), retry=True, every=all_, dry_run=dry_run, token=token, as_json=json)


@dead_letters.command("drop")
def drop_dead_letters(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids as `list` shows them.", metavar="[ID]…")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    token: TokenOption = None,
    json: JsonOption = False,
) -> None:
    """Let go what was given up, without trying again."""
    from headwater.cli.letters import settle_letters

    with errors_as_exits(as_json=json):
        settle_letters(config, tuple(ids or ()), retry=False, every=all_, dry_run=dry_run, token=token, as_json=json)


@app.command()
def version(json: JsonOption = False) -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    number = installed("headwater")
    if json:
        print_json({"version": number, "python": sys.version.split()[0]})
    else:
        sys.stdout.write(f"headwater {number}\n")


def main() -> None:
    """The entry point of the `headwater` command."""
    try:
        app()
    except BrokenPipeError:
        complain("the reader of the output went away")
        raise SystemExit(Exit.FAILED) from None

"""`headwater sessions`: service keys, backups, restoring. Works on the files, beside a running service or without one."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.options import ConfigOption, DryRunOption, JsonOption
from headwater.cli.output import complain, errors_as_exits, print_json, print_table

if TYPE_CHECKING:
    from headwater.app.sessions_files import SessionFiles

sessions = typer.Typer(help="Service keys, backups and restoring of sessions.", no_args_is_help=True, rich_markup_mode=None)
keys = typer.Typer(
    help="The service keys: make the first, add another, write with it, retire the old one.", no_args_is_help=True, rich_markup_mode=None
)
sessions.add_typer(keys, name="keys")

KeyIdArgument = Annotated[int, typer.Argument(help="Id of a key, as `list` shows it.", metavar="ID", min=1, max=65_535)]
_RELOAD = "a running service learns of it at the next SIGHUP"


def _files(config: Path | None) -> "SessionFiles":
    from headwater.app.logging_config import log_as
    from headwater.app.sessions_config import load_sessions_config, places_of
    from headwater.app.sessions_files import SessionFiles
    from headwater.kernel.clock import SystemClock
    from headwater.kernel.ids import SystemIds

    loaded = load_sessions_config(config, os.environ)
    log_as(loaded.logging)
    return SessionFiles(places_of(loaded), SystemClock(), SystemIds())


@keys.command("init")
def init(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make the directory of the service keys and the first of them, active."""
    with errors_as_exits(as_json=json):
        files = _files(config)
        _say_key(files.init_keys(), "is active", as_json=json)


@keys.command("add")
def add(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make a further key. Rows are read with it, and not written until it is activated."""
    with errors_as_exits(as_json=json):
        _say_key(_files(config).add_key(), f"is there to read with; {_RELOAD}", as_json=json)


@keys.command("activate")
def activate(key_id: KeyIdArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Write with this key from now on. Rows under other keys move when they are read or saved."""
    from headwater.sessions.model import KeyId

    with errors_as_exits(as_json=json):
        _files(config).activate_key(KeyId(key_id))
        _say_key(key_id, f"is active; {_RELOAD}", as_json=json)


@keys.command("retire")
def retire(key_id: KeyIdArgument, dry_run: DryRunOption = False, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Delete a key for ever. Refused while it is active, or any row is sealed under it."""
    from headwater.sessions.model import KeyId

    with errors_as_exits(as_json=json):
        files = _files(config)
        files.retire_key(KeyId(key_id), dry_run=dry_run)
        _say_key(key_id, "would be retired" if dry_run else f"is retired; {_RELOAD}", as_json=json)


@keys.command("list")
def list_keys(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the keys, which one is active, and how many rows are sealed under each."""
    with errors_as_exits(as_json=json):
        states = _files(config).list_keys()
        if json:
            print_json([{"id": state.id, "active": state.active, "rows": state.rows} for state in states])
        else:
            print_table(
                "Service keys", ("id", "state", "rows"), [(one.id, "active" if one.active else "reads", one.rows) for one in states]
            )


@sessions.command("backup")
def backup(
    target: Annotated[Path, typer.Argument(help="File to write; it must not exist.", metavar="FILE")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Copy the sessions into a file, while the service runs or not. The service keys are not in it."""
    with errors_as_exits(as_json=json):
        _files(config).backup(target)
        if json:
            print_json({"backup": str(target), "bytes": target.stat().st_size})
        else:
            sys.stdout.write(f"{target}: {target.stat().st_size} bytes; the service keys are not in it\n")


@sessions.command("restore")
def restore(
    source: Annotated[Path, typer.Argument(help="File that `backup` made.", metavar="FILE")],
    keep_sessions: Annotated[
        bool, typer.Option("--keep-sessions", help="Let its sessions be valid again, those logged out or revoked since included.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why they are kept; it is written to the audit file.")] = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put a backup in place, with the service stopped. Every session is invalid then, unless `--keep-sessions` is given with a reason."""
    if keep_sessions != bool(reason and reason.strip()):
        raise typer.BadParameter("--keep-sessions needs --reason, and --reason is for it alone", param_hint="'--reason'")
    with errors_as_exits(as_json=json):
        done = _files(config).restore(source, keep_because=reason, dry_run=dry_run)
        if json:
            print_json({"sessions": done.sessions, "kept": done.kept, "dry_run": dry_run})
            return
        verb = "would be " if dry_run else "are "
        sys.stdout.write(f"{done.sessions} sessions {verb}{'valid again' if done.kept else 'invalid; everybody logs in anew'}\n")
        if done.kept:
            complain("sessions that were logged out or revoked after the backup are valid again")


def _say_key(key_id: int, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"key_id": key_id})
    else:
        sys.stdout.write(f"key {key_id} {what}\n")

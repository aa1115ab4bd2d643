"""`headwater up`, `serve` and `check`."""

import asyncio
import os
import sys
from pathlib import Path

import typer

from headwater.app.config import HeadwaterConfig, load_config
from headwater.app.logging_config import log_as
from headwater.app.platform import Platform
from headwater.app.roles import SESSIONS, chosen_roles
from headwater.app.running import Running
from headwater.app.signals import signals_as_events
from headwater.app.supervisor import ChildEnded, Supervisor, sessions_command
from headwater.cli.exits import Exit
from headwater.cli.output import complain, print_json
from headwater.kernel import loopwatch
from headwater.kernel.clock import SystemClock
from headwater.kernel.configfile import Reloadable
from headwater.kernel.errors import Unavailable
from headwater.kernel.ids import SystemIds


def run_roles(path: Path | None, roles: tuple[str, ...], *, as_json: bool) -> None:
    """Run roles that share this process until a signal ends them.

    Raises:
        InvalidConfig: nothing was started.
        HeadwaterError: they cannot start, or a part ended by itself.
    """
    _run_in_loop(path, chosen_roles(roles), as_json=as_json, with_sessions=False)


def run_everything(path: Path | None, *, as_json: bool) -> None:
    """Run all roles until a signal ends them, sessions in a process of their own. Raises as `run_roles` does."""
    _run_in_loop(path, chosen_roles(None), as_json=as_json, with_sessions=True)


def _run_in_loop(path: Path | None, names: tuple[str, ...], *, as_json: bool, with_sessions: bool) -> None:
    from headwater.app.checking import check_everything

    configuration = Reloadable(lambda: load_config(path, os.environ))
    check_everything(configuration.current)  # before anything is made or written
    platform = Platform(configuration.current, names, SystemClock(), SystemIds())
    child = Supervisor(sessions_command(path), os.environ, platform.clock, platform.metrics) if with_sessions else None
    try:
        loopwatch.run(_run(configuration, platform, child, as_json=as_json))
    except Unavailable as error:
        complain(error.detail)
        raise typer.Exit(Exit.TAKEN) from error
    except ChildEnded as error:
        complain(error.detail)
        raise typer.Exit(error.status if error.status in set(Exit) else Exit.FAILED) from error


async def _run(configuration: Reloadable[HeadwaterConfig], platform: Platform, child: Supervisor | None, *, as_json: bool) -> None:
    def announce(running: Running) -> None:
        addresses = {**running.addresses, **(child.addresses if child is not None else {})}
        if as_json:
            print_json({"roles": addresses, "data_dir": configuration.current.data_dir})
        elif sys.stdout.isatty():
            for role, address in addresses.items():
                limits = configuration.current.sessions.http if role == SESSIONS else configuration.current.http
                sys.stdout.write(f"{role:<12} {'http' if limits.tls is None else 'https'}://{address}/\n")
            sys.stdout.flush()

    log_as(configuration.current.logging)
    configuration.on_change(lambda config: log_as(config.logging))
    platform.on_ready = announce
    reload = asyncio.Event()

    async def reload_always() -> None:
        while True:
            await reload.wait()
            reload.clear()
            platform.reload(configuration)
            if child is not None:
                child.reload()

    with signals_as_events(platform.stop, reload):
        reloading = asyncio.create_task(reload_always())
        try:
            if child is None:
                await platform.run()
            else:
                await child.run_beside(platform.run(), platform.stop)
        finally:
            reloading.cancel()


def check_config(path: Path | None, *, as_json: bool) -> None:
    """Validate everything that can be validated without starting. Raises InvalidConfig."""
    from headwater.app.checking import check_everything

    config = load_config(path, os.environ)
    found = check_everything(config)
    if as_json:
        told = {"valid": True, "wikis": sorted(config.wikis), "roles": config.listens(), "schemas": found.schemas}
        print_json({**told, "warnings": list(found.warnings)})
    else:
        source = f"{path}" if path is not None else "the defaults and the environment"
        sys.stdout.write(
            f"{source}: valid; {len(config.wikis)} wikis, {len(config.purging.targets)} purge targets, {found.schemas} schemas,"
            f" {len(config.sessions.namespaces)} namespaces of sessions with {len(config.sessions.clients)} clients,"
            f" {len(config.tables.clients)} clients and {len(config.tables.quotas)} quotas of tables\n"
        )
        sys.stdout.writelines(f"warning: {warning}\n" for warning in found.warnings)

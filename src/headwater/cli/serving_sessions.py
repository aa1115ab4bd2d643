"""`headwater serve sessions`: a process that loads no other service."""

import asyncio
import os
import sys
from pathlib import Path

import typer

from headwater.app.logging_config import log_as
from headwater.app.running import Running
from headwater.app.sessions_config import SessionsFile, load_sessions_config
from headwater.app.sessions_process import SessionsProcess
from headwater.app.signals import signals_as_events
from headwater.app.standard_input import stdin_closed
from headwater.cli.exits import Exit
from headwater.cli.output import complain, print_json
from headwater.kernel import loopwatch
from headwater.kernel.clock import SystemClock
from headwater.kernel.configfile import Reloadable
from headwater.kernel.errors import Unavailable
from headwater.kernel.ids import SystemIds


def run_sessions(path: Path | None, *, as_json: bool, end_with_stdin: bool) -> None:
    """Run sessions until a signal ends them, or the standard input is closed if `end_with_stdin`.

    Raises:
        InvalidConfig, KeysUnusable: nothing was served.
        HeadwaterError: they cannot start, or a part ended by itself.
    """
    configuration = Reloadable(lambda: load_sessions_config(path, os.environ))
    try:
        loopwatch.run(_run(configuration, as_json=as_json, end_with_stdin=end_with_stdin))
    except Unavailable as error:
        complain(error.detail)
        raise typer.Exit(Exit.TAKEN) from error


async def _run(configuration: Reloadable[SessionsFile], *, as_json: bool, end_with_stdin: bool) -> None:
    def announce(running: Running) -> None:
        if as_json:
            print_json({"roles": dict(running.addresses), "data_dir": configuration.current.data_dir})
        elif sys.stdout.isatty():
            scheme = "http" if configuration.current.sessions.http.tls is None else "https"
            sys.stdout.writelines(f"{role:<12} {scheme}://{address}/\n" for role, address in running.addresses.items())
            sys.stdout.flush()

    log_as(configuration.current.logging)
    configuration.on_change(lambda config: log_as(config.logging))
    process = SessionsProcess(configuration.current, SystemClock(), SystemIds(), on_ready=announce)
    reload = asyncio.Event()

    async def reload_always() -> None:
        while True:
            await reload.wait()
            reload.clear()
            await process.reload(configuration)

    async def end_with_parent() -> None:
        await stdin_closed()
        process.stop.set()

    with signals_as_events(process.stop, reload):
        beside = [asyncio.create_task(reload_always())]
        if end_with_stdin:
            beside.append(asyncio.create_task(end_with_parent()))
        try:
            await process.run()
        finally:
            for task in beside:
                task.cancel()

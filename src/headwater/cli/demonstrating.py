"""`headwater demo`: runs it all, edits by itself, and shows what happens."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import typer

from headwater.app.demo_drive import Driver, driving
from headwater.app.demonstration import WIKI, Demonstration, Ports, run_demonstration
from headwater.app.signals import signals_as_events
from headwater.cli.exits import Exit
from headwater.cli.flowing import line, table
from headwater.cli.output import complain, print_json
from headwater.kernel import logging, loopwatch
from headwater.kernel.clock import SystemClock
from headwater.kernel.errors import Unavailable
from headwater.kernel.ids import SystemIds

PAUSE_BETWEEN_EDITS_S = 4.0
REFRESH_S = 0.25
SHOWN_MAX = 12


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What was asked of the demo."""

    edits: int | None
    exit_at_rest: bool
    as_json: bool
    port_base: int | None
    data_dir: Path | None


def run_demo(options: DemoOptions) -> Exit:
    """Run the demo to its end. Raises HeadwaterError when it cannot start."""
    logging.configure(level="warning", human=sys.stderr.isatty())
    ports = Ports() if options.port_base is None else Ports.from_base(options.port_base)
    with _data_dir(options.data_dir) as data_dir:
        try:
            return Exit(loopwatch.run(_run(options, ports, data_dir)))
        except Unavailable as error:
            complain(f"{error.detail}; `headwater demo --port-base 20000` takes the ports from there on")
            raise typer.Exit(Exit.TAKEN) from error


@contextmanager
def _data_dir(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="headwater-demo-") as made:
        yield Path(made)


async def _run(options: DemoOptions, ports: Ports, data_dir: Path) -> int:
    clock, stop = SystemClock(), asyncio.Event()

    async def work(demo: Demonstration) -> int:
        async with driving(demo) as driver:
            showing = asyncio.create_task(_Show(driver, options).run())
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait((showing, stopping), return_when=asyncio.FIRST_COMPLETED)
                return int(showing.result() if showing.done() else Exit.OK if not options.exit_at_rest else Exit.INTERRUPTED)
            finally:
                for task in (showing, stopping):
                    task.cancel()
                await asyncio.gather(showing, stopping, return_exceptions=True)

    with signals_as_events(stop, asyncio.Event()):
        return await run_demonstration(ports, data_dir, work, clock=clock, ids=SystemIds())


class _Show:
    """One showing of the demo."""

    def __init__(self, driver: Driver, options: DemoOptions) -> None:
        self._driver = driver
        self._options = options
        self._clock = driver.demo.clock
        self._entries: dict[int, dict[str, Any]] = {}
        self._after = 0  # the last edit of which nothing new can come
        self._edited = asyncio.Event()

    async def run(self) -> int:
        """Prepare, edit, show; the exit status, once it has one."""
        pages = await self._driver.prepare(purges_too=self._options.exit_at_rest)
        self._after = max((entry["number"] for entry in await self._driver.flow(0)), default=0)
        self._introduce(pages)
        watching = asyncio.create_task(self._watch())
        began_s = self._clock.monotonic_s()
        try:
            edits = await self._edit()
            if not self._options.exit_at_rest:
                await asyncio.Event().wait()
            await self._driver.until_rest()
            await self._poll()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return await self._report(edits, self._clock.monotonic_s() - began_s)

    async def _edit(self) -> int:
        """Make the edits that were asked for, or go on for ever; how many were made."""
        number = made = 0
        while self._options.edits is None or made < self._options.edits:
            made += await self._driver.edit(number) is not None
            number += 1
            if not self._options.exit_at_rest:
                await self._clock.sleep(PAUSE_BETWEEN_EDITS_S)
        return made

    async def _report(self, edits: int, seconds: float) -> int:
        outcome = await self._driver.outcome(edits, seconds)
        if self._options.as_json:
            print_json(msgspec.to_builtins(outcome))
        else:
            verdict = "everything is as a fresh render" if not outcome.stale_at_rest else f"{outcome.stale_at_rest} copies are STALE"
            sys.stdout.write(
                f"{outcome.edits} edits: {outcome.marked} pages marked, {outcome.rendered} rendered, {outcome.skipped} skipped, "
                f"{outcome.cutoffs} as before, {outcome.purged} addresses purged in {outcome.seconds:.1f} s. At rest {verdict}.\n"
            )
        return Exit.OK if outcome.stale_at_rest == 0 else Exit.FAILED

    # Showing

    def _introduce(self, pages: int) -> None:
        if self._options.as_json:
            return
        ports = self._driver.demo.ports
        sys.stdout.write(
            f"Headwater keeps {pages} pages of a wiki about rivers fresh, and a cache in front of them.\n"
            f"  status page  http://127.0.0.1:{ports.console}/\n"
            f"  the wiki     http://127.0.0.1:{ports.wiki}/\n"
            f"  a page       http://127.0.0.1:{ports.cache}/v1/{WIKI}/html/Elbe  (from the cache)\n"
            "Edit a template that most pages use, and watch:\n"
            f"  curl -s http://127.0.0.1:{ports.wiki}/api.php -d action=edit -d format=json "
            "-d title=Template:Basin -d 'text=It feeds the {{River link|{{{1}}}}}.'\n\n"
        )
        sys.stdout.flush()

    async def _watch(self) -> None:
        """Show edits until cancelled: as a table that moves on a terminal, else as lines."""
        if self._options.as_json or not sys.stdout.isatty():
            while True:
                await self._poll()
                await self._clock.sleep(REFRESH_S)
        from rich.live import Live

        with Live(table("Edits on their way", []), refresh_per_second=4) as live:
            while True:
                await self._poll(printed=False)
                live.update(table("Edits on their way", list(self._entries.values())[-SHOWN_MAX:]))
                await self._clock.sleep(REFRESH_S)

    async def _poll(self, *, printed: bool = True) -> None:
        """Read the flow; print the edits that have become fresh."""
        for entry in await self._driver.flow(self._after):
            known = self._entries.get(entry["number"])
            self._entries[entry["number"]] = entry
            if printed and entry["fresh_ms"] is not None and (known is None or known["fresh_ms"] is None):
                self._print(entry)
        while (
            self._entries and len(self._entries) > SHOWN_MAX and self._entries[oldest := next(iter(self._entries))]["fresh_ms"] is not None
        ):
            self._after = oldest
            del self._entries[oldest]

    def _print(self, entry: dict[str, Any]) -> None:
        if self._options.as_json:
            print_json(entry)
        else:
            sys.stdout.write(line(entry) + "\n")
            sys.stdout.flush()

"""`headwater backfill`: makes every page of a wiki known, with a progress bar, and may be interrupted."""

import sys
import time
from pathlib import Path
from typing import Any

from headwater.cli.exits import Exit
from headwater.cli.output import complain, print_json
from headwater.cli.roles import RoleClient, role_clients, segment

POLL_S = 0.5


def run_backfill(path: Path | None, wiki: str, *, restart: bool, dry_run: bool, token: str | None, as_json: bool) -> Exit:
    """Start or go on with a backfill and show it to its end, the renders included. Raises NotFound, Unavailable."""
    _, clients = role_clients(path, token)
    client, address = clients["propagation"], f"/v1/{segment(wiki)}/backfill"
    if dry_run:
        _say_what_would_happen(client.fetch(address), restart=restart, as_json=as_json)
        return Exit.OK
    status = client.checked(client.call("POST", address, {"action": "start", "anew": restart}))
    try:
        status = _shown_as_json(client, address) if as_json else _shown_as_bar(client, address, wiki)
    except KeyboardInterrupt:
        status = client.checked(client.call("POST", address, {"action": "stop"}))
        complain(f"interrupted after {status['seen']} pages; `headwater backfill --wiki {wiki}` goes on from there")
        return Exit.INTERRUPTED
    if as_json:
        print_json(status)
    else:
        sys.stdout.write(f"{wiki}: {status['seen']} pages known, {_rendered(client, wiki)}\n")
    return Exit.OK


def _say_what_would_happen(status: dict[str, Any], *, restart: bool, as_json: bool) -> None:
    begins = restart or status["started_ms"] is None or status["finished_ms"] is not None
    what = "begin at the first page" if begins else f"go on after {status['seen']} pages"
    if status["running"]:
        what = f"join the one that runs ({status['seen']} pages seen)"
    if as_json:
        print_json({"would": what, "status": status})
    else:
        sys.stdout.write(f"would {what}\n")


def _rendered(client: RoleClient, wiki: str) -> str:
    """How many pages are rendered at the end: those that were given up are not."""
    given_up = next((one["dead_letters"] for one in client.fetch("/v1/status")["wikis"] if one["wiki"] == wiki), 0)
    return f"all rendered but {given_up}: see `headwater dead-letters list`" if given_up else "all of them rendered"


def _is_over(status: dict[str, Any]) -> bool:
    return not status["running"] and not status["waiting"]


def _shown_as_json(client: RoleClient, address: str) -> dict[str, Any]:
    while True:
        status: dict[str, Any] = client.fetch(address)
        if _is_over(status):
            return status
        print_json(status)
        time.sleep(POLL_S)


class _Delays:
    """Says on standard error why a backfill is put off; each reason once until it goes on."""

    def __init__(self) -> None:
        self._said: str | None = None

    def tell(self, status: dict[str, Any]) -> None:
        """Look at one answer."""
        reason = status.get("delayed")
        if reason is not None and reason != self._said:
            complain(f"delayed, and tried again every few seconds: {reason}")
        self._said = reason


def _shown_as_bar(client: RoleClient, address: str, wiki: str) -> dict[str, Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("pages"), TimeElapsedColumn())
    delays = _Delays()
    with Progress(*columns) as progress:
        task = progress.add_task(wiki, total=None)
        while True:
            status: dict[str, Any] = client.fetch(address)
            seen, done = status["seen"], max(0, status["seen"] - status["waiting"])
            delays.tell(status)
            what = "looking for pages" if status["running"] else "rendering"
            progress.update(task, completed=done, total=None if status["running"] and not seen else seen, description=f"{wiki}: {what}")
            if _is_over(status):
                return status
            time.sleep(POLL_S)

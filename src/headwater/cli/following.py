"""`headwater follow`: edits as they flow through the running roles."""

import sys
import time
from pathlib import Path
from typing import Any

from headwater.cli.flowing import line, table
from headwater.cli.output import print_json
from headwater.cli.roles import RoleClient, role_clients, segment, wikis_of
from headwater.kernel.errors import NotFound

POLL_S = 0.5
SHOWN_MAX = 20


class FlowReader:
    """Reads the flow of some wikis. An edit is asked for again until it is fresh."""

    def __init__(self, client: RoleClient, wikis: list[str]) -> None:
        self._client = client
        self._after = dict.fromkeys(wikis, 0)
        self._begun = False
        self.entries: dict[tuple[str, int], dict[str, Any]] = {}

    def poll(self) -> list[dict[str, Any]]:
        """Read once; returns the edits that have become fresh since, oldest first. What was fresh before the first poll is left out."""
        fresh = []
        for wiki, after in self._after.items():
            answer = self._client.fetch(f"/v1/{segment(wiki)}/flow?after={after}&limit=100")
            for entry in answer["entries"]:
                known = self.entries.get((wiki, entry["number"]))
                if entry["fresh_ms"] is not None and self._begun and (known is None or known["fresh_ms"] is None):
                    fresh.append({"wiki": wiki, **entry})
                self.entries[wiki, entry["number"]] = {"wiki": wiki, **entry}
            waiting = [number for (one, number), entry in self.entries.items() if one == wiki and entry["fresh_ms"] is None]
            numbers = [number for (one, number) in self.entries if one == wiki]
            self._after[wiki] = min(waiting) - 1 if waiting else max(numbers, default=after)
        self._begun = True
        while len(self.entries) > 10 * SHOWN_MAX:
            del self.entries[next(iter(self.entries))]
        return fresh

    def newest(self) -> list[dict[str, Any]]:
        """The newest edits, oldest first."""
        return list(self.entries.values())[-SHOWN_MAX:]


def follow_edits(path: Path | None, *, wiki: str | None, edits_max: int | None, token: str | None, as_json: bool) -> None:
    """Show edits until Ctrl-C, or until `edits_max` have become fresh. Raises NotFound, Unavailable."""
    _, clients = role_clients(path, token)
    wikis = wikis_of(clients["propagation"], wiki)
    if not wikis:
        raise NotFound("Headwater keeps no wiki: its configuration declares none")
    reader = FlowReader(clients["propagation"], wikis)
    if as_json or not sys.stdout.isatty():
        _follow_as_lines(reader, edits_max, as_json=as_json)
    else:
        _follow_as_table(reader, edits_max, ", ".join(wikis))


def _follow_as_lines(reader: FlowReader, edits_max: int | None, *, as_json: bool) -> None:
    shown = 0
    while True:
        for entry in reader.poll():
            if as_json:
                print_json(entry)
            else:
                sys.stdout.write(line(entry) + "\n")
                sys.stdout.flush()
            shown += 1
            if shown == edits_max:
                return
        time.sleep(POLL_S)


def _follow_as_table(reader: FlowReader, edits_max: int | None, title: str) -> None:
    from rich.live import Live

    shown = 0
    with Live(table(title, []), refresh_per_second=4) as live:
        while edits_max is None or shown < edits_max:
            shown += len(reader.poll())
            live.update(table(title, reader.newest()))
            time.sleep(POLL_S)

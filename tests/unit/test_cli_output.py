"""What is shown on a terminal: text that anybody may have put into an event steers neither the terminal nor the table."""

from typing import Any

import pytest
from rich.console import Console

from headwater.cli.flowing import line, table
from headwater.cli.output import plain, print_table

HOSTILE = "[/red]A\x1b]0;title\x07\x1b[2J\x9b1m\nB[bold]"
SHOWN = "[/red]A\ufffd]0;title\ufffd\ufffd[2J\ufffd1m\ufffdB[bold]"


def entry(what: str) -> dict[str, Any]:
    counts = dict.fromkeys(("marked", "rendered", "cutoffs", "purged"), 0)
    return {"cause": "edit", "what": what, **counts, "applied_ms": 0, "happened_ms": 0, "fresh_ms": None}


def test_what_steers_a_terminal_is_replaced() -> None:
    assert plain(HOSTILE) == SHOWN
    assert plain("Größe_(x) \u65e5\u672c") == "Größe_(x) \u65e5\u672c"


def test_a_table_shows_what_is_there_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Dead letters", ["what"], [[HOSTILE], [None], [7]])
    shown = capsys.readouterr().out
    assert SHOWN in shown and "\x1b" not in shown and "–" in shown and "7" in shown


def test_edits_are_shown_as_they_are() -> None:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(table("edits", [entry(HOSTILE)]))
    assert SHOWN in captured.get() and SHOWN in line(entry(HOSTILE))

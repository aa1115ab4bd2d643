"""How commands print: tables and lines for people, one JSON document for scripts, errors on standard error."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from headwater.cli.exits import Exit
from headwater.kernel.errors import (
    AlreadyOwned,
    FormatTooNew,
    HeadwaterError,
    InvalidConfig,
    InvalidInput,
    NotFound,
    Unavailable,
)

_EXITS: tuple[tuple[type[HeadwaterError], Exit], ...] = (
    (InvalidConfig, Exit.CONFIG),
    (FormatTooNew, Exit.CONFIG),
    (AlreadyOwned, Exit.TAKEN),
    (NotFound, Exit.NOT_FOUND),
    (InvalidInput, Exit.USAGE),
    (Unavailable, Exit.UNREACHABLE),
)


_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
WIDTH_WITHOUT_TERMINAL = 200
"""Columns of a table that goes to a file or a pipe, where nothing says how wide it may be."""


def plain(text: str) -> str:
    """`text` without characters that steer a terminal: titles, addresses and reasons are what somebody wrote into an event."""
    return _STEERING.sub("\ufffd", text)


def print_json(value: Any) -> None:
    """One JSON document on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("–" if cell is None else plain(str(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL).print(table)


def complain(message: str) -> None:
    """A line on standard error."""
    lines = "\n".join(map(plain, message.split("\n")))
    sys.stderr.write(f"headwater: {lines}\n")
    sys.stderr.flush()


def exit_of(error: HeadwaterError) -> Exit:
    """The exit status that an error becomes."""
    return next((status for kind, status in _EXITS if isinstance(error, kind)), Exit.FAILED)


@contextlib.contextmanager
def errors_as_exits(*, as_json: bool = False) -> Iterator[None]:
    """Turn Headwater's errors into a message and an exit status; anything else is a bug and shows its traceback."""
    try:
        yield
    except HeadwaterError as error:
        where = f"{error.where}: " if error.where else ""
        complain(f"{where}{error.detail}")
        if as_json:
            print_json({"error": error.code, "where": error.where, "detail": error.detail})
        raise typer.Exit(exit_of(error)) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(Exit.INTERRUPTED) from error

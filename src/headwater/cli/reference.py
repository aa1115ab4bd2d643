"""Writes the reference pages that are made from the code: `python -m headwater.cli.reference docs/reference`, which is `make docs`."""

import pathlib
import sys
from typing import Any

import typer.main
from typer.core import TyperArgument, TyperGroup, TyperOption

from headwater.app.reference import NOTE
from headwater.app.reference import pages as pages_of_the_code
from headwater.cli.exits import MEANINGS
from headwater.cli.main import app


def _parameter(parameter: Any) -> str:
    """The row of an option or argument."""
    meaning = (parameter.help or "").replace("|", "\\|")
    if isinstance(parameter, TyperArgument):
        return f"| `{parameter.metavar or (parameter.name or '').upper()}` | {meaning} |"
    assert isinstance(parameter, TyperOption)
    variable = f" Environment: `{parameter.envvar}`." if parameter.envvar else ""
    return f"| {', '.join(f'`{name}`' for name in (*parameter.opts, *parameter.secondary_opts))} | {meaning}{variable} |"


def _command(path: str, command: Any) -> list[str]:
    """The section of a command, and of the commands below it."""
    lines = [f"## `{path}`\n", " ".join((command.help or "").split()), ""]
    if isinstance(command, TyperGroup):
        for name, below in sorted(command.commands.items()):
            lines += _command(f"{path} {name}", below)
        return lines
    arguments = [p.metavar or (p.name or "").upper() for p in command.params if isinstance(p, TyperArgument)]
    lines += [f"```\n{' '.join([path, *arguments, '[OPTIONS]'])}\n```\n", "| parameter | meaning |\n|---|---|"]
    lines += [_parameter(parameter) for parameter in command.params]
    return [*lines, ""]


def cli_page() -> str:
    """`cli.md`."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    lines = [
        f"# Command line\n\n{NOTE}",
        "Text for people on a terminal, one JSON document per line with `--json`. What changes something has `--dry-run`.",
        "Messages about errors go to standard error.\n",
        "| exit status | meaning |\n|---|---|",
        *(f"| {status.value} | {meaning} |" for status, meaning in MEANINGS.items()),
        "",
    ]
    for name, command in sorted(root.commands.items()):
        lines += _command(f"headwater {name}", command)
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[str, str]:
    """Every page that is made from the code, by file name."""
    return {**pages_of_the_code(), "cli.md": cli_page()}


def write(folder: pathlib.Path) -> None:
    """Write all pages into a folder that exists."""
    for name, text in pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))

"""Options that many commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="HEADWATER_CONFIG", help="Configuration file; without it: defaults.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]
TokenOption = Annotated[
    str | None,
    typer.Option("--token", envvar="HEADWATER_TOKEN", help="Bearer token, where the configuration names clients.", show_default=False),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

"""How edits on their way are shown: as a table that moves, or as a line when an edit has become fresh."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headwater.cli.output import plain

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("edit", "what", "marked", "rendered", "same", "purged", "seen", "fresh")


def fresh_after(entry: dict[str, Any]) -> str:
    """How long after it was applied all pages of an edit were fresh."""
    reached = entry["fresh_ms"]
    return "…" if reached is None else f"{max(0, reached - entry['applied_ms']) / 1000:.2f}s"


def seen_after(entry: dict[str, Any]) -> str:
    """How long after the edit Headwater knew of it. MediaWiki stamps whole seconds, so it may be up to one second less."""
    return f"{max(0, entry['applied_ms'] - entry['happened_ms']) / 1000:.1f}s"


def row(entry: dict[str, Any]) -> tuple[str, ...]:
    """An edit as the cells of a row."""
    counts = (str(entry[name]) for name in ("marked", "rendered", "cutoffs", "purged"))
    return (plain(entry["cause"]), plain(entry["what"]), *counts, seen_after(entry), fresh_after(entry))


def line(entry: dict[str, Any]) -> str:
    """An edit that is fresh, as one line."""
    return (
        f"{plain(entry['cause']):<8} {plain(entry['what'])}: {entry['marked']} pages marked, {entry['rendered']} rendered, "
        f"{entry['cutoffs']} as before, {entry['purged']} addresses purged, fresh after {fresh_after(entry)}"
    )


def table(title: str, entries: Sequence[dict[str, Any]]) -> "Table":
    """Edits as a table, the newest last."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("edit", "what") else "right", no_wrap=column != "what", overflow="fold")
    for entry in entries:
        shown.add_row(*map(Text, row(entry)), style="" if entry["fresh_ms"] is not None else "bold")
    return shown

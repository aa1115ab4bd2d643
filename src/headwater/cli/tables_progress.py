"""How far an export or import has come: kept in a file beside the data, so that it goes on after a kill, and shown on a terminal."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater.kernel.errors import InvalidInput, StorageFull, Unavailable

FORMAT = 1
Shown = Callable[[int, int], None]
"""Shows how much is done, and how many rows that is."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise errors of the system while `path` is written as StorageFull or Unavailable."""
    try:
        yield
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable
        raise kind(f"{path} cannot be written: {error.strerror}") from error


def read_progress(path: Path) -> dict[str, Any] | None:
    """What was noted, None if nothing was. Raises InvalidInput: something else is there."""
    try:
        noted = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is not readable; remove it, or give --restart") from error
    if not isinstance(noted, dict) or noted.get("format") != FORMAT:
        raise InvalidInput(f"{path} is not of this version; remove it, or give --restart")
    return noted


def write_progress(path: Path, noted: Mapping[str, object]) -> None:
    """Note it durably, in one step. Raises StorageFull, Unavailable."""
    new = path.with_name(path.name + ".new")
    with disk_errors(path):
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, json.dumps({"format": FORMAT, **noted}).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(path)


@contextmanager
def bar(what: str, total: int | None, *, quiet: bool, unit: str) -> Iterator[Shown]:
    """A bar where somebody looks at a terminal; elsewhere nothing."""
    if quiet or not sys.stdout.isatty():
        yield lambda done, rows: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TextColumn("{task.fields[rows]} rows"), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(what, total=total, rows=0)
        yield lambda done, rows: progress.update(task, completed=done, rows=rows)

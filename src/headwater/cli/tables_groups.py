"""Which lines of an import are written together, in one batch: consecutive ones of one partition. Pure.

Where a group begins and ends is told by the file alone, and progress is noted between groups only: an import that goes on makes the same
groups as the one before it, so that the `write_id` of a group always means the same lines.
"""

import json
from dataclasses import dataclass

from headwater.cli.tables_exporting import Keys
from headwater.cli.tables_lines import Line

ROWS_MAX = 100
BYTES_MAX = 256 * 1024
"""Of a group with more than one line."""


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that are written together.

    Attributes:
        lines: one or more.
        partition: what they are of.
    """

    lines: tuple[Line, ...]
    partition: str

    @property
    def number(self) -> int:
        """That of its first line."""
        return self.lines[0].number


class Grouping:
    """Makes groups of lines that come one after the other."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._lines: list[Line] = []
        self._rows: set[str] = set()
        self._partition = ""
        self._bytes = 0

    def add(self, line: Line) -> Group | None:
        """Add a line with a row; the group that ended before it, if one did."""
        assert line.row is not None
        partition, row = (json.dumps(key, sort_keys=True) for key in (self._keys.partition(line.row), self._keys.row(line.row)))
        fits = (
            partition == self._partition
            and row not in self._rows  # a batch has each row once
            and not self._keys.names_static(line.row)  # and a static column one value
            and len(self._lines) < ROWS_MAX
            and self._bytes + len(line.text) <= BYTES_MAX
        )
        ended = None if fits else self.end()
        self._lines.append(line)
        self._rows.add(row)
        self._partition = partition
        self._bytes += len(line.text)
        return ended

    def end(self) -> Group | None:
        """End the group that there is, if there is one."""
        group = Group(tuple(self._lines), self._partition) if self._lines else None
        self._lines, self._bytes = [], 0
        self._rows.clear()
        return group

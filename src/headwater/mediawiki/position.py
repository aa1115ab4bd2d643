"""How far a list of a wiki has been followed, so that nothing is missed that appears late or shares a second. Pure.

Rows are ordered by whole seconds, and a row may appear after younger ones: a long transaction stamps its row first and shows it last. Let
a row of second T appear no later than T + overlap. A `Window` says that the list was read *after* second `covered_s` from `covered_s -
overlap` on. A row that had not appeared then appears after `covered_s`, so it carries a T above `covered_s - overlap`: the next reading,
which begins there, meets it. Hence the invariants: `covered_s` never passes the second at which the reading that it speaks of began, nor
the last row of the page read while other pages of that reading are outstanding; ids of all rows met at or after `covered_s - overlap` are
in `seen`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

SEEN_MAX: Final = 10_000  # ids remembered; beyond, the oldest are forgotten, and the intake knows their events by id
POSITION_KEY: Final = b"position"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Window:
    """Progress in one list.

    Attributes:
        covered_s: second of the wiki's clock; see the module.
        seen: ids of rows met, with their seconds.
    """

    covered_s: int
    seen: tuple[tuple[int, int], ...] = ()

    def start_s(self, overlap_s: int) -> int:
        """The second from which the next reading has to begin."""
        return self.covered_s - overlap_s

    def has(self, ids: Iterable[int]) -> frozenset[int]:
        """Which of these rows have been met."""
        return frozenset(ids) & frozenset(number for number, _ in self.seen)

    def after_page(self, rows: Iterable[tuple[int, int]], *, began_s: int, overlap_s: int) -> "Window":
        """The window after one page of a reading that began at second `began_s`; `rows` are ids and seconds."""
        page = dict(rows)
        cursor_s = max(page.values(), default=self.covered_s)  # rows are ordered: all before it have been met in this reading
        return self._moved(max(self.covered_s, min(began_s, cursor_s)), {**dict(self.seen), **page}, overlap_s)

    def after_reading(self, *, began_s: int, overlap_s: int) -> "Window":
        """The window after the last page of a reading that began at second `began_s`."""
        return self._moved(max(self.covered_s, began_s), dict(self.seen), overlap_s)

    def _moved(self, covered_s: int, met: dict[int, int], overlap_s: int) -> "Window":
        start_s = covered_s - overlap_s
        kept = sorted((item for item in met.items() if item[1] >= start_s), key=lambda item: (item[1], item[0]))
        return Window(covered_s, tuple(kept[-SEEN_MAX:]))


@dataclass(frozen=True, slots=True)
class FollowerPosition:
    """Where a follower is: in recent changes and, if it may read it, in the log of suppressions."""

    changes: Window
    suppressions: Window | None = None


class _StoredWindow(msgspec.Struct, frozen=True):
    covered_s: int
    seen: tuple[tuple[int, int], ...]


class _StoredPosition(msgspec.Struct, frozen=True):
    v: int
    changes: _StoredWindow
    suppressions: _StoredWindow | None = None


def encode(position: FollowerPosition) -> bytes:
    """The value of the record `position` on `follower.<wiki>`."""
    other = position.suppressions
    return msgspec.json.encode(
        _StoredPosition(
            _VERSION,
            _StoredWindow(position.changes.covered_s, position.changes.seen),
            _StoredWindow(other.covered_s, other.seen) if other else None,
        )
    )


def decode(value: bytes) -> FollowerPosition:
    """The position in a record's value. A value that this version did not write is a bug of the one that did."""
    stored = msgspec.json.decode(value, type=_StoredPosition)
    assert stored.v <= _VERSION, "the position was written by a newer version"
    other = stored.suppressions
    return FollowerPosition(Window(stored.changes.covered_s, stored.changes.seen), Window(other.covered_s, other.seen) if other else None)

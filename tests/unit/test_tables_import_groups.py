"""Which lines of an import are written together."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headwater.cli.tables_exporting import Keys
from headwater.cli.tables_groups import BYTES_MAX, ROWS_MAX, Group, Grouping
from headwater.cli.tables_lines import Line

INDEX = [
    {"attribute": "h", "type": "hash"},
    {"attribute": "s", "type": "static"},
    {"attribute": "r", "type": "range"},
]


def lines_of(*rows: dict[str, Any] | None) -> list[Line]:
    """Lines with rows; None: one without."""
    return [Line(number, 0, b"" if row is None else json.dumps(row).encode(), row) for number, row in enumerate(rows, start=1)]


def groups_of(lines: list[Line]) -> list[Group]:
    """The groups that are made of lines."""
    grouping = Grouping(Keys({"index": INDEX}))
    ended = [grouping.end() if line.row is None else grouping.add(line) for line in lines]
    return [group for group in (*ended, grouping.end()) if group is not None]


def numbers(groups: list[Group]) -> list[list[int]]:
    """The numbers of their lines."""
    return [[line.number for line in group.lines] for group in groups]


def test_consecutive_rows_of_a_partition_are_a_group() -> None:
    rows = [{"h": "a", "r": 1}, {"h": "a", "r": 2}, {"h": "b", "r": 1}, {"h": "a", "r": 3}, {"h": "a", "r": 4}]
    assert numbers(groups_of(lines_of(*rows))) == [[1, 2], [3], [4, 5]]


def test_a_row_that_comes_again_begins_another() -> None:
    rows = [{"h": "a", "r": 1}, {"h": "a", "r": 2}, {"h": "a", "r": 1, "v": 2}, {"h": "a", "r": 2}]
    assert numbers(groups_of(lines_of(*rows))) == [[1, 2], [3, 4]]


def test_a_static_column_begins_another() -> None:
    rows = [{"h": "a", "s": 1}, {"h": "a", "r": 2}, {"h": "a", "r": 3, "s": 2}, {"h": "a", "r": 4}]
    assert numbers(groups_of(lines_of(*rows))) == [[1, 2], [3, 4]]


def test_a_line_without_a_row_ends_it() -> None:
    assert numbers(groups_of(lines_of({"h": "a", "r": 1}, None, None, {"h": "a", "r": 2}, {"h": "a", "r": 3}))) == [[1], [4, 5]]


def test_groups_are_bounded() -> None:
    many = groups_of(lines_of(*({"h": "a", "r": number} for number in range(2 * ROWS_MAX + 1))))
    assert [len(group.lines) for group in many] == [ROWS_MAX, ROWS_MAX, 1]
    large = groups_of(
        lines_of(*({"h": "a", "r": number, "v": "x" * (BYTES_MAX // 2 + size)} for number, size in enumerate((0, -99, 0, BYTES_MAX))))
    )
    assert numbers(large) == [[1], [2], [3], [4]] or numbers(large) == [[1, 2], [3], [4]]
    assert all(sum(len(line.text) for line in group.lines) <= BYTES_MAX for group in large if len(group.lines) > 1)


ROWS = st.lists(
    st.none() | st.builds(lambda h, r, s: {"h": h, "r": r} | s, st.sampled_from("ab"), st.integers(0, 3), st.sampled_from([{}, {"s": 1}]))
)


@given(ROWS, st.data())
def test_who_goes_on_after_a_group_makes_the_same_ones(rows: list[dict[str, Any] | None], data: st.DataObject) -> None:
    lines = lines_of(*rows)
    groups = groups_of(lines)
    assert [line.number for group in groups for line in group.lines] == [line.number for line in lines if line.row is not None]
    done = data.draw(st.integers(0, len(groups)))
    last = groups[done - 1].lines[-1].number if done else 0
    assert groups_of(lines[last:]) == groups[done:]

"""Lines of an import: what is at fault with one, and which column that is."""

import io

import pytest

from headwater.cli.tables_lines import lines_of


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b'{"title":"a","n":NaN}', "n"),
        (b'{"title":"a","n":1e999}', "n"),
        (b'{"title":"\\ud800","n":1}', "title"),
        (b'{"title":{"x":["\xff"]}}', "title"),
        (b'{"title":"a","title":"b"}', "title"),
        (b'{"\\ud800":1}', None),
        (b"no JSON", None),
        (b"[1]", None),
    ],
)
def test_a_line_that_is_at_fault_names_the_column(text: bytes, where: str | None) -> None:
    before, line, after = lines_of(io.BytesIO(b'{"title":"a"}\n' + text + b'\n{"title":"b"}\n'), number=0, end=0)
    assert (before.fault, after.fault) == (None, None)
    assert line.fault and line.row is None
    assert (line.number, line.where) == (2, where)

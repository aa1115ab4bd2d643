"""Writing many sessions by one statement has the outcome of writing them one by one, or does nothing."""

from collections.abc import Callable, Sequence
from importlib import resources
from typing import TypeVar

import apsw
from hypothesis import given
from hypothesis import strategies as st

from headwater.sessions.engines.sqlite import Extension, Put, extend_all, extend_one, put_all, put_one
from headwater.sessions.model import FIRST_TOKEN, NO_SUBJECT, Head, KeyId, Kind, Row, RowId, Version
from headwater.sessions.sealing import encode_head

T = TypeVar("T")

_IDS = [RowId(bytes([n]) * 32) for n in range(80)]
_versions = st.integers(0, 2).map(Version)
_CUT_OFF = Version(0)


def _row(id: RowId, version: Version) -> Row:
    head = Head(Kind.VALUE, KeyId(1), version, 1, 2, "n", FIRST_TOKEN, NO_SUBJECT, FIRST_TOKEN)
    return Row(id, b"short" if version == _CUT_OFF else encode_head(head), b"deadline %d" % version, b"sealed")


def _database(rows: Sequence[Row]) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    schema = resources.files("headwater.sessions.engines.schema")
    for file in sorted(schema.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            connection.execute(file.read_text(encoding="utf-8"))
    for row in rows:
        assert put_one(connection, Put(row, None, ()))
    return connection


def _content(connection: apsw.Connection) -> Sequence[object]:
    return connection.execute("SELECT id, head, deadline, sealed FROM session ORDER BY id").fetchall()


def _compare(
    stored: Sequence[Row],
    writes: Sequence[T],
    for_all: Callable[[apsw.Connection, Sequence[T]], Sequence[bool] | None],
    for_one: Callable[[apsw.Connection, T], bool],
) -> Sequence[bool] | None:
    one_by_one, at_once = _database(stored), _database(stored)
    expected = [for_one(one_by_one, write) for write in writes]
    found = for_all(at_once, writes)
    if found is not None:
        assert found == expected and _content(at_once) == _content(one_by_one)
    else:
        assert not all(expected) or any(_is_intricate(write) for write in writes) or len({_id(write) for write in writes}) < len(writes)
    return found


def _id(write: object) -> RowId:
    assert isinstance(write, Put | Extension)
    return write.row.id if isinstance(write, Put) else write.id


def _is_intricate(write: object) -> bool:
    assert isinstance(write, Put | Extension)
    return bool(write.clears) or write.expected == _CUT_OFF if isinstance(write, Put) else write.version == _CUT_OFF


_stored = st.dictionaries(st.sampled_from(_IDS[:6]), _versions).map(lambda found: [_row(*each) for each in found.items()])
_puts = st.lists(
    st.builds(
        lambda id, expected, clears: Put(_row(id, Version(7)), expected, clears),
        st.sampled_from(_IDS[:6]),
        st.none() | _versions,
        st.just(()) | st.tuples(st.sampled_from(_IDS[:6])),
    ),
    min_size=1,
    max_size=8,
)
_extensions = st.lists(
    st.builds(Extension, st.sampled_from(_IDS[:6]), st.just(b"later"), _versions, st.none() | st.just(b"deadline 1")),
    min_size=1,
    max_size=8,
)


@given(_stored, _puts)
def test_rows_are_put_as_one_by_one(stored: Sequence[Row], puts: Sequence[Put]) -> None:
    _compare(stored, puts, put_all, put_one)


@given(_stored, _extensions)
def test_deadlines_are_extended_as_one_by_one(stored: Sequence[Row], extensions: Sequence[Extension]) -> None:
    _compare(stored, extensions, extend_all, extend_one)


@given(st.integers(1, 80), st.integers(0, 80))
def test_any_number_of_rows_is_put_at_once(count: int, there: int) -> None:
    stored = [_row(id, Version(1)) for id in _IDS[:there]]
    puts = [Put(_row(id, Version(7)), Version(1) if n < there else None, ()) for n, id in enumerate(_IDS[:count])]
    assert _compare(stored, puts, put_all, put_one) == [True] * count

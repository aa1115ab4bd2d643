"""Writing rows of tables many at once has the outcome of writing them one by one, or raises where one of them does."""

from collections.abc import Sequence
from importlib import resources

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.kernel.errors import HeadwaterError
from headwater.tables.engines.sqlite import catalogue
from headwater.tables.engines.sqlite.together import Writing, put_key_of, write_all, write_one
from headwater.tables.engines.sqlite.writes import Revisions
from headwater.tables.errors import SchemaChanged
from headwater.tables.model import (
    FOREVER,
    ClusteringKey,
    Column,
    ColumnId,
    ColumnType,
    Condition,
    Declaration,
    Kind,
    Options,
    Outcome,
    PartitionKey,
    Put,
    Remove,
    Role,
    SpaceId,
    Table,
    Usage,
    Write,
)

_NOW_MS = 1_800_000_000_000
_NOW_S = _NOW_MS // 1000
_HASH, _RANGE, _STATIC, _VALUE = (ColumnId(id) for id in range(1, 5))
_STORED = ("row", "space", "partition", "expiry", "change", "outcome")


def _table(name: str, *, ranges: bool, changes: bool, statics: bool = True) -> Table:
    string = ColumnType(Kind.STRING)
    return Table(
        name,
        1,
        (Column("h", _HASH, string, Role.HASH),),
        (Column("r", _RANGE, string, Role.RANGE),) if ranges else (),
        (Column("s", _STATIC, string, Role.STATIC),) if ranges and statics else (),
        (Column("v", _VALUE, string, Role.REGULAR),),
        Options(changes=changes),
    )


_TABLES = (
    _table("values", ranges=False, changes=False),
    _table("rows", ranges=True, changes=True),
    _table("plain", ranges=True, changes=False, statics=False),
)


def _database() -> tuple[apsw.Connection, list[Declaration]]:
    connection = apsw.Connection(":memory:")
    files = (file for file in resources.files("headwater.tables.engines.sqlite.schema").iterdir() if file.name.endswith(".sql"))
    for file in sorted(files, key=lambda file: file.name):
        connection.execute(file.read_text(encoding="utf-8"))
    declared = []
    for table in _TABLES:
        wanted = Declaration("g", table.name, 0, 0, b"{}", {}, 9, {"d": SpaceId(0)})
        declaration = catalogue.declare(connection, declaration=wanted, replaces=None)
        assert declaration is not None
        declared.append(declaration)
    return connection, declared


_values = st.none() | st.sampled_from(["a", "longer"])
_conditions = st.none() | st.builds(Condition, exists=st.none() | st.booleans())
_puts = st.builds(
    lambda clustering, value, static, marker, ttl_s, condition: Put(
        None if clustering is None else ClusteringKey(clustering),
        {} if clustering is None else {_VALUE: value},
        {} if static is None and clustering is not None else {_STATIC: static},
        marker,
        _NOW_S + ttl_s if ttl_s else FOREVER,
        condition,
    ),
    st.none() | st.sampled_from([b"1", b"2"]),
    _values,
    _values,
    st.booleans(),
    st.sampled_from([0, 0, 5, 9]),
    _conditions,
)
_removes = st.builds(lambda clustering, condition: Remove(ClusteringKey(clustering), condition), st.sampled_from([b"1", b"2"]), _conditions)


def _of_values(write: Put | Remove) -> Put | Remove:
    """The same of a table without range columns, which has no static ones either."""
    if isinstance(write, Remove):
        return Remove(ClusteringKey(b""), write.condition)
    cells = write.cells or {_VALUE: "only"}
    return Put(ClusteringKey(b""), cells, {}, write.marker, write.expires_s, write.condition)


def _of_table(at: int, one: Put | Remove) -> Put | Remove:
    """As table `at` can have it."""
    if at == 0:
        return _of_values(one)
    if at == 1 or isinstance(one, Remove):
        return one
    return Put(one.clustering or ClusteringKey(b"k"), one.cells or {_VALUE: "only"}, {}, one.marker, one.expires_s, one.condition)


Asked = tuple[int, bytes, Put | Remove, str | None, bool, bool]
"""Table, partition, write, `write_id`, whether ceilings are low, and whether the table is another by then."""
_asked: st.SearchStrategy[Asked] = st.tuples(
    st.integers(0, 2),
    st.sampled_from([b"p", b"q"]),
    _puts | _removes,
    st.none() | st.none() | st.sampled_from(["x", "y"]),
    st.integers(0, 15).map(lambda n: n == 0),
    st.integers(0, 31).map(lambda n: n == 0),
)


def _writings(
    asked: Sequence[Asked], declared: Sequence[Declaration], *, now_ms: int = _NOW_MS, in_few_steps: bool = True
) -> list[Writing]:
    """Writes; those that may be are carried out in fewer steps, or `in_few_steps` is False."""
    revisions = Revisions(0)
    found = []
    for number, (at, partition, one, write_id, is_low, is_late) in enumerate(asked):
        write = Write(
            declared[at].domains["d"],
            PartitionKey(partition),
            _TABLES[at],
            (_of_table(at, one),),
            15 if is_low else 1 << 40,
            Usage(2, 40) if is_low else Usage(1 << 40, 1 << 40),
            write_id,
            b"%d" % at if write_id else b"",
            epoch=declared[at].epoch + is_late,
        )
        found.append(Writing(write, revisions, now_ms + number, put_key_of(write) if in_few_steps else None))
    return found


def _content(connection: apsw.Connection) -> dict[str, Sequence[object]]:
    return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in _STORED}


def _one_by_one(connection: apsw.Connection, writings: Sequence[Writing]) -> list[Outcome | type[HeadwaterError]]:
    outcomes: list[Outcome | type[HeadwaterError]] = []
    for writing in writings:
        try:
            with connection:
                outcomes.append(write_one(connection, writing)[0])
        except HeadwaterError as error:
            outcomes.append(type(error))
    return outcomes


@settings(deadline=None)
@given(st.lists(_asked, max_size=12), st.lists(_asked, min_size=1, max_size=12))
def test_rows_are_written_as_one_by_one(before: Sequence[Asked], asked: Sequence[Asked]) -> None:
    (alone, declared), (together, again) = _database(), _database()
    assert declared == again
    _one_by_one(alone, _writings(before, declared, in_few_steps=False))
    _one_by_one(together, _writings(before, declared))
    later_ms = _NOW_MS + 6_000  # what was written for 5 seconds has expired by then
    expected = _one_by_one(alone, _writings(asked, declared, now_ms=later_ms, in_few_steps=False))
    stored = _content(together)
    try:
        with together:
            found = [outcome for outcome, _ in write_all(together, _writings(asked, declared, now_ms=later_ms))]
    except HeadwaterError as error:
        assert type(error) in expected and _content(together) == stored
    else:
        assert found == expected and _content(together) == _content(alone)


@settings(deadline=None)
@given(st.sampled_from([1, 2, 3, 63, 64, 65, 100, 130]))
def test_any_number_of_rows_is_written_at_once(count: int) -> None:
    (alone, declared), (together, _) = _database(), _database()
    asked: list[Asked] = [
        (1, b"p%d" % (n % 3), Put(ClusteringKey(b"%03d" % n), {_VALUE: "v"}, {}, False, FOREVER), None, False, False) for n in range(count)
    ]
    _one_by_one(alone, _writings(asked, declared, in_few_steps=False))
    with together:
        write_all(together, _writings(asked, declared))
    assert _content(together) == _content(alone)


def test_a_table_that_is_gone_is_no_longer_written() -> None:
    connection, declared = _database()
    catalogue.drop(connection, declaration=declared[0], domain=None)
    asked: list[Asked] = [(0, b"p", Put(ClusteringKey(b""), {_VALUE: "v"}, {}, False, FOREVER), None, False, False)]
    assert _one_by_one(connection, _writings(asked, declared)) == [SchemaChanged]

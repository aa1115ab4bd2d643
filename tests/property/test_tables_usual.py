"""What is recognised in the bytes of a body has the outcome of the same body read and planned; and the commonest bodies are recognised."""

import json
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.tables_planning import SPACE, TID, TOKENS, made, planned

from headwater.http.json import parse
from headwater.kernel.errors import HeadwaterError
from headwater.tables.model import Cell, ColumnId, KeyedRow, Put, Revision, StoredRow, Table
from headwater.tables.planner import TablePlanner, WritePlan
from headwater.tables.service import Answer

NOW_S = 1_800_000_000
TABLES = (
    made("hash title string, regular rev int, regular text string, regular at timestamp"),
    made("hash title string, range rev int desc, regular text string", default_ttl_s=60),
    made("hash a:b string, hash flag boolean, range tid timeuuid, regular big varint, regular money decimal, regular one:two double"),
    made("hash id long, range at timestamp, range name string, regular tags set<string>, regular body json, regular raw blob"),
    made("hash f double, range d decimal, regular g float, regular u uuid, regular l long, regular yes boolean"),
)
PLANNERS = [(table, planned(table)) for table in TABLES]

_texts = st.sampled_from(["", "Main_Page", "Talk:A", "::", '"', "\\", "\\u003a", "\0", "é", "\U0001f30a", "x" * 70, "x" * 1100])
_times = st.sampled_from(
    ["2026-02-03T04:05:06.789Z", "2026-02-03T04:05:06.789+01:00", "2026-02-03", "2026-02-30T04:05:06.789Z", "0001-01-01"]
)
_numbers = st.sampled_from(["0", "-0", "1", "-2147483648", "2147483648", "9223372036854775807", "-9223372036854775809", "1" + "0" * 40])
_others = st.sampled_from(
    ["1.0", "1e2", "-0.0", "1e999", "true", "false", "null", "{}", "[]", '{"eq":1}', '{"$base64":"AAE="}', '["a"]', "NaN"]
)
_strings = st.sampled_from([TID, TID.upper(), "12", "12.50", "-0.00", "1E+3", "01"])


@st.composite
def _written(draw: st.DrawFn, text: str) -> str:
    """A JSON string as somebody may write it."""
    written = json.dumps(text, ensure_ascii=draw(st.booleans()))
    return written.replace(":", draw(st.sampled_from(["\\u003a", "\\u003A"]))) if draw(st.integers(0, 7)) == 0 else written


_values = st.one_of((_texts | _times | _strings).flatmap(_written), _numbers, _others)


@st.composite
def _bodies(draw: st.DrawFn, table: Table) -> bytes:
    """Bodies that are often usual, and often something near it: members twice, missing, of no type."""
    keys, rest = [column.name for column in (*table.hashes, *table.ranges)], [column.name for column in table.regulars]
    names = [name for name in keys if draw(st.integers(0, 15))] + draw(
        st.lists(st.sampled_from([*rest, *rest, *rest, "_ttl", "other"]), max_size=4)
    )
    names += draw(st.lists(st.sampled_from(names), max_size=1)) if names and draw(st.integers(0, 7)) == 0 else []
    separator = draw(st.sampled_from([":", ":", " : "]))
    attributes = ",".join([f"{draw(_written(name))}{separator}{draw(_values)}" for name in draw(st.permutations(names))])
    members = [f'"attributes":{{{attributes}}}']
    for member in draw(
        st.lists(
            st.sampled_from(
                [f'"table":"{table.name}"', '"table":"another"', '"table":null', '"limit":5', '"if":"not exists"', '"attributes":{}']
            ),
            max_size=1,
        )
    ):
        members.insert(draw(st.integers(0, 1)), member)
    return f"{{{','.join(members)}}}{draw(st.sampled_from(['', '', ' ', 'x']))}".encode("utf-8", "surrogatepass")


def _rows(table: Table) -> Sequence[StoredRow | None]:
    """A row with a cell in every column that is stored as text, one without cells, and none."""
    cells = {column.id: Cell("text: é") for column in table.regulars if str(column.type) == "string"}
    return StoredRow(Revision(7), cells), StoredRow(Revision(7), {}, 0), None


def _planned_write(planner: TablePlanner, raw: bytes) -> WritePlan | HeadwaterError:
    try:
        body = parse(raw)
        assert isinstance(body, dict)
        return planner.put(body, now_s=NOW_S)
    except HeadwaterError as error:
        return error


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(PLANNERS))
def test_a_read_that_is_recognised_is_the_one_that_is_planned(data: st.DataObject, of: tuple[Table, TablePlanner]) -> None:
    table, planner = of
    raw = data.draw(_bodies(table))
    usual = planner.usual
    assert usual is not None
    point = usual.find_read(raw)
    if point is None:
        return
    body = parse(raw)
    assert isinstance(body, dict)
    query = planner.query(body, space=SPACE, tokens=TOKENS)
    assert query.slice is not None and query.slice.point
    assert (point.partition, point.clustering) == (query.slice.partition, query.slice.lower)
    for row in _rows(table):
        items = query.show([] if row is None else [KeyedRow(point.clustering, row, None)], NOW_S)
        assert usual.show(point, row, now_s=NOW_S) == msgspec.json.encode(Answer(items))


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(PLANNERS))
def test_a_write_that_is_recognised_is_the_one_that_is_planned(data: st.DataObject, of: tuple[Table, TablePlanner]) -> None:
    table, planner = of
    raw = data.draw(_bodies(table))
    usual = planner.usual
    assert usual is not None
    found = usual.find_write(raw, now_s=NOW_S)
    if found is None:
        return
    plan = _planned_write(planner, raw)
    assert isinstance(plan, WritePlan), plan
    assert (plan.partition, plan.writes, plan.write_id) == (found[0], (found[1],), None)
    assert _types(found[1]) == _types(plan.writes[0])


def _types(write: object) -> Mapping[ColumnId, type]:
    """1 == 1.0 == True, but they are stored as what they are."""
    assert isinstance(write, Put)
    return {id: type(value) for id, value in write.cells.items()}


@pytest.mark.parametrize("title", ["Main_Page", "Talk:Elbe: a river", "Elbe/Quelle", "Müggelsee", 'a "quoted" \\ name'])
@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("others", [{}, {"table": "pages"}])
def test_the_commonest_requests_are_recognised(title: str, ensure_ascii: bool, others: Mapping[str, object]) -> None:
    usual = PLANNERS[0][1].usual
    assert usual is not None and usual.takes_writes
    read = json.dumps({**others, "attributes": {"title": title}}, ensure_ascii=ensure_ascii)
    assert usual.find_read(read.encode()) is not None
    values = {"rev": 5, "text": "Die Elbe: ein Fluß\n", "at": "2026-02-03T04:05:06.789Z"}
    for row in (values, {"text": None}, {}):
        write = json.dumps({**others, "attributes": {"title": title, **row}}, ensure_ascii=ensure_ascii, separators=(",", ":"))
        assert usual.find_write(write.encode(), now_s=NOW_S) is not None


def test_what_has_static_columns_or_names_that_no_decoder_knows_is_planned() -> None:
    assert planned(made("hash a string, range b int, static c string")).usual is None
    assert planned(made('hash a"b string, regular c string')).usual is None
    usual = planned(made("hash a string, regular body json")).usual
    assert usual is not None and not usual.takes_writes


@pytest.mark.parametrize(
    ("at", "raw"),
    [
        (0, '{"attributes":{"title":"a","title":"\\u003a"}}'),
        (0, '{"attributes":{"title":"a","text":"b","text":"\\u003A"}}'),
        (0, '{"attributes":{"title":"a","rev":2147483648}}'),
        (0, '{"attributes":{"title":"a","text":"' + "x" * 1001 + '"}}'),
        (0, '{"attributes":{"title":"' + "x" * 65 + '"}}'),
        (2, '{"attributes":{"a:b":"a","flag":true,"tid":"' + TID + '","big":-9223372036854775809}}'),
        (2, '{"attributes":{"a:b":"a","flag":1,"tid":"' + TID + '"}}'),
        (4, '{"attributes":{"f":1,"d":"1","g":1e999}}'),
        (4, '{"attributes":{"f":1,"d":"1","l":9223372036854775808}}'),
    ],
)
def test_what_is_to_be_refused_is_left_to_the_planner(at: int, raw: str) -> None:
    planner = PLANNERS[at][1]
    assert planner.usual is not None
    assert isinstance(_planned_write(planner, raw.encode()), HeadwaterError)
    assert planner.usual.find_write(raw.encode(), now_s=NOW_S) is None and planner.usual.find_read(raw.encode()) is None


@example(b'{"attributes":{"title":"a","title":"b"}}')
@example(b'{"attributes":{"title":"a:b","title":"\\u003a"}}')
@example(b'{"attributes":{"title":"a"},"attributes":{"title":"b"}}')
@given(st.binary(max_size=30).map(lambda tail: b'{"attributes":{"title":"' + tail))
def test_no_bytes_are_recognised_that_are_not_read(raw: bytes) -> None:
    planner = PLANNERS[0][1]
    assert planner.usual is not None
    if planner.usual.find_read(raw) is not None or planner.usual.find_write(raw, now_s=NOW_S) is not None:
        assert isinstance(_planned_write(planner, raw), WritePlan)

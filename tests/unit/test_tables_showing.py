"""Rows as answers show them: names, nulls, what has expired, `_ttl`, `_revision`; and changes."""

from typing import Any

import msgspec
import orjson
import pytest
from tests.unit.tables_planning import TID, made, planned

from headwater.tables.encoding import encode_all
from headwater.tables.model import (
    FOREVER,
    Cell,
    Change,
    ChangeKind,
    ClusteringKey,
    ColumnId,
    KeyedRow,
    PartitionKey,
    Revision,
    Stored,
    StoredRow,
)
from headwater.tables.showing import RowShower, revision_text

TABLE = made(
    "regular body string, hash key string, range rev int desc, range at timestamp, static owner json, regular tags set<long>, "
    "static marks set<uuid>, regular raw blob, regular big varint"
)
PARTITION = PartitionKey(encode_all(TABLE.hashes, ["k"]))
PLACE = ClusteringKey(encode_all(TABLE.ranges, [5, 0]))
NOW_S = 100
NULLS = dict.fromkeys(["body", "owner", "tags", "marks", "raw", "big"])
KEYS = {"key": "k", "rev": 5, "at": "1970-01-01T00:00:00.000Z"}


def cells(**values: Stored | Cell) -> dict[ColumnId, Cell]:
    return {TABLE.by_name[name].id: value if isinstance(value, Cell) else Cell(value) for name, value in values.items()}


def stored(revision: int = 1, **values: Stored | Cell) -> StoredRow:
    return StoredRow(Revision(revision), cells(**values))


def shown(row: StoredRow | None, static: StoredRow | None = None, place: ClusteringKey | None = PLACE, **how: Any) -> dict[str, Any]:
    (item,) = RowShower(TABLE, **how).show(PARTITION, [KeyedRow(place, row, static)], now_s=NOW_S)
    decoded: dict[str, Any] = orjson.loads(msgspec.json.encode(item))
    return decoded


def test_every_column_in_the_order_of_declaration() -> None:
    row = stored(body="text", tags=[9, 10], raw=b"\0", big=2**60)
    static = stored(owner=b'{"a":[1]}', marks=[bytes.fromhex(TID.replace("-", ""))])
    item = shown(row, static)
    assert list(item) == ["body", "key", "rev", "at", "owner", "tags", "marks", "raw", "big"]
    assert item == KEYS | {
        "body": "text",
        "owner": {"a": [1]},
        "tags": ["9", "10"],
        "marks": [TID],
        "raw": {"$base64": "AA=="},
        "big": str(2**60),
    }


def test_what_is_not_there_is_null() -> None:
    assert shown(stored()) == NULLS | KEYS


def test_a_partition_with_nothing_but_a_static_row() -> None:
    assert shown(None, stored(owner=b"1"), None) == NULLS | {"key": "k", "rev": None, "at": None, "owner": 1}


def test_what_has_expired_is_null() -> None:
    row = stored(body=Cell("x", NOW_S), raw=Cell(b"", NOW_S + 1))
    static = stored(owner=Cell(b"1", NOW_S - 1), marks=Cell([bytes(16)], NOW_S))
    assert shown(row, static) == NULLS | KEYS | {"raw": {"$base64": ""}}


def test_cells_of_dropped_columns_are_not_shown() -> None:
    assert shown(StoredRow(Revision(1), {ColumnId(99): Cell("old")})) == NULLS | KEYS


@pytest.mark.parametrize("names", [["key"], ["at"], ["rev", "raw"], ["owner"], ["big", "body", "key"]])
def test_what_is_asked_for_and_nothing_else(names: list[str]) -> None:
    row, static = stored(body="text", raw=b"", big=1), stored(owner=b"1")
    everything = shown(row, static)
    assert shown(row, static, names=names) == {name: everything[name] for name in names}


@pytest.mark.parametrize(
    ("row", "static", "names", "ttl_s"),
    [
        ({"body": Cell("x", NOW_S + 5), "raw": Cell(b"", NOW_S + 9)}, {}, None, 9),
        ({"body": Cell("x", NOW_S + 5), "raw": Cell(b"", NOW_S + 9)}, {}, ["body"], 5),
        ({"body": Cell("x", NOW_S + 5), "raw": Cell(b"", FOREVER)}, {}, None, 5),
        ({"body": Cell("x", FOREVER)}, {}, None, None),
        ({"tags": Cell([1], NOW_S + 5)}, {}, None, None),
        ({"body": Cell("x", NOW_S)}, {}, None, None),
        ({"body": Cell("x", NOW_S + 5)}, {"owner": Cell(b"1", NOW_S + 7)}, None, 7),
        ({"body": Cell("x", NOW_S + 5)}, {"owner": Cell(b"1", NOW_S + 7)}, ["body"], 5),
        ({"body": Cell("x", NOW_S + 5)}, {}, ["key"], None),
        ({}, {}, None, None),
    ],
)
def test_the_time_left(row: Any, static: Any, names: list[str] | None, ttl_s: int | None) -> None:
    assert shown(stored(**row), stored(**static), names=names, with_ttl=True)["_ttl"] == ttl_s


def test_the_revision_is_that_of_the_row() -> None:
    assert shown(stored(255), stored(256), with_revision=True)["_revision"] == "00000000000000ff"
    assert shown(None, stored(256), None, with_revision=True)["_revision"] == "0000000000000100"
    assert revision_text(Revision(2**64 - 1)) == "f" * 16


def test_many_rows_of_a_partition() -> None:
    rows = [KeyedRow(ClusteringKey(encode_all(TABLE.ranges, [rev, 0])), stored(body=str(rev)), None) for rev in (3, 2, 1)]
    items = RowShower(TABLE).show(PARTITION, rows, now_s=NOW_S)
    assert [(item["rev"], item["body"]) for item in items] == [(3, "3"), (2, "2"), (1, "1")]
    assert RowShower(TABLE).show(PARTITION, [], now_s=NOW_S) == []


# What a planner shows


def test_the_row_that_made_a_condition_fail() -> None:
    planner = planned(TABLE)
    there = planner.show_current(PARTITION, KeyedRow(PLACE, stored(7, body="x"), None), NOW_S)
    assert there is not None and (there["body"], there["_revision"]) == ("x", "0000000000000007")
    assert planner.show_current(PARTITION, KeyedRow(PLACE, None, stored(7, owner=b"1")), NOW_S) is None
    assert planner.show_current(PARTITION, KeyedRow(None, None, None), NOW_S) is None
    static = planner.show_current(PARTITION, KeyedRow(None, None, stored(7)), NOW_S)
    assert static is not None and static["_revision"] == "0000000000000007"


def changed(kind: ChangeKind, place: ClusteringKey | None, row: StoredRow | None, static: StoredRow | None = None) -> Any:
    change = Change(12, 1_500, kind, PARTITION, place, Revision(12), row, static)
    return orjson.loads(msgspec.json.encode(planned(TABLE).show_change(change)))


def test_a_change_shows_the_row_after_it() -> None:
    put = changed(ChangeKind.PUT, PLACE, stored(12, body=Cell("x", 61)), stored(3, owner=b"1"))
    head = {"id": 12, "at": "1970-01-01T00:00:01.500Z", "revision": "000000000000000c"}
    assert put == head | {"kind": "put", "row": NULLS | KEYS | {"body": "x", "owner": 1, "_ttl": 60}}
    assert changed(ChangeKind.DELETE, PLACE, None, stored(3, owner=b"1")) == head | {"kind": "delete", "row": KEYS}
    static = changed(ChangeKind.PUT, None, None, stored(12, owner=b"1"))
    assert static["row"] == NULLS | {"key": "k", "rev": None, "at": None, "owner": 1, "_ttl": None}


def test_what_a_change_shows_can_be_written_elsewhere() -> None:
    row = changed(ChangeKind.PUT, PLACE, stored(12, body=Cell("x", 61)), stored(3, owner=b"1"))["row"]
    (write,) = planned(TABLE).put({"attributes": row}, now_s=NOW_S).writes
    assert write.clustering == PLACE and write.expires_s == NOW_S + 60  # type: ignore[union-attr]


def test_a_partition_is_named_by_its_hash_columns() -> None:
    table = made("hash a string, hash b long, hash c json, regular v int")
    partition = PartitionKey(encode_all(table.hashes, ["x", 5, b"[1]"]))
    assert orjson.loads(msgspec.json.encode(planned(table).partition_values(partition))) == {"a": "x", "b": "5", "c": [1]}
    assert planned(table).partition_text(partition) == '{"a":"x","b":"5","c":[1]}'
    long = PartitionKey(encode_all(table.hashes, ["x" * 1000, 5, b"[1]"]))
    assert len(planned(table).partition_text(long)) == 200

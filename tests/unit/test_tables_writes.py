"""What a write becomes, and what it is refused for: always with the name of the column or member at fault."""

import hashlib
from typing import Any

import pytest
from tests.unit.tables_planning import LIMITS, SPACE, made, planned

from headwater.kernel.errors import HeadwaterError, InvalidInput, TooLarge
from headwater.tables.conditions import IMPOSSIBLE
from headwater.tables.encoding import encode_all
from headwater.tables.errors import WrongType
from headwater.tables.model import FOREVER, TTL_MAX_S, Condition, Discipline, Operator, Predicate, Put, Remove, Revision
from headwater.tables.planner import WritePlan

DECLARED = (
    "hash key string, range rev int desc, static owner string, static marks set<int>, "
    "regular body string, regular tags set<int>, regular data json, regular raw blob"
)
PAGES = made(DECLARED)
PLAIN = made(DECLARED, writes=Discipline.PLAIN)
EXPIRING = made(DECLARED, default_ttl_s=60)
SIMPLE = made("hash key string, regular v int")
KEY = {"key": "k", "rev": 5}
NOW_S = 1_000
REVISION = Revision(99)


def put(attributes: Any, table: Any = PAGES, given: Condition | None = None, /, **others: object) -> Put:
    plan = planned(table).put({"attributes": attributes, **others}, now_s=NOW_S, condition=given)
    (write,) = plan.writes
    assert isinstance(write, Put)
    return write


def named(cells: Any) -> dict[str, Any]:
    return {PAGES.by_id[id_].name: value for id_, value in cells.items()}


def refused(plan: Any, where: str, kind: type[HeadwaterError] = InvalidInput) -> HeadwaterError:
    with pytest.raises(kind) as caught:
        plan()
    assert type(caught.value) is kind
    assert caught.value.where == where
    return caught.value


# What a put becomes


def test_cells_by_column_and_null_clears() -> None:
    write = put({**KEY, "body": "text", "tags": [2, 1, 2], "data": None, "owner": "me", "marks": []})
    assert write.clustering == encode_all(PAGES.ranges, [5])
    assert named(write.cells) == {"body": "text", "tags": [1, 2], "data": None}
    assert named(write.statics) == {"owner": "me", "marks": None}
    assert (write.marker, write.expires_s, write.condition) == (False, FOREVER, None)


@pytest.mark.parametrize("regular", [{}, {"body": None}, {"tags": []}, {"owner": "me"}, {"body": None, "owner": "me"}])
def test_a_put_without_a_regular_value_sets_the_marker(regular: dict[str, Any]) -> None:
    write = put({**KEY, **regular})
    assert write.marker and write.clustering is not None


def test_a_put_of_what_does_not_exist_sets_the_marker() -> None:
    assert put({**KEY, "body": "x"}, **{"if": "not exists"}).marker
    assert put({**KEY, "body": "x"}, PAGES, Condition(exists=False)).marker
    assert not put({**KEY, "body": "x"}, PAGES, Condition(exists=True)).marker


def test_static_columns_can_be_written_alone() -> None:
    write = put({"key": "k", "owner": "me", "marks": None})
    assert (write.clustering, write.marker, named(write.statics)) == (None, False, {"owner": "me", "marks": None})


def test_a_table_without_range_columns_has_rows_of_their_own() -> None:
    write = put({"key": "k", "v": 1}, SIMPLE)
    assert (write.clustering, write.marker) == (b"", False)
    assert put({"key": "k"}, SIMPLE).marker


@pytest.mark.parametrize(
    ("table", "ttl", "expires_s"),
    [
        (PAGES, {}, FOREVER),
        (PAGES, {"_ttl": 0}, FOREVER),
        (PAGES, {"_ttl": None}, FOREVER),
        (PAGES, {"_ttl": 1}, NOW_S + 1),
        (PAGES, {"_ttl": TTL_MAX_S}, NOW_S + TTL_MAX_S),
        (EXPIRING, {}, NOW_S + 60),
        (EXPIRING, {"_ttl": None}, NOW_S + 60),
        (EXPIRING, {"_ttl": 5}, NOW_S + 5),
        (EXPIRING, {"_ttl": 0}, FOREVER),
    ],
)
def test_when_it_expires(table: Any, ttl: dict[str, Any], expires_s: int) -> None:
    assert put({**KEY, **ttl, "body": "x"}, table).expires_s == expires_s


# Refusals

BAD: list[tuple[Any, str, type[HeadwaterError]]] = [
    ({}, "key", InvalidInput),
    ({"rev": 5}, "key", InvalidInput),
    ({"key": "k"}, "rev", InvalidInput),
    ({"key": "k", "body": "x"}, "rev", InvalidInput),
    ({"key": "k", "body": "x", "owner": "me"}, "rev", InvalidInput),
    ({"key": None, "rev": 5}, "key", InvalidInput),
    ({"key": "k", "rev": None}, "rev", InvalidInput),
    ({"key": "k", "rev": None, "owner": "me"}, "rev", InvalidInput),
    ({"key": 5, "rev": 5}, "key", WrongType),
    ({"key": {"eq": "k"}, "rev": 5}, "key", WrongType),
    ({"key": "k", "rev": {"eq": 5}}, "rev", WrongType),
    ({"key": "k", "rev": 2**31}, "rev", WrongType),
    ({"key": "k", "rev": -(2**31) - 1}, "rev", WrongType),
    ({"key": "k", "rev": 5.0}, "rev", WrongType),
    ({"key": "k", "rev": True}, "rev", WrongType),
    ({"key": "k" * 63, "rev": 5}, "key", TooLarge),
    ({**KEY, "nothing": 1}, "nothing", InvalidInput),
    ({**KEY, "body": "x", "": 1}, "", InvalidInput),
    ({**KEY, "_revision": "x"}, "_revision", InvalidInput),
    ({**KEY, "_ttl_body": 1}, "_ttl_body", InvalidInput),
    ({**KEY, "x'); DROP TABLE rows; --": 1}, "x'); DROP TABLE rows; --", InvalidInput),
    ({**KEY, "n" * 5000: 1}, "n" * 100, InvalidInput),
    ({**KEY, "body": 1}, "body", WrongType),
    ({**KEY, "body": "\ud800"}, "body", WrongType),
    ({**KEY, "owner": ["me"]}, "owner", WrongType),
    ({**KEY, "marks": [[1]]}, "marks", WrongType),
    ({**KEY, "marks": 1}, "marks", WrongType),
    ({**KEY, "tags": [1, None]}, "tags", WrongType),
    ({**KEY, "data": float("nan")}, "data", WrongType),
    ({**KEY, "data": {"a": float("inf")}}, "data", WrongType),
    ({**KEY, "raw": "text"}, "raw", WrongType),
    ({**KEY, "body": "x" * 1001}, "body", TooLarge),
    ({**KEY, "owner": "x" * 1001}, "owner", TooLarge),
    ({**KEY, "raw": {"$base64": "AAAA" * 400}}, "raw", TooLarge),
    ({**KEY, "_ttl": -1}, "_ttl", InvalidInput),
    ({**KEY, "_ttl": TTL_MAX_S + 1}, "_ttl", InvalidInput),
    ({**KEY, "_ttl": 1.0}, "_ttl", WrongType),
    ({**KEY, "_ttl": "60"}, "_ttl", WrongType),
    ({**KEY, "_ttl": True}, "_ttl", WrongType),
    (None, "attributes", InvalidInput),
    ([], "attributes", InvalidInput),
]


@pytest.mark.parametrize(("attributes", "where", "kind"), BAD)
def test_a_put_is_refused_by_the_name_of_what_is_wrong(attributes: Any, where: str, kind: type[HeadwaterError]) -> None:
    refused(lambda: put(attributes), where, kind)


@pytest.mark.parametrize(("attributes", "where", "kind"), BAD)
def test_a_batch_is_refused_by_the_place_of_the_row_and_the_name(attributes: Any, where: str, kind: type[HeadwaterError]) -> None:
    rows = [{"attributes": {"key": "k", "rev": 1}}, {"attributes": attributes}]
    refused(lambda: planned(PAGES).batch({"rows": rows}, now_s=NOW_S), f"/rows/1/{where}", kind)


def test_ten_thousand_columns_are_refused_by_one_of_them() -> None:
    refused(lambda: put({**KEY, **{f"c{n}": n for n in range(10_000)}}), "c0")


def test_a_value_as_long_as_a_row_may_be_is_taken() -> None:
    assert named(put({**KEY, "body": "x" * 1000}).cells) == {"body": "x" * 1000}


def test_a_put_has_no_place_for_other_members() -> None:
    refused(lambda: put(KEY, timestamp=1), "timestamp")
    refused(lambda: put(KEY, limit=1), "limit")
    refused(lambda: put(KEY, table="other"), "table")
    assert put(KEY, table="pages").marker


# Conditions


@pytest.mark.parametrize("text", ["not exists", "NOT EXISTS", "  Not \n exists "])
def test_a_row_that_must_not_be_there(text: str) -> None:
    assert put({**KEY, "body": "x"}, **{"if": text}).condition == Condition(exists=False)


def predicate(name: str, operator: Operator, *operands: Any) -> Predicate:
    return Predicate(PAGES.by_name[name], operator, operands)


@pytest.mark.parametrize(
    ("condition", "predicates"),
    [
        ({"body": "x"}, [("body", Operator.EQ, "x")]),
        ({"body": None}, [("body", Operator.EQ, None)]),
        ({"body": {"eq": None}}, [("body", Operator.EQ, None)]),
        (
            {"body": {"GE": "a", "lt": "b"}, "owner": "me"},
            [("body", Operator.GE, "a"), ("body", Operator.LT, "b"), ("owner", Operator.EQ, "me")],
        ),
        ({"body": {"between": ["a", "b"]}}, [("body", Operator.BETWEEN, "a", "b")]),
        ({"tags": [2, 1]}, [("tags", Operator.EQ, [1, 2])]),
        ({"tags": {"eq": []}}, [("tags", Operator.EQ, None)]),
        ({"data": [1]}, [("data", Operator.EQ, b"[1]")]),
        ({"data": {"eq": {"b": 1, "a": 2}}}, [("data", Operator.EQ, b'{"a":2,"b":1}')]),
        ({"raw": {"$base64": "AA=="}}, [("raw", Operator.EQ, b"\0")]),
    ],
)
def test_conditions_over_columns(condition: Any, predicates: list[tuple[Any, ...]]) -> None:
    planned_condition = put({**KEY, "body": "y"}, **{"if": condition}).condition
    assert planned_condition == Condition(predicates=tuple(predicate(*entry) for entry in predicates))


@pytest.mark.parametrize(
    "condition",
    [{"rev": 5}, {"rev": {"gt": 4, "le": 5}}, {"key": "k"}, {"key": {"between": ["a", "z"]}, "rev": {"eq": 5}}],
)
def test_conditions_over_keys_that_hold_are_none(condition: Any) -> None:
    assert put({**KEY, "body": "y"}, **{"if": condition}).condition == Condition()
    both = put({**KEY, "body": "y"}, **{"if": {**condition, "body": "x"}}).condition
    assert both == Condition(predicates=(predicate("body", Operator.EQ, "x"),))


@pytest.mark.parametrize("condition", [{"rev": 6}, {"rev": {"lt": 5}}, {"key": "other", "body": "x"}, {"key": None}, {"rev": {"eq": None}}])
def test_conditions_over_keys_that_do_not_hold_cannot_be_met(condition: Any) -> None:
    for given in (None, Condition(exists=True), Condition(revision=REVISION)):
        assert put({**KEY, "body": "y"}, PAGES, given, **{"if": condition}).condition is IMPOSSIBLE


def test_conditions_of_headers_are_joined_with_those_of_the_body() -> None:
    over_body = predicate("body", Operator.EQ, "x")
    given = Condition(revision=REVISION)
    assert put(KEY, PAGES, given).condition == given
    assert put(KEY, PAGES, given, **{"if": {"body": "x"}}).condition == Condition(revision=REVISION, predicates=(over_body,))
    assert put(KEY, PAGES, Condition(exists=False), **{"if": "not exists"}).condition == Condition(exists=False)
    for contradiction in (given, Condition(exists=True)):
        assert put(KEY, PAGES, contradiction, **{"if": "not exists"}).condition is IMPOSSIBLE


@pytest.mark.parametrize(
    ("condition", "where", "kind"),
    [
        ("exists", "if", InvalidInput),
        ("notexists", "if", InvalidInput),
        (None, "if", InvalidInput),
        ({}, "if", InvalidInput),
        ([], "if", InvalidInput),
        (True, "if", InvalidInput),
        ({"nothing": 1}, "nothing", InvalidInput),
        ({"_ttl": 1}, "_ttl", InvalidInput),
        ({"body": 1}, "body", WrongType),
        ({"body": {"gt": None}}, "body", InvalidInput),
        ({"body": {"like": "x"}}, "body", InvalidInput),
        ({"body": {}}, "body", InvalidInput),
        ({"tags": {"gt": [1]}}, "tags", InvalidInput),
        ({"tags": {"contains": 1}}, "tags", InvalidInput),
        ({"data": {"a": 1}}, "data", InvalidInput),
        ({"data": {}}, "data", InvalidInput),
        ({"rev": "5"}, "rev", WrongType),
        ({"rev": {"between": [1]}}, "rev", InvalidInput),
    ],
)
def test_a_condition_that_breaks_a_rule_is_refused(condition: Any, where: str, kind: type[HeadwaterError]) -> None:
    refused(lambda: put({**KEY, "body": "x"}, **{"if": condition}), where, kind)


def test_a_write_of_static_columns_has_no_range_column_to_compare() -> None:
    refused(lambda: put({"key": "k", "owner": "me"}, **{"if": {"rev": 5}}), "rev")
    assert put({"key": "k", "owner": "me"}, **{"if": {"owner": "you", "key": "k"}}).condition is not None


def test_a_table_of_plain_writes_takes_no_condition() -> None:
    assert "conditional" in refused(lambda: put(KEY, PLAIN, **{"if": "not exists"}), "if").detail
    refused(lambda: put(KEY, PLAIN, **{"if": {}}), "if")
    refused(lambda: put(KEY, PLAIN, Condition(revision=REVISION)), "if-match")
    refused(lambda: put(KEY, PLAIN, Condition(exists=False)), "if-none-match")
    refused(lambda: put(KEY, PLAIN, write_id="w"), "write_id")
    refused(lambda: planned(PLAIN).delete({"attributes": KEY, "if": {"body": "x"}}, space=SPACE), "if")
    refused(lambda: planned(PLAIN).batch({"rows": [{"attributes": KEY, "if": "not exists"}]}, now_s=1), "/rows/0/if")


# Deletes under a condition


def removal(given: Condition | None = None, /, **others: object) -> Remove:
    plan = planned(PAGES).delete({"attributes": KEY, **others}, space=SPACE, condition=given)
    assert isinstance(plan, WritePlan)
    (write,) = plan.writes
    assert isinstance(write, Remove)
    return write


def test_the_delete_of_a_row_takes_conditions() -> None:
    assert removal(Condition(exists=True)).condition == Condition(exists=True)
    assert removal(**{"if": {"body": "x"}}).condition == Condition(predicates=(predicate("body", Operator.EQ, "x"),))
    assert removal(Condition(revision=REVISION), **{"if": {"rev": 4}}).condition is IMPOSSIBLE
    refused(lambda: removal(**{"if": "not exists"}), "if")
    refused(lambda: removal(Condition(exists=False)), "if-none-match")


# write_id


def planned_with(write_id: object, attributes: Any = KEY, **others: object) -> WritePlan:
    return planned(PAGES).put({"attributes": attributes, "write_id": write_id, **others}, now_s=NOW_S)


@pytest.mark.parametrize("write_id", ["a", "!" * 128, "urn:uuid:1~"])
def test_a_write_id_comes_with_a_digest_of_the_write(write_id: str) -> None:
    plan = planned_with(write_id)
    assert plan.write_id == write_id
    assert len(plan.digest) == hashlib.sha256().digest_size
    assert plan.digest == planned_with("other", dict(reversed(KEY.items())), table="pages").digest


@pytest.mark.parametrize("write_id", ["", "a b", "é", "a\n", "x" * 129, 1, None, ["a"], "\ud800"])
def test_no_other_write_id(write_id: object) -> None:
    refused(lambda: planned_with(write_id), "write_id")


def test_another_write_has_another_digest() -> None:
    planner = planned(PAGES)
    removed = planner.delete({"attributes": KEY, "write_id": "w"}, space=SPACE)
    assert isinstance(removed, WritePlan)
    plans = [
        planned_with("w"),
        planned_with("w", {**KEY, "body": "x"}),
        planned_with("w", {**KEY, "body": None}),
        planned_with("w", {**KEY, "_ttl": 1}),
        planned_with("w", **{"if": "not exists"}),
        planner.put({"attributes": KEY, "write_id": "w"}, now_s=1, condition=Condition(exists=True)),
        planner.put({"attributes": KEY, "write_id": "w"}, now_s=1, condition=Condition(revision=REVISION)),
        planner.batch({"rows": [{"attributes": KEY}], "write_id": "w"}, now_s=1),
        removed,
    ]
    assert len({plan.digest for plan in plans}) == len(plans)


# Batches


def batch(*rows: Any, **others: object) -> WritePlan:
    return planned(PAGES).batch({"rows": list(rows), **others}, now_s=NOW_S)


def row(rev: int, **others: object) -> dict[str, object]:
    return {"attributes": {"key": "k", "rev": rev}, **others}


def test_rows_and_deletes_of_one_partition() -> None:
    plan = batch(row(1), row(2, delete=True), {"attributes": {"key": "k", "owner": "me"}, "if": {"owner": None}, "delete": False})
    assert [type(write) for write in plan.writes] == [Put, Remove, Put]
    assert plan.writes[2].clustering is None and plan.writes[2].condition is not None
    assert plan.partition == encode_all(PAGES.hashes, ["k"])


def test_a_static_column_may_be_repeated_with_the_same_value() -> None:
    rows = [{"attributes": {"key": "k", "rev": rev, "owner": "me"}} for rev in (1, 2)]
    assert len(batch(*rows).writes) == 2
    other = {"attributes": {"key": "k", "rev": 3, "owner": "you"}}
    refused(lambda: batch(*rows, other), "/rows/2/owner")


@pytest.mark.parametrize(
    ("rows", "where", "kind"),
    [
        ([], "rows", InvalidInput),
        (None, "rows", InvalidInput),
        ({}, "rows", InvalidInput),
        ([row(n) for n in range(LIMITS.batch_rows_max + 1)], "rows", TooLarge),
        ([row(1), {"attributes": {"key": "other", "rev": 1}}], "/rows/1/key", InvalidInput),
        ([row(1), row(1)], "/rows/1/rev", InvalidInput),
        ([row(1), row(1, delete=True)], "/rows/1/rev", InvalidInput),
        ([1], "/rows/0", InvalidInput),
        ([row(1, delete=1)], "/rows/0/delete", InvalidInput),
        ([row(1, write_id="w")], "/rows/0/write_id", InvalidInput),
        ([row(1, delete=True, **{"if": "not exists"})], "/rows/0/if", InvalidInput),
        ([{"attributes": {"key": "k"}, "delete": True}], "/rows/0/rev", InvalidInput),
        ([{"attributes": {"key": "k", "rev": 1, "body": "x"}, "delete": True}], "/rows/0/body", InvalidInput),
        ([{"attributes": {"key": "k", "rev": 1, "x": "x"}, "delete": True}], "/rows/0/x", InvalidInput),
    ],
)
def test_no_other_batch(rows: Any, where: str, kind: type[HeadwaterError]) -> None:
    refused(lambda: planned(PAGES).batch({"rows": rows}, now_s=NOW_S), where, kind)


def test_a_batch_has_no_place_for_other_members() -> None:
    refused(lambda: batch(row(1), attributes={}), "attributes")
    refused(lambda: batch(row(1), **{"if": "not exists"}), "if")
    assert len(batch(*(row(n) for n in range(LIMITS.batch_rows_max)), table="pages").writes) == LIMITS.batch_rows_max

"""What a query or a delete of rows becomes, and what it is refused for: always with the name of the column or member at fault."""

from itertools import permutations
from typing import Any

import pytest
from tests.unit.tables_planning import LIMITS, SPACE, TID, TOKENS, asked, made, planned

from headwater.kernel.errors import HeadwaterError, InvalidInput, TooLarge
from headwater.tables.encoding import after_prefix, encode_all
from headwater.tables.errors import InvalidPagingToken, WrongType
from headwater.tables.model import ClusteringKey, KeyedRow, Slice, SpaceId, StoredRow
from headwater.tables.planner import WritePlan

PAGES = made(
    "hash key string, range rev int desc, range tid timeuuid desc, static owner string, regular body string, regular tags set<int>"
)
POINTS = made("hash a string, hash b long, regular v json")
BLOBS = made("hash key string, range b blob, range j json, regular v int")


def sliced(attributes: dict[str, Any], /, **others: object) -> Slice:
    slice = asked(PAGES, {"key": "k", **attributes}, **others).slice
    assert slice is not None
    return slice


def key(*values: Any) -> bytes:
    return encode_all(PAGES.ranges, values)


# What a query becomes


def test_a_whole_partition() -> None:
    slice = sliced({})
    assert (slice.space, slice.partition) == (SPACE, encode_all(PAGES.hashes, ["k"]))
    assert (slice.lower, slice.upper, slice.point, slice.whole, slice.backwards) == (b"", None, False, True, False)
    assert (slice.limit, slice.after, slice.bytes_max) == (LIMITS.limit_default, None, LIMITS.answer_bytes_max)
    assert slice.statics


def test_a_prefix_of_the_clustering_key() -> None:
    slice = sliced({"rev": 5})
    assert (slice.lower, slice.upper, slice.point, slice.whole) == (key(5), after_prefix(key(5)), False, False)


@pytest.mark.parametrize("rev", [5, {"eq": 5}, {"EQ": 5}])
def test_a_row(rev: object) -> None:
    slice = sliced({"rev": rev, "tid": TID})
    assert slice.point and not slice.whole
    assert slice.lower == key(5, bytes.fromhex(TID.replace("-", "")))
    assert slice.upper is not None and slice.lower < slice.upper


def test_a_row_of_a_table_without_range_columns() -> None:
    query = asked(POINTS, {"b": "9", "a": "x"})
    assert query.slice is not None and query.slice.point and query.slice.lower == b"" and not query.slice.statics
    assert query.slice.partition == encode_all(POINTS.hashes, ["x", 9])


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("bounds", list(permutations([("ge", 3), ("gt", 5), ("lt", 9), ("between", [1, 7])])))
def test_the_tighter_of_two_bounds_counts(bounds: Any, order: str) -> None:
    table = made(f"hash key string, range rev int {order}, regular v int")
    found, wanted = (asked(table, {"key": "k", "rev": rev}).slice for rev in (dict(bounds), {"GT": 5, "Le": 7}))
    assert found == wanted is not None


def test_bounds_of_a_descending_column_are_reversed_as_bytes() -> None:
    slice = sliced({"rev": {"ge": 3, "lt": 9}})
    assert (slice.lower, slice.upper) == (after_prefix(key(9)), after_prefix(key(3)))


@pytest.mark.parametrize("rev", [{"lt": 1, "gt": 1}, {"between": [5, 4]}, {"lt": -(2**31)}])
def test_bounds_that_contradict_each_other_find_nothing(rev: object) -> None:
    assert asked(PAGES, {"key": "k", "rev": rev}).slice is None
    assert planned(PAGES).delete({"attributes": {"key": "k", "rev": rev}}, space=SPACE) is None


def test_where_nothing_was_ever_written_nothing_is_found_and_bad_input_is_refused_all_the_same() -> None:
    planner = planned(PAGES)
    assert planner.query({"attributes": {"key": "k"}}, space=None, tokens=TOKENS).slice is None
    with pytest.raises(InvalidInput):
        planner.query({"attributes": {}}, space=None, tokens=TOKENS)


@pytest.mark.parametrize(
    ("said", "order", "backwards"),
    [
        ({}, {}, False),
        ({}, {"rev": "desc"}, False),
        ({}, {"rev": "asc"}, True),
        ({}, {"rev": "desc", "tid": "desc"}, False),
        ({}, {"tid": "asc", "rev": "asc"}, True),
        ({"rev": 1}, {"tid": "asc"}, True),
        ({"rev": 1}, {"tid": "desc"}, False),
        ({"rev": 1, "tid": TID}, {"rev": "asc"}, True),
    ],
)
def test_the_declared_order_or_its_reverse(said: dict[str, Any], order: dict[str, str], backwards: bool) -> None:
    assert sliced(said, order=order).backwards is backwards


@pytest.mark.parametrize(
    ("order", "where"),
    [
        ({"tid": "asc"}, "tid"),
        ({"rev": "asc", "tid": "desc"}, "tid"),
        ({"rev": "desc", "tid": "asc"}, "tid"),
        ({"key": "asc"}, "key"),
        ({"body": "asc"}, "body"),
        ({"nothing": "asc"}, "nothing"),
        ({"rev": "up"}, "rev"),
        ({"rev": ["asc"]}, "rev"),
        ({"rev": None}, "rev"),
        ("rev", "order"),
        (["rev"], "order"),
        (None, "order"),
    ],
)
def test_no_other_order(order: object, where: str) -> None:
    refused(lambda: asked(PAGES, {"key": "k"}, order=order), where)


@pytest.mark.parametrize("limit", [1, LIMITS.limit_max])
def test_a_limit(limit: int) -> None:
    assert sliced({}, limit=limit).limit == limit


@pytest.mark.parametrize("limit", [0, -1, LIMITS.limit_max + 1, 1.0, "1", True, None, [1], 2**70])
def test_no_other_limit(limit: object) -> None:
    refused(lambda: asked(PAGES, {"key": "k"}, limit=limit), "limit")


def test_the_static_row_matters_where_it_is_shown_or_may_be_all_there_is() -> None:
    assert not sliced({"rev": 1}, proj=["body"]).statics
    assert sliced({"rev": 1}, proj=["body", "owner"]).statics
    assert sliced({}, proj=["body"]).statics


@pytest.mark.parametrize("proj", ["body", ["body"], ["body", "body"]])
def test_a_projection(proj: object) -> None:
    query = asked(PAGES, {"key": "k"}, proj=proj)
    assert query.show([KeyedRow(ClusteringKey(key(1, bytes(16))), None, None)], 1) == [{"body": None}]


@pytest.mark.parametrize(
    ("proj", "where"),
    [
        ("nothing", "nothing"),
        (["body", "x; DROP TABLE data"], "x; DROP TABLE data"),
        ([], "proj"),
        ([1], "proj"),
        ({}, "proj"),
        (None, "proj"),
    ],
)
def test_no_other_projection(proj: object, where: str) -> None:
    refused(lambda: asked(PAGES, {"key": "k"}, proj=proj), where)


def test_what_else_is_shown() -> None:
    query = asked(PAGES, {"key": "k"}, proj="key", withTTL=True, withRevision=True)
    row = KeyedRow(ClusteringKey(key(1, bytes(16))), StoredRow(255, {}), None)  # type: ignore[arg-type]
    assert query.show([row], 1) == [{"key": "k", "_ttl": None, "_revision": "00000000000000ff"}]
    for name in ("withTTL", "withRevision"):
        refused(lambda name=name: asked(PAGES, {"key": "k"}, **{name: 1}), name)


# Refusals


def refused(plan: Any, where: str, kind: type[HeadwaterError] = InvalidInput) -> HeadwaterError:
    with pytest.raises(kind) as caught:
        plan()
    assert type(caught.value) is kind
    assert caught.value.where == where
    return caught.value


SELECTIONS: list[tuple[dict[str, Any], str, type[HeadwaterError]]] = [
    ({}, "key", InvalidInput),
    ({"rev": 1}, "key", InvalidInput),
    ({"key": None}, "key", InvalidInput),
    ({"key": {"eq": None}}, "key", InvalidInput),
    ({"key": 1}, "key", WrongType),
    ({"key": "\ud800"}, "key", WrongType),
    ({"key": ["k"]}, "key", WrongType),
    ({"key": {"gt": "a"}}, "key", InvalidInput),
    ({"key": {"between": ["a", "b"]}}, "key", InvalidInput),
    ({"key": {"eq": "a", "ge": "a"}}, "key", InvalidInput),
    ({"key": {"eq": "a", "EQ": "a"}}, "key", InvalidInput),
    ({"key": {}}, "key", InvalidInput),
    ({"key": {"like": "a"}}, "key", InvalidInput),
    ({"key": {"eq": "a", "more": 1}}, "key", InvalidInput),
    ({"key": "k" * 63}, "key", TooLarge),
    ({"key": {"eq": "k" * 63}}, "key", TooLarge),
    ({"key": "k", "tid": TID}, "tid", InvalidInput),
    ({"key": "k", "tid": {"lt": TID}}, "tid", InvalidInput),
    ({"key": "k", "rev": {"lt": 5}, "tid": TID}, "tid", InvalidInput),
    ({"key": "k", "rev": {"lt": 5}, "tid": {"lt": TID}}, "tid", InvalidInput),
    ({"key": "k", "rev": {"eq": 1, "lt": 5}}, "rev", InvalidInput),
    ({"key": "k", "rev": None}, "rev", InvalidInput),
    ({"key": "k", "rev": {"lt": None}}, "rev", InvalidInput),
    ({"key": "k", "rev": {"between": [1]}}, "rev", InvalidInput),
    ({"key": "k", "rev": {"between": [1, 2, 3]}}, "rev", InvalidInput),
    ({"key": "k", "rev": {"between": [1, None]}}, "rev", InvalidInput),
    ({"key": "k", "rev": {"between": 1}}, "rev", InvalidInput),
    ({"key": "k", "rev": {"between": [1, "2"]}}, "rev", WrongType),
    ({"key": "k", "rev": 2**31}, "rev", WrongType),
    ({"key": "k", "rev": {"ge": 2**31}}, "rev", WrongType),
    ({"key": "k", "rev": "1"}, "rev", WrongType),
    ({"key": "k", "rev": float("nan")}, "rev", WrongType),
    ({"key": "k", "rev": float("inf")}, "rev", WrongType),
    ({"key": "k", "rev": 1, "tid": "d2177dd0-eaa2-41de-a572-001b779c76e3"}, "tid", WrongType),
    ({"key": "k", "body": "x"}, "body", InvalidInput),
    ({"key": "k", "owner": "x"}, "owner", InvalidInput),
    ({"key": "k", "tags": [1]}, "tags", InvalidInput),
    ({"key": "k", "_ttl": 1}, "_ttl", InvalidInput),
    ({"key": "k", "'; DROP TABLE rows; --": 1}, "'; DROP TABLE rows; --", InvalidInput),
    ({"key": "k", "n" * 5000: 1}, "n" * 100, InvalidInput),
]


@pytest.mark.parametrize(("attributes", "where", "kind"), SELECTIONS)
def test_a_query_and_a_delete_are_refused_what_cql_refuses(attributes: dict[str, Any], where: str, kind: type[HeadwaterError]) -> None:
    planner = planned(PAGES)
    refused(lambda: planner.query({"attributes": attributes}, space=SPACE, tokens=TOKENS), where, kind)
    refused(lambda: planner.delete({"attributes": attributes}, space=SPACE), where, kind)


def test_ten_thousand_columns_are_refused_by_one_of_them() -> None:
    attributes = {"key": "k", **{f"c{n}": n for n in range(10_000)}}
    with pytest.raises(InvalidInput) as caught:
        asked(PAGES, attributes)
    assert caught.value.where in attributes


def test_a_key_at_its_limit_is_taken() -> None:
    assert asked(PAGES, {"key": "k" * 62}).slice is not None  # and two bytes of its end
    blob = {"$base64": "A" * 80}  # 60 bytes of zeros, each written as two
    refused(lambda: asked(BLOBS, {"key": "k", "b": blob}), "b", TooLarge)
    refused(lambda: asked(BLOBS, {"key": "k", "b": {"ge": blob}}), "b", TooLarge)
    refused(lambda: asked(BLOBS, {"key": "k", "b": blob, "j": 1}), "b", TooLarge)


@pytest.mark.parametrize("attributes", [None, [], "key", 1])
def test_attributes_are_an_object(attributes: Any) -> None:
    refused(lambda: asked(PAGES, attributes), "attributes")


def test_attributes_are_needed() -> None:
    refused(lambda: planned(PAGES).query({}, space=SPACE, tokens=TOKENS), "attributes")


@pytest.mark.parametrize(
    ("member", "why"),
    [("consistency", "deployment"), ("timestamp", "time"), ("index", "fed"), ("distinct", "one partition"), ("filter", "body has")],
)
def test_members_that_mean_nothing_here_are_refused_with_the_reason(member: str, why: str) -> None:
    planner = planned(PAGES)
    body = {"attributes": {"key": "k"}, member: True}
    assert why in refused(lambda: planner.query(body, space=SPACE, tokens=TOKENS), member).detail
    assert why in refused(lambda: planner.delete(body, space=SPACE), member).detail
    assert why in refused(lambda: planner.put(body, now_s=1), member).detail


def test_the_name_of_the_table_may_be_repeated_and_no_other_given() -> None:
    assert sliced({}, table="pages").whole
    for other in ("data", "", None, 1, ["pages"]):
        refused(lambda other=other: asked(PAGES, {"key": "k"}, table=other), "table")


# Values that are objects


def test_a_blob_as_a_key_may_stand_bare() -> None:
    bare, wrapped = (asked(BLOBS, {"key": "k", "b": said}).slice for said in ({"$base64": "AA=="}, {"eq": {"$base64": "AA=="}}))
    assert bare == wrapped is not None
    assert asked(BLOBS, {"key": "k", "b": {"ge": {"$base64": "AA=="}}}).slice != bare
    refused(lambda: asked(BLOBS, {"key": "k", "b": {"$base64": "A"}}), "b", WrongType)


def test_an_object_as_a_key_is_wrapped_and_other_json_is_not() -> None:
    blob = {"$base64": ""}
    for bare in (1, "x", [1], False):
        assert asked(BLOBS, {"key": "k", "b": blob, "j": bare}).slice == asked(BLOBS, {"key": "k", "b": blob, "j": {"eq": bare}}).slice
    assert asked(BLOBS, {"key": "k", "b": blob, "j": {"eq": {"a": 1}}}).slice is not None
    detail = refused(lambda: asked(BLOBS, {"key": "k", "b": blob, "j": {"a": 1}}), "j").detail
    assert "eq" in detail


def test_equal_json_is_one_key_however_its_members_are_ordered() -> None:
    one, other = ({"key": "k", "b": {"$base64": ""}, "j": {"eq": value}} for value in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert asked(BLOBS, one).slice == asked(BLOBS, other).slice


# Paging


def test_a_token_leads_on_whatever_is_shown_and_however_much() -> None:
    first = asked(PAGES, {"key": "k", "rev": {"ge": 1}}, limit=2)
    token = first.token(ClusteringKey(b"place"))
    again = asked(PAGES, {"key": {"eq": "k"}, "rev": {"GE": 1}}, limit=3, proj="body", withTTL=True, next=token)
    assert again.slice is not None and again.slice.after == b"place"
    assert asked(PAGES, {"key": "k", "rev": {"ge": 1}}, next=token).slice is not None


@pytest.mark.parametrize(
    ("attributes", "others"),
    [
        ({"key": "other"}, {}),
        ({"key": "k", "rev": {"ge": 1}}, {}),
        ({"key": "k", "rev": 1}, {}),
        ({"key": "k"}, {"order": {"rev": "asc"}}),
    ],
)
def test_a_token_is_refused_by_another_query(attributes: dict[str, Any], others: dict[str, Any]) -> None:
    token = asked(PAGES, {"key": "k"}).token(ClusteringKey(b"place"))
    refused(lambda: asked(PAGES, attributes, next=token, **others), "next", InvalidPagingToken)


def test_a_token_is_refused_in_another_space() -> None:
    token = asked(PAGES, {"key": "k"}).token(ClusteringKey(b"place"))
    for space in (SpaceId(8), None):
        body = {"attributes": {"key": "k"}, "next": token}
        refused(lambda body=body, space=space: planned(PAGES).query(body, space=space, tokens=TOKENS), "next", InvalidPagingToken)


@pytest.mark.parametrize("token", [None, 1, "", "AQ", "no token", "é", "\ud800", [], True])
def test_what_is_no_token_is_refused(token: object) -> None:
    refused(lambda: asked(PAGES, {"key": "k"}, next=token), "next", InvalidPagingToken)


# Deletes


def test_the_delete_of_a_row_is_a_write() -> None:
    plan = planned(PAGES).delete({"attributes": {"key": "k", "rev": {"eq": 5}, "tid": TID}}, space=SPACE)
    assert isinstance(plan, WritePlan)
    assert plan.partition == encode_all(PAGES.hashes, ["k"])
    assert plan.writes[0].clustering == key(5, bytes.fromhex(TID.replace("-", "")))
    assert plan.writes[0].condition is None


def test_the_delete_of_more_is_a_slice_of_a_bounded_number_of_rows() -> None:
    planner = planned(PAGES)
    partition = planner.delete({"attributes": {"key": "k"}}, space=SPACE)
    older = planner.delete({"attributes": {"key": "k", "rev": {"lt": 5}}}, space=SPACE)
    assert isinstance(partition, Slice) and isinstance(older, Slice)
    assert (partition.whole, partition.statics, partition.limit) == (True, True, LIMITS.clear_rows_max)
    assert (older.whole, older.statics, older.lower, older.upper) == (False, False, after_prefix(key(5)), None)
    assert planner.delete({"attributes": {"key": "k"}}, space=None) is None


@pytest.mark.parametrize(("member", "value"), [("if", {"body": 1}), ("write_id", "w")])
def test_a_delete_of_more_takes_no_condition(member: str, value: object) -> None:
    refused(lambda: planned(PAGES).delete({"attributes": {"key": "k"}, member: value}, space=SPACE), member)

"""What a schema has to look like, which element a refusal names, and what the normal form is."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from headwater.kernel.errors import InvalidInput, TooLarge
from headwater.tables.model import TTL_MAX_S, ColumnType, Discipline, Kind, Options, Role
from headwater.tables.schema import NAME_CHARS_MAX, Draft, Element, check, check_name, dump, load, pointer

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    columns_max: int = 256
    schema_bytes_max: int = 256 * 1024
    partition_bytes_max: int = 100 * MIB


SMALLEST: dict[str, object] = {"attributes": {"key": "string"}, "index": [{"attribute": "key", "type": "hash"}]}
KEY_VALUE: dict[str, object] = {
    "table": "kv",
    "version": 5001,
    "options": {"compression": [{"algorithm": "deflate", "block_size": 256}], "updates": {"pattern": "timeseries"}},
    "attributes": {"key": "string", "tid": "timeuuid", "headers": "json", "value": "blob"},
    "index": [{"attribute": "key", "type": "hash"}],
}
TITLE_REVISIONS: dict[str, object] = {
    "table": "title_revisions-ng",
    "attributes": {
        "title": "string",
        "rev": "int",
        "page_deleted": "int",
        "page_id": "int",
        "tid": "timeuuid",
        "namespace": "int",
        "restrictions": "set<string>",
        "tags": "set<string>",
        "timestamp": "timestamp",
        "redirect": "boolean",
    },
    "index": [
        {"attribute": "title", "type": "hash"},
        {"attribute": "rev", "type": "range", "order": "desc"},
        {"attribute": "page_deleted", "type": "static"},
    ],
}
TIMELINE: dict[str, object] = {
    "table": "revision-timeline",
    "version": 2,
    "options": {"durability": "low", "default_time_to_live": 864_000},
    "attributes": {"key": "string", "ts": "timestamp", "rev": "int"},
    "index": [{"attribute": "key", "type": "hash"}, {"attribute": "ts", "type": "range", "order": "desc"}],
}


def draft(body: Mapping[str, object], *, name: str | None = None, limits: Limits = Limits()) -> Draft:
    table = name or body.get("table", "t")
    assert isinstance(table, str)
    return check(body, name=table, limits=limits)


def refusal(body: Mapping[str, object], **changes: object) -> tuple[str | None, str]:
    with pytest.raises(InvalidInput) as caught:
        draft({**body, **changes})
    return caught.value.where, caught.value.detail


# RESTBase's own


def test_the_smallest_schema_is_a_table_of_conditional_writes_in_version_1() -> None:
    found = draft(SMALLEST)
    assert (found.name, found.version, found.options, found.ignored) == ("t", 1, Options(), ())
    assert found.options.writes is Discipline.CONDITIONAL and not found.options.changes
    assert found.schema == {"table": "t", "version": 1, "options": {}, **SMALLEST}


def test_the_bucket_of_values_loads_and_says_which_of_its_options_do_nothing() -> None:
    found = draft(KEY_VALUE)
    assert found.schema == KEY_VALUE
    assert found.ignored == ("compression", "updates")
    assert found.elements[0] == Element("key", ColumnType(Kind.STRING), Role.HASH)
    assert {element.role for element in found.elements[1:]} == {Role.REGULAR}


def test_the_table_of_revisions_loads_with_its_static_column_and_its_sets() -> None:
    found = draft(TITLE_REVISIONS)
    assert found.elements[:3] == (
        Element("title", ColumnType(Kind.STRING), Role.HASH),
        Element("page_deleted", ColumnType(Kind.INT), Role.STATIC),
        Element("rev", ColumnType(Kind.INT), Role.RANGE, descending=True),
    )
    assert Element("tags", ColumnType(Kind.STRING, is_set=True), Role.REGULAR) in found.elements
    assert [entry["type"] for entry in index_of(found)] == ["hash", "static", "range"]


def test_a_timeline_loads_with_its_expiry() -> None:
    found = draft(TIMELINE)
    assert found.options.default_ttl_s == 864_000 and found.ignored == ("durability",)


def test_a_retention_policy_of_old_is_named_as_ignored() -> None:
    found = draft({**KEY_VALUE, "revisionRetentionPolicy": {"type": "latest", "count": 1, "grace_ttl": 86400}})
    assert found.ignored == ("compression", "updates", "revisionRetentionPolicy")
    assert "revisionRetentionPolicy" in found.schema


# The normal form


def index_of(found: Draft) -> list[dict[str, str]]:
    index = found.schema["index"]
    assert isinstance(index, list)
    return index


def test_the_index_is_put_in_order_and_keeps_the_order_of_each_role() -> None:
    names = ("r1", "s1", "h1", "r2", "s2", "h2")
    roles = {"r": "range", "s": "static", "h": "hash"}
    index = [{"attribute": name, "type": roles[name[0]]} for name in names]
    found = draft({"attributes": dict.fromkeys(names, "int"), "index": index})
    assert [entry["attribute"] for entry in index_of(found)] == ["h1", "h2", "s1", "s2", "r1", "r2"]


def test_what_was_sent_is_not_changed() -> None:
    index = [{"attribute": "r", "type": "range"}, {"attribute": "h", "type": "hash"}]
    body = {"attributes": {"r": "int", "h": "int"}, "index": index, "writes": "plain"}
    before = repr(body)
    draft(body)
    assert repr(body) == before


def test_keys_that_mean_nothing_here_are_kept() -> None:
    others = {"domain": "en.example", "description": {"by": ["team", 1]}, "_config_version": 3}
    found = draft({**SMALLEST, **others})
    assert found.schema.items() >= others.items()
    assert load(dump(found.schema)) == found.schema


@pytest.mark.parametrize("spelling", ["beside", "among", "both"])
def test_writes_and_changes_stand_beside_the_options_or_among_them(spelling: str) -> None:
    said = {"writes": "plain", "changes": True}
    body: dict[str, object] = dict(SMALLEST)
    if spelling != "among":
        body |= said
    if spelling != "beside":
        body["options"] = said
    found = draft(body)
    assert found.options == Options(writes=Discipline.PLAIN, changes=True)
    assert found.schema["options"] == said
    assert ("writes" in found.schema) == (spelling != "among")


def test_every_option_reaches_the_table() -> None:
    options = {"writes": "plain", "changes": True, "default_time_to_live": TTL_MAX_S, "partition_bytes_max": 100 * MIB}
    assert draft({**SMALLEST, "options": options}).options == Options(Discipline.PLAIN, True, TTL_MAX_S, 100 * MIB)


# Refusals name the element

WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"attributes": None}, "/attributes", "object"),
    ({"attributes": []}, "/attributes", "object"),
    ({"attributes": {}}, "/attributes", "object"),
    ({"attributes": {"key": "text"}}, "/attributes/key", ""),
    ({"attributes": {"key": "set<set<string>>"}}, "/attributes/key", ""),
    ({"attributes": {"key": "map<string>"}}, "/attributes/key", ""),
    ({"attributes": {"key": 7}}, "/attributes/key", "string"),
    ({"attributes": {"key": None}}, "/attributes/key", "string"),
    ({"attributes": {"key": "string", "": "int"}}, "/attributes/", "not empty"),
    ({"attributes": {"key": "string", "_ttl": "int"}}, "/attributes/_ttl", "begin with _"),
    ({"attributes": {"key": "string", "a\nb": "int"}}, "/attributes/…", "printable"),
    ({"attributes": {"key": "string", "a\x00": "int"}}, "/attributes/…", "printable"),
    ({"attributes": {"key": "string", "\ud800": "int"}}, "/attributes/…", "printable"),
    ({"attributes": {"key": "string", "x" * 129: "int"}}, "/attributes/…", "128"),
    ({"attributes": {"key": "string", "a/b~c": "text"}}, "/attributes/a~1b~0c", ""),
    ({"index": None}, "/index", "array"),
    ({"index": {}}, "/index", "array"),
    ({"index": []}, "/index", "array"),
    ({"index": ["key"]}, "/index/0", "object"),
    ({"index": [{"type": "hash"}]}, "/index/0/attribute", "names"),
    ({"index": [{"attribute": 1, "type": "hash"}]}, "/index/0/attribute", "names"),
    ({"index": [{"attribute": "key"}]}, "/index/0/type", "hash, range or static"),
    ({"index": [{"attribute": "key", "type": "hahs"}]}, "/index/0/type", "did you mean hash?"),
    ({"index": [{"attribute": "key", "type": "proj"}]}, "/index/0/type", "secondary"),
    ({"index": [{"attribute": "key", "type": "hash", "order": "asc"}]}, "/index/0/order", "no order"),
    ({"index": [{"attribute": "key", "type": "hash", "ordre": "asc"}]}, "/index/0", "did you mean order?"),
    ({"index": [{"attribute": "kye", "type": "hash"}]}, "/index/0/attribute", "kye is not in attributes"),
    ({"index": [{"attribute": "key", "type": "hash"}] * 2}, "/index/1/attribute", "twice"),
    ({"index": [{"attribute": "key", "type": "hash"}] * 3}, "/index", "more elements"),
    ({"index": [{"attribute": "key", "type": "range"}]}, "/index", "no hash"),
    ({"version": 0}, "/version", "positive"),
    ({"version": -1}, "/version", "positive"),
    ({"version": "1"}, "/version", "positive"),
    ({"version": 1.0}, "/version", "positive"),
    ({"version": True}, "/version", "positive"),
    ({"version": None}, "/version", "positive"),
    ({"version": 2**63}, "/version", "positive"),
    ({"options": None}, "/options", "object"),
    ({"options": []}, "/options", "object"),
    ({"options": {"default_time_to_life": 1}}, "/options/default_time_to_life", "did you mean default_time_to_live?"),
    ({"options": {"gc_grace": 1}}, "/options/gc_grace", "known are writes"),
    ({"options": {"writes": "fast"}}, "/options/writes", "conditional or plain"),
    ({"writes": None}, "/writes", "conditional or plain"),
    ({"writes": ["plain"]}, "/writes", "conditional or plain"),
    ({"changes": "yes"}, "/changes", "true or false"),
    ({"options": {"changes": 1}}, "/options/changes", "true or false"),
    ({"writes": "plain", "options": {"writes": "conditional"}}, "/writes", "two things"),
    ({"changes": True, "options": {"changes": False}}, "/changes", "two things"),
    ({"options": {"default_time_to_live": -1}}, "/options/default_time_to_live", "from 0"),
    ({"options": {"default_time_to_live": True}}, "/options/default_time_to_live", "integer"),
    ({"options": {"default_time_to_live": None}}, "/options/default_time_to_live", "integer"),
    ({"options": {"default_time_to_live": 1.5}}, "/options/default_time_to_live", "integer"),
    ({"options": {"default_time_to_live": TTL_MAX_S + 1}}, "/options/default_time_to_live", str(TTL_MAX_S)),
    ({"options": {"partition_bytes_max": 0}}, "/options/partition_bytes_max", "from 1"),
    ({"options": {"partition_bytes_max": 100 * MIB + 1}}, "/options/partition_bytes_max", str(100 * MIB)),
    ({"secondaryIndexes": {"by_x": [{"attribute": "key", "type": "hash"}]}}, "/secondaryIndexes", "second table"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "where", "says"), WRONG)
def test_a_wrong_schema_is_refused_with_its_element(changes: dict[str, object], where: str, says: str) -> None:
    found_where, detail = refusal(SMALLEST, **changes)
    assert found_where == where
    assert says in detail


def test_the_element_is_that_of_the_index_as_it_was_sent() -> None:
    attributes = {"h": "int", "r": "int"}
    index = [{"attribute": "r", "type": "range"}, {"attribute": "h", "type": "hash"}, {"attribute": "x", "type": "static"}]
    assert refusal({"attributes": attributes, "index": index}) == ("/index/2/attribute", "x is not in attributes")


def test_a_static_column_needs_a_range_column() -> None:
    index = [{"attribute": "h", "type": "hash"}, {"attribute": "s", "type": "static"}]
    where, detail = refusal({"attributes": {"h": "int", "s": "int"}, "index": index})
    assert where == "/index/1/type" and "range" in detail


@pytest.mark.parametrize("kind", ["hash", "range"])
def test_a_set_has_no_place_in_a_key(kind: str) -> None:
    index = [{"attribute": "h", "type": "hash"}, {"attribute": "s", "type": kind}]
    where, detail = refusal({"attributes": {"h": "int", "s": "set<int>"}, "index": index})
    assert where == "/index/1/attribute" and "set" in detail


@pytest.mark.parametrize("order", ["ascending", "DESC", "", 1, True, ["asc"], {}])
def test_an_order_is_asc_or_desc(order: object) -> None:
    index = [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range", "order": order}]
    assert refusal({"attributes": {"h": "int", "r": "int"}, "index": index})[0] == "/index/1/order"


def test_no_secondary_index_is_no_reason_to_refuse() -> None:
    assert draft({**SMALLEST, "secondaryIndexes": {}}).schema["secondaryIndexes"] == {}


def test_a_body_may_repeat_the_name_of_its_table_but_not_give_another() -> None:
    assert draft({**SMALLEST, "table": "t"}, name="t").name == "t"
    for other in ("u", None, 1, "T"):
        with pytest.raises(InvalidInput) as caught:
            draft({**SMALLEST, "table": other}, name="t")
        assert caught.value.where == "/table"


# Limits, at the limit and beyond


def test_a_table_has_as_many_columns_as_are_allowed_and_no_more() -> None:
    attributes = {"key": "string", **{f"c{number}": "int" for number in range(255)}}
    assert len(draft({**SMALLEST, "attributes": attributes}).elements) == 256
    where, detail = refusal(SMALLEST, attributes={**attributes, "one": "int"})
    assert (where, detail) == ("/attributes", "257 columns are more than 256")


def test_a_schema_is_as_large_as_is_allowed_and_no_larger() -> None:
    size = len(dump(draft(SMALLEST).schema))
    assert draft(SMALLEST, limits=Limits(schema_bytes_max=size)).name == "t"
    with pytest.raises(TooLarge):
        draft(SMALLEST, limits=Limits(schema_bytes_max=size - 1))


def test_the_index_cannot_be_made_long_to_keep_the_check_busy() -> None:
    assert refusal(SMALLEST, index=[{"attribute": "key", "type": "hash"}] * 100_000)[0] == "/index"


NAMES = [
    "a",
    "title_revisions-ng",
    "drop table rows; --",
    "'; DELETE FROM rows WHERE '1'='1",
    'select "x" from t',
    "ключ",
    "標題",
    "ä ö",
    "😀",
    "a/b",
    "%2F",
    "constructor",
    "__proto__"[2:],
    "x" * NAME_CHARS_MAX,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_whatever_else_it_means(name: str) -> None:
    body = {"attributes": {name: "string"}, "index": [{"attribute": name, "type": "hash"}]}
    assert draft(body, name=name).elements[0].name == name


@pytest.mark.parametrize(
    "name", ["", "_x", "_", "a\tb", "a\x7f", "a\u0085", "\u202ea", "a\u2028", "\ufeffa", "\udc80", "x" * 129, ".", ".."]
)
def test_a_table_has_a_name_that_can_be_shown(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(SMALLEST, name=name, limits=Limits())
    assert caught.value.where == "/table"


@pytest.mark.parametrize("name", [None, 1, b"a", ["a"]])
def test_a_name_is_a_string(name: object) -> None:
    with pytest.raises(InvalidInput):
        check_name(name)


def test_a_pointer_escapes_what_pointers_mean() -> None:
    assert pointer("index", 2, "a~/b") == "/index/2/a~0~1b"

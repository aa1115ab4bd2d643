"""What a new schema does to a table on record: which changes go through, which are refused and why, and what columns become of it."""

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.kernel.errors import InvalidInput
from headwater.tables.errors import MigrationRefused
from headwater.tables.migration import Outcome, Plan, plan
from headwater.tables.model import Declaration, Discipline, Role, SpaceId
from headwater.tables.schema import load, table_of

Schema = dict[str, object]


@dataclass(frozen=True)
class Limits:
    columns_max: int = 256
    schema_bytes_max: int = 256 * 1024
    partition_bytes_max: int = 100 * 1024 * 1024


def schema(version: int = 1, **changes: object) -> Schema:
    whole: Schema = {
        "version": version,
        "attributes": {"title": "string", "rev": "int", "tid": "timeuuid", "gone": "int", "tags": "set<string>", "text": "blob"},
        "index": [
            {"attribute": "title", "type": "hash"},
            {"attribute": "rev", "type": "range", "order": "desc"},
            {"attribute": "tid", "type": "range"},
            {"attribute": "gone", "type": "static"},
        ],
        "options": {"default_time_to_live": 60, "compression": [{"algorithm": "lz4"}]},
    }
    return whole | changes


def attributes(*dropped: str, **added: str) -> dict[str, str]:
    found = schema()["attributes"]
    assert isinstance(found, dict)
    return {name: kind for name, kind in found.items() if name not in dropped} | added


def index(*dropped: str, added: tuple[dict[str, str], ...] = ()) -> list[dict[str, str]]:
    found = schema()["index"]
    assert isinstance(found, list)
    return [entry for entry in found if entry["attribute"] not in dropped] + list(added)


def declare(present: Declaration | None, body: Schema, *, domain: str = "en.example", group: str = "g") -> Plan:
    return plan(present, body, name="t", group=group, domain=domain, limits=Limits())


def on_record(body: Schema | None = None, *, domain: str = "en.example") -> Declaration:
    """A declaration as the store gives it back."""
    made = declare(None, schema() if body is None else body, domain=domain).declaration
    return msgspec.structs.replace(made, incarnation=7, epoch=5, domains={domain: SpaceId(3)})


def changed(present: Declaration, body: Schema) -> Declaration:
    found = declare(present, body)
    assert found.outcome is Outcome.CHANGED
    assert (found.replaces, found.declaration.epoch) == (present.epoch, present.epoch + 1)
    assert found.declaration.incarnation == present.incarnation
    return found.declaration


def refused(body: Schema, present: Declaration | None = None) -> tuple[str | None, str]:
    with pytest.raises(MigrationRefused) as caught:
        declare(present or on_record(), body)
    return caught.value.where, caught.value.detail


# Created


def test_a_new_table_gets_ids_for_its_columns_and_no_epoch_before() -> None:
    found = declare(None, schema())
    assert (found.outcome, found.replaces) == (Outcome.CREATED, None)
    made = found.declaration
    assert (made.group, made.name, made.domains) == ("g", "t", {"en.example": 0})
    assert sorted(made.column_ids.values()) == [1, 2, 3, 4, 5, 6] and made.next_column_id == 7
    assert found.ignored == ("compression",)
    assert found.steps == ("create /table: a table of 6 columns for en.example",)


def test_the_table_has_the_columns_by_role_each_with_its_id() -> None:
    table = table_of(on_record())
    assert [column.name for column in table.hashes] == ["title"]
    assert [(column.name, column.descending) for column in table.ranges] == [("rev", True), ("tid", False)]
    assert [column.name for column in table.statics] == ["gone"]
    assert [column.name for column in table.regulars] == ["tags", "text"]
    assert {column.id for column in table.by_name.values()} == {1, 2, 3, 4, 5, 6}
    assert table.options.default_ttl_s == 60


def test_the_options_of_the_table_are_those_on_record() -> None:
    table = table_of(on_record(schema(writes="plain", changes=True, options={"partition_bytes_max": 5})))
    assert table.options.writes is Discipline.PLAIN and table.options.changes
    assert (table.options.partition_bytes_max, table.options.default_ttl_s) == (5, 0)


# Unchanged

SAME: list[Schema] = [
    schema(),
    dict(reversed(schema().items())),
    schema(attributes=dict(reversed(attributes().items()))),
    schema(table="t"),
    schema(index=list(reversed(index("title", "tid"))) + index("rev", "gone")),
    schema(options={"compression": [{"algorithm": "lz4"}], "default_time_to_live": 60, "writes": "conditional"}),
    schema(writes="conditional", changes=False),
    schema(index=[{"attribute": "tid", "type": "range", "order": "asc"} if e["attribute"] == "tid" else e for e in index()]),
]


@pytest.mark.parametrize("body", SAME)
def test_what_means_the_same_changes_nothing(body: Schema) -> None:
    present = on_record()
    found = declare(present, body)
    assert (found.outcome, found.steps, found.declaration, found.replaces) == (Outcome.UNCHANGED, (), present, 5)


@given(st.permutations(sorted(schema())), st.permutations(sorted(attributes())))
def test_the_order_of_keys_never_matters(keys: list[str], names: list[str]) -> None:
    whole = schema(attributes={name: attributes()[name] for name in names})
    assert declare(on_record(), {key: whole[key] for key in keys}).outcome is Outcome.UNCHANGED


def test_no_expiry_is_the_same_said_or_unsaid() -> None:
    present = on_record(schema(options={}))
    assert declare(present, schema(options={"default_time_to_live": 0})).outcome is Outcome.UNCHANGED


# Changed, and only with a higher version

GATED: list[tuple[str, Schema]] = [
    ("add /attributes/more: a regular column of int", {"attributes": attributes(more="int")}),
    ("drop /attributes/text: the regular column text", {"attributes": attributes("text")}),
    ("drop /attributes/gone: the static column gone", {"attributes": attributes("gone"), "index": index("gone")}),
    (
        "add /attributes/s2: a static column of set<int>",
        {"attributes": attributes(s2="set<int>"), "index": index(added=({"attribute": "s2", "type": "static"},))},
    ),
    ("option /options/default_time_to_live: new writes expire after 61 s", {"options": {"default_time_to_live": 61}}),
    ("option /options/default_time_to_live: new writes expire after none", {"options": {}}),
    ("option /options/changes: the change stream begins here", {"changes": True}),
    ("option /options/partition_bytes_max: the ceiling of a partition is 9 bytes", {"options": {"partition_bytes_max": 9}}),
    ("option /options/compression: a hint, ignored", {"options": {"default_time_to_live": 60}}),
    ("option /options/durability: a hint, ignored", {"options": {"durability": "low"}}),
]


@pytest.mark.parametrize(("step", "changes"), GATED)
def test_a_change_needs_a_higher_version(step: str, changes: Schema) -> None:
    where, detail = refused(schema(1, **changes))
    assert where == "/version" and "has to rise above 1" in detail
    found = declare(on_record(), schema(2, **changes))
    assert found.outcome is Outcome.CHANGED
    assert any(said.startswith(step) for said in found.steps), found.steps
    assert "version /version: from 1 to 2" in found.steps
    assert load(found.declaration.schema)["version"] == 2


def test_a_version_never_goes_down_even_for_the_same_schema() -> None:
    where, detail = refused(schema(1), on_record(schema(2)))
    assert where == "/version" and "newer" in detail
    assert refused(schema(1, attributes=attributes("text")), on_record(schema(2)))[0] == "/version"


def test_a_version_may_rise_alone() -> None:
    found = declare(on_record(), schema(9))
    assert (found.outcome, found.steps) == (Outcome.CHANGED, ("version /version: from 1 to 9",))
    assert found.declaration.column_ids == on_record().column_ids


def test_what_means_nothing_changes_without_a_higher_version() -> None:
    found = declare(on_record(), schema(1, owner="team", domain="x"))
    assert found.outcome is Outcome.CHANGED
    assert found.steps == ("describe /domain: kept, and means nothing", "describe /owner: kept, and means nothing")
    assert load(found.declaration.schema)["owner"] == "team"
    assert declare(found.declaration, schema(1)).steps == found.steps


def test_changes_may_be_turned_on_and_off_again() -> None:
    with_changes = changed(on_record(), schema(2, changes=True))
    assert table_of(with_changes).options.changes
    assert not table_of(changed(with_changes, schema(3))).options.changes


def test_only_turning_changes_off_ends_streams() -> None:
    with_changes = changed(on_record(), schema(2, changes=True))
    assert declare(with_changes, schema(3)).ends_streams
    assert not declare(with_changes, schema(3, changes=True)).ends_streams
    assert not declare(on_record(), schema(2, changes=True)).ends_streams


# Columns


def test_columns_that_stay_keep_their_ids() -> None:
    present = on_record()
    after = changed(present, schema(2, attributes=attributes("text", a="int", b="json")))
    kept = {name: known for name, known in present.column_ids.items() if name != "text"}
    assert after.column_ids == kept | {"a": 7, "b": 8}
    assert after.next_column_id == 9


@pytest.mark.parametrize("kind", ["blob", "int"])
def test_a_column_that_comes_again_is_another_even_of_another_type(kind: str) -> None:
    without = changed(on_record(), schema(2, attributes=attributes("text")))
    again = changed(without, schema(3, attributes=attributes("text", text=kind)))
    assert again.column_ids["text"] == 7 != on_record().column_ids["text"]
    assert str(table_of(again).by_name["text"].type) == kind


def test_a_column_may_come_again_in_another_role() -> None:
    without = changed(on_record(), schema(2, attributes=attributes("gone"), index=index("gone")))
    assert table_of(without).statics == ()
    again = changed(without, schema(3, index=index("gone")))
    assert again.column_ids["gone"] == 7
    assert table_of(again).by_name["gone"].role is Role.REGULAR


@given(st.lists(st.sets(st.sampled_from("abcdef")), max_size=12))
def test_no_id_is_ever_given_twice(steps: list[set[str]]) -> None:
    present = on_record(schema(1, options={}))
    ever: dict[int, str] = {known: name for name, known in present.column_ids.items()}
    for version, names in enumerate(steps, 2):
        before = present.column_ids
        present = declare(present, schema(version, options={}, attributes=attributes(**dict.fromkeys(sorted(names), "int")))).declaration
        for name, known in present.column_ids.items():
            if name not in before:
                assert known not in ever
                ever[known] = name
            else:
                assert before[name] == known
        assert present.column_ids.keys() == attributes().keys() | names


# Refused whatever the version

TITLE, REV, TID, GONE = index()


def with_index(*elements: dict[str, str], **types: str) -> Schema:
    return {"attributes": attributes(**types), "index": list(elements)}


def element(name: str, kind: str, **order: str) -> dict[str, str]:
    return {"attribute": name, "type": kind} | order


REFUSED: list[tuple[str, Schema, str, str]] = [
    ("type", {"attributes": attributes(text="string")}, "/attributes/text", "text is of type blob and cannot become string"),
    ("type of a set", {"attributes": attributes(tags="string")}, "/attributes/tags", "set<string>"),
    ("type of a static", {"attributes": attributes(gone="long")}, "/attributes/gone", "changes its type"),
    ("type of a hash", {"attributes": attributes(title="blob")}, "/attributes/title", "changes its type"),
    ("type of a range", {"attributes": attributes(rev="long")}, "/attributes/rev", "changes its type"),
    ("dropped hash", {"attributes": attributes("title")}, "/index/0/attribute", "title is not in attributes"),
    ("dropped range", {"attributes": attributes("tid")}, "/index/2/attribute", "tid is not in attributes"),
    ("dropped static", {"attributes": attributes("gone")}, "/index/3/attribute", "gone is not in attributes"),
    (
        "dropped range of both",
        {"attributes": attributes("tid"), "index": index("tid")},
        "/attributes/tid",
        "tid is in the key of the table and is not in attributes",
    ),
    ("range no more in the index", with_index(TITLE, REV, GONE), "/index", "range column and cannot become a regular one"),
    ("static no more in the index", with_index(TITLE, REV, TID), "/index", "static column and cannot become a regular one"),
    (
        "regular becomes static",
        with_index(*index(), element("text", "static")),
        "/index/4",
        "regular column and cannot become a static one",
    ),
    ("regular becomes range", with_index(*index(), element("text", "range")), "/index/4", "nothing can be added to a key"),
    ("new range", with_index(*index(), element("new", "range"), new="int"), "/index/4", "new is not in the key of the table"),
    ("new hash", with_index(element("new", "hash"), *index(), new="int"), "/index/0", "new is not in the key of the table"),
    ("order", with_index(TITLE, element("rev", "range"), TID, GONE), "/index/1/order", "rev is ordered desc"),
    ("other order", with_index(TITLE, REV, GONE, element("tid", "range", order="desc")), "/index/3/order", "tid is ordered asc"),
    ("order of the keys", with_index(TITLE, TID, REV, GONE), "/index", "title, rev, tid"),
    ("swapped", with_index(element("rev", "hash"), element("title", "range"), TID, GONE), "/index/1", "title is a hash column"),
    ("plain", {"writes": "plain"}, "/writes", "conditional writes and stays it"),
    ("plain among the options", {"options": {"writes": "plain"}}, "/options/writes", "conditional writes and stays it"),
]


@pytest.mark.parametrize(("body", "where", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
@pytest.mark.parametrize("version", [1, 2])
def test_what_never_changes_is_refused_and_says_which_element_and_why(version: int, body: Schema, where: str, says: str) -> None:
    found_where, detail = refused(schema(version, **body))
    assert found_where == where
    assert says in detail


def test_a_table_of_plain_writes_stays_one() -> None:
    where, detail = refused(schema(2), on_record(schema(1, writes="plain")))
    assert where == "/options/writes" and "plain writes and stays it" in detail


def test_an_index_that_names_what_never_was_a_column_is_simply_wrong() -> None:
    with pytest.raises(InvalidInput) as caught:
        declare(on_record(), schema(2, index=index(added=({"attribute": "nope", "type": "static"},))))
    assert (caught.value.where, caught.value.detail) == ("/index/4/attribute", "nope is not in attributes")


# Domains


def test_a_second_domain_of_the_group_joins_with_the_same_schema() -> None:
    found = declare(on_record(), schema(), domain="de.example")
    assert found.outcome is Outcome.CREATED
    assert found.declaration.domains == {"en.example": 3, "de.example": 0}
    assert found.declaration.schema == on_record().schema
    assert found.steps == ("join /table: de.example gets rows of its own in the table of group g",)
    assert found.declaration.epoch == 6


def test_a_second_domain_may_bring_a_newer_schema_for_all() -> None:
    found = declare(on_record(), schema(2, attributes=attributes("text")), domain="de.example")
    assert found.outcome is Outcome.CREATED
    assert "text" not in found.declaration.column_ids and found.declaration.domains.keys() == {"en.example", "de.example"}


def test_a_second_domain_brings_no_older_and_no_other_schema() -> None:
    for body in (schema(1), schema(3, writes="plain"), schema(3, attributes=attributes(text="string"))):
        with pytest.raises(MigrationRefused):
            declare(on_record(schema(2)), body, domain="de.example")


def test_a_table_of_every_domain_is_declared_once() -> None:
    everywhere = declare(None, schema(), domain="*", group="*")
    assert (everywhere.outcome, everywhere.declaration.domains) == (Outcome.CREATED, {"*": 0})
    assert "every domain" in everywhere.steps[0]
    assert declare(everywhere.declaration, schema(), domain="*", group="*").outcome is Outcome.UNCHANGED


def test_a_domain_that_joins_what_every_domain_has_creates_nothing() -> None:
    everywhere = on_record(domain="*")
    assert declare(everywhere, schema()).outcome is Outcome.CHANGED

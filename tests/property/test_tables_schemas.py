"""Schemas that nobody would write: each is refused with its element or makes a table, and no migration ever touches a key."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.kernel.errors import InvalidInput, TooLarge
from headwater.tables.errors import MigrationRefused
from headwater.tables.forecast import forecast
from headwater.tables.migration import Outcome, plan
from headwater.tables.model import Declaration, Kind, Table
from headwater.tables.openapi import table_openapi
from headwater.tables.schema import OPTIONS, check, table_of


@dataclass(frozen=True)
class Limits:
    columns_max: int = 256
    schema_bytes_max: int = 256 * 1024
    partition_bytes_max: int = 100 * 1024 * 1024


LIMITS = Limits()
NAMES = st.sampled_from(["a", "b", "c", "drop table t", "ä", "a/b", "_x", "", "\x00"])
TYPES = st.sampled_from([*(kind.value for kind in Kind), "set<string>", "set<int>", "set<set<int>>", "text", "String", ""])
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
RARELY = st.integers(0, 9).map(lambda drawn: drawn == 0)
USUAL = {"a": "int", "b": "string", "c": "set<int>", "d": "json"}


@st.composite
def sound(draw: st.DrawFn) -> dict[str, Any]:
    """A schema of few names and usual types that is right more often than not, so that migrations meet."""
    chosen = draw(st.sets(st.sampled_from(sorted(USUAL))))
    kinds = {name: draw(TYPES) if draw(RARELY) else USUAL[name] for name in sorted(chosen)}
    index = [
        {"attribute": "k", "type": "hash"},
        {"attribute": "r", "type": "range", "order": "asc" if draw(RARELY) and draw(RARELY) else "desc"},
    ]
    for name in kinds:
        role = draw(st.sampled_from(["hash", "range"])) if draw(RARELY) else "static" if name == "d" else None
        if role is not None:
            index.append({"attribute": name, "type": role})
    options = draw(st.fixed_dictionaries({}, optional={"default_time_to_live": st.integers(0, 2), "changes": st.booleans()}))
    return {"version": draw(st.integers(1, 9)), "attributes": {"k": "string", "r": "int"} | kinds, "index": index, "options": options}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A sound schema with something wrong or odd at one or two places."""
    schema = draw(sound())
    for _ in range(draw(st.integers(1, 2))):
        match draw(st.integers(0, 5)):
            case 0 if isinstance(schema["attributes"], dict):
                schema["attributes"][draw(NAMES)] = draw(TYPES | JUNK)
            case 1 if elements := [one for one in _listed(schema["index"]) if isinstance(one, dict)]:
                element = draw(st.sampled_from(elements))
                element[draw(st.sampled_from(["attribute", "type", "order", "x"]))] = draw(NAMES | JUNK)
            case 2 if isinstance(schema["options"], dict):
                schema["options"][draw(st.sampled_from([*OPTIONS, "unknown"]))] = draw(JUNK)
            case 3:
                schema[draw(st.sampled_from(["writes", "changes", "table", "domain", "secondaryIndexes"]))] = draw(JUNK)
            case 4:
                schema["writes"] = draw(st.sampled_from(["plain", "conditional"]))
            case _:
                schema[draw(st.sampled_from(sorted(schema)))] = draw(JUNK)
    return schema


def declare(present: Declaration | None, body: dict[str, object]) -> tuple[Outcome, Declaration]:
    found = plan(present, body, name="t", group="g", domain="d", limits=LIMITS)
    return found.outcome, found.declaration


def key(table: Table) -> list[tuple[object, ...]]:
    return [(column.name, column.id, column.type, column.role, column.descending) for column in (*table.hashes, *table.ranges)]


@settings(max_examples=300, deadline=None)
@given(damaged() | sound() | st.dictionaries(st.text(max_size=10), JUNK, max_size=4))
def test_anything_is_refused_with_its_element_or_makes_a_table(body: dict[str, object]) -> None:
    try:
        draft = check(body, name="t", limits=LIMITS)
    except InvalidInput as error:
        assert error.where is not None and error.where.startswith("/")
        assert len(error.detail) < 600
        return
    except TooLarge:
        return
    assert check(draft.schema, name="t", limits=LIMITS).elements == draft.elements  # the normal form is one
    outcome, made = declare(None, body)
    assert outcome is Outcome.CREATED
    table = table_of(made)
    assert table.hashes and len(table.by_id) == len(draft.elements)
    assert declare(made, dict(draft.schema))[0] is Outcome.UNCHANGED
    assert forecast(table, partition_bytes_max=1024).ceiling_bytes > 0
    assert table_openapi(table, domain="d")["openapi"] == "3.1.0"


@settings(max_examples=150, deadline=None)
@given(st.lists(sound(), min_size=4, max_size=10))
def test_no_migration_touches_a_key_a_type_or_an_id(bodies: list[dict[str, Any]]) -> None:
    present: Declaration | None = None
    given_ids: dict[int, tuple[object, ...]] = {}
    for at, body in enumerate(bodies, 1):
        if body["version"] % 3:
            body["version"] = at  # as it is when people mean to change something
        try:
            outcome, after = declare(present, body)
        except (InvalidInput, MigrationRefused) as error:
            assert error.where is not None and error.where.startswith("/")
            continue
        table = table_of(after)
        if present is not None:
            before = table_of(present)
            assert key(before) == key(table)
            assert table.version >= before.version
            if (before.options, before.by_id) != (table.options, table.by_id):
                assert table.version > before.version and outcome is Outcome.CHANGED
        for column in table.by_id.values():
            is_now = (column.name, column.type, column.role)
            assert given_ids.setdefault(column.id, is_now) == is_now
        present = after

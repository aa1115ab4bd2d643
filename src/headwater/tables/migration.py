"""What a new schema does to a table that is on record. Pure.

A table may gain and lose columns and change its options; its key, and what a column holds and is for, never change, since rows that are
there could not be read any more. Rows are never rewritten: a column that is added shows null, one that is dropped is out of sight at once,
and one of the same name that is added later has another id and shows nothing of the old one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import orjson

from headwater.tables.config import EVERY
from headwater.tables.errors import MigrationRefused
from headwater.tables.model import ColumnId, Declaration, Discipline, Role, SpaceId
from headwater.tables.schema import (
    BESIDE,
    Draft,
    Element,
    SchemaLimits,
    UndeclaredAttribute,
    check,
    dump,
    elements_of,
    load,
    options_of,
    pointer,
)

NO_SPACE = SpaceId(0)
"""In a declaration that is to be put on record: a domain that has no space yet."""


class Outcome(StrEnum):
    """What a schema does."""

    CREATED = "created"  # the domain had no such table
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing that a plan does, to which element, and what comes of it; `gated`: only with a higher version."""

    action: str
    where: str
    meaning: str
    gated: bool = True

    def __str__(self) -> str:
        return f"{self.action} {self.where}: {self.meaning}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schema would do.

    Attributes:
        outcome: in short.
        steps: in full, in the order in which they matter to rows; each says what is done, to which element, and what comes of it.
        declaration: to be put on record; where nothing changes, the present one.
        replaces: epoch of the present one; None: there is none.
        ignored: what the schema has that does nothing here.
        ends_streams: whether it turns `changes` off.
        changes_schema: whether it makes or changes what all domains of the group share.
    """

    outcome: Outcome
    steps: tuple[str, ...]
    declaration: Declaration
    replaces: int | None
    ignored: tuple[str, ...]
    ends_streams: bool = False
    changes_schema: bool = False


def plan(present: Declaration | None, body: Mapping[str, object], *, name: str, group: str, domain: str, limits: SchemaLimits) -> Plan:
    """Check what a client declares for a domain (or `*`) of a group (or `*`), and say what it does to `present`.

    Raises:
        InvalidInput, TooLarge: the schema breaks a rule by itself.
        MigrationRefused: it cannot replace the present one.
    """
    try:
        draft = check(body, name=name, limits=limits)
    except UndeclaredAttribute as error:
        if present is not None and error.attribute in present.column_ids:
            raise MigrationRefused(f"{error.detail}, and a column of the index cannot be dropped", where=error.where) from error
        raise
    return migrate(present, draft, group=group, domain=domain)


def migrate(present: Declaration | None, draft: Draft, *, group: str, domain: str) -> Plan:
    """What `draft` does to `present`, declared for a domain (or `*`) of a group (or `*`).

    Raises:
        MigrationRefused: it cannot replace it; `where` is the element.
    """
    if present is None:
        return _creation(draft, group=group, domain=domain)
    old = load(present.schema)
    steps = tuple(_steps(old, draft))
    _check_version(old, draft, steps)
    joins = domain not in present.domains
    if joins:
        steps = (_Step("join", "/table", f"{_people(domain)} gets rows of its own in the table of group {group}"), *steps)
    said = tuple(map(str, steps))
    if not steps:
        return Plan(Outcome.UNCHANGED, said, present, present.epoch, draft.ignored)
    changes_schema = len(steps) > joins
    declaration = _changed(present, draft) if changes_schema else present
    if joins:
        declaration = msgspec.structs.replace(declaration, domains={**present.domains, domain: NO_SPACE})
    declaration = msgspec.structs.replace(declaration, epoch=present.epoch + 1)
    outcome = Outcome.CREATED if joins and EVERY not in present.domains else Outcome.CHANGED
    ends_streams = options_of(old).changes and not draft.options.changes
    return Plan(outcome, said, declaration, present.epoch, draft.ignored, ends_streams, changes_schema)


def _creation(draft: Draft, *, group: str, domain: str) -> Plan:
    ids = _ids_of((element.name for element in draft.elements), first=1)
    declaration = Declaration(
        group=group,
        name=draft.name,
        incarnation=0,
        epoch=1,
        schema=dump(draft.schema),
        column_ids=ids,
        next_column_id=len(ids) + 1,
        domains={domain: NO_SPACE},
    )
    step = _Step("create", "/table", f"a table of {len(ids)} columns for {_people(domain)}")
    return Plan(Outcome.CREATED, (str(step),), declaration, None, draft.ignored, changes_schema=True)


def _changed(present: Declaration, draft: Draft) -> Declaration:
    """The declaration with another schema: columns that stay keep their ids, new ones get ids that no column had."""
    names = {element.name for element in draft.elements}
    kept = {name: known for name, known in present.column_ids.items() if name in names}
    added = _ids_of((element.name for element in draft.elements if element.name not in kept), first=present.next_column_id)
    return msgspec.structs.replace(
        present, schema=dump(draft.schema), column_ids=kept | added, next_column_id=present.next_column_id + len(added)
    )


def _ids_of(names: Iterable[str], *, first: int) -> dict[str, ColumnId]:
    return {name: ColumnId(number) for number, name in enumerate(names, first)}


def _people(domain: str) -> str:
    return "every domain" if domain == EVERY else domain


def _check_version(old: Mapping[str, object], draft: Draft, steps: tuple[_Step, ...]) -> None:
    """Refuse a version that does not say what happens."""
    present = old["version"]
    assert isinstance(present, int)
    if draft.version < present:
        raise MigrationRefused(
            f"version {draft.version} is below the present {present}: somebody has declared a newer schema", where="/version"
        )
    gated = [step for step in steps if step.gated]
    if gated and draft.version == present:
        raise MigrationRefused(f"version has to rise above {present} for this: {gated[0].where}: {gated[0].meaning}", where="/version")


def _steps(old: Mapping[str, object], draft: Draft) -> Iterator[_Step]:
    """What differs, in order; nothing where both mean the same, however their keys are ordered."""
    before = elements_of(old)
    _check_key(before, draft)
    yield from _column_steps(before, draft)
    yield from _option_steps(old, draft)
    if draft.version != old["version"]:
        yield _Step("version", "/version", f"from {old['version']} to {draft.version}", gated=False)
    for name in sorted(_others(old).keys() | _others(draft.schema).keys()):
        if _stable(_others(old).get(name)) != _stable(_others(draft.schema).get(name)):
            yield _Step("describe", pointer(name), "kept, and means nothing", gated=False)


def _stable(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _others(schema: Mapping[str, object]) -> dict[str, object]:
    """What a schema holds that means nothing here."""
    known = ("table", "version", "attributes", "index", "options", *BESIDE)
    return {name: value for name, value in schema.items() if name not in known}


def _key(elements: tuple[Element, ...]) -> list[Element]:
    return [element for element in elements if element.role in (Role.HASH, Role.RANGE)]


def _index_at(draft: Draft, name: str) -> str:
    """Where the index has a column, as it was sent."""
    at = draft.positions.get(name)
    return "/index" if at is None else pointer("index", at)


def _check_key(before: tuple[Element, ...], draft: Draft) -> None:
    """Refuse a key that is another than before; rows are found and ordered by it."""
    old, new = _key(before), _key(draft.elements)
    new_by_name = {element.name: element for element in draft.elements}
    for element in old:
        now = new_by_name.get(element.name)
        if now is None:
            raise MigrationRefused(
                f"{element.name} is in the key of the table and is not in attributes; a column of the key cannot be dropped",
                where=pointer("attributes", element.name),
            )
        _check_same(element, now, _index_at(draft, element.name))
    old_names = [element.name for element in old]
    for element in new:
        if element.name not in old_names:
            raise MigrationRefused(
                f"{element.name} is not in the key of the table, and nothing can be added to a key", where=_index_at(draft, element.name)
            )
    if old_names != [element.name for element in new]:
        raise MigrationRefused(f"the key is {', '.join(old_names)}, and their order cannot change", where="/index")


def _check_same(old: Element, new: Element, at: str) -> None:
    """Refuse a column that is another than before under its name."""
    if old.type != new.type:
        raise MigrationRefused(
            f"{old.name} is of type {old.type} and cannot become {new.type}: no column changes its type; add one of another name",
            where=pointer("attributes", old.name),
        )
    if old.role is not new.role:
        raise MigrationRefused(
            f"{old.name} is a {old.role.value} column and cannot become a {new.role.value} one: the role of a column never changes",
            where=at,
        )
    if old.descending != new.descending:
        raise MigrationRefused(f"{old.name} is ordered {_order(old)}, and the order of a table never changes", where=f"{at}/order")


def _order(element: Element) -> str:
    return "desc" if element.descending else "asc"


def _column_steps(before: tuple[Element, ...], draft: Draft) -> Iterator[_Step]:
    old = {element.name: element for element in before}
    new = {element.name: element for element in draft.elements}
    for name in old.keys() & new.keys():
        _check_same(old[name], new[name], _index_at(draft, name))
    for name, element in old.items():
        if name not in new:
            yield _Step("drop", pointer("attributes", name), f"the {element.role.value} column {name} and its values go out of sight")
    for name, element in new.items():
        if name not in old:
            yield _Step(
                "add", pointer("attributes", name), f"a {element.role.value} column of {element.type}; null in every row that is there"
            )


def _option_steps(old: Mapping[str, object], draft: Draft) -> Iterator[_Step]:
    before, after = options_of(old), draft.options
    if before.writes is not after.writes:
        raise MigrationRefused(_OTHER_DISCIPLINE[after.writes], where="/writes" if "writes" in draft.schema else "/options/writes")
    if before.changes != after.changes:
        begins = "the change stream begins here; earlier writes are not in it"
        ends = "the change stream ends and is answered 404; should it begin again, positions from before are answered 410"
        yield _Step("option", "/options/changes", begins if after.changes else ends)
    if before.default_ttl_s != after.default_ttl_s:
        now = f"{after.default_ttl_s} s" if after.default_ttl_s else "none"
        yield _Step("option", "/options/default_time_to_live", f"new writes expire after {now}; what is there keeps its end")
    if before.partition_bytes_max != after.partition_bytes_max:
        now = "that of the deployment" if after.partition_bytes_max is None else f"{after.partition_bytes_max} bytes"
        yield _Step("option", "/options/partition_bytes_max", f"the ceiling of a partition is {now}; larger ones stay and take no more")
    yield from _hint_steps(old["options"], draft.schema["options"])


_OTHER_DISCIPLINE = {
    Discipline.PLAIN: "the table is one of conditional writes and stays it, since a plain write would pass by the comparisons that others "
    "rely on: declare another table and copy the rows",
    Discipline.CONDITIONAL: "the table is one of plain writes and stays it, since one that is under way, or stamped by a clock ahead of "
    "others, would win over a comparison: declare another table and copy the rows",
}


def _hint_steps(old: object, new: object) -> Iterator[_Step]:
    assert isinstance(old, dict) and isinstance(new, dict)
    effective = ("writes", "changes", "default_time_to_live", "partition_bytes_max")
    for name in sorted(old.keys() | new.keys()):
        if name not in effective and _stable(old.get(name)) != _stable(new.get(name)):
            yield _Step("option", pointer("options", name), "a hint, ignored")

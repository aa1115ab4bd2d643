"""What a client declares: a schema, checked and normalised. Pure.

Rules of RESTBase 1.x, except that a wrong schema is a refusal that names its element (a JSON pointer such as `/index/2/attribute`), that
every option is one that does something, and that what is known to do nothing is named as ignored.

The normal form has every key that was sent, `version` and `options` filled in, `writes` and `changes` among the options where they
were sent beside them, and `index` in the order hash, static, range. A table on record holds its normal form, which is never checked
again: a limit that is lowered later makes no table unreadable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import orjson

from headwater.kernel.errors import InvalidInput, TooLarge
from headwater.tables.model import TTL_MAX_S, Column, ColumnType, Declaration, Discipline, Options, Role, Table
from headwater.tables.types import parse_type

NAME_CHARS_MAX = 128
HINTS = ("compression", "updates", "durability")
"""Options of RESTBase that tell an engine how to store; none here obeys them."""
OPTIONS = ("writes", "changes", "default_time_to_live", "partition_bytes_max", *HINTS)
BESIDE = ("writes", "changes")
"""Options that may stand beside the options as well."""
_RETENTION = "revisionRetentionPolicy"
_ORDERS = ("asc", "desc")
_ELEMENT_KEYS = ("attribute", "type", "order")
_ROLES = {"hash": Role.HASH, "static": Role.STATIC, "range": Role.RANGE}
"""Roles by their names in an index, in the order of the normal form."""


class UndeclaredAttribute(InvalidInput):
    """An element of the index names an attribute that is not declared; `attribute` is its name."""

    def __init__(self, attribute: str, *, where: str) -> None:
        super().__init__(f"{attribute} is not in attributes", where=where)
        self.attribute = attribute


class SchemaLimits(Protocol):
    """What a schema may ask for; the section `tables` of the configuration says it."""

    @property
    def columns_max(self) -> int:
        """Most attributes."""
        ...

    @property
    def schema_bytes_max(self) -> int:
        """Largest normal form."""
        ...

    @property
    def partition_bytes_max(self) -> int:
        """The ceiling of a partition where a table declares none, and the highest that it may declare."""
        ...


@dataclass(frozen=True, slots=True)
class Element:
    """A column as declared, before it has an id; attributes as those of `Column`."""

    name: str
    type: ColumnType
    role: Role
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A schema that breaks no rule by itself.

    Attributes:
        name, version: as declared.
        elements: hashes, statics and ranges in order, then the regular columns.
        options: what it asks for.
        schema: its normal form.
        ignored: names of what it has that does nothing here.
        positions: of the elements in the index as it was sent, for refusals.
    """

    name: str
    version: int
    elements: tuple[Element, ...]
    options: Options
    schema: Mapping[str, object]
    ignored: tuple[str, ...]
    positions: Mapping[str, int]


def check(body: Mapping[str, object], *, name: str, limits: SchemaLimits) -> Draft:
    """The draft of a table `name` that `body` declares.

    Raises:
        InvalidInput: it breaks a rule; `where` is the element.
        TooLarge: its normal form is too large.
    """
    check_name(name)
    if name in (".", ".."):
        raise InvalidInput("the name of a table is not . or .., which no URL can hold", where="/table")
    if body.get("table", name) != name:
        raise InvalidInput("the body names another table than the path", where="/table")
    if body.get("secondaryIndexes"):
        raise InvalidInput(
            "secondary indexes are not kept, since none can be right at once with its table on every engine: declare a second table whose "
            "key is what you look up, with `changes: true` on this one, and fill it from this one's change stream",
            where="/secondaryIndexes",
        )
    attributes = _attributes(body.get("attributes"), limits.columns_max)
    index = _index(body.get("index"), attributes)
    version = _version(body.get("version", 1))
    options, ignored = _options(body, limits)
    schema = {
        **body,
        "table": name,
        "version": version,
        "attributes": {column: str(kind) for column, kind in attributes.items()},
        "index": index,
        "options": options,
    }
    if len(dump(schema)) > limits.schema_bytes_max:
        raise TooLarge(f"the schema has more than {limits.schema_bytes_max} bytes")
    if _RETENTION in body:
        ignored = (*ignored, _RETENTION)
    sent = body["index"]
    assert isinstance(sent, list)
    positions = {element["attribute"]: at for at, element in enumerate(sent)}
    return Draft(name, version, elements_of(schema), options_of(schema), schema, ignored, positions)


def dump(schema: Mapping[str, object]) -> bytes:
    """A schema as it is put on record."""
    return orjson.dumps(schema)


def load(schema: bytes) -> Mapping[str, object]:
    """A schema that was put on record."""
    found = orjson.loads(schema)
    assert isinstance(found, dict)
    return found


def table_of(declaration: Declaration) -> Table:
    """The table that a declaration on record makes."""
    schema = load(declaration.schema)
    columns = [
        Column(element.name, declaration.column_ids[element.name], element.type, element.role, element.descending)
        for element in elements_of(schema)
    ]

    def of(role: Role) -> tuple[Column, ...]:
        return tuple(column for column in columns if column.role is role)

    version = schema["version"]
    assert isinstance(version, int)
    return Table(
        name=declaration.name,
        version=version,
        hashes=of(Role.HASH),
        ranges=of(Role.RANGE),
        statics=of(Role.STATIC),
        regulars=of(Role.REGULAR),
        options=options_of(schema),
    )


def elements_of(schema: Mapping[str, object]) -> tuple[Element, ...]:
    """The columns of a schema in normal form."""
    attributes, index = schema["attributes"], schema["index"]
    assert isinstance(attributes, dict) and isinstance(index, list)
    indexed = [
        Element(
            entry["attribute"],
            parse_type(attributes[entry["attribute"]]),
            _ROLES[entry["type"]],
            entry["type"] == "range" and entry.get("order") == "desc",
        )
        for entry in index
    ]
    taken = {element.name for element in indexed}
    return (*indexed, *(Element(name, parse_type(kind), Role.REGULAR) for name, kind in attributes.items() if name not in taken))


def options_of(schema: Mapping[str, object]) -> Options:
    """The options of a schema in normal form."""
    options = schema["options"]
    assert isinstance(options, dict)
    return Options(
        writes=Discipline(options.get("writes", Discipline.CONDITIONAL)),
        changes=options.get("changes", False),
        default_ttl_s=options.get("default_time_to_live", 0),
        partition_bytes_max=options.get("partition_bytes_max"),
    )


def check_name(name: object, *, what: str = "a table", where: str = "/table") -> str:
    """`name` where it may be that of a table or column; nothing that SQL or a URL means by it matters.

    Raises:
        InvalidInput: empty, too long, not printable, or one of ours.
    """
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"the name of {what} is a string that is not empty", where=where)
    if len(name) > NAME_CHARS_MAX:
        raise InvalidInput(f"the name of {what} has at most {NAME_CHARS_MAX} characters", where=where)
    if not name.isprintable():
        raise InvalidInput(f"the name of {what} holds printable characters only", where=where)
    if name.startswith("_"):
        raise InvalidInput(f"the name of {what} does not begin with _: such names are ours", where=where)
    return name


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint at the known name that is nearest to `name`, or all that are known."""
    near = get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _attributes(found: object, columns_max: int) -> dict[str, ColumnType]:
    if not isinstance(found, dict) or not found:
        raise InvalidInput("attributes is an object with the type of every column", where="/attributes")
    if len(found) > columns_max:
        raise InvalidInput(f"{len(found)} columns are more than {columns_max}", where="/attributes")
    attributes = {}
    for name, text in found.items():
        where = pointer("attributes", name if isinstance(name, str) and len(name) <= NAME_CHARS_MAX and name.isprintable() else "…")
        check_name(name, what="a column", where=where)
        if not isinstance(text, str):
            raise InvalidInput(f"the type of {name} is a string", where=where)
        attributes[name] = _type(text, where=where)
    return attributes


def _type(text: str, *, where: str) -> ColumnType:
    try:
        return parse_type(text)
    except InvalidInput as error:
        raise InvalidInput(error.detail, where=where) from error


def _index(found: object, attributes: Mapping[str, ColumnType]) -> list[dict[str, object]]:
    """The elements of the index in the order of the normal form."""
    if not isinstance(found, list) or not found:
        raise InvalidInput("index is an array with at least one hash element", where="/index")
    if len(found) > len(attributes) + 1:
        raise InvalidInput("index has more elements than there are attributes", where="/index")
    taken: set[str] = set()
    elements = []
    for at, element in enumerate(found):
        elements.append(_element(element, at, attributes))
        name = str(elements[-1]["attribute"])
        if name in taken:
            raise InvalidInput(f"{name} is in the index twice", where=pointer("index", at, "attribute"))
        taken.add(name)
    kinds = [str(element["type"]) for element in elements]
    if "hash" not in kinds:
        raise InvalidInput("index has no hash element: something has to say in which partition a row lies", where="/index")
    if "static" in kinds and "range" not in kinds:
        raise InvalidInput(
            "a static column needs a range column: without any, a partition has one row",
            where=pointer("index", kinds.index("static"), "type"),
        )
    order = list(_ROLES)
    return sorted(elements, key=lambda element: order.index(str(element["type"])))


def _element(found: object, at: int, attributes: Mapping[str, ColumnType]) -> dict[str, object]:
    if not isinstance(found, dict):
        raise InvalidInput("an element of the index is an object with attribute and type", where=pointer("index", at))
    for key in found:
        if key not in _ELEMENT_KEYS:
            raise InvalidInput(
                f"an element of the index has no {key[:NAME_CHARS_MAX]}: {did_you_mean(key, _ELEMENT_KEYS)}", where=pointer("index", at)
            )
    name, kind = found.get("attribute"), found.get("type")
    if not isinstance(name, str):
        raise InvalidInput("an element of the index names an attribute", where=pointer("index", at, "attribute"))
    if name not in attributes:
        raise UndeclaredAttribute(name[:NAME_CHARS_MAX], where=pointer("index", at, "attribute"))
    _check_kind(kind, at)
    if kind != "static" and attributes[name].is_set:
        raise InvalidInput(f"{name} is a set, and sets have no place in a key", where=pointer("index", at, "attribute"))
    return {"attribute": name, "type": kind, **_order(found, str(kind), at)}


def _check_kind(kind: object, at: int) -> None:
    where = pointer("index", at, "type")
    if kind == "proj":
        raise InvalidInput("proj has a meaning in secondary indexes only, and there are none", where=where)
    if not isinstance(kind, str):
        raise InvalidInput("the type of an element of the index is hash, range or static", where=where)
    if kind not in _ROLES:
        raise InvalidInput(f"the index knows no such type: {did_you_mean(kind, list(_ROLES))}", where=where)


def _order(found: Mapping[str, object], kind: str, at: int) -> dict[str, object]:
    order = found.get("order")
    if order is None:
        return {}
    where = pointer("index", at, "order")
    if order not in _ORDERS:
        raise InvalidInput("the order of a range column is asc or desc", where=where)
    if kind != "range":
        raise InvalidInput(f"a {kind} column has no order, only range columns have", where=where)
    return {"order": order}


def _version(found: object) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found < 2**63:
        raise InvalidInput("version is a positive integer", where="/version")
    return found


def _options(body: Mapping[str, object], limits: SchemaLimits) -> tuple[dict[str, object], tuple[str, ...]]:
    """Options in normal form, and the names of those that do nothing."""
    found = body.get("options", {})
    if not isinstance(found, dict):
        raise InvalidInput("options is an object", where="/options")
    for name in found:
        if name not in OPTIONS:
            raise InvalidInput(
                f"there is no such option, and none is accepted that would do nothing: {did_you_mean(name, OPTIONS)}",
                where=pointer("options", name[:NAME_CHARS_MAX]),
            )
    writes, where = _either(body, found, "writes", Discipline.CONDITIONAL.value)
    if writes not in (Discipline.CONDITIONAL.value, Discipline.PLAIN.value):
        raise InvalidInput("writes is conditional or plain", where=where)
    changes, where = _either(body, found, "changes", False)
    if not isinstance(changes, bool):
        raise InvalidInput("changes is true or false", where=where)
    _check_number(found, "default_time_to_live", least=0, most=TTL_MAX_S)
    _check_number(found, "partition_bytes_max", least=1, most=limits.partition_bytes_max)
    beside = {name: body[name] for name in BESIDE if name in body}
    return {**found, **beside}, tuple(hint for hint in HINTS if hint in found)


def _either(body: Mapping[str, object], options: Mapping[str, object], name: str, default: object) -> tuple[object, str]:
    """An option that may also stand beside the options, and where it stands."""
    if name in body and name in options and body[name] != options[name]:
        raise InvalidInput(f"{name} stands in the schema and in its options, and says two things", where=pointer(name))
    if name in options:
        return options[name], pointer("options", name)
    return body.get(name, default), pointer(name)


def _check_number(options: Mapping[str, object], name: str, *, least: int, most: int) -> None:
    """Refuse an option that is there and not a number of that range."""
    found = options.get(name, least)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise InvalidInput(f"{name} is an integer from {least} to {most}", where=pointer("options", name))

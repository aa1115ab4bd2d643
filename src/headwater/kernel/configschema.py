"""What a schema of sections offers: its shapes, its list of options, its JSON Schema. Pure."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from headwater.kernel.config import Bytes, Seconds, Secret, Section
from headwater.kernel.units import format_duration

_BYTE_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_UNIT_FORMS = {
    Seconds: {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|min|h|d)$"},
    Bytes: {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|kB|MB|GB|KiB|MiB|GiB|TiB)$"},
    Secret: {"type": "string"},
    Path: {"type": "string"},
}
_TYPE_NAMES = {
    Seconds: "duration",
    Bytes: "size",
    Secret: "secret",
    Path: "path",
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
}


class Kind(Enum):
    """How an option holds its value."""

    SECTION = "section"  # options of its own
    ENTRIES = "entries"  # a dictionary from names to values
    ITEMS = "items"  # a list of sections
    LEAF = "leaf"  # a value


@dataclass(frozen=True, slots=True)
class Shape:
    """A type as the configuration sees it: without annotations, None apart.

    Attributes:
        inner: the section's class, the type of entries or items, or the whole type of a leaf.
        whole: the type as declared.
    """

    kind: Kind
    inner: Any
    whole: Any
    optional: bool


@dataclass(frozen=True, slots=True)
class Option:
    """An option, for the reference page. `path` writes `<name>` for a free name and `[]` for an item of a list."""

    path: str
    type: str
    default: str | None
    description: str

    @property
    def variable(self) -> str:
        """The environment variable that overrides it; with `<NAME>` for a free name."""
        return "HEADWATER_" + "__".join(self.path.split(".")).upper()


def shape_of(declared: Any) -> Shape:
    """The shape of a declared type."""
    inner, optional = declared, False
    while True:
        if get_origin(inner) is Annotated:
            inner = get_args(inner)[0]
            continue
        alternatives = [one for one in get_args(inner) if one is not type(None)]
        if get_origin(inner) in (Union, types.UnionType) and len(alternatives) == 1:
            inner, optional = alternatives[0], True
            continue
        break
    if isinstance(inner, type) and issubclass(inner, Section):
        return Shape(Kind.SECTION, inner, declared, optional)
    if get_origin(inner) is dict:
        return Shape(Kind.ENTRIES, get_args(inner)[1], declared, optional)
    if get_origin(inner) in (tuple, list) and shape_of(get_args(inner)[0]).kind is not Kind.LEAF:
        return Shape(Kind.ITEMS, get_args(inner)[0], declared, optional)
    return Shape(Kind.LEAF, inner, declared, optional)


def fields_of(section: type[Section]) -> dict[str, msgspec.structs.FieldInfo]:
    """The options of a section by name."""
    return {info.name: info for info in msgspec.structs.fields(section)}


def options_of(schema: type[Section], *, prefix: str = "") -> Iterator[Option]:
    """Every option of a schema, sections entered, in the order of declaration."""
    for name, info in fields_of(schema).items():
        path = f"{prefix}{name}"
        shape = shape_of(info.type)
        if shape.kind is Kind.LEAF:
            yield Option(path, type_name(shape), _default_text(info), description_of(info.type))
            continue
        step = {Kind.SECTION: "", Kind.ENTRIES: ".<name>", Kind.ITEMS: "[]"}[shape.kind]
        below = shape if shape.kind is Kind.SECTION else shape_of(shape.inner)
        if below.kind is Kind.SECTION:
            yield from options_of(below.inner, prefix=f"{path}{step}.")
        else:
            yield Option(f"{path}{step}", type_name(below), _default_text(info), description_of(info.type))


def description_of(declared: Any) -> str:
    """The `doc(...)` of a declared type, or the empty text."""
    if get_origin(declared) is Annotated:
        for note in get_args(declared)[1:]:
            if isinstance(note, msgspec.Meta) and note.description:
                return note.description
    return ""


def type_name(shape: Shape) -> str:
    """The type of a leaf, in words."""
    inner = shape.inner
    if get_origin(inner) in (tuple, list):
        return f"list of {type_name(shape_of(get_args(inner)[0]))}"
    if isinstance(inner, type) and issubclass(inner, Enum):
        return "one of " + ", ".join(str(member.value) for member in inner)
    return _TYPE_NAMES.get(inner, str(inner))


def written(value: object) -> str:
    """A value as one would write it in the file; secrets are hidden."""
    match value:
        case Secret():
            return "(secret)"
        case bool():
            return "true" if value else "false"
        case Seconds():
            return format_duration(value)
        case Bytes():
            return next((f"{value // size}{unit}" for unit, size in _BYTE_UNITS if value and value % size == 0), f"{int(value)}B")
        case Enum():
            return str(value.value)
        case tuple() | list():
            return "[" + ", ".join(written(item) for item in value) + "]"
        case None:
            return "none"
        case _:
            return str(value)


def _default_text(info: msgspec.structs.FieldInfo) -> str | None:
    if info.default is not msgspec.NODEFAULT:
        return written(info.default)
    return None if info.default_factory is msgspec.NODEFAULT else "empty"


def json_schema(schema: type[Section]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the configuration file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_section_schema(schema)}


def _section_schema(section: type[Section]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, info in fields_of(section).items():
        properties[name] = _schema_of(info.type)
        description = description_of(info.type)
        if description:
            properties[name]["description"] = description
        shape = shape_of(info.type)
        if shape.inner is Secret:
            properties[f"{name}_file"] = {"type": "string", "description": f"File that holds `{name}`."}
        elif info.required and shape.kind is not Kind.SECTION:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema_of(declared: Any) -> dict[str, Any]:
    shape = shape_of(declared)
    match shape.kind:
        case Kind.SECTION:
            found = _section_schema(shape.inner)
        case Kind.ENTRIES:
            found = {"type": "object", "additionalProperties": _schema_of(shape.inner)}
        case Kind.ITEMS:
            found = {"type": "array", "items": _schema_of(shape.inner)}
        case Kind.LEAF:
            found = _leaf_schema(shape)
    return {"anyOf": [found, {"type": "null"}]} if shape.optional else found


def _leaf_schema(shape: Shape) -> dict[str, Any]:
    inner = shape.inner
    if inner in _UNIT_FORMS:
        return dict(_UNIT_FORMS[inner])
    if get_origin(inner) in (tuple, list):
        return {"type": "array", "items": _schema_of(get_args(inner)[0])}
    if isinstance(inner, type) and issubclass(inner, Enum):
        return {"enum": [member.value for member in inner]}
    return msgspec.json.schema(inner)

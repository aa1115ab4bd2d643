"""The column types as JSON Schemas (2020-12): what may be sent for a column, what is shown, and an example. Pure.

A schema takes what `headwater.tables.types` reads, as far as JSON Schema can say it; what it cannot say (padding of Base64, calendars,
digits within 64 bits) is answered 422 all the same.
"""

from collections.abc import Mapping

from headwater.tables.model import ColumnType, Kind
from headwater.tables.types import DIGITS_MAX, EXACT_MAX, INT_MAX, LONG_MAX, MEMBERS_MAX

JsonSchema = dict[str, object]

FLOAT_MAX = 3.4028234663852886e38
"""The largest number of 32 bits (IEEE 754)."""
_HEX = "[0-9a-fA-F]"
_UUID = rf"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$"
_TIMEUUID = rf"^{_HEX}{{8}}-{_HEX}{{4}}-1{_HEX}{{3}}-{_HEX}{{4}}-{_HEX}{{12}}$"
_ANY_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,3})?)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$"
)
_SHOWN_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
_DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?$"
_ONE_OF_MANY = {"type": "string", "pattern": f"^-?[0-9]{{1,{DIGITS_MAX}}}$"}
_BLOB: JsonSchema = {
    "type": "object",
    "properties": {"$base64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["$base64"],
    "additionalProperties": False,
}
_LONG_TEXT: JsonSchema = {"type": "string", "pattern": "^-?[0-9]{1,19}$"}

_SENT: Mapping[Kind, JsonSchema] = {
    Kind.STRING: {"type": "string"},
    Kind.BLOB: _BLOB,
    Kind.INT: {"type": "integer", "minimum": -INT_MAX - 1, "maximum": INT_MAX},
    Kind.VARINT: {"anyOf": [{"type": "integer"}, _ONE_OF_MANY]},
    Kind.LONG: {"anyOf": [{"type": "string", "pattern": "^-?[0-9]+$"}, {"type": "integer", "minimum": -LONG_MAX - 1, "maximum": LONG_MAX}]},
    Kind.DECIMAL: {"anyOf": [{"type": "string", "pattern": _DECIMAL}, {"type": "integer"}]},
    Kind.FLOAT: {"type": "number", "minimum": -FLOAT_MAX, "maximum": FLOAT_MAX},
    Kind.DOUBLE: {"type": "number"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.TIMEUUID: {"type": "string", "pattern": _TIMEUUID},
    Kind.UUID: {"type": "string", "pattern": _UUID},
    Kind.TIMESTAMP: {"type": "string", "pattern": _ANY_TIME},
    Kind.JSON: {"not": {"type": "null"}},
}
_SHOWN: Mapping[Kind, JsonSchema] = {
    Kind.VARINT: {"anyOf": [{"type": "integer", "minimum": -EXACT_MAX, "maximum": EXACT_MAX}, _ONE_OF_MANY]},
    Kind.LONG: _LONG_TEXT,
    Kind.DECIMAL: {"type": "string", "pattern": _DECIMAL},
    Kind.TIMEUUID: {"type": "string", "format": "uuid", "pattern": _TIMEUUID.replace("a-fA-F", "a-f")},
    Kind.UUID: {"type": "string", "format": "uuid", "pattern": _UUID.replace("a-fA-F", "a-f")},
    Kind.TIMESTAMP: {"type": "string", "format": "date-time", "pattern": _SHOWN_TIME},
}
_SAMPLES: Mapping[Kind, object] = {
    Kind.STRING: "Danube",
    Kind.BLOB: {"$base64": "UmhpbmU="},
    Kind.INT: 2850,
    Kind.VARINT: 1_230_000_000_000,
    Kind.LONG: "1230000000000",
    Kind.DECIMAL: "12.50",
    Kind.FLOAT: 0.5,
    Kind.DOUBLE: 48.0954,
    Kind.BOOLEAN: True,
    Kind.TIMEUUID: "8cf9a8e0-5f2d-11ee-8c99-0242ac120002",
    Kind.UUID: "1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b",
    Kind.TIMESTAMP: "2024-02-29T12:00:00.000Z",
    Kind.JSON: {"mouth": "Black Sea"},
}


def sent(type: ColumnType) -> JsonSchema:
    """What may be sent for a column of `type`, null excepted."""
    schema = _SENT[type.kind]
    return {"type": "array", "items": schema, "maxItems": MEMBERS_MAX} if type.is_set else schema


def shown(type: ColumnType) -> JsonSchema:
    """What is shown of a column of `type`, null excepted."""
    schema = _SHOWN.get(type.kind, _SENT[type.kind])
    return {"type": "array", "items": schema, "uniqueItems": True, "minItems": 1} if type.is_set else schema


def sample(type: ColumnType) -> object:
    """A value of `type`, as it is sent and shown."""
    value = _SAMPLES[type.kind]
    return [value] if type.is_set else value


def or_null(schema: JsonSchema) -> JsonSchema:
    """`schema`, or null."""
    return {"anyOf": [schema, {"type": "null"}]}

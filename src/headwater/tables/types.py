"""The column types: what JSON they take, how a value is kept, how it is shown, and its order. Pure.

Stored forms, all of which msgpack can carry:

    string      str, any Unicode scalar values, NUL included
    blob        bytes; in JSON `{"$base64": "…"}`
    int         int of 32 bits signed
    long        int of 64 bits signed; in JSON a decimal string, read also from an integer
    varint      int within 64 bits signed, beyond them its decimal text; in JSON a number up to 2^53, beyond that a decimal string
    decimal     its text as Java's BigDecimal writes it, scale kept; in JSON the same string
    float       float that 32 bits can hold, rounded to that
    double      float
    boolean     bool
    timeuuid    16 bytes, version 1; in JSON the canonical lower-case string
    uuid        16 bytes, any version
    timestamp   int, milliseconds since the epoch; in JSON ISO 8601 with milliseconds and `Z`
    json        UTF-8 bytes: compact, members sorted by name; in JSON the value itself
    set<T>      list, sorted by `order_of` T and without duplicates; the empty set is null, as in Cassandra

Nothing is converted where that would lose something, except by `float`: text is no number, 0 is not false, 1.0 is no integer.
"""

import binascii
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import msgspec
import orjson

from headwater.kernel.errors import InvalidInput
from headwater.tables.errors import WrongType
from headwater.tables.model import ColumnType, Kind, Stored

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
EXACT_MAX = 2**53
"""Up to here every JSON parser reads an integer exactly."""
DIGITS_MAX = 1000
"""Most digits of a varint or decimal."""
EXPONENT_MAX = 10_000
"""Largest exponent of a decimal's first digit, either way."""
MEMBERS_MAX = 65_535
"""Most members of a set as sent; each is read on the event loop."""

Reader = Callable[[object], Stored]
Shower = Callable[[Any], object]
Order = Callable[[Any], Any]

_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,3})?)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))?"
)
_MINUTE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_SECONDS = [f":{second:02}" for second in range(60)]
_MILLISECONDS = [f".{number:03}Z" for number in range(1000)]
_MS_OF_SECOND = {text: 1000 * second for second, text in enumerate(_SECONDS)}
_MS_OF_REST = {text: number for number, text in enumerate(_MILLISECONDS)}
_USUAL_TIMESTAMP_CHARS = len("2026-02-03T04:05:06.789Z")
_FLOAT32 = struct.Struct("<f")
_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_TIMESTAMP_MIN = (datetime.min - _EPOCH) // _MS
_TIMESTAMP_MAX = (datetime.max - _EPOCH) // _MS
_SIGN_OF_BYTES = bytes(byte ^ 0x80 for byte in range(256))
_KINDS = {kind.value: kind for kind in Kind}


def parse_type(text: str) -> ColumnType:
    """The type that a schema names: one of the 13, or `set<…>` of one.

    Raises:
        InvalidInput: there is no such type.
    """
    inner = text[4:-1] if text.startswith("set<") and text.endswith(">") else None
    kind = _KINDS.get(text if inner is None else inner)
    if kind is None:
        if inner is not None and inner.startswith("set<"):
            raise InvalidInput("a set holds no sets")
        raise InvalidInput(f"a type is one of {', '.join(_KINDS)}, or set<…> of one of them")
    return ColumnType(kind, is_set=inner is not None)


def reader_of(type: ColumnType, *, where: str) -> Reader:
    """What makes the stored form of a JSON value that is not null; an empty set is null.

    Args:
        type: of the column.
        where: its name, for the errors.

    Returns:
        A function that raises WrongType, with `where` and without the value.
    """
    convert, takes = converter_of(type), _READERS[type.kind][1]
    if type.is_set:
        takes = f"a JSON array of at most {MEMBERS_MAX} members, each {takes}"
    refusal = f"{where} is of type {type}, which takes {takes}"

    def read(value: object) -> Stored:
        try:
            return convert(value)
        except (ValueError, TypeError, OverflowError):
            raise WrongType(refusal, where=where) from None

    return read


def converter_of(type: ColumnType) -> Reader:
    """As `reader_of`, but raises ValueError, TypeError or OverflowError, which name nothing."""
    convert = _READERS[type.kind][0]
    return _set_of(convert, order_of(ColumnType(type.kind))) if type.is_set else convert


def shower_of(type: ColumnType) -> Shower:
    """What makes of a stored form, null excepted, something that `msgspec.json.encode` writes as the JSON of that type."""
    show = direct_shower_of(type)
    return _identity if show is None else show


def direct_shower_of(type: ColumnType) -> Shower | None:
    """As `shower_of`; None where the stored form is what is shown."""
    show = _SHOWERS.get(type.kind)
    if show is None or not type.is_set:
        return show
    return lambda values: [show(value) for value in values]


def order_of(type: ColumnType) -> Order:
    """What makes of a stored form, null excepted, a value that compares as Cassandra compares the type; of sets only equality counts."""
    order = _ORDERS.get(type.kind, _identity)
    if not type.is_set:
        return order
    return lambda values: [order(value) for value in values]


def uuid_order(value: bytes) -> bytes:
    """16 bytes that compare as Cassandra compares UUIDs: by version, then time for version 1 and the unsigned bytes for others."""
    if value[6] >> 4 == 1:
        return value[6:8] + value[4:6] + value[:4] + value[8:]
    digits = value[:8].hex()
    return bytes.fromhex(digits[12] + digits[:12] + digits[13:]) + value[8:]


def uuid_of_order(key: bytes) -> bytes:
    """The UUID that `uuid_order` made `key` of."""
    if key[0] >> 4 == 1:
        return key[4:8] + key[2:4] + key[:2] + key[8:]
    digits = key[:8].hex()
    return bytes.fromhex(digits[1:13] + digits[0] + digits[13:]) + key[8:]


def timeuuid_order(value: bytes) -> bytes:
    """16 bytes that compare as Cassandra compares timeuuids: by time, then by the rest as signed bytes."""
    return value[6:8] + value[4:6] + value[:4] + value[8:].translate(_SIGN_OF_BYTES)


def timeuuid_of_order(key: bytes) -> bytes:
    """The timeuuid that `timeuuid_order` made `key` of."""
    return key[4:8] + key[2:4] + key[:2] + key[8:].translate(_SIGN_OF_BYTES)


# Readers: JSON to stored form. What is not of the type is a ValueError, TypeError or OverflowError.


def _string(value: object) -> str:
    if type(value) is not str:
        raise ValueError
    if not value.isascii():
        value.encode()  # a lone surrogate has no encoding
    return value


def _blob(value: object) -> bytes:
    if type(value) is not dict or len(value) != 1:
        raise ValueError
    text = value.get("$base64")
    if type(text) is not str:
        raise ValueError
    return binascii.a2b_base64(text, strict_mode=True)


def _int(value: object) -> int:
    if type(value) is not int or not -INT_MAX - 1 <= value <= INT_MAX:
        raise ValueError
    return value


def _integer(value: object) -> int:
    if type(value) is int:
        return value
    if type(value) is not str or len(value) > DIGITS_MAX + 1 or _INTEGER.fullmatch(value) is None:
        raise ValueError
    return int(value)


def _long(value: object) -> int:
    number = _integer(value)
    if not -LONG_MAX - 1 <= number <= LONG_MAX:
        raise ValueError
    return number


def _varint(value: object) -> int | str:
    number = _integer(value)
    if -LONG_MAX - 1 <= number <= LONG_MAX:
        return number
    if abs(number) >= 10**DIGITS_MAX:
        raise ValueError
    return str(number)


def _decimal(value: object) -> str:
    if type(value) is int:
        return str(_varint(value))
    if type(value) is not str or len(value) > DIGITS_MAX + 16 or _DECIMAL.fullmatch(value) is None:
        raise ValueError
    number = Decimal(value)
    if len(number.as_tuple().digits) > DIGITS_MAX or abs(number.adjusted()) > EXPONENT_MAX:
        raise ValueError
    return str(number or number.copy_abs())  # Java knows no negative zero


def _double(value: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _float(value: object) -> float:
    rounded: float = _FLOAT32.unpack(_FLOAT32.pack(_double(value)))[0]
    return rounded


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _uuid(value: object) -> bytes:
    if type(value) is not str or _UUID.fullmatch(value) is None:
        raise ValueError
    return bytes.fromhex(value.replace("-", ""))


def _timeuuid(value: object) -> bytes:
    uuid = _uuid(value)
    if uuid[6] >> 4 != 1:
        raise ValueError
    return uuid


def _timestamp(value: object) -> int:
    if type(value) is not str:
        raise ValueError
    if len(value) == _USUAL_TIMESTAMP_CHARS:
        second_ms, rest_ms = _MS_OF_SECOND.get(value[16:19]), _MS_OF_REST.get(value[19:])
        if second_ms is not None and rest_ms is not None:
            return _minute_ms(value[:16]) + second_ms + rest_ms
    if _TIMESTAMP.fullmatch(value) is None:
        raise ValueError
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:  # a date alone is its midnight in UTC, as everywhere on the web
        at = at.replace(tzinfo=UTC)
    at_ms = (at - _EPOCH_UTC) // _MS
    if not _TIMESTAMP_MIN <= at_ms <= _TIMESTAMP_MAX:
        raise ValueError
    return at_ms


@lru_cache(maxsize=4096)
def _minute_ms(text: str) -> int:
    """When a minute begins; most of what is written now is of few. Raises ValueError."""
    if _MINUTE.fullmatch(text) is None:
        raise ValueError
    return (datetime.fromisoformat(text) - _EPOCH) // _MS


def _json(value: object) -> bytes:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if b"null" in text:
        _refuse_infinite(value)
    return memoryview(text).tobytes()  # what the encoder returns keeps a buffer of a KiB at least, which a set has once per member


def _refuse_infinite(value: object) -> None:
    """The encoder writes what is no JSON number as null; `_json` has found its depth to be small."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    if isinstance(value, dict | list):
        for member in value.values() if isinstance(value, dict) else value:
            _refuse_infinite(member)


def _set_of(convert: Reader, order: Order) -> Reader:
    def read(values: object) -> Stored:
        if type(values) is not list or len(values) > MEMBERS_MAX:
            raise ValueError
        if None in values:
            raise ValueError
        # Sorted and not hashed: Python hashes numbers so that whoever sends them can choose any number of them with the same hash.
        members = sorted(((order(member), member) for member in map(convert, values)), key=itemgetter(0))
        return cast(Stored, [member for n, (place, member) in enumerate(members) if n == 0 or members[n - 1][0] != place] or None)

    return read


_READERS: dict[Kind, tuple[Reader, str]] = {
    Kind.STRING: (_string, "a JSON string without lone surrogates"),
    Kind.BLOB: (_blob, '{"$base64": "…"}, in the standard alphabet and padded'),
    Kind.INT: (_int, "a JSON integer within 32 bits signed"),
    Kind.VARINT: (_varint, f"an integer, as JSON number or beyond 2^53 as a decimal string, of at most {DIGITS_MAX} digits"),
    Kind.LONG: (_long, "a decimal string of an integer within 64 bits signed"),
    Kind.DECIMAL: (_decimal, f"a string such as 12.50 or 1E-7, of at most {DIGITS_MAX} digits and an exponent within ±{EXPONENT_MAX}"),
    Kind.FLOAT: (_float, "a JSON number within the range of 32 bits"),
    Kind.DOUBLE: (_double, "a JSON number within the range of 64 bits"),
    Kind.BOOLEAN: (_boolean, "true or false"),
    Kind.TIMEUUID: (_timeuuid, "a UUID of version 1 in its canonical form"),
    Kind.UUID: (_uuid, "a UUID in its canonical form"),
    Kind.TIMESTAMP: (_timestamp, "an ISO 8601 time with an offset or Z and at most milliseconds, or a date"),
    Kind.JSON: (_json, "any JSON value but null"),
}


# Showers: stored form to JSON


def _identity(value: Any) -> Any:
    return value


def _show_blob(value: bytes) -> dict[str, str]:
    return {"$base64": binascii.b2a_base64(value, newline=False).decode("ascii")}


def _show_varint(value: int | str) -> int | str:
    return value if isinstance(value, int) and -EXACT_MAX <= value <= EXACT_MAX else str(value)


def _show_uuid(value: bytes) -> str:
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _show_timestamp(value: int) -> str:
    minute, rest_ms = divmod(value, 60_000)
    return f"{_minute(minute)}{_SECONDS[rest_ms // 1000]}{_MILLISECONDS[rest_ms % 1000]}"


@lru_cache(maxsize=4096)
def _minute(number: int) -> str:
    """A minute since the epoch as it is shown; rows that are read together are mostly of few."""
    return (_EPOCH + timedelta(minutes=number)).isoformat(timespec="minutes")


_SHOWERS: dict[Kind, Shower] = {
    Kind.BLOB: _show_blob,
    Kind.VARINT: _show_varint,
    Kind.LONG: str,
    Kind.TIMEUUID: _show_uuid,
    Kind.UUID: _show_uuid,
    Kind.TIMESTAMP: _show_timestamp,
    Kind.JSON: msgspec.Raw,  # written as it is, without having been read
}

_ORDERS: dict[Kind, Order] = {
    Kind.VARINT: int,
    Kind.DECIMAL: Decimal,
    Kind.TIMEUUID: timeuuid_order,
    Kind.UUID: uuid_order,
}

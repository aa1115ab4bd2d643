"""Keys as bytes: comparing two keys of the same columns as unsigned bytes compares their values, column by column. Pure.

Invariants, for keys of the same columns: order is that of `headwater.tables.types.order_of`, or its reverse in descending columns; what
compares as equal has one key; no key is the beginning of another, so that a key followed by keys of further columns sorts as both together.
Null and sets have no key.

    string, blob, json      the bytes, with 00 written as 00 FF, and 00 00 at the end
    int, long, timestamp    big-endian with the sign bit turned
    float, double           big-endian; all bits turned where negative, the sign bit otherwise; -0.0 as 0.0
    varint                  two bytes of sign and length, then the magnitude; turned where negative
    decimal                 a byte of sign, two of exponent, the digits without zeros at the end, 00; turned after the sign where negative
    boolean                 00 or 01
    uuid, timeuuid          16 bytes, rearranged as their order asks
    descending columns      all bits turned
"""

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from headwater.tables.model import Column, Kind, Stored
from headwater.tables.types import timeuuid_of_order, timeuuid_order, uuid_of_order, uuid_order

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int], tuple[Any, int]]
"""Of a key and the place where the column begins: its value, and where the next begins."""

_TURNED = bytes(byte ^ 0xFF for byte in range(256))
_END, _TURNED_END = b"\0\0", b"\xff\xff"
_PLAIN_DIGITS_MAX = 40
"""A decimal from a key is written without exponent up to this length."""


def encode(column: Column, value: Stored) -> bytes:
    """The key of one value of a column that is neither null nor a set."""
    return encoder_of(column)(value)


def encode_all(columns: Sequence[Column], values: Sequence[Stored]) -> bytes:
    """The key of values of the first columns of `columns`, as many as there are values."""
    return b"".join(encode(column, value) for column, value in zip(columns, values, strict=False))


def decode(columns: Sequence[Column], key: bytes) -> list[Stored]:
    """The values that a whole key was made of; decimals come back without zeros at the end."""
    return decoder_of(columns)(key)


def after_prefix(prefix: bytes) -> bytes | None:
    """The smallest bytes above everything that begins with `prefix`; None: there is nothing above."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def encoder_of(column: Column) -> Encoder:
    """`encode` for one column, to be kept where speed matters."""
    assert not column.type.is_set, "a set has no key"
    plain = _ENCODERS[column.type.kind]
    if not column.descending:
        return plain
    return lambda value: plain(value).translate(_TURNED)


def decoder_of(columns: Sequence[Column]) -> Callable[[bytes], list[Stored]]:
    """`decode` for some columns, to be kept where speed matters."""
    parts = [_decoder(column) for column in columns]
    if len(parts) == 1:
        only = parts[0]
        return lambda key: [only(key, 0)[0]]

    def decode_key(key: bytes) -> list[Stored]:
        at = 0
        values = []
        for part in parts:
            value, at = part(key, at)
            values.append(value)
        return values

    return decode_key


def _decoder(column: Column) -> Decoder:
    kind = column.type.kind
    if kind in _FIXED:
        return _fixed(*_FIXED[kind], turned=column.descending)
    if kind in _DELIMITED:
        return _delimited(_DELIMITED[kind], turned=column.descending)
    plain = _decode_varint if kind is Kind.VARINT else _decode_decimal
    if not column.descending:
        return plain
    return lambda key, at: plain(key.translate(_TURNED), at)


# Text and bytes


def _encode_bytes(value: bytes) -> bytes:
    return (value.replace(b"\0", b"\0\xff") if b"\0" in value else value) + _END


def string_key(value: str) -> bytes:
    """The key of text, ascending."""
    raw = value.encode()
    return (raw.replace(b"\0", b"\0\xff") if b"\0" in raw else raw) + _END


def _delimited(convert: Callable[[bytes], Any] | None, *, turned: bool) -> Decoder:
    end = _TURNED_END if turned else _END

    def decode_part(key: bytes, at: int) -> tuple[Any, int]:
        until = key.index(end, at)
        part = key[at:until]
        if turned:
            part = part.translate(_TURNED)
        if b"\0" in part:
            part = part.replace(b"\0\xff", b"\0")
        return part if convert is None else convert(part), until + 2

    return decode_part


# Numbers of fixed size

_LONG_SIGN, _INT_SIGN = 1 << 63, 1 << 31


def _encode_int(value: int) -> bytes:
    return (value + _INT_SIGN).to_bytes(4, "big")


def _encode_long(value: int) -> bytes:
    return (value + _LONG_SIGN).to_bytes(8, "big")


def _encode_boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def _ieee(format: str, size: int) -> tuple[Encoder, Callable[[bytes], Any]]:
    packed = struct.Struct(format)
    sign = bytes((0x80,)) + bytes(size - 1)

    def encode_number(value: float) -> bytes:
        raw = packed.pack(value + 0.0)  # of -0.0 this makes 0.0
        return raw.translate(_TURNED) if raw[0] & 0x80 else bytes((raw[0] | 0x80,)) + raw[1:]

    def decode_number(key: bytes) -> float:
        raw = bytes((key[0] ^ sign[0],)) + key[1:] if key[0] & 0x80 else key.translate(_TURNED)
        number: float = packed.unpack(raw)[0]
        return number

    return encode_number, decode_number


_encode_float, _decode_float = _ieee(">f", 4)
_encode_double, _decode_double = _ieee(">d", 8)


def _fixed(size: int, convert: Callable[[bytes], Any], *, turned: bool) -> Decoder:
    if turned:
        return lambda key, at: (convert(key[at : at + size].translate(_TURNED)), at + size)
    return lambda key, at: (convert(key[at : at + size]), at + size)


# Numbers of any size


def _encode_varint(value: int | str) -> bytes:
    number = int(value)
    magnitude = abs(number).to_bytes((abs(number).bit_length() + 7) // 8, "big")
    if number >= 0:
        return (0x8000 + len(magnitude)).to_bytes(2, "big") + magnitude
    return (0x7FFF - len(magnitude)).to_bytes(2, "big") + magnitude.translate(_TURNED)


def _decode_varint(key: bytes, at: int) -> tuple[int | str, int]:
    head = int.from_bytes(key[at : at + 2], "big")
    negative = head < 0x8000
    until = at + 2 + (0x7FFF - head if negative else head - 0x8000)
    part = key[at + 2 : until]
    number = -int.from_bytes(part.translate(_TURNED), "big") if negative else int.from_bytes(part, "big")
    return number if -_LONG_SIGN <= number < _LONG_SIGN else str(number), until


def _encode_decimal(value: str) -> bytes:
    number = Decimal(value)
    if not number:
        return b"\1"
    digits = "".join(map(str, number.as_tuple().digits))
    text = (number.adjusted() + 0x8000).to_bytes(2, "big") + digits.rstrip("0").encode() + b"\0"
    return b"\2" + text if number > 0 else b"\0" + text.translate(_TURNED)


def _decode_decimal(key: bytes, at: int) -> tuple[str, int]:
    sign = key[at]
    if sign == 1:
        return "0", at + 1
    until = key.index(b"\0" if sign else b"\xff", at + 3)
    text = key[at + 1 : until] if sign else key[at + 1 : until].translate(_TURNED)
    digits = text[2:].decode()
    exponent = int.from_bytes(text[:2], "big") - 0x8000 - len(digits) + 1
    if 0 < exponent <= _PLAIN_DIGITS_MAX - len(digits):
        digits, exponent = digits + "0" * exponent, 0
    return str(Decimal(f"{'' if sign else '-'}{digits}E{exponent}")), until + 1


_ENCODERS: dict[Kind, Encoder] = {
    Kind.STRING: string_key,
    Kind.BLOB: _encode_bytes,
    Kind.INT: _encode_int,
    Kind.VARINT: _encode_varint,
    Kind.LONG: _encode_long,
    Kind.DECIMAL: _encode_decimal,
    Kind.FLOAT: _encode_float,
    Kind.DOUBLE: _encode_double,
    Kind.BOOLEAN: _encode_boolean,
    Kind.TIMEUUID: timeuuid_order,
    Kind.UUID: uuid_order,
    Kind.TIMESTAMP: _encode_long,
    Kind.JSON: _encode_bytes,
}
_DELIMITED: dict[Kind, Callable[[bytes], Any] | None] = {Kind.STRING: bytes.decode, Kind.BLOB: None, Kind.JSON: None}
_FIXED: dict[Kind, tuple[int, Callable[[bytes], Any]]] = {
    Kind.INT: (4, lambda key: int.from_bytes(key, "big") - _INT_SIGN),
    Kind.LONG: (8, lambda key: int.from_bytes(key, "big") - _LONG_SIGN),
    Kind.FLOAT: (4, _decode_float),
    Kind.DOUBLE: (8, _decode_double),
    Kind.BOOLEAN: (1, lambda key: key != b"\0"),
    Kind.TIMEUUID: (16, timeuuid_of_order),
    Kind.UUID: (16, uuid_of_order),
    Kind.TIMESTAMP: (8, lambda key: int.from_bytes(key, "big") - _LONG_SIGN),
}

"""Laws of order: rows come in the order of their range columns, whatever the type, up and down; one law per type and direction."""

import asyncio
from collections.abc import Mapping, Sequence

from headwater.tables.model import Stored
from headwater.testing.table_laws.setting import Law, TableEngine, opened, table_of


def _uuid1(time: int, tail: bytes = bytes(8)) -> bytes:
    """A version 1 UUID of a time in units of 100 ns."""
    high, mid, low = time >> 48, time >> 32 & 0xFFFF, time & 0xFFFFFFFF
    return low.to_bytes(4) + mid.to_bytes(2) + (high | 0x1000).to_bytes(2) + tail


def _uuid(version: int, first: int) -> bytes:
    """A UUID of a version that begins with a byte."""
    return bytes((first, *bytes(5), version << 4, *bytes(9)))


IN_ORDER: Mapping[str, Sequence[Stored]] = {
    "string": ("", "\x00", "\x00\x00", "\x01", "A", "Z", "a", "a\x00", "aa", "z", "é", "ж", "ก", "中", "\uffff", "\U0001f30a"),
    "blob": (b"", b"\x00", b"\x00\x00", b"\x00\xff", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff\x00", b"\xff\xff"),
    "int": (-(2**31), -65_536, -256, -255, -1, 0, 1, 255, 256, 65_536, 2**31 - 1),
    "long": (-(2**63), -(2**32), -(2**31), -1, 0, 1, 2**31, 2**32, 2**63 - 1),
    "varint": (-(2**53), -(2**40), -256, -255, -1, 0, 1, 127, 128, 255, 256, 2**40, 2**53),
    "decimal": ("-1E+30", "-100", "-10.5", "-10.25", "-1", "-0.001", "0", "0.0001", "0.5", "0.75", "1", "9.99", "10", "1E+30"),
    "float": (-3.0e38, -1.5, -1e-40, 0.0, 1e-40, 0.5, 1.0, 1.5, 3.0e38),
    "double": (-1.7e308, -1.0, -5e-324, 0.0, 5e-324, 0.1, 1.0, 2.0, 1.7e308),
    "boolean": (False, True),
    "timestamp": (-(2**52), -1, 0, 1, 2**40, 2**52),
    "json": (b'""', b'"a"', b"0", b"1", b"10", b"[]", b"{}"),
    "timeuuid": (
        *(_uuid1(time) for time in (0, 1, 0xFF, 0x100, 0xFFFFFFFF, 0x1_0000_0000, 0xFFFF_FFFF_FFFF, 0x1_0000_0000_0000)),
        *(_uuid1(0xFFF_FFFF_FFFF_FFFF, bytes((first, *bytes(7)))) for first in (0x80, 0xFF, 0x00, 0x7F)),
    ),
    "uuid": (_uuid1(0), _uuid1(0xFFFFFFFF), _uuid1(0x1_0000_0000), _uuid(4, 0x00), _uuid(4, 0x7F), _uuid(4, 0x80), _uuid(5, 0x00)),
}


def _law(type: str, *, descending: bool) -> Law:
    async def law(engine: TableEngine) -> None:
        async with opened(engine, table_of(ranges=f"r:{type}{'-' if descending else ''}")) as t:
            keys = IN_ORDER[type]
            await asyncio.gather(*(t.put(key, v="x") for key in (*keys[1::3], *keys[::-3], *keys)))
            expected = [t.clustering(key) for key in (reversed(IN_ORDER[type]) if descending else IN_ORDER[type])]
            assert [row.clustering for row in await t.all(t.slice(limit=3))] == expected
            assert [row.clustering for row in await t.all(t.slice(limit=3, backwards=True))] == expected[::-1]

    law.__name__ = f"rows_come_in_the_order_of_{type}_{'descending' if descending else 'ascending'}"
    return law


async def several_range_columns_sort_one_after_the_other(engine: TableEngine) -> None:
    """Several range columns sort one after the other."""
    async with opened(engine, table_of(ranges="r:string s:int- u:string")) as t:
        keys = [("a", 2, "x"), ("a", 1, ""), ("a", 1, "y"), ("a", -1, "z"), ("aa", 5, "x"), ("b", 0, "x")]
        for key in keys[::-1]:
            await t.write(t.put_of(key, {"v": "x"}))
        assert [row.clustering for row in await t.all(t.slice())] == [t.clustering(*key) for key in keys]


LAWS: tuple[Law, ...] = (
    *(_law(type, descending=descending) for type in IN_ORDER for descending in (False, True)),
    several_range_columns_sort_one_after_the_other,
)

"""How records lie in the file: slots, headers, checksums.

A record's slot is its partition's id times 2^42 plus its offset: one table whose integer key holds all partitions, each in its own range.
"""

import struct
import zlib

import msgspec

from headwater.kernel.errors import Corrupted
from headwater.log.model import Headers, Offset, PartitionId, Position, Record

OFFSET_BITS = 42
OFFSET_MASK = (1 << OFFSET_BITS) - 1

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode
_checksummed = struct.Struct("<QQQiii").pack

Row = tuple[int, int, int, int, bytes | None, bytes | None, bytes | None]  # slot, time, appended, checksum, key, headers, value


def slot_of(partition_id: int, offset: int) -> int:
    """Where the record of `offset` lies."""
    assert 0 <= offset <= OFFSET_MASK
    return (partition_id << OFFSET_BITS) | offset


def offset_of(slot: int) -> Offset:
    """The offset of the record in `slot`."""
    return Offset(slot & OFFSET_MASK)


def partition_id_of(slot: int) -> int:
    """The id of the partition to which `slot` belongs."""
    return slot >> OFFSET_BITS


def encode_headers(headers: Headers) -> bytes | None:
    """Headers as stored: MessagePack, NULL for none."""
    return _encode_headers(headers) if headers else None


def _length(value: bytes | None) -> int:
    return -1 if value is None else len(value)


def checksum_of(slot: int, time_ms: int, appended_ms: int, *, key: bytes | None, headers: bytes | None, value: bytes | None) -> int:
    """CRC-32 over everything that is served and where it lies, so that a record in the wrong place does not match either."""
    checksum = zlib.crc32(_checksummed(slot, time_ms, appended_ms, _length(key), _length(headers), _length(value)))
    for part in (key, headers, value):
        if part:
            checksum = zlib.crc32(part, checksum)
    return checksum


def decode(row: Row, partition: PartitionId) -> Record:
    """The record in `row`.

    Raises:
        Corrupted: it does not match its checksum.
    """
    slot, time_ms, appended_ms, checksum, key, headers, value = row
    if checksum != checksum_of(slot, time_ms, appended_ms, key=key, headers=headers, value=value):
        raise Corrupted(f"record {offset_of(slot)} of {partition.stream}/{partition.number} does not match its checksum")
    return Record(
        position=Position(partition, offset_of(slot)),
        value=value,
        time_ms=time_ms,
        key=key,
        headers=_decode_headers(headers) if headers else (),
    )

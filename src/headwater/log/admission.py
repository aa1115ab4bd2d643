"""Which streams and records every engine takes: pure checks, so that engines cannot differ in them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headwater.kernel.errors import HeadwaterError, InvalidInput, NotFound, TooLarge
from headwater.log.model import NewRecord, Policy, StreamSpec, partition_of

PARTITIONS_MAX = 1024
HEADERS_MAX = 64
HEADERS_BYTES_MAX = 64 * 2**10
KEY_BYTES_MAX = 64 * 2**10
TIME_MS_MAX = 2**52
_STREAM_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_OWNED_NAME_CHARS_MAX = 400


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may carry.

    Attributes:
        record_bytes_max: key, value and headers of one record together.
        append_records_max: records of one `append` or `append_atomic`.
        append_bytes_max: bytes of all records of one call.
        read_records_max: records after which a read stops early, whatever limit it was given.
        read_bytes_max: bytes after which a read stops early; one larger record is still served, alone.
        waiting_bytes_max: bytes of appends that may wait for the disk; beyond it appends are refused as overloaded.
    """

    record_bytes_max: int = 8 * 2**20
    append_records_max: int = 10_000
    append_bytes_max: int = 64 * 2**20
    read_records_max: int = 250
    read_bytes_max: int = 256 * 2**10
    waiting_bytes_max: int = 128 * 2**20


def check_name(name: str, *, what: str) -> None:
    """Raise InvalidInput unless `name` can name an owned thing or a group: 1 to 400 printable ASCII characters."""
    if not 1 <= len(name) <= _OWNED_NAME_CHARS_MAX or not name.isascii() or not name.isprintable():
        raise InvalidInput(f"a {what} is 1 to {_OWNED_NAME_CHARS_MAX} printable ASCII characters", where=what)


def check_spec(spec: StreamSpec, *, known: StreamSpec | None) -> None:
    """Raise InvalidInput unless `spec` may be declared where the stream is declared as `known`, or new."""
    if not _STREAM_NAME.fullmatch(spec.name):
        raise InvalidInput("a stream's name is 1 to 200 of A-Z a-z 0-9 . _ -", where="name")
    if not 1 <= spec.partitions <= PARTITIONS_MAX:
        raise InvalidInput(f"a stream has 1 to {PARTITIONS_MAX} partitions", where="partitions")
    if known is not None and spec.partitions < known.partitions:
        raise InvalidInput(f"stream {spec.name} has {known.partitions} partitions and never loses any", where="partitions")
    if known is not None and (spec.policy is Policy.COMPACT) != (known.policy is Policy.COMPACT):
        raise InvalidInput(f"stream {spec.name} cannot begin or cease to be compacted", where="policy")
    for name, value in (("age_ms_max", spec.age_ms_max), ("bytes_max", spec.bytes_max)):
        if value is not None and value < 0:
            raise InvalidInput(f"{name} is not negative", where=name)


def record_bytes(record: NewRecord) -> int:
    """Bytes that count against the limits: key, value, header names and values."""
    size = len(record.value or b"") + len(record.key or b"")
    return size + headers_bytes(record) if record.headers else size


def headers_bytes(record: NewRecord) -> int:
    """Bytes of header names and values."""
    size = 0
    for name, value in record.headers:
        size += len(name) + len(value)
    return size


def partition_number(record: NewRecord, spec: StreamSpec) -> int:
    """The partition that `record` goes to; it may not exist when the record names it itself."""
    return partition_of(record.key, spec.partitions) if record.partition is None else record.partition


def refusal(record: NewRecord, size: int, spec: StreamSpec | None, limits: Limits) -> HeadwaterError | None:
    """Why `record`, of `size` by `record_bytes`, cannot be appended to the stream declared by `spec`, or None if it can."""
    if spec is None:
        return NotFound(f"stream {record.stream!r} is not declared", where="stream")
    if record.partition is not None and not 0 <= record.partition < spec.partitions:
        return NotFound(f"stream {spec.name} has no partition {record.partition}", where="partition")
    if record.key is None and spec.policy is Policy.COMPACT:
        return InvalidInput(f"records of the compacted stream {spec.name} have a key", where="key")
    if record.value is None and spec.policy is not Policy.COMPACT:
        return InvalidInput(f"stream {spec.name} is not compacted: no tombstones", where="value")
    if not 0 <= record.time_ms <= TIME_MS_MAX:
        return InvalidInput(f"a record's time is 0 to {TIME_MS_MAX} ms", where="time_ms")
    if size > limits.record_bytes_max:
        return TooLarge(f"a record has at most {limits.record_bytes_max} bytes", where="value")
    if size > KEY_BYTES_MAX and len(record.key or b"") > KEY_BYTES_MAX:
        return TooLarge(f"a key has at most {KEY_BYTES_MAX} bytes", where="key")
    return _headers_refusal(record, size)


def _headers_refusal(record: NewRecord, size: int) -> HeadwaterError | None:
    if len(record.headers) > HEADERS_MAX:
        return TooLarge(f"a record has at most {HEADERS_MAX} headers", where="headers")
    for name, _ in record.headers:
        if not name.isascii():
            return InvalidInput("header names are ASCII", where="headers")
    if size > HEADERS_BYTES_MAX and headers_bytes(record) > HEADERS_BYTES_MAX:
        return TooLarge(f"the headers of a record have at most {HEADERS_BYTES_MAX} bytes", where="headers")
    return None


def check_call(records: Sequence[NewRecord], limits: Limits) -> Sequence[int]:
    """The size of each record by `record_bytes`; raises TooLarge if one call carries too many records or bytes."""
    if len(records) > limits.append_records_max:
        raise TooLarge(f"one append has at most {limits.append_records_max} records")
    sizes = [record_bytes(record) for record in records]
    if sum(sizes) > limits.append_bytes_max:
        raise TooLarge(f"one append has at most {limits.append_bytes_max} bytes")
    return sizes


def check_all(records: Sequence[NewRecord], specs: Mapping[str, StreamSpec], limits: Limits) -> Sequence[int]:
    """The size of each record by `record_bytes`; raises the first refusal among `records`, for calls that are all or nothing."""
    sizes = check_call(records, limits)
    for record, size in zip(records, sizes, strict=True):
        error = refusal(record, size, specs.get(record.stream), limits)
        if error is not None:
            raise error
    return sizes

"""Bytes of changes, commits and checkpoints. Decisions: `docs/decisions/0015`.

Records of the streams `changes.<wiki>` and `commits.<wiki>` are JSON objects, so that a person can read them with any tool; rows of
the checkpoint, which nobody else reads, are MessagePack arrays. Each carries a format version first: what is newer than this code is
refused (FormatTooNew), anything else that does not decode exactly is Corrupted.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from pyroaring import BitMap

from headwater.kernel.errors import Corrupted, FormatTooNew
from headwater.propagation.ages import Entry
from headwater.propagation.model import BodyHash, Change, CommitRecord, Lsn, PageKey, Resource, Seq, Title, Urgency
from headwater.propagation.state import Mark, Node

FORMAT = 1


class _Versioned(msgspec.Struct, frozen=True):
    v: int


class _VersionedRow(_Versioned, frozen=True, array_like=True):
    pass


class _Change(_Versioned, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    resource: str
    cause: str
    urgency: int
    event_id: str
    time_ms: int
    rev: int | None = None
    page_id: int | None = None
    title: str | None = None
    erase_rev: int | None = None


class _Commit(_Versioned, frozen=True, forbid_unknown_fields=True):
    page: int
    product: str
    seq: int
    step: int
    title: str
    html_hash: str | None
    body_seq: int
    redirect: str | None
    rev: int | None
    reads: tuple[str, ...]
    time_ms: int


class _Node(_VersionedRow, frozen=True, forbid_unknown_fields=True):
    page: int
    title: str
    named: int
    named_by: str
    commit: _Commit | None


class _Mark(_VersionedRow, frozen=True, forbid_unknown_fields=True):
    lsn: int
    rev: int | None
    time_ms: int
    happened_ms: int
    bare_ms: int
    urgency: int
    cause: str


class _Waiting(_VersionedRow, frozen=True, forbid_unknown_fields=True):
    entries: tuple[tuple[int, bytes], ...]


_Wire = TypeVar("_Wire", bound=_Versioned)
_to_json = msgspec.json.Encoder()
_to_msgpack = msgspec.msgpack.Encoder()
_change_of = msgspec.json.Decoder(_Change)
_commit_of = msgspec.json.Decoder(_Commit)
_version_of = msgspec.json.Decoder(_Versioned)
_node_of = msgspec.msgpack.Decoder(_Node)
_mark_of = msgspec.msgpack.Decoder(_Mark)
_waiting_of = msgspec.msgpack.Decoder(_Waiting)
_row_version_of = msgspec.msgpack.Decoder(_VersionedRow)


def encode_change(change: Change) -> bytes:
    """The value of a record of `changes.<wiki>`."""
    return _to_json.encode(
        _Change(
            FORMAT,
            change.resource,
            change.cause,
            int(change.urgency),
            change.event_id,
            change.time_ms,
            change.rev,
            change.page_id,
            change.title,
            change.erase_rev,
        )
    )


def decode_change(value: bytes) -> Change:
    """The change in a record of `changes.<wiki>`. Raises Corrupted, FormatTooNew."""
    wire = _decode(_change_of, _version_of, value)
    if not 0 <= wire.urgency <= Urgency.REST or ":" not in wire.resource:
        raise Corrupted("a change names no such resource or urgency")
    return Change(
        resource=Resource(wire.resource),
        cause=wire.cause,
        urgency=Urgency(wire.urgency),
        event_id=wire.event_id,
        time_ms=wire.time_ms,
        rev=wire.rev,
        page_id=None if wire.page_id is None else PageKey(wire.page_id),
        title=None if wire.title is None else Title(wire.title),
        erase_rev=wire.erase_rev,
    )


def encode_commit(record: CommitRecord) -> bytes:
    """The value of a record of `commits.<wiki>`."""
    return _to_json.encode(_commit_wire(record))


def decode_commit(value: bytes) -> CommitRecord:
    """The commit in a record of `commits.<wiki>`. Raises Corrupted, FormatTooNew."""
    return _commit_record(_decode(_commit_of, _version_of, value))


def encode_node(node: Node) -> bytes:
    """A page's row in the checkpoint."""
    commit = None if node.record is None else _commit_wire(node.record)
    return _to_msgpack.encode(_Node(FORMAT, node.page, node.title, node.named, node.named_by, commit))


def decode_node(value: bytes) -> Node:
    """The page in a row of the checkpoint. Raises Corrupted, FormatTooNew."""
    wire = _decode(_node_of, _row_version_of, value)
    record = None if wire.commit is None else _commit_record(wire.commit)
    return Node(PageKey(wire.page), Title(wire.title), Lsn(wire.named), wire.named_by, record)


def encode_mark(mark: Mark) -> bytes:
    """A resource's row in the checkpoint."""
    return _to_msgpack.encode(
        _Mark(FORMAT, mark.lsn, mark.rev, mark.time_ms, mark.happened_ms, mark.bare_ms, int(mark.urgency), mark.cause)
    )


def decode_mark(value: bytes) -> Mark:
    """The mark in a row of the checkpoint. Raises Corrupted, FormatTooNew."""
    wire = _decode(_mark_of, _row_version_of, value)
    if not 0 <= wire.urgency <= Urgency.REST:
        raise Corrupted("a mark names no such urgency")
    return Mark(Lsn(wire.lsn), wire.rev, wire.time_ms, wire.happened_ms, wire.bare_ms, Urgency(wire.urgency), wire.cause)


def encode_waiting(entries: Iterable[Entry]) -> bytes:
    """The dirty pages of one class in the checkpoint, with the times since which they wait."""
    return _to_msgpack.encode(_Waiting(FORMAT, tuple((entry.time_ms, entry.pages.serialize()) for entry in entries)))


def decode_waiting(value: bytes) -> tuple[Entry, ...]:
    """The dirty pages of one class in the checkpoint. Raises Corrupted, FormatTooNew."""
    wire = _decode(_waiting_of, _row_version_of, value)
    try:
        return tuple(Entry(time_ms, BitMap.deserialize(pages)) for time_ms, pages in wire.entries)
    except ValueError as error:
        raise Corrupted("a bitmap of the checkpoint cannot be read") from error


def _commit_wire(record: CommitRecord) -> _Commit:
    return _Commit(
        FORMAT,
        record.page,
        record.product,
        record.seq,
        record.step,
        record.title,
        record.html_hash,
        record.body_seq,
        record.redirect,
        record.rev,
        record.reads,
        record.time_ms,
    )


def _commit_record(wire: _Commit) -> CommitRecord:
    return CommitRecord(
        page=PageKey(wire.page),
        product=wire.product,
        seq=Seq(wire.seq),
        step=Lsn(wire.step),
        title=Title(wire.title),
        html_hash=None if wire.html_hash is None else BodyHash(wire.html_hash),
        body_seq=Seq(wire.body_seq),
        redirect=None if wire.redirect is None else Title(wire.redirect),
        rev=wire.rev,
        reads=tuple(map(Resource, wire.reads)),
        time_ms=wire.time_ms,
    )


def _decode(
    decoder: "msgspec.json.Decoder[_Wire] | msgspec.msgpack.Decoder[_Wire]",
    versions: "msgspec.json.Decoder[_Versioned] | msgspec.msgpack.Decoder[_VersionedRow]",
    value: bytes,
) -> _Wire:
    try:
        wire = decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _refuse_newer(_version(versions, value))
        raise Corrupted("a record of propagation does not decode") from error
    _refuse_newer(wire.v)
    if wire.v < 1:
        raise Corrupted("a record of propagation has no such format")
    return wire


def _version(versions: "msgspec.json.Decoder[_Versioned] | msgspec.msgpack.Decoder[_VersionedRow]", value: bytes) -> int:
    try:
        return versions.decode(value).v
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0  # not even a version: the caller reports it as corrupted


def _refuse_newer(version: int) -> None:
    if version > FORMAT:
        raise FormatTooNew(f"a record of propagation has format {version}; this version of Headwater reads {FORMAT}")

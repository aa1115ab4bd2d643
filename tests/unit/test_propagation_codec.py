"""Bytes of changes, commits and checkpoint rows: what is written comes back, anything else is refused."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from headwater.kernel.errors import Corrupted, FormatTooNew
from headwater.propagation import codec
from headwater.propagation.ages import Entry
from headwater.propagation.model import BodyHash, Change, CommitRecord, Lsn, PageKey, Resource, Seq, Title, Urgency
from headwater.propagation.state import Mark, Node

INTS = st.integers(min_value=0, max_value=2**63 - 1)
TEXTS = st.text(max_size=20)
TITLES = TEXTS.map(Title)
CHANGES = st.builds(
    Change,
    resource=TEXTS.map(lambda name: Resource(f"c:{name}")),
    cause=TEXTS,
    urgency=st.sampled_from(Urgency),
    event_id=TEXTS,
    time_ms=INTS,
    rev=st.none() | INTS,
    page_id=st.none() | INTS.map(PageKey),
    title=st.none() | TITLES,
    erase_rev=st.none() | INTS,
)
COMMITS = st.builds(
    CommitRecord,
    page=INTS.map(PageKey),
    product=TEXTS,
    seq=INTS.map(Seq),
    step=INTS.map(Lsn),
    title=TITLES,
    html_hash=st.none() | TEXTS.map(BodyHash),
    body_seq=INTS.map(Seq),
    redirect=st.none() | TITLES,
    rev=st.none() | INTS,
    reads=st.lists(TEXTS.map(Resource), max_size=4).map(tuple),
    time_ms=INTS,
)
A_CHANGE = Change(Resource("c:A"), "edit", Urgency.REST, "id", 5)


@given(CHANGES)
def test_changes_come_back(change: Change) -> None:
    assert codec.decode_change(codec.encode_change(change)) == change


@given(COMMITS)
def test_commits_come_back(record: CommitRecord) -> None:
    assert codec.decode_commit(codec.encode_commit(record)) == record


@given(st.builds(Node, INTS.map(PageKey), TITLES, INTS.map(Lsn), TEXTS, st.none() | COMMITS))
def test_nodes_come_back(node: Node) -> None:
    assert codec.decode_node(codec.encode_node(node)) == node


@given(st.builds(Mark, INTS.map(Lsn), st.none() | INTS, INTS, INTS, INTS, st.sampled_from(Urgency), TEXTS))
def test_marks_come_back(mark: Mark) -> None:
    assert codec.decode_mark(codec.encode_mark(mark)) == mark


def test_waiting_pages_come_back() -> None:
    entries = (Entry(5, BitMap([1, 2, 70_000])), Entry(9, BitMap([3])))
    assert codec.decode_waiting(codec.encode_waiting(entries)) == entries


def test_the_form_is_stable() -> None:
    """The log is read for years: a change of this text is a new format, with a decision."""
    assert codec.encode_change(A_CHANGE) == b'{"v":1,"resource":"c:A","cause":"edit","urgency":3,"event_id":"id","time_ms":5}'


@pytest.mark.parametrize(
    "change",
    [
        {"v": 0},
        {"v": "1"},
        {"urgency": 4},
        {"urgency": -1},
        {"resource": "A"},
        {"time_ms": None},
        {"time_ms": 1.5},
        {"unknown": 1},
        {"event_id": ...},
    ],
)
def test_what_is_not_exactly_a_change_is_corrupted(change: dict[str, object]) -> None:
    wire = {**json.loads(codec.encode_change(A_CHANGE)), **change}
    value = json.dumps({name: field for name, field in wire.items() if field is not ...}).encode()
    with pytest.raises(Corrupted):
        codec.decode_change(value)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b"\xff", b'{"v":1}', b'{"v":1,"resource":"\xff"}'])
def test_other_bytes_are_corrupted(value: bytes) -> None:
    for decode in (codec.decode_change, codec.decode_commit, codec.decode_node, codec.decode_mark, codec.decode_waiting):
        with pytest.raises(Corrupted):
            decode(value)


def test_damaged_bitmaps_are_corrupted() -> None:
    with pytest.raises(Corrupted):
        codec.decode_waiting(msgspec.msgpack.encode((1, [(5, b"\x01\x02")])))
    with pytest.raises(Corrupted):
        codec.decode_mark(msgspec.msgpack.encode((1, 5, None, 1, 1, 0, 9, "edit")))


def test_newer_formats_are_refused_as_such() -> None:
    newer = {**json.loads(codec.encode_change(A_CHANGE)), "v": 2}
    for value in (newer, {"v": 2, "something": "else"}):
        with pytest.raises(FormatTooNew):
            codec.decode_change(json.dumps(value).encode())
    with pytest.raises(FormatTooNew):
        codec.decode_mark(msgspec.msgpack.encode((2, "else")))

"""Tokens of paging: what this deployment made for the same reading is read, nothing else is."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from headwater.tables.errors import InvalidPagingToken
from headwater.tables.model import ClusteringKey, PartitionKey, Place, Slice, SpaceId
from headwater.tables.tokens import Tokens

TOKENS = Tokens(b"secret of the tests, of 32 bytes.")
SLICE = Slice(SpaceId(1), PartitionKey(b"p"), ClusteringKey(b"a"), ClusteringKey(b"z"), False, 10)
OTHERS: list[dict[str, Any]] = [
    {"space": SpaceId(2)},
    {"partition": b"q"},
    {"lower": b"b"},
    {"upper": b"y"},
    {"upper": None},
    {"backwards": True},
    {"partition": b"pa", "lower": b""},
]


@given(st.binary(max_size=200))
def test_a_position_comes_back(position: bytes) -> None:
    token = TOKENS.of_page(SLICE, ClusteringKey(position))
    assert TOKENS.read_page(token, SLICE) == position
    assert token.isascii() and not set(token) & set("+/=&?#% ")
    assert TOKENS.read_page(token, replace(SLICE, limit=1, statics=False, bytes_max=1, after=ClusteringKey(b"x"))) == position


@pytest.mark.parametrize("other", OTHERS)
def test_a_token_is_of_one_reading(other: dict[str, Any]) -> None:
    token = TOKENS.of_page(SLICE, ClusteringKey(b"m"))
    with pytest.raises(InvalidPagingToken) as refused:
        TOKENS.read_page(token, replace(SLICE, **other))
    assert refused.value.where == "next"


def test_a_token_of_another_deployment_is_refused() -> None:
    token = Tokens(b"another secret that has 32 bytes").of_page(SLICE, ClusteringKey(b"m"))
    with pytest.raises(InvalidPagingToken):
        TOKENS.read_page(token, SLICE)


@given(st.data())
def test_no_byte_of_a_token_can_be_changed(data: st.DataObject) -> None:
    token = TOKENS.of_page(SLICE, ClusteringKey(b"position"))
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidPagingToken):
        TOKENS.read_page(base64.urlsafe_b64encode(raw).decode().rstrip("="), SLICE)


@given(st.integers(0, 24))
def test_no_token_can_be_cut(length: int) -> None:
    with pytest.raises(InvalidPagingToken):
        TOKENS.read_page(TOKENS.of_page(SLICE, ClusteringKey(b"position"))[:length], SLICE)


@given(st.none() | st.integers() | st.text() | st.lists(st.text()) | st.text("AQ-_+/=", max_size=40))
def test_what_is_no_token_is_refused(token: object) -> None:
    for read in (lambda: TOKENS.read_page(token, SLICE), lambda: TOKENS.read_walk(token, SpaceId(1))):
        with pytest.raises(InvalidPagingToken):
            read()


@pytest.mark.parametrize(
    "place", [(PartitionKey(b"p"), None), (PartitionKey(b""), ClusteringKey(b"")), (PartitionKey(b"\0"), ClusteringKey(b"\xff"))]
)
def test_a_walk_goes_on_in_its_space_only(place: Place) -> None:
    token = TOKENS.of_walk(SpaceId(1), place)
    assert TOKENS.read_walk(token, SpaceId(1)) == place
    with pytest.raises(InvalidPagingToken):
        TOKENS.read_walk(token, SpaceId(2))
    with pytest.raises(InvalidPagingToken):
        TOKENS.read_page(token, SLICE)
    with pytest.raises(InvalidPagingToken):
        TOKENS.read_walk(TOKENS.of_page(SLICE, ClusteringKey(b"m")), SpaceId(1))


def test_a_short_secret_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Tokens(b"short")

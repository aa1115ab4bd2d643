"""The note of the service keys that were in use."""

from pathlib import Path

import pytest

from headwater.app.sessions_config import Places, SessionsFile, places_of
from headwater.app.sessions_files import keys_joining, note_keys_in_use
from headwater.kernel.errors import Unavailable
from headwater.sessions.keys import KeyRing, ring_of
from headwater.sessions.model import KeyId
from headwater.sessions.sealing import MASTER_BYTES


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Where the files of a service are whose directory is there."""
    places = places_of(SessionsFile(data_dir=str(tmp_path)))
    places.own.mkdir()
    return places


def ring(*ids: int) -> KeyRing:
    """A ring of such keys, the last one active."""
    return ring_of({KeyId(id): bytes([id]) * MASTER_BYTES for id in ids}, active=KeyId(ids[-1]))


def test_keys_that_were_away_join(places: Places) -> None:
    assert keys_joining(places, ring(1, 2)) == set(), "nothing was noted by the version before"
    note_keys_in_use(places, ring(1, 2))
    assert keys_joining(places, ring(1, 2)) == set()
    assert keys_joining(places, ring(2, 3)) == {3}
    note_keys_in_use(places, ring(2, 3))
    assert keys_joining(places, ring(1, 2, 3)) == {1}


@pytest.mark.parametrize("content", [b"", b"\n", b"one\n", b"1\n\xff\n", b"1 2\n"])
def test_a_note_that_says_nothing_ends_no_session(places: Places, content: bytes) -> None:
    places.keys_in_use.write_bytes(content)
    with pytest.raises(Unavailable, match="which keys were in use"):
        keys_joining(places, ring(1))


def test_a_note_that_cannot_be_read_ends_no_session(places: Places) -> None:
    places.keys_in_use.mkdir()
    with pytest.raises(Unavailable, match="which keys were in use"):
        keys_joining(places, ring(1))

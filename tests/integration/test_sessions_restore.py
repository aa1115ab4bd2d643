"""Restoring: only what the service could start on is put in place of its store."""

from pathlib import Path

import apsw
import pytest

from headwater.app.sessions_config import Places
from headwater.app.sessions_files import SessionFiles
from headwater.kernel.errors import Corrupted, FormatTooNew, HeadwaterError
from headwater.kernel.ids import SystemIds
from headwater.testing.clock import ManualClock

_MIMIC = "CREATE TABLE headwater_format (a); CREATE TABLE session (a); CREATE TABLE generation (a)"
_NEWER = """
    CREATE TABLE headwater_format (version INTEGER, oldest_reader INTEGER, applied_ms INTEGER);
    INSERT INTO headwater_format VALUES (99, 99, 0);
    CREATE TABLE session (a);
    CREATE TABLE generation (a)
"""


@pytest.mark.parametrize(
    ("sql", "error"),
    [("", Corrupted), ("CREATE TABLE session (id, head, deadline, sealed)", Corrupted), (_MIMIC, Corrupted), (_NEWER, FormatTooNew)],
)
def test_what_is_no_store_of_sessions_replaces_none(tmp_path: Path, sql: str, error: type[HeadwaterError]) -> None:
    places = Places(tmp_path / "own", tmp_path / "keys", keys_are_given=False)
    places.own.mkdir(mode=0o700)
    places.store.write_bytes(b"as it was")
    source = tmp_path / "source"
    stranger = apsw.Connection(str(source))
    stranger.execute(sql)
    stranger.close()
    with pytest.raises(error):
        SessionFiles(places, ManualClock(), SystemIds()).restore(source, keep_because=None)
    assert places.store.read_bytes() == b"as it was"
    assert not places.invalidate.exists() and not places.audit.exists() and not (places.own / "restoring.sqlite").exists()

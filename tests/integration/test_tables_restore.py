"""Backups of tables while they are used, and restoring them: what comes back is whole, no number is given twice, readers ahead are told."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import pytest
from tests.integration.tables_app import TablesApp, at, tables_app

from headwater.app.storage import owned_directory
from headwater.app.tables_files import COPY_FILE, TableFiles
from headwater.kernel.errors import AlreadyOwned, Corrupted, HeadwaterError, InvalidInput, NotFound
from headwater.tables.engines.sqlite.examining import examine
from headwater.testing.clock import ManualClock

PAGES = {
    "attributes": {"title": "string", "rev": "int", "seen": "int", "text": "string", "tags": "set<string>"},
    "index": [
        {"attribute": "title", "type": "hash"},
        {"attribute": "rev", "type": "range", "order": "desc"},
        {"attribute": "seen", "type": "static"},
    ],
    "changes": True,
}


@contextmanager
def serving(folder: pathlib.Path) -> Iterator[TablesApp]:
    with tables_app("sqlite", folder) as app:
        yield app


def files(folder: pathlib.Path) -> TableFiles:
    return TableFiles(folder, ManualClock())


def fill(app: TablesApp, titles: range) -> None:
    for number in titles:
        app.put("pages", {"title": f"t{number % 5}", "rev": number, "text": "x" * number, "tags": ["b", "a"], "seen": number})


def ids(app: TablesApp, since: int = 0) -> list[int]:
    answer = app.ask("GET", at("pages", f"/changes?since={since}&wait=0"), accept="application/x-ndjson")
    assert answer.status == 200, answer.body
    return [json.loads(line)["id"] for line in answer.body.splitlines()]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("made")
    with serving(folder) as app:
        app.declare("pages", PAGES)
        fill(app, range(20))
        app.put("pages", {"title": "gone", "rev": 1, "text": "soon", "_ttl": 60})
        contents = files(folder).backup(folder / "backup")
        assert (contents.tables, contents.spaces, contents.rows) == (1, 1, 21)
        fill(app, range(20, 30))
        app.declare("later", PAGES)
    return folder


@pytest.fixture
def backed_up(made_once: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory with tables that went on after `backup`."""
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_what_comes_back_is_what_was_backed_up(backed_up: pathlib.Path) -> None:
    restored = files(backed_up).restore(backed_up / "backup")
    assert restored.rows == 21
    assert not (backed_up / COPY_FILE).exists()
    assert examine(backed_up / "tables.sqlite") == restored
    with serving(backed_up) as app:
        rows = app.everything("pages")
        assert {row["rev"] for row in rows if row["title"] != "gone"} == set(range(20))
        assert app.ask("GET", at("later")).status == 404
        fill(app, range(40, 43))
        assert len(app.everything("pages")) == 24


def test_no_revision_is_given_twice(backed_up: pathlib.Path) -> None:
    with serving(backed_up) as app:
        lost = app.put("pages", {"title": "t1", "rev": 1, "text": "lost"}).json["revision"]
    files(backed_up).restore(backed_up / "backup")
    with serving(backed_up) as app:
        row = {"title": "t1", "rev": 1, "text": "new"}
        assert app.ask("PUT", at("pages", "/rows"), {"attributes": row}, if_match=f'"{lost}"').status == 412
        assert app.put("pages", row).json["revision"] > lost


def test_ids_go_on_above_those_of_the_lost_file(backed_up: pathlib.Path) -> None:
    with apsw.Connection(str(backed_up / "tables.sqlite")) as lost:
        (highest,) = (lost.execute("SELECT max(seq) FROM sqlite_sequence").get,)
    files(backed_up).restore(backed_up / "backup")
    with serving(backed_up) as app:
        app.declare("later", PAGES)
    with apsw.Connection(str(backed_up / "tables.sqlite")) as restored:
        assert restored.execute("SELECT max(id) FROM space").get > highest


def test_readers_that_were_ahead_are_told_and_others_go_on(backed_up: pathlib.Path) -> None:
    with serving(backed_up) as app:
        before = ids(app)
        fill(app, range(50, 52))
        ahead = ids(app)[-1]
    files(backed_up).restore(backed_up / "backup")
    with serving(backed_up) as app:
        known = ids(app)
        assert known == before[:21], "those of the backup"
        assert ids(app, known[3]) == known[4:], "who was not ahead goes on"
        assert ids(app, known[-1]) == []
        answer = app.ask("GET", at("pages", f"/changes?since={ahead}&wait=0"))
        assert (answer.status, answer.code) == (410, "changes-trimmed")
        first = int(answer.json["detail"].rpartition(" ")[2])
        app.put("pages", {"title": "t1", "rev": 99, "text": "after"})
        (new,) = ids(app, known[-1])
        assert new > first > ahead
        assert ids(app, first) == [new]
        assert app.ask("GET", at("pages", f"/changes?since={before[21]}&wait=0")).status == 410


def test_a_file_that_is_lost_as_a_whole_is_replaced(backed_up: pathlib.Path) -> None:
    for path in backed_up.glob("tables.sqlite*"):
        path.unlink()
    files(backed_up).restore(backed_up / "backup")
    with serving(backed_up) as app:
        assert len(app.everything("pages")) == 21


def test_a_damaged_file_is_replaced(backed_up: pathlib.Path) -> None:
    for path in backed_up.glob("tables.sqlite-*"):
        path.unlink()
    (backed_up / "tables.sqlite").write_bytes(b"")
    files(backed_up).restore(backed_up / "backup")
    with serving(backed_up) as app:
        assert len(app.everything("pages")) == 21


def test_a_dry_run_looks_and_leaves_everything(backed_up: pathlib.Path) -> None:
    assert files(backed_up).restore(backed_up / "backup", dry_run=True).rows == 21
    with serving(backed_up) as app:
        assert len(app.everything("pages")) == 31


def test_it_is_refused_while_a_process_runs(backed_up: pathlib.Path) -> None:
    with owned_directory(backed_up), pytest.raises(AlreadyOwned):
        files(backed_up).restore(backed_up / "backup")


def test_a_backup_overwrites_nothing_and_needs_a_store(backed_up: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidInput):
        files(backed_up).backup(backed_up / "backup")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound):
        files(tmp_path / "empty").backup(tmp_path / "other")


DAMAGE = {
    "a row that is none": "UPDATE row SET data = x'93' WHERE key = (SELECT max(key) FROM row)",
    "a row that is another": "UPDATE row SET data = x'9305820193a1780081' WHERE key = (SELECT max(key) FROM row)",
    "a value of another type": "UPDATE row SET data = x'93058104920500c0' WHERE key = (SELECT max(key) FROM row)",
    "a row that is missing": "DELETE FROM row WHERE key = (SELECT max(key) FROM row)",
    "rows counted that are not there": "UPDATE space SET rows = rows + 1",
    "bytes counted that are not there": "UPDATE space SET bytes = bytes - 1",
    "a partition counted wrong": "UPDATE partition SET bytes = bytes + 1 WHERE key = (SELECT max(key) FROM partition)",
    "a partition that is not there": "INSERT INTO partition SELECT CAST(key || x'00' AS BLOB), 1, 1 FROM partition LIMIT 1",
    "a partition that is not counted": "DELETE FROM partition WHERE key = (SELECT max(key) FROM partition)",
    "a row that never expires": "DELETE FROM expiry",
    "what expires is not there": "INSERT INTO expiry VALUES (5, x'00')",
    "a change that is none": "UPDATE change SET data = x'91'",
    "a schema that is none": "UPDATE declaration SET schema = x'7b7d'",
    "a number is missing": "DELETE FROM counter WHERE name = 'revision'",
    "another database": "DROP TABLE row",
    "a column is missing": "ALTER TABLE space DROP COLUMN trimmed",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_backup_that_is_not_as_it_has_to_be_is_put_nowhere(backed_up: pathlib.Path, damage: str) -> None:
    with apsw.Connection(str(backed_up / "backup")) as connection:
        connection.execute(DAMAGE[damage])
    connection.close()
    with pytest.raises(Corrupted):
        files(backed_up).restore(backed_up / "backup")
    with serving(backed_up) as app:
        assert len(app.everything("pages")) == 31, "the store is as it was"


@pytest.mark.parametrize("content", [b"", b"no database", bytes(8192)])
def test_what_is_no_backup_is_put_nowhere(backed_up: pathlib.Path, content: bytes) -> None:
    (backed_up / "other").write_bytes(content)
    with pytest.raises(HeadwaterError):
        files(backed_up).restore(backed_up / "other")
    with serving(backed_up) as app:
        assert len(app.everything("pages")) == 31


_KILLED = """
import os, pathlib, signal, sys
from headwater.app.tables_files import TableFiles
from headwater.kernel.clock import SystemClock
folder, step = pathlib.Path(sys.argv[1]), int(sys.argv[2])
left = [step]
def trace(frame, event, argument):
    if not frame.f_code.co_filename.endswith(("/tables_files.py", "/copying.py", "/restoring.py")):
        return None
    left[0] -= event == "line"
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return trace
sys.settrace(trace)
TableFiles(folder, SystemClock()).restore(folder / "backup")
sys.settrace(None)
sys.stdout.write(f"\\n{left[0]}")
"""
KILLS = 6


def _restore_killed(folder: pathlib.Path, step: int) -> subprocess.CompletedProcess[str]:
    """Restore in a process of its own, which kills itself at the `step`-th line of what it runs."""
    command = [sys.executable, "-c", _KILLED, str(folder), str(step)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False, timeout=60)


def _check_kills(folder: pathlib.Path, kills: int) -> None:
    whole = _restore_killed(folder, 10**6)
    assert whole.returncode == 0, whole.stderr
    lines = 10**6 - int(whole.stdout.splitlines()[-1])
    assert lines > 60
    restored = set()
    steps = [max(2, lines - 1 - lines * number // kills // 2) for number in range(kills)]  # the second half is where things happen
    for step in steps:
        with serving(folder) as app:
            app.put("pages", {"title": "new", "rev": step, "text": "only in the old one"})
            old = len(app.everything("pages"))
        killed = _restore_killed(folder, step)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        found = len(_rows(folder))
        assert found in (old, 21)
        restored.add(found == 21)
    assert restored == {True, False}, "some kills came before the new file was in place, and some after"


def _rows(folder: pathlib.Path) -> list[dict[str, object]]:
    with serving(folder) as app:
        return app.everything("pages")


def test_killed_at_any_line_the_old_store_or_the_new_one_is_whole(backed_up: pathlib.Path) -> None:
    _check_kills(backed_up, KILLS)


@pytest.mark.proof
def test_killed_at_every_other_line_the_old_store_or_the_new_one_is_whole(backed_up: pathlib.Path) -> None:
    _check_kills(backed_up, 40)

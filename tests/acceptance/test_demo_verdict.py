"""The demo's verdict is worth something: with a cache that ignores purges it counts the old copies and ends with status 1."""

import json
import os
import pathlib
import subprocess
import sys

from tests.real.wiki import free_port

BROKEN = pathlib.Path(__file__).with_name("broken_platform.py")


def test_stale_copies_are_counted_and_end_in_status_1(tmp_path: pathlib.Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_") or name == "HEADWATER_TEST_RUN"}
    done = subprocess.run(
        [
            *(sys.executable, str(BROKEN), "cache_that_ignores_purges", "demo", "--edits", "3", "--exit", "--json"),
            *("--port-base", str(free_port() // 10 * 10 - 20), "--data-dir", str(tmp_path / "data")),
        ],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["edits"] == 3 and outcome["purged"] > 0
    assert outcome["stale_at_rest"] > 0
    assert done.returncode == 1, done.stderr

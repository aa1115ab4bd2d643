"""The intake as a process: over a real socket, on SQLite, killed from outside at each of its failpoints."""

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from tests.integration.events_server import STORAGE
from tests.unit.events_setting import RECORDINGS, change, raw

from headwater.kernel.clock import SystemClock
from headwater.kernel.metrics import Metrics
from headwater.log.engines.sqlite import SqliteLog
from headwater.log.metrics import METRICS as LOG
from headwater.log.model import BEFORE_FIRST, PartitionId
from headwater.sqlite.metrics import METRICS as SQLITE

JSON = {"content-type": "application/json"}


class Server:
    """One run of the server's process."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def post(self, body: bytes) -> int | None:
        """The status of the answer; None if the process died instead of answering."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/v1/events", body, JSON)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (ConnectionError, http.client.HTTPException):
            return None
        finally:
            connection.close()


@contextlib.contextmanager
def serving(directory: Path, **environment: str) -> Iterator[Server]:
    """A server over `directory`; killed at the end if it still lives."""
    command = [sys.executable, "-m", "tests.integration.events_server", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stdout is not None
        yield Server(process, next(int(line.split()[1]) for line in process.stdout if line.startswith("port ")))
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def stored(directory: Path, stream: str) -> list[bytes | None]:
    """The bytes of a stream, read when no server runs."""

    async def read() -> list[bytes | None]:
        log = await SqliteLog.open(directory / "log.sqlite", clock=SystemClock(), metrics=Metrics((*LOG, *SQLITE)), storage=STORAGE)
        try:
            batch = await log.read(PartitionId(stream), BEFORE_FIRST, limit=1000)
            return [record.value for record in batch.records]
        finally:
            await log.close()

    return asyncio.run(read())


def test_recordings_over_a_socket_survive_a_kill(tmp_path: Path) -> None:
    bodies = [path.read_bytes() for path in sorted(RECORDINGS.glob("*.json"))]
    with serving(tmp_path) as server:
        assert [server.post(body) for body in bodies] == [201] * len(bodies)
    jobs = [event for body in bodies for event in orjson.loads(body) if event["meta"]["stream"] == "mediawiki.job.htmlCacheUpdate"]
    values = stored(tmp_path, "mediawiki.job.htmlCacheUpdate")
    assert len(values) == len(jobs) == 4
    for value in values:
        assert value is not None and any(value in body for body in bodies)
    with serving(tmp_path) as server:
        assert [server.post(body) for body in bodies] == [201] * len(bodies)
    assert stored(tmp_path, "mediawiki.job.htmlCacheUpdate") == values


@pytest.mark.parametrize(("point", "landed"), [("intake.append", False), ("intake.appended", True)])
def test_killed_at_a_failpoint_a_repetition_is_stored_once(point: str, landed: bool, tmp_path: Path) -> None:
    first, second = raw(change("first")), raw(change("second"))
    note = tmp_path / "note"
    with serving(tmp_path, HEADWATER_FAILPOINT=f"{point}:2", HEADWATER_FAILPOINT_FILE=str(note)) as server:
        assert server.post(first) == 201
        killer = subprocess.Popen([sys.executable, "-c", _KILL_WHEN_NOTED, str(note), str(server.process.pid)])
        assert server.post(second) is None
        assert killer.wait() == 0 and server.process.wait() == -signal.SIGKILL
        assert note.read_text() == point
    assert stored(tmp_path, "resource_change") == ([first, second] if landed else [first])
    with serving(tmp_path) as server:
        assert server.post(b"[" + first + b"," + second + b"]") == 201
        assert server.post(second) == 201
        server.process.terminate()
        assert server.process.wait(timeout=30) == 0
    assert stored(tmp_path, "resource_change") == [first, second]


_KILL_WHEN_NOTED = """
import os, pathlib, select, signal, sys
note, pid = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for _ in range(3000):
    if note.exists() and note.read_text():
        os.kill(pid, signal.SIGKILL)
        sys.exit(0)
    select.select([], [], [], 0.01)
sys.exit(1)
"""


def test_limits_of_the_body_over_a_socket(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        empty = len(raw(change("large", pad="")))
        assert server.post(raw(change("large", pad="x" * (4 * 2**20 - empty)))) == 201
        assert server.post(raw(change("larger", pad="x" * (4 * 2**20 - empty)))) == 413
        assert server.post(raw(change("good")) + b" " * (10 * 2**20 - len(raw(change("good"))))) == 201
        assert server.post(raw(change("good")) + b" " * (10 * 2**20 + 1 - len(raw(change("good"))))) in (413, None)
        assert server.post(b"{") == 400 and server.post(b"[]") == 400


def test_a_lost_index_file_is_rebuilt(tmp_path: Path) -> None:
    event = raw(change("kept"))
    with serving(tmp_path) as server:
        assert server.post(event) == 201
    for path in tmp_path.glob("events.sqlite*"):
        path.unlink()
    with serving(tmp_path) as server:
        assert server.post(event) == 201
    assert stored(tmp_path, "resource_change") == [event]

"""The supervisor: one child process, started again when it dies and never left behind."""

import asyncio
import os
import pathlib
import select
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from headwater.app import supervisor
from headwater.app.metrics import CATALOGUE, SESSIONS_RESTARTS
from headwater.app.standard_input import stdin_closed
from headwater.app.supervisor import ChildEnded, Supervisor
from headwater.kernel.clock import SystemClock
from headwater.kernel.metrics import Metrics

Run = Callable[[Coroutine[Any, Any, Any]], Any]
READY = (
    'import os, signal, sys; print(\'{"roles": {"sessions": "127.0.0.1:1"}}\', flush=True);'
    'open(sys.argv[1], "a").write(f"{os.getpid()}\\n");'
)
WAITS = READY + "sys.stdin.read()"
NOTES_SIGNALS = (
    READY
    + 'note = lambda number, frame: open(sys.argv[1], "a").write(f"signal {number}\\n");'
    + "signal.signal(signal.SIGHUP, note); [signal.pause() for _ in range(9)]"
)
DEAF = READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); [signal.pause() for _ in range(9)]"
WITHIN_S = 20


def child(script: str, notes: pathlib.Path, metrics: Metrics | None = None) -> Supervisor:
    """A supervisor of a child that runs `script` and notes in a file what happens to it."""
    return Supervisor((sys.executable, "-c", script, str(notes)), os.environ, SystemClock(), metrics or Metrics(CATALOGUE))


def written(notes: pathlib.Path) -> list[str]:
    """The whole lines of a file that may not be there yet."""
    return notes.read_text().split("\n")[:-1] if notes.exists() else []


async def lines(notes: pathlib.Path, count: int) -> list[str]:
    """The first lines of the notes, once there are that many."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = written(notes)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_dies_is_started_again_and_ends_with_the_work(tmp_path: pathlib.Path, run: Run) -> None:
    notes, metrics = tmp_path / "notes", Metrics(CATALOGUE)

    async def scenario() -> None:
        stop, kept = asyncio.Event(), child(WAITS, notes, metrics)

        async def work() -> None:
            for count in (1, 2, 3):
                pid = int((await lines(notes, count))[-1])
                if count < 3:
                    os.kill(pid, signal.SIGKILL)

        await kept.run_beside(work(), stop)
        assert stop.is_set()
        assert kept.addresses == {"sessions": "127.0.0.1:1"}

    run(scenario())
    pids = [int(line) for line in notes.read_text().split()]
    assert len(set(pids)) == 3
    assert not any(alive(pid) for pid in pids)
    assert metrics.value(SESSIONS_RESTARTS) == 2


@pytest.mark.parametrize("script", ["raise SystemExit(3)", 'print(\'{"error": "invalid-config"}\'); raise SystemExit(3)'])
def test_a_child_that_never_becomes_ready_ends_the_start(tmp_path: pathlib.Path, run: Run, script: str) -> None:
    begun = []

    async def work() -> None:
        begun.append(True)

    with pytest.raises(ChildEnded) as caught:
        run(child(script, tmp_path / "notes").run_beside(work(), asyncio.Event()))
    assert caught.value.status == 3
    assert not begun


def test_a_reload_reaches_the_child(tmp_path: pathlib.Path, run: Run) -> None:
    notes = tmp_path / "notes"

    async def scenario() -> None:
        kept = child(NOTES_SIGNALS, notes)

        async def work() -> None:
            await lines(notes, 1)
            kept.reload()
            assert (await lines(notes, 2))[1] == f"signal {signal.SIGHUP.value}"

        await kept.run_beside(work(), asyncio.Event())

    run(scenario())


def test_a_failure_of_the_work_ends_the_child_and_is_raised(tmp_path: pathlib.Path, run: Run) -> None:
    notes = tmp_path / "notes"

    async def work() -> None:
        await lines(notes, 1)
        raise AssertionError("broken")

    with pytest.raises(AssertionError, match="broken"):
        run(child(WAITS, notes).run_beside(work(), asyncio.Event()))
    assert not alive(int(notes.read_text()))


def test_a_child_that_does_not_listen_is_killed(tmp_path: pathlib.Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "END_TIME_MAX_S", 0.2)
    notes = tmp_path / "notes"

    async def scenario() -> None:
        stop = asyncio.Event()

        async def work() -> None:
            await lines(notes, 1)

        await child(DEAF, notes).run_beside(work(), stop)

    with structlog.testing.capture_logs() as logs:
        run(scenario())
    assert "sessions_process_killed" in [entry["event"] for entry in logs]
    assert not alive(int(notes.read_text()))


def test_a_child_knows_when_its_parent_is_gone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)

        async def scenario() -> bool:
            waiting = asyncio.ensure_future(stdin_closed())
            os.write(writing, b"whatever")
            for _ in range(50):
                await asyncio.sleep(0)
            assert select.select([reading], [], [], 0)[0] == [], "it has read what came"
            early = waiting.done()
            os.close(writing)
            async with asyncio.timeout(WITHIN_S):
                await waiting
            return early

        assert run(scenario()) is False

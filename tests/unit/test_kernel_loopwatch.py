"""The loop watch: CPU time of each callback, with its name."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from headwater.kernel.loopwatch import LONG_S, WORST_KEPT, LoopWatch, install, run


async def busy() -> None:
    until = time.thread_time() + 2 * LONG_S
    while time.thread_time() < until:
        pass


async def idle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def watched(*coroutines: object) -> LoopWatch:
    watch = LoopWatch()
    undo = install(watch)
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            for coroutine in coroutines:
                assert asyncio.iscoroutine(coroutine)
                runner.run(coroutine)
    finally:
        undo()
    return watch


def test_a_busy_callback_is_counted_and_named() -> None:
    watch = watched(busy())
    name, seconds = watch.worst()[0]
    assert watch.long_callbacks == 1
    assert name.startswith("test_kernel_loopwatch.busy") and seconds >= 2 * LONG_S


def test_short_callbacks_are_not_long() -> None:
    watch = watched(idle())
    assert watch.callbacks > 0 and watch.long_callbacks == 0


def test_after_undo_nothing_is_measured() -> None:
    watch = watched(idle())
    before = watch.callbacks
    asyncio.run(busy())
    assert watch.callbacks == before


def test_only_the_worst_are_kept() -> None:
    watch = LoopWatch()
    for number in range(1000):
        watch.note(number / 1e6, lambda number=number: f"n{number}")  # type: ignore[misc]
    assert [name for name, _ in watch.worst()] == [f"n{number}" for number in range(999, 999 - WORST_KEPT, -1)]


def test_an_armed_run_writes_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "watch.json"
    monkeypatch.setenv("HEADWATER_LOOP_WATCH", str(target))
    run(busy())
    report = json.loads(target.read_text())
    assert report["above_5_ms"] == 1 and report["worst"][0]["cpu_ms"] >= 10


def test_an_unarmed_run_gives_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_LOOP_WATCH", raising=False)

    async def answer() -> int:
        return 42

    assert run(answer()) == 42

"""Tasks beside each other: the first counts, none is left behind."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headwater.kernel.concurrency import SLICE_S, Slices, event_or_timeout, run_together, run_until
from headwater.testing.clock import ManualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Endless:
    """Work that ends only by being cancelled, and then perhaps badly."""

    def __init__(self, error: Exception | None = None) -> None:
        self.ended = False
        self._error = error

    async def run(self) -> None:
        """Wait for the end."""
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True
            if self._error is not None:
                raise self._error


async def fail() -> None:
    """Fail at once."""
    raise ValueError("failed")


def tasks() -> int:
    """Tasks of this loop that have not ended, this one left out."""
    return len(asyncio.all_tasks()) - 1


def test_an_event_in_time_is_told_from_a_time_out(run: Run) -> None:
    async def scenario() -> None:
        clock, event = ManualClock(), asyncio.Event()
        waiting = asyncio.ensure_future(event_or_timeout(event, clock, 5.0))
        await clock.wait_for_sleepers(1)
        clock.advance(5.0)
        assert await waiting is False
        waiting = asyncio.ensure_future(event_or_timeout(event, clock, 5.0))
        await asyncio.sleep(0)
        event.set()
        assert await waiting is True
        assert await event_or_timeout(event, clock, 0.0) and await event_or_timeout(event, clock, None)
        assert tasks() == 0

    run(scenario())


def test_loops_end_together_and_the_failure_is_raised(run: Run) -> None:
    async def scenario() -> None:
        other = Endless()
        with pytest.raises(ValueError, match="failed"):
            await run_together(other.run(), fail())
        assert other.ended and tasks() == 0

    run(scenario())


def test_work_runs_to_its_end_or_to_the_stop(run: Run) -> None:
    async def answer() -> int:
        return 42

    async def scenario() -> None:
        stop, work = asyncio.Event(), Endless()
        assert await run_until(stop, answer()) == 42
        with pytest.raises(ValueError, match="failed"):
            await run_until(stop, fail())
        running = asyncio.ensure_future(run_until(stop, work.run()))
        await asyncio.sleep(0)
        assert not running.done()
        stop.set()
        await running
        assert work.ended and tasks() == 0

    run(scenario())


def test_work_that_ends_badly_when_it_is_stopped_is_heard_of(run: Run) -> None:
    async def scenario() -> None:
        stop = asyncio.Event()
        running = asyncio.ensure_future(run_until(stop, Endless(ValueError("could not save")).run()))
        await asyncio.sleep(0)
        stop.set()
        with pytest.raises(ValueError, match="could not save"):
            await running

    run(scenario())


def test_whoever_is_cancelled_while_waiting_leaves_nothing_behind(run: Run) -> None:
    async def scenario() -> None:
        work = Endless()
        for waiting in (
            run_until(asyncio.Event(), work.run()),
            event_or_timeout(asyncio.Event(), ManualClock(), 5.0),
            run_together(work.run()),
        ):
            task = asyncio.ensure_future(waiting)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert tasks() == 0

    run(scenario())


def test_a_slice_that_has_lasted_long_enough_gives_the_loop_back(run: Run) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        others: list[str] = []
        slices = Slices(clock)
        asyncio.get_running_loop().call_soon(others.append, "ran")
        await slices.breathe()
        assert others == []
        clock.advance(SLICE_S)
        await slices.breathe()
        assert others == ["ran"]

    run(scenario())

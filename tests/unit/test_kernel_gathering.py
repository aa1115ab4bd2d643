"""What many ask for in one turn of the event loop is done in one go, and everybody gets what is theirs."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from headwater.kernel.gathering import AT_ONCE_MAX, Gathered
from headwater.testing.clock import ManualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PATIENCE_S = 1.0


class Doubling:
    """Doubles numbers, some at once, and notes how it was asked; raises of a negative one."""

    def __init__(self, at_most: int = AT_ONCE_MAX) -> None:
        self.runs: list[list[int]] = []
        self._at_most = at_most

    async def work(self, numbers: Sequence[int]) -> Sequence[int]:
        """Double."""
        self.runs.append(list(numbers))
        if min(numbers) < 0:
            raise ValueError("negative")
        return [2 * number for number in numbers[: self._at_most]]


def test_what_is_asked_in_one_turn_is_done_in_one_go(run: Run) -> None:
    async def scenario() -> None:
        doubling = Doubling()
        gathered = Gathered(doubling.work, clock=ManualClock())

        async def ask(number: int) -> int:
            return await gathered.ask(number)

        assert await asyncio.gather(*(ask(number) for number in range(10))) == [2 * number for number in range(10)]
        assert doubling.runs == [list(range(10))]
        assert await ask(7) == 14
        assert doubling.runs[1:] == [[7]]

    run(scenario())


def test_no_run_has_more_than_64(run: Run) -> None:
    async def scenario() -> None:
        doubling = Doubling()
        gathered = Gathered(doubling.work, clock=ManualClock())
        assert await asyncio.gather(*map(gathered.ask, range(150))) == [2 * number for number in range(150)]
        assert sorted(map(len, doubling.runs)) == [22, 64, 64]

    run(scenario())


def test_what_is_left_over_is_asked_for_again(run: Run) -> None:
    async def scenario() -> None:
        doubling = Doubling(at_most=3)
        gathered = Gathered(doubling.work, clock=ManualClock())
        assert await asyncio.gather(*map(gathered.ask, range(8))) == [2 * number for number in range(8)]
        assert doubling.runs == [list(range(8)), list(range(3, 8)), [6, 7]]

    run(scenario())


def test_an_error_reaches_everybody_who_has_no_result(run: Run) -> None:
    async def scenario() -> None:
        gathered = Gathered(Doubling(at_most=2).work, clock=ManualClock())
        outcomes = await asyncio.gather(*map(gathered.ask, [1, -2, 3]), return_exceptions=True)
        assert all(isinstance(outcome, ValueError) for outcome in outcomes)
        assert await gathered.ask(4) == 8

    run(scenario())


def test_work_that_gets_nothing_done_leaves_nobody_waiting(run: Run) -> None:
    async def scenario() -> None:
        gathered = Gathered(Doubling(at_most=0).work, clock=ManualClock())
        outcomes = await asyncio.wait_for(asyncio.gather(*map(gathered.ask, [1, 2]), return_exceptions=True), PATIENCE_S)
        assert all(isinstance(outcome, AssertionError) for outcome in outcomes)

    run(scenario())


def test_who_is_cancelled_disturbs_nobody(run: Run) -> None:
    async def scenario() -> None:
        gathered = Gathered(Doubling().work, clock=ManualClock())
        first, second = gathered.ask(1), gathered.ask(2)
        first.cancel()
        assert await asyncio.wait_for(second, PATIENCE_S) == 4
        with pytest.raises(asyncio.CancelledError):
            await first
        third, fourth = gathered.ask(3), gathered.ask(-4)
        third.cancel()
        with pytest.raises(ValueError, match="negative"):
            await asyncio.wait_for(fourth, PATIENCE_S)

    run(scenario())

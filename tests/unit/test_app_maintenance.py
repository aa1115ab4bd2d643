"""Upkeep of the log in the background: it goes on after a failed round, hurries while there is more to do, and stops."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from headwater.app.maintenance import MORE_TO_DO_PAUSE_S, maintain_log
from headwater.app.metrics import CATALOGUE, MAINTENANCE_FAILURES
from headwater.app.roles import cancelled_at_stop
from headwater.kernel.errors import HeadwaterError, StorageFull
from headwater.kernel.metrics import Metrics
from headwater.log.retention import Maintained

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class RecordingClock:
    """A clock whose sleeps end at once and are remembered."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        """Always the same."""
        return 0

    def monotonic_s(self) -> float:
        """Always the same."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Remember and return."""
        self.slept_s.append(seconds)
        await asyncio.sleep(0)


class ScriptedLog:
    """Answers each round as told, then stops the loop."""

    def __init__(self, answers: Iterator[Maintained | HeadwaterError], stop: asyncio.Event) -> None:
        self._answers = answers
        self._stop = stop

    async def maintain(self) -> Maintained:
        """The next answer."""
        answer = next(self._answers, None)
        if answer is None:
            self._stop.set()
            return Maintained()
        if isinstance(answer, HeadwaterError):
            raise answer
        return answer


def test_upkeep_goes_on_after_a_failure_and_hurries_while_there_is_more(run: Run) -> None:
    async def scenario() -> None:
        stop, clock, metrics = asyncio.Event(), RecordingClock(), Metrics(CATALOGUE)
        answers: Iterator[Maintained | HeadwaterError] = iter([Maintained(more=True), StorageFull("full"), Maintained()])
        await maintain_log(ScriptedLog(answers, stop), stop, interval_s=30.0, clock=clock, metrics=metrics)
        assert clock.slept_s[:3] == [MORE_TO_DO_PAUSE_S, 30.0, 30.0]
        assert metrics.value(MAINTENANCE_FAILURES) == 1

    run(scenario())


def test_work_that_goes_on_for_ever_is_cancelled_at_the_stop(run: Run) -> None:
    async def scenario() -> None:
        cancelled, stop = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        looping = asyncio.ensure_future(cancelled_at_stop(work)(stop))
        await asyncio.sleep(0)
        assert not looping.done()
        stop.set()
        await looping
        assert cancelled.is_set()

    run(scenario())


def test_work_that_fails_is_heard_of(run: Run) -> None:
    async def scenario() -> str:
        async def work() -> None:
            raise StorageFull("full")

        try:
            await cancelled_at_stop(work)(asyncio.Event())
        except StorageFull as error:
            return error.code
        return "nothing raised"

    assert run(scenario()) == "storage-full"

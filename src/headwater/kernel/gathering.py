"""Work that many ask for at the same time, done for all of them in one go.

Where requests come by the dozen in one turn of the event loop, each of them meets caches of the processor that the others have filled with
something else. A step that is done for all, one after the other, costs half as much.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import Slices

A = TypeVar("A")
T = TypeVar("T")

AT_ONCE_MAX = 64


class Gathered(Generic[A, T]):
    """Gathers what is asked for in one turn of the event loop. For one event loop.

    Args:
        work: given some of the arguments in their order, at most 64; returns the results of the first of them, at least of one. It is asked
            again for the rest. What it raises reaches all that have no result yet.
    """

    def __init__(self, work: Callable[[Sequence[A]], Awaitable[Sequence[T]]], *, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._asked: list[tuple[A, asyncio.Future[T]]] = []
        self._running: set[asyncio.Task[None]] = set()

    def ask(self, argument: A) -> "asyncio.Future[T]":
        """What will become of `argument` at the end of this turn."""
        if not self._asked:
            self._start(self._run())
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.append((argument, future))
        return future

    async def _run(self) -> None:
        asked, self._asked = self._asked, []
        for at in range(AT_ONCE_MAX, len(asked), AT_ONCE_MAX):
            self._start(self._do(asked[at : at + AT_ONCE_MAX]))
        await self._do(asked[:AT_ONCE_MAX])

    async def _do(self, asked: Sequence[tuple[A, "asyncio.Future[T]"]]) -> None:
        slices = Slices(self._clock)
        while asked:
            try:
                results = await self._work([argument for argument, _ in asked])
                assert results, "work that gets nothing done never ends"
            except Exception as error:
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                return
            for (_, future), result in zip(asked, results, strict=False):
                if not future.done():
                    future.set_result(result)
            asked = asked[len(results) :]
            await slices.breathe()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

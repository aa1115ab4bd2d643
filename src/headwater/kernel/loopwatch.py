"""How long callbacks keep the event loop: the CPU time of its thread in each one.

Thread CPU time, not wall time: a callback that the operating system interrupts is not at fault. `HEADWATER_LOOP_WATCH=<file>` arms it;
the file is written when the loop ends. An armed process runs the plain asyncio loop, whose callbacks all pass one method; uvloop's
cannot be seen.
"""

import asyncio
import heapq
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvloop

from headwater.kernel.collecting import freeze_survivors

T = TypeVar("T")

VARIABLE = "HEADWATER_LOOP_WATCH"
LONG_S = 0.005
WORST_KEPT = 20


class LoopWatch:
    """The longest callbacks so far, and how many there were, of all loops of this process."""

    def __init__(self) -> None:
        self.callbacks = 0
        self.long_callbacks = 0
        self._worst: list[tuple[float, int, str]] = []

    def note(self, seconds: float, name: Callable[[], str]) -> None:
        """Count one callback of that much CPU time; `name` is asked only if it is among the worst."""
        self.callbacks += 1
        if seconds > LONG_S:
            self.long_callbacks += 1
        if len(self._worst) < WORST_KEPT:
            heapq.heappush(self._worst, (seconds, self.callbacks, name()))
        elif seconds > self._worst[0][0]:
            heapq.heapreplace(self._worst, (seconds, self.callbacks, name()))

    def worst(self) -> list[tuple[str, float]]:
        """Name and seconds of the longest callbacks, the longest first."""
        return [(name, seconds) for seconds, _, name in sorted(self._worst, reverse=True)]

    def report(self) -> bytes:
        """What was measured, as JSON."""
        worst = [{"callback": name, "cpu_ms": round(seconds * 1000, 3)} for name, seconds in self.worst()]
        totals = {"callbacks": self.callbacks, "above_5_ms": self.long_callbacks, "worst": worst}
        return orjson.dumps(totals, option=orjson.OPT_INDENT_2)


def armed() -> Path | None:
    """The file that the environment asks to be written, if it does."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a loop of its own: uvloop, or the watched asyncio loop where the watch is armed.

    What has been imported by now is frozen, so that no later collection walks over it.
    """
    freeze_survivors()
    target = armed()
    if target is None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    watch = LoopWatch()
    undo = install(watch)
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(main)
    finally:
        undo()
        target.write_bytes(watch.report())


def install(watch: LoopWatch) -> Callable[[], None]:
    """Measure every callback of asyncio loops from now on; the result ends it."""
    original = asyncio.Handle._run
    cpu_s = time.thread_time

    def measured(self: asyncio.Handle) -> None:
        callback = self._callback  # type: ignore[attr-defined]
        before_s = cpu_s()
        try:
            original(self)
        finally:
            watch.note(cpu_s() - before_s, lambda: name_of(callback))

    asyncio.Handle._run = measured  # type: ignore[method-assign]

    def undo() -> None:
        asyncio.Handle._run = original  # type: ignore[method-assign]

    return undo


def name_of(callback: object) -> str:
    """The qualified name of a callback; of a task's step, that of its coroutine and the line where it waits now."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine: Any = owner.get_coro()
        frame = getattr(coroutine, "cr_frame", None)
        code = getattr(coroutine, "cr_code", None)
        module = f"{Path(code.co_filename).stem}." if code is not None else ""
        line = f":{frame.f_lineno}" if frame is not None else ""
        return f"{module}{getattr(coroutine, '__qualname__', repr(coroutine))}{line}"
    module = getattr(callback, "__module__", None) or ""
    name = getattr(callback, "__qualname__", None) or repr(callback)
    return f"{module}.{name}" if module else name

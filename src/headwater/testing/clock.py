"""A clock that stands still until a test moves it, so that tests neither sleep nor depend on the machine's speed."""

import asyncio
import heapq
from itertools import count

YIELDS_PER_STEP = 20


class ManualClock:
    """A `Clock` whose time moves only by `advance`.

    Sleepers are woken in order of their deadlines, those with the same deadline in the order in which they went to sleep.
    """

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._wall_ms = now_ms
        self._elapsed_us = 0
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._watchers: list[asyncio.Future[None]] = []

    def now_ms(self) -> int:
        """Wall time in milliseconds since the epoch."""
        return self._wall_ms + self._elapsed_us // 1000

    def monotonic_s(self) -> float:
        """Seconds by which the clock has been advanced."""
        return self._elapsed_us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced that far; a sleep of nothing only lets others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_us + _us(seconds), next(self._order), future))
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)
        self._watchers.clear()
        await future

    @property
    def sleepers(self) -> int:
        """How many tasks are asleep."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward and wake whoever is due; the woken run when the caller next awaits."""
        assert seconds >= 0, "time does not go back; use jump_wall for the wall clock"
        self._elapsed_us += _us(seconds)
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_us:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    async def run_for(self, seconds: float) -> None:
        """Advance deadline by deadline, letting the woken run in between, until `seconds` have passed."""
        end_us = self._elapsed_us + _us(seconds)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_us:
            self.advance(max(0, self._sleepers[0][0] - self._elapsed_us) / 1_000_000)
            await self.settle()
        self.advance((end_us - self._elapsed_us) / 1_000_000)
        await self.settle()

    async def settle(self) -> None:
        """Let tasks that are ready run for a bounded number of turns of the loop."""
        for _ in range(YIELDS_PER_STEP):
            await asyncio.sleep(0)

    async def wait_for_sleepers(self, sleepers: int) -> None:
        """Return once that many tasks are asleep on this clock."""
        while self.sleepers < sleepers:
            watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append(watcher)
            await watcher

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone, forward or back, as a wrong time server does."""
        self._wall_ms += round(seconds * 1000)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)

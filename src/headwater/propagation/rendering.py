"""LEASE and RENDER: keeps as many renders under way as the wiki bears, hottest pages first, and hands what they give to COMMIT.

There are two windows, one for classes 0 and 1 and one for the rest, so that a backlog never takes the room of what somebody waits for.
Within the windows the classes of all wikis take turns (`turns.py`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from headwater.kernel.concurrency import event_or_timeout, stop_tasks
from headwater.kernel.failpoints import failpoint
from headwater.propagation.committing import Committer, Finished
from headwater.propagation.metrics import RENDER_SECONDS, SKIPPED
from headwater.propagation.model import Failed, Lease, Rendered, Resource, Retry, Urgency
from headwater.propagation.ports import RenderRequest
from headwater.propagation.surroundings import hash_of
from headwater.propagation.tenure import Tenure
from headwater.propagation.turns import Turns
from headwater.propagation.window import Window, WindowLimits

URGENT = frozenset({Urgency.NOW, Urgency.HOT})
LEASES_PER_STEP_MAX = 16  # pages leased between two looks at other work


class Dispatcher:
    """Leases pages of one epoch and renders them."""

    def __init__(self, tenure: Tenure, committer: Committer, turns: Turns) -> None:
        config = tenure.around.config
        target_ms = config.render_target * 1000
        self._tenure = tenure
        self._around = tenure.around
        self._committer = committer
        self._turns = turns
        self.urgent = Window(WindowLimits(size_max=config.urgent_window_max, target_ms=target_ms))
        self.bulk = Window(WindowLimits(size_max=config.window_max, target_ms=target_ms))
        self._under_way = {id(self.urgent): 0, id(self.bulk): 0}
        self._renders: set[asyncio.Task[None]] = set()
        self._skipped = 0

    async def run(self) -> None:
        """Lease and render until stopped; a renderer that raises is a bug, and ends this with its error."""
        try:
            while True:
                self._tenure.work.clear()
                if self._start_some():
                    await asyncio.sleep(0)
                    continue
                await self._wait()
                for render in [render for render in self._renders if render.done()]:
                    self._renders.discard(render)
                    render.result()
        finally:
            self._turns.leave(self._around.wiki)
            await stop_tasks(tuple(self._renders))

    def _window(self, urgency: Urgency) -> Window:
        return self.urgent if urgency in URGENT else self.bulk

    def _start_some(self) -> bool:
        """Start renders as far as there is work and room; True if there may be more to start at once."""
        now_ms, shard = self._around.elapsed_ms(), self._tenure.shard
        revs: Mapping[Resource, int | None] | None = None
        nothing: set[Urgency] = set()  # classes in which no page may be leased now
        for _ in range(LEASES_PER_STEP_MAX):
            urgency = self._turns.next(self._around.wiki, self._waiting(nothing), self._tenure.work.set)
            if urgency is None:
                break
            leases = shard.lease(1, now_ms=now_ms, classes=(urgency,))
            if not leases:
                nothing.add(urgency)
                continue
            failpoint("lease")
            revs = self._tenure.revs_to_prove() if revs is None else revs
            self._start(leases[0], revs)
        else:
            return True
        if shard.counts.skipped > self._skipped:
            self._around.inc(SKIPPED, shard.counts.skipped - self._skipped)
            self._skipped = shard.counts.skipped
            self._tenure.touched()
        return False

    def backed_up(self) -> bool:
        """Whether pages of classes 2 and 3 wait for room in their window."""
        backlog = self._tenure.shard.backlog()
        return bool(backlog[Urgency.WARM] or backlog[Urgency.REST]) and not self._room(Urgency.REST)

    def _waiting(self, nothing: set[Urgency]) -> frozenset[Urgency]:
        """Classes with dirty pages and room in their window."""
        backlog = self._tenure.shard.backlog()
        return frozenset(urgency for urgency in Urgency if urgency not in nothing and backlog[urgency] and self._room(urgency))

    def _room(self, urgency: Urgency) -> int:
        window = self._window(urgency)
        return window.room(self._under_way[id(window)])

    async def _wait(self) -> None:
        """Wait for work, for a render to end, or for a page that was put off."""
        due_ms = self._tenure.shard.next_due_ms()
        delay_s = None if due_ms is None else max(0.001, (due_ms - self._around.elapsed_ms()) / 1000)
        await event_or_timeout(self._tenure.work, self._around.clock, delay_s)

    def _start(self, lease: Lease, revs: Mapping[Resource, int | None]) -> None:
        window = self._window(lease.urgency)
        self._under_way[id(window)] += 1
        estimate_ms = window.p95_ms()
        self._turns.start(self._around.wiki, lease.urgency, estimate_ms)
        self._tenure.in_flight[lease.number] = lease
        self._renders.add(asyncio.create_task(self._render(lease, revs, estimate_ms)))

    async def _render(self, lease: Lease, revs: Mapping[Resource, int | None], estimate_ms: float) -> None:
        window = self._window(lease.urgency)
        behind = tuple(lsn for _, lsn in self._tenure.shard.stale_reads(lease.page))
        began_s, took_s = self._around.clock.monotonic_s(), 0.0
        try:
            outcome = await self._around.renderer.render(RenderRequest(lease.page, lease.title, lease.floor, revs))
            took_s = self._around.clock.monotonic_s() - began_s
        finally:
            self._under_way[id(window)] -= 1
            self._turns.finish(self._around.wiki, lease.urgency, took_s * 1000 - estimate_ms)
            self._tenure.work.set()
        self._around.observe(RENDER_SECONDS, took_s)
        if isinstance(outcome, Retry):
            window.overloaded(now_ms=self._around.clock.now_ms())
        else:
            window.answered(took_s * 1000, failed=isinstance(outcome, Failed))
        if isinstance(outcome, Rendered):
            outcome = replace(outcome, body_hash=await hash_of(outcome.body))
        await self._committer.offer(Finished(lease, outcome, behind))

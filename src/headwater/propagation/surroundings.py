"""What the owner of a shard is surrounded by: its wiki, its configuration and everything it reaches through a port."""

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metric, Metrics
from headwater.log.ports import Log
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.config import PropagationConfig
from headwater.propagation.model import BodyHash
from headwater.propagation.ports import BodyStore, CheckpointStore, Copies, Renderer, Site

HASHED_INLINE_BYTES_MAX = 128 * 1024
SLICE_S = 0.002  # a loop that has worked this long lets the others go first: nothing holds the event loop for 5 ms


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything outside one wiki's shard.

    Attributes:
        wiki: the wiki's id in the configuration.
        domains: `meta.domain` of its events.
        copies: its pages as readers get them, for audits; None where nobody can ask.
    """

    wiki: str
    wiki_config: WikiConfig
    config: PropagationConfig
    log: Log
    renderer: Renderer
    bodies: BodyStore
    checkpoints: CheckpointStore
    site: Site
    clock: Clock
    ids: Ids
    metrics: Metrics
    copies: Copies | None = None

    @property
    def domains(self) -> frozenset[str]:
        """`meta.domain` of this wiki's events."""
        return frozenset(self.wiki_config.domains)

    def inc(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Raise a counter of this wiki."""
        self.metrics.inc(metric, amount, wiki=self.wiki, **labels)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge of this wiki."""
        self.metrics.set(metric, value, wiki=self.wiki, **labels)

    def observe(self, metric: Metric, value: float) -> None:
        """Add an observation to a histogram of this wiki."""
        self.metrics.observe(metric, value, wiki=self.wiki)


class Slices:
    """Cuts long work into pieces: `breathe` between two items gives the event loop back when a piece has taken its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s = clock.monotonic_s()

    async def breathe(self) -> None:
        """Let other tasks run if this piece has lasted long enough."""
        if self._clock.monotonic_s() - self._since_s >= SLICE_S:
            await asyncio.sleep(0)
            self._since_s = self._clock.monotonic_s()


async def hash_of(body: bytes) -> BodyHash:
    """The hash of `body`; of a large one computed in a thread, where SHA-256 runs without the interpreter lock."""
    if len(body) <= HASHED_INLINE_BYTES_MAX:
        return BodyHash(hashlib.sha256(body).hexdigest())
    return await asyncio.to_thread(lambda: BodyHash(hashlib.sha256(body).hexdigest()))


async def event_or_timeout(event: asyncio.Event, clock: Clock, timeout_s: float | None) -> bool:
    """Wait for `event`, at most `timeout_s` on `clock`; True if it is set."""
    if timeout_s is None:
        return await event.wait()
    if event.is_set():
        return True
    waiting = asyncio.ensure_future(event.wait())
    sleeping = asyncio.ensure_future(clock.sleep(timeout_s))
    try:
        await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop_tasks((waiting, sleeping))
    return event.is_set()


async def stop_tasks(tasks: "Sequence[asyncio.Future[Any]]") -> None:
    """Cancel tasks and wait until they have ended; what they raised is theirs."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def run_together(*loops: Coroutine[object, object, None]) -> None:
    """Run loops until one ends or fails.

    The others are then stopped, all of them have ended when this returns, and the failure is raised.
    """
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await stop_tasks(tuple(tasks))
    for task in done:
        task.result()

"""What the owner of a shard is surrounded by: its wiki, its configuration and everything it reaches through a port."""

import asyncio
import hashlib
from dataclasses import dataclass

from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metric, Metrics
from headwater.log.ports import Log
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.config import PropagationConfig
from headwater.propagation.model import BodyHash
from headwater.propagation.ports import BodyStore, CheckpointStore, Copies, Renderer, Site

HASHED_INLINE_BYTES_MAX = 128 * 1024


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

    def elapsed_ms(self) -> int:
        """Milliseconds on the clock that never goes back, for pauses: the wall clock may be set back by hours."""
        return int(self.clock.monotonic_s() * 1000)

    def inc(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Raise a counter of this wiki."""
        self.metrics.inc(metric, amount, wiki=self.wiki, **labels)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge of this wiki."""
        self.metrics.set(metric, value, wiki=self.wiki, **labels)

    def observe(self, metric: Metric, value: float) -> None:
        """Add an observation to a histogram of this wiki."""
        self.metrics.observe(metric, value, wiki=self.wiki)


async def hash_of(body: bytes) -> BodyHash:
    """The hash of `body`; of a large one computed in a thread, where SHA-256 runs without the interpreter lock."""
    if len(body) <= HASHED_INLINE_BYTES_MAX:
        return BodyHash(hashlib.sha256(body).hexdigest())
    return await asyncio.to_thread(lambda: BodyHash(hashlib.sha256(body).hexdigest()))

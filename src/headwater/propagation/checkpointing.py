"""Checkpoints: the shard's state, about once a second, under the present epoch.

A checkpoint is one instant of the shard, taken when no erasure is pending. What it covers may be trimmed from `changes`.
"""

import asyncio

import structlog

from headwater.kernel.errors import OutcomeUnknown, Overloaded, StorageFull, Unavailable
from headwater.kernel.failpoints import failpoint
from headwater.propagation.metrics import CHECKPOINT_SECONDS, CHECKPOINTS, WRITES_DELAYED
from headwater.propagation.streams import changes_of_wiki
from headwater.propagation.tenure import Tenure

_log = structlog.get_logger(__name__)


class Checkpointer:
    """Saves the shard of one epoch."""

    def __init__(self, tenure: Tenure) -> None:
        self._tenure = tenure
        self._around = tenure.around
        self._saved_activity = -1
        self._turn = asyncio.Lock()
        self.saved_ms: int | None = None

    async def run(self) -> None:
        """Save again and again while something changes. Raises Fenced."""
        while True:
            await self._around.clock.sleep(self._around.config.checkpoint_interval)
            if self._tenure.activity == self._saved_activity:
                continue
            try:
                await self.save()
            except (StorageFull, Unavailable, Overloaded, OutcomeUnknown) as error:  # the next checkpoint holds what this one did
                self._around.inc(WRITES_DELAYED)
                _log.warning("checkpoint_delayed", wiki=self._around.wiki, reason=error.code)

    async def save(self) -> None:
        """Save the state as it is now. Raises Fenced, StorageFull, Unavailable, OutcomeUnknown (may be repeated)."""
        async with self._turn:
            began_s = self._around.clock.monotonic_s()
            while self._tenure.erasures.pending:
                await self._tenure.erasures.carry_out()
            activity, shard = self._tenure.activity, self._tenure.shard
            self._tenure.erasures.forget_before(self._tenure.oldest_floor())
            checkpoint = shard.checkpoint()
            failpoint("checkpoint")
            await self._around.checkpoints.save(checkpoint)
            shard.saved(checkpoint)
            self._saved_activity = activity
            self.saved_ms = self._around.clock.now_ms()
            self._around.inc(CHECKPOINTS)
            self._around.observe(CHECKPOINT_SECONDS, self._around.clock.monotonic_s() - began_s)
            await self._tenure.guard({changes_of_wiki(self._around.wiki): self._tenure.offset(checkpoint.applied)})

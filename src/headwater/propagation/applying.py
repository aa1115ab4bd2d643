"""APPLY: reads the changes of one wiki in their order and marks what depends on them."""

from headwater.kernel.concurrency import Slices
from headwater.kernel.errors import Unavailable
from headwater.kernel.failpoints import failpoint
from headwater.log.model import Record
from headwater.propagation.codec import decode_change
from headwater.propagation.flow import Flow
from headwater.propagation.metrics import CHANGES_APPLIED, CHANGES_IGNORED, FLOW_DROPPED, PAGES_MARKED
from headwater.propagation.model import Lsn
from headwater.propagation.streams import changes_of_wiki
from headwater.propagation.tenure import Tenure, page_named

WAIT_S = 30.0


class Applier:
    """Applies the changes of one epoch."""

    def __init__(self, tenure: Tenure, flow: Flow) -> None:
        self._tenure = tenure
        self._around = tenure.around
        self._flow = flow

    async def run(self) -> None:
        """Apply change after change. Raises Corrupted if one cannot be read."""
        around, slices = self._around, Slices(self._around.clock)
        partition, after = changes_of_wiki(around.wiki), self._tenure.offset(self._tenure.shard.applied)
        while True:
            try:
                batch = await around.log.read(partition, after, limit=around.config.apply_batch_max, wait_s=WAIT_S)
            except Unavailable:
                await around.clock.sleep(around.config.full_retry_delay)
                continue
            for record in batch.records:
                self._apply(record)
                await slices.breathe()
            after = batch.next
            if batch.records:
                self._tenure.touched()
                await self._tenure.erasures.carry_out()

    def _apply(self, record: Record) -> None:
        assert record.value is not None, "changes has no tombstones"
        change, lsn = decode_change(record.value), Lsn(self._tenure.base + record.offset)
        failpoint("apply")
        now_ms = self._around.clock.now_ms()
        self._tenure.erasures.note(lsn, change, page_named(self._tenure.shard, change))
        marked = self._tenure.shard.apply(lsn, change, now_ms=now_ms)
        self._around.inc(CHANGES_APPLIED)
        if marked.ignored:
            self._around.inc(CHANGES_IGNORED)
        self._around.inc(PAGES_MARKED, marked.newly)
        dropped = not marked.ignored and self._flow.applied(lsn, change, newly=marked.newly, dependents=marked.dependents, now_ms=now_ms)
        if dropped:
            self._around.inc(FLOW_DROPPED)
        self._tenure.work.set()

    async def at_end(self) -> bool:
        """Whether every change that is in the log now is applied."""
        after = self._tenure.offset(self._tenure.shard.applied)
        batch = await self._around.log.read(changes_of_wiki(self._around.wiki), after, limit=1)
        return batch.at_end and not batch.records

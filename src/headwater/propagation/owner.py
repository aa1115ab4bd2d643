"""The life of the owner of one wiki's shard: epoch after epoch, until it is stopped or fenced.

An epoch recovers, then runs its loops together: events to changes, changes to marks, renders, commits, checkpoints, the backfill,
ticks, audits. When one fails the others stop before anything else happens. What follows depends on the error alone:

* Fenced: somebody else owns the shard. This owner stops for good, and serves no more reads.
* OutcomeUnknown: an append may or may not have happened. The epoch is over; the next one recovers from the log.
* StorageFull, Unavailable that a loop could not wait out, a wiki that refuses to describe itself: the same, after a pause.
* Corrupted, FormatTooNew: it stops, says why in `/readyz`, and waits for a person.

Between two epochs reads go on from the state of the last one: all that it serves is durable.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import structlog

from headwater.kernel.concurrency import event_or_timeout, run_together, run_until
from headwater.kernel.errors import Corrupted, Fenced, FormatTooNew, HeadwaterError, OutcomeUnknown, StorageFull, Unavailable
from headwater.propagation.applying import Applier
from headwater.propagation.audit import Audit, AuditCounts
from headwater.propagation.backfill import Backfill
from headwater.propagation.checkpointing import Checkpointer
from headwater.propagation.committing import Committer
from headwater.propagation.flow import Flow, History
from headwater.propagation.gauges import report_gauges
from headwater.propagation.inputs import InputReader
from headwater.propagation.metrics import OWNER_FENCED
from headwater.propagation.model import PageKey
from headwater.propagation.rendering import Dispatcher
from headwater.propagation.streams import own_streams
from headwater.propagation.surroundings import Surroundings
from headwater.propagation.tenure import Tenure, begin
from headwater.propagation.ticks import Ticker
from headwater.propagation.turns import Turns

_log = structlog.get_logger(__name__)
_GAUGES_EVERY_S = 0.25


class OwnerState(Enum):
    """Where an owner is in its life."""

    STARTING = "starting"  # it has not recovered yet
    RUNNING = "running"
    RECOVERING = "recovering"  # again, after an epoch ended
    FENCED = "fenced"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True)
class Epoch:
    """The parts at work in one epoch."""

    tenure: Tenure
    inputs: InputReader
    applier: Applier
    committer: Committer
    dispatcher: Dispatcher
    checkpointer: Checkpointer
    backfill: Backfill
    ticker: Ticker
    audit: Audit


@dataclass(slots=True)
class Owner:
    """Owns one wiki's shard.

    Attributes:
        epoch: the parts of the running epoch, or of the last one while it recovers; None before the first.
        reason: why it does not run, for `/readyz` and the status.
        settled: told of every page whose commit became durable, or that was parked.
        audited: what audits found, of all epochs.
    """

    around: Surroundings
    turns: Turns
    settled: Callable[[PageKey], None]
    state: OwnerState = OwnerState.STARTING
    reason: str | None = "not started"
    epoch: Epoch | None = None
    audited: AuditCounts = field(default_factory=AuditCounts)
    flow: Flow = field(init=False)
    history: History = field(init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        config = self.around.config
        self.flow = Flow(config.flow_max)
        self.history = History(pages_max=config.history_pages_max, commits_max=config.history_max)

    async def run(self) -> None:
        """Own the shard until `stop`, or until it is fenced or cannot go on. Errors that are bugs are raised."""
        while not self._stop.is_set():
            try:
                await self._epoch()
            except Fenced as error:
                self._end(OwnerState.FENCED, f"another owner has claimed the shard: {error.detail}")
                self.around.inc(OWNER_FENCED)
                return
            except (Corrupted, FormatTooNew) as error:
                self._end(OwnerState.FAILED, error.detail)
                return
            except HeadwaterError as error:
                await self._pause_before_recovery(error)
        if self.state in (OwnerState.STARTING, OwnerState.RUNNING, OwnerState.RECOVERING):
            self._end(OwnerState.STOPPED, "stopped")

    def stop(self) -> None:
        """Ask it to end; `run` then saves a last checkpoint and returns."""
        self._stop.set()

    def _end(self, state: OwnerState, reason: str) -> None:
        self.state, self.reason = state, reason
        if state is not OwnerState.STOPPED:
            _log.error("owner_ended", wiki=self.around.wiki, state=state.value, reason=reason)

    async def _pause_before_recovery(self, error: HeadwaterError) -> None:
        self.state = OwnerState.STARTING if self.epoch is None else OwnerState.RECOVERING
        self.reason = f"{error.code}: {error.detail}"
        _log.warning("epoch_ended", wiki=self.around.wiki, reason=self.reason)
        config = self.around.config
        delay_s = config.recover_delay if isinstance(error, OutcomeUnknown) else config.full_retry_delay
        await event_or_timeout(self._stop, self.around.clock, delay_s)

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _epoch(self) -> None:
        """One epoch, from the claim to its end. Returns when the owner is stopped."""
        await self.around.log.declare(own_streams(self.around.wiki, self.around.config))
        tenure = await self._begun()
        if tenure is None:
            return
        epoch = self._parts(tenure)
        self.epoch, self.state, self.reason = epoch, OwnerState.RUNNING, None
        _log.info("owner_running", wiki=self.around.wiki, epoch=tenure.commits_fence.epoch, pages=len(tenure.shard))
        await run_together(
            epoch.inputs.run(),
            epoch.applier.run(),
            epoch.committer.run(),
            epoch.dispatcher.run(),
            epoch.checkpointer.run(),
            epoch.backfill.run(),
            epoch.ticker.run(),
            epoch.audit.run(),
            self._watch(epoch),
            tenure.end_in_doubt(),
            self._stopped(),
        )
        if self._stop.is_set():
            await self._last_checkpoint(epoch)

    async def _begun(self) -> Tenure | None:
        """A recovered tenure, or None when it is stopped first: a wiki or a log that does not answer must not hold up the end."""
        return await run_until(self._stop, begin(self.around))

    def _parts(self, tenure: Tenure) -> Epoch:
        committer = Committer(tenure, self.flow, self.history, self.settled)
        checkpointer, inputs, applier = Checkpointer(tenure), InputReader(tenure), Applier(tenure, self.flow)
        dispatcher = Dispatcher(tenure, committer, self.turns)

        async def caught_up() -> bool:
            return await inputs.at_end() and await applier.at_end()

        return Epoch(
            tenure=tenure,
            inputs=inputs,
            applier=applier,
            committer=committer,
            dispatcher=dispatcher,
            checkpointer=checkpointer,
            backfill=Backfill(tenure, inputs.repeat, checkpointer.save),
            ticker=Ticker(tenure, inputs.repeat),
            audit=Audit(tenure, self.audited, append=inputs.repeat, caught_up=caught_up, backed_up=dispatcher.backed_up),
        )

    async def _last_checkpoint(self, epoch: Epoch) -> None:
        try:
            await epoch.checkpointer.save()
        except (StorageFull, Unavailable, OutcomeUnknown) as error:  # the log has it all; the next start replays more
            _log.warning("last_checkpoint_not_saved", wiki=self.around.wiki, reason=error.code)

    async def _watch(self, epoch: Epoch) -> None:
        """Keep the gauges and the live view up to date."""
        while True:
            report_gauges(self.around, epoch.tenure, epoch.dispatcher)
            self.flow.settle(epoch.tenure.stale_since_ms(), now_ms=self.around.clock.now_ms())
            await self.around.clock.sleep(_GAUGES_EVERY_S)

    async def at_rest(self) -> bool:
        """Whether every event in the log is applied and no page is stale, in flight or put off. Parked pages do not count."""
        epoch = self.epoch
        if epoch is None or self.state is not OwnerState.RUNNING:
            return False
        shard = epoch.tenure.shard
        if sum(shard.backlog().values()) or shard.in_flight() or epoch.backfill.running:
            return False
        if not (await epoch.inputs.at_end() and await epoch.applier.at_end()):
            return False
        return not sum(shard.backlog().values()) and not shard.in_flight() and self.epoch is epoch

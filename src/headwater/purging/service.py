"""The consumer of `resource-purge`: reads records, performs what the schedule decides, and advances its group over what is finished.

Invariant: the group's progress never passes a record unless every target has acknowledged its purges or a dead letter for it is durable.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import event_or_timeout
from headwater.kernel.errors import HeadwaterError, InvalidInput, NotFound, OffsetTrimmed, Overloaded, Retry, StorageFull
from headwater.kernel.failpoints import failpoint
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.log.model import BEFORE_FIRST, Batch, GroupName, Offset, PartitionId, Position, Record
from headwater.log.ports import Log
from headwater.log.progress import PartitionProgress
from headwater.purging import metrics as m
from headwater.purging.address import address_of
from headwater.purging.config import PurgingConfig
from headwater.purging.lanes import Health
from headwater.purging.letters import DeadLetters
from headwater.purging.model import EVERY_TARGET, GROUP, STREAM, DeadLetter, again, letter_id, purge_of
from headwater.purging.ports import PurgeTarget, ServedSeq
from headwater.purging.schedule import Action, AskServed, Finished, Park, Purged, Schedule, Send, TargetPlan
from headwater.purging.status import PurgedEntry, PurgingStatus, age_s, target_status

READ_WAIT_S = 1.0
PAUSE_AFTER_ERROR_S = 1.0
IDLE_S = 1.0  # longest pause between two looks at gauges
TICK_S = 0.001  # shortest pause of the dispatcher: due times are not kept more exactly

_logger = structlog.get_logger(__name__)


class _Stopped(Exception):
    """Ends the task group of `run` from within."""


@dataclass(slots=True)
class _Partition:
    """How far one partition has been read and finished."""

    identity: PartitionId
    progress: PartitionProgress
    after: Offset
    unfinished: deque[Offset] = field(default_factory=deque)  # read and not yet covered by the progress
    trouble: str | None = None


class PurgingService:
    """Purging, first form: one process consumes all partitions of `resource-purge`."""

    def __init__(
        self,
        log: Log,
        targets: Sequence[PurgeTarget],
        served: ServedSeq,
        *,
        config: PurgingConfig,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
    ) -> None:
        """Nothing runs before `start`; `targets` are exactly those of `config`, by name."""
        self._log = log
        self._targets = {target.name: target for target in targets}
        self._served = served
        self._config = config
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._letters = DeadLetters(log, clock=clock, held_max=config.dead_letters_max)
        concurrency = {target.name: target.concurrency_max for target in config.targets}
        assert concurrency.keys() == self._targets.keys()
        plans = [TargetPlan(target.name, target.layer, concurrency[target.name]) for target in targets]
        self._schedule = Schedule(plans, policy=config.retry_policy(), settle_s=config.origin_timeout_max, served_poll_s=config.served_poll)
        self._partitions: dict[PartitionId, _Partition] = {}
        self._purged = 0
        self._resolving: deque[str] = deque()  # letters that a later purge made void
        self._unfinished = 0  # records in the schedule
        self._changed = asyncio.Event()  # something was admitted or answered
        self._room = asyncio.Event()  # a reader may go on
        self._advanced: dict[PartitionId, Offset] = {}
        self._to_advance = asyncio.Event()
        self._missed: set[str] = set()  # targets that were down, now or when the letters found at the start were written
        self._back: deque[str] = deque()  # such targets that answer again
        self._returned = asyncio.Event()
        self._recent: deque[PurgedEntry] = deque(maxlen=config.recent_max)

    @property
    def letters(self) -> DeadLetters:
        """The dead letters."""
        return self._letters

    async def start(self) -> None:
        """Learn the progress and the dead letters, and register the group. Raises NotFound (no such stream yet), Unavailable."""
        await self._letters.start()
        self._missed = set(self._targets) if len(self._letters) else set()
        infos = [info for info in await self._log.describe(STREAM) if info.partition.stream == STREAM]
        if not infos:
            raise NotFound(f"the stream {STREAM} is not declared")
        progress = await self._log.progress(GroupName(GROUP))
        for info in infos:
            after = progress.get(info.partition, BEFORE_FIRST)
            self._partitions[info.partition] = _Partition(info.partition, PartitionProgress(after), after)
        try:
            await self._log.advance(GroupName(GROUP), {p.identity: p.after for p in self._partitions.values()})
        except StorageFull as error:  # known or not, what is purged is told again; a full disk must not end the other roles
            _logger.warning("purge_progress_not_stored", code=error.code, detail=error.detail)

    async def run(self, stop: asyncio.Event) -> None:
        """Purge until `stop` is set; then what is under way is left for the next start. A bug ends it with an exception."""
        tasks = asyncio.TaskGroup()
        try:
            async with tasks:
                for partition in self._partitions.values():
                    tasks.create_task(self._read(partition))
                tasks.create_task(self._dispatch(tasks))
                tasks.create_task(self._advance_always())
                tasks.create_task(self._revive_always())
                await stop.wait()
                raise _Stopped
        except* _Stopped:
            pass
        await self._advance_now()

    # Reading

    async def _read(self, partition: _Partition) -> None:
        while True:
            room = self._room_for(partition)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            try:
                batch = await self._log.read(partition.identity, partition.after, limit=room, wait_s=READ_WAIT_S)
            except OffsetTrimmed as error:
                self._metrics.inc(m.LOST)
                _logger.error("purges_trimmed_unread", partition=str(partition.identity), first=error.first)
                partition.after = Offset(error.first - 1)
                continue
            except HeadwaterError as error:
                partition.trouble = f"{partition.identity.stream}: {error.detail}"
                _logger.warning("purge_log_unreadable", code=error.code, detail=error.detail)
                await self._clock.sleep(PAUSE_AFTER_ERROR_S)
                continue
            partition.trouble = None
            await self._take(partition, batch)

    def _room_for(self, partition: _Partition) -> int:
        window = self._config.window_max - len(partition.unfinished)
        return min(window, self._config.unfinished_max - self._unfinished, self._config.batch_records_max)

    async def _take(self, partition: _Partition, batch: Batch) -> None:
        for record in batch.records:
            partition.progress.start(record.offset)
            partition.unfinished.append(record.offset)
            partition.after = record.offset
            await self._admit(record)
        partition.after = batch.next
        self._note_progress(partition, partition.progress.reach(batch.next))
        self._changed.set()

    async def _admit(self, record: Record) -> None:
        try:
            purge = purge_of(record.value, record.time_ms)
            if purge is not None:
                address_of(purge.url)
        except InvalidInput as error:
            await self._park_unreadable(record, error)
            purge = None
        if purge is None:
            self._finish_record(record.position)
            return
        self._unfinished += 1
        self._schedule.admit(purge, record.position, self._clock.monotonic_s())
        self._collect()

    async def _park_unreadable(self, record: Record, error: InvalidInput) -> None:
        """Keep a record that names no URL which could be purged: it can never be sent, and must not be lost silently."""
        self._metrics.inc(m.UNREADABLE)
        position = f"{record.position.partition.stream}/{record.position.partition.number}/{record.offset}"
        letter = DeadLetter(
            id=letter_id(EVERY_TARGET, position),
            target=EVERY_TARGET,
            url=position,
            reason=error.detail[:500],
            attempts=0,
            parked_ms=self._clock.now_ms(),
            time_ms=record.time_ms,
        )
        while True:
            try:
                await self._letters.store(letter, -1)
            except HeadwaterError as failure:
                _logger.warning("dead_letter_not_stored", code=failure.code, detail=failure.detail)
                await self._clock.sleep(PAUSE_AFTER_ERROR_S)
            else:
                self._metrics.inc(m.PARKED, target=EVERY_TARGET)
                return

    # Performing what the schedule decides

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._changed.clear()
            now_s = self._clock.monotonic_s()
            while (action := self._schedule.next_action(now_s)) is not None:
                tasks.create_task(self._perform(action))
            self._collect()
            self._set_gauges()
            due_s = self._schedule.next_due_s()
            pause_s = IDLE_S if due_s is None else min(IDLE_S, max(TICK_S, due_s - self._clock.monotonic_s()))
            await event_or_timeout(self._changed, self._clock, pause_s)

    async def _perform(self, action: Action) -> None:
        match action:
            case Send():
                await self._send(action)
            case AskServed():
                await self._ask(action)
            case Park():
                await self._park(action)
        self._collect()
        self._changed.set()

    async def _send(self, action: Send) -> None:
        target = self._targets[action.target]
        self._metrics.inc(m.SENT, target=action.target)
        began_s = self._clock.monotonic_s()
        failure: HeadwaterError | None = None
        try:
            await target.purge(action.request)
        except HeadwaterError as error:
            failure = error
        failpoint("purge.sent")
        now_s = self._clock.monotonic_s()
        self._metrics.observe(m.REQUEST_DURATION, now_s - began_s, target=action.target)
        if failure is None:
            self._metrics.inc(m.ACKNOWLEDGED, target=action.target)
            self._schedule.acknowledged(action, now_s)
            self._note_return(action.target)
            failpoint("purge.acknowledged")
        elif failure.retry is Retry.NEVER:
            self._metrics.inc(m.REFUSED, target=action.target)
            self._schedule.refused(action, failure.detail, now_s)
        else:
            self._metrics.inc(m.RETRIED, target=action.target)
            self._schedule.failed(action, failure.detail, self._ids.jitter(), now_s)
            if self._schedule.lanes[action.target].health(self._config.retry_policy()) is Health.DOWN:
                self._missed.add(action.target)

    def _note_return(self, target: str) -> None:
        """A target that answers after it was down gets what was given up meanwhile: its copies are those of before."""
        if target in self._missed:
            self._missed.remove(target)
            self._back.append(target)
            self._returned.set()

    async def _revive_always(self) -> None:
        while True:
            await self._returned.wait()
            self._returned.clear()
            while self._back:
                await self._revive(self._back.popleft())

    async def _revive(self, target: str) -> None:
        """Try every dead letter of `target` once more, a few at a time and behind what is new."""
        after: Offset | None = BEFORE_FIRST
        while after is not None and len(self._letters):
            try:
                letters, following = await self._letters.read(self._config.batch_records_max, after)
            except HeadwaterError as error:
                _logger.warning("dead_letters_not_read", code=error.code, detail=error.detail)
                await self._clock.sleep(PAUSE_AFTER_ERROR_S)
                continue
            after = following
            for letter in (letter for letter in letters if letter.target == target):
                while len(self._schedule) >= self._config.unfinished_max:
                    await self._clock.sleep(PAUSE_AFTER_ERROR_S)
                self._metrics.inc(m.REVIVED, target=target)
                self._schedule.admit(again(letter), None, self._clock.monotonic_s())
                self._changed.set()

    async def _ask(self, action: AskServed) -> None:
        try:
            seq = await self._served.served(action.wiki, action.page_id)
        except HeadwaterError as error:
            self._schedule.unserved(action, f"the pages API does not say what it serves: {error.detail}", self._clock.monotonic_s())
            return
        self._schedule.served(action, seq, self._clock.monotonic_s())

    async def _park(self, action: Park) -> None:
        purge = action.purge
        letter = DeadLetter(
            id=letter_id(action.target, purge.url),
            target=action.target,
            url=purge.url,
            reason=action.reason[:500],
            attempts=action.attempts,
            parked_ms=self._clock.now_ms(),
            time_ms=purge.time_ms,
            seq=purge.seq,
            wiki=purge.wiki,
            page_id=purge.page_id,
        )
        try:
            await self._letters.store(letter, action.number)
        except HeadwaterError as error:
            _logger.warning("dead_letter_not_stored", code=error.code, detail=error.detail)
            self._schedule.unparked(action, self._ids.jitter(), self._clock.monotonic_s())
            return
        self._metrics.inc(m.PARKED, target=action.target)
        _logger.warning("purge_parked", target=action.target, reason=letter.reason, attempts=action.attempts)
        self._schedule.parked(action, self._clock.monotonic_s())

    # Finishing

    def _collect(self) -> None:
        for purged in self._schedule.take_purged():
            self._purged += 1
            self._metrics.observe(m.DURATION, purged.duration_s)
            self._recent.append(self._entry(purged))
        for finished in self._schedule.take_finished():
            self._unfinished -= len(finished.positions)
            for position in finished.positions:
                self._finish_record(position)
            self._resolve(finished)
        self._room.set()

    def _entry(self, purged: Purged) -> PurgedEntry:
        purge, now_ms = purged.purge, self._clock.now_ms()
        return PurgedEntry(url=purge.url, seq=purge.seq, wiki=purge.wiki, page_id=purge.page_id, asked_ms=purge.time_ms, purged_ms=now_ms)

    def _finish_record(self, position: Position) -> None:
        partition = self._partitions[position.partition]
        self._note_progress(partition, partition.progress.finish(position.offset))

    def _note_progress(self, partition: _Partition, committed: Offset | None) -> None:
        if committed is None:
            return
        while partition.unfinished and partition.unfinished[0] <= committed:
            partition.unfinished.popleft()
        self._advanced[partition.identity] = committed
        self._to_advance.set()

    def _resolve(self, finished: Finished) -> None:
        outdated = self._letters.outdated(finished.purge.url, sorted(finished.acknowledged), finished.number)
        self._resolving.extend(outdated)
        if outdated:
            self._to_advance.set()

    async def _advance_always(self) -> None:
        while True:
            await self._to_advance.wait()
            self._to_advance.clear()
            if not await self._advance_now():
                await self._clock.sleep(PAUSE_AFTER_ERROR_S)
                self._to_advance.set()

    async def _advance_now(self) -> bool:
        """Store the progress, then resolve letters that a later purge made void. Whether all of it is durable."""
        positions, self._advanced = self._advanced, {}
        try:
            if positions:
                await self._log.advance(GroupName(GROUP), positions)
            while self._resolving:
                await self._letters.resolve(self._resolving[0])
                self._resolving.popleft()
        except HeadwaterError as error:
            _logger.warning("purge_progress_not_stored", code=error.code, detail=error.detail)
            self._advanced = {**positions, **self._advanced}
            return False
        return True

    # What others may ask

    async def retry(self, identity: str) -> None:
        """Try a dead letter again, at its own target; it is resolved once acknowledged, and stays otherwise.

        Raises:
            NotFound: no unresolved letter of this id.
            InvalidInput: its target is not declared any more, or it names no URL.
            Overloaded: too many purges under way.
        """
        letter = await self._letters.get(identity)
        if letter.target not in self._targets:
            raise InvalidInput("no declared target can be sent this dead letter; discard it instead", where="id")
        if len(self._schedule) >= self._config.unfinished_max:
            raise Overloaded("too many purges are under way", retry_after_s=PAUSE_AFTER_ERROR_S)
        self._schedule.admit(again(letter), None, self._clock.monotonic_s())
        self._changed.set()

    async def discard(self, identity: str) -> None:
        """Resolve a dead letter without sending it. Raises NotFound, Unavailable."""
        await self._letters.get(identity)
        await self._letters.resolve(identity)

    async def at_rest(self) -> bool:
        """Whether every record in the log now is finished, second purges included. Raises Unavailable."""
        return not len(self._schedule) and await self._caught_up() and not len(self._schedule)

    async def _caught_up(self) -> bool:
        for partition in self._partitions.values():
            batch = await self._log.read(partition.identity, partition.after, limit=1)
            if batch.records or not batch.at_end:
                return False
        return True

    async def not_ready(self) -> str | None:
        """Why the log cannot be consumed, or None: a readiness check. A target that is down does not make the role unready."""
        return "; ".join(self._troubles()) or None

    def _troubles(self) -> list[str]:
        return [partition.trouble for partition in self._partitions.values() if partition.trouble]

    async def status(self) -> PurgingStatus:
        """The present state. Raises Unavailable."""
        now_s, policy = self._clock.monotonic_s(), self._config.retry_policy()
        lanes = self._schedule.lanes
        return PurgingStatus(
            unfinished=self._unfinished,
            waiting_second=self._schedule.waiting_for_second(),
            purged=self._purged,
            dead_letters=len(self._letters),
            caught_up=await self._caught_up(),
            targets=[
                target_status(lanes[name], target.layer, now_s, policy=policy, metrics=self._metrics)
                for name, target in self._targets.items()
            ],
            recent=list(self._recent),
            trouble=self._troubles(),
        )

    def _set_gauges(self) -> None:
        now_s = self._clock.monotonic_s()
        for name in self._targets:
            self._metrics.set(m.OLDEST_AGE, age_s(self._schedule.lanes[name], now_s) or 0.0, target=name)
        self._metrics.set(m.UNFINISHED, self._unfinished)
        self._metrics.set(m.WAITING_SECOND, self._schedule.waiting_for_second())
        self._metrics.set(m.DEAD_LETTERS_HELD, len(self._letters))

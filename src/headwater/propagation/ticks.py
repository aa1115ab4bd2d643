"""Ticks: tells pages that show the time that an hour or a day has ended.

Such a page reads `t:hour` or `t:day` (`engines/mediawiki.py`). When a span of that length has ended, one change of the resource is
appended, if a page reads it or a render is under way that may turn out to. Its place among the changes does the rest: a render leased
before the tick is stale by it, a later one is not.

Invariant: a change of a span and the note that the span is settled are one fenced append. So each span is told at most once, through any
crash; of spans that ended while nobody owned the shard only the last is told. `docs/decisions/0025-mark-time-by-ticks.md`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from headwater.kernel.clock import iso_utc
from headwater.kernel.errors import HeadwaterError
from headwater.log.model import NewRecord
from headwater.propagation.metrics import CHANGES_WRITTEN, TICKS
from headwater.propagation.model import Change, Resource, Urgency
from headwater.propagation.notes import Ticks, note_record
from headwater.propagation.repairs import change_records
from headwater.propagation.streams import TICKS_KEY
from headwater.propagation.tenure import Tenure

SPANS_MS: Final[Mapping[Resource, int]] = {Resource("t:hour"): 3_600_000, Resource("t:day"): 86_400_000}
LOOK_EVERY_S: Final = 60.0  # a wall clock that was set is noticed this soon


class Ticker:
    """Writes the ticks of one wiki in one epoch.

    Args:
        append: appends under the fence of the changes, and waits out a full disk.
    """

    def __init__(self, tenure: Tenure, append: Callable[[Sequence[NewRecord]], Awaitable[object]]) -> None:
        self._tenure = tenure
        self._around = tenure.around
        self._append = append
        self._settled_ms: dict[str, int] = dict(tenure.notes.ticks.settled_ms)
        self._offset_min = tenure.titles.time_offset_min

    async def run(self) -> None:
        """Write a tick whenever a span has ended. Raises Fenced, OutcomeUnknown."""
        while True:
            await self._ask_offset()
            await self._look()
            await self._around.clock.sleep(self._pause_s())

    async def _ask_offset(self) -> None:
        """Learn the wiki's present offset, which changes with daylight saving time; the last one known holds until it answers."""
        with suppress(HeadwaterError):
            self._offset_min = (await self._around.site.site()).time_offset_min

    def _now_ms(self) -> int:
        """The time that the wiki's clock has surely reached."""
        return self._around.clock.now_ms() - int(self._around.config.tick_delay * 1000)

    def _pause_s(self) -> float:
        now_ms = self._now_ms()
        next_ms = min(ends_ms(now_ms, length_ms, self._offset_min) for length_ms in SPANS_MS.values())
        return min(LOOK_EVERY_S, (next_ms - now_ms) / 1000)

    async def _look(self) -> None:
        """Settle every span that has ended since the last one settled."""
        now_ms = self._now_ms()
        ended = {resource: began_ms(now_ms, length_ms, self._offset_min) for resource, length_ms in SPANS_MS.items()}
        due = {resource: end_ms for resource, end_ms in ended.items() if self._is_due(resource, end_ms)}
        if not due:
            return
        told = [resource for resource in due if self._concerns_anybody(resource)]
        changes = [_tick(resource, due[resource]) for resource in told]
        settled_ms = self._settled_ms | {str(resource): end_ms for resource, end_ms in due.items()}
        note = note_record(self._around.wiki, TICKS_KEY, Ticks(settled_ms), self._around.clock.now_ms())
        await self._append([*change_records(self._around.wiki, changes, self._around.clock.now_ms()), note])
        self._settled_ms = settled_ms
        self._around.inc(CHANGES_WRITTEN, len(changes))
        for resource in told:
            self._around.inc(TICKS, span=resource.partition(":")[2])

    def _is_due(self, resource: Resource, end_ms: int) -> bool:
        """Whether `end_ms` is a new boundary: not one before the last, unless so far that the clock must have been wrong then."""
        settled_ms = self._settled_ms.get(resource)
        return settled_ms is None or end_ms > settled_ms or settled_ms - end_ms > SPANS_MS[resource]

    def _concerns_anybody(self, resource: Resource) -> bool:
        shard = self._tenure.shard
        return shard.dependents(resource, 0)[0] > 0 or shard.in_flight() > 0


def began_ms(now_ms: int, length_ms: int, offset_min: int) -> int:
    """When the present span began, in ms since the epoch: the last boundary of UTC or of local time, for pages show either. Pure."""
    offset_ms = offset_min * 60_000
    return max(now_ms - now_ms % length_ms, now_ms - (now_ms + offset_ms) % length_ms)


def ends_ms(now_ms: int, length_ms: int, offset_min: int) -> int:
    """When the present span will have ended, in ms since the epoch. Pure."""
    offset_ms = offset_min * 60_000
    return now_ms + length_ms - max(now_ms % length_ms, (now_ms + offset_ms) % length_ms)


def _tick(resource: Resource, end_ms: int) -> Change:
    event_id = f"time/{resource}/{iso_utc(end_ms)}"
    return Change(resource=resource, cause="time", urgency=Urgency.REST, event_id=event_id, time_ms=end_ms)

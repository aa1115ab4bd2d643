"""Reads and writes of single rows, recognised and carried out in one go for all that arrive in one turn of the event loop.

What is not recognised, or is refused, gets None: whoever asked has it planned, carried out and refused as anything else.
"""

from collections.abc import Callable, Sequence

import msgspec

from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError, OutcomeUnknown
from headwater.kernel.gathering import Gathered
from headwater.tables.catalogue import InUse
from headwater.tables.model import Outcome, RowKey, Write
from headwater.tables.planner import WritePlan
from headwater.tables.ports import TableStore
from headwater.tables.showing import revision_text
from headwater.tables.usual import Point, UsualRequests

AsWrite = Callable[[InUse, WritePlan], Write]
"""Makes a write of a plan, for a table that has a space."""


class PointFound(msgspec.Struct, frozen=True, gc=False):
    """The JSON of an answer, and how many rows it has."""

    text: bytes
    rows: int


class PointWritten(msgspec.Struct, frozen=True, gc=False):
    """A write that was applied, and the revision it gave, as it is shown."""

    write: Write
    revision: str


class Points:
    """Requests for single rows of any table. For one event loop."""

    def __init__(self, store: TableStore, as_write: AsWrite, *, clock: Clock) -> None:
        self._store = store
        self._as_write = as_write
        self._clock = clock
        self._reads = Gathered(self._read, clock=clock)
        self._writes = Gathered(self._write, clock=clock)

    async def read(self, in_use: InUse, raw: bytes) -> PointFound | None:
        """The answer to a query. Raises what is a bug."""
        usual = in_use.planner.usual
        if usual is None or in_use.space is None or raw.count(b"{") != _BRACES:
            return None
        return await self._reads.ask((in_use, usual, raw))

    async def write(self, in_use: InUse, raw: bytes) -> PointWritten | None:
        """What came of a write; durable. Raises OutcomeUnknown."""
        usual = in_use.planner.usual
        if usual is None or in_use.space is None or not usual.takes_writes:
            return None
        return await self._writes.ask((in_use, usual, raw))

    async def _read(self, asked: Sequence[tuple[InUse, UsualRequests, bytes]]) -> Sequence[PointFound | None]:
        points: list[Point | None] = []
        keys: list[RowKey] = []
        for in_use, usual, raw in asked:
            point = usual.find_read(raw)
            points.append(point)
            if point is not None:
                assert in_use.space is not None
                keys.append((in_use.space, point.partition, point.clustering))
        now_s = self._clock.now_ms() // 1000
        try:
            rows = list(await self._store.read_rows(keys, now_s=now_s)) if keys else []
        except HeadwaterError:  # each is told of its own row
            return [None] * len(asked)
        rows.reverse()
        answers: list[PointFound | None] = []
        for (_, usual, _), point in zip(asked, points, strict=True):
            if point is None:
                answers.append(None)
            elif not rows:
                break  # the rows before were large; the rest is asked for again
            else:
                row = rows.pop()
                answers.append(PointFound(usual.show(point, row, now_s=now_s), 0 if row is None else 1))
        return answers

    async def _write(self, asked: Sequence[tuple[InUse, UsualRequests, bytes]]) -> Sequence[PointWritten | None]:
        now_ms = self._clock.now_ms()
        writes: list[Write | None] = []
        for in_use, usual, raw in asked:
            found = usual.find_write(raw, now_s=now_ms // 1000)
            writes.append(None if found is None else self._as_write(in_use, WritePlan(found[0], (found[1],))))
        sent = [write for write in writes if write is not None]
        try:
            outcomes = iter(await self._store.write_each(sent, now_ms=now_ms) if sent else ())
        except OutcomeUnknown:
            raise
        except HeadwaterError:  # each is told by its own write; nothing has happened
            return [None] * len(asked)
        return [None if write is None else _written(write, next(outcomes)) for write in writes]


_BRACES = 2  # of the body and of its attributes; a comparison by operators has more


def _written(write: Write, outcome: Outcome | HeadwaterError) -> PointWritten | None:
    if isinstance(outcome, HeadwaterError):
        return None
    assert outcome.revision is not None, "there was no condition"
    return PointWritten(write, revision_text(outcome.revision))

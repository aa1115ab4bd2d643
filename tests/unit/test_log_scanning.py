"""Reading to the end: every record once, across gaps and more than one batch."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headwater.kernel.errors import NotFound
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import BEFORE_FIRST, NewRecord, Offset, PartitionId, Policy, StreamSpec
from headwater.log.scanning import RECORDS_MAX, records_to_end
from headwater.testing.clock import ManualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]
STREAM = PartitionId("s")


async def values(log: MemoryLog, after: Offset = BEFORE_FIRST) -> list[bytes | None]:
    """What is there after an offset."""
    return [record.value async for record in records_to_end(log, STREAM, after)]


@pytest.mark.parametrize("count", [0, 1, RECORDS_MAX, 2 * RECORDS_MAX + 1])
def test_every_record_comes_once_and_in_order(run: Run, count: int) -> None:
    async def scenario() -> None:
        log = MemoryLog(clock=ManualClock())
        await log.declare([StreamSpec("s", Policy.KEEP)])
        written = [str(number).encode() for number in range(count)]
        for start in range(0, count, 100):
            await log.append([NewRecord("s", value, 0) for value in written[start : start + 100]])
        assert await values(log) == written
        if count:
            offsets = [record.offset async for record in records_to_end(log, STREAM)]
            assert await values(log, offsets[0]) == written[1:]

    run(scenario())


def test_errors_of_the_log_come_through(run: Run) -> None:
    async def scenario() -> None:
        with pytest.raises(NotFound):
            await values(MemoryLog(clock=ManualClock()))

    run(scenario())

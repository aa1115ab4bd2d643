"""Progress of consumers that finish out of order, and the consumer that uses it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.kernel.errors import Unavailable
from headwater.log.consumer import Consumer
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import BEFORE_FIRST, GroupName, NewRecord, Offset, PartitionId, Policy, StreamSpec
from headwater.log.progress import PartitionProgress
from headwater.testing.clock import ManualClock

STREAM = PartitionId("events")
GROUP = GroupName("purging")


def test_progress_passes_only_what_is_finished() -> None:
    progress = PartitionProgress(BEFORE_FIRST)
    for offset in (2, 3, 6):
        progress.start(Offset(offset))
    assert progress.finish(Offset(3)) is None
    assert progress.finish(Offset(2)) == 3
    assert progress.reach(Offset(9)) is None
    assert progress.under_way == 1
    assert progress.finish(Offset(6)) == 9
    assert progress.committed == 9


def test_misuse_of_progress_is_a_bug() -> None:
    progress = PartitionProgress(Offset(4))
    with pytest.raises(AssertionError):
        progress.start(Offset(4))
    with pytest.raises(AssertionError):
        progress.finish(Offset(5))
    with pytest.raises(AssertionError):
        progress.reach(Offset(3))
    progress.start(Offset(5))
    progress.finish(Offset(5))
    with pytest.raises(AssertionError):
        progress.finish(Offset(5))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_committed_is_below_everything_unfinished(gaps: list[int], lot: object) -> None:
    progress = PartitionProgress(BEFORE_FIRST)
    offset, started = -1, []
    for gap in gaps:
        offset += gap
        progress.start(Offset(offset))
        started.append(Offset(offset))
    order = list(started)
    lot.shuffle(order)  # type: ignore[attr-defined] # Hypothesis gives a random.Random
    unfinished = set(started)
    for each in order:
        unfinished.remove(each)
        progress.finish(each)
        assert all(progress.committed < left for left in unfinished)
        below = [done for done in started if not unfinished or done < min(unfinished)]
        assert progress.committed == (below[-1] if below else BEFORE_FIRST)
    assert progress.under_way == 0


async def _log(values: int) -> MemoryLog:
    log = MemoryLog(clock=ManualClock())
    await log.declare([StreamSpec("events", Policy.TIME)])
    await log.append([NewRecord("events", b"%d" % n, 1) for n in range(values)])
    return log


def test_a_consumer_repeats_what_was_not_saved() -> None:
    async def scenario() -> None:
        log = await _log(6)
        consumer = await Consumer.open(log, STREAM, GROUP)
        assert dict(await log.progress(GROUP)) == {STREAM: BEFORE_FIRST}, "it guards the stream from the start"
        records, at_end = await consumer.fetch(limit=4)
        assert [record.value for record in records] == [b"0", b"1", b"2", b"3"] and not at_end
        for record in (records[0], records[1], records[3]):
            consumer.finish(record.offset)
        await consumer.save()
        again = await Consumer.open(log, STREAM, GROUP)
        records, at_end = await again.fetch(limit=10)
        assert [record.value for record in records] == [b"2", b"3", b"4", b"5"] and at_end
        for record in records:
            again.finish(record.offset)
        await again.save()
        assert again.under_way == 0
        assert (await log.progress(GROUP))[STREAM] == again.committed >= records[-1].offset

    asyncio.run(scenario())


def test_a_consumer_saves_again_what_could_not_be_saved() -> None:
    class Failing(MemoryLog):
        broken = False

        async def advance(self, group: GroupName, positions: object) -> None:
            if self.broken:
                raise Unavailable("the log is away")
            await super().advance(group, positions)  # type: ignore[arg-type] # passed on as it came

    async def scenario() -> None:
        log = Failing(clock=ManualClock())
        await log.declare([StreamSpec("events", Policy.TIME)])
        await log.append([NewRecord("events", b"v", 1)])
        consumer = await Consumer.open(log, STREAM, GROUP)
        (record,), _ = await consumer.fetch(limit=1)
        consumer.finish(record.offset)
        log.broken = True
        with pytest.raises(Unavailable):
            await consumer.save()
        log.broken = False
        await consumer.save()
        assert (await log.progress(GROUP))[STREAM] >= record.offset

    asyncio.run(scenario())

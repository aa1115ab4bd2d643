"""Laws of `read`, `offset_at`, `describe`, `progress` and `advance`."""

import asyncio

from headwater.kernel.errors import NotFound
from headwater.log.admission import Limits
from headwater.log.model import BEFORE_FIRST, GroupName, Offset, OwnedName, PartitionId, Policy
from headwater.testing.log_laws.setting import (
    EVENTS,
    EVENTS_1,
    NOTES,
    LogEngine,
    Setting,
    done_soon,
    event,
    note,
    opened,
    put,
    raises,
    read_all,
    values,
)


async def reading_goes_on_from_next(engine: LogEngine) -> None:
    """Whatever the limit, reading on from `next` shows every record once and in order, although offsets have gaps."""
    async with opened(engine) as log:
        given = [b"%d" % n for n in range(23)]
        fence = await log.claim(OwnedName("notes"))
        for n, value in enumerate(given):
            if n % 4 == 3:
                await log.append_atomic([note(value)], fence=fence)
            else:
                await put(log, note(value))
        for limit in (1, 2, 3, 7, 22, 23, 24, 100_000):
            records = await read_all(log, NOTES, limit=limit)
            assert [record.value for record in records] == given
            assert records == sorted(records, key=lambda record: record.offset)
        for record in await read_all(log, NOTES):
            rest = await values(log, NOTES, record.offset)
            assert rest == given[len(given) - len(rest) :]


async def at_end_is_true_only_at_the_end(engine: LogEngine) -> None:
    """`at_end` means that nothing stood after `next`; what is appended later is found from that `next`."""
    async with opened(engine) as log:
        batch = await log.read(NOTES, BEFORE_FIRST, limit=10)
        assert batch.at_end and not batch.records
        await put(log, note(b"1"), note(b"2"))
        assert await values(log, NOTES, batch.next) == [b"1", b"2"]
        assert not (await log.read(NOTES, BEFORE_FIRST, limit=1)).at_end
        end = await log.read(NOTES, (await read_all(log, NOTES))[-1].offset, limit=1)
        assert end.at_end and not end.records
        await put(log, note(b"3"))
        assert await values(log, NOTES, end.next) == [b"3"]


async def a_read_waits_for_the_first_record(engine: LogEngine) -> None:
    """A waiting read is answered by the append itself, atomic or not, without the clock moving; other partitions do not wake it."""
    setting = Setting()
    async with opened(engine, setting) as log:
        fence = await log.claim(OwnedName("events"))
        after = BEFORE_FIRST
        for value, atomic in ((b"plain", False), (b"atomic", True)):
            after = (await log.read(EVENTS, after, limit=10)).next
            waiting = asyncio.ensure_future(log.read(EVENTS, after, limit=10, wait_s=30))
            await setting.clock.wait_for_sleepers(1)
            await put(log, event(b"elsewhere", partition=1))
            await setting.clock.settle()
            assert not waiting.done()
            if atomic:
                await log.append_atomic([event(value)], fence=fence)
            else:
                await put(log, event(value))
            assert await done_soon(waiting), "the append did not wake the reader"
            batch = await waiting
            assert [record.value for record in batch.records] == [value]


async def a_read_gives_up_waiting(engine: LogEngine) -> None:
    """When `wait_s` has passed the answer is empty and at the end; what is there already is never waited for."""
    setting = Setting()
    async with opened(engine, setting) as log:
        waiting = asyncio.ensure_future(log.read(EVENTS, BEFORE_FIRST, limit=10, wait_s=5))
        await setting.clock.wait_for_sleepers(1)
        setting.clock.advance(4.999)
        await setting.clock.settle()
        assert not waiting.done()
        setting.clock.advance(0.001)
        assert await done_soon(waiting)
        batch = await waiting
        assert batch.at_end and not batch.records
        await put(log, event(b"later"))
        assert await values(log, EVENTS, batch.next) == [b"later"]
        ready = asyncio.ensure_future(log.read(EVENTS, BEFORE_FIRST, limit=10, wait_s=5))
        assert await done_soon(ready)
        await ready


async def reads_are_bounded_in_bytes_and_records(engine: LogEngine) -> None:
    """A read stops after the configured bytes or records; a single larger record is still served."""
    sizes = [400, 400, 5_000, 400, 700_000, 10]
    limits = Limits(read_bytes_max=1_000, read_records_max=3)
    async with opened(engine, Setting(limits=limits)) as log:
        for size in sizes:
            await put(log, note(b"v" * size))
        after, seen = BEFORE_FIRST, []
        while True:
            batch = await log.read(NOTES, after, limit=100)
            lengths = [len(record.value or b"") for record in batch.records]
            assert len(lengths) <= 1 or sum(lengths) <= 1_000
            seen.extend(lengths)
            after = batch.next
            if batch.at_end:
                break
        assert seen == sizes
        for _ in range(4):
            await put(log, event(b""))
        assert len((await log.read(EVENTS, BEFORE_FIRST, limit=100)).records) <= 3
        assert len(await read_all(log, EVENTS)) == 4


async def reading_on_lets_others_run(engine: LogEngine) -> None:
    """A task that does nothing but read a long partition does not keep the event loop from others."""
    async with opened(engine) as log:
        await put(log, *(note(b"%d" % n) for n in range(200)))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        running = asyncio.ensure_future(other())
        assert len(await read_all(log, NOTES, limit=10)) == 200
        running.cancel()
        assert turns >= 19


async def a_time_is_found(engine: LogEngine) -> None:
    """Reading from `offset_at` shows every record of that time or later, also when times do not rise; and skips what it can."""
    times = [100, 200, 150, 300, 50, 400]
    async with opened(engine) as log:
        assert await values(log, EVENTS, await log.offset_at(EVENTS, 0)) == []
        for time_ms in times:
            await put(log, event(b"%d" % time_ms, time_ms=time_ms))
        for wanted in (0, 50, 100, 101, 150, 200, 201, 300, 301, 400, 401):
            found = [int(value or b"") for value in await values(log, EVENTS, await log.offset_at(EVENTS, wanted))]
            assert {time_ms for time_ms in times if time_ms >= wanted} <= set(found)
            assert found == times[len(times) - len(found) :]
        assert await values(log, EVENTS, await log.offset_at(EVENTS, 400)) == [b"400"]
        assert await values(log, EVENTS, await log.offset_at(EVENTS, 401)) == []
        await put(log, event(b"next", time_ms=0))
        assert await values(log, EVENTS, await log.offset_at(EVENTS, 401)) in ([], [b"next"])


async def partitions_are_described(engine: LogEngine) -> None:
    """`describe` gives the partitions of a prefix in order, with their policy, extent and size."""
    async with opened(engine) as log:
        assert [info.partition for info in await log.describe("event")] == [EVENTS, EVENTS_1]
        assert await log.describe("x") == []
        (empty,) = await log.describe("notes")
        (position,) = await put(log, note(b"v" * 100))
        (full,) = await log.describe("notes")
        assert full.policy is Policy.KEEP
        assert empty.bytes == 0 and full.bytes >= 100
        assert full.first <= position.offset < full.end
        assert empty.end <= position.offset


async def progress_never_goes_back(engine: LogEngine) -> None:
    """Each group has its own progress per partition; a lower position is ignored; an unknown group has none."""
    one, two = GroupName("one"), GroupName("two")
    async with opened(engine) as log:
        positions = await put(log, *(event(b"v") for _ in range(5)))
        low, high = positions[1].offset, positions[3].offset
        assert dict(await log.progress(one)) == {}
        await log.advance(one, {EVENTS: high, EVENTS_1: BEFORE_FIRST})
        await log.advance(one, {EVENTS: low})
        await log.advance(two, {EVENTS: low})
        assert dict(await log.progress(one)) == {EVENTS: high, EVENTS_1: BEFORE_FIRST}
        assert dict(await log.progress(two)) == {EVENTS: low}
        await raises(NotFound, log.advance(one, {EVENTS: positions[4].offset, PartitionId("unknown"): Offset(1)}))
        assert dict(await log.progress(one)) == {EVENTS: high, EVENTS_1: BEFORE_FIRST}


LAWS = (
    reading_goes_on_from_next,
    at_end_is_true_only_at_the_end,
    a_read_waits_for_the_first_record,
    a_read_gives_up_waiting,
    reads_are_bounded_in_bytes_and_records,
    reading_on_lets_others_run,
    a_time_is_found,
    partitions_are_described,
    progress_never_goes_back,
)

"""Laws of `trim`, of the policies and of what survives."""

from headwater.kernel.errors import Fenced, InvalidInput, OffsetTrimmed
from headwater.log.model import BEFORE_FIRST, GroupName, Offset, OwnedName, Policy, StreamSpec
from headwater.log.retention import RetentionRules
from headwater.testing.log_laws.setting import (
    DAY_S,
    EVENTS,
    EVENTS_1,
    NOTES,
    PAGES,
    LogEngine,
    LogUnderTest,
    Setting,
    event,
    note,
    opened,
    page,
    put,
    raises,
    read_all,
    values,
)

GROUP = GroupName("propagation.rivers")


async def old_records_are_trimmed(engine: LogEngine) -> None:
    """TIME: records older than the age go, younger ones stay whatever time they state; readers learn what they missed."""
    setting = Setting()
    async with opened(engine, setting) as log:
        (first, second) = await put(log, event(b"1"), event(b"2"))
        setting.clock.advance(6 * DAY_S)
        await put(log, event(b"3", time_ms=0))
        await log.maintain()
        assert await values(log, EVENTS) == [b"1", b"2", b"3"]
        setting.clock.advance(1.5 * DAY_S)
        assert (await log.maintain()).trimmed == 2
        assert await values(log, EVENTS) == [b"3"]
        assert await values(log, EVENTS, second.offset) == [b"3"], "nothing after the last trimmed record was lost"
        error = await raises(OffsetTrimmed, log.read(EVENTS, first.offset, limit=1))
        assert isinstance(error, OffsetTrimmed)
        assert await values(log, EVENTS, Offset(error.first - 1)) == [b"3"]
        assert (await log.describe("events"))[0].first == error.first


async def large_streams_are_trimmed(engine: LogEngine) -> None:
    """TIME: beyond the bytes of a partition its oldest records go, and no more than needed."""
    async with opened(engine) as log:
        await log.declare([StreamSpec("events", Policy.TIME, partitions=2, bytes_max=1_000)])
        await put(log, *(event(b"%d" % n + b"v" * 299) for n in range(9)), event(b"small", partition=1))
        while (await log.maintain()).more:
            pass
        assert [(value or b"")[:1] for value in await values(log, EVENTS)] == [b"6", b"7", b"8"]
        assert await values(log, EVENTS_1) == [b"small"]
        assert (await log.describe("events"))[0].bytes <= 1_000


async def groups_guard_what_they_have_not_finished(engine: LogEngine) -> None:
    """Neither age nor an explicit trim removes what a registered group has not finished; it does when the group has."""
    setting = Setting(rules=RetentionRules(group_idle_s_max=30 * DAY_S))
    async with opened(engine, setting) as log:
        positions = await put(log, *(event(b"%d" % n) for n in range(4)))
        await log.advance(GROUP, {EVENTS: positions[1].offset})
        await log.advance(GroupName("ahead"), {EVENTS: positions[3].offset})
        await raises(InvalidInput, log.trim(EVENTS, positions[3].offset))
        assert len(await values(log, EVENTS)) == 4
        setting.clock.advance(7 * DAY_S - 60)
        await put(log, event(b"young"))
        setting.clock.advance(61)
        await log.maintain()
        assert await values(log, EVENTS) == [b"2", b"3", b"young"]
        await log.advance(GROUP, {EVENTS: positions[3].offset})
        await log.maintain()
        assert await values(log, EVENTS) == [b"young"]


async def idle_groups_are_expelled(engine: LogEngine) -> None:
    """A group that has records to read and does not advance for the idle time stops guarding; it keeps its place and guards again later."""
    setting = Setting(rules=RetentionRules(group_idle_s_max=7 * DAY_S))
    async with opened(engine, setting) as log:
        positions = await put(log, event(b"1"), event(b"2"), event(b"3"))
        await log.advance(GROUP, {EVENTS: positions[0].offset})
        assert (await log.maintain()).expelled == 0
        setting.clock.advance(6 * DAY_S)
        await log.advance(GROUP, {EVENTS: positions[0].offset})
        for days, expelled, left in ((6.9, 0, [b"2", b"3"]), (0.2, 1, []), (1, 0, [])):
            setting.clock.advance(days * DAY_S)
            assert (await log.maintain()).expelled == expelled
            assert await values(log, EVENTS) == left
        assert dict(await log.progress(GROUP)) == {EVENTS: positions[0].offset}
        later = await put(log, event(b"4"))
        await log.advance(GROUP, {EVENTS: positions[2].offset})
        await raises(InvalidInput, log.trim(EVENTS, Offset(later[0].offset + 1)))


async def groups_at_the_end_are_not_idle(engine: LogEngine) -> None:
    """A group that has finished everything is never expelled, however long nothing happens."""
    setting = Setting()
    async with opened(engine, setting) as log:
        positions = await put(log, event(b"1"))
        await log.advance(GROUP, {EVENTS: positions[0].offset})
        for _ in range(4):
            setting.clock.advance(30 * DAY_S)
            assert (await log.maintain()).expelled == 0
        later = await put(log, event(b"2"))
        await raises(InvalidInput, log.trim(EVENTS, Offset(later[0].offset + 1)))


async def a_jump_of_the_clock_expires_nothing(engine: LogEngine) -> None:
    """A wall clock that jumps forward by a month neither trims records nor expels groups; going back harms nothing."""
    setting = Setting()
    async with opened(engine, setting) as log:
        positions = await put(log, event(b"1"), event(b"2"))
        await log.advance(GROUP, {EVENTS: positions[0].offset})
        await log.maintain()
        for jump_s in (30 * DAY_S, -60 * DAY_S):
            setting.clock.jump_wall(jump_s)
            assert (await log.maintain()).expelled == 0
            await put(log, page(b"k", b"v"))
        assert await values(log, EVENTS) == [b"1", b"2"]


async def compaction_keeps_the_newest_of_each_key(engine: LogEngine) -> None:
    """COMPACT: replaced records go, the newest of each key stays for ever, and a reader under way loses no newest record."""
    setting = Setting()
    async with opened(engine, setting) as log:
        await put(log, *(page(b"%d" % (n % 3), b"%d" % n) for n in range(10)))
        early = await log.read(PAGES, BEFORE_FIRST, limit=2)
        await put(log, page(b"0", b"last"))
        setting.clock.advance(100 * DAY_S)
        while (await log.maintain()).more:
            pass
        assert {record.key: record.value for record in await read_all(log, PAGES)} == {b"0": b"last", b"1": b"7", b"2": b"8"}
        assert len(await read_all(log, PAGES)) == 3
        assert set(await values(log, PAGES, early.next)) == {b"last", b"7", b"8"}
        assert [record.value for record in await read_all(log, PAGES, limit=1)] == await values(log, PAGES)


async def tombstones_remove_their_key(engine: LogEngine) -> None:
    """COMPACT: a tombstone removes older records of its key, stays for the grace and until every group has passed it, then goes."""
    setting = Setting(rules=RetentionRules(tombstone_grace_s=DAY_S))
    async with opened(engine, setting) as log:
        positions = await put(log, page(b"a", b"1"), page(b"b", b"1"), page(b"a", None))
        assert await _pages_after_upkeep(log) == [(b"b", b"1"), (b"a", None)], "the grace has not passed"
        await log.advance(GROUP, {PAGES: positions[0].offset})
        setting.clock.advance(2 * DAY_S)
        assert await _pages_after_upkeep(log) == [(b"b", b"1"), (b"a", None)], "a group has not seen it"
        await log.advance(GROUP, {PAGES: positions[2].offset})
        assert await _pages_after_upkeep(log) == [(b"b", b"1")]
        await put(log, page(b"a", b"2"))
        assert await _pages_after_upkeep(log) == [(b"b", b"1"), (b"a", b"2")]


async def _pages_after_upkeep(log: LogUnderTest) -> list[tuple[bytes | None, bytes | None]]:
    while (await log.maintain()).more:
        pass
    return [(record.key, record.value) for record in await read_all(log, PAGES)]


async def kept_streams_lose_only_what_is_trimmed(engine: LogEngine) -> None:
    """KEEP: upkeep removes nothing; an explicit trim removes exactly what is below its offset."""
    setting = Setting()
    async with opened(engine, setting) as log:
        positions = await put(log, *(note(b"%d" % n) for n in range(600)))
        setting.clock.advance(1_000 * DAY_S)
        await log.maintain()
        assert len(await values(log, NOTES)) == 600
        await log.trim(NOTES, positions[598].offset)
        assert await values(log, NOTES) == [b"598", b"599"]
        await log.trim(NOTES, positions[3].offset)
        assert await values(log, NOTES) == [b"598", b"599"]
        await raises(OffsetTrimmed, log.read(NOTES, positions[0].offset, limit=1))


async def offsets_are_never_given_twice(engine: LogEngine) -> None:
    """Also when everything was trimmed or compacted away, new records get higher offsets and are found from every earlier `next`."""
    setting = Setting()
    async with opened(engine, setting) as log:
        for partition, record, last in ((NOTES, note(b"n"), note(b"n")), (PAGES, page(b"k", b"v"), page(b"k", None))):
            *_, highest = await put(log, record, last)
            end = (await log.read(partition, highest.offset, limit=1)).next
            setting.clock.advance(2 * DAY_S)
            while (await log.maintain()).more:
                pass
            await log.trim(partition, Offset(highest.offset + 1))
            assert await read_all(log, partition) == []
            (position,) = await put(log, record)
            assert position.offset > highest.offset
            assert len(await read_all(log, partition, end)) == 1


async def everything_survives_closing(engine: LogEngine) -> None:
    """A durable log opened again holds its streams, records, owners, progress, trimmed extents and compactions."""
    if not engine.durable:
        return
    setting = Setting()
    async with opened(engine, setting) as log:
        events = await put(log, *(event(b"%d" % n) for n in range(4)))
        await put(log, page(b"k", b"old"), page(b"k", b"new"), page(b"gone", None))
        await log.trim(EVENTS, events[2].offset)
        old, fence = await log.claim(OwnedName("a")), await log.claim(OwnedName("a"))
        await log.advance(GROUP, {EVENTS: events[2].offset})
        before = [await read_all(log, partition) for partition in (EVENTS, PAGES)]
        described = await log.describe()
    reopened = await engine.open(setting)
    try:
        assert await reopened.describe() == described
        assert [await read_all(reopened, partition) for partition in (EVENTS, PAGES)] == before
        assert dict(await reopened.progress(GROUP)) == {EVENTS: events[2].offset}
        await raises(OffsetTrimmed, reopened.read(EVENTS, events[0].offset, limit=1))
        await raises(Fenced, reopened.append_atomic([note(b"zombie")], fence=old))
        await reopened.append_atomic([note(b"owner")], fence=fence)
        await raises(InvalidInput, reopened.trim(EVENTS, Offset(events[3].offset + 1)))
        assert (await put(reopened, event(b"4")))[0].offset > events[3].offset
        await reopened.maintain()
        assert (b"k", b"new") in [(record.key, record.value) for record in await read_all(reopened, PAGES)]
        assert b"old" not in await values(reopened, PAGES)
        assert (await reopened.claim(OwnedName("a"))).epoch > fence.epoch
    finally:
        await reopened.close()


LAWS = (
    old_records_are_trimmed,
    large_streams_are_trimmed,
    groups_guard_what_they_have_not_finished,
    idle_groups_are_expelled,
    groups_at_the_end_are_not_idle,
    a_jump_of_the_clock_expires_nothing,
    compaction_keeps_the_newest_of_each_key,
    tombstones_remove_their_key,
    kept_streams_lose_only_what_is_trimmed,
    offsets_are_never_given_twice,
    everything_survives_closing,
)

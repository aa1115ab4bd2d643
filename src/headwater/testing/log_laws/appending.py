"""Laws of `declare` and `append`."""

import asyncio

from headwater.kernel.errors import InvalidInput, NotFound, TooLarge
from headwater.log.admission import Limits
from headwater.log.model import BEFORE_FIRST, NewRecord, PartitionId, Policy, Position, StreamSpec, partition_of
from headwater.testing.log_laws.setting import (
    EVENTS,
    EVENTS_1,
    NOTES,
    PAGES,
    LogEngine,
    Setting,
    event,
    failure,
    note,
    opened,
    page,
    put,
    raises,
    read_all,
    values,
)


async def records_come_back_byte_for_byte(engine: LogEngine) -> None:
    """Value, key, headers and time are returned as given; empty is not absent; header order and repetition are kept."""
    every_byte = bytes(range(256))
    given = [
        NewRecord("events", every_byte, 0, key=every_byte, headers=(("id", every_byte), ("dt", b""), ("id", b"again")), partition=0),
        NewRecord("events", b"", 2**41, key=b"", partition=0),
        NewRecord("events", b"x", 1, key=None, headers=(("", b"\x00"),), partition=0),
    ]
    async with opened(engine) as log:
        await put(log, *given)
        await put(log, page(b"k", b""), page(b"l", None))
        read = await read_all(log, EVENTS)
        assert [(r.value, r.key, r.headers, r.time_ms) for r in read] == [(g.value, g.key, g.headers, g.time_ms) for g in given]
        assert [(r.key, r.value) for r in await read_all(log, PAGES)] == [(b"k", b""), (b"l", None)]


async def positions_say_where_records_are_read(engine: LogEngine) -> None:
    """The position in the answer is the one at which the record is found, and offsets rise."""
    async with opened(engine) as log:
        positions = [*await put(log, event(b"0"), event(b"1")), *await put(log, event(b"2"))]
        assert [record.position for record in await read_all(log, EVENTS)] == positions
        assert sorted(set(positions)) == positions


async def appends_keep_their_order(engine: LogEngine) -> None:
    """Records of one key stand in the order in which they were given, within a call and over calls that were not awaited one by one."""
    async with opened(engine) as log:
        batches = [[event(b"%d.%d" % (batch, n)) for n in range(5)] for batch in range(20)]
        await asyncio.gather(*(put(log, *batch) for batch in batches))
        assert await values(log, EVENTS) == [record.value for batch in batches for record in batch]


async def keys_choose_their_partition(engine: LogEngine) -> None:
    """Without an explicit partition `partition_of` decides; an explicit one is obeyed."""
    keys = [b"%d" % n for n in range(20)]
    async with opened(engine) as log:
        positions = await put(log, *(NewRecord("events", b"v", 1, key=key) for key in keys), NewRecord("events", b"v", 1))
        assert [p.partition.number for p in positions] == [partition_of(key, 2) for key in (*keys, None)]
        assert {p.partition.number for p in positions} == {0, 1}
        (position,) = await put(log, NewRecord("events", b"v", 1, key=keys[0], partition=1 - partition_of(keys[0], 2)))
        assert position.partition.number == 1 - partition_of(keys[0], 2)


async def each_record_has_its_own_outcome(engine: LogEngine) -> None:
    """A record that cannot be appended fails alone, in its place, with the reason."""
    records = [
        event(b"good 1"),
        NewRecord("unknown", b"v", 1),
        NewRecord("events", b"v", 1, partition=2),
        NewRecord("events", None, 1),
        NewRecord("pages", b"v", 1),
        NewRecord("events", b"v", -1),
        event(b"good 2"),
    ]
    async with opened(engine) as log:
        outcomes = await log.append(records)
        assert isinstance(outcomes[0], Position) and isinstance(outcomes[6], Position)
        assert [type(failure(outcome)) for outcome in outcomes[1:6]] == [NotFound, NotFound, InvalidInput, InvalidInput, InvalidInput]
        assert await values(log, EVENTS) == [b"good 1", b"good 2"]
        assert await log.append([]) == []


async def limits_hold(engine: LogEngine) -> None:
    """What is at a limit is taken; one byte or one record more is refused, and nothing of that call is stored."""
    limits = Limits(record_bytes_max=100, append_records_max=3, append_bytes_max=250)
    async with opened(engine, Setting(limits=limits)) as log:
        at_limit = NewRecord("notes", b"v" * 90, 1, key=b"k" * 5, headers=(("n", b"1234"),))
        await put(log, at_limit)
        above = NewRecord("notes", b"v" * 91, 1, key=b"k" * 5, headers=(("n", b"1234"),))
        assert isinstance(failure((await log.append([above]))[0]), TooLarge)
        await put(log, note(b"1"), note(b"2"), note(b"3"))
        await raises(TooLarge, log.append([note(b"4")] * 4))
        await put(log, note(b"v" * 100), note(b"v" * 100), note(b"v" * 50))
        await raises(TooLarge, log.append([note(b"v" * 100), note(b"v" * 100), note(b"v" * 51)]))
        assert len(await read_all(log, NOTES)) == 7


async def many_appenders_lose_nothing(engine: LogEngine) -> None:
    """Concurrent callers each get the positions of their own records, every record once and in each caller's order."""
    async with opened(engine) as log:

        async def appender(name: int) -> list[tuple[Position, bytes]]:
            mine = []
            for n in range(10):
                value = b"%d/%d" % (name, n)
                (position,) = await put(log, event(value, partition=name % 2))
                mine.append((position, value))
            return mine

        answers = await asyncio.gather(*(appender(name) for name in range(40)))
        expected = {position: value for mine in answers for position, value in mine}
        assert len(expected) == 400
        for mine in answers:
            assert [position for position, _ in mine] == sorted(position for position, _ in mine)
        read = await read_all(log, EVENTS) + await read_all(log, EVENTS_1)
        assert {record.position: record.value for record in read} == expected
        assert len(read) == 400


async def streams_are_declared(engine: LogEngine) -> None:
    """Declaring is idempotent, adds partitions, changes limits, and refuses what would lose records; one refusal refuses the call."""
    async with opened(engine) as log:
        await put(log, event(b"kept"))
        await log.declare([StreamSpec("events", Policy.TIME, partitions=3), StreamSpec("notes", Policy.TIME, bytes_max=10)])
        await put(log, event(b"new", partition=2))
        assert await values(log, EVENTS) == [b"kept"]
        bad = [
            StreamSpec("events", Policy.TIME, partitions=2),
            StreamSpec("pages", Policy.KEEP),
            StreamSpec("notes", Policy.COMPACT),
            StreamSpec("a b", Policy.KEEP),
            StreamSpec("", Policy.KEEP),
            StreamSpec("s" * 201, Policy.KEEP),
            StreamSpec("none", Policy.KEEP, partitions=0),
            StreamSpec("negative", Policy.TIME, age_ms_max=-1),
        ]
        for spec in bad:
            await raises(InvalidInput, log.declare([StreamSpec("fine", Policy.KEEP), spec]))
        names = [(info.partition.stream, info.policy) for info in await log.describe()]
        assert names == [("events", Policy.TIME)] * 3 + [("notes", Policy.TIME), ("pages", Policy.COMPACT)]
        await log.declare([StreamSpec("s" * 200, Policy.KEEP)])


async def unknown_partitions_are_not_found(engine: LogEngine) -> None:
    """Every call that names a partition says NotFound for one that was never declared."""
    async with opened(engine) as log:
        for partition in (PartitionId("unknown"), PartitionId("events", 2), PartitionId("events", -1)):
            await raises(NotFound, log.read(partition, BEFORE_FIRST, limit=1))
            await raises(NotFound, log.offset_at(partition, 0))
            await raises(NotFound, log.trim(partition, BEFORE_FIRST))


LAWS = (
    records_come_back_byte_for_byte,
    positions_say_where_records_are_read,
    appends_keep_their_order,
    keys_choose_their_partition,
    each_record_has_its_own_outcome,
    limits_hold,
    many_appenders_lose_nothing,
    streams_are_declared,
    unknown_partitions_are_not_found,
)

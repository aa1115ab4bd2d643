"""What the intake knows after a restart, a kill, a lost index, an unknown outcome; and the follower's atomic use of it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from tests.unit.events_setting import Setting, change, raw, recorded, run

from headwater.events.config import EventsConfig
from headwater.events.engines.memory import MemorySeenIds
from headwater.events.metrics import INDEX_FAILURES, INDEX_READ, INDEX_REBUILDS, INDEX_UNREADABLE
from headwater.events.model import Key, Seen, Status
from headwater.kernel.config import Seconds
from headwater.kernel.errors import Corrupted, Fenced, InvalidInput, NotFound, OutcomeUnknown, Overloaded, StorageFull, Unavailable
from headwater.log.model import AppendFailure, Batch, Fence, NewRecord, Offset, OwnedName, PartitionId, Policy, StreamSpec

OWNED = OwnedName("headwater.follower.rivers")
ACCEPTED, DUPLICATE, INVALID, ERROR = Status.ACCEPTED, Status.DUPLICATE, Status.INVALID, Status.ERROR


async def accept(setting: Setting, *ids: str) -> list[Status]:
    """Send one event per id in one request."""
    return [result.status for result in await setting.intake.accept([raw(change(event_id)) for event_id in ids])]


class FailingIndex(MemorySeenIds):
    """An index whose disk is full while `is_full`, and cannot be read while `is_unreadable`."""

    is_full = False
    is_unreadable = False

    def seen(self, keys: Sequence[Key], *, since_ms: int) -> frozenset[Key]:
        if self.is_unreadable:
            raise Unavailable("unreadable")
        return super().seen(keys, since_ms=since_ms)

    async def add(self, entries: Sequence[Seen], covered: Mapping[PartitionId, Offset], *, since_ms: int) -> None:
        if self.is_full:
            raise StorageFull("full")
        await super().add(entries, covered, since_ms=since_ms)


def test_a_restart_reads_nothing_again() -> None:
    async def test(setting: Setting) -> None:
        await accept(setting, "a", "b")
        await setting.restart()
        assert setting.metrics.value(INDEX_READ) == 0
        assert await accept(setting, "a", "c") == [DUPLICATE, ACCEPTED]

    run(test)


def test_a_kill_between_append_and_index_loses_no_id() -> None:
    async def test(setting: Setting) -> None:
        await accept(setting, "a")
        await setting.intake._deduplication.flush()
        await accept(setting, "b", "c")
        await setting.kill()
        assert setting.metrics.value(INDEX_READ) == 2
        assert await accept(setting, "a", "b", "c", "d") == [DUPLICATE, DUPLICATE, DUPLICATE, ACCEPTED]
        assert len(await setting.values("resource_change")) == 4

    run(test)


def test_a_lost_index_is_rebuilt_from_all_streams() -> None:
    async def test(setting: Setting) -> None:
        job = raw(recorded("02-mediawiki.job.refreshLinks.json")[0])
        await accept(setting, "a", "b")
        await setting.intake.accept([job])
        await setting.restart(index=setting.new_index())
        assert setting.metrics.value(INDEX_READ) == 3
        assert await accept(setting, "a", "b") == [DUPLICATE, DUPLICATE]
        assert (await setting.intake.accept([job]))[0].status is DUPLICATE

    run(test)


def test_catching_up_takes_as_many_reads_as_it_needs() -> None:
    config = EventsConfig(catch_up_records_max=2)

    async def test(setting: Setting) -> None:
        await accept(setting, "a", "b", "c", "d", "e")
        await setting.restart(index=setting.new_index())
        assert setting.metrics.value(INDEX_READ) == 5
        assert await accept(setting, "e", "f") == [DUPLICATE, ACCEPTED]

    run(test, config)


def test_a_start_comes_through_although_the_index_is_full() -> None:
    """What the index lacks waits in memory, so that its ids are known all the same."""

    async def test(setting: Setting) -> None:
        await accept(setting, "a", "b")
        index = FailingIndex(ids_max=100)
        index.is_full = True
        await setting.kill(index=index)
        assert await accept(setting, "b", "c") == [DUPLICATE, ACCEPTED]

    run(test)


def test_an_index_that_cannot_be_read_fails_the_event_and_not_the_writer() -> None:
    async def test(setting: Setting) -> None:
        index = FailingIndex(ids_max=100)
        await setting.restart(index=index)
        index.is_unreadable = True
        (result,) = await setting.intake.accept([raw(change("a"))])
        assert result.status is ERROR
        assert isinstance(result.error, Unavailable)
        index.is_unreadable = False
        assert await accept(setting, "a", "a") == [ACCEPTED, DUPLICATE]
        assert len(await setting.values("resource_change")) == 1

    run(test)


def test_a_damaged_record_costs_its_id_and_not_the_start() -> None:
    async def test(setting: Setting) -> None:
        await accept(setting, "a", "b", "c")
        read, b = setting.log.read, (await setting.stored("resource_change"))[1].offset

        async def read_damaged(partition: PartitionId, after: Offset, *, limit: int, wait_s: float = 0.0) -> Batch:
            batch = await read(partition, after, limit=limit, wait_s=wait_s)
            before = tuple(record for record in batch.records if record.offset < b)
            if partition.stream != "resource_change" or all(record.offset != b for record in batch.records):
                return cast(Batch, batch)
            if not before:
                raise Corrupted("it does not match its checksum")
            return Batch(before, before[-1].offset, at_end=False)

        setting.log.read = read_damaged  # type: ignore[method-assign]
        await setting.kill(index=setting.new_index())
        assert setting.metrics.value(INDEX_UNREADABLE) >= 1
        assert await accept(setting, "a", "c", "b") == [DUPLICATE, DUPLICATE, ACCEPTED]

    run(test)


def test_a_jump_of_the_clock_into_the_far_future_empties_nothing() -> None:
    async def test(setting: Setting) -> None:
        await accept(setting, "a")
        setting.clock.jump_wall(10 * 365 * 86_400)
        await accept(setting, "b")
        await setting.intake._deduplication.flush()
        setting.clock.jump_wall(-10 * 365 * 86_400)
        assert await accept(setting, "a", "b", "c") == [DUPLICATE, DUPLICATE, ACCEPTED]

    run(test)


def test_an_index_of_another_log_is_dropped() -> None:
    async def test(setting: Setting) -> None:
        await accept(setting, "a", "b", "c")
        await setting.intake.stop()
        other = Setting()
        other.index = setting.index
        other.make_intake()
        await other.intake.start()
        assert other.metrics.value(INDEX_REBUILDS) == 1
        assert await accept(other, "a") == [ACCEPTED]
        await other.intake.stop()
        await setting.intake.start()

    run(test)


def test_a_rebuilt_index_keeps_the_newest_of_all_streams() -> None:
    config = EventsConfig(dedup_ids_max=2)

    async def test(setting: Setting) -> None:
        purge = raw(change("purge", stream="resource-purge"))
        await accept(setting, "old")
        setting.clock.advance(1)
        await setting.intake.accept([purge])
        setting.clock.advance(1)
        await accept(setting, "new")
        await setting.restart(index=setting.new_index())
        assert setting.intake.status().window_ids == 2
        assert await accept(setting, "new") == [DUPLICATE]
        assert (await setting.intake.accept([purge]))[0].status is DUPLICATE
        assert await accept(setting, "old") == [ACCEPTED]

    run(test, config)


def test_a_rebuilt_index_forgets_what_is_older_than_the_window() -> None:
    config = EventsConfig(dedup_window=Seconds(60))

    async def test(setting: Setting) -> None:
        await accept(setting, "a")
        setting.clock.advance(61)
        await accept(setting, "b")
        await setting.restart(index=setting.new_index())
        assert await accept(setting, "b", "a") == [DUPLICATE, ACCEPTED]

    run(test, config)


def test_a_full_index_holds_nothing_up_until_too_much_waits() -> None:
    config = EventsConfig(dedup_pending_max=3)

    async def main() -> None:
        setting = Setting(config)
        setting.index = index = FailingIndex(ids_max=100)
        setting.make_intake()
        await setting.intake.start()
        index.is_full = True
        assert await accept(setting, "a", "b") == [ACCEPTED, ACCEPTED]
        await setting.clock.run_for(2)
        assert setting.metrics.value(INDEX_FAILURES) >= 1
        assert await accept(setting, "a", "c") == [DUPLICATE, ACCEPTED]
        assert await setting.intake.ready() is not None
        with pytest.raises(Overloaded):
            await accept(setting, "d")
        index.is_full = False
        await setting.clock.run_for(2)
        assert await accept(setting, "a", "d") == [DUPLICATE, ACCEPTED]
        await setting.intake.stop()

    asyncio.run(main())


def lose(setting: Setting, *ids: str) -> None:
    """From now on nobody learns what became of these ids."""
    wanted = {event_id.encode() for event_id in ids}
    failure = AppendFailure(OutcomeUnknown("lost"))
    setting.log.lose = lambda record: failure if dict(record.headers)["id"] in wanted else None


def test_an_unknown_outcome_that_landed_is_found_by_the_repetition() -> None:
    async def test(setting: Setting) -> None:
        lose(setting, "b")
        results = await setting.intake.accept([raw(change("a")), raw(change("b")), raw(change("c"))])
        assert [result.status for result in results] == [ACCEPTED, ERROR, ACCEPTED]
        assert isinstance(results[1].error, OutcomeUnknown) and setting.intake.status().unsettled == 1
        lose(setting)
        assert await accept(setting, "b") == [DUPLICATE]
        assert setting.intake.status().unsettled == 0 and len(await setting.values("resource_change")) == 3

    run(test)


def test_an_unknown_outcome_settles_by_itself() -> None:
    async def test(setting: Setting) -> None:
        lose(setting, "a")
        await accept(setting, "a")
        await setting.clock.run_for(2)
        assert setting.intake.status().unsettled == 0
        assert await accept(setting, "a") == [DUPLICATE]

    run(test)


def test_an_id_that_did_not_land_is_free_only_once_it_cannot_land_any_more() -> None:
    async def test(setting: Setting) -> None:
        setting.log.refuse = lambda _record: AppendFailure(OutcomeUnknown("lost"))
        await accept(setting, "a")
        setting.log.refuse = lambda _record: None
        (still,) = await setting.intake.accept([raw(change("a"))])
        assert isinstance(still.error, OutcomeUnknown) and still.error.retry_after_s
        assert await setting.values("resource_change") == []
        await setting.clock.run_for(12)
        assert await accept(setting, "a") == [ACCEPTED]
        assert len(await setting.values("resource_change")) == 1

    run(test)


def test_no_position_is_covered_while_an_outcome_is_unknown() -> None:
    async def test(setting: Setting) -> None:
        lose(setting, "a")
        await accept(setting, "a")
        lose(setting)
        await accept(setting, "b")
        await setting.intake._deduplication.flush()
        await setting.kill()  # the process forgets its doubt; the index must not claim to cover it
        assert await accept(setting, "a", "b") == [DUPLICATE, DUPLICATE]

    run(test)


def test_a_repetition_under_way_shares_an_unknown_outcome() -> None:
    async def test(setting: Setting) -> None:
        setting.log.gate = asyncio.Event()
        lose(setting, "a")
        first = asyncio.create_task(setting.intake.accept([raw(change("a"))]))
        second = asyncio.create_task(setting.intake.accept([raw(change("a"))]))
        await setting.clock.settle()
        setting.log.gate.set()
        assert isinstance((await first)[0].error, OutcomeUnknown) and isinstance((await second)[0].error, OutcomeUnknown)

    run(test)


# The follower


async def claimed(setting: Setting) -> Fence:
    """A fence, and the stream of positions."""
    await setting.log.declare([StreamSpec("follower.rivers", Policy.COMPACT)])
    return await setting.log.claim(OWNED)


def position(setting: Setting, value: bytes = b"1") -> NewRecord:
    """A record beside the events."""
    return NewRecord("follower.rivers", value, setting.clock.now_ms(), key=b"position")


def test_new_events_and_the_position_land_together() -> None:
    edit = raw(recorded("03-mediawiki.revision-create.json")[0])

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        for expected, count in ((ACCEPTED, 1), (DUPLICATE, 2)):
            (result,) = await setting.intake.accept_atomic([edit], beside=[position(setting)], fence=fence)
            assert result.status is expected and len(await setting.values("follower.rivers")) == count
        (record,) = await setting.stored("mediawiki.revision-create")
        assert record.value == edit and dict(record.headers)["source"] == b"follower"

    run(test)


def test_what_eventbus_told_is_not_added_again() -> None:
    edit, delete = recorded("03-mediawiki.revision-create.json")[0], recorded("28-mediawiki.page-delete.json")[0]

    def retold(event: dict[str, object], **fields: object) -> bytes:
        meta = event["meta"]
        assert isinstance(meta, dict)
        return raw({**event, **fields, "meta": {**meta, "id": f"follower-{meta['id']}", "dt": "2026-11-23T23:05:33Z"}})

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        await setting.intake.accept([raw(edit), raw(delete)])
        retellings = [retold(edit), retold(delete, rev_id=0), retold(edit, rev_id=999)]
        for is_rebuilt in (False, True):
            results = await setting.intake.accept_atomic(retellings, beside=[], fence=fence)
            assert [result.status for result in results][:2] == [DUPLICATE, DUPLICATE]
            assert results[2].status is (DUPLICATE if is_rebuilt else ACCEPTED)
            await setting.restart(index=setting.new_index())
        assert len(await setting.values("mediawiki.page-delete")) == 1

    run(test)


def test_whoever_foretells_an_id_of_the_follower_keeps_nothing_out() -> None:
    edit = recorded("03-mediawiki.revision-create.json")[0]
    real = raw({**edit, "meta": {**edit["meta"], "id": "made-from-the-row"}})

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        (early,) = await setting.intake.accept([raw(change("made-from-the-row"))])
        assert early.status is ACCEPTED
        (result,) = await setting.intake.accept_atomic([real], beside=[], fence=fence)
        assert result.status is ACCEPTED and await setting.values("mediawiki.revision-create") == [real]
        for _ in range(2):
            (again,) = await setting.intake.accept_atomic([real], beside=[], fence=fence)
            assert again.status is DUPLICATE
            await setting.restart(index=setting.new_index())

    run(test)


def test_an_id_of_the_follower_that_a_client_repeats_is_stored_once() -> None:
    edit = raw(recorded("03-mediawiki.revision-create.json")[0])

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        await setting.intake.accept_atomic([edit], beside=[], fence=fence)
        for _ in range(2):
            (result,) = await setting.intake.accept([edit])
            assert result.status is DUPLICATE and len(await setting.values("mediawiki.revision-create")) == 1
            await setting.restart(index=setting.new_index())

    run(test)


def test_the_followers_own_events_do_not_hide_each_other() -> None:
    """Two deletions of one page within two seconds, with a restoration between, are two happenings."""
    delete = recorded("28-mediawiki.page-delete.json")[0]
    first, second = (raw({**delete, "meta": {**delete["meta"], "id": event_id}}) for event_id in ("row-1", "row-2"))

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        results = await setting.intake.accept_atomic([first, second], beside=[], fence=fence)
        assert [result.status for result in results] == [ACCEPTED, ACCEPTED]
        await setting.restart(index=setting.new_index())
        results = await setting.intake.accept_atomic([first, second], beside=[], fence=fence)
        assert [result.status for result in results] == [DUPLICATE, DUPLICATE]

    run(test)


def test_eventbus_is_stored_although_the_follower_was_first() -> None:
    edit = recorded("03-mediawiki.revision-create.json")[0]

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        await setting.intake.accept_atomic([raw({**edit, "meta": {**edit["meta"], "id": "row-1"}})], beside=[], fence=fence)
        assert (await setting.intake.accept([raw(edit)]))[0].status is ACCEPTED

    run(test)


def test_the_follower_waits_for_what_is_under_way() -> None:
    edit = recorded("03-mediawiki.revision-create.json")[0]
    retold = raw({**edit, "meta": {**edit["meta"], "id": "row-1"}})

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        setting.log.gate = asyncio.Event()
        posted = asyncio.create_task(setting.intake.accept([raw(edit)]))
        await setting.clock.settle()
        followed = asyncio.create_task(setting.intake.accept_atomic([retold], beside=[], fence=fence))
        await setting.clock.settle()
        assert not followed.done()
        setting.log.gate.set()
        assert (await posted)[0].status is ACCEPTED and (await followed)[0].status is DUPLICATE

    run(test)


def test_closed_streams_are_open_inside_and_invalid_events_are_left_out() -> None:
    meta = {"stream": "headwater.file-change", "domain": "rivers.example", "id": "file-1", "uri": "/File:A"}
    file = {
        "$schema": "/headwater/file-change/1.0.0",
        "meta": meta,
        "database": "r",
        "page_id": 1,
        "page_title": "File:A",
        "page_namespace": 6,
    }

    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        events = [raw({**file, "kind": "upload"}), raw({**file, "kind": "burnt"}), raw({**file, "kind": "upload"})]
        results = await setting.intake.accept_atomic(events, beside=[position(setting)], fence=fence)
        assert [result.status for result in results] == [ACCEPTED, INVALID, DUPLICATE]
        assert await setting.values("headwater.file-change") == [events[0]]
        assert len(await setting.values("follower.rivers")) == 1

    run(test)


def test_nothing_lands_under_a_dead_fence() -> None:
    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        await setting.log.claim(OWNED)
        with pytest.raises(Fenced):
            await setting.intake.accept_atomic([raw(change("a"))], beside=[position(setting)], fence=fence)
        assert await setting.values("resource_change") == [] and await setting.values("follower.rivers") == []
        assert await accept(setting, "a") == [ACCEPTED]

    run(test)


def test_a_record_beside_that_cannot_land_takes_the_events_with_it() -> None:
    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        with pytest.raises((InvalidInput, NotFound)):
            await setting.intake.accept_atomic([raw(change("a"))], beside=[NewRecord("undeclared", b"", 0)], fence=fence)
        assert await setting.values("resource_change") == []

    run(test)


def test_an_unknown_outcome_of_an_atomic_append_is_settled_from_the_log() -> None:
    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        setting.log.lose_next_answer()
        with pytest.raises(OutcomeUnknown):
            await setting.intake.accept_atomic([raw(change("a"))], beside=[position(setting)], fence=fence)
        fence = await setting.log.claim(OWNED)
        (result,) = await setting.intake.accept_atomic([raw(change("a"))], beside=[position(setting)], fence=fence)
        assert result.status is DUPLICATE
        assert len(await setting.values("resource_change")) == 1 and len(await setting.values("follower.rivers")) == 2

    run(test)


def test_nothing_at_all_needs_no_append() -> None:
    async def test(setting: Setting) -> None:
        fence = await claimed(setting)
        assert await setting.intake.accept_atomic([], beside=[], fence=fence) == []
        with pytest.raises(InvalidInput):
            await setting.intake.accept_atomic([b"{"], beside=[], fence=fence)

    run(test)

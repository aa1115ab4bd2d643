"""The intake: what it stores, what it refuses and why, and what it knows already."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.unit.events_setting import RECORDINGS, Setting, change, raw, recorded, run

from headwater.events.config import EventsConfig
from headwater.events.metrics import ACCEPTED, APPEND_EVENTS, DUPLICATES, WINDOW_IDS, WINDOW_SECONDS
from headwater.events.model import Result, Status
from headwater.events.service import SLICE_BYTES_MAX, SLICE_EVENTS_MAX
from headwater.kernel.config import Bytes, Seconds
from headwater.kernel.errors import InvalidInput, Overloaded, StorageFull, TooLarge, Unavailable
from headwater.log.model import AppendFailure

ACCEPTED_, DUPLICATE, INVALID, ERROR = Status.ACCEPTED, Status.DUPLICATE, Status.INVALID, Status.ERROR


def statuses(results: Any) -> list[Status]:
    """Only what became of each event."""
    return [result.status for result in results]


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.json")), ids=lambda path: path.stem)
def test_recordings_are_stored_byte_for_byte(path: Path) -> None:
    events = [orjson.dumps(event) for event in orjson.loads(path.read_bytes())]
    stream = orjson.loads(events[0])["meta"]["stream"]

    async def test(setting: Setting) -> None:
        assert statuses(await setting.intake.accept(events)) == [ACCEPTED_] * len(events)
        assert await setting.values(stream) == events

    run(test)


def test_whitespace_key_order_and_number_forms_stay() -> None:
    value = (
        b'{ "tags" : [ ],\n\t"meta":{"stream":"resource_change","uri":"http://a/\\u0041","domain":"a"} ,'
        b' "$schema":"resource_change/1.0.0","x":1.50e1 }'
    )

    async def test(setting: Setting) -> None:
        (result,) = await setting.intake.accept([value])
        (record,) = await setting.stored("resource_change")
        assert record.value == value
        headers = dict(record.headers)
        assert headers["schema"] == b"/resource_change/1.0.0"
        assert headers["id"] == b"00000000-0000-4000-8000-000000000001" and result.id == headers["id"].decode()
        assert headers["dt"] == b"2027-01-15T08:00:00.000Z"
        assert record.key == b"a:http://a/A"

    run(test)


def test_headers_tell_what_the_event_says_of_itself() -> None:
    async def test(setting: Setting) -> None:
        await setting.intake.accept([raw(recorded("23-mediawiki.page-move.json")[0])])
        (record,) = await setting.stored("mediawiki.page-move")
        assert record.headers == (
            ("id", b"0d6d6097-b0b5-47e0-a83f-2f7de8a636b6"),
            ("dt", b"2026-11-23T23:05:32Z"),
            ("schema", b"/mediawiki/page/move/1.0.0"),
        )
        assert record.key == b"127.0.0.1:213" and record.time_ms == setting.clock.now_ms()

    run(test)


EDIT = recorded("03-mediawiki.revision-create.json")[0]
META = EDIT["meta"]


def without(name: str) -> dict[str, Any]:
    """The recorded edit without a field."""
    return {key: value for key, value in EDIT.items() if key != name}


@pytest.mark.parametrize(
    ("event", "status", "where", "said"),
    [
        (5, ERROR, "", "object"),
        ("text", ERROR, "", "object"),
        (None, ERROR, "", "object"),
        ([], ERROR, "", "object"),
        (without("meta"), ERROR, "/meta", "missing"),
        ({**EDIT, "meta": []}, ERROR, "/meta", "not an object"),
        (without("$schema"), ERROR, "/$schema", "missing"),
        ({**EDIT, "$schema": 1}, ERROR, "/$schema", "not a string"),
        ({**EDIT, "$schema": ""}, ERROR, "/$schema", "missing"),
        ({**EDIT, "$schema": "/nothing/1.0.0"}, ERROR, "/$schema", "not known"),
        ({**EDIT, "$schema": "/mediawiki/revision/create/latest"}, ERROR, "/$schema", "latest"),
        ({**EDIT, "$schema": "/mediawiki/page/move/1.0.0"}, ERROR, "/$schema", "carries events of schema mediawiki/revision/create"),
        ({**EDIT, "meta": {**META, "stream": "nothing"}}, ERROR, "/meta/stream", "no stream 'nothing'"),
        ({**EDIT, "meta": {**META, "stream": None}}, ERROR, "/meta/stream", "missing"),
        ({**EDIT, "meta": {**META, "stream": "mediawiki.job."}}, ERROR, "/meta/stream", "no stream"),
        ({**EDIT, "meta": {**META, "stream": "headwater.page-changed"}}, ERROR, "/meta/stream", "only Headwater"),
        (without("rev_id"), INVALID, "/rev_id", "'.rev_id' is required"),
        ({**EDIT, "rev_id": "218"}, INVALID, "/rev_id", "integer"),
        ({**EDIT, "rev_id": 1.5}, INVALID, "/rev_id", "integer"),
        ({**EDIT, "rev_id": True}, INVALID, "/rev_id", "integer"),
        ({**EDIT, "page_id": -1}, INVALID, "/page_id", "minimum"),
        ({**EDIT, "page_title": ""}, INVALID, "/page_title", "shorter"),
        ({**EDIT, "page_title": "x" * 2049}, INVALID, "/page_title", "longer"),
        ({**EDIT, "rev_timestamp": "yesterday"}, INVALID, "/rev_timestamp", "date-time"),
        ({**EDIT, "meta": {**META, "dt": "2026-11-23 23:05"}}, INVALID, "/meta/dt", "date-time"),
        ({**EDIT, "meta": {**META, "id": ""}}, INVALID, "/meta/id", "shorter"),
        ({**EDIT, "meta": {**META, "id": 7}}, INVALID, "/meta/id", "string"),
        ({**EDIT, "meta": {**META, "id": "x" * 129}}, INVALID, "/meta/id", "longer"),
        ({**EDIT, "performer": {"user_groups": ["a", 1]}}, INVALID, "/performer/user_groups/1", "string"),
        ({**EDIT, "rev_slots": [1]}, INVALID, "/rev_slots", ""),
    ],
)
def test_bad_input_is_refused_with_what_and_where(event: Any, status: Status, where: str, said: str) -> None:
    async def test(setting: Setting) -> None:
        good = raw(change())
        first, bad, last = await setting.intake.accept([good, orjson.dumps(event), raw(change("id-2"))])
        assert statuses([first, last]) == [ACCEPTED_, ACCEPTED_]
        assert bad.status is status and bad.error is not None
        assert bad.error.where == where and said in bad.error.detail
        assert (bad.violations != ()) is (status is INVALID)
        assert len(await setting.values("resource_change")) == 2 and await setting.values("mediawiki.revision-create") == []

    run(test)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "deeper"),
        (b'{"a":NaN}', "JSON"),
        (b'{"a":1e999}', "JSON"),
        (b'{"a":"\\ud800"}', "JSON"),
        (b'{"a":"\xff"}', "JSON"),
        (b'{"a":1,}', "JSON"),
        (b"", "JSON"),
    ],
)
def test_malformed_json_refuses_the_whole_request(value: bytes, said: str) -> None:
    async def test(setting: Setting) -> None:
        with pytest.raises(InvalidInput, match=said) as refusal:
            await setting.intake.accept([raw(change()), value])
        assert refusal.value.detail.startswith("event 1: ")
        assert await setting.values("resource_change") == []

    run(test)


def test_a_message_does_not_repeat_the_value() -> None:
    async def test(setting: Setting) -> None:
        (result,) = await setting.intake.accept([raw({**EDIT, "rev_id": "secret" * 1000})])
        assert result.error is not None and "secret" not in result.error.detail and len(result.error.detail) < 200

    run(test)


def test_many_violations_are_told_up_to_a_bound() -> None:
    event = change(tags=list(range(100)))

    async def test(setting: Setting) -> None:
        (result,) = await setting.intake.accept([raw(event)])
        assert len(result.violations) == 20

    run(test)


def sized(size: int, event_id: str) -> bytes:
    """A valid event of exactly `size` bytes."""
    empty = len(raw(change(event_id, pad="")))
    return raw(change(event_id, pad="x" * (size - empty)))


def test_the_size_of_an_event_is_limited() -> None:
    config = EventsConfig(event_bytes_max=Bytes(1000))

    async def test(setting: Setting) -> None:
        fits, too_large = await setting.intake.accept([sized(1000, "a"), sized(1001, "b")])
        assert fits.status is ACCEPTED_
        assert too_large.status is ERROR and isinstance(too_large.error, TooLarge)

    run(test, config)


def test_the_default_limit_takes_events_of_4_mib() -> None:
    async def test(setting: Setting) -> None:
        largest = sized(4 * 2**20, "a")
        fits, too_large = await setting.intake.accept([largest, sized(4 * 2**20 + 1, "b")])
        assert fits.status is ACCEPTED_ and isinstance(too_large.error, TooLarge)
        assert await setting.values("resource_change") == [largest]

    run(test)


def test_the_number_of_events_is_limited() -> None:
    config = EventsConfig(events_max=3)

    async def test(setting: Setting) -> None:
        events = [raw(change(str(number))) for number in range(4)]
        assert statuses(await setting.intake.accept(events[:3])) == [ACCEPTED_] * 3
        with pytest.raises(TooLarge):
            await setting.intake.accept(events)

    run(test, config)


def test_an_id_is_stored_once_within_a_request() -> None:
    async def test(setting: Setting) -> None:
        first, other = raw(change("same", n=1)), raw(change("same", n=2))
        results = await setting.intake.accept([first, other, raw(change("new"))])
        assert statuses(results) == [ACCEPTED_, DUPLICATE, ACCEPTED_] and all(result.accepted for result in results)
        assert await setting.values("resource_change") == [first, raw(change("new"))]
        assert setting.metrics.value(DUPLICATES) == 1 and setting.metrics.value(ACCEPTED, stream="resource_change") == 2
        status = setting.intake.status()
        assert (status.accepted, status.duplicates, status.invalid, status.failed, status.in_flight) == (2, 1, 0, 0, 0)

    run(test)


def test_an_id_is_stored_once_across_requests() -> None:
    async def test(setting: Setting) -> None:
        for expected in (ACCEPTED_, DUPLICATE, DUPLICATE):
            assert statuses(await setting.intake.accept([raw(change())])) == [expected]
            await setting.clock.run_for(2)
        assert len(await setting.values("resource_change")) == 1

    run(test)


def test_events_without_an_id_are_all_stored() -> None:
    async def test(setting: Setting) -> None:
        assert statuses(await setting.intake.accept([raw(change(None))] * 3)) == [ACCEPTED_] * 3
        ids = {dict(record.headers)["id"] for record in await setting.stored("resource_change")}
        assert len(ids) == 3

    run(test)


def test_a_repetition_waits_for_the_first_under_way() -> None:
    async def test(setting: Setting) -> None:
        setting.log.gate = asyncio.Event()
        first = asyncio.create_task(setting.intake.accept([raw(change())]))
        second = asyncio.create_task(setting.intake.accept([raw(change())]))
        await setting.clock.settle()
        assert not first.done() and not second.done() and setting.intake.status().in_flight == 1
        setting.log.gate.set()
        assert statuses(await first) == [ACCEPTED_] and statuses(await second) == [DUPLICATE]

    run(test)


def test_a_repetition_tries_itself_when_the_first_fails() -> None:
    async def test(setting: Setting) -> None:
        setting.log.gate = asyncio.Event()
        setting.log.fail_next(StorageFull("full"))
        first = asyncio.create_task(setting.intake.accept([raw(change())]))
        second = asyncio.create_task(setting.intake.accept([raw(change())]))
        await setting.clock.settle()
        setting.log.gate.set()
        (failed,) = await first
        assert isinstance(failed.error, StorageFull) and not failed.accepted
        assert statuses(await second) == [ACCEPTED_]
        assert len(await setting.values("resource_change")) == 1

    run(test)


def test_a_cancelled_caller_does_not_take_its_event_back() -> None:
    async def test(setting: Setting) -> None:
        setting.log.gate = asyncio.Event()
        first = asyncio.create_task(setting.intake.accept([raw(change())]))
        await setting.clock.settle()
        second = asyncio.create_task(setting.intake.accept([raw(change())]))
        await setting.clock.settle()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        setting.log.gate.set()
        assert statuses(await second) == [DUPLICATE]
        assert len(await setting.values("resource_change")) == 1

    run(test)


def test_requests_share_appends() -> None:
    async def test(setting: Setting) -> None:
        setting.log.gate = asyncio.Event()
        requests = [asyncio.create_task(setting.intake.accept([raw(change("first"))]))]
        await setting.clock.settle()
        requests += [asyncio.create_task(setting.intake.accept([raw(change(str(number)))])) for number in range(20)]
        await setting.clock.settle()
        setting.log.gate.set()
        await asyncio.gather(*requests)
        assert setting.log.appends == [1, 20]
        assert setting.metrics.value(APPEND_EVENTS) == 2

    run(test)


def test_appends_are_bounded_in_events_and_bytes() -> None:
    config = EventsConfig(batch_events_max=10, batch_bytes_max=Bytes(2000))

    async def test(setting: Setting) -> None:
        await setting.intake.accept([raw(change(str(number))) for number in range(25)])
        small = list(setting.log.appends)
        await setting.intake.accept([sized(900, "a"), sized(900, "b"), sized(5000, "c"), sized(100 + 900, "d")])
        assert small == [10, 10, 5] and setting.log.appends[3:] == [2, 1, 1]

    run(test, config)


def test_the_order_of_a_request_is_kept() -> None:
    async def test(setting: Setting) -> None:
        events = [raw(change(str(number))) for number in range(1300)]
        await setting.intake.accept(events)
        assert await setting.values("resource_change") == events

    run(test)


def test_failures_of_single_records_are_told_one_by_one() -> None:
    async def test(setting: Setting) -> None:
        failure = AppendFailure(Unavailable("broken", retry_after_s=3))
        setting.log.refuse = lambda record: failure if b"bad" in dict(record.headers)["id"] else None
        results = await setting.intake.accept([raw(change("a")), raw(change("bad")), raw(change("c"))])
        assert statuses(results) == [ACCEPTED_, ERROR, ACCEPTED_] and isinstance(results[1].error, Unavailable)
        setting.log.refuse = lambda _record: None
        assert statuses(await setting.intake.accept([raw(change("bad"))])) == [ACCEPTED_]

    run(test)


def test_a_full_disk_stores_nothing_and_frees_the_ids() -> None:
    async def test(setting: Setting) -> None:
        setting.log.fail_next(StorageFull("full"))
        results: list[Result] = list(await setting.intake.accept([raw(change("a")), raw(change("b"))]))
        assert all(isinstance(result.error, StorageFull) for result in results)
        assert statuses(await setting.intake.accept([raw(change("a"))])) == [ACCEPTED_]

    run(test)


def test_streams_of_a_pattern_come_to_exist_up_to_a_bound() -> None:
    config = EventsConfig(streams_max=18)  # 17 have names of their own

    async def test(setting: Setting) -> None:
        job = recorded("02-mediawiki.job.refreshLinks.json")[0]

        def of(stream: str) -> bytes:
            return raw({**job, "meta": {**job["meta"], "id": stream, "stream": stream}})

        one, other = await setting.intake.accept([of("mediawiki.job.a"), of("mediawiki.job.b")])
        assert one.accepted and isinstance(other.error, Overloaded)
        assert (await setting.intake.accept([of("mediawiki.job.a")]))[0].status is DUPLICATE

    run(test, config)


def test_too_much_under_way_is_refused_and_leaves_a_large_request_alone() -> None:
    config = EventsConfig(queue_events_max=3)

    async def test(setting: Setting) -> None:
        setting.log.gate = asyncio.Event()
        alone = asyncio.create_task(setting.intake.accept([raw(change(str(number))) for number in range(4)]))
        await setting.clock.settle()
        with pytest.raises(Overloaded) as refusal:
            await setting.intake.accept([raw(change("late"))])
        assert refusal.value.retry_after_s
        setting.log.gate.set()
        assert statuses(await alone) == [ACCEPTED_] * 4
        assert statuses(await setting.intake.accept([raw(change("late"))])) == [ACCEPTED_]

    run(test, config)


def test_an_intake_that_has_not_started_or_has_stopped_refuses() -> None:
    async def main() -> None:
        setting = Setting()
        assert await setting.intake.ready() is not None
        with pytest.raises(Overloaded):
            await setting.intake.accept([raw(change())])
        await setting.intake.start()
        assert await setting.intake.ready() is None
        await setting.intake.stop()
        assert await setting.intake.ready() is not None
        with pytest.raises(Overloaded):
            await setting.intake.accept([raw(change())])

    asyncio.run(main())


def test_a_bug_of_the_log_reaches_everyone_who_waits() -> None:
    async def test(setting: Setting) -> None:
        def bug(_record: object) -> None:
            raise ZeroDivisionError

        setting.log.refuse = bug
        with pytest.raises(ZeroDivisionError):
            await setting.intake.accept([raw(change())])
        with pytest.raises(ZeroDivisionError):
            await setting.intake.accept([raw(change("next"))])
        assert await setting.intake.ready() == "the writer has ended"

    run(test)


@pytest.mark.parametrize(("count", "size"), [(2000, 300), (40, 20_000)])
def test_a_large_request_leaves_the_event_loop_free(count: int, size: int) -> None:
    async def test(setting: Setting) -> None:
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await setting.intake._examine([sized(size, str(number)) for number in range(count)], internal=False)
        ticking.cancel()
        assert turns >= max(count * size // SLICE_BYTES_MAX, count // SLICE_EVENTS_MAX) - 1

    run(test)


def test_a_large_event_is_examined_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    original = asyncio.to_thread

    async def to_thread(function: Any, value: bytes, *args: Any, **named: Any) -> Any:
        moved.append(len(value))
        return await original(function, value, *args, **named)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)

    async def test(setting: Setting) -> None:
        await setting.intake.accept([sized(SLICE_BYTES_MAX, "a"), sized(SLICE_BYTES_MAX + 1, "b")])
        assert moved == [SLICE_BYTES_MAX + 1]

    run(test)


def test_the_window_is_a_metric() -> None:
    async def test(setting: Setting) -> None:
        await setting.intake.accept([raw(change("a"))])
        await setting.clock.run_for(10)
        await setting.intake.accept([raw(change("b"))])
        await setting.clock.run_for(3)
        assert setting.metrics.value(WINDOW_IDS) == 2
        assert setting.metrics.value(WINDOW_SECONDS) >= 10
        assert setting.intake.status().window_ids == 2 and setting.intake.status().window_s >= 13

    run(test)


@pytest.mark.parametrize(("others", "again"), [(2, DUPLICATE), (3, ACCEPTED_)])
def test_the_window_ends_after_n_ids(others: int, again: Status) -> None:
    config = EventsConfig(dedup_ids_max=3)

    async def test(setting: Setting) -> None:
        await setting.intake.accept([raw(change("first"))])
        await setting.clock.run_for(1)
        await setting.intake.accept([raw(change(str(number))) for number in range(others)])
        await setting.clock.run_for(2)
        assert statuses(await setting.intake.accept([raw(change("first"))])) == [again]

    run(test, config)


@pytest.mark.parametrize(("seconds", "again"), [(60.0, DUPLICATE), (60.001, ACCEPTED_)])
def test_the_window_ends_after_its_time(seconds: float, again: Status) -> None:
    config = EventsConfig(dedup_window=Seconds(60), dedup_flush_interval=Seconds(1))

    async def test(setting: Setting) -> None:
        await setting.intake.accept([raw(change())])
        await setting.clock.run_for(seconds)
        assert statuses(await setting.intake.accept([raw(change())])) == [again]

    run(test, config)

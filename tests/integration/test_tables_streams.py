"""Change streams of tables over HTTP: what is sent, how a reader goes on, and how a stream ends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tables_app import DOMAIN, ENGINES, Answer, TablesApp, at, events_in, tables_app

from headwater.tables.config import TablesConfig
from headwater.tables.metrics import STREAMS
from headwater.tables.streaming import HEARTBEAT_S, NDJSON

LOG: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string", "s": "boolean"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}, {"attribute": "s", "type": "static"}],
    "options": {"changes": True},
}
CHANGES = at("log", "/changes")
KEPT_MS = 60_000


@pytest.fixture(params=ENGINES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TablesApp]:
    """The service on an engine, with a table that has a stream."""
    with tables_app(request.param, tmp_path, TablesConfig(streams_max=3)) as made:
        made.declare("log", LOG)
        yield made


def write(tables: TablesApp, number: int, **more: object) -> str:
    """Write a row; its revision."""
    answer = tables.put("log", {"h": "a", "r": number, "v": f"v{number}", **more})
    assert answer.status == 201, answer.body
    revision: str = answer.json["revision"]
    return revision


def lines(answer: Answer) -> list[dict[str, Any]]:
    """The changes of an answer in lines of JSON."""
    assert answer.status == 200 and answer.headers["content-type"] == NDJSON
    return [json.loads(line) for line in answer.body.splitlines()]


def test_changes_are_after_images_in_order(tables: TablesApp) -> None:
    first = write(tables, 1, _ttl=30)
    assert tables.ask("POST", at("log", "/delete"), {"attributes": {"h": "a", "r": 1}}).status == 204
    assert tables.put("log", {"h": "a", "s": True}).status == 201
    batch = [{"attributes": {"h": "a", "r": n, "v": "x"}} for n in (2, 3)]
    assert tables.ask("POST", at("log", "/batch"), {"rows": batch}).status == 201
    assert tables.ask("POST", at("log", "/delete"), {"attributes": {"h": "a"}}).headers["rows-deleted"] == "2"
    found = lines(tables.ask("GET", f"{CHANGES}?wait=0", accept=NDJSON))
    assert [(one["kind"], one["row"]["r"]) for one in found] == [
        ("put", 1),
        ("delete", 1),
        ("put", None),
        ("put", 2),
        ("put", 3),
        ("delete", 2),
        ("delete", 3),
        ("delete", None),
    ]
    assert found[0]["row"] == {"h": "a", "r": 1, "v": "v1", "s": None, "_ttl": 30} and found[0]["revision"] == first
    assert found[0]["at"] == "2027-01-15T08:00:00.000Z"
    assert found[1]["row"] == {"h": "a", "r": 1}
    ids = [one["id"] for one in found]
    assert ids == sorted(set(ids))
    events = events_in(tables.ask("GET", f"{CHANGES}?wait=0").body)
    assert events == found, "both forms say the same"


def test_a_reader_goes_on_where_it_stopped(tables: TablesApp) -> None:
    for number in range(450):  # more than are read at once
        write(tables, number)
    everything = lines(tables.ask("GET", f"{CHANGES}?wait=0", accept=NDJSON))
    assert [one["row"]["r"] for one in everything] == list(range(450))
    after = everything[199]["id"]
    for answer in (
        tables.ask("GET", f"{CHANGES}?wait=0&since={after}", accept=NDJSON),
        tables.ask("GET", f"{CHANGES}?wait=false", accept=NDJSON, last_event_id=str(after)),
        tables.ask("GET", f"{CHANGES}?wait=0&since=0", accept=NDJSON, last_event_id=str(after)),
    ):
        assert lines(answer) == everything[200:]
    assert lines(tables.ask("GET", f"{CHANGES}?wait=0&since={everything[-1]['id']}", accept=NDJSON)) == []
    for wrong in ("since=x", "since=-1", "since=1.5", f"since={'9' * 30}", "wait=maybe", "after=1"):
        assert tables.ask("GET", f"{CHANGES}?{wrong}").code == "invalid-input"


def test_who_waits_is_told_at_once_and_hears_a_heart_beat(tables: TablesApp) -> None:
    events, text = tables.stream(CHANGES), tables.stream(CHANGES, accept=f"text/html, {NDJSON}")
    assert tables.metrics.value(STREAMS) == 2
    write(tables, 1)
    assert [one["row"]["r"] for one in events.events(1)] == [1]
    assert json.loads(text.take())["row"]["r"] == 1
    tables.run(tables.clock.wait_for_sleepers(2))
    tables.clock.advance(HEARTBEAT_S)
    assert events.take() == b":\n\n" and text.take() == b"\n"
    write(tables, 2)
    assert [one["row"]["r"] for one in events.events(1)] == [2]
    events.close()
    text.close()
    assert tables.metrics.value(STREAMS) == 0


def test_a_slow_reader_gets_everything(tables: TablesApp) -> None:
    slow = tables.stream(CHANGES)
    for number in range(300):
        write(tables, number)
    assert [one["row"]["r"] for one in slow.events(300)] == list(range(300))


def test_changes_that_are_gone(tables: TablesApp) -> None:
    write(tables, 1)
    old = lines(tables.ask("GET", f"{CHANGES}?wait=0", accept=NDJSON))[0]["id"]
    tables.clock.advance(2 * KEPT_MS / 1000)
    write(tables, 2)
    now_ms = tables.clock.now_ms()
    while tables.run(tables.store.reclaim(now_ms=now_ms, changes_kept_ms=KEPT_MS, write_ids_kept_ms=KEPT_MS, limit=100)):
        pass
    refused = tables.ask("GET", f"{CHANGES}?wait=0")
    assert (refused.status, refused.code) == (410, "changes-trimmed")
    assert str(old) in refused.json["detail"], "it says where reading can go on"
    (left,) = lines(tables.ask("GET", f"{CHANGES}?wait=0&since={old}", accept=NDJSON))
    assert left["row"]["r"] == 2


def test_a_stream_ends_when_its_table_is_dropped(tables: TablesApp) -> None:
    stream = tables.stream(CHANGES)
    write(tables, 1)
    stream.events(1)
    lines_of = tables.stream(CHANGES, accept=NDJSON)
    assert json.loads(lines_of.take())["row"]["r"] == 1
    assert tables.ask("DELETE", at("log")).status == 204
    received = [lines_of.take()]
    while received[-1] == b"\n":  # which may come before it
        received.append(lines_of.take())
    ends = [*stream.events(1), json.loads(received[-1])]
    assert [(end["kind"], end["problem"]["type"], end["problem"]["status"]) for end in ends] == [
        ("end", "/problems/no-such-table", 404)
    ] * 2
    assert stream.take() == lines_of.take() == b"", "at once, on a clock that stands still"
    assert tables.ask("GET", CHANGES).code == "no-such-table"
    tables.declare("log", LOG)
    assert tables.ask("GET", f"{CHANGES}?wait=0").body == b"", "nothing of the old table"


def test_a_stream_that_is_turned_off_ends_and_hides_no_gap_later(tables: TablesApp) -> None:
    stream = tables.stream(CHANGES)
    write(tables, 1)
    (before,) = stream.events(1)
    silent = {**LOG, "options": {}, "version": 2}
    planned = tables.ask("PUT", at("log", "?dry_run=1"), silent).json["steps"]
    assert any("404" in step and "410" in step for step in planned)
    tables.declare("log", silent)
    (end,) = stream.events(1)
    assert (end["kind"], end["problem"]["type"]) == ("end", "/problems/no-such-table") and "changes: true" in end["problem"]["detail"]
    assert stream.take() == b"", "at once, on a clock that stands still"
    assert tables.ask("GET", CHANGES).code == "no-such-table"
    write(tables, 2)
    tables.declare("log", {**LOG, "version": 3})
    refused = tables.ask("GET", f"{CHANGES}?wait=0&since={before['id']}")
    assert (refused.status, refused.code) == (410, "changes-trimmed")
    begin = int(refused.json["detail"].split("position ")[1].split(" ")[0])
    write(tables, 3)
    assert [one["row"]["r"] for one in lines(tables.ask("GET", f"{CHANGES}?wait=0&since={begin}", accept=NDJSON))] == [3]


def test_a_stream_that_is_turned_off_and_on_at_once_ends_too(tables: TablesApp) -> None:
    write(tables, 1)
    stream = tables.stream(CHANGES)
    stream.events(1)

    async def off_and_on() -> None:
        for version, options in ((2, {}), (3, {"changes": True})):
            await tables.service.declare(DOMAIN, "log", {**LOG, "options": options, "version": version}, dry_run=False)

    tables.run(off_and_on())
    (end,) = stream.events(1)
    why = end["problem"]["type"], end["problem"]["status"]  # as it is when the reader looks
    assert end["kind"] == "end" and why in (("/problems/changes-trimmed", 410), ("/problems/no-such-table", 404))
    assert stream.take() == b""


def test_a_stream_of_a_table_that_is_dropped_and_declared_at_once_ends_too(tables: TablesApp) -> None:
    stream = tables.stream(CHANGES)

    async def drop_and_declare() -> None:
        await tables.service.drop(DOMAIN, "log")
        await tables.service.declare(DOMAIN, "log", LOG, dry_run=False)

    tables.run(drop_and_declare())
    (end,) = stream.events(1)
    assert (end["kind"], end["problem"]["type"]) == ("end", "/problems/no-such-table")
    assert stream.take() == b""


def test_a_stream_of_a_table_for_all_without_rows_ends_when_it_is_turned_off(tables: TablesApp) -> None:
    tables.declare("shared", LOG, domain="*")
    stream = tables.stream(at("shared", "/changes"))
    tables.declare("shared", {**LOG, "options": {}, "version": 2}, domain="*")
    (end,) = stream.events(1)
    assert (end["kind"], end["problem"]["type"]) == ("end", "/problems/no-such-table")
    assert stream.take() == b""


def test_a_position_that_no_change_has_reached_is_refused(tables: TablesApp) -> None:
    tables.declare("shared", LOG, domain="*")
    for target in (CHANGES, at("shared", "/changes")):
        refused = tables.ask("GET", f"{target}?wait=0&since=1")
        assert (refused.status, refused.code, refused.json["where"]) == (400, "position-unknown", "since")
    write(tables, 1)
    (first,) = lines(tables.ask("GET", f"{CHANGES}?wait=0", accept=NDJSON))
    tables.declare("other", LOG)
    assert tables.put("other", {"h": "a", "r": 1}).status == 201
    (others,) = lines(tables.ask("GET", at("other", "/changes?wait=0"), accept=NDJSON))
    for beyond in (first["id"] + 1, others["id"], 10**18 - 1):
        assert tables.ask("GET", f"{CHANGES}?since={beyond}").code == "position-unknown"
    assert lines(tables.ask("GET", f"{CHANGES}?wait=0&since={first['id']}", accept=NDJSON)) == []
    tables.clock.advance(2 * KEPT_MS / 1000)
    now_ms = tables.clock.now_ms()
    while tables.run(tables.store.reclaim(now_ms=now_ms, changes_kept_ms=KEPT_MS, write_ids_kept_ms=KEPT_MS, limit=100)):
        pass
    assert lines(tables.ask("GET", f"{CHANGES}?wait=0&since={first['id']}", accept=NDJSON)) == [], "also once it has been trimmed"
    assert tables.ask("GET", f"{CHANGES}?since={first['id'] + 1}").code == "position-unknown"


def test_a_delete_of_a_range_that_is_overtaken_by_a_migration_is_in_the_stream(tables: TablesApp, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.declare("late", {**LOG, "options": {}})
    assert tables.put("late", {"h": "a", "r": 1}).status == 201
    clear = tables.store.clear
    streams = {**LOG, "version": 2}

    async def migrate_first(*args: Any, **options: Any) -> tuple[int, bool]:
        await tables.service.declare(DOMAIN, "late", streams, dry_run=False)
        return await clear(*args, **options)

    monkeypatch.setattr(tables.store, "clear", migrate_first)
    deleted = tables.ask("POST", at("late", "/delete"), {"attributes": {"h": "a"}})
    assert (deleted.status, deleted.headers["rows-deleted"]) == (204, "1")
    (change,) = lines(tables.ask("GET", at("late", "/changes?wait=0"), accept=NDJSON))
    assert (change["kind"], change["row"]) == ("delete", {"h": "a", "r": 1})


def test_a_stream_of_a_table_for_all_begins_before_its_first_row(tables: TablesApp) -> None:
    tables.declare("shared", LOG, domain="*")
    stream = tables.stream(at("shared", "/changes", domain="a.example"))
    other = tables.stream(at("shared", "/changes", domain="b.example"))
    answer = tables.put("shared", {"h": "a", "r": 1}, domain="a.example")
    assert answer.status == 201
    assert [one["row"]["r"] for one in stream.events(1)] == [1]
    tables.run(tables.clock.settle())
    assert all(not events_in(chunk) for chunk in (other.chunks.get_nowait() for _ in range(other.chunks.qsize())))


def test_tables_without_changes_have_no_stream(tables: TablesApp) -> None:
    tables.declare("silent", {**LOG, "options": {}})
    assert tables.ask("GET", at("silent", "/changes")).code == "no-such-table"


def test_no_more_streams_than_are_allowed(tables: TablesApp) -> None:
    for _ in range(3):
        tables.stream(CHANGES)
    refused = tables.ask("GET", CHANGES)
    assert (refused.status, refused.code) == (503, "overloaded") and refused.headers["retry-after"]


def test_of_many_that_come_at_once_only_so_many_are_served(tables: TablesApp) -> None:
    async def all_at_once() -> list[int]:
        asks = [tables.asking("GET", f"{CHANGES}?wait=0") for _ in range(20)]
        return [answer.status for answer in await asyncio.gather(*asks)]

    write(tables, 1)
    assert set(tables.run(all_at_once())) <= {200, 503}
    assert tables.metrics.value(STREAMS) == 0
    assert tables.ask("HEAD", CHANGES).status == 200
    assert tables.metrics.value(STREAMS) == 0, "a HEAD leaves none open"
    assert tables.ask("GET", f"{CHANGES}?wait=0&since=x").status == 400
    assert tables.ask("GET", f"{CHANGES}?wait=0").status == 200


def test_streams_end_when_the_service_stops(tables: TablesApp) -> None:
    streams = [tables.stream(CHANGES), tables.stream(CHANGES, accept=NDJSON)]
    tables.stopping.set()
    for stream in streams:
        assert stream.take() == b""
    assert tables.metrics.value(STREAMS) == 0

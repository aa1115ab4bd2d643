"""Single rows over HTTP, recognised in the bytes of the request: answered as what is planned, each for itself among many."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tables_app import ENGINES, Answer, TablesApp, at, tables_app

from headwater.kernel.config import Bytes
from headwater.tables.config import TablesConfig
from headwater.tables.metrics import ANSWER_ROWS, REFUSED_FULL, ROWS_READ, ROWS_WRITTEN, WRITES

SCHEMA: dict[str, Any] = {
    "attributes": {"title": "string", "rev": "int", "text": "string", "at": "timestamp"},
    "index": [{"attribute": "title", "type": "hash"}, {"attribute": "rev", "type": "range", "order": "desc"}],
    "options": {"partition_bytes_max": 1_000_000},
}
AT = "2026-02-03T04:05:06.789Z"
LIMIT = {"limit": 5}  # which nothing but a planned query has


@pytest.fixture(params=ENGINES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TablesApp]:
    """The service on an engine, and a table without static columns."""
    with tables_app(request.param, tmp_path, TablesConfig(row_bytes_max=Bytes.of("256KiB"))) as made:
        made.declare("t", SCHEMA)
        yield made


def _ask(tables: TablesApp, attributes: object, **more: Any) -> Answer:
    return tables.ask("POST", at("t", "/query"), {"table": "t", "attributes": attributes, **more})


def test_a_row_is_answered_as_by_the_planner(tables: TablesApp) -> None:
    rows: list[dict[str, object]] = [{"text": "Ü: x", "at": AT}, {"text": None}, {}, {"at": "2026-02-03"}]
    for rev, row in enumerate(rows):
        assert tables.put("t", {"title": "A:1", "rev": rev, **row}).status == 201
    for rev in range(len(rows) + 1):
        usual, planned = (_ask(tables, {"title": "A:1", "rev": rev}, **more) for more in ({}, LIMIT))
        assert usual == planned and len(usual.json["items"]) == (rev < len(rows))
    assert tables.metrics.value(ROWS_READ) == tables.metrics.value(ROWS_WRITTEN) * 2 == 8
    assert tables.metrics.value(ANSWER_ROWS) == 10 and tables.metrics.value(WRITES, outcome="applied") == 4


def test_a_write_is_answered_as_by_the_planner(tables: TablesApp) -> None:
    usual = tables.put("t", {"title": "A", "rev": 1, "text": "x"})
    planned = tables.put("t", {"title": "A", "rev": 1, "text": "y"}, write_id="w")
    for answer in (usual, planned):
        assert answer.status == 201 and answer.headers["etag"] == f'"{answer.json["revision"]}"'
    assert usual.headers.keys() == planned.headers.keys() and usual.json["revision"] < planned.json["revision"]
    assert tables.items("t", {"title": "A", "rev": 1}, withRevision=True)[0]["_revision"] == planned.json["revision"]


def test_a_condition_in_the_head_holds_for_a_body_that_is_recognised(tables: TablesApp) -> None:
    body = {"attributes": {"title": "A", "rev": 1, "text": "x"}}
    first, second = (tables.ask("PUT", at("t", "/rows"), body).headers["etag"] for _ in range(2))
    for condition in ({"if_none_match": "*"}, {"if_match": first}):
        refused = tables.ask("PUT", at("t", "/rows"), {"attributes": {**body["attributes"], "text": "no"}}, **condition)
        assert refused.status == 412 and refused.json["current"]["text"] == "x"
    assert tables.ask("PUT", at("t", "/rows"), body, if_match=f"W/{second}").status == 400
    assert tables.items("t", {"title": "A"}, withRevision=True)[0]["_revision"] == second.strip('"')
    assert tables.ask("PUT", at("t", "/rows"), body, if_match=second).status == 201


def test_what_has_expired_is_not_read(tables: TablesApp) -> None:
    tables.declare("t", {**SCHEMA, "version": 2, "options": {**SCHEMA["options"], "default_time_to_live": 10}})
    assert tables.put("t", {"title": "A", "rev": 1, "text": "x"}).status == 201
    assert len(tables.items("t", {"title": "A", "rev": 1})) == 1
    tables.clock.advance(10)
    assert _ask(tables, {"title": "A", "rev": 1}).body == b'{"items":[]}' == _ask(tables, {"title": "A", "rev": 1}, **LIMIT).body


def test_each_of_many_reads_gets_its_own_row(tables: TablesApp) -> None:
    for rev in range(0, 40, 2):
        assert tables.put("t", {"title": f"T{rev}", "rev": rev, "text": f"{rev}" * 50_000}).status == 201

    async def read() -> list[Answer]:
        bodies = [{"attributes": {"title": f"T{rev}", "rev": rev}} for rev in range(40)]
        bodies[7] = {"attributes": {"title": "T0", "rev": "0"}}
        bodies[9] = {"attributes": {"title": "T0"}}
        return list(await asyncio.gather(*(tables.asking("POST", at("t", "/query"), body) for body in bodies)))

    answers = tables.run(read())
    assert [answer.status for answer in answers] == [422 if rev == 7 else 200 for rev in range(40)]
    for rev in range(0, 40, 2):
        assert [item["text"] for item in answers[rev].json["items"]] == [f"{rev}" * 50_000]
    assert [item["rev"] for item in answers[9].json["items"]] == [0]
    assert {answers[rev].body for rev in range(1, 40, 2) if rev not in (7, 9)} == {b'{"items":[]}'}


def test_each_of_many_writes_is_refused_for_itself(tables: TablesApp) -> None:
    for rev in range(4):
        assert tables.put("t", {"title": "full", "rev": rev, "text": "x" * 200_000}).status == 201

    async def write() -> list[Answer]:
        good = [{"title": f"T{n}", "rev": n, "text": f"{n}"} for n in range(70)]
        bad: list[dict[str, object]] = [
            {"title": "full", "rev": 9, "text": "x" * 250_000},
            {"title": "A", "rev": 1, "text": "x" * 270_000},
            {"title": "A", "rev": 2**31},
            {"title": "A", "rev": 1, "at": "now"},
            {"title": "A", "rev": 1, "colour": "red"},
            {"title": "A"},
        ]
        bodies = [*good[:30], *bad, *good[30:]]
        return list(await asyncio.gather(*(tables.asking("PUT", at("t", "/rows"), {"attributes": one}) for one in bodies)))

    answers = tables.run(write())
    assert [answer.status for answer in answers[30:36]] == [507, 413, 422, 422, 400, 400]
    assert {answer.status for answer in (*answers[:30], *answers[36:])} == {201}
    assert len({answer.json["revision"] for answer in (*answers[:30], *answers[36:])}) == 70
    for n in range(70):
        assert [item["text"] for item in tables.items("t", {"title": f"T{n}", "rev": n})] == [f"{n}"]
    assert tables.items("t", {"title": "A"}) == [] and tables.metrics.value(REFUSED_FULL, limit="partition") == 1


def test_rows_are_written_while_the_table_is_migrated(tables: TablesApp) -> None:
    async def migrate() -> None:
        for version in range(2, 12):
            attributes = {**SCHEMA["attributes"], f"c{version}": "int"}
            assert (await tables.asking("PUT", at("t"), {**SCHEMA, "attributes": attributes, "version": version})).status == 201

    async def write(worker: int) -> list[int]:
        bodies = [{"attributes": {"title": f"T{worker}", "rev": n, "text": "x"}} for n in range(50)]
        return [(await tables.asking("PUT", at("t", "/rows"), body)).status for body in bodies]

    async def all_at_once() -> list[list[int]]:
        writes = asyncio.gather(*(write(worker) for worker in range(8)))
        await migrate()
        return await writes

    assert tables.run(all_at_once()) == [[201] * 50] * 8
    assert all(len(tables.items("t", {"title": f"T{worker}"}, limit=100)) == 50 for worker in range(8))

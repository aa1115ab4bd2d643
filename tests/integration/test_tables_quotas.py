"""Quotas of domains and tables, ceilings of partitions, and a full disk: at the limit, beyond it, and back below it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tables_app import DOMAIN, ENGINES, TablesApp, at, tables_app

from headwater.kernel.config import Bytes
from headwater.kernel.errors import StorageFull
from headwater.tables.config import QuotaConfig, TablesConfig
from headwater.tables.metrics import REFUSED_FULL
from headwater.tables.model import SpaceId, Usage
from headwater.tables.quotas import COUNTED_FOR_S, REFUSED_FOR_S

SCHEMA: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
}
QUOTAS = {
    "*": QuotaConfig(rows_max=10),
    "*/small": QuotaConfig(rows_max=3),
    f"{DOMAIN}/bytes": QuotaConfig(bytes_max=Bytes(2000)),
}


@pytest.fixture(params=ENGINES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TablesApp]:
    """The service with quotas and three tables."""
    with tables_app(request.param, tmp_path, TablesConfig(quotas=QUOTAS)) as made:
        for name in ("small", "bytes", "large"):
            made.declare(name, SCHEMA)
        yield made


def fill(tables: TablesApp, table: str, numbers: range) -> list[int]:
    """The statuses of writing rows."""
    return [tables.put(table, {"h": "a", "r": n}).status for n in numbers]


def test_the_rows_of_a_table(tables: TablesApp) -> None:
    assert fill(tables, "small", range(4)) == [201, 201, 201, 507]
    refused = tables.put("small", {"h": "b", "r": 1})
    assert refused.code == "table-quota-exceeded" and "retry-after" not in refused.headers
    assert tables.metrics.value(REFUSED_FULL, limit="quota") == 2
    assert fill(tables, "small", range(3)) == [201] * 3, "what is there may be written again"
    assert len(tables.everything("small")) == 3
    both = {"rows": [{"attributes": {"h": "a", "r": 0}, "delete": True}, {"attributes": {"h": "a", "r": 9}}]}
    assert tables.ask("POST", at("small", "/batch"), both).status == 201, "a batch counts as a whole"
    more = {"rows": [{"attributes": {"h": "c", "r": n}} for n in range(2)]}
    assert tables.ask("POST", at("small", "/batch"), more).status == 507
    assert tables.items("small", {"h": "c"}) == [], "all or none"
    assert tables.ask("POST", at("small", "/delete"), {"attributes": {"h": "a", "r": 9}}).status == 204
    assert fill(tables, "small", range(20, 22)) == [201, 507]
    tables.declare("small", SCHEMA, domain="other.example")
    assert tables.put("small", {"h": "a", "r": 1}, domain="other.example").status == 201


def test_the_bytes_of_a_table(tables: TablesApp) -> None:
    assert tables.put("bytes", {"h": "a", "r": 1, "v": "x" * 1900}).status == 201
    assert tables.put("bytes", {"h": "a", "r": 1, "v": "x" * 2000}).status == 507
    assert tables.put("bytes", {"h": "a", "r": 2, "v": "x" * 200}).status == 507
    assert tables.put("bytes", {"h": "a", "r": 1, "v": "x" * 10}).status == 201, "what becomes smaller is never refused"
    assert tables.put("bytes", {"h": "a", "r": 2, "v": "x" * 200}).status == 201
    assert [len(item["v"]) for item in tables.everything("bytes")] == [10, 200]


def test_the_rows_of_a_domain(tables: TablesApp) -> None:
    assert fill(tables, "small", range(3)) == [201] * 3
    assert fill(tables, "large", range(8)) == [201] * 7 + [507]
    assert fill(tables, "bytes", range(1)) == [507]
    assert tables.ask("POST", at("large", "/delete"), {"attributes": {"h": "a", "r": {"lt": 2}}}).headers["rows-deleted"] == "2"
    assert fill(tables, "bytes", range(3)) == [201, 201, 507]
    assert tables.ask("DELETE", at("small")).status == 204
    assert fill(tables, "bytes", range(3, 7)) == [201] * 3 + [507], "a table that is dropped makes room"


def test_what_expires_makes_room_in_the_domain(tables: TablesApp) -> None:
    assert [tables.put("large", {"h": "a", "r": n, "_ttl": 5}).status for n in range(11)] == [201] * 10 + [507]
    tables.clock.advance(REFUSED_FOR_S + 5)
    now_ms = tables.clock.now_ms()
    while tables.run(tables.store.reclaim(now_ms=now_ms, changes_kept_ms=1000, write_ids_kept_ms=1000, limit=100)):
        pass
    assert fill(tables, "bytes", range(1)) == [201], "counted anew, since the running total would have refused it"


def test_a_write_costs_the_same_however_many_tables_a_domain_has(tables: TablesApp, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(50):
        tables.declare(f"t{n}", SCHEMA)
    assert fill(tables, "large", range(1)) == [201]
    asked: list[SpaceId] = []
    usage = tables.store.usage

    async def counted(space: SpaceId) -> Usage:
        asked.append(space)
        return await usage(space)

    monkeypatch.setattr(tables.store, "usage", counted)
    assert fill(tables, "large", range(5)) == [201] * 5
    assert len(asked) == 5
    tables.clock.advance(COUNTED_FOR_S)
    assert fill(tables, "large", range(1)) == [201]
    assert len(asked) == 5 + 53 + 1, "now and then everything is counted"


def test_a_domain_does_not_pass_its_quota_by_more_than_is_under_way(tables: TablesApp) -> None:
    async def all_at_once() -> list[int]:
        asks = [tables.asking("PUT", at("large", "/rows"), {"attributes": {"h": str(n), "r": n}}) for n in range(30)]
        return [answer.status for answer in await asyncio.gather(*asks)]

    assert sorted(tables.run(all_at_once())) == [201] * 10 + [507] * 20
    assert len(tables.everything("large")) == 10


def test_the_ceiling_of_a_partition(tmp_path: Path) -> None:
    for engine in ENGINES:
        folder = tmp_path / engine
        folder.mkdir()
        with tables_app(engine, folder) as tables:
            tables.declare("t", {**SCHEMA, "options": {"partition_bytes_max": 1000}})
            assert tables.put("t", {"h": "hot", "r": 1, "v": "x" * 900}).status == 201
            refused = tables.put("t", {"h": "hot", "r": 2, "v": "x" * 100})
            assert (refused.status, refused.code) == (507, "partition-full")
            assert refused.json["where"] == '{"h":"hot"}', "it names the partition"
            assert tables.put("t", {"h": "cold", "r": 2, "v": "x" * 100}).status == 201
            assert tables.put("t", {"h": "hot", "r": 1, "v": "x"}).status == 201
            assert tables.put("t", {"h": "hot", "r": 2, "v": "x" * 100}).status == 201


def test_a_store_that_is_full_refuses_writes_and_serves_reads(tables: TablesApp, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.put("large", {"h": "a", "r": 1, "v": "kept"}).status == 201

    async def full(*_: object, **__: object) -> None:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(tables.store, "write", full)
        broken.setattr(tables.store, "declare", full)
        assert tables.put("large", {"h": "a", "r": 2}).code == "storage-full"
        assert tables.ask("PUT", at("new"), SCHEMA).status == 507
        assert tables.ask("GET", at("new")).status == 404
        assert [item["v"] for item in tables.items("large", {"h": "a"})] == ["kept"]
        assert tables.ask("POST", at("large", "/delete"), {"attributes": {"h": "a"}}).headers["rows-deleted"] == "1"
    assert tables.put("large", {"h": "a", "r": 2}).status == 201
    assert tables.ask("PUT", at("new"), SCHEMA).status == 201


def test_no_more_tables_than_are_allowed(tmp_path: Path) -> None:
    with tables_app("sqlite", tmp_path, TablesConfig(tables_max=2)) as tables:
        tables.declare("a", SCHEMA)
        tables.declare("b", SCHEMA)
        assert tables.ask("PUT", at("c"), SCHEMA).code == "storage-full"
        assert tables.ask("PUT", at("a"), {**SCHEMA, "version": 2}).status == 201
        assert tables.ask("DELETE", at("b")).status == 204
        assert tables.ask("PUT", at("c"), SCHEMA).status == 201

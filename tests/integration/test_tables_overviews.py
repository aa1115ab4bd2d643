"""What tells of tables rather than of rows: the list, the status, and walks whose items are the writes that make the rows again."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.integration.tables_app import DOMAIN, ENGINES, TablesApp, at, client, tables_app

from headwater.kernel.config import Bytes
from headwater.tables.config import TablesConfig, Verb

SCHEMA = {"attributes": {"key": "string", "value": "string"}, "index": [{"attribute": "key", "type": "hash"}]}
PAGES = {
    "attributes": {"title": "string", "rev": "int", "seen": "long", "note": "string", "text": "string", "tags": "set<int>"},
    "index": [
        {"attribute": "title", "type": "hash"},
        {"attribute": "rev", "type": "range", "order": "desc"},
        {"attribute": "seen", "type": "static"},
        {"attribute": "note", "type": "static"},
    ],
}


def writes_of(app: TablesApp, table: str, limit: int = 100) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = app.ask("GET", at(table, f"/rows?as=writes&limit={limit}{after}"))
        assert answer.status == 200, answer.body
        found += answer.json["items"]
        if "next" not in answer.json:
            return found
        after = f"&next={quote(answer.json['next'], safe='')}"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_list_is_of_one_domain(engine: str, tmp_path: Path) -> None:
    with tables_app(engine, tmp_path) as app:
        app.declare("titles", SCHEMA)
        app.declare("a/b", SCHEMA)
        app.declare("elsewhere", SCHEMA, domain="de.example")
        app.declare("shared", SCHEMA, domain="*")
        listed = app.ask("GET", f"/v1/{DOMAIN}/tables").json["tables"]
        own = [{"table": "a/b", "all_domains": False}, {"table": "titles", "all_domains": False}]
        assert listed == sorted([*own, {"table": "shared", "all_domains": True}], key=lambda one: str(one["table"]))
        assert app.ask("GET", "/v1/*/tables").json == {"tables": [{"table": "shared", "all_domains": True}]}
        assert app.ask("GET", "/v1/NO/tables").status == 400


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_sees_what_it_may_read(engine: str, tmp_path: Path) -> None:
    clients = (client("one", {DOMAIN: {"titles": (Verb.READ,)}}), client("all", {"*": {"*": tuple(Verb)}}))
    with tables_app(engine, tmp_path, TablesConfig(clients=clients)) as app:
        assert app.ask("GET", f"/v1/{DOMAIN}/tables").status == 401
        app.token = "token-all"
        app.declare("titles", SCHEMA)
        app.declare("other", SCHEMA)
        assert len(app.ask("GET", f"/v1/{DOMAIN}/tables").json["tables"]) == 2
        app.token = "token-one"
        assert app.ask("GET", f"/v1/{DOMAIN}/tables").json["tables"] == [{"table": "titles", "all_domains": False}]
        assert app.ask("GET", "/v1/de.example/tables").status == 403


@pytest.mark.parametrize("engine", ENGINES)
def test_the_status_counts(engine: str, tmp_path: Path) -> None:
    with tables_app(engine, tmp_path, TablesConfig(partition_bytes_max=Bytes(2000))) as app:
        empty = app.ask("GET", "/v1/status").json
        assert empty == {"tables": 0, "spaces": 0, "rows": 0, "bytes": 0, "full_partitions": 0}
        app.declare("pages", PAGES)
        app.declare("pages", PAGES, domain="de.example")
        for domain in (DOMAIN, "de.example"):
            app.put("pages", {"title": "a", "rev": 1, "text": "x" * 900}, domain=domain)
        assert app.put("pages", {"title": "a", "rev": 2, "text": "x" * 1500}).status == 507
        assert app.put("pages", {"title": "a", "rev": 3, "text": "x" * 1500}).status == 507
        status = app.ask("GET", "/v1/status").json
        assert (status["spaces"], status["rows"], status["full_partitions"]) == (2, 2, 1)
        assert 1800 < status["bytes"] < 2200
        app.put("pages", {"title": "a", "rev": 1, "text": "shorter"})
        assert app.ask("GET", "/v1/status").json["full_partitions"] == 0
        app.ask("DELETE", at("pages"))
        assert app.ask("GET", "/v1/status").json["rows"] == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_partition_is_full_until_there_is_room_again(engine: str, tmp_path: Path) -> None:
    with tables_app(engine, tmp_path, TablesConfig(partition_bytes_max=Bytes(1000))) as app:

        def full_after(method: str, rest: str, body: dict[str, Any] | None = None) -> int:
            assert app.ask(method, at("pages", rest), body).status == 204
            return int(app.ask("GET", "/v1/status").json["full_partitions"])

        app.declare("pages", PAGES)
        for title in ("a", "b"):
            app.put("pages", {"title": title, "rev": 1, "text": "x" * 900})
            assert app.put("pages", {"title": title, "rev": 2, "text": "x" * 900}).status == 507
        assert full_after("POST", "/delete", {"attributes": {"title": "a", "rev": {"gt": 1}}}) == 2, "nothing was deleted"
        assert full_after("POST", "/delete", {"attributes": {"title": "a"}}) == 1
        assert full_after("DELETE", "") == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_is_the_writes_that_make_it_again(engine: str, tmp_path: Path) -> None:
    with tables_app(engine, tmp_path) as app:
        app.declare("pages", PAGES)
        app.put("pages", {"title": "a", "rev": 1, "text": "stays", "seen": 7})
        app.put("pages", {"title": "a", "rev": 1, "tags": [2, 1], "_ttl": 60})
        app.put("pages", {"title": "a", "rev": 2, "_ttl": 30})
        app.put("pages", {"title": "only", "note": "static", "_ttl": 90})
        writes = writes_of(app, "pages")
    expected: list[dict[str, Any]] = [
        {"title": "a", "seen": "7", "_ttl": 0},
        {"title": "a", "rev": 1, "text": "stays", "_ttl": 0},
        {"title": "a", "rev": 1, "tags": [1, 2], "_ttl": 60},
        {"title": "a", "rev": 2, "_ttl": 30},
        {"title": "only", "note": "static", "_ttl": 90},
    ]
    assert len(writes) == len(expected)
    assert all(write in writes for write in expected)


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_writes_make_the_same_rows_in_any_order(engine: str, tmp_path: Path, limit: int) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with tables_app(engine, tmp_path / "one") as one, tables_app(engine, tmp_path / "two") as two:
        two.declare("pages", {**PAGES, "options": {"default_time_to_live": 5}})
        one.declare("pages", PAGES)
        for number in range(12):
            row = {"title": f"t{number % 3}", "rev": number}
            one.put("pages", {**row, "text": f"{number}", "seen": number, "_ttl": 100 if number % 2 else 0})
            one.put("pages", {**row, "tags": [number], "_ttl": 50})
            one.put("pages", {**row, "_ttl": 20})
        for write in reversed(writes_of(one, "pages", limit)):
            assert two.put("pages", write).status == 201
        for advanced_s in (0, 19, 2, 30, 50):
            for app in (one, two):
                app.clock.advance(advanced_s)
            for title in ("t0", "t1", "t2"):
                assert two.items("pages", {"title": title}, withTTL=True) == one.items("pages", {"title": title}, withTTL=True)


def test_a_page_of_a_walk_is_bounded_in_bytes(tmp_path: Path) -> None:
    with tables_app("sqlite", tmp_path) as app:
        app.declare("titles", SCHEMA)
        for number in range(12):
            app.put("titles", {"key": str(number), "value": "x" * 900_000})
        answer = app.ask("GET", at("titles", "/rows?limit=1000"))
        assert len(answer.json["items"]) == 5
        assert len(app.everything("titles")) == 12


def test_a_walk_is_shown_as_rows_or_as_writes(tmp_path: Path) -> None:
    with tables_app("memory", tmp_path) as app:
        app.declare("titles", SCHEMA)
        answer = app.ask("GET", at("titles", "/rows?as=columns"))
        assert (answer.status, answer.json["where"]) == (400, "as")

"""Tables over HTTP, on both engines: every route, what each of its statuses means, and what rows look like on the wire."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.integration.tables_app import DOMAIN, ENGINES, Answer, TablesApp, at, tables_app

from headwater.kernel.config import Bytes
from headwater.tables.config import GroupConfig, TablesConfig
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.metrics import PLANNED_AGAIN

PAGES: dict[str, Any] = {
    "attributes": {"title": "string", "rev": "int", "text": "string", "tags": "set<string>", "lock": "boolean", "extra": "json"},
    "index": [
        {"attribute": "title", "type": "hash"},
        {"attribute": "rev", "type": "range", "order": "desc"},
        {"attribute": "lock", "type": "static"},
    ],
}
KINDS: dict[str, tuple[object, object]] = {
    "string": ("naïve 😀 \u0000", "naïve 😀 \u0000"),
    "blob": ({"$base64": "AP8="}, {"$base64": "AP8="}),
    "int": (-(2**31), -(2**31)),
    "varint": (str(2**70), str(2**70)),
    "long": (2**53 + 1, str(2**53 + 1)),
    "decimal": ("-12.5", "-12.5"),
    "float": (0.1, 0.10000000149011612),
    "double": (1e308, 1e308),
    "boolean": (False, False),
    "timeuuid": ("13814000-1DD2-11B2-8080-808080808080", "13814000-1dd2-11b2-8080-808080808080"),
    "uuid": ("00000000-0000-4000-8000-00000000000A", "00000000-0000-4000-8000-00000000000a"),
    "timestamp": ("2026-02-28T12:00:00+01:00", "2026-02-28T11:00:00.000Z"),
    "json": ({"b": [1, None], "a": {"table": "x"}}, {"b": [1, None], "a": {"table": "x"}}),
}
"""A value of every type as it is sent, and as it comes back."""


@pytest.fixture(params=ENGINES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TablesApp]:
    """The service on an engine, with small bounds, and a table of pages."""
    config = TablesConfig(limit_default=10, limit_max=20, clear_rows_max=5, row_bytes_max=Bytes.of("4KiB"))
    with tables_app(request.param, tmp_path, config) as made:
        made.declare("pages", PAGES)
        yield made


def page(rev: int, **more: object) -> dict[str, object]:
    """A row of the page A."""
    return {"title": "A", "rev": rev, **more}


def when(condition: object) -> dict[str, Any]:
    """The member of a body that is a condition."""
    return {"if": condition}


def revision(answer: Answer) -> str:
    """The revision of a write that happened."""
    assert answer.status == 201, answer.body
    found: str = answer.json["revision"]
    assert answer.json == {"applied": True, "revision": found} and answer.headers["etag"] == f'"{found}"'
    return found


def revs(tables: TablesApp, **more: Any) -> list[int]:
    """The revisions of page A that a query finds."""
    return [item["rev"] for item in tables.items("pages", {"title": "A"}, **more)]


# Declarations


def test_a_table_is_declared_once_and_shown_as_normalised(tables: TablesApp) -> None:
    schema = {**PAGES, "index": [PAGES["index"][1], PAGES["index"][2], PAGES["index"][0]], "note": {"kept": [1]}, "table": "other"}
    created = tables.ask("PUT", at("other"), schema)
    assert created.status == 201
    assert created.json["outcome"] == "created" and created.json["table"] == "other" and created.json["domain"] == DOMAIN
    again = tables.ask("PUT", at("other"), schema)
    assert (again.status, again.json["outcome"]) == (200, "unchanged")
    shown = tables.ask("GET", at("other"))
    assert shown.status == 200 and shown.headers["cache-control"] == "no-store"
    assert [element["type"] for element in shown.json["index"]] == ["hash", "static", "range"]
    assert shown.json["note"] == {"kept": [1]} and shown.json["version"] == 1 and shown.json["options"] == {}


def test_hints_are_accepted_and_named(tables: TablesApp) -> None:
    options = {"compression": [{"algorithm": "lz4"}], "durability": "low", "updates": {"pattern": "timeseries"}}
    assert set(tables.declare("hinted", {**PAGES, "options": options}).json["ignored"]) == set(options)
    refused = tables.ask("PUT", at("hinted"), {**PAGES, "version": 2, "options": {"retention": 1}})
    assert (refused.status, refused.json["where"]) == (400, "/options/retention")


def test_a_dry_run_says_what_would_happen_and_does_nothing(tables: TablesApp) -> None:
    told = tables.ask("PUT", at("later") + "?dry_run=1", PAGES)
    assert told.status == 200 and told.json["dry_run"] is True and told.json["outcome"] == "created" and told.json["forecast"]
    assert tables.ask("GET", at("later")).code == "no-such-table"
    grown = {**PAGES, "version": 2, "attributes": {**PAGES["attributes"], "more": "int"}}
    told = tables.ask("PUT", at("pages") + "?dry_run=true", grown)
    assert told.json["outcome"] == "changed" and any("more" in step for step in told.json["steps"])
    assert "more" not in tables.ask("GET", at("pages")).json["attributes"]
    for refused in ("?dry_run=yes", "?dryrun=1", "?dry_run=1&x"):
        assert tables.ask("PUT", at("later") + refused, PAGES).code == "invalid-input"
    assert tables.ask("GET", at("later")).status == 404


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"attributes": {**PAGES["attributes"], "text": "blob"}, "version": 2}, "/attributes/text"),
        ({"attributes": {**PAGES["attributes"], "more": "int"}}, "/version"),
        ({"index": [PAGES["index"][0], {**PAGES["index"][1], "order": "asc"}, PAGES["index"][2]], "version": 2}, "/index/1/order"),
        ({"options": {"writes": "plain"}, "version": 2}, "/options/writes"),
    ],
)
def test_what_cannot_be_migrated_is_refused_and_changes_nothing(tables: TablesApp, change: Mapping[str, Any], where: str) -> None:
    before = tables.ask("GET", at("pages")).body
    refused = tables.ask("PUT", at("pages"), {**PAGES, **change})
    assert (refused.status, refused.code, refused.json["where"]) == (409, "migration-refused", where)
    assert tables.ask("GET", at("pages")).body == before


def test_a_column_that_is_dropped_and_added_again_shows_nothing_of_the_old_one(tables: TablesApp) -> None:
    revision(tables.put("pages", page(1, text="old", extra=1)))
    less = {name: kind for name, kind in PAGES["attributes"].items() if name != "text"}
    assert tables.ask("PUT", at("pages"), {**PAGES, "attributes": less, "version": 2}).status == 201
    assert tables.put("pages", page(1, text="x")).json["where"] == "text"
    assert "text" not in tables.items("pages", {"title": "A"})[0]
    tables.declare("pages", {**PAGES, "version": 3})
    assert tables.items("pages", {"title": "A"})[0]["text"] is None
    assert tables.items("pages", {"title": "A"})[0]["extra"] == 1


def test_a_table_that_is_dropped_and_declared_again_has_no_rows(tables: TablesApp) -> None:
    first = revision(tables.put("pages", page(1, text="old", lock=True)))
    token = quote(tables.ask("POST", at("pages", "/query"), {"attributes": {"title": "A"}, "limit": 1}).json.get("next", "x"), safe="")
    for _ in range(2):
        gone = tables.ask("DELETE", at("pages"))
        assert (gone.status, gone.body) == (204, b"")
    assert tables.ask("POST", at("pages", "/query"), {"attributes": {"title": "A"}}).code == "no-such-table"
    assert tables.put("pages", page(1)).code == "no-such-table"
    tables.declare("pages", PAGES)
    assert tables.items("pages", {"title": "A"}) == [] and tables.everything("pages") == []
    assert tables.ask("GET", at("pages", "/stats")).json["rows"] == 0
    assert tables.ask("GET", at("pages", f"/rows?next={token}")).code == "invalid-paging-token"
    assert revision(tables.put("pages", page(1))) > first


def test_tables_of_a_domain_are_nobody_elses(tables: TablesApp) -> None:
    revision(tables.put("pages", page(1, text="ours")))
    for method, rest in (("GET", ""), ("GET", "/stats"), ("GET", "/rows"), ("GET", "/openapi.json"), ("GET", "/changes")):
        assert tables.ask(method, at("pages", rest, domain="de.example")).code == "no-such-table"
    tables.declare("pages", PAGES, domain="de.example")
    assert tables.items("pages", {"title": "A"}, domain="de.example") == []
    revision(tables.put("pages", page(1, text="theirs"), domain="de.example"))
    assert tables.ask("DELETE", at("pages", domain="de.example")).status == 204
    assert [item["text"] for item in tables.everything("pages")] == ["ours"]


def test_domains_of_a_group_share_the_schema_and_no_row(tmp_path: Path) -> None:
    config = TablesConfig(groups=(GroupConfig(name="wikis", domains=("/.*\\.wiki\\.example/", "wiki.example")),))
    with tables_app("sqlite", tmp_path, config) as tables:
        tables.declare("pages", PAGES, domain="en.wiki.example")
        assert tables.put("pages", page(1), domain="de.wiki.example").code == "no-such-table"
        joined = tables.declare("pages", PAGES, domain="de.wiki.example")
        assert (joined.status, joined.json["outcome"]) == (201, "created")
        revision(tables.put("pages", page(1, text="en"), domain="en.wiki.example"))
        assert tables.everything("pages", domain="de.wiki.example") == []
        other = {**PAGES, "attributes": {**PAGES["attributes"], "text": "blob"}, "version": 2}
        assert tables.ask("PUT", at("pages", domain="wiki.example"), other).code == "migration-refused"
        assert tables.ask("DELETE", at("pages", domain="de.wiki.example")).status == 204
        assert len(tables.everything("pages", domain="en.wiki.example")) == 1
        for method in ("PUT", "GET", "DELETE"):
            assert tables.ask(method, at("pages", domain="elsewhere.example"), PAGES if method == "PUT" else None).code == "no-such-domain"


def test_a_table_for_all_domains(tables: TablesApp) -> None:
    tables.declare("shared", {**PAGES, "options": {"changes": True}}, domain="*")
    spaces = tables.ask("GET", "/metrics").body
    for domain in ("a.example", "b.example"):
        assert tables.items("shared", {"title": "A"}, domain=domain) == []
        assert tables.ask("GET", at("shared", "/stats", domain=domain)).json["rows"] == 0
        assert tables.ask("GET", at("shared", "/changes?wait=0", domain=domain)).body == b""
        assert tables.ask("POST", at("shared", "/delete", domain=domain), {"attributes": {"title": "A"}}).status == 204
        assert tables.put("shared", {"title": "A"} | {"rev": "x"}, domain=domain).status == 422
    assert spaces_now(tables.ask("GET", "/metrics").body) == spaces_now(spaces), "reading and being refused makes no space"
    revision(tables.put("shared", page(1, text="a"), domain="a.example"))
    assert tables.everything("shared", domain="b.example") == []
    for answer in (
        tables.put("shared", page(1), domain="*"),
        tables.ask("GET", at("shared", "/rows", domain="*")),
        tables.ask("POST", at("shared", "/query", domain="*"), {"attributes": {"title": "A"}}),
    ):
        assert answer.code == "no-such-table", "no row lies under *"
    assert tables.ask("GET", at("shared", domain="*")).status == 200
    assert tables.ask("DELETE", at("shared", domain="a.example")).code == "migration-refused"
    assert tables.ask("PUT", at("shared", domain="a.example"), PAGES).code == "migration-refused"
    assert tables.ask("PUT", at("pages", domain="*"), PAGES).json["where"] == "domain"
    assert tables.ask("DELETE", at("shared", domain="*")).status == 204
    assert tables.put("shared", page(1), domain="a.example").code == "no-such-table"


def spaces_now(exposition: bytes) -> bytes:
    """The line of metrics that says how many spaces there are."""
    return next(line for line in exposition.splitlines() if b"tables_spaces" in line and not line.startswith(b"#"))


def test_many_domains_write_at_once_to_a_table_for_all(tables: TablesApp) -> None:
    tables.declare("shared", PAGES, domain="*")

    async def all_at_once() -> list[Answer]:
        asks = [
            tables.asking("PUT", at("shared", "/rows", domain=f"d{n % 40}.example"), {"attributes": page(n, text=str(n))})
            for n in range(120)
        ]
        return list(await asyncio.gather(*asks))

    assert {answer.status for answer in tables.run(all_at_once())} == {201}
    for n in range(40):
        found = [item["rev"] for item in tables.everything("shared", domain=f"d{n}.example")]
        assert sorted(found) == [n, n + 40, n + 80]


def test_a_table_is_migrated_while_it_is_written_and_read(tables: TablesApp) -> None:
    less = {name: kind for name, kind in PAGES["attributes"].items() if name != "text"}

    async def migrate() -> list[int]:
        found = []
        for version in range(2, 22):
            schema = {**PAGES, "attributes": less if version % 2 else PAGES["attributes"] | {f"c{version}": "int"}, "version": version}
            found.append((await tables.asking("PUT", at("pages"), schema)).status)
        return found

    async def use(worker: int) -> list[Answer]:
        found = []
        for n in range(30):
            found.append(await tables.asking("PUT", at("pages", "/rows"), {"attributes": page(100 * worker + n, tags=["x"])}))
            rows = [{"attributes": page(100 * worker + n, extra=n)}, {"attributes": page(-100 * worker - n), "delete": True}]
            found.append(await tables.asking("POST", at("pages", "/batch"), {"rows": rows}))
            found.append(await tables.asking("POST", at("pages", "/query"), {"attributes": {"title": "A"}, "limit": 3}))
        return found

    async def all_at_once() -> tuple[list[int], list[list[Answer]]]:
        migrated, *used = await asyncio.gather(migrate(), *(use(worker) for worker in range(1, 7)))
        return migrated, used  # type: ignore[return-value]

    migrated, used = tables.run(all_at_once())
    assert set(migrated) == {201}
    assert {answer.status for worker in used for answer in worker} == {200, 201}
    assert len(tables.everything("pages")) == 180
    if isinstance(tables.store, SqliteTableStore):
        assert tables.metrics.value(PLANNED_AGAIN) > 0, "no write met a migration"


# Rows


def test_every_type_comes_back_as_it_is_documented(tables: TablesApp) -> None:
    for kind, (sent, shown) in KINDS.items():
        name = f"of-{kind}"
        tables.declare(
            name,
            {
                "attributes": {"h": kind, "r": kind, "v": kind, "s": f"set<{kind}>", "n": kind, "e": f"set<{kind}>"},
                "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
            },
        )
        row = {"h": sent, "r": sent, "v": sent, "s": [sent, sent], "e": []}
        revision(tables.put(name, row))
        expected = {"h": shown, "r": shown, "v": shown, "s": [shown], "n": None, "e": None}
        key = {"eq": sent} if kind == "json" else sent
        assert tables.items(name, {"h": key}) == [expected]
        assert tables.items(name, {"h": key, "r": {"EQ": sent}}) == [expected]
        assert tables.items(name, {"h": key, "r": {"Between": [sent, sent]}}) == [expected]
        assert tables.everything(name) == [expected]
        revision(tables.put(name, {**expected, "h": sent, "r": sent}))  # what is shown can be written
        assert tables.items(name, {"h": key}) == [expected]
        failed = tables.put(name, row, **when({"v": {"eq": None}}))
        assert {name: value for name, value in failed.json["current"].items() if name != "_revision"} == expected


def test_a_write_keeps_what_it_does_not_name(tables: TablesApp) -> None:
    revision(tables.put("pages", page(1, text="x", tags=["b", "a", "b"], lock=True)))
    revision(tables.put("pages", page(1, extra={"k": 1}, tags=None)))
    assert tables.items("pages", {"title": "A"}) == [page(1, text="x", tags=None, lock=True, extra={"k": 1})]
    revision(tables.put("pages", {"title": "A", "lock": False}))
    assert tables.items("pages", {"title": "A"})[0]["lock"] is False
    revision(tables.put("pages", {"title": "B", "lock": True}))
    assert tables.items("pages", {"title": "B"}) == [{"title": "B", "rev": None, "text": None, "tags": None, "lock": True, "extra": None}]


def test_queries(tables: TablesApp) -> None:
    for rev in range(1, 16):
        revision(tables.put("pages", page(rev, text=str(rev))))
    assert revs(tables) == list(range(15, 5, -1)), "the default limit"
    assert revs(tables, limit=20) == list(range(15, 0, -1))
    assert revs(tables, limit=3, order={"rev": "asc"}) == [1, 2, 3]
    answer = tables.query("pages", {"title": "A", "rev": {"GE": 3, "lt": 6}}, proj=["text"], table="pages")
    assert answer == {"items": [{"text": "5"}, {"text": "4"}, {"text": "3"}]}
    assert tables.query("pages", {"title": "A", "rev": {"between": [2, 3]}}, proj="rev")["items"] == [{"rev": 3}, {"rev": 2}]
    assert tables.query("pages", {"title": "nobody"}) == {"items": []}
    (shown,) = tables.items("pages", {"title": "A", "rev": 1}, withTTL=True, withRevision=True)
    assert shown["_ttl"] is None and len(shown["_revision"]) == 16


def test_pages_of_a_query_are_stable_under_writes(tables: TablesApp) -> None:
    for rev in range(0, 40, 2):
        revision(tables.put("pages", page(rev)))
    found: list[int] = []
    body: dict[str, Any] = {"attributes": {"title": "A"}, "limit": 3, "order": {"rev": "asc"}}
    while True:
        answer = tables.ask("POST", at("pages", "/query"), body)
        assert answer.status == 200 and len(answer.json["items"]) <= 3
        found += [item["rev"] for item in answer.json["items"]]
        if "next" not in answer.json:
            break
        body["next"] = answer.json["next"]
        last = found[-1]
        revision(tables.put("pages", page(last - 1)))  # before the place: not seen
        revision(tables.put("pages", page(last + 1)))  # beyond it: seen
        assert tables.ask("POST", at("pages", "/delete"), {"attributes": page(last)}).status == 204
    assert found == sorted(set(found)) and set(range(0, 40, 2)) <= set(found)


def test_what_expires(tables: TablesApp) -> None:
    revision(tables.put("pages", page(1, text="x", _ttl=10)))
    revision(tables.put("pages", page(2, text="y", _ttl=0)))
    assert [item["_ttl"] for item in tables.items("pages", {"title": "A"}, withTTL=True)] == [None, 10]
    tables.clock.advance(9)
    assert [item["_ttl"] for item in tables.items("pages", {"title": "A"}, withTTL=True)] == [None, 1]
    tables.clock.advance(1)
    assert revs(tables) == [2] and len(tables.everything("pages")) == 1


# Conditions


def test_conditions_in_bodies_and_headers(tables: TablesApp) -> None:
    first = revision(tables.ask("PUT", at("pages", "/rows"), {"attributes": page(1, text="a")}, if_none_match="*"))
    assert tables.put("pages", page(1), **when("Not  Exists")).code == "condition-failed"
    refused = tables.ask("PUT", at("pages", "/rows"), {"attributes": page(1, text="b")}, if_none_match="*")
    assert refused.status == 412 and refused.json["applied"] is False
    assert refused.json["current"] == page(1, text="a", tags=None, lock=None, extra=None, _revision=first)
    second = revision(tables.ask("PUT", at("pages", "/rows"), {"attributes": page(1, text="b")}, if_match=f'"{first}"'))
    assert second > first
    assert tables.ask("PUT", at("pages", "/rows"), {"attributes": page(1, text="c")}, if_match=f'"{first}"').status == 412
    assert tables.ask("PUT", at("pages", "/rows"), {"attributes": page(9, text="c")}, if_match="*").json["current"] is None
    third = revision(tables.put("pages", page(1, text="c"), **when({"text": {"ge": "b"}, "rev": {"eq": 1}})))
    both = tables.ask("PUT", at("pages", "/rows"), {"attributes": page(1), "if": {"text": "c"}}, if_match=f'"{second}"')
    assert both.json["current"]["_revision"] == third
    for headers in (
        {"if_match": f'"{third}"', "if_none_match": "*"},
        {"if_match": f'W/"{third}"'},
        {"if_match": third},
        {"if_match": f'"{third}", "{second}"'},
        {"if_none_match": f'"{third}"'},
        {"if_match": ""},
    ):
        assert tables.ask("PUT", at("pages", "/rows"), {"attributes": page(1)}, **headers).code == "invalid-input"
    assert tables.items("pages", {"title": "A"}, withRevision=True)[0]["_revision"] == third


def test_deletes_of_one_row(tables: TablesApp) -> None:
    written = revision(tables.put("pages", page(1, text="a")))
    assert tables.ask("POST", at("pages", "/delete"), {"attributes": page(1)}, if_match='"0000000000000001"').code == "condition-failed"
    assert tables.ask("POST", at("pages", "/delete"), {"attributes": page(1), "if": {"text": "b"}}).json["current"]["text"] == "a"
    assert tables.ask("POST", at("pages", "/delete"), {"attributes": page(1)}, if_none_match="*").code == "invalid-input"
    gone = tables.ask("POST", at("pages", "/delete"), {"attributes": page(1), "write_id": "once"}, if_match=f'"{written}"')
    assert gone.status == 204 and "rows-deleted" not in gone.headers
    again = tables.ask("POST", at("pages", "/delete"), {"attributes": page(1), "write_id": "once"}, if_match=f'"{written}"')
    assert again.status == 204, "a repeat has the first outcome"
    assert tables.ask("POST", at("pages", "/delete"), {"attributes": page(1)}).status == 204
    assert revs(tables) == []
    assert revision(tables.put("pages", page(1))) > written


def test_plain_tables_refuse_conditions(tables: TablesApp) -> None:
    tables.declare("plain", {**PAGES, "options": {"writes": "plain"}})
    revision(tables.put("plain", page(1, text="a")))
    assert tables.put("plain", page(1), **when("not exists")).json["where"] == "if"
    assert tables.put("plain", page(1), write_id="x").json["where"] == "write_id"
    for headers in ({"if_match": "*"}, {"if_none_match": "*"}):
        refused = tables.ask("PUT", at("plain", "/rows"), {"attributes": page(1, text="b")}, **headers)
        assert (refused.status, refused.json["where"]) == (400, next(iter(headers)).replace("_", "-"))
    assert [item["text"] for item in tables.everything("plain")] == ["a"]


def test_a_write_id_makes_a_repeat_harmless(tables: TablesApp) -> None:
    body = {"attributes": page(1, text="a"), "if": "not exists", "write_id": "w-1"}
    first = tables.ask("PUT", at("pages", "/rows"), body)
    revision(tables.put("pages", page(1, text="later")))
    assert tables.ask("PUT", at("pages", "/rows"), body).json == first.json
    assert tables.items("pages", {"title": "A"})[0]["text"] == "later"
    reused = tables.ask("PUT", at("pages", "/rows"), {**body, "attributes": page(1, text="b")})
    assert (reused.status, reused.code) == (409, "write-id-reused")
    failed = {"attributes": page(1, text="z"), "if": {"text": "nothing"}, "write_id": "w-2"}
    refused = tables.ask("PUT", at("pages", "/rows"), failed)
    revision(tables.put("pages", page(1, text="nothing")))
    repeated = tables.ask("PUT", at("pages", "/rows"), failed)
    assert (refused.status, repeated.status) == (412, 412) and refused.json == repeated.json
    for wrong in ("", "x" * 129, "a b", "é", 1, None):
        assert tables.put("pages", page(1), write_id=wrong).json["where"] == "write_id"


def test_only_one_of_many_wins(tables: TablesApp) -> None:
    start = revision(tables.put("pages", page(1, text="start")))

    async def race() -> list[Answer]:
        asks = [tables.asking("PUT", at("pages", "/rows"), {"attributes": page(1, text=str(n))}, if_match=f'"{start}"') for n in range(30)]
        return list(await asyncio.gather(*asks))

    answers = tables.run(race())
    assert sorted(answer.status for answer in answers) == [201] + [412] * 29
    (winner,) = [n for n, answer in enumerate(answers) if answer.status == 201]
    assert tables.items("pages", {"title": "A"})[0]["text"] == str(winner)
    assert {answer.json["current"]["text"] for answer in answers if answer.status == 412} == {str(winner)}


# Batches and deletes of ranges


def test_a_batch_happens_whole_or_not_at_all(tables: TablesApp) -> None:
    revision(tables.put("pages", page(1, text="one")))
    revision(tables.put("pages", page(2, text="two")))
    rows: list[dict[str, object]] = [
        {"attributes": page(1), "delete": True, "if": {"text": "one"}},
        {"attributes": page(3, text="three", lock=True), "if": "not exists"},
        {"attributes": page(2, text="TWO"), "if": {"text": "two"}},
    ]
    refused = tables.ask("POST", at("pages", "/batch"), {"rows": [*rows, {"attributes": page(4), "if": {"text": "four"}}]})
    assert refused.status == 412
    assert [None if row is None else row["text"] for row in refused.json["current"]] == ["one", None, "two", None]
    assert revs(tables) == [2, 1]
    revision(tables.ask("POST", at("pages", "/batch"), {"table": "pages", "rows": rows, "write_id": "b"}))
    assert [(item["rev"], item["text"], item["lock"]) for item in tables.everything("pages")] == [(3, "three", True), (2, "TWO", True)]
    revision(tables.ask("POST", at("pages", "/batch"), {"rows": rows, "write_id": "b"}))
    wrong: tuple[tuple[object, str], ...] = (
        ([{"attributes": page(1)}, {"attributes": {"title": "B", "rev": 1}}], "/rows/1/title"),
        ([{"attributes": page(1)}, {"attributes": page(1)}], "/rows/1/rev"),
        ([{"attributes": page(1)}, {"attributes": page("x")}], "/rows/1/rev"),  # type: ignore[arg-type]
        ([{"attributes": page(1)}, {"attributes": page(2, text="x"), "delete": True}], "/rows/1/text"),
        ([{"attributes": page(1), "write_id": "x"}], "/rows/0/write_id"),
        ([{"attributes": page(1), "delete": "yes"}], "/rows/0/delete"),
        ([1], "/rows/0"),
        ([], "rows"),
        ({}, "rows"),
    )
    for given, where in wrong:
        assert tables.ask("POST", at("pages", "/batch"), {"rows": given}).json["where"] == where
    assert revs(tables) == [3, 2]
    many = [{"attributes": page(n)} for n in range(1001)]
    assert tables.ask("POST", at("pages", "/batch"), {"rows": many}).code == "too-large"


def test_a_batch_takes_no_condition_from_the_head_of_the_request(tables: TablesApp) -> None:
    body = {"rows": [{"attributes": page(1)}]}
    assert tables.ask("POST", at("pages", "/batch"), body, if_match="*").json["where"] == "if-match"
    assert tables.ask("POST", at("pages", "/batch"), body, if_none_match="*").json["where"] == "if-none-match"
    assert revs(tables) == []


def test_ranges_are_deleted_in_bounded_pieces(tables: TablesApp) -> None:
    for rev in range(12):
        revision(tables.put("pages", page(rev, lock=True)))
    revision(tables.put("pages", {"title": "B", "rev": 1}))
    some = tables.ask("POST", at("pages", "/delete"), {"attributes": {"title": "A", "rev": {"lt": 4, "ge": 2}}})
    assert (some.status, some.headers["rows-deleted"]) == (204, "2")
    body = {"attributes": {"title": "A"}}
    bounded = tables.ask("POST", at("pages", "/delete"), body)
    assert (bounded.status, bounded.json) == (200, {"deleted": 5, "complete": False})
    assert tables.ask("POST", at("pages", "/delete"), body).headers["rows-deleted"] == "5"
    assert tables.ask("POST", at("pages", "/delete"), body).headers["rows-deleted"] == "0"
    assert tables.items("pages", {"title": "A"}) == []
    assert [item["title"] for item in tables.everything("pages")] == ["B"]
    for member in ("if", "write_id"):
        assert tables.ask("POST", at("pages", "/delete"), {**body, member: "not exists"}).json["where"] == member
    assert tables.ask("POST", at("pages", "/delete"), body, if_match="*").json["where"] == "if-match"
    assert tables.ask("POST", at("pages", "/delete"), {"attributes": {"rev": 1}}).json["where"] == "title"


# Administration


def test_statistics(tables: TablesApp) -> None:
    for rev in range(3):
        revision(tables.put("pages", page(rev, text="x" * 100)))
    revision(tables.put("pages", {"title": "B", "rev": 1}))
    tables.items("pages", {"title": "A"})
    stats = tables.ask("GET", at("pages", "/stats")).json
    assert stats["rows"] == 4 and stats["bytes"] > 300 and stats["reads"] == 1 and stats["writes"] == 4
    assert [(one["partition"], one["rows"]) for one in stats["largest_partitions"]] == [({"title": "A"}, 3), ({"title": "B"}, 1)]
    tables.declare("pages", {**PAGES, "version": 2})
    assert tables.ask("GET", at("pages", "/stats")).json["writes"] == 4, "a migration forgets no statistics"
    assert tables.ask("GET", at("pages", "/stats")).json == stats


def test_walks_take_bounded_steps(tables: TablesApp) -> None:
    for n in range(7):
        revision(tables.put("pages", {"title": f"T{n}", "rev": 1}))
    first = tables.ask("GET", at("pages", "/rows?limit=3"))
    assert len(first.json["items"]) == 3 and first.json["next"]
    for wrong in ("limit=0", "limit=21", "limit=x", "next=forged", f"next={quote(first.json['next'][:-2])}", "page=1"):
        assert tables.ask("GET", at("pages", f"/rows?{wrong}")).status == 400, wrong
    assert sorted(item["title"] for item in tables.everything("pages")) == [f"T{n}" for n in range(7)]


def test_the_description_of_a_table_names_its_columns(tables: TablesApp) -> None:
    document = tables.ask("GET", at("pages", "/openapi.json")).json
    assert document["openapi"] == "3.1.0" and set(PAGES["attributes"]) == set(document["components"]["schemas"]["Row"]["properties"])
    assert at("pages", "/changes") not in document["paths"]
    tables.declare("streamed", {**PAGES, "options": {"changes": True}})
    assert at("streamed", "/changes") in tables.ask("GET", at("streamed", "/openapi.json")).json["paths"]


def test_paths_and_methods_that_are_none(tables: TablesApp) -> None:
    assert tables.ask("GET", "/v1/en.example/views").code == "not-found"
    assert tables.ask("GET", at("pages", "/query")).status == 405
    assert tables.ask("POST", at("pages")).headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
    assert tables.ask("GET", at("pages", "?x=1")).json["where"] == "x"

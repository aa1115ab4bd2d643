"""`headwater tables` as people and scripts use it: a round trip of all that a table can hold, kills in the middle, refused lines."""

import hashlib
import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.acceptance.platform_process import fetch
from tests.acceptance.served_process import eventually
from tests.acceptance.tables_command import TablesWithCommand

KINDS: dict[str, list[Any]] = {
    "string": ["", "é\u0000", "𝄞" * 3],
    "blob": [{"$base64": ""}, {"$base64": "AP8="}],
    "int": [-(2**31), 2**31 - 1],
    "long": [str(-(2**63)), str(2**63 - 1)],
    "varint": [0, 2**53, str(-(2**80))],
    "decimal": ["1.50", "-0.00001", "1E+40"],
    "float": [0.1, -3.5],
    "double": [0.1, 1e300, -2.5e-300],
    "boolean": [True, False],
    "timeuuid": ["8e3f2f4c-36c1-11ef-9c3b-0242ac120002"],
    "uuid": ["123e4567-e89b-42d3-a456-426614174000"],
    "timestamp": ["1969-12-31T23:59:59.999Z", "2024-02-29T12:00:00.001Z"],
    "json": [{"b": [1, None, "x"], "a": 1.5}, False, "text", 0],
}
EVERYTHING: dict[str, Any] = {
    "attributes": {
        "key": "string",
        "place": "decimal",
        "at": "timeuuid",
        "shared": "json",
        "flag": "boolean",
        **{f"a_{kind}": kind for kind in KINDS},
        **{f"s_{kind}": f"set<{kind}>" for kind in KINDS},
    },
    "index": [
        {"attribute": "key", "type": "hash"},
        {"attribute": "place", "type": "range", "order": "desc"},
        {"attribute": "at", "type": "range"},
        {"attribute": "shared", "type": "static"},
        {"attribute": "flag", "type": "static"},
    ],
}
AT = "8e3f2f4c-36c1-11ef-9c3b-0242ac120002"
TITLES = {"attributes": {"title": "string", "text": "string"}, "index": [{"attribute": "title", "type": "hash"}], "changes": True}
MANY = 300
FROM, INTO = "/v1/one.example/tables/t", "/v1/two.example/tables/other"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TablesWithCommand]:
    with TablesWithCommand(tmp_path_factory.mktemp("tables")) as running:
        yield running


def put(tables: TablesWithCommand, path: str, attributes: dict[str, Any]) -> None:
    status, answer = tables.ask("PUT", f"{path}/rows", {"attributes": attributes})
    assert status == 201, answer


def partition(tables: TablesWithCommand, path: str, attributes: dict[str, Any]) -> list[dict[str, Any]]:
    status, answer = tables.ask("POST", f"{path}/query", {"attributes": attributes, "withTTL": True, "limit": 1000})
    assert status == 200, answer
    items: list[dict[str, Any]] = answer["items"]
    return items


def without_ttl(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name != "_ttl"} for item in items]


def fill_everything(tables: TablesWithCommand) -> list[str]:
    """Rows with every type, sets, statics, expiries of several kinds; the keys of their partitions."""
    tables.ask("PUT", FROM, EVERYTHING)
    rows = max(map(len, KINDS.values()))
    for number in range(rows):
        row = {f"a_{kind}": values[number % len(values)] for kind, values in KINDS.items()}
        sets = {f"s_{kind}": values[: number + 1] for kind, values in KINDS.items()}
        put(tables, FROM, {"key": "all", "place": f"{number}.50", "at": AT, **row, **sets, "shared": {"n": number}})
    put(tables, FROM, {"key": "all", "place": "9", "at": AT, "_ttl": 500})
    put(tables, FROM, {"key": "all", "place": "9", "at": AT, "a_int": 5, "_ttl": 5000})
    put(tables, FROM, {"key": "all", "place": "9", "at": AT, "a_string": "stays", "flag": False, "_ttl": 0})
    put(tables, FROM, {"key": "only static", "shared": "x", "_ttl": 900})
    put(tables, FROM, {"key": "only a marker", "place": "0", "at": AT})
    return ["all", "only static", "only a marker"]


def test_a_round_trip_gives_equal_content(tables: TablesWithCommand) -> None:
    keys = fill_everything(tables)
    tables.run("export", "one.example", "t", "all.ndjson", "--page-rows", "1")
    lines = [json.loads(line) for line in (tables.folder / "all.ndjson").read_text().splitlines()]
    assert lines[0]["_export"]["schema"]["attributes"] == EVERYTHING["attributes"]
    assert len({json.dumps(line, sort_keys=True) for line in lines}) == len(lines), "no line stands twice"
    done = tables.run("import", "two.example", "other", "all.ndjson", "--declare", "--json").json
    assert (done["written"], done["refused"]) == (len(lines) - 1, 0)
    for key in keys:
        before, after = partition(tables, FROM, {"key": key}), partition(tables, INTO, {"key": key})
        assert before
        assert without_ttl(after) == without_ttl(before)
        for one, other in zip(before, after, strict=True):
            assert (one["_ttl"] is None) == (other["_ttl"] is None)
            assert one["_ttl"] is None or abs(one["_ttl"] - other["_ttl"]) < 100
    assert not (tables.folder / "all.ndjson.import").exists() and not (tables.folder / "all.ndjson.progress").exists()
    again = tables.run("export", "two.example", "other", "again.ndjson", "--json").json
    assert again["lines"] == len(lines) - 1


@pytest.fixture(scope="module")
def many(tables: TablesWithCommand) -> int:
    """How many rows the table `titles` of many.example has."""
    tables.ask("PUT", "/v1/many.example/tables/titles", TITLES)
    rows = "".join(json.dumps({"title": f"t{number}", "text": "x" * 50}) + "\n" for number in range(MANY))
    (tables.folder / "many.ndjson").write_text(rows)
    assert tables.run("import", "many.example", "titles", "many.ndjson", "--json").json["written"] == MANY
    return MANY


def kill_when(tables: TablesWithCommand, arguments: tuple[str, ...], reached: Callable[[], bool]) -> None:
    with tables.begin(*arguments) as process:
        eventually(lambda: process.poll() is not None or reached(), within_s=60, what=lambda: "the command does not come so far")
        assert process.poll() is None, process.communicate()
        process.kill()


def noted(path: pathlib.Path, name: str) -> int:
    if not path.exists():
        return 0
    found = json.loads(path.read_text())[name]
    assert isinstance(found, int)
    return found


def test_an_export_that_is_killed_goes_on(tables: TablesWithCommand, many: int) -> None:
    arguments = ("export", "many.example", "titles", "killed.ndjson", "--page-rows", "3")
    progress = tables.folder / "killed.ndjson.progress"
    for rows in (9, 60):
        kill_when(tables, arguments, lambda rows=rows: noted(progress, "rows") > rows)  # type: ignore[misc]
    with (tables.folder / "killed.ndjson.part").open("ab") as part:
        part.write(b'{"half a li')
    done = tables.run(*arguments, "--json").json
    titles = [json.loads(line)["title"] for line in (tables.folder / "killed.ndjson").read_text().splitlines()[1:]]
    assert done["rows"] == many
    assert sorted(titles) == sorted(f"t{number}" for number in range(many)), "all of them, none twice"
    assert "exists" in tables.run(*arguments, status=2).errors


def test_an_import_that_is_killed_goes_on_and_writes_nothing_twice(tables: TablesWithCommand, many: int) -> None:
    tables.ask("PUT", "/v1/killed.example/tables/titles", TITLES)
    arguments = ("import", "killed.example", "titles", "many.ndjson")
    stream = "/v1/killed.example/tables/titles"
    kill_when(tables, arguments, lambda: bool(tables.ask("GET", f"{stream}/stats")[1]["rows"] > 20))
    assert tables.run(*arguments, "--json").json["refused"] == 0
    assert tables.ask("GET", f"{stream}/stats")[1]["rows"] == many
    assert len(changes(tables, stream)) == many, "a line that was written before the kill was not written again"


def changes(tables: TablesWithCommand, path: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{tables.port}{path}/changes?wait=0"
    status, _, body = fetch(url, headers={"accept": "application/x-ndjson"})
    assert status == 200
    return [json.loads(line) for line in body.splitlines()]


def test_the_service_may_be_killed_meanwhile(tables: TablesWithCommand, many: int) -> None:
    path = "/v1/restarted.example/tables/titles"
    tables.ask("PUT", path, TITLES)
    with tables.begin("import", "restarted.example", "titles", "many.ndjson") as process:
        eventually(lambda: bool(tables.ask("GET", f"{path}/stats")[1]["rows"] > 20), within_s=60, what=lambda: "nothing is imported")
        tables.kill()
        tables.start()
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert tables.ask("GET", f"{path}/stats")[1]["rows"] == many
    assert len(changes(tables, path)) == many


def test_lines_that_are_refused_are_named_and_counted(tables: TablesWithCommand) -> None:
    tables.ask("PUT", "/v1/bad.example/tables/titles", TITLES)
    bad = [
        '{"title": "a", "text": "one"}',
        "no JSON",
        '{"title": "b", "text": 5}',
        "",
        '{"title": "c", "nope": 1}',
        "[1]",
        '{"title": "d", "text": "last"}',
    ]
    (tables.folder / "bad.ndjson").write_text("\n".join(bad))
    checked = tables.call("import", "bad.example", "titles", "bad.ndjson", "--dry-run", "--errors-max", "9", "--json", status=1).json
    assert checked["would_be_written"] == 2
    assert tables.ask("GET", "/v1/bad.example/tables/titles/stats")[1]["rows"] == 0
    tables.call("import", "bad.example", "titles", "bad.ndjson", "--errors-max", "2", status=1)
    ran = tables.call("import", "bad.example", "titles", "bad.ndjson", "--errors-max", "4", "--restart", "--json", status=1)
    assert (ran.json["written"], ran.json["refused"]) == (2, 4)
    assert {(one["line"], one["where"]) for one in ran.json["faults"]} == {(2, None), (3, "text"), (5, "nope"), (6, None)}
    assert "line 3: text: " in ran.errors
    assert sorted(row["title"] for row in tables.ask("GET", "/v1/bad.example/tables/titles/rows")[1]["items"]) == ["a", "d"]


def test_an_import_is_not_mistaken_for_another(tables: TablesWithCommand, many: int) -> None:
    for domain in ("a.example", "b.example"):
        tables.ask("PUT", f"/v1/{domain}/tables/titles", TITLES)
    path = tables.folder / "mixed.ndjson"
    path.write_text('{"title": "a"}\nno JSON\n')
    tables.call("import", "a.example", "titles", "mixed.ndjson", status=1)
    assert "--restart" in tables.call("import", "b.example", "titles", "mixed.ndjson", status=2).errors
    path.write_text('{"title": "a"}\n{"title": "b"}\n')
    assert "--restart" in tables.call("import", "a.example", "titles", "mixed.ndjson", status=2).errors
    assert tables.call("import", "a.example", "titles", "mixed.ndjson", "--restart", "--json").json["written"] == 2
    assert "no schema" in tables.call("import", "a.example", "titles", "mixed.ndjson", "--declare", status=2).errors


def test_an_import_may_be_repeated_on_purpose(tables: TablesWithCommand) -> None:
    path = "/v1/repeated.example/tables/titles"
    tables.ask("PUT", path, TITLES)
    (tables.folder / "one.ndjson").write_text('{"title": "a", "text": "as exported"}\n')
    tables.call("import", "repeated.example", "titles", "one.ndjson")
    put(tables, path, {"title": "a", "text": "changed since"})
    tables.call("import", "repeated.example", "titles", "one.ndjson")
    assert partition(tables, path, {"title": "a"})[0]["text"] == "as exported"


def test_lines_of_one_row_are_written_in_their_order(tables: TablesWithCommand) -> None:
    for name, writes in (("plain", "plain"), ("conditional", "conditional")):
        tables.ask("PUT", f"/v1/ordered.example/tables/{name}", {**TITLES, "writes": writes})
        lines = "".join(json.dumps({"title": f"t{number % 20}", "text": f"{number}"}) + "\n" for number in range(60))
        (tables.folder / "ordered.ndjson").write_text(lines)
        tables.call("import", "ordered.example", name, "ordered.ndjson")
        rows = tables.ask("GET", f"/v1/ordered.example/tables/{name}/rows")[1]["items"]
        assert {row["title"]: row["text"] for row in rows} == {f"t{number % 20}": f"{number}" for number in range(40, 60)}


def test_an_export_ends_where_the_table_is_migrated_meanwhile(tables: TablesWithCommand, many: int) -> None:
    arguments = ("export", "many.example", "titles", "migrated.ndjson", "--page-rows", "3")
    kill_when(tables, arguments, lambda: noted(tables.folder / "migrated.ndjson.progress", "rows") > 9)
    more = {**TITLES, "version": 2, "attributes": {**TITLES["attributes"], "more": "int"}}  # type: ignore[dict-item]
    assert tables.ask("PUT", "/v1/many.example/tables/titles", more)[0] == 201
    assert "--restart" in tables.call(*arguments, status=2).errors
    assert tables.call(*arguments[:4], "--restart", "--json").json["rows"] == many


def test_an_export_writes_through_no_link(tables: TablesWithCommand, many: int) -> None:
    other = tables.folder / "other.txt"
    other.write_text("not ours")
    (tables.folder / "linked.ndjson.part").symlink_to(other)
    assert tables.call("export", "many.example", "titles", "linked.ndjson", "--json").json["rows"] == many
    assert other.read_text() == "not ours" and not (tables.folder / "linked.ndjson").is_symlink()


def test_looking_declaring_and_dropping(tables: TablesWithCommand) -> None:
    (tables.folder / "schema.json").write_text(json.dumps({"table": "looked at", **TITLES}))
    planned = tables.call("declare", "look.example", "schema.json", "--dry-run")
    assert "would be created" in planned.output and "forecast" in planned.output
    assert tables.call("list", "look.example", "--json").json["tables"] == []
    assert "created" in tables.call("declare", "look.example", "schema.json").output
    assert tables.call("declare", "look.example", "schema.json", "--json").json["outcome"] == "unchanged"
    assert tables.call("list", "look.example", "--json").json["tables"] == [{"table": "looked at", "all_domains": False}]
    assert "looked at" in tables.call("list", "look.example").output
    assert json.loads(tables.call("show", "look.example", "looked at").output)["attributes"] == TITLES["attributes"]
    put(tables, "/v1/look.example/tables/looked%20at", {"title": "a", "text": "b"})
    assert tables.call("stats", "look.example", "looked at", "--json").json["rows"] == 1
    assert "Largest partitions" in tables.call("stats", "look.example", "looked at").output
    (tables.folder / "worse.json").write_text(json.dumps({**TITLES, "version": 2, "attributes": {"title": "int", "text": "string"}}))
    assert "title" in tables.call("declare", "look.example", "worse.json", "--table", "looked at", status=1).errors
    (tables.folder / "wrong.json").write_text(json.dumps({"attributes": {}}))
    assert tables.call("declare", "look.example", "wrong.json", "--table", "x", "--json", status=2).json["where"]
    assert "1 rows" in tables.call("drop", "look.example", "looked at", "--dry-run").output
    tables.call("drop", "look.example", "looked at")
    tables.call("drop", "look.example", "looked at")
    tables.call("show", "look.example", "looked at", status=6)
    tables.call("export", "look.example", "looked at", "x", status=6)
    tables.call("import", "look.example", "looked at", "no such file", status=6)


def test_backup_while_it_runs_and_restore_while_it_does_not(tables: TablesWithCommand, many: int) -> None:
    path = "/v1/backed.example/tables/titles"
    tables.ask("PUT", path, TITLES)
    put(tables, path, {"title": "a", "text": "as backed up"})
    backed_up = tables.run("backup", "tables.backup", "--json").json
    assert backed_up["rows"] > many
    assert tables.run("backup", "tables.backup", status=2).errors
    put(tables, path, {"title": "a", "text": "lost"})
    assert "owned by process" in tables.run("restore", "tables.backup", status=5).errors
    ahead = changes(tables, path)[-1]["id"]
    tables.kill()
    assert "would be restored" in tables.run("restore", "tables.backup", "--dry-run").output
    assert tables.run("restore", "tables.backup", "--json").json["rows"] == backed_up["rows"]
    tables.start()
    assert partition(tables, path, {"title": "a"})[0]["text"] == "as backed up"
    status, problem = tables.ask("GET", f"{path}/changes?since={ahead}&wait=0")
    assert (status, problem["type"]) == (410, "/problems/changes-trimmed")
    (tables.folder / "nonsense").write_text("nonsense")
    tables.kill()
    tables.run("restore", "nonsense", status=1)
    tables.start()


def test_nobody_answers(tmp_path: pathlib.Path) -> None:
    other = TablesWithCommand(tmp_path, port=9)
    other.configure({})
    assert "does not run" in other.call("list", "a.example", status=4).errors


def test_clients_are_limited(tmp_path: pathlib.Path) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    settings = {
        "tables": {"clients": [{"name": "team", "token_sha256": digest, "grants": {"a.example": {"titles": ["read", "declare", "write"]}}}]}
    }
    with TablesWithCommand(tmp_path, settings, token="secret") as limited:
        assert limited.ask("PUT", "/v1/a.example/tables/titles", TITLES, Authorization="Bearer secret")[0] == 201
        assert limited.call("list", "a.example", "--json").json["tables"] == [{"table": "titles", "all_domains": False}]
        assert "administer" in limited.call("export", "a.example", "titles", "x.ndjson", status=1).errors
        (tmp_path / "one.ndjson").write_text('{"title": "a"}\n')
        assert limited.call("import", "a.example", "titles", "one.ndjson", "--json").json["written"] == 1
        limited.token = None
        assert re.search("bearer token", limited.call("list", "a.example", status=1).errors)

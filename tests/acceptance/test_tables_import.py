"""`headwater tables import` of rows that share partitions: written as batches, with lines at fault among them, killed, and gone on with."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.platform_process import fetch
from tests.acceptance.served_process import eventually
from tests.acceptance.tables_command import TablesWithCommand

ROWS: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
    "changes": True,
}
PARTITIONS, EACH = 40, 150


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TablesWithCommand]:
    with TablesWithCommand(tmp_path_factory.mktemp("tables")) as running:
        lines = [{"h": f"p{h}", "r": r, "v": f"{h}/{r}"} for h in range(PARTITIONS) for r in range(EACH)]
        lines += [{"h": f"p{h}", "r": 0, "v": "last"} for h in range(PARTITIONS)]
        (running.folder / "rows.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
        yield running


def stats(tables: TablesWithCommand, path: str) -> dict[str, Any]:
    found: dict[str, Any] = tables.ask("GET", f"{path}/stats")[1]
    return found


def changes(tables: TablesWithCommand, path: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{tables.port}{path}/changes?wait=0"
    status, _, body = fetch(url, headers={"accept": "application/x-ndjson"})
    assert status == 200
    return [json.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize("writes", ["conditional", "plain"])
def test_it_is_killed_and_goes_on(tables: TablesWithCommand, writes: str) -> None:
    path = f"/v1/{writes}.example/tables/rows"
    tables.ask("PUT", path, {**ROWS, "writes": writes})
    arguments = ("import", f"{writes}.example", "rows", "rows.ndjson", "--connections", "2")
    with tables.begin(*arguments) as process:
        eventually(lambda: process.poll() is not None or stats(tables, path)["rows"] > 300, within_s=60, what=lambda: "nothing is imported")
        process.kill()
    done = tables.run(*arguments, "--json").json
    assert done["refused"] == 0
    assert stats(tables, path)["rows"] == PARTITIONS * EACH
    assert stats(tables, path)["writes"] < PARTITIONS * EACH / 10, "lines are written together"
    rows = tables.ask("POST", f"{path}/query", {"attributes": {"h": "p7"}, "limit": 1000})[1]["items"]
    assert [row["v"] for row in rows] == ["last", *(f"7/{r}" for r in range(1, EACH))], "in their order"
    if writes == "conditional":
        assert len(changes(tables, path)) == PARTITIONS * (EACH + 1), "what was written before the kill was not written again"


def test_a_line_at_fault_is_named_and_the_others_of_its_batch_are_written(tables: TablesWithCommand) -> None:
    path = "/v1/faults.example/tables/rows"
    tables.ask("PUT", path, ROWS)
    lines = [json.dumps({"h": "p", "r": r, "v": "x"}) for r in range(20)]
    lines[4] = '{"h": "p", "r": 4, "v": 5}'
    lines[9] = '{"h": "p", "r": 9, "v": NaN}'
    lines[14] = '{"h": "p", "v": "x"}'
    (tables.folder / "faults.ndjson").write_text("\n".join(lines))
    arguments = ("import", "faults.example", "rows", "faults.ndjson", "--json")
    tables.call(*arguments, status=1)
    assert stats(tables, path)["rows"] < 20
    for _ in range(2):  # it may be called again, and begins with the same lines
        assert "line 5: v: " in tables.call(*arguments, "--errors-max", "1", status=1).errors
    done = tables.call(*arguments, "--errors-max", "3", status=1).json
    assert {(one["line"], one["where"]) for one in done["faults"]} == {(5, "v"), (10, "v"), (15, "r")}
    assert (done["written"], done["refused"]) == (17, 3)
    written = changes(tables, path)
    assert len(written) == stats(tables, path)["rows"] == 17, "each once, though some were tried four times"


def test_an_import_of_an_earlier_version_is_begun_again(tables: TablesWithCommand) -> None:
    tables.ask("PUT", "/v1/earlier.example/tables/rows", ROWS)
    (tables.folder / "earlier.ndjson").write_text('{"h": "p", "r": 1}\nno JSON\n')
    arguments = ("import", "earlier.example", "rows", "earlier.ndjson")
    tables.call(*arguments, status=1)
    progress = tables.folder / "earlier.ndjson.import"
    noted = json.loads(progress.read_text())
    del noted["singly"]
    progress.write_text(json.dumps(noted))
    assert "--restart" in tables.call(*arguments, status=2).errors


def test_a_schema_is_shown_with_each_option_once(tables: TablesWithCommand) -> None:
    tables.ask("PUT", "/v1/shown.example/tables/rows", ROWS)
    shown = tables.call("show", "shown.example", "rows").output
    assert shown.count('"changes"') == 1 and json.loads(shown)["options"]["changes"] is True
    (tables.folder / "shown.json").write_text(shown)
    assert tables.call("declare", "shown.example", "shown.json", "--json").json["outcome"] == "unchanged"

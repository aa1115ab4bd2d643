"""What deletes of ranges and upkeep do at once is bounded by size, not by number alone: writes wait for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.integration.tables_app import TablesApp, at, tables_app

from headwater.sqlite.queries import fetch_all
from headwater.tables.config import TablesConfig
from headwater.tables.engines.sqlite import clearing, upkeep

LOG: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
    "options": {"changes": True},
}
ROWS, ROW_BYTES, AT_ONCE_BYTES = 20, 10_000, 35_000
AT_ONCE = 4
"""Rows of that size, the last one aside."""
KEPT_MS = 60_000


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TablesApp]:
    """The service over SQLite, that does little at once."""
    monkeypatch.setattr(clearing, "CLEAR_BYTES", AT_ONCE_BYTES)
    monkeypatch.setattr(upkeep, "RECLAIM_BYTES", AT_ONCE_BYTES)
    with tables_app("sqlite", tmp_path, TablesConfig()) as made:
        made.declare("log", LOG)
        for number in range(ROWS):
            assert made.put("log", {"h": "a", "r": number, "v": "x" * ROW_BYTES, "_ttl": 100}, write_id=f"w{number}").status == 201
        yield made


def left_in(tmp_path: Path) -> dict[str, int]:
    """How many records each of the tables of the file has."""
    connection = apsw.Connection(str(tmp_path / "tables.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        names = ("row", "change", "outcome", "expiry", "partition", "space")
        return {name: fetch_all(connection, f"SELECT count(*) FROM {name}")[0][0] for name in names}
    finally:
        connection.close()


def reclaim(tables: TablesApp) -> bool:
    return tables.run(tables.store.reclaim(now_ms=tables.clock.now_ms(), changes_kept_ms=KEPT_MS, write_ids_kept_ms=KEPT_MS, limit=1_000))


def test_a_delete_of_large_rows_ends_early_and_says_so(tables: TablesApp, tmp_path: Path) -> None:
    counted = []
    while (answer := tables.ask("POST", at("log", "/delete"), {"attributes": {"h": "a"}})).status == 200:
        assert answer.json["complete"] is False
        counted.append(answer.json["deleted"])
        assert tables.ask("GET", at("log", "/stats")).json["rows"] == ROWS - sum(counted)
    assert answer.status == 204
    counted.append(int(answer.headers["rows-deleted"]))
    assert counted == [AT_ONCE] * (ROWS // AT_ONCE)
    assert left_in(tmp_path)["row"] == left_in(tmp_path)["expiry"] == 0


def test_a_row_that_is_larger_than_the_bound_is_deleted(tables: TablesApp) -> None:
    assert tables.put("log", {"h": "b", "r": 1, "v": "x" * 2 * AT_ONCE_BYTES}).status == 201
    answer = tables.ask("POST", at("log", "/delete"), {"attributes": {"h": "b"}})
    assert (answer.status, answer.headers["rows-deleted"]) == (204, "1")


def test_what_expires_is_taken_back_bit_by_bit(tables: TablesApp, tmp_path: Path) -> None:
    tables.clock.advance(101)
    seen = [left_in(tmp_path)]
    while reclaim(tables):
        seen.append(left_in(tmp_path))
        assert 0 <= seen[-2]["row"] - seen[-1]["row"] <= AT_ONCE
        assert 0 <= seen[-2]["change"] - seen[-1]["change"] <= AT_ONCE
        assert len(seen) < 50
    assert len(seen) > 2 * (ROWS // AT_ONCE)
    assert left_in(tmp_path) == {"row": 0, "change": 0, "outcome": 0, "expiry": 0, "partition": 0, "space": 1}


def test_what_was_dropped_is_taken_back_bit_by_bit(tables: TablesApp, tmp_path: Path) -> None:
    assert tables.ask("DELETE", at("log")).status == 204
    seen = [left_in(tmp_path)]
    while reclaim(tables):
        seen.append(left_in(tmp_path))
        assert sum(seen[-2][name] - seen[-1][name] for name in ("row", "change")) <= AT_ONCE
        assert len(seen) < 50
    assert len(seen) >= 2 * (ROWS // AT_ONCE)
    assert not any(left_in(tmp_path).values())

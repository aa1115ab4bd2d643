"""The disk becomes full under tables: writes are refused as a whole, reads and deletes go on, and nothing needs help afterwards."""

import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.acceptance.served_process import eventually
from tests.acceptance.tables_process import TablesProcess

DISK_BYTES = 48 * 2**20
CALM_MAX_S = 20.0
AT = "/v1/en.example/tables"
LOG: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
    "options": {"changes": True},
}

pytestmark = [pytest.mark.real("tmpfs"), pytest.mark.timeout(300)]


@pytest.fixture
def tables(tmp_path: pathlib.Path) -> Iterator[TablesProcess]:
    """A process whose data directory is a small disk."""
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(data)], check=True)
    try:
        with TablesProcess(
            tmp_path, {"storage": {"ballast_bytes": "4MiB", "wal_bytes_max": "2MiB"}, "tables": {"clear_rows_max": 100}}
        ) as made:
            yield made
    finally:
        subprocess.run(["umount", str(data)], check=True)


def batch(first: int) -> dict[str, Any]:
    """Ten rows that are written together."""
    return {"rows": [{"attributes": {"h": "a", "r": first + n, "v": os.urandom(5000).hex()}} for n in range(10)]}


def rows(tables: TablesProcess) -> list[int]:
    """The rows that are there, page by page."""
    found: list[int] = []
    body: dict[str, Any] = {"attributes": {"h": "a"}, "proj": "r", "limit": 1000}
    while True:
        status, page = tables.ask("POST", f"{AT}/log/query", body)
        assert status == 200, page
        found += [item["r"] for item in page["items"]]
        if "next" not in page:
            return found
        body["next"] = page["next"]


@pytest.mark.parametrize("end", ["stays", "is killed and started"])
def test_a_full_disk_refuses_writes_and_serves_reads_and_deletes(tables: TablesProcess, end: str) -> None:
    assert tables.ask("PUT", f"{AT}/log", LOG)[0] == 201
    written: list[int] = []
    status = 201
    while status == 201 and len(written) < 10_000:
        status, answer = tables.ask("POST", f"{AT}/log/batch", batch(len(written)))
        if status == 201:
            written += range(len(written), len(written) + 10)
    assert status == 507 and answer["type"] == "/problems/storage-full", answer
    assert rows(tables) == written, "nothing is half-written"
    assert tables.ask("PUT", f"{AT}/other", LOG)[0] in (201, 507)
    if end != "stays":
        tables.kill()
        tables.start()
        assert rows(tables) == written
    status, _ = tables.ask("POST", f"{AT}/log/delete", {"attributes": {"h": "a", "r": {"lt": len(written) // 2}}})
    assert status in (200, 204), "what makes room is not refused"
    while status == 200:
        status, _ = tables.ask("POST", f"{AT}/log/delete", {"attributes": {"h": "a", "r": {"lt": len(written) // 2}}})
    left = written[len(written) // 2 :]
    assert rows(tables) == left
    assert tables.ask("DELETE", f"{AT}/other")[0] == 204
    assert tables.ask("DELETE", f"{AT}/log")[0] == 204
    eventually(lambda: tables.ask("PUT", f"{AT}/again", LOG)[0] in (200, 201), within_s=CALM_MAX_S, what=tables.last_words)
    eventually(
        lambda: tables.ask("PUT", f"{AT}/again/rows", {"attributes": {"h": "a", "r": 1}})[0] == 201,
        within_s=CALM_MAX_S,
        what=tables.last_words,
    )
    tables.terminate()

"""The tutorial about a first table is true: its blocks are run as they stand, one after the other, and what it says of them holds."""

import json
import os
import pathlib
import re
import subprocess

import pytest
from tests.acceptance.served_process import COMMAND
from tests.acceptance.tables_command import TablesWithCommand

PAGE = pathlib.Path(__file__).parents[2] / "docs/tutorials/first-table.md"
ADDRESS = "127.0.0.1:7231"


def sections() -> dict[str, list[str]]:
    """The blocks of shell commands by the heading that they stand under."""
    parts = re.split(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {
        title: re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def answers(output: str) -> list[dict[str, object]]:
    """The JSON objects that follow each other in what was printed."""
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(output):
        value, at = decoder.raw_decode(output, at)
        found.append(value)
        at += len(output[at:]) - len(output[at:].lstrip())
    return found


class Reader:
    """Somebody who types what the page says."""

    def __init__(self, tables: TablesWithCommand) -> None:
        self.tables = tables
        self.blocks = sections()
        schema = re.search(r"^```json\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        assert schema is not None
        (tables.folder / "comments.json").write_text(schema[1])

    def types(self, title: str, block: int = 0) -> str:
        """Run a block; every command of it has to succeed."""
        text = self.blocks[title][block].replace(ADDRESS, f"127.0.0.1:{self.tables.port}")
        environment = self.tables.command_environment()
        environment["PATH"] = f"{pathlib.Path(COMMAND).parent}{os.pathsep}{environment['PATH']}"
        ran = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", text],
            cwd=self.tables.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, (text, ran.stdout, ran.stderr)
        return ran.stdout


def items(answer: dict[str, object]) -> list[dict[str, object]]:
    found = answer["items"]
    assert isinstance(found, list)
    return found


@pytest.fixture
def reader(tmp_path: pathlib.Path) -> "Reader":
    return Reader(TablesWithCommand(tmp_path))


def test_everything_on_the_page_works(reader: Reader) -> None:
    with reader.tables:
        _declare_and_write(reader)
        _read(reader)
        _lose(reader)
        _expire_and_follow(reader)
        _migrate_and_export(reader)
    assert sum(map(len, reader.blocks.values())) == 10, "every block is run above"


def _declare_and_write(reader: Reader) -> None:
    declared = reader.types("Declare")
    assert "would be created" in declared and declared.count("created") == 2
    written = answers(reader.types("Write"))
    assert len(written) == 5 and all(one["applied"] is True for one in written)
    (refused,) = answers(reader.types("Write", 1))
    assert (refused["where"], refused["status"]) == ("number", 422)


def _read(reader: Reader) -> None:
    first, second = answers(reader.types("Read, page by page"))
    assert [row["number"] for row in (*items(first), *items(second))] == [5, 4, 3, 2]


def _lose(reader: Reader) -> None:
    won, lost = answers(reader.types("Write only if nobody else has"))
    assert won["applied"] is True
    assert (lost["status"], lost["applied"]) == (412, False)
    current = lost["current"]
    assert isinstance(current, dict) and current["author"] == "Ada" and current["_revision"] == won["revision"]
    won, lost = answers(reader.types("Write only if nobody else has", 1))
    assert (won["applied"], lost["status"]) == (True, 412)


def _expire_and_follow(reader: Reader) -> None:
    _, shown = answers(reader.types("Let something expire"))
    (row,) = items(shown)
    assert isinstance(row["_ttl"], int) and 86_300 < row["_ttl"] <= 86_400
    before, last = answers(reader.types("Follow the changes"))
    assert isinstance(last["row"], dict) and last["row"]["text"] == "Gone tomorrow."
    assert isinstance(before["id"], int) and isinstance(last["id"], int) and before["id"] < last["id"]


def _migrate_and_export(reader: Reader) -> None:
    changed = reader.types("Change the table")
    assert "would be changed" in changed and "score" in changed
    moved = reader.types("Take everything with you")
    assert "7 rows" in moved
    status, answer = reader.tables.ask("POST", "/v1/de.example/tables/comments/query", {"attributes": {"page": "Elbe"}})
    assert status == 200
    assert [row["number"] for row in answer["items"]] == [7, 6, 5, 4, 3, 2, 1]
    assert answer["items"][-1]["tags"] == ["river"] and answer["items"][1]["text"] == "first" and answer["items"][0]["score"] is None

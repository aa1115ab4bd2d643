"""`headwater tables export`: a table as lines of JSON, each the attributes of a write, after a first line with the schema.

The rows go into `FILE.part`; `FILE.progress` says after each page how long that is by then, and with which token it goes on. A run that was
killed cuts off what was written after its last note, and goes on. At the end the part becomes `FILE`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec

from headwater.cli.output import print_json
from headwater.cli.roles import Answer, RoleConnection
from headwater.cli.tables_asking import Target, refuse
from headwater.cli.tables_progress import bar, disk_errors, read_progress, write_progress
from headwater.kernel.errors import HeadwaterError, InvalidInput, Unavailable

HEADER = "_export"
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Between attempts while the service does not answer or cannot answer now."""
_NOT_NOW = (408, 429, 503, 504)
_encode = msgspec.json.Encoder().encode


class Keys:
    """What of a line says which row it is of.

    Attributes:
        hashes, ranges, statics: names of the columns.
        has_statics: whether there are static ones.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        index = schema["index"]
        self.hashes = [one["attribute"] for one in index if one["type"] == "hash"]
        self.ranges = [one["attribute"] for one in index if one["type"] == "range"]
        self.statics = [one["attribute"] for one in index if one["type"] == "static"]
        self.has_statics = bool(self.statics)

    def is_static(self, line: Mapping[str, object]) -> bool:
        """Whether a line writes static columns only."""
        return self.has_statics and not any(name in line for name in self.ranges)

    def names_static(self, line: Mapping[str, object]) -> bool:
        """Whether a line writes any static column."""
        return self.has_statics and any(name in line for name in self.statics)

    def partition(self, line: Mapping[str, object]) -> list[object]:
        """The partition that it is of."""
        return [line.get(name) for name in self.hashes]

    def row(self, line: Mapping[str, object]) -> list[object]:
        """The row that it is of."""
        return [line.get(name) for name in (*self.hashes, *self.ranges)]


@dataclass(slots=True)
class _State:
    """How far an export is, as it is noted.

    Attributes:
        source: what is exported, so that no file is made of two things.
        token: for the next page; None before the first.
        size: of the part.
        rows, lines: written so far, the header aside.
        statics, last: the partition whose static columns were written last, and the last row.
    """

    source: dict[str, object]
    token: str | None = None
    size: int = 0
    rows: int = 0
    lines: int = 0
    statics: list[object] | None = None
    last: list[object] | None = None
    done: bool = False

    def taken(self, items: Sequence[Mapping[str, object]], keys: Keys) -> Iterator[Mapping[str, object]]:
        """The lines of a page that are to be written; static columns come again on every page of their partition."""
        before = self.statics
        for item in items:
            if keys.is_static(item):
                self.statics = keys.partition(item)
                if self.statics == before:
                    continue
            elif (row := keys.row(item)) != self.last:
                self.last = row
                self.rows += 1
            self.lines += 1
            yield item


@dataclass(slots=True)
class Exporting:
    """One run of the command.

    Attributes:
        target: which table.
        file: where it goes.
        page_rows: most rows asked for at once.
    """

    target: Target
    file: Path
    page_rows: int
    _connection: RoleConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = RoleConnection(self.target.client)

    @property
    def _part(self) -> Path:
        return self.file.with_name(self.file.name + ".part")

    @property
    def _progress(self) -> Path:
        return self.file.with_name(self.file.name + ".progress")

    def run(self, *, restart: bool, as_json: bool) -> None:
        """Export, from the beginning or from where a run before was interrupted.

        Raises:
            InvalidInput: the file exists, or what was begun there is something else.
            Unavailable: the service does not answer for half a minute; the same command goes on.
            HeadwaterError: the table was migrated meanwhile; begin again.
        """
        schema = self.target.schema()
        state = self._begin(schema, restart=restart)
        if not self.file.exists():
            self._export(schema, state, quiet=as_json)
        self._progress.unlink(missing_ok=True)
        if as_json:
            print_json({"file": str(self.file), "rows": state.rows, "lines": state.lines})
        else:
            sys.stdout.write(f"{self.file}: {state.rows} rows in {state.lines} lines\n")

    def _export(self, schema: Mapping[str, Any], state: _State, *, quiet: bool) -> None:
        total = max(int(self.target.ask("GET", "/stats")["rows"]), state.rows)
        try:
            with bar(self.target.table, total, quiet=quiet, unit="rows") as show, disk_errors(self._part), self._opened(state) as part:
                while not state.done:
                    self._page(part, state, Keys(schema))
                    show(state.rows, state.rows)
        finally:
            self._connection.close()
        if self.target.schema() != schema:
            raise HeadwaterError(f"{self.target.table} was migrated while it was exported; begin again with --restart")
        with disk_errors(self.file):
            self._part.replace(self.file)

    def _begin(self, schema: Mapping[str, Any], *, restart: bool) -> _State:
        target = self.target
        source: dict[str, object] = {"address": target.client.address, "domain": target.domain, "table": target.table, "schema": schema}
        if restart:
            self._progress.unlink(missing_ok=True)
        noted = read_progress(self._progress)
        whole = self.file.exists()
        if noted is None:
            if whole:
                raise InvalidInput(f"{self.file} exists: name another file, or take it away")
            return _State(source)
        noted.pop("format")
        state = _State(**noted)
        if whole and state.done and not self._part.exists():
            return state  # killed between the last two steps
        if whole:
            raise InvalidInput(f"{self.file} exists: name another file, or take it away")
        if state.source != source or not self._part.exists() or self._part.stat().st_size < state.size:
            raise InvalidInput(f"{self._progress} is of another export, or the table was migrated since: give --restart to begin again")
        return state

    def _opened(self, state: _State) -> BinaryIO:
        """The part, as long as was noted."""
        if not state.size:  # what else lies there may be a link that somebody put there, and what it points to is not ours
            self._part.unlink(missing_ok=True)
        part = self._part.open("r+b" if state.size else "xb")
        part.truncate(state.size)
        part.seek(state.size)
        if not state.size:
            self._note(part, state, json.dumps({HEADER: {"format": 1, **state.source}}, ensure_ascii=False).encode() + b"\n")
        return part

    def _page(self, part: BinaryIO, state: _State, keys: Keys) -> None:
        after = "" if state.token is None else f"&next={quote(state.token, safe='')}"
        page = self._fetch(f"{self.target.path}/rows?as=writes&limit={self.page_rows}{after}")
        lines = b"".join(_encode(item) + b"\n" for item in state.taken(page["items"], keys))
        state.token = page.get("next")
        state.done = state.token is None
        self._note(part, state, lines)

    def _note(self, part: BinaryIO, state: _State, lines: bytes) -> None:
        """Write lines durably, then how far that is."""
        part.write(lines)
        part.flush()
        os.fsync(part.fileno())
        state.size += len(lines)
        write_progress(self._progress, {name: getattr(state, name) for name in _State.__slots__})

    def _fetch(self, path: str) -> Any:
        answer = patiently(lambda: self._connection.call("GET", path))
        if answer.status == 400 and answer.body.get("where") == "next":
            raise InvalidInput("the table was dropped and declared again since this export was begun: give --restart to begin again")
        refuse(answer)
        return answer.body


def patiently(ask: Callable[[], Answer], *, give_up: Callable[[], bool] = lambda: False) -> Answer:
    """The answer to a request that may be repeated, asked for again while there is none. Raises Unavailable: there never is."""
    for pause_s in (*PAUSES_S, None):
        try:
            answer: Answer = ask()
            if answer.status not in _NOT_NOW or pause_s is None or give_up():
                return answer
        except Unavailable as error:
            if pause_s is None or give_up():
                raise Unavailable(f"{error.detail}; the same command goes on from here") from error
        time.sleep(pause_s)
    raise AssertionError("unreachable")

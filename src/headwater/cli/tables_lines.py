"""Lines of an import: read one by one with a bound on each, and which of them are behind us though they are finished out of order. Pure."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from headwater.cli.tables_exporting import HEADER
from headwater.http.json import parse
from headwater.http.json_places import InvalidJson
from headwater.kernel.errors import InvalidInput

LINE_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: the first is 1.
        end: where the next one begins, in bytes.
        text: without its end.
        row: what it says: attributes of a write; None where it is a header, empty, or at fault.
        fault: what is wrong with it.
        where: the column that is, if it is one.
    """

    number: int
    end: int
    text: bytes
    row: Mapping[str, Any] | None = None
    fault: str | None = None
    where: str | None = None


def lines_of(file: BinaryIO, *, number: int, end: int) -> Iterator[Line]:
    """The lines after line `number`, which ends at `end`."""
    file.seek(end)
    while text := file.readline(LINE_BYTES_MAX):
        number, end = number + 1, end + len(text)
        too_long = len(text) == LINE_BYTES_MAX and not text.endswith(b"\n")
        while too_long and (more := file.readline(LINE_BYTES_MAX)):
            end += len(more)
            if more.endswith(b"\n"):
                break
        yield Line(number, end, b"", fault=f"is longer than {LINE_BYTES_MAX} bytes") if too_long else _line(number, end, text.strip())


def _line(number: int, end: int, text: bytes) -> Line:
    if not text:
        return Line(number, end, text)
    try:
        row = parse(text)
    except InvalidJson as error:
        return Line(number, end, b"", fault=error.detail, where="".join(map(str, error.place[:1])) or None)
    except InvalidInput as error:
        return Line(number, end, b"", fault=error.detail, where=error.where)
    if not isinstance(row, dict):
        return Line(number, end, b"", fault="is no JSON object")
    if HEADER in row:
        return Line(number, end, b"", fault=None if number == 1 else "only the first line can be a header")
    return Line(number, end, text, row)


def header_of(file: BinaryIO) -> Mapping[str, Any] | None:
    """What the first line says of the export that it is the header of; None if it is none."""
    file.seek(0)
    try:
        row = parse(file.readline(LINE_BYTES_MAX))
    except InvalidInput:
        return None
    header = row.get(HEADER) if isinstance(row, dict) else None
    return header if isinstance(header, dict) else None


@dataclass(slots=True)
class Finished:
    """Up to which line everything is finished.

    Invariant: no line up to `number` is unfinished, so beginning after it repeats work and leaves none out.
    """

    number: int = 0
    end: int = 0
    refused: int = 0
    _begun: deque[tuple[int, int]] = field(default_factory=deque)
    _finished: dict[int, bool] = field(default_factory=dict)

    def begin(self, line: Line) -> None:
        """Begin a line; they are begun in order."""
        self._begun.append((line.number, line.end))

    def finish(self, number: int, *, refused: bool = False) -> None:
        """Finish one of those that were begun."""
        self._finished[number] = refused
        while self._begun and self._begun[0][0] in self._finished:
            self.number, self.end = self._begun.popleft()
            self.refused += self._finished.pop(self.number)

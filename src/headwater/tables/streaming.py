"""Change streams over HTTP: server-sent events for browsers and libraries of them, lines of JSON for everything else.

A stream is resumed by the id of the last change that was read: each change after that position is sent, at least once, in order. One that
ends because it cannot be resumed says so at its end, with the problem that the next request would be answered.
Sources: the HTML standard (server-sent events), the NDJSON convention.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

import msgspec

from headwater.http.messages import Request, Response
from headwater.http.problems import problem_body
from headwater.kernel.concurrency import run_until
from headwater.kernel.errors import InvalidInput, Overloaded
from headwater.kernel.metrics import Metrics
from headwater.tables.errors import ChangesTrimmed, NoSuchTable, PositionUnknown
from headwater.tables.metrics import CHANGES_SENT, STREAMS
from headwater.tables.service import Tables

NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
CHANGES_AT_ONCE = 200
HEARTBEAT_S = 15.0
_POSITION = re.compile(r"[0-9]{1,18}")
_NO_STORE = (("cache-control", "no-store"), ("x-accel-buffering", "no"))


class Streams:
    """The change streams that are being read; they end when `stopping` is set, so that their connections drain. For one event loop."""

    def __init__(self, service: Tables, *, stopping: asyncio.Event, metrics: Metrics, streams_max: int) -> None:
        self._service = service
        self._metrics = metrics
        self._streams_max = streams_max
        self._open = 0
        self._stopping = stopping

    async def open(self, request: Request, domain: str, table: str, *, waits: bool) -> Response:
        """The stream that `request` asks for; where nothing more is there it `waits`, or ends.

        Raises:
            InvalidInput, PositionUnknown: a position that is none.
            NoSuchTable: there is no such table, or it has no change stream.
            ChangesTrimmed: changes after the position are gone.
            Overloaded: too many streams are being read.
        """
        after = _position(request)
        lines = NDJSON in request.headers.get("accept", "")
        body = self._encoded(domain, table, after, lines=lines, waits=waits)
        await anext(body)  # refusals come before the head of the answer
        return Response(200, body, _NO_STORE, NDJSON if lines else EVENT_STREAM)

    async def _encoded(self, domain: str, table: str, after: int, *, lines: bool, waits: bool) -> AsyncGenerator[bytes, None]:
        if self._open >= self._streams_max:
            raise Overloaded(f"{self._streams_max} change streams are being read")
        self._open += 1
        self._metrics.set(STREAMS, self._open)
        encode = _as_line if lines else _as_event
        try:
            await self._service.changes(domain, table, after, limit=1, wait_s=0)
            yield b""  # nobody sees it: everything that could be refused has been
            try:
                async for changes in self._batches(domain, table, after, waits=waits):
                    self._metrics.inc(CHANGES_SENT, len(changes))
                    yield b"".join(map(encode, changes)) if changes else (b"\n" if lines else b":\n\n")
            except (NoSuchTable, ChangesTrimmed, PositionUnknown) as why:  # dropped, turned off, or this reader is too slow
                yield encode({"kind": "end", "problem": msgspec.Raw(problem_body(why.code, why.detail, where=why.where))})
        finally:
            self._open -= 1
            self._metrics.set(STREAMS, self._open)

    async def _batches(self, domain: str, table: str, after: int, *, waits: bool) -> AsyncIterator[Sequence[Mapping[str, object]]]:
        """Changes as they come; nothing in a batch means that for some time there was none. Raises what `Tables.changes` raises."""
        while not self._stopping.is_set():
            wait_s = HEARTBEAT_S if waits else 0
            asked = self._service.changes(domain, table, after, limit=CHANGES_AT_ONCE, wait_s=wait_s)
            found = await run_until(self._stopping, asked)
            if found is None:
                return
            if found.changes or waits:
                yield found.changes
            after = found.next
            if found.at_end and not waits:
                return


def _position(request: Request) -> int:
    text = request.headers.get("last-event-id") or request.query_value("since") or "0"
    if _POSITION.fullmatch(text) is None:
        raise InvalidInput("a position is the id of a change", where="since")
    return int(text)


def _as_line(change: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(change) + b"\n"


def _as_event(change: Mapping[str, object]) -> bytes:
    id = f"id: {change['id']}\n" if "id" in change else ""
    head = f"{id}event: {change['kind']}\ndata: "
    return head.encode() + msgspec.json.encode(change) + b"\n\n"

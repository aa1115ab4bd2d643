"""How fast does the intake accept events durably, and how much CPU does one cost beside its parts?

64 connections post events of 1 KB, one per request, to a server in a process of its own on the SQLite log. Compared with, in the same run:

* the same server making one durable commit per request (`/one-commit`), for the rate;
* an empty answer of the same HTTP stack to the same request (`/empty`), the examination of the event, and one INSERT of it into a
  SQLite file within a larger transaction, for the CPU. The CPU of the server is read from `/proc`, so that the client's does not count.

The loads take turns in short rounds, because a disk and a machine shared with others change from second to second; given are the medians
of the rates and of their ratio, and the mean CPU.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import cast

import apsw
import orjson
import uvloop
from benchmarks.result import Result

from headwater.events.api import routes
from headwater.events.config import EventsConfig
from headwater.events.engines.sqlite import SqliteSeenIds
from headwater.events.examination import Rules, examine
from headwater.events.metrics import METRICS as EVENTS
from headwater.events.schemas import SchemaRegistry
from headwater.events.service import Intake
from headwater.events.streams import StreamTable
from headwater.http.application import application
from headwater.http.config import HttpLimits
from headwater.http.listening import Listener
from headwater.http.messages import Request, Response, Route
from headwater.http.metrics import METRICS as HTTP
from headwater.http.serving import serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.collecting import freeze_survivors
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.log.engines.sqlite import SqliteLog
from headwater.log.metrics import METRICS as LOG
from headwater.log.model import NewRecord, Policy, StreamSpec
from headwater.sqlite import shorten_thread_switches
from headwater.sqlite.config import StorageConfig
from headwater.sqlite.metrics import METRICS as SQLITE

CONNECTIONS = 64
EVENT_BYTES = 1024
LOAD_S_MAX = 120
RATE_MIN = 4.0
CPU_MAX = 3.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_INSERT = "INSERT INTO record (value, time_ms, key, headers) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of requests took: requests per second, and seconds of the server's CPU per request."""

    rate: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """The three loads of one round."""

    empty: Load
    one_commit: Load
    intake: Load


def event(number: int) -> bytes:
    """A revision-create event of 1 KB with an id of its own."""
    document = {
        "$schema": "/mediawiki/revision/create/1.1.0",
        "meta": {
            "uri": "http://rivers.example/wiki/Elbe",
            "id": f"{os.getpid():08x}-0000-4000-8000-{number:012x}",
            "dt": "2026-11-23T23:05:32Z",
            "domain": "rivers.example",
            "stream": "mediawiki.revision-create",
        },
        "database": "rivers",
        "page_id": 1 + number % 1000,
        "page_title": "Elbe",
        "page_namespace": 0,
        "rev_id": 1 + number,
        "rev_timestamp": "2026-11-23T23:05:32Z",
        "rev_minor_edit": False,
        "rev_len": 28,
        "performer": {"user_text": "Ada", "user_groups": ["*", "user"], "user_is_bot": False, "user_id": 7},
        "comment": "",
    }
    document["comment"] = "x" * (EVENT_BYTES - len(orjson.dumps(document)))
    value = orjson.dumps(document)
    assert len(value) == EVENT_BYTES
    return value


# The server, in a process of its own


async def _serve(directory: Path) -> None:
    shorten_thread_switches()  # as the product does, and so is the next
    freeze_survivors()
    clock, metrics = SystemClock(), Metrics((*EVENTS, *HTTP, *LOG, *SQLITE))
    config, storage = EventsConfig(), StorageConfig()
    rules = Rules(SchemaRegistry.load(), StreamTable(config.rules()), config.event_bytes_max)
    log = await SqliteLog.open(directory / "log.sqlite", clock=clock, metrics=metrics, storage=storage)
    index = await SqliteSeenIds.open(
        directory / "events.sqlite", ids_max=config.dedup_ids_max, metrics=metrics, clock=clock, storage=storage
    )
    intake = Intake(log, index, rules=rules, config=config, clock=clock, ids=SystemIds(), metrics=metrics)
    await intake.start()
    table = (*routes(intake, rules, config), *await _yardsticks(log, rules))
    app = application(table, role="bench", metrics=metrics, readiness=(), clients=(), limits=HttpLimits(), clock=clock)
    listener = Listener("127.0.0.1", 0, app, HttpLimits())
    stop, started = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    serving = asyncio.create_task(serve([listener], stop=stop, started=started))
    await started.wait()
    sys.stdout.write(f"port {listener.bound_port}\n")
    sys.stdout.flush()
    await serving
    await intake.stop()
    await index.close()
    await log.close()


async def _yardsticks(log: SqliteLog, rules: Rules) -> tuple[Route, Route]:
    """Routes that do less than the intake, to compare it with."""
    await log.declare([StreamSpec("one-commit", Policy.TIME)])
    ids, alone = SystemIds(), asyncio.Lock()

    async def empty(request: Request) -> Response:
        await request.body()
        return Response(201)

    async def one_commit(request: Request) -> Response:
        value = await request.body()
        examine(value, rules, ids, now_ms=0, internal=False)
        async with alone:
            await log.append([NewRecord("one-commit", value, 0)])
        return Response(201)

    return (
        Route("POST", "/empty", empty, "An empty answer.", {201: "Done."}),
        Route("POST", "/one-commit", one_commit, "One durable commit per request.", {201: "Done."}),
    )


# The client


class _Connection(asyncio.Protocol):
    """One connection that posts one request after the other until there are no more."""

    def __init__(self, next_request: Callable[[], bytes | None], finished: asyncio.Event) -> None:
        self._next_request = next_request
        self._finished = finished
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if b"\r\n\r\n" in self._answer:
            assert self._answer.startswith(b"HTTP/1.1 201 "), self._answer
            self._answer = b""
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finished.set()

    def _go_on(self) -> None:
        request = self._next_request()
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)


async def _post_all(port: int, requests: list[bytes]) -> None:
    waiting = iter(requests)
    finished = [asyncio.Event() for _ in range(CONNECTIONS)]
    loop = asyncio.get_running_loop()
    for done in finished:
        await loop.create_connection(lambda done=done: _Connection(lambda: next(waiting, None), done), "127.0.0.1", port)  # type: ignore[misc]
    async with asyncio.timeout(LOAD_S_MAX):
        await asyncio.gather(*(done.wait() for done in finished))
    assert next(waiting, None) is None, "every request was answered 201"


def _requests(path: str, numbers: range) -> list[bytes]:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {EVENT_BYTES}\r\n\r\n".encode()
    return [head + event(number) for number in numbers]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _load(server: subprocess.Popen[str], port: int, path: str, numbers: range) -> Load:
    requests = _requests(path, numbers)
    cpu_s, began_s = _cpu_s(server.pid), time.perf_counter()
    uvloop.run(_post_all(port, requests))
    took_s = time.perf_counter() - began_s
    return Load(len(requests) / took_s, (_cpu_s(server.pid) - cpu_s) / len(requests))


# The parts


def _examination_s(count: int) -> float:
    rules = Rules(SchemaRegistry.load(), StreamTable(), 4 * 2**20)
    ids, values = SystemIds(), [event(number) for number in range(count)]
    began_s = time.process_time()
    for value in values:
        examine(value, rules, ids, now_ms=0, internal=False)
    return (time.process_time() - began_s) / count


def _insert_s(directory: Path, count: int) -> float:
    """CPU seconds of one INSERT into a table like the log's, a hundred to a transaction, the durable commits included."""
    connection = apsw.Connection(str(directory / "inserts.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE record (position INTEGER PRIMARY KEY, value BLOB, time_ms INTEGER, key BLOB, headers BLOB)")
    rows = [(event(number), 0, b"rivers.example:1", b"x" * 100) for number in range(count)]
    began_s = time.process_time()
    for at in range(0, count, 100):
        with connection:
            for row in rows[at : at + 100]:
                connection.execute(_INSERT, row)
    took_s = time.process_time() - began_s
    connection.close()
    return took_s / count


def _rounds(server: subprocess.Popen[str], port: int, *, rounds: int, count: int) -> list[Round]:
    """Loads that take turns in short rounds, `count` requests each; fewer of those that take one commit each, since they take longer."""
    _load(server, port, "/v1/events", range(count))
    return [
        Round(
            _load(server, port, "/empty", range(count)),
            _load(server, port, "/one-commit", range(count // 4)),
            _load(server, port, "/v1/events", range(number * count, (number + 1) * count)),
        )
        for number in range(1, rounds + 1)
    ]


def measure(*, quick: bool) -> list[Result]:
    """Rate and CPU of the intake, and their ratios to the yardsticks of the same run."""
    rounds, count = (2, 320) if quick else (9, 2_560)
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        directory = Path(name)
        command = [sys.executable, "-m", "benchmarks.bench_intake", "--server", name]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = next(int(line.split()[1]) for line in server.stdout if line.startswith("port "))
            done = _rounds(server, port, rounds=rounds, count=count)
        finally:
            server.terminate()
            server.wait(timeout=30)
        examination_s, insert_s = _examination_s(rounds * count), _insert_s(directory, rounds * count)
    ratios = [each.intake.rate / each.one_commit.rate for each in done]
    intake_s, empty_s = (fmean(cpu_s) for cpu_s in zip(*((each.intake.cpu_s, each.empty.cpu_s) for each in done), strict=True))
    return [
        Result("events per second, 64 connections", median(each.intake.rate for each in done), "events/s"),
        Result("the same with one commit per request", median(each.one_commit.rate for each in done), "events/s"),
        Result("rate beside one commit per request", median(ratios), "×", at_least=None if quick else RATE_MIN),
        Result("  lowest round", min(ratios), "×"),
        Result("  highest round", max(ratios), "×"),
        Result("CPU of the server per event", intake_s * 1e6, "µs"),
        Result("CPU of an empty answer", empty_s * 1e6, "µs"),
        Result("CPU of the examination of one event", examination_s * 1e6, "µs"),
        Result("CPU of one INSERT", insert_s * 1e6, "µs"),
        Result(
            "CPU beside the sum of these parts", intake_s / (empty_s + examination_s + insert_s), "×", at_most=None if quick else CPU_MAX
        ),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--server"]:
        uvloop.run(_serve(Path(sys.argv[2])))
    else:
        print(json.dumps([asdict(result) for result in measure(quick="--quick" in sys.argv)], ensure_ascii=False))

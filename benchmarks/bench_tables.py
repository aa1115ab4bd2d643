"""What do reading and writing a row cost beside their parts, what does each row of a range, and does that grow with the rows and tables?

64 connections read and write rows of 1 KiB at a server in a process of its own, with clients and durable writes. Compared with, in the
same run:

* an empty answer of the same server to the same body (`/bench/empty`);
* the JSON of that request read into a class made for it, which is all the checking that it gets, and the JSON of the answer written;
* one search in a SQLite file of as many rows, or one row of a group of 64 in a durable transaction, set up as the server has them;
* the same writes with an fsync of their own each (`/bench/one-commit`), for the rate.

The CPU of the server is its own clock's, so that the client's does not count. A table of a million rows lies beside one of a thousand of
the same kind; they are filled in batches through the service before the server starts. At last a thousand tables are declared.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from benchmarks.http_load import CONNECTIONS, Load, alternate, resident_bytes
from benchmarks.result import Result
from benchmarks.tables_server import DOMAIN, FILE, TOKEN, configuration, log_warnings_only

from headwater.app.metrics import CATALOGUE
from headwater.kernel.clock import SystemClock
from headwater.kernel.metrics import Metrics
from headwater.sqlite import StorageConfig
from headwater.sqlite.connections import open_reader, open_writer
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.engines.sqlite.store import PAGE_BYTES
from headwater.tables.service import Tables
from headwater.tables.tokens import Tokens

CPU_MAX = 1.5
RATE_MIN = 4.0
RANGE_MAX = 1 / 8
GROWTH_MAX = 1.5
TEXT_BYTES = 1024
PARTITION_ROWS = 1000
RANGE_ROWS = 100
LOADING = 8
VALUES, THOUSAND, MILLION = "values", "thousand", "million"
_SPREAD = 104_729
_GET = "SELECT data FROM row WHERE key = ?"
_PUT = "INSERT INTO row (key, data) VALUES (?, ?)"
_TABLE = "CREATE TABLE row (key BLOB NOT NULL PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: requests of each kind, ranges, rows of the large table, tables."""

    requests: int
    ranges: int
    rows: int
    tables: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Seconds of CPU for the least that reading and writing one row can be made of."""

    read_json_s: float
    write_json_s: float
    search_s: float
    insert_s: float


# Requests


def _request(method: str, path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _at(table: str, rest: str = "") -> str:
    return f"/v1/{DOMAIN}/tables/{table}{rest}"


def _schema(table: str, *, ranges: bool) -> Mapping[str, object]:
    index = [{"attribute": "title", "type": "hash"}, *([{"attribute": "rev", "type": "range", "order": "desc"}] if ranges else [])]
    columns = {"title": "string", "rev": "int", "text": "string", "at": "timestamp"}
    return {"table": table, "version": 1, "attributes": columns, "index": index}


def _row(title: int, rev: int, turn: int = 0) -> Mapping[str, object]:
    text = f"turn {turn} of revision {rev} ".ljust(TEXT_BYTES, "x")
    return {"title": f"Page_{title:08d}", "rev": rev, "text": text, "at": "2026-02-03T04:05:06.789Z"}


def _key(number: int, *, ranges: bool) -> Mapping[str, object]:
    if not ranges:
        return {"title": f"Page_{number:08d}"}
    title, rev = divmod(number, PARTITION_ROWS)
    return {"title": f"Page_{title:08d}", "rev": rev}


def _spread(count: int, among: int) -> Iterator[int]:
    """That many of the numbers below `among`, far from each other."""
    return (number * _SPREAD % among for number in range(count))


def _read(table: str, number: int, *, ranges: bool = False, path: str | None = None) -> bytes:
    return _request("POST", path or _at(table, "/query"), {"table": table, "attributes": _key(number, ranges=ranges)})


def _range(table: str, number: int) -> bytes:
    title, rev = divmod(number, PARTITION_ROWS)
    attributes = {"title": f"Page_{title:08d}", "rev": {"lt": RANGE_ROWS + rev % (PARTITION_ROWS - RANGE_ROWS)}}
    return _request("POST", _at(table, "/query"), {"table": table, "attributes": attributes, "limit": RANGE_ROWS})


def _write(table: str, number: int, turn: int = 0, *, path: str | None = None) -> bytes:
    return _request("PUT", path or _at(table, "/rows"), {"table": table, "attributes": _row(number, 0, turn)})


def _write_ranged(table: str, number: int) -> bytes:
    """A new row beside others of its partition."""
    title, rev = divmod(number, PARTITION_ROWS)
    return _request("PUT", _at(table, "/rows"), {"table": table, "attributes": _row(title, PARTITION_ROWS + rev)})


# The server


@contextmanager
def _server(directory: str) -> Iterator[tuple[int, int]]:
    """Process id and port of the server."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.tables_server", directory], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = next(int(line.split()[1]) for line in server.stdout if line.startswith("port "))
        yield server.pid, port
    finally:
        server.terminate()
        server.communicate(timeout=60)


def _load(pid: int, port: int, requests: Sequence[bytes], expected: int) -> Load:
    return alternate(pid, port, {"": (requests, expected)}, rounds=1)[""]


async def _fill(directory: Path, rows: int) -> float:
    """Declare the tables and fill two of them; rows per second."""
    metrics, clock, config = Metrics(CATALOGUE), SystemClock(), configuration()
    store = await SqliteTableStore.open(directory / FILE, metrics=metrics, clock=clock, storage=StorageConfig())
    service = Tables(store, config, tokens=Tokens(bytes(32)), clock=clock, metrics=metrics)
    await service.start()
    for table in (VALUES, THOUSAND, MILLION):
        await service.declare(DOMAIN, table, _schema(table, ranges=table != VALUES), dry_run=False)
    titles = iter(range(rows // PARTITION_ROWS))

    async def fill(table: str, title: int) -> None:
        batch = [{"attributes": _row(title, rev)} for rev in range(PARTITION_ROWS)]
        assert (await service.batch(DOMAIN, table, {"rows": batch})).applied

    async def fill_on() -> None:
        for title in titles:
            await fill(MILLION, title)

    await fill(THOUSAND, 0)
    began_s = time.perf_counter()
    await asyncio.gather(*(fill_on() for _ in range(LOADING)))
    took_s = time.perf_counter() - began_s
    await store.close()
    return rows / took_s


# The parts


class _ReadBody(msgspec.Struct, forbid_unknown_fields=True):
    table: str
    attributes: dict[str, str | int]


class _RowBody(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    rev: int
    text: str
    at: str


class _WriteBody(msgspec.Struct, forbid_unknown_fields=True):
    table: str
    attributes: _RowBody


class _ReadAnswer(msgspec.Struct):
    items: list[_RowBody]


class _WriteAnswer(msgspec.Struct):
    applied: bool
    revision: str


def _timed(count: int, work: Callable[[], object]) -> float:
    began_s = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - began_s) / count


def _json_s(count: int) -> tuple[float, float]:
    """Seconds for the JSON of one read, and of one write; of different rows, as a server gets them."""
    reads = [json.dumps({"table": VALUES, "attributes": _key(number, ranges=False)}).encode() for number in range(count)]
    writes = [json.dumps({"table": VALUES, "attributes": _row(number, 0)}).encode() for number in range(count)]
    read_body, write_body = msgspec.json.Decoder(_ReadBody), msgspec.json.Decoder(_WriteBody)
    encode = msgspec.json.Encoder().encode
    answers = [_ReadAnswer([write_body.decode(write).attributes]) for write in writes]
    read, write, answer, written = iter(reads), iter(writes), iter(answers), _WriteAnswer(True, "0" * 16)
    return (
        _timed(count, lambda: (read_body.decode(next(read)), encode(next(answer)))),
        _timed(count, lambda: (write_body.decode(next(write)), encode(written))),
    )


def _storage_s(directory: Path, count: int) -> tuple[float, float]:
    """Seconds of CPU of one search, and of one row of a group in a durable transaction; as the server has them set up."""
    path, storage = directory / "parts.sqlite", StorageConfig()
    rows = [(b"\0" * 8 + b"Page_%08d" % number, json.dumps(_row(number, 0)).encode()) for number in range(count)]
    with closing(open_writer(path, config=storage, vfs=None, page_bytes=PAGE_BYTES)) as writer:
        writer.execute(_TABLE)
        insert_s = 0.0
        for at in range(0, count, CONNECTIONS):
            began_s = time.process_time()
            with writer:
                for row in rows[at : at + CONNECTIONS]:
                    writer.execute(_PUT, row)
            insert_s += time.process_time() - began_s
        writer.wal_checkpoint()
        with closing(open_reader(path, config=storage, vfs=None)) as reader:
            sought = [rows[number][0] for number in _spread(count, count)]
            keys = iter(sought)
            search_s = _timed(count, lambda: reader.execute(_GET, (next(keys),)).fetchall())
    return search_s, insert_s / count


def _parts(directory: Path, count: int) -> Parts:
    return Parts(*_json_s(count), *_storage_s(directory, count))


# The measurement


def _measure_values(pid: int, port: int, count: int) -> dict[str, Load]:
    """Rows of a table without range columns."""
    writes = {
        "created": ([_write(VALUES, number) for number in range(count)], 201),
        "alone": ([_write(VALUES, count + number, path="/bench/one-commit") for number in range(count // 4)], 201),
        "empty write": ([_write(VALUES, number, path="/bench/empty") for number in range(count)], 201),
    }
    found = alternate(pid, port, writes)
    reads = {
        "overwritten": ([_write(VALUES, number, 1) for number in range(count)], 201),
        "read": ([_read(VALUES, number) for number in _spread(count, count)], 200),
        "empty read": ([_read(VALUES, number, path="/bench/empty") for number in range(count)], 200),
    }
    return found | alternate(pid, port, reads)


def _measure_ranged(pid: int, port: int, sizes: Sizes) -> dict[str, Load]:
    """Rows of partitions that have many."""
    count = sizes.requests
    kinds = {
        "of a thousand": ([_read(THOUSAND, n, ranges=True) for n in _spread(count, PARTITION_ROWS)], 200),
        "of a million": ([_read(MILLION, n, ranges=True) for n in _spread(count, sizes.rows)], 200),
        "range": ([_range(THOUSAND, n) for n in _spread(sizes.ranges, PARTITION_ROWS)], 200),
        "range of a million": ([_range(MILLION, n) for n in _spread(sizes.ranges, sizes.rows)], 200),
        "created": ([_write_ranged(MILLION, n) for n in _spread(count, sizes.rows)], 201),
    }
    return alternate(pid, port, kinds)


def _measure_tables(pid: int, port: int, sizes: Sizes) -> dict[str, Load]:
    """One row in each of many tables, read in turn."""
    names = [f"table-{number}" for number in range(sizes.tables)]
    found = {"declared": _load(pid, port, [_request("PUT", _at(name), _schema(name, ranges=False)) for name in names], 201)}
    _load(pid, port, [_write(name, 0) for name in names], 201)
    kinds = {
        "one": ([_read(names[0], 0)] * sizes.requests, 200),
        "all": ([_read(names[number], 0) for number in _spread(sizes.requests, sizes.tables)], 200),
    }
    return found | alternate(pid, port, kinds)


def _check_range(port: int) -> None:
    """A range has as many rows as it is divided by."""
    head, _, content = _range(MILLION, 5).partition(b"\r\n\r\n")
    path = head.split()[1].decode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, {"authorization": f"Bearer {TOKEN}"}, method="POST")
    with urllib.request.urlopen(asked) as answer:
        assert len(json.loads(answer.read())["items"]) == RANGE_ROWS


def measure(*, quick: bool) -> list[Result]:
    """CPU, rates and their ratios to the yardsticks of the same run."""
    log_warnings_only()
    sizes = Sizes(640, 64, 2_000, 20) if quick else Sizes(12_800, 1_280, 1_000_000, 1_000)
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        loaded_per_s = uvloop.run(_fill(Path(name), sizes.rows))
        with _server(name) as (pid, port):
            _check_range(port)
            values = _measure_values(pid, port, sizes.requests)
            parts = _parts(Path(name), sizes.requests)
            ranged = _measure_ranged(pid, port, sizes)
            tables = _measure_tables(pid, port, sizes)
            resident = resident_bytes(pid)
    return [
        *_reads(values, parts, quick=quick),
        *_writes(values, ranged, parts, quick=quick),
        *_many(ranged, tables, sizes, quick=quick),
        Result(f"rows per second loaded in batches of {PARTITION_ROWS:,}", loaded_per_s, "rows/s"),
        Result("memory of the server at the end", resident / 2**20, "MiB"),
    ]


def _us(name: str, seconds: float) -> Result:
    return Result(name, seconds * 1e6, "µs")


def _reads(values: Mapping[str, Load], parts: Parts, *, quick: bool) -> list[Result]:
    read, sum_s = values["read"], values["empty read"].cpu_s + parts.read_json_s + parts.search_s
    return [
        Result("point reads per second, 64 connections", read.rate, "reads/s"),
        _us("CPU of the server per point read", read.cpu_s),
        _us("CPU of an empty answer to a query", values["empty read"].cpu_s),
        _us("CPU of the JSON of a query and its answer", parts.read_json_s),
        _us("CPU of one search in SQLite", parts.search_s),
        Result("read beside the sum of these parts", read.cpu_s / sum_s, "×", at_most=None if quick else CPU_MAX),
    ]


def _writes(values: Mapping[str, Load], ranged: Mapping[str, Load], parts: Parts, *, quick: bool) -> list[Result]:
    created, overwritten, alone = values["created"], values["overwritten"], values["alone"]
    sum_s = values["empty write"].cpu_s + parts.write_json_s + parts.insert_s
    most = None if quick else CPU_MAX
    return [
        Result("new rows per second, 64 connections", created.rate, "writes/s"),
        Result("the same with an fsync of its own each", alone.rate, "writes/s"),
        Result("rate beside one fsync per write", created.rate / alone.rate, "×", at_least=None if quick else RATE_MIN),
        _us("CPU of the server per new row", created.cpu_s),
        _us("CPU of the server per overwritten row", overwritten.cpu_s),
        _us("CPU of the server per new row of a large partition", ranged["created"].cpu_s),
        _us("CPU of an empty answer to a row", values["empty write"].cpu_s),
        _us("CPU of the JSON of a row and its answer", parts.write_json_s),
        _us("CPU of one row of a group commit of 64", parts.insert_s),
        Result("new row beside the sum of these parts", created.cpu_s / sum_s, "×", at_most=most),
        Result("overwritten row beside the sum of these parts", overwritten.cpu_s / sum_s, "×", at_most=most),
        Result("new row of a large partition beside the sum", ranged["created"].cpu_s / sum_s, "×"),
    ]


def _many(ranged: Mapping[str, Load], tables: Mapping[str, Load], sizes: Sizes, *, quick: bool) -> list[Result]:
    growth_max = None if quick else GROWTH_MAX
    point, large = ranged["of a thousand"].cpu_s, ranged["of a million"].cpu_s
    row, large_row = ranged["range"].cpu_s / RANGE_ROWS, ranged["range of a million"].cpu_s / RANGE_ROWS
    return [
        _us("CPU of the server per point read of a thousand rows", point),
        _us(f"CPU of the server per point read of {sizes.rows:,} rows", large),
        Result("reads of many rows beside those of a thousand", large / point, "×", at_most=growth_max),
        _us("CPU of the server per row of a range of 100", row),
        Result("row of a range beside a point read (≤ 1/8)", row / point, "×", at_most=None if quick else RANGE_MAX),
        Result(f"the same of {sizes.rows:,} rows", large_row / large, "×", at_most=None if quick else RANGE_MAX),
        Result("tables declared per second", tables["declared"].rate, "tables/s"),
        _us("CPU of the server per point read of one table", tables["one"].cpu_s),
        _us(f"CPU of the server per point read of {sizes.tables:,} tables in turn", tables["all"].cpu_s),
        Result("reads of many tables beside those of one", tables["all"].cpu_s / tables["one"].cpu_s, "×", at_most=growth_max),
    ]


if __name__ == "__main__":
    results: list[dict[str, Any]] = [asdict(result) for result in measure(quick="--quick" in sys.argv)]
    print(json.dumps(results, ensure_ascii=False))

"""What do reading and saving a session cost beside their parts, how much of Wikimedia's traffic fits on this machine, and in what memory?

64 connections read and save sessions of 2 KiB at a server in a process of its own, with encryption, clients and durable writes. Compared
with, in the same run:

* an empty answer of the same server, in the same manner of asking (`/bench/empty`);
* opening or sealing one session, the hashes of its key included;
* one search in a SQLite file of as many rows, or one row of a group of 64 in a durable transaction;
* the same saves with an fsync of their own each (`/bench/one-commit`), for the rate.

What is compared is measured in turns, some of each in every round. The CPU of the server is its own clock's, so that the client's does not
count. Then the whole mix of Wikimedia (1,750 reads, 600 saves,
25 deletes a second) comes at even times, whether or not earlier answers are there, from a generator on the same cores.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import apsw
import uvloop
from benchmarks.http_load import CONNECTIONS, Latencies, Load, alternate, metrics_of, resident_bytes, send_on_time, waited_s
from benchmarks.result import Result
from benchmarks.sessions_server import NAMESPACE, TOKEN

from headwater.kernel.ids import SystemIds
from headwater.sessions.model import FIRST_TOKEN, NEVER_MS, NO_SUBJECT, Deadlines, Head, KeyId, Kind, Row, Version
from headwater.sessions.sealing import NONCE_BYTES, Opened, Sealer, derive

VALUE_BYTES = 2048
CPU_MAX = 1.5
RATE_MIN = 4.0
RSS_BYTES_MAX = 100 * 2**20
READS_PER_S, SAVES_PER_S, DELETES_PER_S = 1750, 600, 25
_GET = "SELECT head, deadline, sealed FROM session WHERE id = ?"
_PUT = "INSERT INTO session (id, head, deadline, sealed) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Parts:
    """Seconds of CPU for the least that reading and saving one session can be made of."""

    opening_s: float
    sealing_s: float
    search_s: float
    insert_s: float


def key(number: int) -> bytes:
    """A key as MediaWiki makes it."""
    return b"enwiki:MWSession:%032d" % number


def _request(method: str, path: bytes, body: bytes | None = None) -> bytes:
    head = b"%s %s HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %s\r\n" % (method.encode(), path, TOKEN.encode())
    if body is None:
        return head + b"\r\n"
    return head + b"content-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def read(number: int) -> bytes:
    """Read a session."""
    return _request("GET", b"/sessions/v1/" + key(number).replace(b":", b"%3A"))


def save(number: int, turn: int = 0) -> bytes:
    """Save a session; another turn is another value."""
    return _request("POST", b"/sessions/v1/" + key(number).replace(b":", b"%3A"), value(turn))


def value(turn: int) -> bytes:
    """A value of a session."""
    return (b"PHP..turn %d " % turn).ljust(VALUE_BYTES, b"x")


@contextmanager
def _server(directory: str) -> Iterator[tuple[int, int]]:
    """Process id and port of the server."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.sessions_server", directory], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = next(int(line.split()[1]) for line in server.stdout if line.startswith("port "))
        yield server.pid, port
    finally:
        server.terminate()
        server.communicate(timeout=30)


def _load(pid: int, port: int, requests: Sequence[bytes], expected: int) -> None:
    alternate(pid, port, {"": (requests, expected)}, rounds=1)


# The parts


def _crypto_s(count: int) -> tuple[float, float, list[Row]]:
    """Seconds to open and to seal one session, from its key on, and what was sealed."""
    ids = SystemIds()
    sealer, content = Sealer(derive(KeyId(1), ids.token(32)), NAMESPACE), value(0)
    head = Head(Kind.VALUE, KeyId(1), Version(1), 0, NEVER_MS, NAMESPACE, FIRST_TOKEN, NO_SUBJECT, FIRST_TOKEN)
    opened = Opened(head, Deadlines(NEVER_MS, NEVER_MS), None, content)
    keys, rows = [key(number) for number in range(count)], []
    began_s = time.process_time()
    for one in keys:
        rows.append(sealer.seal(sealer.record_key(one), opened, id=sealer.row_id(one), nonce=ids.token(NONCE_BYTES)))
    sealing_s = (time.process_time() - began_s) / count
    began_s = time.process_time()
    for one, row in zip(keys, rows, strict=True):
        assert sealer.open(sealer.record_key(one), row, id=sealer.row_id(one)) is not None
    return (time.process_time() - began_s) / count, sealing_s, rows


def _storage_s(directory: Path, rows: Sequence[Row]) -> tuple[float, float]:
    """Seconds of CPU of one search, and of one row of a group in a durable transaction."""
    connection = apsw.Connection(str(directory / "rows.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute(
        "CREATE TABLE session (id BLOB NOT NULL PRIMARY KEY, head BLOB NOT NULL, deadline BLOB NOT NULL, sealed BLOB NOT NULL) STRICT"
    )
    began_s = time.process_time()
    for at in range(0, len(rows), CONNECTIONS):
        with connection:
            for row in rows[at : at + CONNECTIONS]:
                connection.execute(_PUT, (row.id, row.head, row.deadline, row.sealed))
    insert_s = (time.process_time() - began_s) / len(rows)
    began_s = time.process_time()
    for row in rows:
        connection.execute(_GET, (row.id,)).fetchall()
    search_s = (time.process_time() - began_s) / len(rows)
    connection.close()
    return search_s, insert_s


def _parts(directory: Path, count: int) -> Parts:
    opening_s, sealing_s, rows = _crypto_s(count)
    search_s, insert_s = _storage_s(directory, rows)
    return Parts(opening_s, sealing_s, search_s, insert_s)


# The mix


def _mix(sessions: int, seconds: int) -> list[bytes]:
    """One second's mix after the other, evenly interleaved: reads and saves of sessions that are there, deletes of some that are not."""
    per_s = READS_PER_S + SAVES_PER_S + DELETES_PER_S
    requests = []
    for number in range(per_s * seconds):
        turn, place = divmod(number, per_s)
        slot = place * 7919 % per_s
        at = number * 104_729 % sessions
        if slot < READS_PER_S:
            requests.append(read(at))
        elif slot < READS_PER_S + SAVES_PER_S:
            requests.append(save(at, turn + 1))
        else:
            requests.append(_request("DELETE", b"/sessions/v1/gone-%d" % number))
    return requests


# The measurement


def _measure_saves(pid: int, port: int, count: int) -> dict[str, Load]:
    saves = {
        "created": ([save(number) for number in range(count, 2 * count)], 201),
        "alone": ([_request("POST", b"/bench/one-commit", value(0))] * (count // 4), 201),
        "empty": ([_request("POST", b"/bench/empty", value(0))] * count, 201),
        "overwritten": ([save(number, 1) for number in range(count)], 201),
    }
    return alternate(pid, port, saves)


def _measure_reads(pid: int, port: int, count: int) -> dict[str, Load]:
    reads = {
        "read": ([read(number) for number in range(count)], 200),
        "empty": ([_request("GET", b"/bench/empty")] * count, 200),
    }
    return alternate(pid, port, reads)


def _measure_mix(pid: int, port: int, requests: Sequence[bytes]) -> tuple[Latencies, list[Result]]:
    """The latencies of the mix, and what saves and everything else waited for meanwhile."""
    before, waited_before_s, began_s = metrics_of(port), waited_s(pid), time.perf_counter()
    mix = uvloop.run(send_on_time(port, requests, per_s=READS_PER_S + SAVES_PER_S + DELETES_PER_S))
    took_s, waiting_s, after = time.perf_counter() - began_s, waited_s(pid) - waited_before_s, metrics_of(port)
    results = []
    for what, metric in {"a commit is durable": "sync", "the log is copied": "checkpoint"}.items():
        name = f"headwater_sqlite_{metric}_seconds"
        grown = {key: value - before.get(key, 0.0) for key, value in after.items() if key.startswith(name)}
        times, total_s = (grown[f'{name}_{part}{{database="{NAMESPACE}"}}'] for part in ("count", "sum"))
        within = [float(key.split('le="')[1].rstrip('"}')) for key, value in grown.items() if "_bucket{" in key and value >= 0.99 * times]
        results += [
            Result(f"mix of Wikimedia: until {what}, mean", total_s / max(times, 1) * 1000, "ms"),
            Result(f"mix of Wikimedia: until {what}, 99 of 100 within", min(within) * 1000, "ms"),
            Result(f"mix of Wikimedia: until {what}, share of the time", total_s / took_s * 100, "%"),
        ]
    return mix, [*results, Result("mix of Wikimedia: threads of the server waited for a processor", waiting_s / took_s * 100, "%")]


def measure(*, quick: bool) -> list[Result]:
    """CPU, rates and their ratios to the yardsticks of the same run; latency of the mix; memory with 100,000 sessions."""
    count, sessions, seconds = (640, 2_000, 1) if quick else (12_800, 100_000, 20)
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name, _server(name) as (pid, port):
        _load(pid, port, [save(number) for number in range(count)], 201)
        saves, parts, reads = _measure_saves(pid, port, count), _parts(Path(name), count), _measure_reads(pid, port, count)
        _load(pid, port, [save(number) for number in range(2 * count, sessions)], 201)
        resident = resident_bytes(pid)
        mix, where = _measure_mix(pid, port, _mix(sessions, seconds))
        resident = max(resident, resident_bytes(pid))
    assert set(mix.statuses) == {200, 201, 204}, mix.statuses
    return [
        *_of_reads(reads, parts, cpu_max=None if quick else CPU_MAX),
        *_of_saves(saves, parts, quick=quick),
        *_of_mix(mix),
        *where,
        Result(f"memory with {sessions:,} sessions", resident / 2**20, "MiB", at_most=None if quick else RSS_BYTES_MAX / 2**20),
    ]


def _us(name: str, seconds: float) -> Result:
    return Result(name, seconds * 1e6, "µs")


def _of_reads(reads: Mapping[str, Load], parts: Parts, *, cpu_max: float | None) -> list[Result]:
    read, empty = reads["read"], reads["empty"]
    sum_s = empty.cpu_s + parts.opening_s + parts.search_s
    return [
        Result("reads per second, 64 connections", read.rate, "reads/s"),
        _us("CPU of the server per read", read.cpu_s),
        _us("CPU of an empty answer to a GET", empty.cpu_s),
        _us("CPU of opening one session", parts.opening_s),
        _us("CPU of one search in SQLite", parts.search_s),
        Result("read beside the sum of these parts", read.cpu_s / sum_s, "×", at_most=cpu_max),
    ]


def _of_saves(saves: Mapping[str, Load], parts: Parts, *, quick: bool) -> list[Result]:
    created, overwritten, alone, empty = (saves[name] for name in ("created", "overwritten", "alone", "empty"))
    sum_s = empty.cpu_s + parts.sealing_s + parts.insert_s
    return [
        Result("new sessions per second, 64 connections", created.rate, "saves/s"),
        Result("the same with an fsync of its own each", alone.rate, "saves/s"),
        Result("rate beside one fsync per save", created.rate / alone.rate, "×", at_least=None if quick else RATE_MIN),
        _us("CPU of the server per new session", created.cpu_s),
        _us("CPU of the server per overwritten session", overwritten.cpu_s),
        _us("CPU of an empty answer to a POST", empty.cpu_s),
        _us("CPU of sealing one session", parts.sealing_s),
        _us("CPU of one row of a group commit of 64", parts.insert_s),
        Result("save beside the sum of these parts", created.cpu_s / sum_s, "×", at_most=None if quick else CPU_MAX),
        Result("overwritten session beside the sum of these parts", overwritten.cpu_s / sum_s, "×"),
    ]


def _of_mix(mix: Latencies) -> list[Result]:
    return [
        Result("mix of Wikimedia: median", mix.percentile_ms(0.5), "ms"),
        Result("mix of Wikimedia: 99 of 100 (goal: below 10)", mix.percentile_ms(0.99), "ms"),
        Result("mix of Wikimedia: slowest", max(mix.seconds) * 1000, "ms"),
    ]


if __name__ == "__main__":
    print(json.dumps([asdict(result) for result in measure(quick="--quick" in sys.argv)], ensure_ascii=False))

"""How many durable appends a second does the log take, beside one fsync each?

64 callers append records of 1 KB to the SQLite log, each waiting for its answer before the next. Compared with, in the same run and on
the same disk: one caller that does so alone, and bare SQLite with one commit per INSERT, which is the least that one fsync each costs.
The three take turns in short rounds, because a disk and a machine shared with others change from second to second; given are the medians
over the rounds, and for the ratio also its lowest and highest round.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import apsw
from benchmarks.result import Result

from headwater.kernel.clock import SystemClock
from headwater.kernel.metrics import Metrics
from headwater.log.engines.sqlite import SqliteLog
from headwater.log.metrics import METRICS as LOG
from headwater.log.metrics import RECORDS_APPENDED
from headwater.log.model import BEFORE_FIRST, NewRecord, PartitionId, Policy, StreamSpec
from headwater.sqlite import shorten_thread_switches
from headwater.sqlite.metrics import COMMITS
from headwater.sqlite.metrics import METRICS as SQLITE

CALLERS = 64
RECORD_BYTES = 1024
RATIO_MIN = 4.0
ROUNDS = 9


async def _rate(log: SqliteLog, *, callers: int, seconds: float) -> tuple[float, float]:
    """Appends per second of that many callers, and seconds of CPU per append."""
    record = NewRecord("bench", b"x" * RECORD_BYTES, 0, key=b"rivers:1", headers=(("id", b"00000000-0000-4000-8000-000000000001"),))
    done = 0
    start_s, start_cpu_s = time.perf_counter(), time.process_time()

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - start_s < seconds:
            await log.append([record])
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - start_s), (time.process_time() - start_cpu_s) / done


def _bare_rate(path: Path, *, seconds: float) -> float:
    """Commits per second of SQLite alone, each with one record and one fsync."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, value BLOB)")
    value, done, start_s = b"x" * RECORD_BYTES, 0, time.perf_counter()
    while time.perf_counter() - start_s < seconds:
        connection.execute("INSERT INTO records (value) VALUES (?)", (value,))
        done += 1
    rate = done / (time.perf_counter() - start_s)
    connection.close()
    return rate


async def _read_rate(log: SqliteLog) -> tuple[float, float]:
    """Records per second of a reader, and the longest that one read held the event loop in seconds of CPU."""
    after, records, longest_s, start_s = BEFORE_FIRST, 0, 0.0, time.perf_counter()
    while True:
        cpu_s = time.thread_time()
        batch = await log.read(PartitionId("bench"), after, limit=1_000)
        longest_s = max(longest_s, time.thread_time() - cpu_s)
        records, after = records + len(batch.records), batch.next
        if batch.at_end:
            return records / (time.perf_counter() - start_s), longest_s


async def _measure(directory: Path, *, seconds: float) -> list[Result]:
    shorten_thread_switches()
    metrics = Metrics((*LOG, *SQLITE))
    log = await SqliteLog.open(directory / "log.sqlite", clock=SystemClock(), metrics=metrics)
    await log.declare([StreamSpec("bench", Policy.KEEP)])
    bare, alone, together, cpu_s, commits, appends = [], [], [], [], 0.0, 0.0
    for number in range(ROUNDS):
        bare.append(await asyncio.to_thread(_bare_rate, directory / f"bare-{number}.sqlite", seconds=seconds))
        alone.append((await _rate(log, callers=1, seconds=seconds))[0])
        before = metrics.value(COMMITS, database="log"), metrics.value(RECORDS_APPENDED, stream="bench")
        rate, cost_s = await _rate(log, callers=CALLERS, seconds=seconds)
        together.append(rate)
        cpu_s.append(cost_s)
        commits += metrics.value(COMMITS, database="log") - before[0]
        appends += metrics.value(RECORDS_APPENDED, stream="bench") - before[1]
    read, longest_s = await _read_rate(log)
    await log.close()
    ratios = [rate / one for rate, one in zip(together, bare, strict=True)]
    return [
        Result("bare SQLite, one commit each", median(bare), "appends/s"),
        Result("the log, one caller", median(alone), "appends/s"),
        Result(f"the log, {CALLERS} callers", median(together), "appends/s"),
        Result("appends per commit", appends / commits, "×"),
        Result("CPU per append", median(cpu_s) * 1e6, "µs"),
        Result(f"{CALLERS} callers beside bare one commit each", median(ratios), "×", at_least=RATIO_MIN),
        Result("  lowest round", min(ratios), "×"),
        Result("  highest round", max(ratios), "×"),
        Result(f"{CALLERS} callers beside one caller of the log", median(together) / median(alone), "×"),
        Result("reading", read, "records/s"),
        Result("longest hold of the event loop by one read", longest_s * 1e3, "ms"),
    ]


def measure(*, quick: bool) -> list[Result]:
    """Measure; see the module."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(Path(directory), seconds=0.05 if quick else 0.5))

"""Callers that write rows, batches, ranges and schemas and say so, until the process is killed or the power fails; and what is there then.

Run as `python -m tests.integration.tables_under_fault DIRECTORY RUN` it is the process to kill. Each line that it writes is JSON:
`[worker, state]` when something was asked for that will leave the worker's rows in that state, `[worker]` when it has been answered. The
state has a token per row (None: not there), and the schema of the worker's table.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import msgspec

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sqlite import Platform, StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.sqlite.copying import copy_to
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.model import Change, Options, StoredRow
from headwater.testing.clock import ManualClock
from headwater.testing.table_laws.setting import Space, declare, table_of

FILE = "tables.sqlite"
TABLE = table_of(options=Options(changes=True))
ROWS_OF_BATCH = 4

State = dict[str, str | None]
Say = Callable[..., None]


async def open_store(directory: Path, platform: Platform | None = None) -> tuple[SqliteTableStore, ManualClock]:
    """The tables in `directory`; time stands still."""
    storage = StorageConfig(ballast_bytes=Bytes(0), wal_bytes_max=Bytes(128 * 1024))
    clock = ManualClock()
    metrics = Metrics(sqlite_metrics.METRICS)
    return await SqliteTableStore.open(directory / FILE, metrics=metrics, clock=clock, storage=storage, platform=platform), clock


async def space_of(store: SqliteTableStore, clock: ManualClock, worker: int) -> Space:
    """The table of a worker, declared if it is not there."""
    found = [one for one in await store.declarations() if one.name == f"t{worker}"]
    declared = found[0] if found else await declare(store, TABLE, name=f"t{worker}")
    return Space(store, clock, declared, TABLE, declared.domains["d"])


class Worker:
    """One caller with a table and a partition of its own."""

    def __init__(self, space: Space, number: int, run: str, *, say: Say, backups: Path | None = None) -> None:
        self._space, self._number, self._run = space, number, run
        self._say = say
        self._backups = backups
        self._partition = f"{run}.{number}"
        self._state: State = {f"schema/{number}": space.declaration.schema.decode()}

    async def work(self, turns: int) -> None:
        """So many turns of everything."""
        for turn in range(turns):
            t, partition = self._space, self._partition
            for row in (0, 1, 0):
                token = f"{turn}.{row};"
                await self._do({row: token}, t.put(row, partition, v=_value(row, token)))
            tokens: dict[int, str | None] = {row: f"{turn}.b{row};" for row in range(ROWS_OF_BATCH)}
            puts = [t.put_of((row,), {"v": _value(row, str(token))}) for row, token in tokens.items()]
            await self._do({**tokens, 9: None}, t.write(*puts, t.remove_of((9,)), partition=partition, write_id=f"{turn}"))
            await self._do({2: None}, t.remove(2, partition))
            await self._migrate(turn)
            await self._do({9: "last;"}, t.put(9, partition, v="last;"))
            if turn % 3 == 2:
                await self._do(dict.fromkeys(range(10)), t.clear(t.slice(partition)))
            if self._backups is not None and turn % 4 == 1:
                await self._back_up(turn)

    async def _migrate(self, turn: int) -> None:
        schema = f"{self._run} {turn}"

        async def change() -> None:
            present = self._space.declaration
            stored = await self._space.store.declare(msgspec.structs.replace(present, schema=schema.encode()), replaces=present.epoch)
            assert stored is not None
            self._space.declaration = stored

        self._state = {**self._state, f"schema/{self._number}": schema}
        self._say(self._number, self._state)
        await change()
        self._say(self._number)

    async def _back_up(self, turn: int) -> None:
        """Copy the file while others write to it; its own rows stand still meanwhile."""
        assert self._backups is not None
        target = self._backups / f"backup-{self._partition}-{turn}"
        target.mkdir()
        await asyncio.to_thread(copy_to, self._backups / FILE, target / FILE)
        (target / "state").write_text(json.dumps(self._state))

    async def _do(self, change: dict[int, str | None], operation: Coroutine[object, object, object]) -> None:
        self._state = {**self._state, **{f"{self._partition}/{row}": token for row, token in change.items()}}
        self._say(self._number, self._state)
        await operation
        self._say(self._number)


def _value(row: int, token: str) -> str:
    return token * (1 if row % 2 else 400)


# What is there afterwards


async def found_in(store: SqliteTableStore, clock: ManualClock, worker: int, keys: Sequence[str]) -> State:
    """What is stored of the rows and the schema of a worker."""
    space = await space_of(store, clock, worker)
    found: State = {}
    for key in keys:
        place, _, row = key.partition("/")
        if place == "schema":
            found[key] = space.declaration.schema.decode()
            continue
        cells = await space.get(int(row), place)
        found[key] = None if cells is None else _token(int(row), str(cells["v"]))
    return found


def _token(row: int, value: str) -> str:
    token = value.partition(";")[0] + ";"
    assert value == _value(row, token), "a row is torn"
    return token


async def verify_whole(store: SqliteTableStore, clock: ManualClock, workers: int) -> None:
    """The change stream of every table leads to exactly the rows that are there, and they are counted rightly."""
    for worker in range(workers):
        space = await space_of(store, clock, worker)
        folded: dict[tuple[bytes, bytes | None], StoredRow | None] = {}
        changes: list[Change] = await space.changes()
        for change in changes:
            folded[change.partition, change.clustering] = change.row
        rows = {(partition, row.clustering): row.row for partition, row in await space.walk()}
        assert {key: row for key, row in folded.items() if row is not None} == rows, "stream and rows do not agree"
        largest = await store.largest(space.space, limit=1_000_000)
        usage = await space.usage()
        assert (usage.rows, usage.size_bytes) == (sum(one.usage.rows for one in largest), sum(one.usage.size_bytes for one in largest))
        assert usage.rows == len(rows), "rows are miscounted"


async def verify(directory: Path, allowed: dict[int, list[State]], *, workers: int) -> State:
    """Each worker's rows are as was answered last or as it had asked for; returns what is there."""
    store, clock = await open_store(directory)
    there: State = {}
    try:
        for worker, states in allowed.items():
            found = await found_in(store, clock, worker, list(states[-1]))
            before = {key: states[0].get(key) for key in states[-1]}
            assert found in (before, states[-1]), f"neither what was answered nor what was under way: {found} {before} {states[-1]}"
            there |= found
        await verify_whole(store, clock, workers)
    finally:
        await store.close()
    return there


# The process to kill

WORKERS = 4


def _print(*words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


async def _run(directory: Path, run: str) -> None:
    store, clock = await open_store(directory)
    workers = [Worker(await space_of(store, clock, n), n, run, say=_print, backups=None if n else directory) for n in range(WORKERS)]
    await asyncio.gather(*(worker.work(1_000_000) for worker in workers))


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2]))

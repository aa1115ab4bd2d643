"""A process that saves, rotates, deletes and revokes sessions and says so line by line, until it is killed.

Run as `python -m tests.integration.sessions_under_kill DIRECTORY RUN`. Each line is JSON: `[worker, state]` when something was asked for
that will leave the worker's keys in that state, `[worker]` when it has been answered.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path

from headwater.kernel.config import Bytes
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.model import Policy
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.clock import ManualClock
from headwater.testing.sessions_world import SPACE, SessionsWorld

WORKERS = 4
GRACE_S = 3_600.0

State = dict[str, str | None]


async def open_world(directory: Path) -> tuple[SqliteSessionStore, SessionsWorld]:
    """The sessions in `directory`, started; time stands still."""
    clock = ManualClock()
    store = await SqliteSessionStore.open(
        directory / "sessions.sqlite",
        metrics=Metrics(sqlite_metrics.METRICS),
        clock=clock,
        storage=StorageConfig(ballast_bytes=Bytes(0), wal_bytes_max=Bytes(256 * 1024)),
    )
    world = SessionsWorld(Policy(SPACE), store=store, clock=clock, key_ids=(2, 1), ids=SystemIds())
    await world.sessions.start()
    return store, world


def _say(*words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


async def _work(world: SessionsWorld, worker: int, run: str) -> None:
    sessions, subject, state = world.sessions, f"{run} {worker}", State()

    async def do(change: State, operation: Coroutine[object, object, object]) -> None:
        nonlocal state
        state = {**state, **change}
        _say(worker, state)
        await operation
        _say(worker)

    turn = 0
    while True:
        turn += 1
        one, two = (f"{run}.{worker}.{turn}.{name}" for name in ("one", "two"))
        for key in (one, two, one):
            value = f"{key} {turn} " * 50
            await do({key: value}, sessions.save(SPACE, key.encode(), value.encode(), subject=subject))
        await do({two: state[two]}, sessions.rotate(SPACE, two.encode(), grace_s=GRACE_S))
        await do({one: None}, sessions.delete(SPACE, one.encode()))
        if turn % 3 == 0:
            await do(dict.fromkeys(state), sessions.revoke_subject(SPACE, subject))


async def _run(directory: Path, run: str) -> None:
    _, world = await open_world(directory)
    await asyncio.gather(*(_work(world, worker, run) for worker in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2]))

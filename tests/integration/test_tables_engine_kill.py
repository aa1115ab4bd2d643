"""Kill -9 at every failpoint of tables and at any other time: what was answered is there, whole, and the change stream agrees.

One store is killed over and over, so every kill meets what the kills before it have left. Backups that were taken meanwhile are whole too.
"""

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
from tests.integration.killing import kill_one
from tests.integration.tables_under_fault import WORKERS, State, found_in, open_store, verify, verify_whole

POINTS = ("tables.write", "tables.stored", "tables.written", "tables.cleared", "tables.declared")
HITS = (1, 3, 8, 15, 30, 50)
CI_AT_ANY_TIME = 10
PROOF_KILLS = 500
PROGRAM = "tests.integration.tables_under_fault"


def _allowed(lines: list[str]) -> dict[int, list[State]]:
    """For each worker what may be there: what was answered last, or what it had asked for."""
    allowed: dict[int, list[State]] = {}
    for line in lines:
        worker, *state = json.loads(line)
        states = allowed.setdefault(worker, [{}])
        if not state:
            allowed[worker] = states[-1:]
        else:  # a schema that was there before the run is in each state
            present = states[-1] or {key: value for key, value in state[0].items() if key.startswith("schema/")}
            allowed[worker] = [present, state[0]]
    return allowed


async def _verify_settled(directory: Path, settled: State) -> None:
    """What kills before this one have left is still there."""
    store, clock = await open_store(directory)
    try:
        for worker in range(WORKERS):
            keys = [key for key in settled if key.partition("/")[0].endswith(f".{worker}")]
            assert await found_in(store, clock, worker, keys) == {key: settled[key] for key in keys}, "something has changed"
    finally:
        await store.close()


async def _verify_backups(directory: Path) -> int:
    """Every backup that was finished holds the state of who took it, and is whole."""
    found = 0
    for path in sorted(directory.glob("backup-*")):  # noqa: ASYNC240 - a test reads a directory
        if not (path / "state").exists():
            continue  # the kill came before the end; nobody was told that it is there
        state: State = json.loads((path / "state").read_text())
        store, clock = await open_store(path)
        try:
            assert await found_in(store, clock, 0, list(state)) == state, "a backup is not of its time"
            await verify_whole(store, clock, WORKERS)
        finally:
            await store.close()
        found += 1
    return found


def _kills(directory: Path, count: int, *, seed: int) -> tuple[State, int]:
    lot = Random(seed)
    planned: list[tuple[str | None, int]] = [(point, hit) for point in POINTS for hit in HITS]
    planned += [(None, 0)] * CI_AT_ANY_TIME
    lot.shuffle(planned)
    settled: State = {}
    answered = 0
    for number in range(count):
        point, hit = planned[number % len(planned)]
        lines = kill_one(PROGRAM, directory, f"{number}", point=point, hit=hit, delay_s=0.0 if point else lot.random() * 0.1)
        answered += sum(len(json.loads(line)) == 1 for line in lines)
        settled |= asyncio.run(verify(directory, _allowed(lines), workers=WORKERS))
        if number % 10 == 9:
            asyncio.run(_verify_settled(directory, settled))
    return settled, answered


def test_kills_lose_nothing_and_tear_nothing(tmp_path: Path) -> None:
    settled, answered = _kills(tmp_path, len(POINTS) * len(HITS) + CI_AT_ANY_TIME, seed=1)
    assert answered > 500
    assert {value is None for value in settled.values()} == {True, False}
    assert asyncio.run(_verify_backups(tmp_path)) > 3


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(10))
def test_many_kills_lose_nothing_and_tear_nothing(tmp_path: Path, seed: int) -> None:
    _kills(tmp_path, PROOF_KILLS // 10, seed=seed)
    asyncio.run(_verify_backups(tmp_path))


def test_an_answer_before_the_write_would_be_noticed(tmp_path: Path) -> None:
    """What is compared: an answer that says more than the store has."""
    lines = kill_one(PROGRAM, tmp_path, "0", point="tables.write", hit=9)
    begun = next(line for line in reversed(lines) if len(json.loads(line)) == 2)
    worker, state = json.loads(begun)
    more = {**state, f"0.{worker}/77": "never"}
    with pytest.raises(AssertionError, match="neither"):
        asyncio.run(verify(tmp_path, _allowed([*lines, json.dumps([worker, more]), json.dumps([worker])]), workers=WORKERS))

"""Kill -9 at every failpoint of sessions and at any other time: what was answered is there, what was ended stays ended.

One store is killed over and over, so every kill meets what the kills before it have left. A service that answers before it has written is
caught by the same comparison.
"""

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
from tests.integration.killing import kill_one
from tests.integration.sessions_under_kill import State, open_world

POINTS = ("sessions.save", "sessions.saved", "sessions.delete", "sessions.revoke", "sessions.rotate")
HITS = (1, 2, 4, 7, 9, 12)
CI_AT_ANY_TIME = 10
PROOF_KILLS = 500
PROGRAM = "tests.integration.sessions_under_kill"


def _allowed(lines: list[str]) -> dict[int, list[State]]:
    """For each worker what may be there: what was answered last, or what it had asked for."""
    allowed: dict[int, list[State]] = {}
    for line in lines:
        worker, *state = json.loads(line)
        states = allowed.setdefault(worker, [{}])
        allowed[worker] = [states[-1], state[0]] if state else states[-1:]
    return allowed


async def _verify(directory: Path, allowed: dict[int, list[State]], settled: State) -> None:
    """Find what was answered; then what is there is settled, and has to stay so over all kills to come."""
    store, world = await open_world(directory)
    try:
        for states in allowed.values():
            found: State = {}
            for key in states[-1]:
                value = await world.value(key.encode())
                found[key] = None if value is None else value.decode()
            before = {key: states[0].get(key) for key in states[-1]}
            assert found in (before, states[-1]), "neither what was answered nor what was under way"
            settled |= found
        for key, expected in settled.items():
            value = await world.value(key.encode())
            assert (value and value.decode()) == expected, f"{key} has changed"
    finally:
        await world.sessions.stop()
        await store.close()


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
        asyncio.run(_verify(directory, _allowed(lines), settled))
    return settled, answered


def test_kills_lose_nothing_and_bring_nothing_back(tmp_path: Path) -> None:
    settled, answered = _kills(tmp_path, len(POINTS) * len(HITS) + CI_AT_ANY_TIME, seed=1)
    assert answered > 300
    assert {value is None for value in settled.values()} == {True, False}


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(10))
def test_many_kills_lose_nothing_and_bring_nothing_back(tmp_path: Path, seed: int) -> None:
    _kills(tmp_path, PROOF_KILLS // 10, seed=seed)


def test_an_answer_before_the_write_would_be_noticed(tmp_path: Path) -> None:
    """What is compared: an answer that says more than the store has."""
    lines = kill_one(PROGRAM, tmp_path, "0", point="sessions.save", hit=3)
    begun = next(line for line in reversed(lines) if len(json.loads(line)) == 2)
    worker, state = json.loads(begun)
    with pytest.raises(AssertionError, match="neither"):
        asyncio.run(_verify(tmp_path, _allowed([*lines, json.dumps([worker, {**state, "never saved": "v"}]), json.dumps([worker])]), {}))

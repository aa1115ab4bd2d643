"""Time tells nothing: refusals among each other, and misses among each other, compared in process by Welch's t.

Two kinds of requests are answered in random order, 2,000 of each or, for the proof, 100,000, without collection of garbage. Each kind has
as many keys as the other, of the same length and asked for as often, so that no row is warmer than another. What lies above the ninth
decile of both together is the machine's noise and left out, as dudect does (Reparaz, Balasch, Verbauwhede 2017). |t| < 4.5 says that no
difference was found; one that was found has to be found again twice, the same way round, since a neighbour on the machine makes one now
and then. Checks that stop early and look-ups that end early are found by the same test.
"""

import asyncio
import gc
import hashlib
import math
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headwater.http.messages import Client, Request, Response
from headwater.kernel.clock import SystemClock
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.sessions.clients import Callers
from headwater.sessions.config import NamespaceConfig, SessionClientConfig, SessionsConfig, Verb
from headwater.sessions.dropin import DropIn
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.finding import DECOY_BYTES, Finder, Found
from headwater.sessions.gate import Gate
from headwater.sessions.keys import ring_of
from headwater.sessions.metrics import METRICS
from headwater.sessions.model import KeyId, Row, Standing
from headwater.sessions.ports import SessionStore
from headwater.sessions.sealing import MASTER_BYTES, Header
from headwater.sessions.service import Sessions
from headwater.sqlite import StorageConfig
from headwater.sqlite.metrics import METRICS as SQLITE_METRICS
from headwater.testing.clock import ManualClock

SAMPLES = [2_000, pytest.param(100_000, marks=pytest.mark.proof)]
T_MAX = 4.5
KEYS = 256
TURNS_MAX = 3
"""Of the event loop: a look-up gives it back before and after."""
ENGINES = ("memory", "sqlite")
GRANTS: dict[str, dict[str, tuple[Verb, ...]]] = {"first": {"sessions": tuple(Verb)}, "other": {"others": (Verb.READ,)}, "third": {}}
CONFIG = SessionsConfig(
    namespaces={"sessions": NamespaceConfig(base="/sessions/v1/"), "others": NamespaceConfig(base="/others00/v1/")},
    clients=tuple(
        SessionClientConfig(name=name, token_sha256=hashlib.sha256(name.encode()).hexdigest(), grants=grants)
        for name, grants in GRANTS.items()
    ),
    misses_max=1 << 30,
)
Answer = Callable[[Request], object]


async def _no_body() -> bytes:
    return b""


def request(key: str, token: str) -> Request:
    """A read, made anew each time, so that none has a place of its own in memory."""
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {token}"}
    return Request("GET", f"/sessions/v1/{key}", (), headers, Client("anonymous"), "127.0.0.1", _no_body)


class Place:
    """The drop-in over a store that never makes a read wait, so that an answer can be driven by hand."""

    def __init__(self, store: SessionStore, metrics: Metrics) -> None:
        self.clock = ManualClock()
        ring = ring_of({KeyId(1): bytes(range(MASTER_BYTES))}, active=KeyId(1))
        policies = CONFIG.policies()
        self.service = Sessions(store, ring=ring, policies=policies, clock=self.clock, ids=SystemIds(), metrics=metrics)
        self.dropin = DropIn(self.service, Gate(CONFIG, metrics=metrics, clock=self.clock), clock=self.clock)

    def answer(self, asked: Request) -> Response:
        answering = self.dropin.answer(asked)
        try:
            for _ in range(TURNS_MAX):
                assert answering.send(None) is None, "the answer had to wait"
        except StopIteration as done:
            response: Response = done.value
            return response
        raise AssertionError("the answer takes too many turns")


@asynccontextmanager
async def place_of(engine: str, directory: Path) -> AsyncIterator[Place]:
    """A service over a store, with nothing running in the background of it."""
    metrics = Metrics((*METRICS, *SQLITE_METRICS))
    if engine == "memory":
        yield Place(MemorySessionStore(), metrics)
        return
    store = await SqliteSessionStore.open(directory / "s.sqlite", metrics=metrics, clock=SystemClock(), storage=StorageConfig())
    try:
        yield Place(store, metrics)
    finally:
        await store.close()


def names(kind: str) -> list[str]:
    """Keys that look like those of every other kind."""
    return [hashlib.sha256(f"{kind} {number}".encode()).hexdigest()[:32] for number in range(KEYS)]


async def prepare(place: Place) -> None:
    """Sessions of every kind. The live ones are among which the others are looked for."""
    service, value = place.service, bytes(DECOY_BYTES)
    await service.start()
    for kind, ttl_s in {"live": None, "revoked": None, "deleted": None, "expired": 60}.items():
        subject = "somebody" if kind == "revoked" else None
        await asyncio.gather(*(service.save("sessions", key.encode(), value, ttl_s=ttl_s, subject=subject) for key in names(kind)))
    await service.revoke_subject("sessions", "somebody")
    await asyncio.gather(*(service.delete("sessions", key.encode()) for key in names("deleted")))
    place.clock.advance(61)
    await service.stop()


def welch_t(one: Sequence[int], other: Sequence[int]) -> tuple[float, float]:
    """Welch's t of what lies below the ninth decile of both, and the difference of their means in nanoseconds."""
    cut = sorted((*one, *other))[(len(one) + len(other)) * 9 // 10]
    one, other = [time_ns for time_ns in one if time_ns <= cut], [time_ns for time_ns in other if time_ns <= cut]
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    difference_ns = statistics.fmean(one) - statistics.fmean(other)
    return difference_ns / math.sqrt(spread), difference_ns


def compare(answer: Answer, one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]], *, samples: int) -> tuple[float, float]:
    """`welch_t` of the times that reads of two kinds take, each given as keys and tokens."""
    times: tuple[list[int], list[int]] = [], []
    chance = random.Random(samples)
    order = [(which, number % len(kind)) for which, kind in enumerate((one, other)) for number in range(samples)]
    chance.shuffle(order)
    kinds = (one, other)
    for which, number in order[:1000]:
        answer(request(*kinds[which][number]))
    gc.collect()
    gc.disable()
    try:
        for which, number in order:
            asked = request(*kinds[which][number])
            started_ns = time.perf_counter_ns()
            answer(asked)
            times[which].append(time.perf_counter_ns() - started_ns)
    finally:
        gc.enable()
    return welch_t(*times)


def found_again(measure: Callable[[], tuple[float, float]]) -> bool:
    """Whether a difference is there: the slower kind is the slower one each of three times."""
    found: list[bool] = []
    while len(found) < 3:
        t, difference_ns = measure()
        print(f"t = {t:.2f}, {difference_ns:.1f} ns")
        if abs(t) < T_MAX:
            return False
        found.append(t > 0)
    return len(set(found)) == 1


def asked_by(token: str, kind: str = "absent") -> list[tuple[str, str]]:
    """Reads of all sessions of a kind with a token."""
    return [(key, token) for key in names(kind)]


NOBODY = ["wrong", "firsu"]
KNOWN = ["other", "third"]
"""Tokens that are right, of clients that may not do it: one of another namespace, one that may do nothing."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("token", NOBODY + KNOWN)
def test_refusals_take_the_same_time(token: str, samples: int) -> None:
    place = Place(MemorySessionStore(), Metrics(METRICS))
    unknown, refused = asked_by("wrung"), asked_by(token)
    assert {place.answer(request(*read)).status for read in (*unknown, *refused)} == {401}
    assert not found_again(lambda: compare(place.answer, unknown, refused, samples=samples))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["unknown", "expired", "revoked", "deleted"])
def test_misses_take_the_same_time(kind: str, engine: str, samples: int, tmp_path: Path) -> None:
    async def measured() -> bool:
        async with place_of(engine, tmp_path) as place:
            await prepare(place)
            absent, missed = asked_by("first"), asked_by("first", kind)
            assert {place.answer(request(*read)).status for read in (*absent, *missed)} == {404}
            return found_again(lambda: compare(place.answer, absent, missed, samples=samples))

    assert not asyncio.run(measured())


def is_caught(answer: Answer, one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]) -> bool:
    """Whether a difference is found, by the rule of the tests. A noisy machine may hide it, so it is looked for up to five times."""
    return any(found_again(lambda: compare(answer, one, other, samples=5_000)) for _ in range(5))


def test_a_difference_counts_only_when_it_is_found_again_the_same_way_round() -> None:
    def measures(*ts: float) -> Callable[[], tuple[float, float]]:
        left = list(ts)
        return lambda: (left.pop(0), 0.0)

    assert found_again(measures(5, 6, 7)) and found_again(measures(-5, -6, -7))
    assert not found_again(measures(4))
    assert not found_again(measures(5, -4)) and not found_again(measures(5, -5, 5)) and not found_again(measures(-5, -5, 1))


def test_a_check_that_stops_at_the_first_difference_is_caught() -> None:
    callers, same = Callers(CONFIG), "first" * 40
    known = f"Bearer {same}t"

    def careless(asked: Request) -> bool:
        callers.caller(asked)
        return all(one == other for one, other in zip(asked.headers["authorization"], known, strict=True))

    assert is_caught(careless, asked_by(f"{same}u"), asked_by(f"x{same}"))


def test_a_look_up_that_opens_only_what_is_there_is_caught(tmp_path: Path) -> None:
    class Hasty(Finder):
        def _open(self, found: Found, row: Row, header: Header, *, is_genuine: bool, is_new: bool) -> None:
            if is_genuine:
                super()._open(found, row, header, is_genuine=is_genuine, is_new=is_new)
            found.standing = Standing.GONE

    async def measured() -> bool:
        async with place_of("memory", tmp_path) as place:
            await prepare(place)
            place.service._finder.__class__ = Hasty
            return is_caught(place.answer, asked_by("first"), asked_by("first", "expired"))

    assert asyncio.run(measured())

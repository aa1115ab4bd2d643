"""Records of revocations are authenticated: whoever writes to the database undoes none of them under a running process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from msgspec import structs

from headwater.sessions.generations import Generations
from headwater.sessions.model import FIRST_TOKEN, NEVER_MS, NO_SUBJECT, Generation, KeyId, Policy, Row, RowId, Token, Version, revoked_until
from headwater.sessions.sealing import derive, is_genuine, sign_generation
from headwater.sessions.service_metrics import GENERATIONS_DROPPED, GENERATIONS_REJECTED
from headwater.sessions.upkeep import WALK_PAUSE_S
from headwater.testing.sessions_world import SPACE, SessionsWorld

DAY_S = 86_400.0
HOUR_S = 3_600.0
WALKS_S = 3 * (WALK_PAUSE_S + 1)
SERVICE_KEY = derive(KeyId(1), b"\1" * 32)
RECORD = Generation(b"s" * 16, KeyId(1), Token(b"t" * 16), Version(7), 1_000)


async def _revoked(world: SessionsWorld, key: bytes = b"old", subject: str = "me") -> Generation:
    """Make a session of a subject and revoke it; returns the record of that."""
    await world.sessions.save(SPACE, key, b"v", subject=subject)
    before = set(world.memory.generations)
    await world.sessions.revoke_subject(SPACE, subject)
    assert await world.value(key) is None
    (scope,) = set(world.memory.generations) - before
    return world.memory.generations[scope]


def _damage(world: SessionsWorld, record: Generation, *, noticed: bool = True) -> None:
    """Put a record into the store behind the back of the service; `noticed` gives it the next sequence, as a write through it would."""
    world.memory._sequence += noticed
    sequence = world.memory._sequence if noticed else record.sequence
    world.memory.generations.pop(record.scope, None)
    world.memory.generations[record.scope] = structs.replace(record, sequence=sequence)


async def _let_pass(world: SessionsWorld, seconds: float) -> None:
    """Let time pass, and then enough of it for two walks over all rows."""
    world.clock.advance(seconds - WALKS_S)
    await world.clock.run_for(WALKS_S)


def _rejected(world: SessionsWorld) -> dict[str, float]:
    counts = {reason: world.metrics.value(GENERATIONS_REJECTED, reason=reason) for reason in ("altered", "put back", "gone")}
    return {reason: count for reason, count in counts.items() if count}


def _run(work: Callable[[SessionsWorld], Awaitable[None]], **world: object) -> None:
    asyncio.run(SessionsWorld(**world).run(work))  # type: ignore[arg-type]


ALTERATIONS: dict[str, Callable[[Generation], Generation]] = {
    "first token": lambda record: structs.replace(record, token=FIRST_TOKEN),
    "short token": lambda record: structs.replace(record, token=Token(b"")),
    "key id": lambda record: structs.replace(record, key_id=KeyId(2)),
    "unknown key id": lambda record: structs.replace(record, key_id=KeyId(9)),
    "version": lambda record: structs.replace(record, version=Version(record.version + 1), token=FIRST_TOKEN),
    "negative version": lambda record: structs.replace(record, version=Version(-1), token=FIRST_TOKEN),
    "end": lambda record: structs.replace(record, until_ms=0, token=FIRST_TOKEN),
    "negative end": lambda record: structs.replace(record, until_ms=-1, token=FIRST_TOKEN),
    "no authentication": lambda record: structs.replace(record, token=FIRST_TOKEN, version=Version(0), mac=b""),
}


def test_each_bit_of_the_authentication_counts() -> None:
    signed = structs.replace(RECORD, mac=sign_generation(SERVICE_KEY, RECORD))
    assert is_genuine(SERVICE_KEY, signed)
    for position in range(8 * len(signed.mac)):
        flipped = (int.from_bytes(signed.mac) ^ 1 << position).to_bytes(len(signed.mac))
        assert not is_genuine(SERVICE_KEY, structs.replace(signed, mac=flipped))


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
@pytest.mark.parametrize("noticed", [True, False], ids=["as a new record", "in place"])
def test_an_altered_record_revokes_as_before_and_is_put_right(alter: Callable[[Generation], Generation], noticed: bool) -> None:
    async def work(world: SessionsWorld) -> None:
        record = await _revoked(world)
        await world.sessions.save(SPACE, b"new", b"v", subject="me")
        world.use_keys(1, 2)
        _damage(world, alter(record), noticed=noticed)
        await world.clock.run_for(WALKS_S)
        assert await world.value(b"old") is None
        assert await world.value(b"new") == b"v", "what was saved after the revocation lives on"
        assert _rejected(world) == {"altered": 1}
        await world.restart()
        assert await world.value(b"old") is None and await world.value(b"new") == b"v"
        assert _rejected(world) == {"altered": 1}, "the store was put right"

    asyncio.run(SessionsWorld().run(work))


@pytest.mark.parametrize("name", [name for name in ALTERATIONS if name not in ("unknown key id", "no authentication")])
def test_a_record_altered_before_the_start_lets_nothing_of_its_scope_be_served(name: str) -> None:
    async def work(world: SessionsWorld) -> None:
        record = await _revoked(world)
        await world.sessions.save(SPACE, b"new", b"v", subject="me")
        await world.sessions.save(SPACE, b"other", b"v", subject="somebody else")
        world.use_keys(1, 2)
        _damage(world, ALTERATIONS[name](record))
        await world.restart()
        assert await world.value(b"old") is None and await world.value(b"new") is None
        assert await world.value(b"other") == b"v"
        assert _rejected(world) == {"altered": 1}
        await world.sessions.save(SPACE, b"again", b"v", subject="me")
        await world.restart()
        assert await world.value(b"again") == b"v", "and whoever logs in anew stays so"

    _run(work)


def test_a_record_whose_key_is_unknown_lets_nothing_of_its_scope_be_served() -> None:
    async def work(world: SessionsWorld) -> None:
        record = await _revoked(world)
        await world.sessions.save(SPACE, b"new", b"v", subject="me")
        world.memory.generations[record.scope] = structs.replace(record, key_id=KeyId(9))
        await world.restart()
        assert await world.value(b"old") is None and await world.value(b"new") is None
        assert _rejected(world) == {}, "keys are retired, and their records stay for a while"
        await world.clock.run_for(WALKS_S)
        world.memory.generations[record.scope] = record
        await world.restart()
        assert await world.value(b"new") == b"v", "nothing was destroyed"

    _run(work)


def test_records_of_a_key_that_is_away_for_a_while_hold_when_it_is_back() -> None:
    async def work(world: SessionsWorld) -> None:
        await _revoked(world)
        await world.sessions.save(SPACE, b"new", b"v", subject="me")
        world.use_keys(2)
        await world.restart()
        assert await world.value(b"old") is None and await world.value(b"new") is None
        await world.clock.run_for(WALKS_S)
        world.use_keys(2, 1)
        assert await world.value(b"old") is None and await world.value(b"new") == b"v", "at once, not with the next refresh"
        assert _rejected(world) == {}

    _run(work)


def test_a_record_put_back_or_removed_changes_nothing_under_a_running_process() -> None:
    async def work(world: SessionsWorld) -> None:
        first = await _revoked(world)
        await world.sessions.save(SPACE, b"second", b"v", subject="me")
        await world.sessions.revoke_subject(SPACE, "me")
        _damage(world, first)
        await world.clock.run_for(WALKS_S)
        assert await world.value(b"second") is None
        assert _rejected(world) == {"put back": 1}
        world.memory.generations.clear()
        await world.clock.run_for(WALKS_S)
        assert await world.value(b"second") is None and await world.value(b"old") is None
        assert _rejected(world) == {"put back": 1, "gone": 1}
        await world.restart()
        assert await world.value(b"second") is None and await world.value(b"old") is None, "it was written again"

    _run(work)


def test_a_record_of_no_scope_revokes_nothing() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, b"k", b"v")
        for scope in (NO_SUBJECT, b"", b"x" * 17):
            _damage(world, structs.replace(RECORD, scope=scope))
        await world.restart()
        assert await world.value(b"k") == b"v"
        assert _rejected(world) == {"altered": 3}

    _run(work)


def test_records_of_a_program_without_authentication_are_signed_at_the_start() -> None:
    async def work(world: SessionsWorld) -> None:
        record = await _revoked(world)
        await world.sessions.save(SPACE, b"new", b"v", subject="me")
        _damage(world, Generation(record.scope, record.key_id, record.token))
        await world.restart()
        assert await world.value(b"old") is None and await world.value(b"new") == b"v"
        assert world.memory.generations[record.scope].mac
        assert _rejected(world) == {}
        await world.sessions.revoke_subject(SPACE, "me")
        assert await world.value(b"new") is None

    _run(work)


def test_a_record_goes_when_no_row_needs_it_and_not_before() -> None:
    async def work(world: SessionsWorld) -> None:
        await _revoked(world)
        await _let_pass(world, DAY_S + HOUR_S - 2 * WALKS_S)
        assert len(world.memory.generations) == 1
        await _let_pass(world, 4 * WALKS_S)
        assert len(world.memory.generations) == 0
        assert world.metrics.value(GENERATIONS_DROPPED) == 1
        await world.sessions.save(SPACE, b"old", b"anew", subject="me")
        await world.restart()
        assert await world.value(b"old") == b"anew"
        assert _rejected(world) == {}

    _run(work)


def test_a_record_stays_while_its_subject_has_sessions() -> None:
    async def work(world: SessionsWorld) -> None:
        await _revoked(world)
        for _ in range(5):
            await world.sessions.save(SPACE, b"new", b"v", subject="me")
            await _let_pass(world, DAY_S - HOUR_S)
            assert await world.value(b"new") == b"v"
        assert len(world.memory.generations) == 1

    _run(work)


def test_a_namespace_without_limits_keeps_its_records_and_every_namespace_its_own() -> None:
    async def work(world: SessionsWorld) -> None:
        await _revoked(world)
        await world.sessions.revoke_namespace("short")
        await _let_pass(world, 2 * DAY_S)
        assert len(world.memory.generations) == 2

    world = SessionsWorld(Policy(SPACE, ttl_s=None), Policy("short", ttl_s=10.0))
    asyncio.run(world.run(work))


def test_how_long_a_revocation_matters() -> None:
    assert revoked_until(5, Policy("n", ttl_s=10.0, idle_s=4.0, absolute_s=20.0)) == 5 + 4_000 + 3_600_000
    assert revoked_until(5, Policy("n", ttl_s=None, absolute_s=20.0)) == 5 + 20_000 + 3_600_000
    assert revoked_until(5, Policy("n", ttl_s=None)) == NEVER_MS


def test_a_save_while_its_record_is_dropped_takes_the_token_of_afterwards() -> None:
    async def work(world: SessionsWorld) -> None:
        await _revoked(world)
        held, deleting = asyncio.Event(), world.memory.delete_generations

        async def delete_slowly(generations: list[Generation]) -> None:
            await held.wait()
            await deleting(generations)

        world.memory.delete_generations = delete_slowly  # type: ignore[method-assign, assignment]
        await _let_pass(world, DAY_S + 2 * HOUR_S)
        saving = asyncio.create_task(world.sessions.save(SPACE, b"new", b"v", subject="me"))
        await world.clock.settle()
        assert not saving.done()
        held.set()
        await saving
        assert len(world.memory.generations) == 0
        assert await world.value(b"new") == b"v"
        await world.restart()
        assert await world.value(b"new") == b"v"

    _run(work)


def test_a_token_that_is_being_written_keeps_its_record() -> None:
    async def work(world: SessionsWorld) -> None:
        record = await _revoked(world)
        generations: Generations = world.sessions._generations
        world.clock.advance(DAY_S + HOUR_S)
        generations.need(record.scope)
        assert await generations.drop() == 0
        assert await generations.drop() == 0
        assert await generations.drop() == 1

    _run(work)


def test_a_save_that_has_taken_its_token_and_waits_for_the_disk_keeps_the_record() -> None:
    async def work(world: SessionsWorld) -> None:
        await _revoked(world)
        await world.sessions._upkeep.stop()  # its walk meets the old row, which keeps the record as well
        generations: Generations = world.sessions._generations
        await generations.drop()
        await generations.drop()
        world.clock.advance(DAY_S + HOUR_S)
        held, putting = asyncio.Event(), world.memory.put

        async def put_slowly(row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
            await held.wait()
            return await putting(row, expected=expected, clears=clears)

        world.memory.put = put_slowly  # type: ignore[method-assign]
        saving = asyncio.create_task(world.sessions.save(SPACE, b"new", b"v", subject="me"))
        await world.clock.settle()
        assert await generations.drop() == 0
        held.set()
        await saving
        assert await world.value(b"new") == b"v"

    _run(work)


def test_a_drop_that_fails_keeps_the_revocation() -> None:
    async def work(world: SessionsWorld) -> None:
        await _revoked(world)
        generations: Generations = world.sessions._generations
        await generations.drop()
        world.clock.advance(DAY_S + HOUR_S)

        async def fail(records: list[Generation]) -> None:
            raise OSError

        world.memory.delete_generations = fail  # type: ignore[method-assign, assignment]
        with pytest.raises(OSError):
            await generations.drop()
        assert len(generations) == 1
        await asyncio.wait_for(world.sessions.save(SPACE, b"new", b"v", subject="me"), 1)

    _run(work)

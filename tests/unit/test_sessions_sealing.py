"""Sealed rows open for whoever presents the key of the session, unchanged and in their place; else they do not open at all."""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.model import FIRST_TOKEN, NO_SUBJECT, Deadlines, Head, KeyId, Kind, Policy, Row, RowId, Version
from headwater.sessions.sealing import (
    NONCE_BYTES,
    KeyedHash,
    Opened,
    RecordKey,
    Sealer,
    decode_deadline,
    decode_head,
    derive,
    encode_deadline,
    encode_head,
)
from headwater.sessions.service_metrics import ROWS_REJECTED
from headwater.testing.sessions_world import SPACE, SessionsWorld

KEY = b"wiki:MWSession:0123456789abcdef"
SEALER = Sealer(derive(KeyId(1), bytes(range(32))), "n")


def opened(value: bytes | None = b"value", subject: str | None = "somebody", kind: Kind = Kind.VALUE) -> Opened:
    head = Head(kind, KeyId(1), Version(7), 1_000, 9_000, "n", FIRST_TOKEN, SEALER.scope(subject), FIRST_TOKEN)
    return Opened(head, Deadlines(2_000, 3_000), subject, value)


def seal(content: Opened, key: bytes = KEY, nonce: bytes = bytes(NONCE_BYTES)) -> Row:
    return SEALER.seal(SEALER.record_key(key), content, id=SEALER.row_id(key), nonce=nonce)


def open_as(row: Row, sealer: Sealer = SEALER, key: bytes = KEY) -> Opened | None:
    return sealer.open(sealer.record_key(key), row, id=sealer.row_id(key))


@pytest.mark.parametrize("content", [opened(), opened(b""), opened(subject=None), opened("ä".encode(), "ä"), opened(kind=Kind.POINTER)])
def test_what_was_sealed_comes_back(content: Opened) -> None:
    found = open_as(seal(content))
    assert found is not None
    assert (found.head, found.deadlines, found.subject, found.value) == (content.head, content.deadlines, content.subject, content.value)


def test_a_header_alone_opens_as_one_and_is_authentic() -> None:
    row = seal(opened(None, None))
    assert row.sealed == b""
    found = open_as(row)
    assert found is not None and found.value is None


def test_every_changed_bit_of_a_row_is_noticed() -> None:
    for whole in (seal(opened()), seal(opened(None, None))):
        for part in ("head", "deadline", "sealed"):
            content: bytes = getattr(whole, part)
            for at in range(len(content) * 8):
                changed = bytearray(content)
                changed[at // 8] ^= 1 << at % 8
                assert open_as(_with(whole, part, bytes(changed))) is None, f"bit {at} of {part}"


def test_a_row_cut_off_or_grown_is_noticed() -> None:
    whole = seal(opened())
    for part in ("head", "deadline", "sealed"):
        content: bytes = getattr(whole, part)
        for changed in [*(content[:size] for size in range(1 if part == "sealed" else 0, len(content))), content + b"\0"]:
            assert open_as(_with(whole, part, changed)) is None, (part, len(changed))


def _with(row: Row, part: str, content: bytes) -> Row:
    parts = {"head": row.head, "deadline": row.deadline, "sealed": row.sealed, part: content}
    return Row(row.id, parts["head"], parts["deadline"], parts["sealed"])


def test_parts_of_two_rows_do_not_fit_together() -> None:
    one, other = seal(opened()), seal(opened(b"other", None), nonce=b"\1" * NONCE_BYTES)
    for part in ("head", "deadline", "sealed"):
        assert open_as(_with(one, part, getattr(other, part))) is None or (part == "sealed" and one.head == other.head)


def test_a_row_opens_nowhere_else() -> None:
    row = seal(opened())
    assert open_as(row, key=KEY + b"x") is None
    assert open_as(row, Sealer(SEALER.key, "m")) is None
    assert open_as(row, Sealer(derive(KeyId(1), bytes(32)), "n")) is None
    assert open_as(row, Sealer(derive(KeyId(2), bytes(range(32))), "n")) is None


def test_keys_that_join_alike_are_different_sessions() -> None:
    ns_a, ns_ab = Sealer(SEALER.key, "a"), Sealer(SEALER.key, "ab")
    assert ns_a.row_id(b"bc") != ns_ab.row_id(b"c")
    assert ns_a.record_key(b"bc") != ns_ab.record_key(b"c")
    assert ns_a.scope("bc") != ns_ab.scope("c")
    assert ns_a.scope() != ns_a.scope("")


def test_whoever_has_all_service_keys_but_no_key_of_a_session_opens_nothing() -> None:
    row = seal(opened(b"secret"))
    for guess in (b"", row.id, row.head, row.deadline[:32], b"wiki:MWSession:"):
        assert SEALER.open(SEALER.record_key(guess), row, id=row.id) is None


def test_a_head_says_what_went_in_and_nothing_else_is_one() -> None:
    head = opened().head
    assert decode_head(encode_head(head)) == head
    for wrong in (
        b"",
        bytes(80),
        encode_head(head)[:-1],
        b"\x02" + encode_head(head)[1:],
        encode_head(head)[:1] + b"\x09" + encode_head(head)[2:],
    ):
        assert decode_head(wrong) is None
    assert decode_deadline(b"") is None
    assert head.subject != NO_SUBJECT


# Through the service, with the database in an enemy's hands


def run(work: Callable[[SessionsWorld], Awaitable[None]], *policies: Policy) -> None:
    asyncio.run(SessionsWorld(*policies).run(work))


def stored(store: MemorySessionStore) -> Row:
    (row,) = store.rows.values()
    assert isinstance(row, Row)
    return row


def test_each_altered_byte_makes_a_session_absent_and_is_counted() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v" * 64)
        whole = stored(world.memory)
        altered = 0
        for part in ("head", "deadline", "sealed"):
            for at in range(len(getattr(whole, part))):
                changed = bytearray(getattr(whole, part))
                changed[at] ^= 0x40
                world.memory.rows[whole.id] = _with(whole, part, bytes(changed))
                assert await world.value(KEY) is None, f"byte {at} of {part}"
                altered += 1
        assert world.metrics.value(ROWS_REJECTED, reason="altered") == altered
        world.memory.rows[whole.id] = whole
        assert await world.value(KEY) == b"v" * 64
        world.memory.rows[whole.id] = _with(whole, "head", b"")
        assert (await world.sessions.save(SPACE, KEY, b"anew")).created
        assert await world.value(KEY) == b"anew"
        world.memory.rows[whole.id] = _with(stored(world.memory), "head", b"broken")
        await world.sessions.delete(SPACE, KEY)
        assert not world.memory.rows

    run(work)


@pytest.mark.parametrize("ended_first", [False, True])
def test_a_forged_version_leaves_the_versions_of_later_writes_alone(ended_first: bool) -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        genuine = stored(world.memory)
        for forged in (b"\xff" * 8, b"\xff" * 7 + b"\xfe"):
            world.memory.rows[genuine.id] = _with(genuine, "head", genuine.head[:4] + forged + genuine.head[12:])
            assert await world.value(KEY) is None
            if ended_first:
                await world.sessions.delete(SPACE, KEY)
            for key in (KEY, b"another", b"and one more"):
                await world.sessions.save(SPACE, key, b"w")
                assert await world.value(key) == b"w"

    run(work)


def test_rows_that_change_places_are_absent() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, b"mine", b"v")
        await world.sessions.save(SPACE, b"admin", b"v")
        await world.sessions.save("other", b"mine", b"v")
        ids = list(world.memory.rows)
        rows = list(world.memory.rows.values())
        for id, row in zip(ids, [*rows[1:], rows[0]], strict=True):
            world.memory.rows[id] = Row(id, row.head, row.deadline, row.sealed)
        assert [await world.value(b"mine"), await world.value(b"admin"), await world.value(b"mine", "other")] == [None] * 3

    run(work, Policy(SPACE), Policy("other"))


def test_an_older_copy_put_back_is_noticed_for_rows_seen_since_the_start() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"old")
        old = stored(world.memory)
        await world.sessions.save(SPACE, KEY, b"new")
        new = stored(world.memory)
        world.memory.rows[old.id] = old
        assert await world.value(KEY) is None
        await world.restart()
        world.memory.rows[new.id] = new
        assert await world.value(KEY) == b"new"
        world.memory.rows[old.id] = old
        assert await world.value(KEY) is None
        assert world.metrics.value(ROWS_REJECTED, reason="put back") == 2
        await world.restart()
        assert await world.value(KEY) == b"old", "what a new process has not seen it cannot miss"

    run(work)


def test_a_copy_put_back_after_a_delete_is_noticed() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        old = stored(world.memory)
        await world.sessions.delete(SPACE, KEY)
        world.memory.rows[old.id] = old
        assert await world.value(KEY) is None
        await world.sessions.save(SPACE, KEY, b"new")
        assert await world.value(KEY) == b"new"

    run(work)


def test_a_deadline_put_back_or_taken_from_another_version_extends_nothing() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        long = stored(world.memory).deadline
        await world.sessions.save(SPACE, KEY, b"w", ttl_s=1)
        short = stored(world.memory)
        world.memory.rows[short.id] = _with(short, "deadline", long)
        assert await world.value(KEY) is None

    run(work, Policy(SPACE, ttl_s=10))


def test_keys_that_can_be_guessed_are_safe_from_who_has_the_database_alone() -> None:
    """What `key_entropy: low` declares: whoever has the service keys too can try every key there is, and nobody else can."""
    row = seal(opened(b"secret"), key=b"0042")
    guesses = [b"%04d" % guess for guess in range(10_000)]
    stranger = Sealer(derive(KeyId(1), bytes(32)), "n")
    assert not any(stranger.row_id(guess) == row.id or stranger.open(stranger.record_key(guess), row, id=row.id) for guess in guesses)
    assert [guess for guess in guesses if SEALER.row_id(guess) == row.id] == [b"0042"]


@given(st.binary(max_size=64), st.binary(max_size=300), st.binary(max_size=300))
def test_a_keyed_hash_is_the_hmac_of_the_library(key: bytes, prefix: bytes, rest: bytes) -> None:
    for algorithm, name in ((hashlib.sha256, "sha256"), (hashlib.sha512, "sha512")):
        begun = KeyedHash(key, prefix, algorithm)
        assert [begun.digest(rest), begun.digest(rest)] == [hmac.digest(key, prefix + rest, name)] * 2


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_deadline_is_authenticated_by_the_hmac_of_the_library(key: bytes, id: bytes, head: bytes) -> None:
    times = (5).to_bytes(8) + (7).to_bytes(8)
    made = encode_deadline(RecordKey(bytes(32), key), Deadlines(5, 7), id=RowId(id), head=head)
    assert made == times + hmac.digest(key, times + id + head, "sha256")[:16]

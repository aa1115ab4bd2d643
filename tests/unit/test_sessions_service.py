"""Saving, reading, ending: what sessions do over time and under conditions."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set

import pytest

from headwater.kernel.errors import InvalidInput, TooLarge
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.errors import ConditionFailed, QuotaExceeded, Revoked
from headwater.sessions.model import ABSENT, EXISTS, NEVER_MS, Match, Policy, Row, RowId, Version
from headwater.sessions.service_metrics import QUOTA_REFUSALS, ROWS, ROWS_REJECTED, SAVES_UNCHANGED
from headwater.testing.sessions_world import SPACE, SessionsWorld

KEY = b"wiki:MWSession:0123456789abcdef"


def run(work: Callable[[SessionsWorld], Awaitable[None]], *policies: Policy) -> None:
    asyncio.run(SessionsWorld(*policies).run(work))


def test_a_session_is_served_until_its_deadline_and_not_at_it() -> None:
    async def work(world: SessionsWorld) -> None:
        saved = await world.sessions.save(SPACE, KEY, b"v")
        assert saved.header.expires_ms == world.clock.now_ms() + 10_000
        world.clock.advance(9.999)
        assert await world.value(KEY) == b"v"
        world.clock.advance(0.001)
        assert await world.value(KEY) is None

    run(work, Policy(SPACE, ttl_s=10))


def test_a_session_without_a_limit_never_ends() -> None:
    async def work(world: SessionsWorld) -> None:
        assert (await world.sessions.save(SPACE, KEY, b"v")).header.expires_ms == NEVER_MS
        world.clock.advance(1e9)
        assert await world.value(KEY) == b"v"

    run(work, Policy(SPACE, ttl_s=None))


def test_a_save_restarts_the_time_and_keeps_the_beginning() -> None:
    async def work(world: SessionsWorld) -> None:
        first = await world.sessions.save(SPACE, KEY, b"one")
        world.clock.advance(6)
        second = await world.sessions.save(SPACE, KEY, b"two")
        assert (first.created, second.created) == (True, False)
        assert second.header.created_ms == first.header.created_ms
        assert second.header.etag != first.header.etag
        world.clock.advance(6)
        assert await world.value(KEY) == b"two"

    run(work, Policy(SPACE, ttl_s=10))


def test_a_caller_can_only_shorten_a_life() -> None:
    async def work(world: SessionsWorld) -> None:
        now_ms = world.clock.now_ms()
        assert (await world.sessions.save(SPACE, KEY, b"v", ttl_s=4)).header.expires_ms == now_ms + 4_000
        assert (await world.sessions.save(SPACE, KEY, b"v", ttl_s=40)).header.expires_ms == now_ms + 10_000
        touched = await world.sessions.touch(SPACE, KEY, ttl_s=3)
        assert touched is not None and touched.expires_ms == now_ms + 3_000
        world.clock.advance(3)
        assert await world.value(KEY) is None
        assert await world.sessions.touch(SPACE, KEY) is None

    run(work, Policy(SPACE, ttl_s=10))


def test_the_absolute_end_holds_however_often_a_session_is_saved_touched_or_read() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"0")
        for second in range(1, 20):
            world.clock.advance(1)
            await world.sessions.save(SPACE, KEY, b"%d" % second)
            await world.sessions.touch(SPACE, KEY)
        world.clock.advance(0.999)
        assert await world.value(KEY) == b"19"
        world.clock.advance(0.001)
        assert await world.value(KEY) is None
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, KEY, b"a late save")
        world.clock.advance(61)
        assert (await world.sessions.save(SPACE, KEY, b"a new life")).created

    run(work, Policy(SPACE, ttl_s=10, absolute_s=20))


def test_reading_keeps_an_idle_session_and_nothing_else_does_so_for_long() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        for _ in range(10):
            world.clock.advance(15.9)
            assert await world.value(KEY) == b"v"
            await world.clock.settle()
        world.clock.advance(16)
        assert await world.value(KEY) is None

    run(work, Policy(SPACE, ttl_s=86_400, idle_s=16))


def test_reading_does_not_extend_a_session_without_an_idle_limit() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        world.clock.advance(9)
        assert await world.value(KEY) == b"v"
        await world.clock.settle()
        world.clock.advance(1)
        assert await world.value(KEY) is None

    run(work, Policy(SPACE, ttl_s=10))


def test_the_same_value_again_restarts_the_time_without_being_written() -> None:
    async def work(world: SessionsWorld) -> None:
        first = await world.sessions.save(SPACE, KEY, b"v")
        sealed = [row.sealed for row in world.memory.rows.values()]
        world.clock.advance(6)
        again = await world.sessions.save(SPACE, KEY, b"v", may_read=True)
        assert (again.created, again.rewritten) == (False, False)
        assert again.header.etag == first.header.etag
        assert [row.sealed for row in world.memory.rows.values()] == sealed
        assert world.metrics.value(SAVES_UNCHANGED, namespace=SPACE) == 1
        world.clock.advance(6)
        assert await world.value(KEY) == b"v"

    run(work, Policy(SPACE, ttl_s=10))


def test_who_may_not_read_does_not_learn_that_the_value_was_there() -> None:
    async def work(world: SessionsWorld) -> None:
        first = await world.sessions.save(SPACE, KEY, b"v")
        again = await world.sessions.save(SPACE, KEY, b"v")
        assert again.rewritten and again.header.etag != first.header.etag

    run(work)


def test_conditions_decide_whether_a_save_happens() -> None:
    async def work(world: SessionsWorld) -> None:
        save = world.sessions.save
        for condition in (EXISTS, Match("1")):
            with pytest.raises(ConditionFailed):
                await save(SPACE, KEY, b"v", condition=condition)
        assert await world.value(KEY) is None
        etag = (await save(SPACE, KEY, b"1", condition=ABSENT)).header.etag
        with pytest.raises(ConditionFailed):
            await save(SPACE, KEY, b"x", condition=ABSENT)
        newer = (await save(SPACE, KEY, b"2", condition=Match(etag))).header.etag
        with pytest.raises(ConditionFailed):
            await save(SPACE, KEY, b"x", condition=Match(etag))
        await save(SPACE, KEY, b"3", condition=EXISTS)
        assert newer != etag
        assert await world.value(KEY) == b"3"

    run(work)


def test_deleting_ends_a_session_and_may_be_repeated() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        for _ in range(2):
            await world.sessions.delete(SPACE, KEY)
            assert await world.value(KEY) is None
        assert not world.memory.rows
        assert (await world.sessions.save(SPACE, KEY, b"again")).created

    run(work)


def test_an_expired_session_stays_gone_after_a_delete_even_if_the_clock_goes_back() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v", subject="somebody")
        world.clock.advance(11)
        await world.sessions.delete(SPACE, KEY)
        world.clock.jump_wall(-11)
        assert await world.value(KEY) is None
        assert all(not row.sealed for row in world.memory.rows.values())

    run(work, Policy(SPACE, ttl_s=10))


def test_a_row_that_is_replaced_while_the_store_answers_is_not_taken_for_one_put_back() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        near = world.memory.near

        async def replace_after_it(id: RowId) -> Row | None:
            world.memory.near = near  # type: ignore[method-assign]
            found = await near(id)
            await world.sessions.save(SPACE, KEY, b"later")
            return found

        world.memory.near = replace_after_it  # type: ignore[method-assign]
        assert await world.value(KEY) == b"later"
        assert world.metrics.value(ROWS_REJECTED, reason="put back") == 0

    run(work)


def test_a_rotation_that_is_overtaken_leaves_no_session_under_a_key_that_nobody_has() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        put, puts = world.memory.put, [0]

        async def save_before_the_pointer(row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
            puts[0] += 1
            if puts[0] == 2:
                await world.sessions.save(SPACE, KEY, b"later")
            return await put(row, expected=expected, clears=clears)

        world.memory.put = save_before_the_pointer  # type: ignore[method-assign]
        rotated = await world.sessions.rotate(SPACE, KEY, grace_s=30)
        assert rotated is not None
        assert await world.value(rotated[0]) == b"later"
        assert len(world.memory.rows) == 2, "the session and the pointer to it"

    run(work)


def test_a_save_overtaken_by_a_delete_does_not_bring_the_session_back() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        put = world.memory.put

        async def put_after_delete(*args: object, **named: object) -> bool:
            world.memory.put = put  # type: ignore[method-assign]
            await world.sessions.delete(SPACE, KEY)
            return await put(*args, **named)  # type: ignore[arg-type]

        world.memory.put = put_after_delete  # type: ignore[method-assign]
        await world.sessions.save(SPACE, KEY, b"too late")
        assert await world.value(KEY) is None

    run(work)


def test_a_minted_session_has_a_key_of_its_own() -> None:
    async def work(world: SessionsWorld) -> None:
        keys = [(await world.sessions.mint(SPACE, b"%d" % n))[0] for n in range(20)]
        assert len(set(keys)) == 20 and {len(key) for key in keys} == {43}
        assert [await world.value(key) for key in keys] == [b"%d" % n for n in range(20)]

    run(work)


def test_a_rotated_session_is_reached_by_its_old_key_for_a_grace_and_then_never_again() -> None:
    async def work(world: SessionsWorld) -> None:
        created_ms = (await world.sessions.save(SPACE, KEY, b"v", subject="s")).header.created_ms
        world.clock.advance(1)
        rotated = await world.sessions.rotate(SPACE, KEY, grace_s=5)
        assert rotated is not None
        new_key, header = rotated
        assert (header.created_ms, header.subject) == (created_ms, "s")
        await world.sessions.save(SPACE, KEY, b"through the old key")
        assert await world.value(KEY) == await world.value(new_key) == b"through the old key"
        world.clock.advance(5)
        assert await world.value(KEY) is None
        assert await world.value(new_key) == b"through the old key"
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, KEY, b"back")
        assert await world.sessions.rotate(SPACE, KEY, grace_s=5) is None

    run(work)


def test_deleting_by_a_rotated_key_ends_the_session_everywhere() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        keys = [KEY]
        for _ in range(3):
            rotated = await world.sessions.rotate(SPACE, keys[-1], grace_s=60)
            assert rotated is not None
            keys.append(rotated[0])
        await world.sessions.delete(SPACE, KEY)
        assert [await world.value(key) for key in keys] == [None] * 4
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, KEY, b"back")

    run(work)


def test_revoking_a_subject_ends_its_sessions_and_bars_late_saves() -> None:
    async def work(world: SessionsWorld) -> None:
        for number in range(3):
            await world.sessions.save(SPACE, b"mine %d" % number, b"v", subject="me")
        await world.sessions.save(SPACE, b"other", b"v", subject="you")
        await world.sessions.revoke_subject(SPACE, "me")
        assert [await world.value(b"mine %d" % n) for n in range(3)] == [None] * 3
        assert await world.value(b"other") == b"v"
        for subject in (None, "me", "you"):
            with pytest.raises(Revoked):
                await world.sessions.save(SPACE, b"mine 0", b"late", subject=subject)
        await world.sessions.delete(SPACE, b"mine 0")
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, b"mine 0", b"later")
        await world.sessions.save(SPACE, b"after", b"v", subject="me")
        assert await world.value(b"after") == b"v"
        await world.restart()
        assert await world.value(b"mine 1") is None and await world.value(b"after") == b"v"

    run(work)


def test_revoking_a_namespace_ends_all_of_it_and_nothing_else() -> None:
    async def work(world: SessionsWorld) -> None:
        for ns in (SPACE, "other"):
            await world.sessions.save(ns, KEY, b"v")
            await world.sessions.save(ns, b"mine", b"v", subject="me")
        await world.sessions.revoke_namespace(SPACE)
        assert [await world.value(key, ns) for ns in (SPACE, "other") for key in (KEY, b"mine")] == [None, None, b"v", b"v"]
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, KEY, b"late")
        assert (await world.sessions.save(SPACE, b"new", b"v")).created

    run(work, Policy(SPACE), Policy("other"))


def test_the_header_of_a_revoked_session_outlasts_its_end_by_an_hour() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v", subject="me")
        world.clock.advance(9)
        await world.sessions.revoke_subject(SPACE, "me")
        world.clock.advance(3_600)
        await world.sessions._upkeep.reclaim()
        assert [row.sealed for row in world.memory.rows.values()] == [b""]
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, KEY, b"late")
        world.clock.advance(1)
        await world.sessions._upkeep.reclaim()
        assert not world.memory.rows
        assert (await world.sessions.save(SPACE, KEY, b"v")).created

    run(work, Policy(SPACE, ttl_s=10))


async def _revoke_all(world: SessionsWorld) -> None:
    await world.sessions.revoke_namespace(SPACE)


async def _rotate(world: SessionsWorld) -> None:
    await world.sessions.rotate(SPACE, KEY, grace_s=5)


@pytest.mark.parametrize("end", [_revoke_all, _rotate])
def test_what_was_ended_is_barred_for_an_hour_though_it_has_no_subject(end: Callable[[SessionsWorld], Awaitable[None]]) -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        await end(world)
        world.clock.advance(3_600)
        await world.sessions._upkeep.reclaim()
        with pytest.raises(Revoked):
            await world.sessions.save(SPACE, KEY, b"late")
        world.clock.advance(11)
        await world.sessions._upkeep.reclaim()
        assert (await world.sessions.save(SPACE, KEY, b"v")).created

    run(work, Policy(SPACE, ttl_s=10))


def test_sessions_of_mediawiki_are_revoked_by_keyspace_and_user() -> None:
    async def work(world: SessionsWorld) -> None:
        value = b'JSON..{"data":{},"metadata":{"userId":7}}'
        for key in (b"enwiki:MWSession:a", b"dewiki:MWSession:a"):
            await world.sessions.save(SPACE, key, value)
        await world.sessions.revoke_subject(SPACE, "enwiki:7")
        assert await world.value(b"enwiki:MWSession:a") is None
        assert await world.value(b"dewiki:MWSession:a") == value

    run(work, Policy(SPACE, scan_subjects=True))


def test_namespaces_are_apart() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        assert await world.value(KEY, "other") is None
        await world.sessions.delete("other", KEY)
        await world.sessions.revoke_subject("other", "me")
        assert await world.value(KEY) == b"v"

    run(work, Policy(SPACE), Policy("other"))


def test_too_many_rows_bytes_or_writes_are_refused_and_others_go_on() -> None:
    async def work(world: SessionsWorld) -> None:
        for number in range(3):
            await world.sessions.save(SPACE, b"%d" % number, b"v")
        with pytest.raises(QuotaExceeded, match="sessions"):
            await world.sessions.save(SPACE, b"3", b"v")
        await world.sessions.save(SPACE, b"2", b"w" * 100)
        await world.sessions.save("other", b"3", b"v")
        await world.sessions.delete(SPACE, b"0")
        await world.sessions.save(SPACE, b"3", b"v")
        with pytest.raises(QuotaExceeded, match="bytes"):
            await world.sessions.save("bytes", b"1", b"v" * 1_000)
        for number in range(2):
            await world.sessions.save("slow", b"%d" % number, b"v")
        with pytest.raises(QuotaExceeded, match="per second") as refused:
            await world.sessions.save("slow", b"9", b"v")
        assert refused.value.retry_after_s == pytest.approx(0.5)
        world.clock.advance(0.5)
        await world.sessions.save("slow", b"9", b"v")

    run(work, Policy(SPACE, rows_max=3), Policy("other"), Policy("bytes", bytes_max=1_000), Policy("slow", writes_per_s_max=2))


def test_what_rotates_and_touches_is_counted_against_the_rate_of_writes() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        assert await world.sessions.touch(SPACE, KEY) is not None
        with pytest.raises(QuotaExceeded):
            await world.sessions.touch(SPACE, KEY)
        with pytest.raises(QuotaExceeded):
            await world.sessions.rotate(SPACE, KEY, grace_s=1)
        assert world.metrics.value(QUOTA_REFUSALS, namespace=SPACE, quota="rate") == 2
        assert await world.value(KEY) == b"v"

    run(work, Policy(SPACE, writes_per_s_max=2))


class _Slow(MemorySessionStore):
    """Lets others run before each write, as a store with a writer of its own does."""

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        await asyncio.sleep(0)
        return await super().put(row, expected=expected, clears=clears)

    async def delete(self, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
        await asyncio.sleep(0)
        return await super().delete(rows)


def test_deleting_or_rotating_many_times_at_once_does_not_move_the_quota() -> None:
    async def work(world: SessionsWorld) -> None:
        for number in range(3):
            await world.sessions.save(SPACE, b"%d" % number, b"v")
        await asyncio.gather(*(world.sessions.delete(SPACE, b"0") for _ in range(20)))
        await world.sessions.save(SPACE, b"3", b"v")
        with pytest.raises(QuotaExceeded):
            await world.sessions.save(SPACE, b"4", b"v")
        await asyncio.gather(*(world.sessions.rotate("other", b"r", grace_s=1) for _ in range(4)))
        await world.sessions.save("other", b"r", b"v")
        await asyncio.gather(*(world.sessions.rotate("other", b"r", grace_s=1) for _ in range(4)))
        quota = world.sessions._spaces["other"].quota
        stored = [row for row in store.rows.values() if b"other" in row.head]
        assert (quota.rows, quota.bytes) == (len(stored), sum(row.size_bytes for row in stored))

    store = _Slow()
    asyncio.run(SessionsWorld(Policy(SPACE, rows_max=3), Policy("other"), store=store).run(work))


def test_a_read_does_not_give_back_the_life_that_a_touch_has_shortened() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, KEY, b"v")
        world.clock.advance(2)
        assert await world.value(KEY) == b"v"  # notes the use soon
        assert await world.sessions.touch(SPACE, KEY, ttl_s=1) is not None
        await world.clock.settle()
        world.clock.advance(1)
        assert await world.value(KEY) is None

    run(work, Policy(SPACE, ttl_s=100, idle_s=16))


def test_quotas_are_counted_anew_by_a_walk_over_the_rows() -> None:
    async def work(world: SessionsWorld) -> None:
        for number in range(3):
            await world.sessions.save(SPACE, b"%d" % number, b"v")
        await world.restart()
        await world.clock.run_for(0.1)
        with pytest.raises(QuotaExceeded):
            await world.sessions.save(SPACE, b"3", b"v")
        world.clock.advance(71)
        await world.sessions._upkeep.reclaim()
        assert not world.memory.rows
        await world.sessions.save(SPACE, b"3", b"v")

    run(work, Policy(SPACE, ttl_s=10, rows_max=3))


def test_the_use_of_a_namespace_is_told_between_two_counts() -> None:
    async def work(world: SessionsWorld) -> None:
        def told() -> float:
            return world.metrics.value(ROWS, namespace=SPACE)

        await world.clock.run_for(1)
        assert told() == 0
        await world.sessions.save(SPACE, KEY, b"v")
        await world.clock.run_for(1)
        assert told() == 1, "as the quota knows it, a minute before the next count"

    run(work, Policy(SPACE, ttl_s=100, rows_max=3))


def test_sizes_are_limited_at_the_limit() -> None:
    async def work(world: SessionsWorld) -> None:
        await world.sessions.save(SPACE, b"k" * 8, b"v" * 16)
        with pytest.raises(TooLarge):
            await world.sessions.save(SPACE, b"k" * 9, b"v")
        with pytest.raises(TooLarge):
            await world.sessions.save(SPACE, b"k", b"v" * 17)
        with pytest.raises(InvalidInput):
            await world.sessions.save(SPACE, b"k", b"v", subject="s" * 513)
        assert len(world.memory.rows) == 1

    run(work, Policy(SPACE, key_bytes_max=8, value_bytes_max=16))


def test_nothing_shows_what_it_holds() -> None:
    async def work(world: SessionsWorld) -> None:
        saved = await world.sessions.save(SPACE, KEY, b"canary-value", subject="canary-subject")
        found = await world.sessions._finder.find(world.sessions._spaces[SPACE], KEY)
        shown = f"{saved!r} {await world.sessions.read(SPACE, KEY)!r} {found!r} {world.sessions._ring!r} {world.sessions._spaces!r}"
        for secret in ("canary", KEY.decode(), "\\x01\\x01\\x01"):
            assert secret not in shown

    run(work)


def test_look_ups_of_one_turn_are_made_one_after_the_other() -> None:
    """What stands between them in each request comes before all of them or after all of them."""
    steps: list[str] = []

    class Store(MemorySessionStore):
        async def near(self, id: RowId) -> Row | None:
            steps.append("look-up")
            return await super().near(id)

    async def read(world: SessionsWorld) -> None:
        steps.append("before")
        assert await world.sessions.read(SPACE, KEY) is None
        steps.append("after")

    async def work(world: SessionsWorld) -> None:
        steps.clear()
        await asyncio.gather(*(read(world) for _ in range(3)))
        assert steps == ["before"] * 3 + ["look-up"] * 3 + ["after"] * 3

    asyncio.run(SessionsWorld(store=Store()).run(work))

"""Laws of `claim` and `append_atomic`."""

import asyncio

from headwater.kernel.errors import Fenced, InvalidInput, NotFound, TooLarge
from headwater.log.admission import Limits
from headwater.log.model import Fence, NewRecord, OwnedName
from headwater.log.ports import Log
from headwater.testing.log_laws.setting import (
    EVENTS,
    EVENTS_1,
    NOTES,
    PAGES,
    LogEngine,
    Setting,
    event,
    note,
    opened,
    page,
    put,
    raises,
    read_all,
    values,
)

OWNED = OwnedName("headwater.commits.rivers.0")


async def atomic_appends_are_all_or_none(engine: LogEngine) -> None:
    """One record that cannot be appended, in any place, leaves nothing of the call in any partition."""
    good = [note(b"n"), event(b"e"), page(b"k", b"p")]
    bad = [
        (NewRecord("unknown", b"v", 1), NotFound),
        (NewRecord("events", b"v", 1, partition=9), NotFound),
        (NewRecord("events", None, 1), InvalidInput),
        (NewRecord("pages", b"v", 1), InvalidInput),
        (note(b"v" * 101), TooLarge),
    ]
    async with opened(engine, Setting(limits=Limits(record_bytes_max=100, append_records_max=4))) as log:
        fence = await log.claim(OWNED)
        for record, error in bad:
            for place in range(4):
                await raises(error, log.append_atomic([*good[:place], record, *good[place:]], fence=fence))
        await raises(TooLarge, log.append_atomic([note(b"n")] * 5, fence=fence))
        assert [await values(log, partition) for partition in (NOTES, EVENTS, PAGES)] == [[], [], []]
        positions = await log.append_atomic(good, fence=fence)
        assert [position.partition for position in positions] == [NOTES, EVENTS, PAGES]
        assert [(await read_all(log, position.partition))[0].position for position in positions] == list(positions)


async def atomic_appends_become_visible_together(engine: LogEngine) -> None:
    """A reader that sees one record of an atomic append sees the others, in whichever order it looks."""
    async with opened(engine) as log:
        fence = await log.claim(OWNED)
        writing = asyncio.ensure_future(_write_pairs(log, fence))
        while not writing.done():
            for one, other in ((EVENTS, EVENTS_1), (EVENTS_1, EVENTS)):
                seen = await values(log, one)
                assert set(seen) <= set(await values(log, other)), "half an atomic append is visible"
            await asyncio.sleep(0)
        await writing
        assert await values(log, EVENTS) == await values(log, EVENTS_1) == [b"%d" % n for n in range(20)]


async def _write_pairs(log: Log, fence: Fence) -> None:
    for n in range(20):
        order = (0, 1) if n % 2 else (1, 0)
        await log.append_atomic([event(b"%d" % n, partition=partition) for partition in order], fence=fence)


async def a_new_owner_fences_the_old_one(engine: LogEngine) -> None:
    """After a claim every older fence of that name is refused and appends nothing; epochs rise; other names are not affected."""
    async with opened(engine) as log:
        old, other = await log.claim(OWNED), await log.claim(OwnedName("other"))
        await log.append_atomic([note(b"old")], fence=old)
        new = await log.claim(OWNED)
        assert new.epoch > old.epoch and new.name == old.name == OWNED
        for _ in range(2):
            await raises(Fenced, log.append_atomic([note(b"zombie"), event(b"zombie")], fence=old))
        await log.append_atomic([note(b"other")], fence=other)
        await log.append_atomic([note(b"new")], fence=new)
        assert await values(log, NOTES) == [b"old", b"other", b"new"]
        assert await values(log, EVENTS) == []
        await put(log, note(b"plain appends have no owner"))


async def a_fence_that_was_never_given_is_refused(engine: LogEngine) -> None:
    """A made-up fence, of an unclaimed name or of an epoch to come, appends nothing."""
    async with opened(engine) as log:
        await raises(Fenced, log.append_atomic([note(b"v")], fence=Fence(OWNED, 1)))
        fence = await log.claim(OWNED)
        await raises(Fenced, log.append_atomic([note(b"v")], fence=Fence(OWNED, fence.epoch + 1)))
        assert await values(log, NOTES) == []
        await raises(InvalidInput, log.claim(OwnedName("")))
        await raises(InvalidInput, log.claim(OwnedName("n" * 401)))
        await log.claim(OwnedName("n" * 400))


async def nothing_of_an_old_owner_lands_after_a_claim(engine: LogEngine) -> None:
    """Appends under way when a claim returns have either landed before it or never land."""
    async with opened(engine) as log:
        fence = await log.claim(OWNED)
        for turn in range(5):
            writing = [asyncio.ensure_future(log.append_atomic([note(b"%d" % turn)], fence=fence)) for _ in range(10)]
            fence = await log.claim(OWNED)
            landed = await values(log, NOTES)
            outcomes = await asyncio.gather(*writing, return_exceptions=True)
            assert await values(log, NOTES) == landed, "an append of the old owner landed after the claim"
            appended = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
            assert all(isinstance(outcome, Fenced) for outcome in outcomes if isinstance(outcome, BaseException))
            assert len(appended) == landed.count(b"%d" % turn)


LAWS = (
    atomic_appends_are_all_or_none,
    atomic_appends_become_visible_together,
    a_new_owner_fences_the_old_one,
    a_fence_that_was_never_given_is_refused,
    nothing_of_an_old_owner_lands_after_a_claim,
)

"""Audits: what no event told of is found by sampling and repaired, and old copies are purged again, without false alarms."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from headwater.kernel.config import Seconds
from headwater.propagation.audit import Audit, Finding, judge
from headwater.propagation.config import PropagationConfig
from headwater.propagation.metrics import AUDIT_COPIES, AUDITS, COMMITS
from headwater.propagation.model import BodyHash, Failed, Rendered, Resource, Retry, Seq, Title
from headwater.propagation.ports import Copy
from headwater.propagation.shard import Freshness
from headwater.testing.ids import SequentialIds
from headwater.testing.propagation_world import WIKI, World, world

Case = Callable[[World], Awaitable[None]]
AGE_MAX_S = PropagationConfig().audit_copies_age_max
GRACE_S = PropagationConfig().audit_grace


class WalkingIds(SequentialIds):
    """Jitter that goes through [0, 1) evenly."""

    def jitter(self) -> float:
        self._jitter = (self._jitter + 0.618034) % 1
        return self._jitter


def run(case: Case, config: PropagationConfig | None = None, *, audited: bool = False) -> None:
    async def in_world() -> None:
        async with world(config, audited=audited) as made:
            made.ids = WalkingIds()
            await made.restart()
            await case(made)

    asyncio.run(in_world())


async def rivers(made: World) -> None:
    await made.wiki.edit("Template:Box", "box")
    for number in range(5):
        await made.wiki.edit(f"River_{number}", f"{{{{Box}}}} river {number}")
    await made.wiki.edit("List", "[[River_0]] [[River_9]]")
    await made.until()
    made.wiki.rendered.clear()


async def audit(made: World, title: str) -> Finding:
    """Audit one page, a suspect twice, and let what follows happen."""
    found = await look(made, title)
    if found is Finding.SUSPECT:
        found = await look_again(made, title)
    await made.until()
    return found


async def look(made: World, title: str) -> Finding:
    assert made.owner.epoch is not None
    return await made.owner.epoch.audit.audit(made.current(title))


async def look_again(made: World, title: str) -> Finding:
    """What comes of a suspect when the time of grace is over."""
    assert made.owner.epoch is not None
    suspects = made.owner.epoch.audit._suspects
    due_ms, record = suspects[made.wiki.key(title) if title in made.wiki.titles() else made.page_key(title)]
    assert due_ms == made.clock.now_ms() + GRACE_S * 1000
    await made.clock.run_for(GRACE_S)
    found = await made.owner.epoch.audit.look_again(record)
    assert not suspects
    return found


def test_an_edit_without_an_event_is_found_and_repaired() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        purged = len(await made.purged())
        await made.wiki.edit("River_3", "changed behind our back", silent=True)
        assert await audit(made, "River_3") is Finding.MISMATCH
        await made.check_all()
        assert await made.purged(since=purged) == ["http://cache.example/River_3"]
        news = msgspec.json.decode((await made.records("headwater.page-changed"))[-1].value or b"")
        assert (news["page_title"], news["cause"]) == ("River_3", "repair")
        assert made.count(AUDITS, outcome="mismatch") == 1
        assert await audit(made, "River_3") is Finding.EQUAL
        status = (await made.service.status()).wikis[0].audit
        assert status is not None and (status.pages, status.mismatches) == (2, 1)

    run(case)


def test_the_loop_finds_it_by_itself() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.wiki.edit("River_3", "changed behind our back", silent=True)
        await made.clock.run_for(300)
        await made.until()
        await made.check_all()
        assert made.count(AUDITS, outcome="mismatch") == 1

    run(case, audited=True)


def test_an_audit_that_compares_nothing_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of the test above: it is the comparison that finds the page."""
    monkeypatch.setattr(Audit, "_is_same", lambda *_: True)
    with pytest.raises(AssertionError):
        test_the_loop_finds_it_by_itself()
    with pytest.raises(AssertionError):
        test_an_edit_without_an_event_is_found_and_repaired()


def test_a_template_that_was_edited_without_an_event_reaches_its_dependents() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.wiki.edit("Template:Box", "another box", silent=True)
        assert await audit(made, "Template:Box") is Finding.MISMATCH
        await made.check_all()

    run(case)


def test_a_deletion_and_a_restore_without_an_event_reach_the_links() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        page = made.wiki._pages[made.wiki.key("River_0")]
        page.deleted = True
        assert await audit(made, "River_0") is Finding.MISMATCH
        await made.check_all()
        assert made.current("River_0").html_hash is None and b"red>River_0" in (await made.served("List") or b"")
        assert await audit(made, "River_0") is Finding.EQUAL
        page.deleted = False
        assert await audit(made, "River_0") is Finding.MISMATCH
        await made.check_all()
        assert b"blue>River_0" in (await made.served("List") or b"")

    run(case)


def test_a_move_and_a_redirect_without_an_event_are_repaired() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        made.wiki._pages[made.wiki.key("River_0")].title = Title("River_9")
        assert await audit(made, "River_0") is Finding.MISMATCH
        await made.check_all()
        assert made.shard.find(Title("River_9")) == made.wiki.key("River_9")
        assert {"http://cache.example/River_0", "http://cache.example/River_9"} <= set(await made.purged())
        await made.wiki.edit("River_1", "#REDIRECT [[River_2]]", silent=True)
        assert await audit(made, "River_1") is Finding.MISMATCH
        assert made.current("River_1").redirect == "River_2"

    run(case)


def test_a_body_that_is_lost_or_damaged_is_made_again() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        body = made.current("River_1").html_hash
        assert body is not None
        await made.bodies.erase([body])
        assert await audit(made, "River_1") is Finding.MISMATCH
        await made.check_all()
        made.bodies.damage(body, b"something else")
        assert await audit(made, "River_1") is Finding.MISMATCH
        await made.check_all()

    run(case)


def test_an_edit_while_the_audit_renders_is_no_alarm() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        made.wiki.hold = asyncio.Event()
        made.wiki.started.clear()
        assert made.owner.epoch is not None
        task = asyncio.ensure_future(made.owner.epoch.audit.audit(made.current("River_1")))
        await made.until(made.wiki.started)
        await made.wiki.edit("River_1", "edited meanwhile")
        await made.turns()
        made.wiki.hold.set()
        made.wiki.hold = None
        assert await task is Finding.OVERTAKEN
        await made.until()
        assert made.count(AUDITS, outcome="mismatch") == 0
        assert made.count(AUDITS, outcome="overtaken") == 1
        await made.check_all()

    run(case)


def test_an_event_that_comes_late_is_no_alarm() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        rev = await made.wiki.edit("River_1", "edited, and told later", silent=True)
        suspected = made.current("River_1")
        assert await look(made, "River_1") is Finding.SUSPECT
        await made.clock.run_for(50)
        page = made.wiki._pages[made.wiki.key("River_1")]
        await made.wiki._send("mediawiki.revision-create", page, {"rev_id": rev, "page_is_redirect": False, "rev_parent_id": 1})
        await made.until()
        assert made.owner.epoch is not None
        assert await made.owner.epoch.audit.look_again(suspected) is Finding.OVERTAKEN
        assert made.wiki.rendered["River_1"] == 2, "by the audit, and for the event"
        assert made.count(AUDITS, outcome="mismatch") == 0
        await made.check_all()

    run(case)


def test_an_event_that_is_in_the_log_and_not_read_yet_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.wiki.edit("River_1", "edited", silent=True)
        suspected = made.current("River_1")
        assert await look(made, "River_1") is Finding.SUSPECT
        assert made.owner.epoch is not None

        async def behind() -> bool:
            return False

        monkeypatch.setattr(made.owner.epoch.audit, "_caught_up", behind)
        assert await made.owner.epoch.audit.look_again(suspected) is Finding.OVERTAKEN

    run(case)


def test_a_template_whose_event_was_lost_is_found_from_the_pages_made_from_it() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Template:Box", "box")
        for number in range(300):
            await made.wiki.edit(f"River_{number}", "{{Box}}" if number == 150 else "river")
        for number in range(20):
            await made.wiki.edit(f"Lake_{number}", "{{Box}} lake")
        await made.until()
        made.wiki.rendered.clear()
        await made.wiki.edit("Template:Box", "another box", silent=True)
        assert await audit(made, "River_150") is Finding.MISMATCH
        assert made.owner.epoch is not None
        await made.owner.epoch.audit._look()
        await made.clock.run_for(GRACE_S)
        await made.owner.epoch.audit._look()
        await made.until()
        await made.check_all()
        assert made.wiki.rendered["Template:Box"] == 3 and made.count(AUDITS, outcome="mismatch") == 2

    run(case)


def test_suspects_hold_up_nobody_and_are_bounded() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        for number in range(5):
            await made.wiki.edit(f"River_{number}", "changed behind our back", silent=True)
        await made.clock.run_for(59)  # less than the first suspect's grace
        assert sum(made.wiki.rendered.values()) == 5
        assert made.owner.epoch is not None and len(made.owner.epoch.audit._suspects) > 1
        await made.clock.run_for(400)
        await made.until()
        await made.check_all()
        assert made.count(AUDITS, outcome="mismatch") == 5

    run(case, audited=True)


def test_a_difference_that_a_second_render_does_not_show_is_no_alarm() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        reads = frozenset({Resource("c:River_1")})
        made.wiki.answers["River_1"].append(Rendered(Title("River_1"), b"half a page", reads, made.wiki.rev("River_1")))
        commits = made.count(COMMITS)
        assert await audit(made, "River_1") is Finding.EQUAL
        assert made.wiki.rendered["River_1"] == 2
        assert made.count(COMMITS) == commits

    run(case)


def test_a_wiki_that_does_not_render_is_no_alarm() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        made.wiki.answers["River_1"].extend([Retry(1, "busy"), Failed("refused")])
        assert await audit(made, "River_1") is Finding.UNANSWERED
        assert await audit(made, "River_1") is Finding.UNANSWERED
        assert made.shard.freshness(made.page_key("River_1")) is Freshness.FRESH

    run(case)


def test_an_audit_writes_nothing_where_all_is_well() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.clock.run_for(60)
        before = [len(await made.records(stream)) for stream in (f"changes.{WIKI}", f"commits.{WIKI}", "resource-purge")]
        for title in made.wiki.titles():
            assert await audit(made, title) is Finding.EQUAL
        assert [len(await made.records(stream)) for stream in (f"changes.{WIKI}", f"commits.{WIKI}", "resource-purge")] == before

    run(case)


@pytest.mark.parametrize(("interval_s", "least", "most"), [(10, 19, 20), (50, 4, 4), (0, 0, 0)])
def test_pages_are_audited_at_the_configured_pace(interval_s: int, least: int, most: int) -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.clock.run_for(205)
        assert least <= sum(made.wiki.rendered.values()) <= most
        assert made.count(AUDITS, outcome="equal") == sum(made.wiki.rendered.values())
        assert interval_s == 0 or len(made.wiki.rendered) > 2, "not always the same page"

    run(case, PropagationConfig(audit_interval=Seconds(interval_s)), audited=True)


def test_audits_wait_while_pages_wait_for_renders() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        made.wiki.hold = asyncio.Event()
        await made.wiki.edit("Template:Box", "a new box")
        await made.turns()
        await made.clock.run_for(100)
        assert made.count(AUDITS, outcome="equal") == 0
        assert made.wiki.rendered["List"] == 0
        made.wiki.hold.set()
        made.wiki.hold = None
        await made.until()
        await made.clock.run_for(100)
        assert made.count(AUDITS, outcome="equal") > 0

    run(case, PropagationConfig(window_max=1), audited=True)


# Copies


async def aged(made: World) -> None:
    await rivers(made)
    await made.clock.run_for(AGE_MAX_S + 1)


def test_an_old_copy_is_purged_again_under_another_id() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        old = made.current("River_1")
        await made.wiki.edit("River_1", "a new text")
        await made.until()
        await made.clock.run_for(AGE_MAX_S + 1)
        made.copies.found["http://cache.example/River_1"] = Copy(old.body_seq, old.html_hash)
        purges = await made.records("resource-purge")
        assert await audit(made, "River_1") is Finding.EQUAL
        again = (await made.records("resource-purge"))[len(purges) :]
        event = msgspec.json.decode(again[0].value or b"")
        assert len(again) == 1 and event["meta"]["uri"] == "http://cache.example/River_1"
        assert event["headwater"]["seq"] == made.current("River_1").seq
        assert event["meta"]["id"] not in {msgspec.json.decode(record.value or b"")["meta"]["id"] for record in purges}
        assert made.count(AUDIT_COPIES, found="stale") == 1
        status = (await made.service.status()).wikis[0].audit
        assert status is not None and (status.copies, status.stale_copies) == (1, 1)

    run(case)


@pytest.mark.parametrize("which", ["current", "unmarked", "unanswered"])
def test_other_copies_are_left_alone(which: str) -> None:
    async def case(made: World) -> None:
        await aged(made)
        record = made.current("River_1")
        copies = {"current": Copy(record.body_seq, record.html_hash), "unmarked": Copy(None, None), "unanswered": None}
        made.copies.found["http://cache.example/River_1"] = copies[which]
        before = len(await made.purged())
        assert await audit(made, "River_1") is Finding.EQUAL
        assert made.count(AUDIT_COPIES, found=which) == 1
        assert len(await made.purged()) == before

    run(case)


def test_a_copy_is_given_the_time_that_purges_take() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.clock.run_for(AGE_MAX_S - 60)
        assert await audit(made, "River_1") is Finding.EQUAL
        assert made.copies.asked == []
        await made.clock.run_for(60)
        assert await audit(made, "River_1") is Finding.EQUAL
        assert made.copies.asked == ["http://cache.example/River_1"]

    run(case)


def test_a_commit_while_a_copy_is_asked_is_no_alarm() -> None:
    async def case(made: World) -> None:
        await aged(made)
        record = made.current("River_1")
        original = made.copies.copy

        async def copy(url: str) -> Copy:
            await made.wiki.edit("River_1", "edited meanwhile")
            await made.until()
            await original(url)
            return Copy(Seq(record.body_seq + 1), None)

        made.copies.copy = copy  # type: ignore[method-assign]
        assert await audit(made, "River_1") is Finding.EQUAL
        assert made.count(AUDIT_COPIES, found="stale") == 0

    run(case)


def test_no_copy_is_asked_where_that_is_switched_off() -> None:
    async def case(made: World) -> None:
        await aged(made)
        assert await audit(made, "River_1") is Finding.EQUAL
        assert made.copies.asked == []

    run(case, PropagationConfig(audit_copies=False))


def test_a_copy_is_judged_by_seq_and_by_hash() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        record = made.current("River_1")
        assert judge(Copy(record.body_seq, None), record) == "current"
        assert judge(Copy(record.body_seq, BodyHash("0" * 64)), record) == "stale"
        assert judge(Copy(Seq(record.body_seq - 1), record.html_hash), record) == "stale"
        assert judge(Copy(None, BodyHash("0" * 64)), record) == "unmarked"

    run(case)

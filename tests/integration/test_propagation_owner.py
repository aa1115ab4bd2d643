"""The owner of a shard, on engines in memory and a fake wiki: what is rendered, committed and purged, through crashes and faults."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from headwater.kernel.errors import OutcomeUnknown, StorageFull, Unavailable
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.committing import Finished
from headwater.propagation.config import PropagationConfig
from headwater.propagation.metrics import CUTOFFS, ERASED, OWNER_FENCED, PARKED, RECOVERIES, WRITES_DELAYED
from headwater.propagation.model import Failed, Lease, Lsn, Rendered, Retry, Urgency
from headwater.propagation.owner import OwnerState
from headwater.testing.fakewiki import DOMAIN
from headwater.testing.propagation_world import WIKI, World, world

Case = Callable[[World], Awaitable[None]]


def run(case: Case, config: PropagationConfig | None = None, wiki_config: WikiConfig | None = None) -> None:
    async def in_world() -> None:
        async with world(config, wiki_config) as made:
            await case(made)

    asyncio.run(in_world())


async def rivers(made: World, *, dependents: int = 20, others: int = 5) -> None:
    """A template, pages that use it, pages that do not; all rendered."""
    await made.wiki.edit("Template:Box", "box")
    for number in range(dependents):
        await made.wiki.edit(f"River_{number}", f"{{{{Box}}}} river {number} [[River_0]]")
    for number in range(others):
        await made.wiki.edit(f"Lake_{number}", f"lake {number}")
    await made.until()
    await made.check_all()
    made.wiki.rendered.clear()


def test_one_edit_of_a_template_renders_each_dependent_once_and_nothing_else() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        purged_before = len(await made.purged())
        await made.wiki.edit("Template:Box", "a new box")
        await made.until()
        assert dict(made.wiki.rendered) == {"Template:Box": 1, **{f"River_{number}": 1 for number in range(20)}}
        await made.check_all()
        purged = await made.purged(since=purged_before)
        assert sorted(purged) == sorted(f"http://cache.example/{title}" for title in made.wiki.rendered)

    run(case)


@pytest.mark.parametrize("crash", [False, True])
def test_an_event_with_a_revision_that_the_wiki_never_had_hides_no_edit(*, crash: bool) -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=3)
        box = made.wiki._pages[made.wiki.key("Template:Box")]
        await made.wiki._send("mediawiki.revision-create", box, {"rev_id": 2**62, "rev_parent_id": 1})
        await made.until()
        if crash:
            await made.restart()
            await made.until()
        made.wiki.rendered.clear()
        await made.wiki.edit("Template:Box", "a new box")
        await made.until()
        assert dict(made.wiki.rendered) == {"Template:Box": 1, **{f"River_{number}": 1 for number in range(3)}}
        await made.check_all()

    run(case)


def test_an_edit_beside_a_revision_that_the_wiki_never_had_is_not_lost() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=3)
        box = made.wiki._pages[made.wiki.key("Template:Box")]
        made.wiki.hold = asyncio.Event()
        await made.wiki._send("mediawiki.revision-create", box, {"rev_id": 2**62, "rev_parent_id": 1})
        await made.turns()
        await made.wiki.edit("Template:Box", "edited while the pages render")
        await made.turns()
        made.wiki.hold.set()
        await made.until()
        await made.check_all()

    run(case)


def test_every_commit_is_announced_with_its_seq_and_cause() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=1, others=0)
        await made.wiki.edit("Template:Box", "a new box")
        await made.until()
        record = made.current("River_0")
        event = msgspec.json.decode((await made.records("headwater.page-changed"))[-1].value or b"")
        purge = msgspec.json.decode((await made.records("resource-purge"))[-1].value or b"")
        assert (event["page_title"], event["seq"], event["html_hash"], event["cause"]) == ("River_0", record.seq, record.html_hash, "edit")
        assert purge["headwater"] == {"wiki": WIKI, "page_id": record.page, "product": "html", "seq": record.seq}
        assert purge["meta"]["domain"] == DOMAIN

    run(case)


def test_an_edit_during_a_render_is_rendered_again() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=1, others=0)
        made.wiki.hold = asyncio.Event()
        made.wiki.started.clear()
        await made.wiki.edit("Template:Box", "second")
        await made.until(made.wiki.started)
        await made.wiki.edit("Template:Box", "third")  # the renders under way have read the second
        await made.turns()
        made.wiki.hold.set()
        made.wiki.hold = None
        await made.until()
        await made.check_all()
        assert made.wiki.rendered["River_0"] == 2

    run(case)


def test_a_render_that_gives_the_same_is_cut_off() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=3, others=0)
        before, news, bodies = made.current("River_1"), len(await made.purged()), await made.bodies.hashes(None, 1000)
        await made.wiki.edit("Template:Box", "box")  # a null edit
        await made.until()
        after = made.current("River_1")
        assert made.wiki.rendered["River_1"] == 1
        assert (after.html_hash, after.body_seq) == (before.html_hash, before.body_seq)
        assert after.seq > before.seq and after.step > before.step
        assert len(await made.purged()) == news
        assert await made.bodies.hashes(None, 1000) == bodies
        assert made.count(CUTOFFS) == 4

    run(case)


def test_a_revert_after_a_crash_behind_the_bodies_ends_with_the_right_html() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=2, others=0)
        right = made.wiki.html("River_0")
        original, put = made.bodies.put, asyncio.Event()

        async def put_and_tell(*arguments: object) -> None:
            await original(*arguments)  # type: ignore[arg-type]
            put.set()
            await asyncio.Event().wait()  # nothing after the bodies happens in this process

        made.bodies.put = put_and_tell  # type: ignore[method-assign,assignment]
        await made.wiki.edit("Template:Box", "vandalised")
        await made.until(put)
        made.bodies.put = original  # type: ignore[method-assign]
        await made.crash()
        await made.wiki.edit("Template:Box", "box")
        await made.start()
        await made.until()
        assert await made.served("River_0") == right
        await made.check_all()

    run(case)


def test_delete_restore_move_and_creation_reach_links_and_redirects() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Rhine", "rhine")
        await made.wiki.edit("Links", "[[Rhine]] [[Missing]] [[Moved]]")
        await made.wiki.edit("Rhein", "#REDIRECT [[Rhine]]")
        await made.wiki.edit("Other", "other")
        await made.until()
        key = made.wiki.key("Rhine")
        await made.wiki.edit("Missing", "now it is there")
        await made.until()
        await made.check_all()
        await made.wiki.delete("Rhine")
        await made.until()
        await made.check_all()
        assert b"red>Rhine" in (await made.served("Links") or b"")
        await made.wiki.restore(key)
        await made.until()
        await made.check_all()
        await made.wiki.move("Rhine", "Moved")
        await made.until()
        await made.check_all()
        assert "http://cache.example/Rhine" in await made.purged() and "http://cache.example/Moved" in await made.purged()
        assert made.current("Moved").page == key
        await made.wiki.edit("Rhein", "#REDIRECT [[Moved]]")
        await made.until()
        assert made.current("Rhein").redirect == "Moved"
        assert made.wiki.rendered["Other"] == 1

    run(case)


@pytest.mark.parametrize("where", ["changes", "commits"])
@pytest.mark.parametrize("applied", [True, False])
def test_an_append_of_unknown_outcome_ends_the_epoch_and_loses_nothing(where: str, applied: bool) -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=5, others=0)
        epoch = made.shard.epoch
        made.wiki.hold = asyncio.Event()
        made.wiki.started.clear()
        await made.wiki.edit("Template:Box", "new")
        if where == "commits":
            await made.until(made.wiki.started)
            await made.turns()
        if applied:
            made.log.lose_next_answer()
        else:
            made.log.fail_next(OutcomeUnknown("no answer"))
        made.wiki.hold.set()
        made.wiki.hold = None
        await made.turns()
        await made.clock.run_for(1)
        await made.until()
        await made.check_all()
        assert made.shard.epoch == epoch + 1
        seqs = [msgspec.json.decode(record.value)["seq"] for record in await made.records(f"commits.{WIKI}") if record.value]
        assert len(seqs) == len(set(seqs))

    run(case)


def test_an_append_for_an_operator_whose_outcome_is_unknown_ends_the_epoch_too() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=1, others=0)
        epoch = made.shard.epoch
        made.log.fail_next(OutcomeUnknown("no answer"))
        with pytest.raises(OutcomeUnknown):
            await made.service.backfill(WIKI, "start")
        await made.turns()
        await made.clock.run_for(1)
        await made.until()
        assert made.shard.epoch == epoch + 1
        assert not (await made.service.backfill(WIKI, "status")).running, "the log says that it never began"

    run(case)


def test_a_fenced_owner_stops_and_has_no_more_effects() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=2, others=0)
        old = made.owner
        made.wiki.hold = asyncio.Event()
        made.wiki.started.clear()
        await made.wiki.edit("Template:Box", "new")
        await made.until(made.wiki.started)
        second = made.make_service()
        await second.start()
        await made.turns(1000)
        held, made.wiki.hold = made.wiki.hold, None
        held.set()
        await made.turns(2000)
        assert old.state is OwnerState.FENCED
        assert made.count(OWNER_FENCED) == 1
        assert (await made.get("/v1/rivers/html/River_0")).status == 503
        made.service = second
        await made.until()
        await made.check_all()

    run(case)


def test_a_full_disk_delays_commits_and_reads_go_on() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=2, others=0)
        made.bodies.faults.before["put"] = [StorageFull("full")] * 3
        await made.wiki.edit("Template:Box", "new")
        await made.turns(1000)
        assert made.count(WRITES_DELAYED) >= 1
        assert (await made.get("/v1/rivers/html/River_0")).status == 200
        for _ in range(5):
            await made.clock.run_for(3)
        await made.until()
        await made.check_all()
        assert made.count(RECOVERIES) == 1

    run(case)


def test_a_full_log_delays_changes_and_loses_none() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=2, others=0)
        await made.wiki.edit("Template:Box", "new")
        made.log.fail_next(StorageFull("full"), times=2)
        await made.turns(500)
        await made.clock.run_for(10)
        await made.until()
        await made.check_all()

    run(case)


def test_a_page_that_keeps_failing_is_parked_and_returns_when_it_is_retried() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=2, others=0)
        before = await made.served("River_1")
        made.wiki.answers["River_1"].extend([Failed("boom")] * 3)
        await made.wiki.edit("Template:Box", "new")
        await made.turns()
        for _ in range(5):
            await made.clock.run_for(60)
        await made.until()
        assert made.count(PARKED) == 1
        assert await made.served("River_1") == before
        (letter,) = made.service.dead_letters(WIKI, limit=10)
        assert (letter.title, letter.reason, letter.attempts) == ("River_1", "boom", 3)
        response = await made.get("/v1/rivers/html/River_1")
        assert (response.status, dict(response.headers)["x-headwater-state"]) == (200, "stale")
        assert (await made.get("/v1/rivers/html/River_1", read="fresh")).status == 503
        assert (await made.call("POST", "/v1/rivers/dead-letters/retry")).status == 202
        await made.until()
        await made.check_all()
        assert made.service.dead_letters(WIKI, limit=10) == []
        assert (await made.records(f"dead-letters.propagation.{WIKI}"))[-1].value is None

    run(case, PropagationConfig(failures_max=3))


def test_dead_letters_outlive_a_crash_and_are_tried_again() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Rhine", "rhine")
        made.wiki.answers["Rhine"].extend([Failed("boom")] * 1)
        await made.until()
        assert len(made.service.dead_letters(WIKI, limit=10)) == 1
        await made.restart()
        await made.until()
        assert made.service.dead_letters(WIKI, limit=10) == []
        await made.check_all()

    run(case, PropagationConfig(failures_max=1))


def test_the_wikis_wish_to_wait_is_no_failure_of_the_page() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Rhine", "rhine")
        made.wiki.answers["Rhine"].extend([Retry(5, "busy")] * 4)
        await made.turns()
        for _ in range(8):
            await made.clock.run_for(60)
        await made.until()
        await made.check_all()
        assert made.count(PARKED) == 0
        assert made.wiki.rendered["Rhine"] == 5

    run(case, PropagationConfig(failures_max=1))


def test_a_page_that_alone_is_put_off_again_and_again_is_parked() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Rhine", "rhine")
        made.wiki.answers["Rhine"].extend([Retry(1, "times out")] * 10)
        await made.turns()
        for number in range(8):
            await made.wiki.edit(f"Lake_{number}", "lake")
            await made.clock.run_for(60)
        await made.until()
        assert made.count(PARKED) == 1

    run(case, PropagationConfig(failures_max=1, retries_max=3))


def test_nothing_is_lost_or_rendered_without_cause_over_crashes_and_a_lost_file() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.restart()
        await made.until()
        assert not made.wiki.rendered  # everything was committed: the log alone says so
        await made.clock.run_for(2)  # a checkpoint
        await made.restart()
        await made.until()
        assert not made.wiki.rendered
        await made.wiki.edit("Template:Box", "while it runs")
        await made.turns(3)
        await made.crash()
        await made.wiki.edit("Lake_1", "while it is down")
        await made.start()
        await made.until()
        await made.check_all()
        made.wiki.rendered.clear()
        await made.crash()
        made.checkpoints = type(made.checkpoints)()
        await made.start()
        await made.until()
        await made.check_all()
        assert not made.wiki.rendered

    run(case)


def test_a_checkpoint_of_another_log_is_refused_with_a_reason() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=1, others=0)
        await made.clock.run_for(2)
        await made.crash()
        checkpoints = made.checkpoints
        async with world() as other:
            await other.crash()
            other.checkpoints = checkpoints
            await other.start()
            await other.turns(500)
            assert other.owner.state is OwnerState.FAILED
            ((_, question),) = other.service.readiness()
            assert "another log" in (await question() or "")
        await made.start()

    run(case)


def test_a_hidden_revision_is_erased_and_never_served_again() -> None:
    async def case(made: World) -> None:
        bad = await made.wiki.edit("Rhine", "secret")
        await made.until()
        stored = made.current("Rhine").html_hash
        assert stored is not None
        await made.wiki.edit("Rhine", "clean")
        await made.until()
        assert await made.bodies.get(stored) == b"secret"
        await made.wiki.hide("Rhine", bad)
        await made.until()
        assert await made.bodies.get(stored) is None
        assert made.count(ERASED) == 1
        await made.check_all()

    run(case)


def test_a_render_of_a_revision_hidden_meanwhile_is_not_used() -> None:
    async def case(made: World) -> None:
        made.wiki.hold = asyncio.Event()
        bad = await made.wiki.edit("Rhine", "secret")
        await made.until(made.wiki.started)
        await made.wiki.edit("Rhine", "clean")
        await made.wiki.hide("Rhine", bad)
        await made.turns()
        made.wiki.hold.set()
        made.wiki.hold = None
        await made.until()
        await made.check_all()
        hashes = [msgspec.json.decode(record.value)["html_hash"] for record in await made.records(f"commits.{WIKI}") if record.value]
        assert hashes == [made.current("Rhine").html_hash]
        assert list(await made.bodies.hashes(None, 10)) == hashes

    run(case)


def test_an_erasure_is_carried_out_after_a_crash() -> None:
    async def case(made: World) -> None:
        bad = await made.wiki.edit("Rhine", "secret")
        await made.until()
        stored = made.current("Rhine").html_hash
        assert stored is not None
        await made.wiki.edit("Rhine", "clean")
        await made.until()
        await made.clock.run_for(2)
        made.bodies.faults.before["erase_revision"] = [Unavailable("no disk")] * 50
        await made.wiki.hide("Rhine", bad)
        await made.turns()
        await made.clock.run_for(5)  # a checkpoint would be due
        await made.crash()
        made.bodies.faults.before.clear()
        await made.start()
        await made.until()
        assert await made.bodies.get(stored) is None

    run(case)


def test_a_backfill_finds_silent_pages_and_goes_on_where_a_crash_left_it() -> None:
    async def case(made: World) -> None:
        for number in range(10):
            await made.wiki.edit(f"Lake_{number}", "lake", silent=True)
        await made.until()
        assert len(made.shard) == 0
        made.wiki.answers["Lake_1"].append(Retry(3600, "later"))
        assert (await made.call("POST", "/v1/rivers/backfill")).status == 202
        await made.turns(500)
        status = await made.service.backfill(WIKI, "status")
        assert status.running and 0 < status.seen < 10
        await made.restart()
        for _ in range(20):
            await made.turns()
            await made.clock.run_for(2)
        await made.until()
        status = await made.service.backfill(WIKI, "status")
        assert (status.running, status.seen, len(made.shard)) == (False, 10, 10)
        await made.check_all()

    run(case, PropagationConfig(backfill_batch_max=3, backfill_rate_max=2))


def test_pages_that_a_backfill_added_outlive_a_crash_before_their_first_commit() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Rhine", "rhine")
        await made.until()
        await made.clock.run_for(2)  # there is a checkpoint: the file is not taken for lost
        for number in range(4):
            await made.wiki.edit(f"Lake_{number}", "lake", silent=True)
        made.wiki.hold = asyncio.Event()
        assert (await made.call("POST", "/v1/rivers/backfill")).status == 202
        await made.turns(500)
        assert not (await made.service.backfill(WIKI, "status")).running
        await made.crash()
        made.wiki.hold = None
        await made.start()
        await made.until()
        await made.check_all()

    run(case)


def test_a_backfill_stops_when_asked_and_can_be_resumed() -> None:
    async def case(made: World) -> None:
        for number in range(10):
            await made.wiki.edit(f"Lake_{number}", "lake", silent=True)
        await made.until()
        assert (await made.call("POST", "/v1/rivers/backfill")).status == 202
        await made.turns(100)
        await made.call("POST", "/v1/rivers/backfill", body=b'{"action":"stop"}')
        await made.clock.run_for(60)
        status = await made.service.backfill(WIKI, "status")
        assert not status.running and status.seen < 10
        await made.call("POST", "/v1/rivers/backfill", body=b'{"action":"start"}')
        await made.clock.run_for(60)
        await made.until()
        assert (await made.service.backfill(WIKI, "status")).seen == 10
        await made.check_all()

    run(case, PropagationConfig(backfill_batch_max=3, backfill_rate_max=2))


def test_a_lost_file_starts_a_finished_backfill_anew() -> None:
    async def case(made: World) -> None:
        for number in range(4):
            await made.wiki.edit(f"Lake_{number}", "lake", silent=True)
        for number in range(4):
            made.wiki.answers[f"Lake_{number}"].append(Failed("never committed"))
        await made.until()
        assert (await made.call("POST", "/v1/rivers/backfill")).status == 202
        await made.turns(2000)
        assert not (await made.service.backfill(WIKI, "status")).running
        await made.crash()
        made.checkpoints = type(made.checkpoints)()
        await made.start()
        await made.clock.run_for(60)
        await made.until()
        await made.check_all()

    run(case, PropagationConfig(failures_max=1))


def test_events_of_other_wikis_change_nothing_and_unusable_ones_are_passed_over() -> None:
    async def case(made: World) -> None:
        made.wiki.domain = "lakes.example"
        await made.wiki.edit("Foreign", "x")
        made.wiki.domain = DOMAIN
        await made.wiki.edit("Own", "y")
        await made.until()
        assert dict(made.wiki.rendered) == {"Own": 1}
        assert [record.key for record in await made.records(f"commits.{WIKI}")] == [str(made.wiki.key("Own")).encode()]

    run(case)


def test_a_body_beyond_the_maximum_parks_its_page() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Long", "x" * 200)
        await made.wiki.edit("Short", "x")
        await made.until()
        (letter,) = made.service.dead_letters(WIKI, limit=10)
        assert letter.title == "Long" and "maximum" in letter.reason
        assert await made.served("Short") == b"x"

    run(case, PropagationConfig(body_bytes_max=PropagationConfig().body_bytes_max.__class__(100), failures_max=1))


def test_an_outcome_without_a_lease_of_its_own_is_not_committed() -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=1, others=0)
        assert made.owner.epoch is not None
        page = made.page_key("River_0")
        lease = Lease(999, page, made.current("River_0").title, Lsn(0), Urgency.NOW, 0)
        before = made.current("River_0")
        outcome = Rendered(before.title, b"forged", frozenset(), 1)
        await made.owner.epoch.committer.offer(Finished(lease, outcome, ()))
        await made.turns()
        assert made.current("River_0") == before

    run(case)


@pytest.mark.parametrize("jump_s", [-5 * 3600, 5 * 3600])
def test_a_jump_of_the_wall_clock_neither_holds_pages_back_nor_lets_them_go_early(jump_s: int) -> None:
    async def case(made: World) -> None:
        await rivers(made, dependents=1, others=0)
        made.wiki.answers["River_0"].append(Retry(10, "lag"))
        await made.wiki.edit("Template:Box", "a new box")
        await made.clock.run_for(1)
        made.clock.jump_wall(jump_s)
        await made.clock.run_for(5)
        assert made.wiki.rendered["River_0"] == 1, "put off, and not yet asked for again"
        await made.clock.run_for(15)
        await made.check_all()

    run(case)


def test_pages_put_off_while_the_wiki_was_down_are_rendered_soon_after_it_is_back() -> None:
    """Each was put off for minutes, one after the other; the wiki's first answer ends that for all."""

    async def case(made: World) -> None:
        await rivers(made, dependents=20, others=1)
        for title in made.wiki.titles():
            made.wiki.answers[title].extend([Retry(1, "cannot be reached")] * 1000)
        await made.wiki.edit("Template:Box", "a new box")
        await made.clock.run_for(3600)
        made.wiki.answers.clear()
        made.wiki.rendered.clear()
        await made.wiki.edit("Lake_0", "an edit after it")
        await made.clock.run_for(10)
        await made.check_all()
        assert made.count(PARKED) == 0
        assert dict(made.wiki.rendered) == {"Template:Box": 1, "Lake_0": 1, **{f"River_{number}": 1 for number in range(20)}}

    run(case)

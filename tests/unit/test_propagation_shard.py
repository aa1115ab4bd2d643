"""What the shard decides, one rule at a time. The interplay is tested in tests/simulation and tests/property."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from headwater.kernel.errors import Corrupted
from headwater.propagation.model import Change, CommitRecord, Gone, Lease, Lsn, PageKey, Rendered, Resource, Title, Urgency
from headwater.propagation.ports import Checkpoint
from headwater.propagation.shard import Decision, Freshness, Shard

BASE = 100
ONE, TWO, THREE = PageKey(1), PageKey(2), PageKey(3)
A, B = Title("A"), Title("B")
T = Resource("c:T")


class Desk:
    """A shard and whoever drives it: numbers changes and commits, keeps time."""

    def __init__(self, *, replication_window_ms: int = 0) -> None:
        self.shard = Shard(epoch=1, log_base=BASE, replication_window_ms=replication_window_ms)
        self.shard.recovered()
        self.now_ms = 1_000_000
        self.lsn = BASE
        self.offset = 0
        self.saved: Checkpoint | None = None

    def change(self, resource: str, urgency: Urgency = Urgency.REST, **fields: object) -> int:
        """Apply a change; returns how many pages are newly dirty."""
        self.lsn += 2
        change = Change(Resource(resource), "edit", urgency, "id", self.now_ms, **fields)  # type: ignore[arg-type]
        return self.shard.apply(Lsn(self.lsn), change, now_ms=self.now_ms).newly

    def page(self, page: PageKey, title: Title, *reads: str, body: bytes = b"html") -> CommitRecord:
        """A page that has been rendered."""
        self.shard.add(page, title, Urgency.REST, now_ms=self.now_ms)
        (lease,) = self.lease()
        return self.commit(lease, rendered(title, *reads, body=body)).record

    def lease(self, count: int = 10) -> Sequence[Lease]:
        return self.shard.lease(count, now_ms=self.now_ms)

    def decide(self, lease: Lease, outcome: Rendered | Gone) -> Decision:
        decision = self.shard.decide(lease, outcome, now_ms=self.now_ms)
        assert decision is not None
        return decision

    def settle(self, decision: Decision) -> bool:
        self.offset += 3
        again = self.shard.settle(decision, self.offset, now_ms=self.now_ms)
        self.shard.validate(thorough=True)
        return again

    def commit(self, lease: Lease, outcome: Rendered | Gone) -> Decision:
        decision = self.decide(lease, outcome)
        self.settle(decision)
        return decision

    def save(self) -> Checkpoint:
        """Save a checkpoint, merged with what was saved before."""
        new = self.shard.checkpoint()
        old = self.saved
        pages = {**({} if old is None else old.pages), **new.pages}
        marks = {**({} if old is None else old.marks), **new.marks}
        self.saved = Checkpoint(
            new.epoch,
            new.log_base,
            new.applied,
            new.commits_after,
            new.dirty,
            {number: row for number, row in pages.items() if row is not None},
            {name: row for name, row in marks.items() if row is not None},
        )
        self.shard.saved(new)
        return self.saved

    def recover(self) -> Shard:
        """A shard of the next epoch, from the last checkpoint."""
        assert self.saved is not None
        shard = Shard(epoch=self.shard.epoch + 1, log_base=BASE)
        shard.load(self.saved)
        shard.recovered()
        return shard


def rendered(title: Title, *reads: str, body: bytes = b"html", redirect: Title | None = None) -> Rendered:
    return Rendered(title, body, frozenset(map(Resource, reads)), rev=7, redirect=redirect)


# --- APPLY


def test_a_change_marks_what_reads_it_and_nothing_else() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.page(TWO, B, "c:U")
    assert desk.change("c:T") == 1
    assert desk.shard.freshness(ONE) is Freshness.STALE
    assert desk.shard.freshness(TWO) is Freshness.FRESH
    assert desk.shard.stale_reads(ONE) == [("c:T", desk.lsn)]
    assert desk.shard.dependents(T, 5) == (1, (ONE,))


def test_a_page_reads_its_own_text_and_existence() -> None:
    desk = Desk()
    desk.page(ONE, A)
    assert desk.shard.current(ONE).reads == ("c:A", "e:A")  # type: ignore[union-attr]
    assert desk.change("c:A") == 1


@pytest.mark.parametrize(("rev", "marks"), [(4, 0), (5, 0), (6, 1), (None, 1)])
def test_a_change_whose_rev_is_not_above_the_highest_is_ignored(rev: int | None, marks: int) -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T", rev=5)
    (lease,) = desk.lease()
    desk.commit(lease, rendered(A, "c:T"))
    assert desk.change("c:T", rev=rev) == marks
    assert desk.shard.counts.ignored == 1 - marks


def test_a_change_without_rev_resets_the_highest() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T", rev=5)
    desk.change("c:T")  # deleted, say
    desk.commit(desk.lease()[0], rendered(A, "c:T"))
    assert desk.change("c:T", rev=3) == 1  # restored with an old revision


def test_a_repeated_change_that_is_more_urgent_hastens_what_still_waits() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T", rev=5)
    assert desk.change("c:T", Urgency.NOW, rev=5) == 0
    assert desk.shard.backlog()[Urgency.NOW] == 1
    desk.shard.validate(thorough=True)


def test_a_change_makes_and_renames_nodes_and_these_are_dirty_though_nobody_reads_them() -> None:
    desk = Desk()
    assert desk.change("e:A", page_id=ONE, title=A) == 1
    assert desk.shard.find(A) == ONE
    desk.commit(desk.lease()[0], rendered(A))
    assert desk.change("e:B", page_id=ONE, title=B) == 1
    assert desk.shard.find(B) == ONE and desk.shard.find(A) is None
    assert desk.lease()[0].title == B  # not skipped: its name is newer than its step


def test_a_repeated_creation_makes_the_node_but_does_not_rename() -> None:
    desk = Desk()
    desk.page(TWO, B, "c:A")
    desk.change("c:A", rev=5)
    desk.change("c:A", rev=5, page_id=ONE, title=A)
    assert desk.shard.find(A) == ONE
    desk.change("e:B", page_id=ONE, title=Title("Moved"))
    desk.change("c:A", rev=5, page_id=ONE, title=A)
    assert desk.shard.title(ONE) == "Moved"


def test_the_later_claim_of_a_title_wins() -> None:
    desk = Desk()
    desk.page(ONE, A)
    desk.change("c:A")
    (lease,) = desk.lease()
    desk.change("e:B", page_id=ONE, title=B)
    desk.change("e:A", page_id=TWO, title=A)  # the redirect left behind
    desk.commit(lease, rendered(A))  # rendered before the move
    assert desk.shard.find(A) == TWO and desk.shard.find(B) == ONE
    assert desk.shard.title(ONE) == B and desk.shard.freshness(ONE) is Freshness.STALE


def test_what_the_wiki_says_of_a_title_now_wins_over_a_repeated_claim() -> None:
    desk = Desk()
    desk.page(TWO, A)
    desk.change("e:A", page_id=ONE, title=A)  # a late repetition: page 1 is B since long
    desk.commit(next(lease for lease in desk.lease() if lease.page == ONE), rendered(B))
    assert desk.shard.find(A) is None
    assert not desk.shard.add(TWO, A, Urgency.NOW, now_ms=desk.now_ms)
    assert desk.shard.find(A) == TWO


def test_a_visibility_change_is_urgent() -> None:
    desk = Desk()
    desk.page(ONE, A)
    desk.shard.apply(Lsn(900), Change(Resource("c:A"), "visibility", Urgency.NOW, "id", 0, erase_rev=4), now_ms=0)
    assert desk.shard.backlog()[Urgency.NOW] == 1


# --- classes and LEASE


def test_heat_decides_the_class() -> None:
    desk = Desk()
    for page, title in ((ONE, A), (TWO, B), (THREE, Title("C"))):
        desk.page(page, title, "c:T")
    desk.shard.viewed([TWO], now_ms=desk.now_ms)
    desk.now_ms += 3_600_000
    desk.shard.viewed([ONE, PageKey(99)], now_ms=desk.now_ms)
    desk.change("c:T")
    assert [(lease.page, lease.urgency) for lease in desk.lease()] == [(ONE, 1), (TWO, 2), (THREE, 3)]


def test_a_view_moves_what_waits_to_class_one_with_its_age() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    since_ms, desk.now_ms = desk.now_ms, desk.now_ms + 5000
    desk.shard.viewed([ONE], now_ms=desk.now_ms)
    assert desk.shard.stalest_ms() == {Urgency.HOT: since_ms}


def test_promotion_never_delays() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T", Urgency.NOW)
    desk.shard.promote(ONE, Urgency.HOT)
    assert desk.lease()[0].urgency is Urgency.NOW


def test_within_a_class_the_longest_stale_goes_first() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.page(TWO, B, "c:U")
    desk.change("c:U")
    desk.now_ms += 1
    desk.change("c:T")
    assert [lease.page for lease in desk.lease(1)] == [TWO]
    assert [lease.page for lease in desk.lease(1)] == [ONE]


def test_only_the_classes_asked_for_are_leased() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    assert not desk.shard.lease(5, now_ms=desk.now_ms, classes=(Urgency.NOW, Urgency.HOT))
    assert desk.shard.ready(now_ms=desk.now_ms)


def test_never_two_leases_for_a_page_and_skip_afterwards() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T", "c:U")
    desk.change("c:T")
    (lease,) = desk.lease()
    assert desk.change("c:U") == 1  # marked in flight
    assert desk.lease() == [] and not desk.shard.ready(now_ms=desk.now_ms)
    assert desk.shard.freshness(ONE) is Freshness.RENDERING
    assert not desk.settle(desk.decide(lease, rendered(A, "c:T")))  # reads c:U no more
    assert desk.lease() == [] and desk.shard.counts.skipped == 1
    assert desk.shard.freshness(ONE) is Freshness.FRESH


def test_the_floor_is_what_was_applied_at_the_lease() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    (lease,) = desk.lease()
    assert lease.floor == desk.lsn
    desk.change("c:X")
    assert desk.decide(lease, rendered(A, "c:T")).record.step == lease.floor


# --- COMMIT, SETTLE, VERIFY


def test_cutoff_records_reads_and_step_and_keeps_what_is_served() -> None:
    desk = Desk()
    before = desk.page(ONE, A, "c:T")
    desk.change("c:T")
    decision = desk.commit(desk.lease()[0], rendered(A, "c:T", "c:U"))
    assert not decision.changed and decision.body is None and decision.purge_titles == ()
    assert decision.record.body_seq == before.seq < decision.record.seq
    assert "c:U" in decision.record.reads and decision.record.step == desk.lsn
    assert desk.change("c:U") == 1


@pytest.mark.parametrize(
    ("outcome", "titles"),
    [
        (rendered(A, body=b"other"), ("A",)),
        (rendered(B), ("A", "B")),
        (rendered(A, redirect=B), ("A",)),
        (Gone(A), ("A",)),
    ],
)
def test_what_changes_is_put_and_purged(outcome: Rendered | Gone, titles: tuple[str, ...]) -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    decision = desk.commit(desk.lease()[0], outcome)
    assert decision.changed and decision.purge_titles == titles
    assert decision.record.body_seq == decision.record.seq
    assert (decision.body is None) == isinstance(outcome, Gone)
    assert decision.cause == "edit"


def test_an_overtaken_render_is_verified_in_the_better_class() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    (lease,) = desk.lease()
    desk.change("c:U", Urgency.NOW)  # nobody is known to read it
    assert desk.settle(desk.decide(lease, rendered(A, "c:T", "c:U")))  # a new edge hides the change
    assert desk.lease()[0].urgency is Urgency.NOW


def test_a_render_from_before_its_change_arrived_counts_as_overtaken() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T", body=b"early")
    change = Change(T, "edit", Urgency.REST, "id", desk.now_ms - 5)  # happened before the render above
    desk.shard.apply(Lsn(500), change, now_ms=desk.now_ms)
    desk.commit(desk.lease()[0], rendered(A, "c:T", body=b"early"))
    assert (desk.shard.counts.cutoffs, desk.shard.counts.overtaken) == (1, 1)


def test_seq_rises_with_every_attempt_of_the_shard() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.page(TWO, B, "c:T")
    desk.change("c:T")
    one, two = desk.lease()
    seqs = [desk.decide(lease, rendered(A)).record.seq for lease in (two, one, two, one)]
    assert seqs == sorted(set(seqs)) and seqs[0] > desk.shard.current(TWO).seq  # type: ignore[union-attr]
    assert all(seq >> 32 == 1 for seq in seqs)


def test_only_the_current_lease_commits() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    (lease,) = desk.lease()
    desk.shard.release(lease, not_before_ms=0, failed=False)
    (again,) = desk.lease()
    assert desk.shard.decide(lease, rendered(A), now_ms=0) is None
    desk.shard.release(lease, not_before_ms=10**15, failed=True)  # an old lease releases nothing
    assert desk.shard.decide(again, rendered(A), now_ms=0) is not None


def test_commits_settle_in_the_order_of_the_log() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.page(TWO, B, "c:T")
    desk.change("c:T")
    one, two = (desk.decide(lease, rendered(lease.title)) for lease in desk.lease())
    desk.shard.settle(two, 90, now_ms=0)
    with pytest.raises(AssertionError):
        desk.shard.settle(one, 80, now_ms=0)


def test_a_page_that_is_gone_leaves_when_nobody_reads_its_title() -> None:
    desk = Desk()
    desk.page(ONE, A)
    desk.change("e:A")
    decision = desk.commit(desk.lease()[0], Gone(A))
    assert decision.tombstone and decision.record.reads == ("e:A",) and decision.record.html_hash is None
    assert len(desk.shard) == 0 and desk.shard.find(A) is None


def test_a_page_that_is_gone_stays_while_another_reads_its_title() -> None:
    desk = Desk()
    desk.page(ONE, A)
    desk.page(TWO, B, "e:A")
    desk.change("e:A")
    decision = desk.commit(next(lease for lease in desk.lease() if lease.page == ONE), Gone(A))
    assert not decision.tombstone and desk.shard.find(A) == ONE


def test_a_page_restored_while_it_was_found_gone_stays() -> None:
    desk = Desk()
    desk.page(ONE, A)
    desk.change("e:A")
    decision = desk.decide(desk.lease()[0], Gone(A))
    desk.change("e:A", page_id=ONE, title=A)
    assert decision.tombstone and desk.settle(decision)
    assert desk.shard.find(A) == ONE and desk.shard.freshness(ONE) is Freshness.STALE


# --- release, park


def test_a_released_page_waits_for_its_time_with_its_old_age() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    since_ms = desk.now_ms
    (lease,) = desk.lease()
    desk.now_ms += 50
    desk.shard.release(lease, not_before_ms=desk.now_ms + 100, failed=True)
    assert desk.lease() == [] and desk.shard.next_due_ms() == desk.now_ms + 100
    assert desk.shard.since_ms(ONE) == since_ms
    desk.now_ms += 100
    (again,) = desk.lease()
    assert (lease.attempt, again.attempt) == (0, 1)


def test_a_change_frees_a_page_that_failed_but_not_one_that_the_wiki_put_off() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.page(TWO, B, "c:T")
    desk.change("c:T")
    for lease in desk.lease():
        desk.shard.release(lease, not_before_ms=desk.now_ms + 100, failed=lease.page == ONE)
    desk.change("c:T")
    assert [(lease.page, lease.attempt) for lease in desk.lease()] == [(ONE, 0)]


def test_a_parked_page_is_stale_until_a_change_or_unpark() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    frees: list[Callable[[], object]] = [partial(desk.change, "c:T"), partial(desk.shard.unpark, ONE)]
    for free in frees:
        desk.change("c:T")
        desk.shard.park(desk.lease()[0], "too large", now_ms=desk.now_ms)
        assert desk.shard.parked() == {ONE: "too large"} and desk.lease() == []
        assert desk.shard.freshness(ONE) is Freshness.STALE
        desk.shard.validate(thorough=True)
        assert free()
        assert desk.shard.parked() == {}
        desk.commit(desk.lease()[0], rendered(A, "c:T"))
    assert not desk.shard.unpark(ONE)


def test_a_parked_page_is_tried_again_after_a_restart() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    desk.shard.park(desk.lease()[0], "too large", now_ms=desk.now_ms)
    desk.save()
    assert [lease.page for lease in desk.recover().lease(5, now_ms=desk.now_ms)] == [ONE]


# --- forgetting


def test_last_changes_are_forgotten_when_nothing_can_miss_them() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T")
    (lease,) = desk.lease()
    desk.change("c:X")  # above the floor of the lease
    desk.now_ms += 1
    desk.change("c:Y")
    assert desk.shard.counts.pruned == 0
    assert desk.settle(desk.decide(lease, rendered(A, "c:X")))
    desk.commit(desk.lease()[0], rendered(A, "c:X"))
    desk.now_ms += 1
    desk.change("c:Z")
    assert desk.shard.counts.pruned >= 2  # c:T, which nobody reads now, and c:Y
    assert desk.change("c:X") == 1


def test_last_changes_within_the_replication_window_are_kept() -> None:
    desk = Desk(replication_window_ms=10_000)
    desk.change("c:X", rev=3)
    desk.change("c:Y", rev=4)
    desk.change("c:Y", rev=2)
    desk.change("c:Z", rev=5)
    desk.change("c:Z")
    assert desk.shard.revs_within(desk.now_ms) == {"c:X": 3, "c:Y": 4, "c:Z": None}
    desk.change("c:Z", rev=6)
    assert desk.shard.revs_within(desk.now_ms)[Resource("c:Z")] is None  # the change without a revision may be the later one in the wiki
    desk.now_ms += 10_001
    desk.change("c:W", rev=9)
    assert desk.shard.revs_within(desk.now_ms - 10_000) == {"c:W": 9}
    assert desk.shard.counts.pruned == 3


# --- checkpoints and recovery


def test_a_checkpoint_brings_everything_back() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.page(TWO, B, "c:U")
    desk.change("c:T", rev=5)
    desk.save()
    shard = desk.recover()
    shard.validate(thorough=True)
    assert shard.applied == desk.lsn and shard.commits_after == desk.offset
    assert shard.current(ONE) == desk.shard.current(ONE)
    assert shard.stalest_ms() == {Urgency.REST: desk.now_ms}
    assert shard.apply(Lsn(desk.lsn + 1), Change(T, "edit", Urgency.REST, "id", 0, rev=5), now_ms=0).ignored


def test_pages_in_flight_are_saved_as_dirty() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.change("c:T", Urgency.HOT)
    desk.lease()
    desk.save()
    assert desk.recover().backlog()[Urgency.HOT] == 1


def test_a_checkpoint_holds_only_what_was_touched_since_the_last_saved_one() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.save()
    desk.page(TWO, B)
    taken = desk.shard.checkpoint()
    desk.change("c:T")
    desk.commit(desk.lease()[0], rendered(A, "c:T"))
    assert len(taken.pages) == 1  # page 1 was touched after it was taken
    assert len(desk.shard.checkpoint().pages) == 2  # the one before was never saved
    last = desk.shard.checkpoint()
    with pytest.raises(AssertionError):
        desk.shard.saved(taken)
    desk.shard.saved(last)
    assert len(desk.shard.checkpoint().pages) == 0


def test_a_checkpoint_is_one_instant() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    taken = desk.shard.checkpoint()
    before = {number: taken.pages[number] for number in taken.pages}
    desk.change("c:T")
    desk.commit(desk.lease()[0], rendered(A, "c:T", body=b"other"))
    assert {number: taken.pages[number] for number in taken.pages} == before


def test_the_number_of_a_page_that_left_is_used_again_only_after_it_was_saved() -> None:
    desk = Desk()
    desk.page(ONE, A)
    desk.change("e:A")
    desk.commit(desk.lease()[0], Gone(A))
    desk.page(TWO, B)
    taken = desk.shard.checkpoint()
    assert [number for number, row in taken.pages.items() if row is None] == [0]
    desk.shard.saved(taken)
    desk.page(THREE, Title("C"))
    assert list(desk.shard.checkpoint().pages) == [0]


def test_recovery_replays_changes_then_commits_and_checks_each_again() -> None:
    desk = Desk()
    desk.page(ONE, A, "c:T")
    desk.page(TWO, B, "c:T")
    desk.save()
    desk.change("c:T")
    one, two = desk.lease()
    done, late = desk.commit(one, rendered(A, "c:T")), desk.decide(two, rendered(B, "c:T"))
    shard = Shard(epoch=2, log_base=BASE)
    assert desk.saved is not None
    shard.load(desk.saved)
    for lsn in (BASE + 1, desk.lsn, desk.lsn, desk.lsn + 7):  # idempotent; the last came after both renders had begun
        shard.replay_change(Lsn(lsn), Change(Resource("c:U") if lsn > desk.lsn else T, "edit", Urgency.REST, "id", 0))
    for offset, decision in ((desk.offset, done), (desk.offset, done), (desk.offset + 1, late)):
        shard.replay_commit(offset, decision.record.page, decision.record)
    shard.recovered()
    shard.validate(thorough=True)
    assert shard.freshness(ONE) is Freshness.FRESH and shard.freshness(TWO) is Freshness.FRESH
    assert shard.commits_after == desk.offset + 1


def test_recovery_without_a_file_counts_trimmed_changes_as_changes_of_everything() -> None:
    desk = Desk()
    old = desk.page(ONE, A, "c:T")
    desk.change("c:X")
    new = desk.page(TWO, B, "c:T")
    shard = Shard(epoch=2, log_base=BASE)
    shard.changes_trimmed_to(Lsn(desk.lsn + 1))
    for offset, record in enumerate((old, new)):
        shard.replay_commit(offset, record.page, record)
    shard.recovered()
    assert shard.freshness(ONE) is Freshness.STALE and shard.freshness(TWO) is Freshness.FRESH
    checkpoint = shard.checkpoint()
    third = Shard(epoch=3, log_base=BASE)
    third.load(checkpoint)  # the horizon is saved with it, else the page would be skipped as clean
    third.recovered()
    assert [lease.page for lease in third.lease(5, now_ms=0)] == [ONE]


def test_a_replayed_tombstone_spares_what_has_come_back() -> None:
    desk = Desk()
    desk.page(ONE, A)
    desk.save()
    desk.change("e:A")
    gone = desk.decide(desk.lease()[0], Gone(A))
    for lsn, alive in ((None, False), (desk.lsn + 2, True)):
        shard = Shard(epoch=2, log_base=BASE)
        assert desk.saved is not None
        shard.load(desk.saved)
        shard.replay_change(Lsn(desk.lsn), Change(Resource("e:A"), "delete", Urgency.REST, "id", 0))
        if lsn is not None:
            shard.replay_change(Lsn(lsn), Change(Resource("e:A"), "restore", Urgency.REST, "id", 0, page_id=ONE, title=A))
        shard.replay_commit(50, ONE, gone.record)
        shard.replay_commit(51, ONE, None)
        shard.recovered()
        shard.validate(thorough=True)
        assert (shard.find(A) == ONE) is alive


def test_the_order_of_recovery_is_asserted() -> None:
    desk = Desk()
    record = desk.page(ONE, A)
    checkpoint = desk.save()
    change = Change(T, "edit", Urgency.REST, "id", 0)
    shard = Shard(epoch=2, log_base=BASE)
    with pytest.raises(AssertionError):
        shard.lease(1, now_ms=0)
    with pytest.raises(AssertionError):
        shard.apply(Lsn(500), change, now_ms=0)
    with pytest.raises(AssertionError):
        shard.checkpoint()
    shard.replay_change(Lsn(500), change)
    with pytest.raises(AssertionError):
        shard.load(checkpoint)
    with pytest.raises(AssertionError):
        shard.changes_trimmed_to(Lsn(9000))
    shard.replay_commit(5, ONE, record)
    with pytest.raises(AssertionError):
        shard.replay_change(Lsn(501), change)
    shard.recovered()
    with pytest.raises(AssertionError):
        shard.replay_commit(6, ONE, record)


def test_a_checkpoint_of_another_log_or_epoch_is_refused() -> None:
    checkpoint = Desk().save()
    with pytest.raises(Corrupted):
        Shard(epoch=2, log_base=BASE + 1).load(checkpoint)
    with pytest.raises(AssertionError):
        Shard(epoch=1, log_base=BASE).load(checkpoint)


@pytest.mark.parametrize("dirty", [{9: b""}, {3: b"x"}])
def test_a_damaged_checkpoint_is_refused(dirty: dict[int, bytes]) -> None:
    checkpoint = Checkpoint(1, BASE, BASE, 0, dirty, {}, {})
    with pytest.raises(Corrupted):
        Shard(epoch=2, log_base=BASE).load(checkpoint)


# --- redirects


def test_a_title_may_redirect_by_its_commit_or_while_its_existence_is_newer() -> None:
    desk = Desk()
    desk.page(ONE, A)
    assert not desk.shard.may_redirect(A) and not desk.shard.may_redirect(B)
    desk.change("e:A")
    assert desk.shard.may_redirect(A)
    desk.commit(desk.lease()[0], rendered(A, redirect=B))
    assert desk.shard.may_redirect(A)
    desk.change("c:A")
    desk.commit(desk.lease()[0], rendered(A))
    assert not desk.shard.may_redirect(A)

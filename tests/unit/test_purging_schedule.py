"""The schedule of purges: layers, retries, dead letters, joining, second purges. No I/O: times go in, actions come out."""

import pytest

from headwater.log.model import Offset, PartitionId, Position
from headwater.purging.model import Purge, RetryPolicy
from headwater.purging.schedule import Action, AskServed, Park, Schedule, Send, Stage, TargetPlan

POLICY = RetryPolicy(attempts_max=3, park_after_s=100.0, backoff_first_s=1.0, backoff_max_s=8.0, down_after=3)
ELBE = "http://rivers.example/Elbe"
SETTLE_S = 60.0


def position(offset: int) -> Position:
    return Position(PartitionId("resource-purge"), Offset(offset))


def wish(url: str = ELBE, *, seq: int | None = None, page_id: int = 7, only: str | None = None) -> Purge:
    own = seq is not None
    return Purge(url=url, seq=seq, wiki="rivers" if own else None, page_id=page_id if own else None, time_ms=0, only=only)


def schedule_of(*plans: TargetPlan, policy: RetryPolicy = POLICY) -> Schedule:
    return Schedule(plans, policy=policy, settle_s=SETTLE_S, served_poll_s=0.5)


def plan(name: str, layer: int = 0, concurrency_max: int = 4) -> TargetPlan:
    return TargetPlan(name, layer, concurrency_max)


def actions(schedule: Schedule, now_s: float) -> list[Action]:
    found = []
    while (action := schedule.next_action(now_s)) is not None:
        found.append(action)
    return found


def send(schedule: Schedule, now_s: float) -> Send:
    (action,) = actions(schedule, now_s)
    assert isinstance(action, Send)
    return action


def finished_offsets(schedule: Schedule) -> list[int]:
    return [place.offset for done in schedule.take_finished() for place in done.positions]


def test_without_targets_a_purge_is_finished_at_once() -> None:
    schedule = schedule_of()
    schedule.admit(wish(), position(3), 0)
    assert finished_offsets(schedule) == [3]


def test_a_purge_of_the_wiki_is_finished_by_one_acknowledgement_of_each_target() -> None:
    schedule = schedule_of(plan("a"), plan("b"))
    schedule.admit(wish(), position(1), 0)
    first, second = actions(schedule, 0)
    assert isinstance(first, Send) and isinstance(second, Send)
    schedule.acknowledged(first, 1)
    assert finished_offsets(schedule) == []
    schedule.acknowledged(second, 2)
    assert finished_offsets(schedule) == [1]
    assert len(schedule) == 0


def test_a_layer_begins_when_all_of_the_layer_before_acknowledged() -> None:
    schedule = schedule_of(plan("edge", 1), plan("inner", 0), plan("inner2", 0))
    schedule.admit(wish(), position(1), 0)
    inner = actions(schedule, 0)
    assert {action.target for action in inner if isinstance(action, Send)} == {"inner", "inner2"}
    assert isinstance(inner[0], Send) and isinstance(inner[1], Send)
    schedule.acknowledged(inner[0], 1)
    assert actions(schedule, 1) == []
    schedule.acknowledged(inner[1], 1)
    assert send(schedule, 1).target == "edge"


def test_a_failed_purge_is_sent_again_after_a_growing_pause() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(), position(1), 0)
    schedule.failed(send(schedule, 0), "down", 0.0, 0.0)
    assert schedule.next_due_s() == 0.5
    assert actions(schedule, 0.49) == []
    schedule.failed(send(schedule, 0.5), "down", 0.999, 0.5)
    due_s = schedule.next_due_s()
    assert due_s is not None and 2.49 < due_s <= 2.5


def test_a_purge_is_parked_after_the_last_attempt_and_finished_when_the_letter_is_durable() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(), position(1), 0)
    now_s = 0.0
    for _ in range(POLICY.attempts_max):
        now_s += 10
        schedule.failed(send(schedule, now_s), "answered 503", 0.0, now_s)
    (park,) = actions(schedule, now_s)
    assert isinstance(park, Park)
    assert (park.target, park.reason, park.attempts) == ("a", "answered 503", 3)
    assert finished_offsets(schedule) == []
    schedule.parked(park, now_s)
    assert finished_offsets(schedule) == [1]


def test_a_refused_purge_is_parked_at_once_and_the_others_go_on() -> None:
    schedule = schedule_of(plan("a"), plan("edge", 1))
    schedule.admit(wish(), position(1), 0)
    schedule.refused(send(schedule, 0), "answered 403", 0)
    (park,) = actions(schedule, 0)
    assert isinstance(park, Park)
    schedule.parked(park, 0)
    schedule.acknowledged(send(schedule, 0), 0)
    assert finished_offsets(schedule) == [1]


def test_a_letter_that_cannot_be_stored_keeps_the_record_unfinished() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(), position(1), 0)
    schedule.refused(send(schedule, 0), "answered 403", 0)
    (park,) = actions(schedule, 0)
    assert isinstance(park, Park)
    schedule.unparked(park, 0.0, 0)
    assert actions(schedule, 0) == []
    assert actions(schedule, 1_000) == [park]
    assert finished_offsets(schedule) == []


def test_a_purge_that_never_got_a_turn_is_parked_in_time() -> None:
    schedule = schedule_of(plan("slow", concurrency_max=1))
    schedule.admit(wish("http://rivers.example/A"), position(1), 0)
    schedule.admit(wish("http://rivers.example/B"), position(2), 0)
    send(schedule, 0)
    assert schedule.next_due_s() == POLICY.park_after_s
    (park,) = actions(schedule, 100)
    assert isinstance(park, Park)
    assert park.purge.url.endswith("B") and park.attempts == 0


def test_a_target_that_is_down_is_probed_by_one_request_at_a_time() -> None:
    schedule = schedule_of(plan("a"))
    for number in range(5):
        schedule.admit(wish(f"http://rivers.example/{number}"), position(number), 0)
    sent = actions(schedule, 0)
    assert len(sent) == 4
    for action in sent:
        assert isinstance(action, Send)
        schedule.failed(action, "down", 0.0, 0)
    assert actions(schedule, 0.5) == []
    probe = send(schedule, 50)
    schedule.acknowledged(probe, 50)
    assert len(actions(schedule, 50)) == 4


def test_own_purges_are_sent_again_once_the_page_is_served_and_fills_have_landed() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(seq=9), position(1), 0)
    schedule.acknowledged(send(schedule, 0), 1)
    assert finished_offsets(schedule) == []
    (ask,) = actions(schedule, 1)
    assert ask == AskServed(0, "rivers", 7, 9)
    assert isinstance(ask, AskServed)
    schedule.served(ask, 8, 1)
    assert actions(schedule, 1.4) == []
    (ask,) = actions(schedule, 1.5)
    assert isinstance(ask, AskServed)
    schedule.served(ask, 9, 2)
    assert actions(schedule, 2 + SETTLE_S - 0.01) == []
    again = send(schedule, 2 + SETTLE_S)
    assert again.stage is Stage.SECOND and again.request.seq == 9
    schedule.acknowledged(again, 2 + SETTLE_S)
    assert finished_offsets(schedule) == [1]


def test_a_page_that_is_gone_counts_as_served() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(seq=9), position(1), 0)
    schedule.acknowledged(send(schedule, 0), 0)
    (ask,) = actions(schedule, 0)
    assert isinstance(ask, AskServed)
    schedule.served(ask, None, 0)
    assert send(schedule, SETTLE_S).stage is Stage.SECOND


def test_a_page_that_is_never_served_ends_as_dead_letter() -> None:
    schedule = schedule_of(plan("a"), plan("b"))
    schedule.admit(wish(seq=9), position(1), 0)
    for action in actions(schedule, 0):
        assert isinstance(action, Send)
        schedule.acknowledged(action, 0)
    (ask,) = actions(schedule, 0)
    assert isinstance(ask, AskServed)
    schedule.unserved(ask, "the pages API recovers", 0)
    parks = actions(schedule, 100)
    assert {park.target for park in parks if isinstance(park, Park)} == {"a", "b"}
    for park in parks:
        assert isinstance(park, Park) and park.reason == "the pages API recovers"
        schedule.parked(park, 100)
    assert finished_offsets(schedule) == [1]


def test_a_newer_purge_of_the_url_takes_the_older_one_with_it() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(seq=5), position(1), 0)
    stale = send(schedule, 0)
    schedule.admit(wish(seq=6), position(2), 0)
    schedule.admit(wish(), position(3), 0)
    schedule.acknowledged(stale, 1)  # was sent before the newer ones were asked for: does not count
    assert len(schedule) == 1
    fresh = send(schedule, 1)
    assert fresh.request.seq == 6
    schedule.acknowledged(fresh, 1)
    (ask,) = actions(schedule, 1)
    assert isinstance(ask, AskServed) and ask.seq == 6
    schedule.served(ask, 6, 1)
    schedule.acknowledged(send(schedule, 1 + SETTLE_S), 70)
    assert finished_offsets(schedule) == [1, 2, 3]


def test_a_late_lower_floor_does_not_lower_the_joined_one() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(seq=6), position(1), 0)
    schedule.admit(wish(seq=5), position(2), 0)
    assert send(schedule, 0).request.seq == 6


def test_purges_of_one_url_for_two_pages_are_not_joined() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(seq=5, page_id=1), position(1), 0)
    schedule.admit(wish(seq=6, page_id=2), position(2), 0)
    assert len(schedule) == 2


def test_a_purge_whose_second_one_is_due_is_not_joined() -> None:
    schedule = schedule_of(plan("a"))
    schedule.admit(wish(seq=5), position(1), 0)
    schedule.acknowledged(send(schedule, 0), 0)
    schedule.admit(wish(seq=6), position(2), 0)
    assert len(schedule) == 2
    assert schedule.waiting_for_second() == 1


def test_joining_does_not_keep_a_dead_target_from_being_given_up() -> None:
    schedule = schedule_of(plan("inner"), plan("dead", 1))
    parked = None
    for second in range(400):
        schedule.admit(wish(seq=second), position(second), second)
        for action in actions(schedule, second):
            if isinstance(action, Park):
                parked = second
            elif isinstance(action, Send) and action.target == "inner":
                schedule.acknowledged(action, second)
            elif isinstance(action, Send):
                schedule.failed(action, "down", 0.0, second)
        if parked is not None:
            break
    assert parked is not None and parked <= 2 * POLICY.park_after_s


def test_a_newer_purge_gives_a_target_that_was_given_up_a_new_chance() -> None:
    schedule = schedule_of(plan("a"), plan("b"))
    schedule.admit(wish(seq=5), position(1), 0)
    to_a, to_b = actions(schedule, 0)
    assert isinstance(to_a, Send) and isinstance(to_b, Send)
    schedule.refused(to_a, "answered 403", 0)
    (park,) = actions(schedule, 0)
    assert isinstance(park, Park)
    schedule.parked(park, 0)
    schedule.admit(wish(seq=6), position(2), 0)
    assert [action.target for action in actions(schedule, 0) if isinstance(action, Send)] == ["a", "b"]


def test_a_dead_letter_is_tried_again_at_its_own_target_only() -> None:
    schedule = schedule_of(plan("a"), plan("b"))
    schedule.admit(wish(only="b"), None, 0)
    action = send(schedule, 0)
    assert action.target == "b"
    schedule.acknowledged(action, 0)
    (done,) = schedule.take_finished()
    assert done.positions == () and done.acknowledged == {"b"}


def test_a_slow_target_does_not_hold_up_another() -> None:
    schedule = schedule_of(plan("slow", concurrency_max=1), plan("quick", concurrency_max=1))
    for number in range(50):
        schedule.admit(wish(f"http://rivers.example/{number}"), position(number), 0)
    answered = 0
    for _ in range(200):
        for action in actions(schedule, 0):
            if isinstance(action, Send) and action.target == "quick":
                schedule.acknowledged(action, 0)
                answered += 1
    assert answered == 50


@pytest.mark.parametrize(("failures", "jitter", "expected"), [(1, 0.0, 0.5), (1, 1.0, 1.0), (3, 1.0, 4.0), (60, 1.0, 8.0)])
def test_backoff_doubles_up_to_a_maximum(failures: int, jitter: float, expected: float) -> None:
    assert POLICY.backoff_s(failures, jitter) == expected

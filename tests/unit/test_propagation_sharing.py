"""Renderers are shared: by time between wikis and classes, and never more at once than an upstream bears."""

import pytest

from headwater.propagation.fairness import ROUNDS_OF_DEBT_MAX, DeficitRoundRobin, Flow
from headwater.propagation.model import Urgency
from headwater.propagation.window import Window, WindowLimits

SLOW, FAST = Flow("slow", Urgency.REST), Flow("fast", Urgency.REST)


def serve(robin: DeficitRoundRobin, costs_ms: dict[Flow, float], renders: int) -> dict[Flow, float]:
    """Milliseconds that each flow got."""
    got = dict.fromkeys(costs_ms, 0.0)
    for _ in range(renders):
        flow = robin.next(costs_ms.keys())
        assert flow is not None
        robin.charge(flow, costs_ms[flow])
        got[flow] += costs_ms[flow]
    return got


def test_flows_get_equal_time_whatever_a_render_costs() -> None:
    got = serve(DeficitRoundRobin(100.0), {SLOW: 90.0, FAST: 3.0}, 5000)
    assert got[SLOW] == pytest.approx(got[FAST], rel=0.05)


def test_better_classes_get_more_time_and_the_worst_is_not_starved() -> None:
    flows = {Flow("w", urgency): 10.0 for urgency in Urgency}
    got = serve(DeficitRoundRobin(100.0), flows, 15_000)
    share = {flow.urgency: time_ms / got[Flow("w", Urgency.REST)] for flow, time_ms in got.items()}
    assert [round(share[urgency]) for urgency in Urgency] == [8, 4, 2, 1]


def test_nobody_waits_nobody_is_named() -> None:
    assert DeficitRoundRobin().next([]) is None


def test_a_flow_without_work_keeps_no_credit_but_its_debts() -> None:
    robin = DeficitRoundRobin(100.0)
    assert robin.next([SLOW]) == SLOW
    assert robin.account_ms(SLOW) == 100
    assert robin.next([FAST]) == FAST
    assert robin.account_ms(SLOW) == 0
    robin.charge(SLOW, 250)
    assert robin.next([FAST]) == FAST
    assert robin.account_ms(SLOW) == -250


def test_debt_is_bounded() -> None:
    robin = DeficitRoundRobin(100.0)
    robin.charge(SLOW, 10**9)
    assert robin.account_ms(SLOW) == -100 * ROUNDS_OF_DEBT_MAX
    robin.forget("slow")
    assert robin.account_ms(SLOW) == 0


def test_the_window_grows_by_one_per_window_of_good_answers() -> None:
    window = Window(WindowLimits(size_max=6))
    assert window.size == 4
    for _ in range(4):
        window.answered(10.0)
    assert window.size == 5
    for _ in range(50):
        window.answered(10.0)
    assert window.size == 6


@pytest.mark.parametrize(("took_ms", "failed"), [(9000.0, False), (10.0, True)])
def test_the_window_does_not_grow_while_answers_are_slow_or_wrong(took_ms: float, failed: bool) -> None:
    window = Window(WindowLimits())
    for _ in range(100):
        window.answered(took_ms, failed=failed)
    assert window.size == 4


def test_the_window_shrinks_once_per_pause() -> None:
    window = Window(WindowLimits(size_min=2, pause_ms=1000))
    window.overloaded(now_ms=0)
    window.overloaded(now_ms=999)
    assert window.size == 2
    for _ in range(40):
        window.answered(1.0)
    before = window.size
    window.overloaded(now_ms=1000)
    assert window.size == int(before * 0.7)
    window.overloaded(now_ms=0)  # the clock jumped back: that must not keep the window open for ever
    assert window.size < int(before * 0.7)
    for now_ms in range(2000, 60_000, 1000):
        window.overloaded(now_ms=now_ms)
    assert window.size == 2


def test_room() -> None:
    window = Window(WindowLimits())
    assert (window.room(0), window.room(4), window.room(9)) == (4, 0, 0)
    assert window.p95_ms() == 0 and window.error_share() == 0

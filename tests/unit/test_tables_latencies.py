"""Percentiles of durations are right within an eighth, in bounded memory."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.tables.latencies import Latencies

DURATIONS = st.floats(1e-5, 90)


@example(durations=[1e-5 * 1.8**n for n in range(25)], percent=28)
@given(durations=st.lists(DURATIONS, min_size=1, max_size=50), percent=st.integers(1, 100))
def test_a_percentile_is_right_within_an_eighth(durations: list[float], percent: int) -> None:
    latencies = Latencies()
    for duration_s in durations:
        latencies.add(duration_s)
    exact_s = sorted(durations)[-(-percent * len(durations) // 100) - 1]
    assert latencies.percentile_s(percent / 100) == pytest.approx(exact_s, rel=1 / 8)
    assert latencies.count == len(durations)


def test_before_the_first_operation_there_is_none() -> None:
    assert Latencies().percentile_s(0.5) is None


def test_what_is_beyond_the_ends_counts_as_the_end() -> None:
    latencies = Latencies()
    latencies.add(0.0)
    assert latencies.percentile_s(1.0) == 1e-5
    latencies.add(10_000.0)
    assert latencies.percentile_s(1.0) == pytest.approx(85, rel=1 / 8)

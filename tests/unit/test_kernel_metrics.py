"""Tallies of hot paths: after any observations, what is exposed is what the library itself would have counted."""

from hypothesis import given
from hypothesis import strategies as st

from headwater.kernel.metrics import SECONDS_BUCKETS, Metrics, counter, histogram

READS = counter("reads", "Reads.", "kind")
SHED = counter("shed", "Shed.", "place", "kind", known={"kind": ("large", "small")})
TIMES = histogram("times_seconds", "Times.", "kind")
CATALOGUE = (READS, TIMES)


def lines(metrics: Metrics) -> list[str]:
    """The exposition but for the moments at which series began."""
    return [line for line in metrics.exposition().decode().splitlines() if "_created" not in line]


@given(st.lists(st.sampled_from((*SECONDS_BUCKETS, 0.0, 0.0011, 7.5, 5000.0)), max_size=20), st.integers(0, 20))
def test_a_tally_exposes_what_single_observations_do(values: list[float], looked_at: int) -> None:
    tallied, single = Metrics(CATALOGUE), Metrics(CATALOGUE)
    count, times = tallied.tally(READS, kind="a"), tallied.tally_of_times(TIMES, kind="a")
    single.inc(READS, 0, kind="a")
    single.child(TIMES, kind="a")
    for number, value in enumerate(values):
        count.inc()
        times.observe(value)
        single.inc(READS, kind="a")
        single.observe(TIMES, value, kind="a")
        if number == looked_at:
            assert tallied.value(READS, kind="a") == tallied.value(TIMES, kind="a") == number + 1
    sums = [[line for line in lines(metrics) if line.startswith("headwater_times_seconds_sum")] for metrics in (tallied, single)]
    assert [line for line in lines(tallied) if line not in sums[0]] == [line for line in lines(single) if line not in sums[1]]
    assert abs(float(sums[0][0].split()[1]) - sum(values)) < 1e-6  # added in another order


def test_a_tally_adds_to_what_was_counted_without_it() -> None:
    metrics = Metrics(CATALOGUE)
    metrics.inc(READS, 2, kind="a")
    metrics.tally(READS, kind="a").inc()
    assert metrics.value(READS, kind="a") == 3


def test_counters_begin_at_nothing_for_every_label_that_is_known() -> None:
    metrics = Metrics((READS, SHED, TIMES))
    metrics.inc(SHED, 3, place="here", kind="large")
    metrics.begin(place=("here", "there"))
    metrics.begin(place=("there", "elsewhere"))
    shown = [line for line in lines(metrics) if not line.startswith("#")]
    assert sorted(shown) == sorted(
        f'headwater_shed_total{{kind="{kind}",place="{place}"}} {3.0 if (place, kind) == ("here", "large") else 0.0}'
        for place in ("here", "there", "elsewhere")
        for kind in ("large", "small")
    ), "what is not known is not shown, and what has been counted stays"

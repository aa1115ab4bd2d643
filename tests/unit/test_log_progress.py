"""Progress of consumers that finish out of order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.log.model import BEFORE_FIRST, Offset
from headwater.log.progress import PartitionProgress


def test_progress_passes_only_what_is_finished() -> None:
    progress = PartitionProgress(BEFORE_FIRST)
    for offset in (2, 3, 6):
        progress.start(Offset(offset))
    assert progress.finish(Offset(3)) is None
    assert progress.finish(Offset(2)) == 3
    assert progress.reach(Offset(9)) is None
    assert progress.under_way == 1
    assert progress.finish(Offset(6)) == 9
    assert progress.committed == 9


def test_misuse_of_progress_is_a_bug() -> None:
    progress = PartitionProgress(Offset(4))
    with pytest.raises(AssertionError):
        progress.start(Offset(4))
    with pytest.raises(AssertionError):
        progress.finish(Offset(5))
    with pytest.raises(AssertionError):
        progress.reach(Offset(3))
    progress.start(Offset(5))
    progress.finish(Offset(5))
    with pytest.raises(AssertionError):
        progress.finish(Offset(5))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_committed_is_below_everything_unfinished(gaps: list[int], lot: object) -> None:
    progress = PartitionProgress(BEFORE_FIRST)
    offset, started = -1, []
    for gap in gaps:
        offset += gap
        progress.start(Offset(offset))
        started.append(Offset(offset))
    order = list(started)
    lot.shuffle(order)  # type: ignore[attr-defined] # Hypothesis gives a random.Random
    unfinished = set(started)
    for each in order:
        unfinished.remove(each)
        progress.finish(each)
        assert all(progress.committed < left for left in unfinished)
        below = [done for done in started if not unfinished or done < min(unfinished)]
        assert progress.committed == (below[-1] if below else BEFORE_FIRST)
    assert progress.under_way == 0

"""Survivors of a full collection are frozen, young cycles are still collected, and a thaw collects the rest."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from headwater.kernel import collecting


class Ring:
    """An object in a cycle with itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave the collector as it was."""
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield
    gc.set_threshold(*thresholds)
    gc.callbacks[:] = callbacks
    gc.unfreeze()


def test_survivors_are_frozen_and_not_walked_over_again() -> None:
    collecting.freeze_survivors()
    before = gc.get_freeze_count()
    kept = [Ring() for _ in range(1000)]
    gc.collect()
    assert gc.get_freeze_count() >= before + 1000
    assert not any(isinstance(found, Ring) for found in gc.get_objects())
    assert len(kept) == 1000


def test_a_young_cycle_is_collected() -> None:
    collecting.freeze_survivors()
    ring = weakref.ref(Ring())
    gc.collect()
    assert ring() is None


def test_a_frozen_cycle_is_collected_by_a_thaw_only() -> None:
    collecting.freeze_survivors()
    kept = Ring()
    ring = weakref.ref(kept)
    gc.collect()
    del kept
    gc.collect()
    assert ring() is not None
    assert collecting.thaw() >= 1
    assert ring() is None


def test_freezing_twice_changes_nothing() -> None:
    collecting.freeze_survivors()
    once = list(gc.callbacks)
    collecting.freeze_survivors()
    assert gc.callbacks == once

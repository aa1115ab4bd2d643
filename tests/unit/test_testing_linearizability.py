"""The checkers of histories: what they accept, what they refuse, and that both agree."""

from random import Random

import pytest

from headwater.testing.linearizability import ABSENT, Operation, broken_chain, is_linearizable

POSSIBLE = {
    "nothing": [],
    "one after the other": [Operation(1, 2, 0, 5, 5), Operation(3, 4, 5), Operation(5, 6, 5, 7, 7), Operation(7, 8, 7)],
    "a read beside a write sees either": [Operation(1, 4, 0, 5, 5), Operation(2, 3, 0), Operation(2, 5, 5)],
    "a row deleted and made again": [Operation(1, 2, 0, 5, 5), Operation(3, 4, 5, 0, 6), Operation(5, 6, 0), Operation(7, 8, 0, 9, 9)],
    "a refused write": [Operation(1, 2, 0, 5, 5), Operation(3, 4, 5)],
}
IMPOSSIBLE = {
    "two replace the same": [Operation(1, 2, 0, 5, 5), Operation(3, 8, 5, 6, 6), Operation(4, 7, 5, 7, 7)],
    "two make the same": [Operation(1, 4, 0, 5, 5), Operation(2, 3, 0, 6, 6)],
    "a stale read": [Operation(1, 2, 0, 5, 5), Operation(3, 4, 5, 6, 6), Operation(5, 6, 5)],
    "a read of what was never there": [Operation(1, 2, 0, 5, 5), Operation(3, 4, 9)],
    "a read of the future": [Operation(1, 2, 5), Operation(3, 4, 0, 5, 5)],
    "reads go back": [Operation(1, 9, 0, 5, 5), Operation(2, 3, 5), Operation(4, 5, 0)],
    "gone without a delete": [Operation(1, 2, 0, 5, 5), Operation(3, 4, 0)],
    "back after a delete": [Operation(1, 2, 0, 5, 5), Operation(3, 4, 5, 0, 6), Operation(5, 6, 5)],
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_is_possible_is_accepted(name: str) -> None:
    assert broken_chain(POSSIBLE[name]) is None
    assert is_linearizable(POSSIBLE[name])


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_is_impossible_is_refused(name: str) -> None:
    assert broken_chain(IMPOSSIBLE[name]) is not None
    assert not is_linearizable(IMPOSSIBLE[name])


def test_revisions_that_fall_are_refused() -> None:
    assert broken_chain([Operation(1, 2, 0, 5, 5), Operation(3, 4, 5, 4, 4)]) is not None


def _history(lot: Random) -> list[Operation]:
    """A possible history, in which now and then one answer is changed."""
    state, revision, now = ABSENT, 0, 0
    made = []
    for _ in range(9):
        now += 2
        begin, end = now - lot.randrange(6), now + lot.randrange(6)
        kind = lot.randrange(3)
        if kind == 0:
            made.append(Operation(begin, end, state))
            continue
        revision += 1
        left = ABSENT if kind == 2 and state != ABSENT else revision
        made.append(Operation(begin, end, state, left, revision))
        state = left
    if lot.random() < 0.5:
        place = lot.randrange(len(made))
        one = made[place]
        made[place] = Operation(one.begin, one.end, lot.randrange(revision + 1), one.left, one.wrote)
    return made


def _possible(history: list[Operation], state: int = ABSENT, wrote: int = 0) -> bool:
    """By trying every order that keeps to real time and in which revisions rise."""
    if not history:
        return True
    first_end = min(one.end for one in history)
    for one in history:
        if one.begin > first_end or one.found != state or (one.left is not None and one.wrote <= wrote):
            continue
        rest = [other for other in history if other is not one]
        if _possible(rest, state, wrote) if one.left is None else _possible(rest, one.left, one.wrote):
            return True
    return False


def test_both_checkers_agree_with_trying_every_order() -> None:
    lot, possible = Random(1), 0
    for _ in range(2_000):
        history = _history(lot)
        expected = _possible(history)
        assert (broken_chain(history) is None) is expected, history
        assert is_linearizable(history) or not expected, history
        possible += expected
    assert 500 < possible < 1_900

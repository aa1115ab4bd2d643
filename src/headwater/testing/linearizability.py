"""Whether a recorded history of one row can have happened one operation after the other.

The row is a register whose value is its revision, 0 while it is not there. Every operation says which revision it found; a write that
was done also which it left. Two checkers: `broken_chain` uses that revisions rise with each write, so it takes linear time and decides
histories of any length; `is_linearizable` knows nothing of that and searches (Wing and Gong 1993, with Lowe's memory of states, 2017), for
short ones.
"""

import heapq
from collections.abc import Sequence

import msgspec

ABSENT = 0


class Operation(msgspec.Struct, frozen=True):
    """Something that was done to a row.

    Attributes:
        begin, end: when it was asked for and answered, in any unit that orders all of them.
        found: the revision that it found.
        left: the revision that it left, or None for what changes nothing: a read, or a write that was refused.
        wrote: of a write that was done, its own revision: `left`, unless it deleted the row.
    """

    begin: int
    end: int
    found: int
    left: int | None = None
    wrote: int = 0


def broken_chain(history: Sequence[Operation]) -> str | None:
    """Why the history is impossible, None if it is possible. Complete if revisions rise with each write, which it checks as well."""
    writes = sorted((one for one in history if one.left is not None), key=lambda one: one.wrote)
    states = [ABSENT]
    for write in writes:
        if write.found != states[-1]:
            return f"{write} replaced {write.found}, but {states[-1]} was there"
        assert write.left is not None
        states.append(write.left)
    places = {id(write): place for place, write in enumerate(writes, 1)}
    known = {state: place for place, state in enumerate(states) if state != ABSENT}
    absences = [place for place, state in enumerate(states) if state == ABSENT]
    ended: list[tuple[int, int]] = []
    reached = 0
    for one in sorted(history, key=lambda one: one.begin):
        while ended and ended[0][0] < one.begin:
            reached = max(reached, heapq.heappop(ended)[1])
        if one.left is not None:
            place, possible = places[id(one)], places[id(one)] > reached
        else:
            place = _place(one.found, known, absences, reached)
            possible = place >= reached
        if not possible:
            return f"{one} comes too late: {reached} writes were over"
        heapq.heappush(ended, (one.end, place))
    return None


def _place(found: int, known: dict[int, int], absences: Sequence[int], reached: int) -> int:
    """After how many writes a state was found, the first possible; -1: never."""
    if found != ABSENT:
        return known.get(found, -1)
    return next((place for place in absences if place >= reached), -1)


def is_linearizable(history: Sequence[Operation]) -> bool:
    """Whether any order that keeps to real time explains every answer. Takes exponential time at worst: for some dozens of operations."""
    operations = sorted(history, key=lambda one: one.begin)
    everything = (1 << len(operations)) - 1
    seen: set[tuple[int, int]] = set()
    stack = [(0, ABSENT)]
    while stack:
        done, state = stack.pop()
        if done == everything:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        left = [(number, one) for number, one in enumerate(operations) if not done >> number & 1]
        first_end = min(one.end for _, one in left)
        for number, one in left:
            if one.begin > first_end:
                break  # something else had ended before this one began
            if one.found == state:
                stack.append((done | 1 << number, state if one.left is None else one.left))
    return False

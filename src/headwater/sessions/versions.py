"""Which versions this process has seen: an older copy of a row put back behind its back is recognised.

Versions begin with the time of the write. Where several processes write, one whose clock is behind may make a deleted row anew, so a
version lower by less than a minute is taken for genuine there: the price of never losing a session to a wrong clock.

Bounded: of more rows than `ROWS_MAX` the ones seen longest ago for the first time are forgotten, some at a time: a dictionary whose first
entry is taken out again and again looks through all the gaps before it each time, which would cost more than the rest of a save. After a
restart nothing is known. Rows are told apart by 64 bits of their keyed hash; two that share them could at worst hide a copy put back, or
one session, and never meet.
"""

from itertools import islice

from headwater.sessions.model import VERSION_TIME_SHIFT, RowId, Version

ROWS_MAX = 500_000
SKEW_VERSIONS = 60_000 << VERSION_TIME_SHIFT


class SeenVersions:
    """The highest version seen of each row."""

    def __init__(self, *, rows_max: int = ROWS_MAX, tolerance: int = 0) -> None:
        assert rows_max > 0 and tolerance >= 0
        self._tolerance = tolerance
        self._floors: dict[int, int] = {}
        self._rows_max = rows_max

    def floor(self, id: RowId) -> int:
        """No genuine row has a lower version than this."""
        return self._floors.get(int.from_bytes(id[:8]), 0)

    def raise_to(self, id: RowId, version: Version) -> None:
        """Note that this version of the row was seen, or that everything below it is gone."""
        short, floor = int.from_bytes(id[:8]), version - self._tolerance
        floors = self._floors
        known = floors.get(short)
        if known is None:
            if len(floors) >= self._rows_max:
                for oldest in list(islice(floors, 1 + self._rows_max // 64)):
                    del floors[oldest]
            floors[short] = floor
        elif known < floor:
            floors[short] = floor

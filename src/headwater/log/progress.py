"""Contiguous progress: which offset of a partition may be committed while work finishes out of order.

Invariant: `committed` never passes an offset whose work is not finished, so a crash repeats work but never loses it.
"""

from collections import deque
from dataclasses import dataclass, field

from headwater.log.model import BEFORE_FIRST, Offset


@dataclass(slots=True)
class PartitionProgress:
    """The work under way on one partition.

    Attributes:
        committed: everything up to and including this offset is finished.
    """

    committed: Offset
    _started: deque[Offset] = field(default_factory=deque)  # rising; the first one is never finished
    _finished: set[Offset] = field(default_factory=set)
    _read_up_to: Offset = BEFORE_FIRST

    def __post_init__(self) -> None:
        self._read_up_to = self.committed

    def start(self, offset: Offset) -> None:
        """Work on `offset` begins; offsets start in rising order."""
        assert offset > self._read_up_to, f"{offset} starts after {self._read_up_to}"
        self._started.append(offset)
        self._read_up_to = offset

    def reach(self, offset: Offset) -> Offset | None:
        """Everything up to `offset` (a `Batch.next`) has been started or does not exist; return `committed` if it advanced."""
        assert offset >= self._read_up_to, f"{offset} lies before {self._read_up_to}"
        self._read_up_to = offset
        return self._advance()

    def finish(self, offset: Offset) -> Offset | None:
        """Mark `offset` finished; return the new committed offset if it advanced, else None."""
        assert self._is_under_way(offset), f"{offset} is not under way"
        self._finished.add(offset)
        return self._advance()

    @property
    def under_way(self) -> int:
        """How many offsets are started and not finished."""
        return len(self._started) - len(self._finished)

    def _is_under_way(self, offset: Offset) -> bool:
        return bool(self._started) and self._started[0] <= offset <= self._started[-1] and offset not in self._finished

    def _advance(self) -> Offset | None:
        before = self.committed
        while self._started and self._started[0] in self._finished:
            self.committed = self._started.popleft()
            self._finished.remove(self.committed)
        if not self._started:
            self.committed = max(self.committed, self._read_up_to)
        return self.committed if self.committed > before else None

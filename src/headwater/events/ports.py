"""What the events service needs from outside: schemas, and an index of the event ids it has accepted."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from headwater.log.model import Offset, PartitionId


class SeenIds(Protocol):
    """Index of accepted event ids: a projection of the log, with the log positions that it covers."""

    async def covered(self) -> Mapping[PartitionId, Offset]:
        """How far the index has seen each partition of the event streams."""
        ...

    def seen(self, ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids are in the window. A point read; does not wait."""
        ...

    async def add(self, ids: Sequence[tuple[str, int]], covered: Mapping[PartitionId, Offset]) -> None:
        """Add (id, time in ms) pairs and the positions then covered, in one transaction; drops what falls out of the window.

        Durability may lag behind the return: after a crash `covered` says from where the log has to be read again.
        """
        ...

    def window(self) -> tuple[int, int]:
        """Effective window: number of ids held, and time in ms of the oldest."""
        ...

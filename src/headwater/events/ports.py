"""What the events service needs from outside beside the log: an index of what it has accepted."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from headwater.events.model import Key, Seen, Window
from headwater.log.model import Offset, PartitionId


class SeenIds(Protocol):
    """Index of accepted events by key: a projection of the log, with the log positions that it covers.

    It holds at most a fixed number of events, the newest by time; beyond that the oldest are forgotten. Every key of an event is
    remembered for as long as the event. It may be lost: everything in it can be read from the log again.
    """

    async def covered(self) -> Mapping[PartitionId, Offset]:
        """Up to which offset of each partition every event is in the index (or was, before it fell out of the window)."""
        ...

    def seen(self, keys: Sequence[Key], *, since_ms: int) -> frozenset[Key]:
        """Which of these keys belong to an event of the window accepted at or after `since_ms`. A point read; does not wait."""
        ...

    async def add(self, entries: Sequence[Seen], covered: Mapping[PartitionId, Offset], *, since_ms: int) -> None:
        """Add events and the positions then covered in one transaction, and drop what is older than `since_ms` or one too many.

        An event whose id is already held changes nothing. Visible to `seen` when it returns. Durability may lag behind: after a crash
        `covered` says from where the log has to be read again. Raises StorageFull, Unavailable (nothing was added).
        """
        ...

    async def clear(self) -> None:
        """Forget everything, positions included: the index belongs to another log. Raises StorageFull, Unavailable."""
        ...

    def window(self) -> Window:
        """The effective window."""
        ...

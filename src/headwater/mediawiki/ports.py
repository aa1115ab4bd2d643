"""What the follower needs from outside: a place to put events. The log itself is the port `headwater.log.ports.Log`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.log.model import Fence, NewRecord


@dataclass(frozen=True, slots=True)
class SinkResult:
    """What became of the events of one call.

    Attributes:
        new: how many the log lacked; they are in it now.
        known: how many it had, under the same id or told by another source.
        invalid: how many break their schema; they were left out.
    """

    new: int
    known: int = 0
    invalid: int = 0


class EventSink(Protocol):
    """Puts events into the log by the same use case as events that clients post."""

    async def accept_atomic(
        self, events: Sequence[bytes], *, beside: Sequence[NewRecord], fence: Fence, unless_known: bool = False
    ) -> SinkResult:
        """Append the events that are new, and all of `beside`, or nothing at all; durable when it returns.

        Idempotent for events: an id that is known is left out. `beside` is appended even if no event is new. Keeps the order of events.

        Args:
            events: one JSON object each.
            beside: records that become visible together with the events.
            fence: proof of ownership under which all is appended.
            unless_known: also leave out what another source has told of under another id.

        Raises:
            Fenced: another owner has claimed; nothing was appended.
            OutcomeUnknown: it may have been appended; the owner must claim anew and read its position again.
            Unavailable, Overloaded, StorageFull, TooLarge, InvalidInput: nothing was appended.
        """
        ...

"""What the follower and the renderer need from outside: a wiki to ask and a place to put events."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from headwater.log.model import Fence, NewRecord
from headwater.mediawiki.answers import Answer
from headwater.mediawiki.config import WikiConfig
from headwater.mediawiki.titles import SiteInfo

A = TypeVar("A", bound=Answer)
Value = str | int | bool

TITLES_MAX: Final = 50  # most titles, page ids or revisions in one request without special rights


class ActionApi(Protocol):
    """The action API of one wiki (`headwater.mediawiki.client.WikiClient`). Every method may be called concurrently; none changes the wiki.

    All raise WikiUnavailable (no usable answer), WikiBusy (not now), WikiRefused (asking again would meet it again), AnswerTooLarge.
    """

    @property
    def name(self) -> str:
        """Name of the wiki in the configuration."""
        ...

    @property
    def config(self) -> WikiConfig:
        """The wiki's section of the configuration."""
        ...

    async def call(self, answer: type[A], parameters: Mapping[str, Value]) -> A:
        """Ask once; bounded by the wiki's `timeout` and `answer_bytes_max`.

        Args:
            answer: what the answer is decoded as.
            parameters: of the API, without `format` and the like; True is a flag that is set, False one that is left out.
        """
        ...

    def call_all(self, answer: type[A], parameters: Mapping[str, Value], *, answers_max: int) -> AsyncIterator[A]:
        """Ask and follow `continue` until there is none, or `answers_max` answers have come."""
        ...

    async def site(self) -> SiteInfo:
        """What the wiki says about itself; may be an hour old."""
        ...

    async def rights(self) -> frozenset[str]:
        """What we may do in the wiki."""
        ...


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

    async def accept_atomic(self, events: Sequence[bytes], *, beside: Sequence[NewRecord], fence: Fence) -> SinkResult:
        """Append the events that are new, and all of `beside`, or nothing at all; durable when it returns.

        Idempotent for events: what is known, under its id or because another source has told of it, is left out. `beside` is appended
        even if no event is new. Keeps the order of events.

        Args:
            events: one JSON object each.
            beside: records that become visible together with the events.
            fence: proof of ownership under which all is appended.

        Raises:
            Fenced: another owner has claimed; nothing was appended.
            OutcomeUnknown: it may have been appended; the owner must claim anew and read its position again.
            Unavailable, Overloaded, StorageFull, TooLarge, InvalidInput: nothing was appended.
        """
        ...

"""Events under way in this process: whoever comes with a key that is claimed waits for the outcome of the first.

Invariant: a key is claimed by at most one event at a time, from the moment it is found to be new until its outcome is known.
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from headwater.events.model import Event, Key, Result


class Ticket(Struct, eq=False):
    """The claims of one request; done when every one has an outcome."""

    open: int = 0
    _waiting: list[asyncio.Future[None]] = []

    def finish_one(self) -> None:
        """One claim has its outcome."""
        self.open -= 1
        assert self.open >= 0
        if self.open == 0:
            for waiting in self._waiting:
                if not waiting.done():  # whoever waited may have been cancelled
                    waiting.set_result(None)
            self._waiting.clear()

    async def wait(self) -> None:
        """Return once no claim is open."""
        if self.open:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting


class Claim(Struct, eq=False):
    """An event that is new, and what became of it; exactly one of `outcome` and `crash` is set when it is done."""

    event: Event
    ticket: Ticket
    outcome: Result | None = None
    crash: BaseException | None = None

    def result(self) -> Result:
        """What became of it; raises what killed the writer, if that was it."""
        if self.crash is not None:
            raise self.crash
        assert self.outcome is not None, "the ticket has been waited for"
        return self.outcome


class Claims:
    """The claims of a process, by key."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Claim] = {}
        self.open = 0

    def holder(self, keys: Sequence[Key]) -> Claim | None:
        """The claim that holds any of these keys."""
        by_key = self._by_key
        for key in keys:
            claim = by_key.get(key)
            if claim is not None:
                return claim
        return None

    def take(self, event: Event, ticket: Ticket) -> Claim:
        """Claim all keys of an event whose id nobody holds; a key of its happening stays with whom holds it."""
        claim = Claim(event, ticket)
        assert event.keys[0] not in self._by_key
        for key in event.keys:
            self._by_key.setdefault(key, claim)
        ticket.open += 1
        self.open += 1
        return claim

    def settle(self, claim: Claim, outcome: Result | BaseException) -> None:
        """Give a claim its outcome and its keys back."""
        for key in claim.event.keys:
            if self._by_key.get(key) is claim:
                del self._by_key[key]
        if isinstance(outcome, Result):
            claim.outcome = outcome
        else:
            claim.crash = outcome
        self.open -= 1
        claim.ticket.finish_one()

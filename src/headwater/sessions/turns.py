"""One save of a session after another, within one process.

Saves that overlap would all but one find that another came first and begin anew, and of many on one key some would never come through.
Who waits for his turn is served in the order of coming; nobody waits where no other save of the same session is under way. Deletes, moves
to another key and other processes take no turns: what they write first is still noticed by its version.
"""

import asyncio
from collections import deque

from headwater.kernel.errors import Overloaded

WAITING_MAX = 1_024

Place = tuple[str, bytes]
"""A namespace and a key in it."""


class Turns:
    """Whose turn it is, for each session that is being saved. For one event loop. Bounded by the saves under way."""

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._queues: dict[Place, deque[asyncio.Future[None]] | None] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def take_free(self, place: Place) -> bool:
        """Take the turn if nobody has it; who took one leaves it."""
        if place in self._queues:
            return False
        self._queues[place] = None
        return True

    async def wait(self, place: Place) -> None:
        """Take the turn after all who wait for it already. After `take_free` has said no, without anything in between.

        Raises:
            Overloaded: too many wait.
        """
        queue = self._queues[place]
        if queue is None:
            queue = self._queues[place] = deque()
        if len(queue) >= self._waiting_max:
            raise Overloaded("this session is being written by too many at once", retry_after_s=1)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had come already
                self.leave(place)
            raise

    def leave(self, place: Place) -> None:
        """Let the next one have the turn."""
        queue = self._queues[place]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._queues[place]

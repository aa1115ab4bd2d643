"""What a role is to the platform: an application on a listener, loops beside it, and how to end it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

from headwater.http.messages import ReadinessCheck, Route
from headwater.kernel.concurrency import run_until
from headwater.kernel.errors import InvalidInput

ROLES = ("events", "propagation", "purging", "tables", "console")
"""Every role that shares a process with others, in the order in which they start."""

SESSIONS = "sessions"
"""The role that never does."""

Loop = Callable[[asyncio.Event], Awaitable[None]]
"""Work that goes on until the event is set. Ending earlier, or with an exception, ends the process."""


def cancelled_at_stop(work: Callable[[], Coroutine[object, object, None]]) -> Loop:
    """A loop of work that goes on until it is cancelled."""

    async def loop(stop: asyncio.Event) -> None:
        await run_until(stop, work())

    return loop


async def nothing_to_close() -> None:
    """For roles that hold nothing."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role that has been built and started.

    Attributes:
        name: one of `ROLES`.
        listen: its address as host:port.
        routes: its operations.
        readiness: what it depends on.
        loops: (name, loop), each in a task of its own.
        close: called once the listener and the loops have ended.
    """

    name: str
    listen: str
    routes: Sequence[Route]
    readiness: Sequence[ReadinessCheck] = ()
    loops: Sequence[tuple[str, Loop]] = ()
    close: Callable[[], Awaitable[None]] = nothing_to_close


def chosen_roles(names: Sequence[str] | None) -> tuple[str, ...]:
    """The roles named, in the order in which they start; None means all that share a process.

    Raises:
        InvalidInput: no role has that name, or sessions are to share a process.
    """
    for name in names or ():
        if name == SESSIONS:
            raise InvalidInput("sessions run in a process of their own: `headwater serve sessions`, or `headwater up` for everything")
        if name not in ROLES:
            raise InvalidInput(f"there is no role {name!r}; the roles are {', '.join((*ROLES, SESSIONS))}")
    return tuple(role for role in ROLES if names is None or role in names)

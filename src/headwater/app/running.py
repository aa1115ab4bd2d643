"""Roles that have been started, served until they are told to stop, and drained. Loads no service.

Whatever a role runs beside its listener is a loop of its process. A loop that ends before it is told to ends the process: whoever
started it starts it again, and recovery is what a start does anyway.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from headwater.app.roles import Loop, Role
from headwater.http.config import HttpLimits
from headwater.http.listening import Listener
from headwater.http.serving import serve
from headwater.kernel.config import Seconds
from headwater.kernel.errors import HeadwaterError

DRAIN_TIME_MAX_S = 5.0
LOOPS_TIME_MAX_S = 2.0
CLOSE_TIME_MAX_S = 2.0
"""Of one role. In all it has to be below the 10 s in which SIGTERM ends the process; only roles with something to save take any time."""

_logger = structlog.get_logger(__name__)


class LoopEnded(HeadwaterError):
    """A part of the process ended although nobody asked it to; the process ends with it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process that is ready: where its roles listen, as host:port."""

    addresses: Mapping[str, str]


OnReady = Callable[[Running], None]


def drained_in_time(limits: HttpLimits) -> HttpLimits:
    """The limits of a listener whose drain leaves time for everything else that ends with the process."""
    return msgspec.structs.replace(limits, drain=Seconds(min(limits.drain, DRAIN_TIME_MAX_S)))


async def serve_until_stopped(
    listeners: Sequence[Listener], loops: Sequence[tuple[str, Loop]], *, stop: asyncio.Event, on_ready: OnReady | None
) -> None:
    """Run listeners and loops; on the way out first the listeners drain, then the loops end.

    Args:
        listeners: one per role.
        loops: (name, loop), each in a task of its own.
        stop: ends it all.
        on_ready: called once every listener accepts connections.

    Raises:
        InvalidConfig, Unavailable: an address cannot be had.
        LoopEnded: a part ended by itself.
    """
    stop_serving, stop_loops, listening = asyncio.Event(), asyncio.Event(), asyncio.Event()
    server = asyncio.create_task(serve(listeners, stop=stop_serving, started=listening), name="http")
    tasks = [asyncio.create_task(_until(stop_loops, name, loop), name=name) for name, loop in loops]
    ready = asyncio.create_task(_announce(listening, listeners, on_ready), name="announce")
    try:
        await _first_of(asyncio.create_task(stop.wait(), name="stop"), server, *tasks)
        _logger.info("stopping")
    finally:
        ready.cancel()
        stop_serving.set()
        await asyncio.gather(server, ready, return_exceptions=True)
        stop_loops.set()
        await _ended(tasks, LOOPS_TIME_MAX_S)
    for task in (server, *tasks):
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def closed_in_time(role: Role) -> None:
    """Close a role; what takes too long is cancelled, because the end of the process must not depend on what is outside."""
    try:
        async with asyncio.timeout(CLOSE_TIME_MAX_S):
            await role.close()
    except TimeoutError:
        _logger.error("role_closed_late", role=role.name)


async def _announce(listening: asyncio.Event, listeners: Sequence[Listener], on_ready: OnReady | None) -> None:
    await listening.wait()
    running = Running({listener.app.role: f"{listener.host}:{listener.bound_port}" for listener in listeners})
    _logger.info("ready", **running.addresses)
    if on_ready is not None:
        on_ready(running)


async def _until(stop: asyncio.Event, name: str, loop: Loop) -> None:
    await loop(stop)
    if not stop.is_set():
        raise LoopEnded(f"{name} ended by itself")


async def _first_of(stopping: "asyncio.Task[bool]", *tasks: "asyncio.Task[None]") -> None:
    try:
        await asyncio.wait((stopping, *tasks), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()


async def _ended(tasks: "Sequence[asyncio.Task[None]]", time_max_s: float) -> None:
    """Wait until all have ended; those that take longer are cancelled: what they leave is what recovery is for."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=time_max_s)
    for task in late:
        _logger.warning("loop_cancelled", name=task.get_name())
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

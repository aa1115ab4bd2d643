"""The process: owns the data directory, starts the roles in order, runs until it is told to stop, drains, and ends.

Whatever a role runs beside its listener is a loop of the platform. A loop that ends before it is told to ends the process: whoever
started it starts it again, and recovery is what a start does anyway.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from headwater.app.config import HeadwaterConfig
from headwater.app.console_role import start_console
from headwater.app.events_role import event_stream_specs, start_events
from headwater.app.maintenance import keep_memory_tidy, maintain_log, watch_loop
from headwater.app.metrics import CATALOGUE, RELOADS, STARTED
from headwater.app.propagation_role import start_propagation
from headwater.app.purging_role import NotHere, start_purging
from headwater.app.reloading import differences
from headwater.app.roles import Loop, Role
from headwater.app.storage import opened_log, owned_directory
from headwater.app.surroundings import Surroundings
from headwater.http.application import Application, application
from headwater.http.auth import Clients, demand_clients
from headwater.http.config import parse_listen
from headwater.http.listening import Listener
from headwater.http.serving import serve
from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import run_until
from headwater.kernel.config import Seconds
from headwater.kernel.configfile import Reloadable
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.purging.ports import ServedSeq
from headwater.sqlite import shorten_thread_switches

DRAIN_TIME_MAX_S = 5.0
LOOPS_TIME_MAX_S = 2.0
CLOSE_TIME_MAX_S = 2.0
"""Of one role. In all it has to be below the 10 s in which SIGTERM ends the process; only roles with something to save take any time."""

_logger = structlog.get_logger(__name__)


class LoopEnded(HeadwaterError):
    """A part of the process ended although nobody asked it to; the process ends with it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A platform that is ready: where its roles listen, as host:port."""

    addresses: Mapping[str, str]


@dataclass(slots=True)
class Platform:
    """The roles of one process.

    Attributes:
        config: validated configuration.
        roles: names of the roles to run, in order.
        stop: ends `run` when set.
        on_ready: called once every role listens.
    """

    config: HeadwaterConfig
    roles: Sequence[str]
    clock: Clock
    ids: Ids
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    on_ready: Callable[[Running], None] | None = None
    metrics: Metrics = field(default_factory=lambda: Metrics(CATALOGUE))
    _served: ServedSeq = field(default_factory=NotHere)
    _applications: list[Application] = field(default_factory=list)

    async def run(self) -> None:
        """Run until `stop` is set; everything has ended when this returns.

        Raises:
            AlreadyOwned: another process owns the data directory.
            Unavailable: an address is taken, or the disk does not answer.
            LoopEnded: a part ended by itself.
            InvalidConfig, FormatTooNew, Corrupted, StorageFull: it cannot start.
        """
        shorten_thread_switches()
        self.metrics.set(STARTED, self.clock.now_ms() / 1000)
        async with AsyncExitStack() as stack:
            data_dir = stack.enter_context(owned_directory(Path(self.config.data_dir)))
            log = await stack.enter_async_context(opened_log(self.config, data_dir, clock=self.clock, metrics=self.metrics))
            await log.declare(event_stream_specs(self.config))
            around = Surroundings(self.config, data_dir, log, self.clock, self.ids, self.metrics, log.not_writable)
            roles = await run_until(self.stop, self._start(around, stack))
            if roles is None:  # a start may be long, where the index of known ids has to be made again
                _logger.info("stopped", while_starting=True)
                return
            interval_s = self.config.log.maintain_interval
            loops: list[tuple[str, Loop]] = [
                *(pair for role in roles for pair in role.loops),
                ("log", lambda stop: maintain_log(log, stop, interval_s=interval_s, clock=self.clock, metrics=self.metrics)),
                ("loop", lambda stop: watch_loop(stop, clock=self.clock, metrics=self.metrics)),
                ("memory", lambda stop: keep_memory_tidy(stop, clock=self.clock)),
            ]
            await self._serve(roles, loops)
        _logger.info("stopped")

    async def _start(self, around: Surroundings, stack: AsyncExitStack) -> list[Role]:
        """Start the chosen roles; what they hold is closed by `stack`, the last one first."""
        started: list[Role] = []
        for name in self.roles:
            role = await self._start_one(name, around)
            stack.push_async_callback(_closed_in_time, role)
            started.append(role)
        return started

    async def _start_one(self, name: str, around: Surroundings) -> Role:
        match name:
            case "events":
                return await start_events(around)
            case "propagation":
                role, self._served = await start_propagation(around)
                return role
            case "purging":
                return await start_purging(around, self._served)
            case "console":
                return await start_console(around)
            case _:
                raise AssertionError(name)

    def _listeners(self, roles: Sequence[Role]) -> list[Listener]:
        limits = self.config.http
        limits = msgspec.structs.replace(limits, drain=Seconds(min(limits.drain, DRAIN_TIME_MAX_S)))
        listeners = []
        for role in roles:
            app = application(
                role.routes,
                role=role.name,
                metrics=self.metrics,
                readiness=role.readiness,
                clients=self.config.clients,
                limits=limits,
                clock=self.clock,
            )
            self._applications.append(app)
            listeners.append(Listener(*parse_listen(role.listen), app, limits))
        return listeners

    async def _serve(self, roles: Sequence[Role], loops: Sequence[tuple[str, Loop]]) -> None:
        """Run listeners and loops; on the way out first the listeners drain, then the loops end."""
        stop_serving, stop_loops, listening = asyncio.Event(), asyncio.Event(), asyncio.Event()
        listeners = self._listeners(roles)
        server = asyncio.create_task(serve(listeners, stop=stop_serving, started=listening), name="http")
        tasks = [asyncio.create_task(_until(stop_loops, name, loop), name=name) for name, loop in loops]
        ready = asyncio.create_task(self._announce(listening, roles, listeners), name="announce")
        try:
            await _first_of(asyncio.create_task(self.stop.wait(), name="stop"), server, *tasks)
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

    async def _announce(self, listening: asyncio.Event, roles: Sequence[Role], listeners: Sequence[Listener]) -> None:
        await listening.wait()
        pairs = zip(roles, listeners, strict=True)
        running = Running({role.name: f"{listener.host}:{listener.bound_port}" for role, listener in pairs})
        _logger.info("ready", **running.addresses)
        if self.on_ready is not None:
            self.on_ready(running)

    def reload(self, configuration: Reloadable[HeadwaterConfig]) -> None:
        """Read the configuration again and take over what can change at once; a wrong one changes nothing."""
        try:
            config = configuration.reload()
            clients = Clients(config.clients)
            for listen in self.config.listens().values():  # what is bound stays bound until the next start
                demand_clients(parse_listen(listen)[0], clients)
        except HeadwaterError as error:
            self.metrics.inc(RELOADS, result="refused")
            _logger.error("config_refused", where=error.where, detail=error.detail)
            return
        found = differences(self.config, config)
        for app in self._applications:
            app.clients = clients
        self.metrics.inc(RELOADS, result="applied")
        _logger.info("config_reloaded", applied=found.at_once, at_next_start=found.at_next_start)


async def _closed_in_time(role: Role) -> None:
    """Close a role; what takes too long is cancelled, because the end of the process must not depend on what is outside."""
    try:
        async with asyncio.timeout(CLOSE_TIME_MAX_S):
            await role.close()
    except TimeoutError:
        _logger.error("role_closed_late", role=role.name)


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

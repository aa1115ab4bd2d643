"""The process: owns the data directory, starts the roles in order, runs until it is told to stop, drains, and ends."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from headwater.app.config import HeadwaterConfig
from headwater.app.console_role import start_console
from headwater.app.events_role import event_stream_specs, start_events
from headwater.app.maintenance import maintain_log
from headwater.app.metrics import CATALOGUE
from headwater.app.process_metrics import RELOADS, STARTED
from headwater.app.propagation_role import start_propagation
from headwater.app.purging_role import NotHere, start_purging
from headwater.app.reloading import differences
from headwater.app.roles import SESSIONS, Loop, Role
from headwater.app.running import OnReady, closed_in_time, drained_in_time, serve_until_stopped
from headwater.app.storage import opened_log, owned_directory
from headwater.app.surroundings import Surroundings
from headwater.app.tables_role import start_tables
from headwater.app.tending import keep_memory_tidy, watch_loop
from headwater.app.tls import credentials_of, listener_of, use_credentials
from headwater.http.application import Manner, application
from headwater.http.auth import Authenticator, Clients, demand_clients
from headwater.http.certificates import Credentials
from headwater.http.config import parse_listen
from headwater.http.hosts import hosts_of
from headwater.http.listening import Listener
from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import run_until
from headwater.kernel.configfile import Reloadable
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.purging.ports import ServedSeq
from headwater.sqlite import shorten_thread_switches
from headwater.tables.clients import Callers

HTTP_SECTION = "http"

_logger = structlog.get_logger(__name__)


def callers_of(role: str, config: HeadwaterConfig) -> Authenticator:
    """Who may call a role: its own clients, or those that roles share. Raises InvalidConfig."""
    return Callers(config.tables) if role == "tables" else Clients(config.clients)


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
    on_ready: OnReady | None = None
    metrics: Metrics = field(default_factory=lambda: Metrics(CATALOGUE))
    _served: ServedSeq = field(default_factory=NotHere)
    _listening: list[Listener] = field(default_factory=list)

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
        credentials = credentials_of(self.config.http, clock=self.clock, where=HTTP_SECTION)
        async with AsyncExitStack() as stack:
            data_dir = stack.enter_context(owned_directory(Path(self.config.data_dir)))
            log = await stack.enter_async_context(opened_log(self.config, data_dir, clock=self.clock, metrics=self.metrics))
            await log.declare(event_stream_specs(self.config))
            around = Surroundings(self.config, data_dir, log, self.clock, self.ids, self.metrics, log.not_writable, self.stop)
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
            self._listening = self._listeners(roles, credentials)
            await serve_until_stopped(self._listening, loops, stop=self.stop, on_ready=self.on_ready)
        _logger.info("stopped")

    async def _start(self, around: Surroundings, stack: AsyncExitStack) -> list[Role]:
        """Start the chosen roles; what they hold is closed by `stack`, the last one first."""
        started: list[Role] = []
        for name in self.roles:
            role = await self._start_one(name, around)
            stack.push_async_callback(closed_in_time, role)
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
            case "tables":
                return await start_tables(around)
            case "console":
                return await start_console(around)
            case _:
                raise AssertionError(name)

    def _listeners(self, roles: Sequence[Role], credentials: Credentials | None) -> list[Listener]:
        limits = drained_in_time(self.config.http)
        listeners = []
        for role in roles:
            app = application(
                role.routes,
                role=role.name,
                metrics=self.metrics,
                readiness=role.readiness,
                clients=callers_of(role.name, self.config),
                limits=limits,
                clock=self.clock,
                manner=Manner(hosts=hosts_of(role.listen, self.config.hosts)),
            )
            listeners.append(listener_of(app, role.listen, limits, credentials))
        return listeners

    def reload(self, configuration: Reloadable[HeadwaterConfig]) -> None:
        """Read configuration and certificates again and take over what can change at once; a wrong one changes nothing."""
        try:
            config = configuration.reload()
            callers = [callers_of(listener.app.role, config) for listener in self._listening]
            for role, listen in self.config.listens().items():  # what is bound stays bound until the next start
                if role != SESSIONS:  # which have clients and a process of their own
                    demand_clients(parse_listen(listen)[0], callers_of(role, config))
            credentials = credentials_of(config.http, clock=self.clock, where=HTTP_SECTION)
        except HeadwaterError as error:
            self.metrics.inc(RELOADS, result="refused")
            _logger.error("config_refused", where=error.where, detail=error.detail)
            return
        found = differences(self.config, config, others=(SESSIONS,))
        for listener, found_callers in zip(self._listening, callers, strict=True):
            listener.app.clients = found_callers
            listener.app.hosts = hosts_of(self.config.listens()[listener.app.role], config.hosts)
            use_credentials(listener, credentials)
        self.metrics.inc(RELOADS, result="applied")
        _logger.info("config_reloaded", applied=found.at_once, at_next_start=found.at_next_start)

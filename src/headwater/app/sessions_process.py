"""The process of sessions: a composition root of its own, which imports the kernel, `http`, `sqlite` and `sessions`, and no other service.

It owns a data directory of its own, makes or reads its keys, opens the store, serves, and drains when it is told to stop. Core dumps are
off before the first key is read.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog

from headwater.app.descriptors import allow_connections
from headwater.app.hardening import harden
from headwater.app.process_metrics import METRICS as PROCESS
from headwater.app.process_metrics import RELOADS, STARTED
from headwater.app.reloading import AT_ONCE_SESSIONS, differences
from headwater.app.roles import SESSIONS, Role
from headwater.app.running import OnReady, closed_in_time, drained_in_time, serve_until_stopped
from headwater.app.sessions_config import Places, SessionsFile, places_of
from headwater.app.sessions_files import keys_joining, note_keys_in_use, ring_in_use, say_writing_key
from headwater.app.tending import keep_memory_tidy, watch_loop
from headwater.app.tls import credentials_of, listener_of, use_credentials
from headwater.http.application import Application, application
from headwater.http.certificates import Credentials
from headwater.http.listening import Listener
from headwater.http.metrics import METRICS as HTTP
from headwater.kernel.clock import Clock
from headwater.kernel.configfile import Reloadable
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metric, Metrics
from headwater.sessions.api import SessionsApi
from headwater.sessions.clients import NOBODY
from headwater.sessions.config import SessionsConfig
from headwater.sessions.engines.sqlite import DATABASE, SqliteSessionStore
from headwater.sessions.keys import KeyRing
from headwater.sessions.metrics import MEMORY_PROTECTION
from headwater.sessions.metrics import METRICS as OWN
from headwater.sessions.service import Sessions
from headwater.sqlite import shorten_thread_switches
from headwater.sqlite.lock import DirectoryLock
from headwater.sqlite.metrics import METRICS as SQLITE

CATALOGUE: tuple[Metric, ...] = (*PROCESS, *HTTP, *SQLITE, *OWN)

HTTP_SECTION = "sessions.http"

_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class SessionsProcess:
    """Sessions, from the lock of their data directory to the end of the process.

    Attributes:
        config: validated configuration.
        stop: ends `run` when set.
        on_ready: called once the address is listened on.
    """

    config: SessionsFile
    clock: Clock
    ids: Ids
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    on_ready: OnReady | None = None
    metrics: Metrics = field(default_factory=lambda: Metrics(CATALOGUE))
    _service: Sessions | None = None
    _api: SessionsApi | None = None
    _listening: Listener | None = None

    async def run(self) -> None:
        """Run until `stop` is set; everything has ended when this returns.

        Raises:
            AlreadyOwned: another process owns the data directory.
            Unavailable: the address is taken, or the disk does not answer.
            LoopEnded: a part ended by itself.
            KeysUnusable, InvalidConfig, FormatTooNew, Corrupted, StorageFull: it cannot start.
        """
        for measure, is_reached in harden().measures().items():
            self.metrics.set(MEMORY_PROTECTION, is_reached, measure=measure)
        allow_connections(self.config.sessions.http.connections_hard_max)
        shorten_thread_switches()
        self.metrics.set(STARTED, self.clock.now_ms() / 1000)
        places = places_of(self.config)
        credentials = credentials_of(self.config.sessions.http, clock=self.clock, where=HTTP_SECTION)
        async with AsyncExitStack() as stack:
            places.own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # the lock makes only its own directory private
            lock = DirectoryLock(places.own)
            lock.acquire()
            stack.callback(lock.release)
            role = await self._started(places, stack)
            loops = [
                *role.loops,
                ("loop", lambda stop: watch_loop(stop, clock=self.clock, metrics=self.metrics)),
                ("memory", lambda stop: keep_memory_tidy(stop, clock=self.clock)),
            ]
            self._listening = self._listener(role, credentials)
            await serve_until_stopped([self._listening], loops, stop=self.stop, on_ready=self.on_ready)
        _logger.info("stopped")

    async def _started(self, places: Places, stack: AsyncExitStack) -> Role:
        """Open the store and start the service; `stack` closes both."""
        config = self.config.sessions
        ring = ring_in_use(places, config.keys, self.ids)
        store = await SqliteSessionStore.open(places.store, metrics=self.metrics, clock=self.clock, storage=self.config.storage)
        stack.push_async_callback(store.close)
        say_writing_key(places, ring)
        if config.guessable():
            _logger.warning("sessions_keys_can_be_guessed", namespaces=list(config.guessable()))
        service = Sessions(store, ring=ring, policies=config.policies(), clock=self.clock, ids=self.ids, metrics=self.metrics)
        await service.start()
        role = Role(SESSIONS, config.listen, (), close=service.stop)
        stack.push_async_callback(closed_in_time, role)
        await self._let_keys_join(service, places, ring)
        if places.invalidate.exists():
            await self._invalidate_all(service, places)
        self._service = service
        self._begin_counting(config)
        self._api = SessionsApi(service, config, metrics=self.metrics, clock=self.clock)
        return role

    async def _let_keys_join(self, service: Sessions, places: Places, ring: KeyRing) -> None:
        """What is sealed under a key that comes back is over: nobody could delete or revoke it while the key was away."""
        joining = keys_joining(places, ring)
        if joining:
            await service.end_rows_of(ring, joining)
        note_keys_in_use(places, ring)

    async def _invalidate_all(self, service: Sessions, places: Places) -> None:
        """What a restored backup has asked for: no session that is in the store, or will be put there by hand, is served again."""
        for name in self.config.sessions.namespaces:
            await service.revoke_namespace(name)
        places.invalidate.unlink()
        _logger.warning("sessions_invalidated_after_restore")

    def _begin_counting(self, config: SessionsConfig) -> None:
        """Show every counter at 0 whose labels are known by now."""
        clients = [client.name for client in config.clients] or [NOBODY]
        self.metrics.begin(role=(SESSIONS,), database=(DATABASE,), namespace=self.config.sessions.namespaces, client=clients)

    def _listener(self, role: Role, credentials: Credentials | None) -> Listener:
        assert self._service is not None
        assert self._api is not None
        limits = drained_in_time(self.config.sessions.http)
        app: Application = application(
            self._api.routes(),
            role=role.name,
            metrics=self.metrics,
            readiness=(("storage", self._service.ready),),
            clients=self._api.callers,
            limits=limits,
            clock=self.clock,
            manner=self._api.manner(),
        )
        return listener_of(app, role.listen, limits, credentials)

    async def reload(self, configuration: Reloadable[SessionsFile]) -> None:
        """Read configuration, keys and certificates again and take over what can change at once; what is wrong changes nothing."""
        try:
            config = configuration.reload()
            places = places_of(self.config)
            ring = ring_in_use(places, config.sessions.keys, self.ids)
            credentials = credentials_of(config.sessions.http, clock=self.clock, where=HTTP_SECTION)
            if self._service is None or self._api is None or self._listening is None:
                return
            self._api.reload(config.sessions)
            self._begin_counting(config.sessions)
            await self._let_keys_join(self._service, places, ring)
            self._service.use_keys(ring)
            use_credentials(self._listening, credentials)
            say_writing_key(places, ring)
        except HeadwaterError as error:
            self.metrics.inc(RELOADS, result="refused")
            _logger.error("config_refused", where=error.where, detail=error.detail)
            return
        self.metrics.inc(RELOADS, result="applied")
        found = differences(self.config, config, at_once=AT_ONCE_SESSIONS)
        _logger.info(
            "config_reloaded",
            applied=found.at_once,
            at_next_start=found.at_next_start,
            writing_key=ring.active.id,
            keys=sorted(ring.ids),
        )

"""Both interfaces of the service joined: routes for the native one, a fallback in the manner of Kask for everything else."""

from collections.abc import Sequence

from headwater.http.application import Manner, Privacy
from headwater.http.auth import demand_clients
from headwater.http.config import parse_listen
from headwater.http.messages import Fallback, Route
from headwater.kernel.clock import Clock
from headwater.kernel.metrics import Metrics
from headwater.sessions import dropin
from headwater.sessions.clients import Callers
from headwater.sessions.config import SessionsConfig
from headwater.sessions.dropin import DropIn
from headwater.sessions.gate import Gate
from headwater.sessions.native import NativeApi
from headwater.sessions.service import Sessions


class SessionsApi:
    """What an application needs to be the service: `routes`, `callers`, `manner`."""

    def __init__(self, service: Sessions, config: SessionsConfig, *, metrics: Metrics, clock: Clock) -> None:
        self._gate = Gate(config, metrics=metrics, clock=clock)
        self._native = NativeApi(service, self._gate, clock=clock)
        self._dropin = DropIn(service, self._gate, clock=clock)

    @property
    def callers(self) -> Callers:
        """Who may call."""
        return self._gate.callers

    def routes(self) -> Sequence[Route]:
        """The native interface."""
        return self._native.routes()

    def manner(self) -> Manner:
        """The drop-in interface, and that paths are secrets."""
        config = self._gate.config
        value_bytes_max = max(namespace.value_bytes_max for namespace in config.namespaces.values())
        fallback = Fallback(self._dropin.answer, dropin.NAME, body_bytes_max=value_bytes_max, exempt=dropin.EXEMPT)
        return Manner(fallback, Privacy.PATHS)

    def reload(self, config: SessionsConfig) -> None:
        """Take over the clients and hosts of `config`; all else takes effect at the next start.

        Raises:
            InvalidConfig: it names no clients, and other machines reach the address that is listened on; nothing was taken over.
        """
        demand_clients(parse_listen(self._gate.config.listen)[0], config.clients, section="sessions.")
        self._gate.callers.take(config)

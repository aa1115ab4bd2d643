"""Wires the console: it asks every other role where that listens."""

from dataclasses import dataclass

from headwater.app.config import HeadwaterConfig
from headwater.app.roles import SESSIONS, Role
from headwater.app.surroundings import Surroundings
from headwater.console.api import ConsoleApi
from headwater.console.config import ConsoleConfig
from headwater.console.engines.http import HttpRoleClient
from headwater.console.ports import Answer
from headwater.console.service import Console
from headwater.http.certificates import asking_context
from headwater.http.config import HttpLimits


def addresses_of(config: HeadwaterConfig) -> dict[str, str]:
    """Where the console asks each role, as host:port: where it listens here, unless the section `console` says otherwise."""
    return {role: listen for role, listen in config.listens().items() if role != "console"} | config.console.addresses


@dataclass(frozen=True, slots=True)
class Clients:
    """A `RoleClient` that asks sessions in another way: what opens in a browser holds no credentials of theirs, and they need none of ours.

    Attributes:
        roles: asks all others.
        sessions: asks what listens at `sessions_at`.
    """

    roles: HttpRoleClient
    sessions: HttpRoleClient
    sessions_at: str | None

    async def ask(self, address: str, path: str) -> Answer:
        """See `RoleClient.ask`."""
        return await (self.sessions if address == self.sessions_at else self.roles).ask(address, path)

    async def close(self) -> None:
        """Close connections."""
        await self.roles.close()
        await self.sessions.close()


def _client(config: ConsoleConfig, http: HttpLimits, *, token: str | None, section: str) -> HttpRoleClient:
    tls = http.tls
    return HttpRoleClient(
        timeout_s=config.timeout,
        answer_bytes_max=config.answer_bytes_max,
        token=token,
        tls=None if tls is None else asking_context(tls.asking, where=f"{section}.tls.asking"),
        server_name=None if tls is None else tls.asking.server_name,
    )


async def start_console(around: Surroundings) -> Role:
    """Start the console; it asks nobody before somebody looks."""
    config = around.config.console
    addresses = addresses_of(around.config)
    client = Clients(
        _client(config, around.config.http, token=config.token, section="http"),
        _client(config, around.config.sessions.http, token=None, section="sessions.http"),
        addresses.get(SESSIONS),
    )
    console = Console(
        client,
        addresses,
        clock=around.clock,
        poll_interval_s=config.poll_interval,
        edits_max=config.edits_max,
        may_be_absent=lambda role: role == SESSIONS and role not in config.addresses and not around.config.has_sessions(),
    )
    return Role(name="console", listen=config.listen, routes=ConsoleApi(console).routes(), close=client.close)

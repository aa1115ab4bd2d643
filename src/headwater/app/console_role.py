"""Wires the console: it asks every other role where that listens."""

from headwater.app.config import HeadwaterConfig
from headwater.app.roles import SESSIONS, Role
from headwater.app.surroundings import Surroundings
from headwater.console.api import ConsoleApi
from headwater.console.engines.http import HttpRoleClient
from headwater.console.service import Console
from headwater.http.certificates import asking_context


def addresses_of(config: HeadwaterConfig) -> dict[str, str]:
    """Where the console asks each role, as host:port: where it listens here, unless the section `console` says otherwise.

    Sessions are not asked: what opens in a browser shall hold no credentials of theirs.
    """
    own = {role: listen for role, listen in config.listens().items() if role not in ("console", SESSIONS)}
    return own | config.console.addresses


async def start_console(around: Surroundings) -> Role:
    """Start the console; it asks nobody before somebody looks."""
    config = around.config.console
    tls = around.config.http.tls
    client = HttpRoleClient(
        timeout_s=config.timeout,
        answer_bytes_max=config.answer_bytes_max,
        token=config.token,
        tls=None if tls is None else asking_context(tls.asking, where="http.tls.asking"),
        server_name=None if tls is None else tls.asking.server_name,
    )
    console = Console(
        client,
        addresses_of(around.config),
        clock=around.clock,
        poll_interval_s=config.poll_interval,
        edits_max=config.edits_max,
    )
    return Role(name="console", listen=config.listen, routes=ConsoleApi(console).routes(), close=client.close)

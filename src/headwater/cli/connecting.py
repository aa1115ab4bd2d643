"""Connections of the command line to roles: plain ones, and TLS under the name that the configuration gives. Loads no service."""

import http.client
import ssl
from dataclasses import dataclass

from headwater.http.certificates import asking_context
from headwater.http.config import AskingConfig, HttpLimits, parse_listen

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class Tls:
    """How a role is asked over TLS.

    Attributes:
        context: whom to trust, and what to show.
        server_name: what the certificate has to be for; None: the host that is connected to.
    """

    context: ssl.SSLContext
    server_name: str | None = None


class _TlsConnection(http.client.HTTPConnection):
    """As the standard library's, but the certificate may be for another name than the host."""

    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, port: int, *, tls: Tls, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._tls = tls

    def connect(self) -> None:
        """Connect, and shake hands."""
        super().connect()
        self.sock = self._tls.context.wrap_socket(self.sock, server_hostname=self._tls.server_name or self.host)


def tls_of(limits: HttpLimits, *, where: str, instead: AskingConfig | None = None) -> Tls | None:
    """How a listener with these `limits` is asked; None: over plain HTTP.

    Args:
        limits: of the listener.
        where: path of their section, for errors.
        instead: what takes the place of the section `asking`, and says that the listener speaks TLS.

    Raises:
        InvalidConfig: a file cannot be used.
    """
    if instead is None and limits.tls is None:
        return None
    asking = instead if instead is not None or limits.tls is None else limits.tls.asking
    assert asking is not None
    return Tls(asking_context(asking, where=f"{where}.tls.asking"), asking.server_name)


def connection_to(address: str, tls: Tls | None, *, timeout_s: float) -> http.client.HTTPConnection:
    """A connection, not open yet, to a role at `address` (host:port); one that listens everywhere is asked on this machine."""
    host, port = parse_listen(address)
    host = _EVERY_ADDRESS.get(host, host)
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    return _TlsConnection(host, port, tls=tls, timeout_s=timeout_s)

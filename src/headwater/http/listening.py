"""Addresses that applications are served on, and taking them."""

import errno
import socket
from dataclasses import dataclass, field

from headwater.http.application import Application
from headwater.http.auth import demand_clients
from headwater.http.config import HttpLimits
from headwater.http.tls import TlsServer
from headwater.kernel.errors import InvalidConfig, Unavailable


@dataclass(slots=True)
class Listener:
    """An address and the application that answers there.

    Attributes:
        host: name or address to listen on; anything but loopback needs clients.
        port: 0 lets the system choose; `bound_port` tells what it chose.
        app: the application.
        limits: limits and deadlines of the connections.
        tls: what they speak TLS with; None is plain HTTP.
    """

    host: str
    port: int
    app: Application
    limits: HttpLimits
    tls: TlsServer | None = None
    _socket: socket.socket | None = field(default=None, repr=False)

    @property
    def bound_port(self) -> int:
        """The port that is listened on; only after `bind`."""
        assert self._socket is not None, "not bound"
        port: int = self._socket.getsockname()[1]
        return port

    def bind(self) -> socket.socket:
        """Take the address; again, the same socket.

        Raises:
            InvalidConfig: open to other machines without clients, or no address of this machine.
            Unavailable: another process listens there.
        """
        if self._socket is None:
            demand_clients(self.host, self.app.clients)
            self._socket = _bound_socket(self.host, self.port, self.limits)
        return self._socket

    def release(self) -> None:
        """Give the address back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _bound_socket(host: str, port: int, limits: HttpLimits) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise InvalidConfig(f"cannot listen on {host}: {error.strerror}", where="listen") from error
    listening = socket.socket(family, kind, proto)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: what a reader does not take stays bounded in the kernel too.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer)
        listening.bind(address)
        listening.listen(min(limits.connections_max, 4096))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"{host}:{port} is taken by another process", where="listen") from error
        raise InvalidConfig(f"cannot listen on {host}:{port}: {error.strerror}", where="listen") from error
    return listening

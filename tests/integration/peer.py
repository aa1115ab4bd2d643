"""The other end of a connection, as bytes, over TCP or TLS; reading and writing may happen in two threads."""

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Self


class Peer:
    """A TCP connection to 127.0.0.1."""

    def __init__(self, port: int, *, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def sendall(self, data: bytes) -> None:
        """Send it all."""
        self.socket.sendall(data)

    def recv(self, size: int) -> bytes:
        """What has come, at most `size` bytes; nothing at the end."""
        return self.socket.recv(size)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Set an option of the socket."""
        self.socket.setsockopt(level, option, value)

    def end(self) -> None:
        """Send the end, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close."""
        self.socket.close()


class TlsPeer(Peer):
    """The same under TLS; the handshake is complete once it is made, as far as a client can know."""

    def __init__(self, port: int, context: ssl.SSLContext, *, timeout_s: float = 20.0) -> None:
        super().__init__(port, timeout_s=timeout_s)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._lock = threading.Lock()
        self.ended_well = False
        try:
            self._shake_hands()
        except BaseException:
            self.close()
            raise

    def _shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.socket.sendall(self._outgoing.read())
                received = self.socket.recv(65_536)
                if not received:
                    raise ConnectionResetError("closed in the handshake") from None
                self._incoming.write(received)
            finally:
                if self._outgoing.pending:
                    self.socket.sendall(self._outgoing.read())

    def sendall(self, data: bytes) -> None:
        with self._lock:
            rest = memoryview(data)
            while rest:
                rest = rest[self.tls.write(rest) :]
            encrypted = self._outgoing.read()
        self.socket.sendall(encrypted)

    def recv(self, size: int) -> bytes:
        while True:
            with self._lock:
                try:
                    data = self.tls.read(size)
                    self.ended_well = not data
                    return data
                except ssl.SSLZeroReturnError:  # how it says so after our own end
                    self.ended_well = True
                    return b""
                except ssl.SSLWantReadError:
                    pass
            received = self.socket.recv(65_536)
            if not received:
                return b""  # without the end that TLS has for it: `ended_well` stays False
            with self._lock:
                self._incoming.write(received)

    def end(self) -> None:
        with self._lock, contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.socket.sendall(self._outgoing.read())
        super().end()

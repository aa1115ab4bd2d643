"""TLS on connections that were accepted: a protocol towards the socket, a transport towards the protocol of HTTP.

The library's engine (`ssl.SSLObject` over memory) does all of TLS; here it is only connected, so that a connection keeps under TLS what it
has without: it is counted before its handshake, its buffer is what the socket has not taken yet, it closes by half. Invariants:

* the inner protocol learns of the connection only when the handshake is complete, and of its end if it had learned of it;
* a handshake ends within its time, whatever arrives; how it ended is counted, and nothing of it is logged above `debug`;
* paused reading holds at most what the socket gave at once;
* after the end that we sent, what still comes is discarded undecrypted.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, cast

import structlog

from headwater.http.certificates import Credentials, names_of
from headwater.http.deadline import Deadline
from headwater.kernel.clock import Clock

_log = structlog.get_logger(__name__)

READ_BYTES = 65_536
REFUSAL_LINGER_S = 1.0
DISCARD_BYTES_MAX = 16 * 1024 * 1024
OWN_BYTES_MAX = 65_536
"""Bytes of TLS's own answers after the handshake: thousands of updates of keys, where one in gigabytes is usual."""
_PLAIN_BODY = b"This port speaks HTTPS, not HTTP.\n"
_PLAIN_REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
    len(_PLAIN_BODY),
    _PLAIN_BODY,
)


class Handshake(Enum):
    """How a handshake ended."""

    OK = "ok"
    PLAIN_HTTP = "plain_http"
    NO_CERTIFICATE = "no_certificate"  # a client has to show one, and did not
    BAD_CERTIFICATE = "bad_certificate"  # of an unknown authority, expired, not for clients, or its key was not proven
    PROTOCOL = "protocol"  # no version or cipher in common, or no TLS at all
    REFUSED_BY_PEER = "refused_by_peer"  # the client does not trust us
    LATE = "late"
    GONE = "gone"


class Carried(Protocol):
    """The protocol that a `TlsTransport` carries; its methods are those of `asyncio.Protocol`."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """The handshake is complete."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        ...

    def data_received(self, data: bytes) -> None:
        """Data came."""
        ...

    def eof_received(self) -> bool:
        """No more data will come; whether the connection stays open for answers."""
        ...

    def pause_writing(self) -> None:
        """The socket takes less than is written."""
        ...

    def resume_writing(self) -> None:
        """The socket has taken it."""
        ...


class TlsServer:
    """The TLS of one listener: what new connections speak it with, and those whose handshake is under way."""

    def __init__(self, credentials: Credentials, *, handshake_timeout_s: float, clock: Clock, ended: Callable[[Handshake], None]) -> None:
        """`ended` is told of each handshake."""
        self.credentials = credentials
        self.handshake_timeout_s = handshake_timeout_s
        self.clock = clock
        self.ended = ended
        self.handshaking: set[TlsTransport] = set()

    def hurry(self, seconds: float) -> None:
        """Let the handshakes under way end within `seconds`."""
        for transport in self.handshaking:
            transport.hurry(seconds)

    def abort(self) -> None:
        """End the handshakes under way."""
        for transport in self.handshaking:
            transport.abort()


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One connection: protocol of the socket's transport, transport of the protocol that it carries."""

    def __init__(self, server: TlsServer, carried: Carried, *, admit: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Speak TLS for a protocol.

        Args:
            server: the listener's TLS.
            carried: is told of the connection once its handshake is complete.
            admit: whether there is a place for one more, asked when the connection is made.
            changed: called when there is one connection without a handshake more, or one less.
        """
        super().__init__()
        self._server = server
        self._carried = carried
        self._admit = admit
        self._changed = changed
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = server.credentials.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._deadline = Deadline(asyncio.get_running_loop(), self._on_deadline)
        self._raw: asyncio.Transport = cast(asyncio.Transport, None)
        self._established = self._paused = self._input_over = self._end_sent = self._pumping = False
        self._discarded_bytes = self._own_bytes = 0
        self._result: Handshake | None = None

    # -- the protocol of the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, if there is a place."""
        self._raw = cast(asyncio.Transport, transport)
        if not self._admit():
            self._input_over = True
            self._raw.abort()
            return
        self._server.handshaking.add(self)
        self._changed()
        self._deadline.move(self._server.handshake_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever knows of the connection."""
        self._input_over = True
        self._deadline.cancel()
        if self._established:
            self._carried.connection_lost(exc)
        elif self in self._server.handshaking:
            self._count(Handshake.GONE)
            self._server.handshaking.discard(self)
            self._changed()

    def data_received(self, data: bytes) -> None:
        """Take what the socket brought."""
        if self._input_over or self._end_sent:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > DISCARD_BYTES_MAX:
                self._raw.abort()
            return
        self._incoming.write(data)
        if self._established or self._shake_hands():
            self._pump()

    def eof_received(self) -> bool:
        """The peer has sent its last byte, with or without the end that TLS has for it: framing tells whether a request is whole."""
        if not self._established:
            return False
        if self._end_sent:
            return self._carried.eof_received()
        self._incoming.write_eof()
        self._pump()
        return True  # the carried protocol closes when it has answered

    def pause_writing(self) -> None:
        """The socket takes less than is written."""
        if self._established:
            self._carried.pause_writing()

    def resume_writing(self) -> None:
        """The socket has taken it."""
        if self._established:
            self._carried.resume_writing()

    # -- the handshake

    def hurry(self, seconds: float) -> None:
        """Let the handshake end within `seconds`."""
        self._deadline.move(min(seconds, self._server.handshake_timeout_s))

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is complete."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._refuse(_why(error), error)
            return False
        self._deadline.cancel()
        self._established = True
        self._flush()
        self._count(Handshake.OK)
        self._server.handshaking.discard(self)
        self._carried.connection_made(self)
        self._changed()
        return True

    def _refuse(self, why: Handshake, error: ssl.SSLError) -> None:
        """End by half, so that the peer can read the alert that says why."""
        _log.debug("handshake_failed", reason=error.reason, result=why.value)
        self._count(why)
        self._input_over = True
        if why is Handshake.PLAIN_HTTP:
            self._raw.write(_PLAIN_REFUSAL)
        self._flush()
        self._raw.write_eof()
        self._deadline.move(REFUSAL_LINGER_S)

    def _on_deadline(self) -> None:
        self._count(Handshake.LATE)
        self._raw.abort()

    def _count(self, result: Handshake) -> None:
        if self._result is None:
            self._result = result
            self._server.ended(result)

    # -- input

    def _pump(self) -> None:
        """Give the carried protocol what can be decrypted, as long as it wants more."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while not (self._paused or self._input_over or self._end_sent or self._raw.is_closing()):
                data = self._tls.read(READ_BYTES)
                if data:
                    self._carried.data_received(data)
                else:
                    self._end_input()
        except ssl.SSLWantReadError:
            pass  # the rest of a record has not come yet
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._end_input()
        except ssl.SSLError as error:
            _log.debug("tls_broken", reason=error.reason)
            self._input_over = True
            self._flush()
            self._raw.abort()
        finally:
            self._pumping = False
        self._answer_tls()

    def _answer_tls(self) -> None:
        """Send what TLS itself answers, such as to an update of keys. Who makes it answer on and on, and may not read it, is dropped."""
        self._own_bytes += self._outgoing.pending
        if self._own_bytes > OWN_BYTES_MAX:
            self._raw.abort()
        self._flush()

    def _end_input(self) -> None:
        self._input_over = True
        if not self._carried.eof_received():
            self.close()

    # -- the transport of the carried protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the socket's transport knows, and `ssl_object`, `sslcontext`, `certificate_names`."""
        match name:
            case "certificate_names":
                return self._names()
            case "ssl_object":
                return self._tls
            case "sslcontext":
                return self._tls.context
        return self._raw.get_extra_info(name, default)

    def _names(self) -> tuple[str, ...]:
        try:
            certificate = self._tls.getpeercert()
        except ValueError as error:  # its authority has signed names that are no text: whose it is cannot be told
            _log.info("certificate_unreadable", error=type(error).__name__)
            return ()
        return names_of(certificate, now_s=self._server.clock.now_ms() / 1000)

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._raw.is_closing()

    def is_reading(self) -> bool:
        """Whether input is wanted."""
        return not self._paused and not self._raw.is_closing()

    def pause_reading(self) -> None:
        """Hold input back."""
        if not self._paused and not self._raw.is_closing():
            self._paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Let input come, first what is here already."""
        if self._paused and not self._raw.is_closing():
            self._paused = False
            self._raw.resume_reading()
            asyncio.get_running_loop().call_soon(self._pump)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or buffer, `data`."""
        if data and not self._end_sent and not self._raw.is_closing():
            rest = memoryview(data)
            while rest:
                rest = rest[self._tls.write(rest) :]  # one record at a time
            self._flush()

    def can_write_eof(self) -> bool:
        """True: the connection can be closed by half."""
        return True

    def write_eof(self) -> None:
        """Send the end, of TLS and of the connection, after what is buffered; what still comes is not decrypted any more."""
        if not self._end_sent and not self._raw.is_closing():
            self._send_end()
            self._raw.write_eof()

    def close(self) -> None:
        """Close when what is buffered has been sent."""
        if not self._raw.is_closing():
            self._send_end()
            self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._raw.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken; nothing is held anywhere else."""
        return self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high mark of the socket's buffer."""
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks of the socket's buffer."""
        self._raw.set_write_buffer_limits(high, low)

    def _send_end(self) -> None:
        if self._end_sent:
            return
        self._end_sent = True
        with contextlib.suppress(ssl.SSLError):  # the peer's end has not come yet, and nobody waits for it
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())


def _why(error: ssl.SSLError) -> Handshake:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Handshake.BAD_CERTIFICATE
    if reason == "HTTP_REQUEST":
        return Handshake.PLAIN_HTTP
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return Handshake.NO_CERTIFICATE
    if "ALERT" in reason:
        return Handshake.REFUSED_BY_PEER
    if "CERTIFICATE" in reason or "SIGNATURE" in reason:
        return Handshake.BAD_CERTIFICATE
    return Handshake.PROTOCOL

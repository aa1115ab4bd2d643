"""Serving applications on sockets: all that an application cannot see of HTTP/1.1 is decided here.

One subclass of uvicorn's protocol class decides what is a request (with `headwater.http.framing`), holds the deadlines and ends
connections. No other module knows uvicorn's name. Invariants of a connection:

* at most one request is under way; the answers leave in the order of the requests, a refusal after the answers to those before it;
* after a refusal, an answer that closes, or the peer's end of input, nothing more is parsed;
* while the connection is open some deadline runs, unless the application is at work;
* it is closed by half: input is discarded for a while, so that the answer is not lost to a reset.
"""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterator, Sequence
from email.utils import formatdate
from enum import Enum
from typing import Any, cast

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from headwater.http.deadline import Deadline
from headwater.http.framing import Head, HeadMeter, Refused, check_head, resumed_head
from headwater.http.listening import Listener
from headwater.http.tls import TlsTransport
from headwater.http.unsent import Unsent

__all__ = ["Listener", "serve"]

_log = structlog.get_logger(__name__)

SLICE_BYTES = 4096
"""Bytes given to the parser at once, beside the rest of a body: bounds how many pipelined requests are held as parsed."""
BODY_BUFFER_BYTES = 65_536
"""Bytes of a body that may wait for the application before reading pauses."""
DRAIN_BYTES_MAX = 65_536
"""Rest of a body that is still read after an early answer so that the connection can go on."""
DISCARD_BYTES_MAX = 16 * 1024 * 1024
READ_PROGRESS_BYTES_MIN = 4096
DRAIN_GRACE_S = 0.05
PARTIAL_HEAD_GRACE_S = 1.0
_LAST_LINES = b"connection: close\r\n\r\n"
_CHUNK_OVERHEAD = 16
"""Framing bytes allowed per byte of a chunked body, beside the limit of headers; chunks of one byte need 5."""


class Wait(Enum):
    """What a connection waits for; each has its own deadline."""

    NOTHING = 0
    HEAD = 1
    BODY = 2
    IDLE = 3
    LINGER = 4


class _Outgoing:
    """The transport as a request's cycle sees it: closing goes through the connection, which closes by half."""

    __slots__ = ("_connection",)

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        if not self._connection.closing:
            self._connection.transport.write(data)

    def close(self) -> None:
        self._connection.finish()

    def is_closing(self) -> bool:
        return self._connection.closing or self._connection.transport.is_closing()


class Cycle(RequestResponseCycle):
    """One request and its answer; `fault` says why its body will never be whole."""

    connection: "Connection"
    head: Head
    fault: str | None = None
    _until_close = False

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        """Send a part of the answer (ASGI). Raises ConnectionAbortedError when nobody is there to read it."""
        if self.disconnected or self.transport.is_closing():
            # Without it, an answer without end would spin: nothing it awaits would ever wait.
            raise ConnectionAbortedError("the caller has gone")
        if not self.response_started:
            self.connection.before_answer(self)
            if self.scope["http_version"] == "1.0" and not any(name == b"content-length" for name, _ in message["headers"]):
                # HTTP/1.0 knows no chunks: the end of such a body is the end of the connection.
                self._until_close, self.chunked_encoding, self.expected_content_length = True, False, 1 << 62
        elif self._until_close and not message.get("more_body", False):
            self.expected_content_length = len(message.get("body", b""))
        return super().send(message)

    def answer_whole(self, status: int, fields: bytes, body: bytes) -> bool:
        """Send a whole answer in one piece, without turning to the event loop; False, and nothing was done, where it has to wait.

        Handing bytes to the kernel costs more than making them, and wakes the reader each time. `fields` are lines of the head but for date
        and connection. Raises ConnectionAbortedError when nobody is there to read it.
        """
        if self.disconnected or self.transport.is_closing():
            raise ConnectionAbortedError("the caller has gone")
        if self.flow.write_paused or self.response_started:
            return False
        self.connection.before_answer(self)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        end = b"\r\n" if self.keep_alive else _LAST_LINES
        shown = b"" if self.scope["method"] == "HEAD" else body
        self.transport.write(b"".join((STATUS_LINE[status], self.connection.date_line(), fields, end, shown)))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

    async def receive(self) -> Any:
        """Receive a part of the body, or the news that no more will come (ASGI)."""
        if self.fault is None:
            self.connection.body_wanted(self)
            message = await super().receive()
            if self.fault is None:
                return message
        return {"type": "http.disconnect", "fault": self.fault}

    async def send_500_response(self) -> None:
        """Answer for an application that has failed to."""
        refused = Refused("internal", "The server failed to answer; its log says why.")
        self.response_started = self.response_complete = True
        self.connection.write_last(refused.answer(head_only=self.scope["method"] == "HEAD"))


class Connection(HttpToolsProtocol):
    """One connection of a listener."""

    cycle: Cycle

    def __init__(self, server: "_Server") -> None:
        super().__init__(server.config, server.state, {}, server.loop)
        self.closing = False
        self.access_log = False
        self._server = server
        self._limits = server.listener.limits
        self.outgoing = _Outgoing(self)
        self._meter = HeadMeter(self._limits)
        self._receiving = Wait.NOTHING  # HEAD or BODY while a request is on its way in
        self._running: Cycle | None = None
        self._refusal: Refused | None = None
        self._fault: Refused | None = None
        self._input_over = self._eof = self._resuming = self._crowded = False
        self._held = b""
        self._raw_bytes = self._body_bytes = self._discarded_bytes = 0
        self._body_progressed = False
        self._body_due_s = 0.0
        self._wait = Wait.NOTHING
        self._deadline = Deadline(server.loop, self._on_deadline)
        self._reader_deadline = Deadline(server.loop, self._check_reader)
        self._unread_bytes = 0
        self._names: tuple[str, ...] = ()

    # -- the life of a connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection in, or drop it above the hard maximum."""
        super().connection_made(transport)
        self._names = transport.get_extra_info("certificate_names", ())
        count = self._server.connections
        self._server.listener.app.count_connections(count)
        if count > self._limits.connections_hard_max:
            self._input_over = self.closing = True
            transport.abort()
            return
        self._crowded = count > self._limits.connections_max
        tls_late = self._server.draining and self.scheme == "https"  # its handshake began before the end did
        self._arm(Wait.HEAD, min(PARTIAL_HEAD_GRACE_S, self._limits.header_timeout) if tls_late else self._limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the requests under way that nobody listens any more."""
        self.closing = self._input_over = True
        self._held = b""
        self._deadline.cancel()
        self._reader_deadline.cancel()
        self._server.unsent.release(self)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        self._server.recount()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The peer has sent its last byte; what it asked for before is still answered."""
        self._eof = True
        if self.closing:
            return False
        if self._receiving is Wait.BODY:
            self._fail_body("gone")
        elif self._receiving is Wait.HEAD:
            self._receiving, self._input_over = Wait.NOTHING, True
        return self._busy()

    def _busy(self) -> bool:
        running = self._running is not None and not self._running.response_complete
        return running or bool(self.pipeline) or bool(self._held) or self.closing

    def shutdown(self) -> None:
        """End the connection as soon as no request is under way: the server stops."""
        if self.closing or self._busy():
            return
        if self._receiving is Wait.HEAD:
            self._arm(Wait.HEAD, min(PARTIAL_HEAD_GRACE_S, self._limits.header_timeout))
        elif self._receiving is Wait.NOTHING and self._running is None:
            self._arm(Wait.HEAD, DRAIN_GRACE_S)
        elif self._receiving is Wait.NOTHING:
            self._close_now()

    def finish(self) -> None:
        """End the connection by half: send what is buffered and an end, discard what still comes in, close after a while."""
        if self.closing:
            return
        self.closing = self._input_over = True
        self._held = b""
        if self.transport.is_closing():
            return
        if self._eof:
            self.transport.close()
        else:
            self.transport.write_eof()
            self.flow.resume_reading()
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._arm(Wait.LINGER, self._limits.linger)

    def write_last(self, answer: bytes) -> None:
        """Send the last answer of this connection."""
        if not self.closing and not self.transport.is_closing():
            self.transport.write(answer)
            self.finish()

    def _close_now(self) -> None:
        self.closing = self._input_over = True
        self.transport.close()
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._arm(Wait.LINGER, self._limits.write_timeout)

    # -- input

    def data_received(self, data: bytes) -> None:
        """Parse what came, or hold it while earlier requests wait."""
        if self._input_over:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > DISCARD_BYTES_MAX:
                self.transport.abort()
        elif self._held or self.pipeline:
            self._held += data
            self.flow.pause_reading()
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        start = 0
        while start < len(data) and not self._input_over:
            if self.pipeline:
                self._held = data[start:]
                self.flow.pause_reading()
                break
            end = start + max(SLICE_BYTES, self._body_bytes_left())
            self._parse(data if start == 0 and end >= len(data) else data[start:end])
            start = end
        self._set_deadline()

    def _body_bytes_left(self) -> int:
        if self._receiving is not Wait.BODY or self.cycle.head.length is None:
            return 0
        return self.cycle.head.length - self._body_bytes

    def _feed_held(self) -> None:
        data, self._held = self._held, b""
        if not self._input_over and data:
            self._feed(data)
        if not self.closing and not self._held and not self.pipeline:
            self.flow.resume_reading()

    def _parse(self, data: bytes) -> None:
        self._raw_bytes = len(data) if self._receiving is Wait.NOTHING else self._raw_bytes + len(data)
        rest = b""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            self._resume_parsing()
        except httptools.HttpParserCallbackError as error:
            if not self._input_over and self._fault is None:
                raise AssertionError("a callback of the parser failed") from error
            self._refuse(self._fault)
            return
        except httptools.HttpParserError as error:
            self._refuse(self._fault or Refused("bad-request", f"the request is not well-formed: {error}"))
            return
        if rest:
            self._parse(rest)
        elif self._receiving is not Wait.NOTHING:
            self._check_raw_bytes()

    def _resume_parsing(self) -> None:
        """Go on in HTTP/1.1 after a request to upgrade, which is ignored: the parser has stopped before the body."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if self._receiving is Wait.BODY:
            self._resuming = True
            self.parser.feed_data(resumed_head(self.cycle.head.length))
            self._resuming = False

    def _check_raw_bytes(self) -> None:
        # The parser shows a field, a trailer or an extension only when it has ended: what has not ended is bounded here.
        limit = int(self._limits.header_bytes_max)
        if self._receiving is Wait.HEAD:
            if self._raw_bytes > limit + len(self.url) + 64:
                self._refuse(self._meter.too_large())
        elif self._raw_bytes - self._body_bytes > 3 * limit + SLICE_BYTES + _CHUNK_OVERHEAD * self._body_bytes:
            self._refuse(self._meter.too_large())

    def _refuse(self, refused: Refused | None) -> None:
        if self._input_over or refused is None:
            return
        if self._receiving is Wait.BODY:
            self._fail_body("malformed")
            return
        self._server.listener.app.count_refused(refused.status)
        self._receiving, self._input_over, self._refusal = Wait.NOTHING, True, refused
        if not self._busy():
            self._write_refusal()

    def _write_refusal(self) -> None:
        if self._refusal is not None:
            self.write_last(self._refusal.answer())

    def _fail_body(self, fault: str) -> None:
        """The body of the newest request will never be whole: its application is told, its answer is the last."""
        cycle = self.cycle
        self._receiving, self._input_over, cycle.keep_alive = Wait.NOTHING, True, False
        if cycle.response_complete:
            self.finish()
            return
        cycle.fault = fault
        cycle.message_event.set()
        self._rest()

    # -- callbacks of the parser

    def _stop(self, refused: Refused) -> Refused:
        self._fault = refused
        return refused

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._resuming:
            return
        if self._input_over:
            raise self._stop(Refused("bad-request", "nothing follows the last request"))
        self.url = b""
        self.headers = []
        self._meter.reset()
        self._receiving = Wait.HEAD

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        if not self._resuming:
            try:
                self._meter.target(len(url))
            except Refused as refused:
                raise self._stop(refused) from None
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; after the head, a trailer, which is counted and dropped."""
        if self._resuming:
            return
        try:
            self._meter.field(name, value)
        except Refused as refused:
            raise self._stop(refused) from None
        if self._receiving is Wait.HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or start its request, or queue it behind those before it."""
        if self._resuming:
            return
        version = self.parser.get_http_version()
        method = self.parser.get_method()
        try:
            head = check_head(method, version, self.url, self.headers)
            self._check_place(head)
        except Refused as refused:
            raise self._stop(refused) from None
        self._receiving = Wait.BODY
        self._body_bytes = 0
        self._body_progressed = True
        self._body_due_s = self.loop.time() + self._limits.body_time_max
        self.cycle = cycle = self._new_cycle(head, method.decode("ascii"), version)
        if self._running is None or (self._running.response_complete and not self.pipeline):
            self._running = cycle
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _check_place(self, head: Head) -> None:
        if self._crowded and not self._server.listener.app.is_health(head.raw_path.decode("ascii")):
            detail = f"{self._limits.connections_max} connections are open"
            raise Refused("overloaded", detail, retry_after_s=max(1, round(self._limits.retry_after)))

    def _new_cycle(self, head: Head, method: str, version: str) -> Cycle:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": method,
            "scheme": self.scheme,
            "path": head.raw_path.decode("ascii"),
            "raw_path": head.raw_path,
            "query_string": head.query,
            "has_query": head.has_query,
            "absolute": head.absolute,
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "certificate_names": self._names,
        }
        cycle = Cycle(
            scope=cast(Any, scope),
            transport=cast(asyncio.Transport, self.outgoing),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.expects_continue,
            keep_alive=version == "1.1" and not self._crowded and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        cycle.connection = self
        cycle.head = head
        scope["answer_whole"] = cycle.answer_whole
        return cycle

    def on_body(self, body: bytes) -> None:
        """A part of the body of the newest request."""
        self._body_bytes += len(body)
        self._body_progressed = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > BODY_BUFFER_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The newest request is whole."""
        cycle = self.cycle
        if self.parser.should_upgrade() and cycle.head.length != 0:
            return
        self._receiving = Wait.NOTHING
        self._raw_bytes = 0
        cycle.more_body = False
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._input_over = True

    # -- what the cycle tells and asks

    def date_line(self) -> bytes:
        """The `Date` of an answer that is sent now."""
        return self._server.date_line

    def before_answer(self, cycle: Cycle) -> None:
        """Decide, before its head is sent, whether the connection outlives this answer."""
        if self._server.draining and not self.pipeline and not self._held:
            cycle.keep_alive = False
        if cycle.more_body and cycle is self.cycle:
            length = cycle.head.length
            if length is None or length - self._body_bytes > DRAIN_BYTES_MAX or cycle.waiting_for_100_continue:
                cycle.keep_alive = False

    def body_wanted(self, cycle: Cycle) -> None:
        """The application waits for more of a body: its deadline starts anew."""
        if cycle.more_body and cycle is self.cycle and self._receiving is Wait.BODY:
            self._arm_body()

    def on_response_complete(self) -> None:
        """An answer is out: start the next request, send the refusal that waited, or wait for what comes."""
        self.server_state.total_requests += 1
        if self.closing or self.transport.is_closing():
            return
        if self.pipeline:
            self._running, app = cast("tuple[Cycle, Any]", self.pipeline.pop())
            self._start_asgi_task(self._running, app)
        elif self._refusal is not None:
            self._write_refusal()
            return
        if self._held and not self.pipeline:
            self.loop.call_soon(self._feed_held)
        elif not self.pipeline:
            self.flow.resume_reading()
        self._set_deadline()

    # -- deadlines

    def _set_deadline(self) -> None:
        if self.closing:
            return
        if self._receiving is Wait.BODY:
            if self.cycle.waiting_for_100_continue:
                self._rest()
            elif self._body_progressed:
                self._arm_body()
        elif self._receiving is Wait.HEAD:
            if self._wait is not Wait.HEAD:
                self._arm(Wait.HEAD, self._limits.header_timeout)
        elif self._busy():
            self._rest()
        elif self._eof or self._input_over:
            self.finish()
        elif self._wait is not Wait.HEAD and self._wait is not Wait.IDLE:
            if self._server.draining:
                self._close_now()
            else:
                self._arm(Wait.IDLE, self._limits.idle_timeout)

    def _arm_body(self) -> None:
        self._body_progressed = False
        self._arm(Wait.BODY, min(self._limits.body_timeout, self._body_due_s - self.loop.time()))

    def _arm(self, wait: Wait, seconds: float) -> None:
        self._wait = wait
        self._deadline.move(seconds)

    def _rest(self) -> None:
        self._wait = Wait.NOTHING
        self._deadline.clear()

    def _on_deadline(self) -> None:
        match self._wait:
            case Wait.HEAD if self._receiving is Wait.HEAD:
                self._refuse(Refused("deadline-exceeded", "the head of the request did not arrive in time"))
            case Wait.BODY:
                self._body_late()
            case Wait.LINGER:
                self._end_linger()
            case _:
                self._close_now()

    def _body_late(self) -> None:
        if self.flow.read_paused and self.loop.time() < self._body_due_s:
            self._arm_body()
        else:
            self._fail_body("slow")

    def _end_linger(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left and self._unread_bytes - left >= READ_PROGRESS_BYTES_MIN:
            self._unread_bytes = left
            self._arm(Wait.LINGER, self._limits.write_timeout)
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The peer reads slower than we write: it must take something within the deadline."""
        super().pause_writing()
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._reader_deadline.move(self._limits.write_timeout)
        self._server.unsent.hold(self)

    def resume_writing(self) -> None:
        """The peer has read."""
        super().resume_writing()
        self._reader_deadline.clear()
        self._server.unsent.release(self)

    def unsent_bytes(self) -> int:
        """How much of what was answered the reader has not taken."""
        return self.transport.get_write_buffer_size()

    def cut_off(self) -> None:
        """End the connection, because its reader is the slowest and readers hold too much."""
        self._drop_reader("memory")

    def _drop_reader(self, reason: str) -> None:
        left = self.transport.get_write_buffer_size()
        _log.info("reader_dropped", remote=self.client[0] if self.client else "", unread_bytes=left, reason=reason)
        self._server.listener.app.count_dropped_reader(reason)
        self.transport.abort()

    def _check_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        if self._unread_bytes - left < READ_PROGRESS_BYTES_MIN:
            self._drop_reader("time")
        else:
            self._unread_bytes = left
            self._reader_deadline.move(self._limits.write_timeout)


class _Server:
    """One listener while it is served."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.loop = asyncio.get_running_loop()
        self.config = Config(cast(Any, listener.app), loop="none", http=Connection, ws="none", lifespan="off", log_config=None)
        self.config.proxy_headers = False
        self.config.load()
        self.state = ServerState()
        self.draining = False
        self.date_line = b""
        self.emptied = asyncio.Event()
        self.unsent = Unsent(listener.limits.unsent_bytes_max, self.loop.time)
        listener.app.unsent_bytes = self.unsent.bytes
        self._accepting: asyncio.Server | None = None
        self._tick_timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many are open, those without a handshake yet included."""
        tls = self.listener.tls
        return len(self.state.connections) + (len(tls.handshaking) if tls is not None else 0)

    async def start(self) -> None:
        self._tick()
        self._accepting = await self.loop.create_server(self._connection, sock=self.listener.bind())

    def _connection(self) -> Connection | TlsTransport:
        """What serves a connection that was just accepted."""
        connection = Connection(self)
        tls = self.listener.tls
        return connection if tls is None else TlsTransport(tls, connection, admit=self._admit, changed=self.recount)

    def _admit(self) -> bool:
        return self.connections < self.listener.limits.connections_hard_max

    def recount(self) -> None:
        """A connection or a handshake has begun or ended."""
        self.listener.app.count_connections(self.connections)
        if not self.connections:
            self.emptied.set()

    def _tick(self) -> None:
        date = formatdate(self.listener.app.clock.now_ms() / 1000, usegmt=True)
        self.state.default_headers = [(b"date", date.encode("ascii"))]
        self.date_line = f"date: {date}\r\n".encode("ascii")
        self._tick_timer = self.loop.call_later(1.0, self._tick)

    async def drain(self) -> None:
        """Let the requests under way end, close all connections, give the address back."""
        self.draining = self.listener.app.draining = True
        # Whoever connected or asked before this moment may still lie in a queue of the kernel: take them in first.
        await asyncio.sleep(DRAIN_GRACE_S)
        late = self._accept_late()
        if self._accepting is not None:
            self._accepting.close()
        self.listener.release()
        for accepted in late:
            await self.loop.connect_accepted_socket(self._connection, accepted)
        if self.listener.tls is not None:
            self.listener.tls.hurry(PARTIAL_HEAD_GRACE_S)
        for connection in self._connections():
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.listener.limits.drain):
                await self._all_closed()
        await self._abort_rest()

    def _accept_late(self) -> list[socket.socket]:
        """Connections that the kernel has made and nobody has accepted; closing the address would reset them."""
        late: list[socket.socket] = []
        with contextlib.suppress(BlockingIOError):
            while len(late) < self.listener.limits.connections_max:
                accepted, _ = self.listener.bind().accept()
                accepted.setblocking(False)
                late.append(accepted)
        return late

    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", list(self.state.connections))

    async def _all_closed(self) -> None:
        while self.connections:
            self.emptied.clear()
            await self.emptied.wait()
        if self.state.tasks:
            await asyncio.wait(self.state.tasks)

    async def _abort_rest(self) -> None:
        tasks = list(self.state.tasks)
        if tasks:
            _log.error("requests_cut_off", role=self.listener.app.role, number=len(tasks))
        for connection in self._connections():
            connection.transport.abort()
        if self.listener.tls is not None:
            self.listener.tls.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        if self._tick_timer is not None:
            self._tick_timer.cancel()


async def serve(listeners: Sequence[Listener], *, stop: asyncio.Event, started: asyncio.Event | None = None) -> None:
    """Serve all `listeners` until `stop` is set, then drain them and return.

    Signals are the caller's: it sets `stop`. Nothing is served unless every address could be taken.

    Args:
        stop: ends the serving; requests under way are finished, at most for `limits.drain`.
        started: is set once every listener accepts connections.

    Raises:
        InvalidConfig: an address is not of this machine, or open to others without clients.
        Unavailable: another process listens on an address.
    """
    with _bound(listeners):
        servers = [_Server(listener) for listener in listeners]
        try:
            for server in servers:
                await server.start()
                _log.info("listening", role=server.listener.app.role, host=server.listener.host, port=server.listener.bound_port)
            if started is not None:
                started.set()
            await stop.wait()
        finally:
            await asyncio.gather(*(server.drain() for server in servers))


@contextlib.contextmanager
def _bound(listeners: Sequence[Listener]) -> Iterator[None]:
    try:
        for listener in listeners:
            listener.bind()
        yield
    finally:
        for listener in listeners:
            listener.release()

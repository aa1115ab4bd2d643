"""The transport of TLS between a socket and a protocol that are both fakes: order, pauses and ends."""

import asyncio
import pathlib
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.certificates import SERVER, Authority, tls_config

from headwater.http.certificates import Credentials, load_credentials
from headwater.http.tls import OWN_BYTES_MAX, Handshake, TlsServer, TlsTransport
from headwater.kernel.clock import SystemClock


class Socket(asyncio.Transport):
    """A socket's transport that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed: object = False
        self.aborted: object = False
        self.ended: object = False
        self.reading: object = True

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return bool(self.closed)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 7


@dataclass
class Told:
    """A protocol that writes down what it is told; `on_data` is called with each piece."""

    events: list[str] = field(default_factory=list)
    data: bytes = b""
    stays_open: bool = False
    on_data: Callable[[], None] = lambda: None
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.events.append("made")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.on_data()

    def eof_received(self) -> bool:
        self.events.append(f"eof after {len(self.data)}")
        return self.stays_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


@dataclass
class World:
    """Both ends of one connection."""

    server: TlsServer
    told: Told
    socket: Socket
    transport: TlsTransport
    client: ssl.SSLObject
    to_client: ssl.MemoryBIO
    from_client: ssl.MemoryBIO
    handshakes: list[Handshake]
    changes: list[int]

    def pass_on(self, *, piece_bytes: int = 1 << 20) -> None:
        """What the client wrote reaches the server, in pieces."""
        data = self.from_client.read()
        for start in range(0, len(data), piece_bytes):
            self.transport.data_received(data[start : start + piece_bytes])

    def shake_hands(self, *, piece_bytes: int = 1 << 20) -> None:
        for _ in range(3):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.pass_on(piece_bytes=piece_bytes)
                self.take()
        self.pass_on(piece_bytes=piece_bytes)

    def take(self) -> None:
        """What the server wrote reaches the client."""
        self.to_client.write(self.socket.written)
        self.socket.written = b""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Credentials, ssl.SSLContext]:
    folder: pathlib.Path = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    config = tls_config(authority.issue("server", "localhost", use=SERVER))
    return load_credentials(config, now_s=SystemClock().now_ms() / 1000, where="http.tls"), authority.trusted()


@pytest.fixture
def play(files: tuple[Credentials, ssl.SSLContext]) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    def run(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            credentials, context = files
            handshakes: list[Handshake] = []
            changes: list[int] = []
            server = TlsServer(credentials, handshake_timeout_s=60, clock=SystemClock(), ended=handshakes.append)
            told, socket = Told(), Socket()
            transport = TlsTransport(server, told, admit=lambda: True, changed=lambda: changes.append(len(server.handshaking)))
            transport.connection_made(socket)
            to_client, from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = context.wrap_bio(to_client, from_client, server_hostname="localhost")
            await scenario(World(server, told, socket, transport, client, to_client, from_client, handshakes, changes))
            transport.connection_lost(None)

        asyncio.run(main())

    return run


Play = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_a_handshake_in_any_pieces(play: Play, piece_bytes: int) -> None:
    async def scenario(world: World) -> None:
        assert world.told.events == [] and world.changes == [1]
        world.shake_hands(piece_bytes=piece_bytes)
        assert world.told.events == ["made"] and world.handshakes == [Handshake.OK] and world.changes == [1, 0]
        world.client.write(b"x" * 100_000)
        world.pass_on(piece_bytes=max(piece_bytes, 50))
        assert world.told.data == b"x" * 100_000

    play(scenario)


def test_what_waits_while_reading_is_paused_comes_before_the_end(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.shake_hands()
        world.transport.pause_reading()
        assert not world.socket.reading
        world.client.write(b"held")
        world.pass_on()
        assert world.told.data == b""
        world.transport.resume_reading()
        assert world.transport.eof_received()
        await asyncio.sleep(0)
        assert world.told.data == b"held" and world.told.events == ["made", "eof after 4"]
        assert world.socket.closed and not world.socket.aborted

    play(scenario)


def test_a_pause_in_the_middle_holds_back_the_rest(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.shake_hands()
        world.told.on_data = world.transport.pause_reading
        for _ in range(3):
            world.client.write(b"x" * 1000)
        world.pass_on()
        assert len(world.told.data) == 1000
        world.transport.resume_reading()
        await asyncio.sleep(0)
        assert len(world.told.data) == 2000

    play(scenario)


def test_nothing_is_told_after_an_abort(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.shake_hands()
        world.told.on_data = world.transport.abort
        for _ in range(3):
            world.client.write(b"x" * 1000)
        world.pass_on()
        assert len(world.told.data) == 1000

    play(scenario)


def test_a_peer_that_has_ended_is_still_answered(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.shake_hands()
        world.told.stays_open = True
        world.client.write(b"asked")
        with pytest.raises(ssl.SSLWantReadError):
            world.client.unwrap()
        world.pass_on()
        assert world.transport.eof_received()
        assert world.told.events == ["made", "eof after 5"] and not world.socket.closed
        world.transport.write(b"answered")
        world.transport.close()
        world.take()
        assert world.client.read(100) == b"answered"
        assert world.socket.closed and not world.socket.aborted

    play(scenario)


def test_after_our_own_end_everything_is_discarded(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.shake_hands()
        world.transport.write(b"answered")
        world.transport.write_eof()
        assert world.socket.ended and not world.socket.closed
        world.take()
        assert world.client.read(100) == b"answered"
        assert world.client.read(100) == b"", "TLS's own end has come"
        world.transport.write(b"more")
        assert world.socket.written == b""
        world.client.write(b"ignored")
        world.pass_on()
        assert world.told.data == b""
        assert world.transport.eof_received() is False

    play(scenario)


def test_a_record_that_was_changed_ends_the_connection(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.shake_hands()
        world.client.write(b"whole")
        record = bytearray(world.from_client.read())
        record[-1] ^= 1
        world.transport.data_received(bytes(record))
        assert world.told.data == b"" and world.socket.aborted

    play(scenario)


def test_who_makes_tls_answer_on_and_on_is_dropped(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.shake_hands()
        world.transport._outgoing.write(bytes(OWN_BYTES_MAX))  # as answers to updates of keys, which no client here can send
        world.client.write(b"x")
        world.pass_on()
        assert not world.socket.aborted
        world.transport._outgoing.write(b"x")
        world.client.write(b"x")
        world.pass_on()
        assert world.socket.aborted

    play(scenario)


def test_pauses_of_the_socket_are_passed_on(play: Play) -> None:
    async def scenario(world: World) -> None:
        world.transport.pause_writing()
        world.transport.resume_writing()
        assert world.told.events == []
        world.shake_hands()
        world.transport.pause_writing()
        world.transport.resume_writing()
        assert world.told.events == ["made", "pause", "resume"]
        assert world.transport.get_write_buffer_size() == 7

    play(scenario)


def test_without_a_place_there_is_no_handshake(files: tuple[Credentials, ssl.SSLContext]) -> None:
    async def main() -> None:
        handshakes: list[Handshake] = []
        server = TlsServer(files[0], handshake_timeout_s=60, clock=SystemClock(), ended=handshakes.append)
        told, socket = Told(), Socket()
        transport = TlsTransport(server, told, admit=lambda: False, changed=lambda: None)
        transport.connection_made(socket)
        assert socket.aborted and not server.handshaking
        transport.connection_lost(None)
        assert told.events == [] and handshakes == []

    asyncio.run(main())

"""TLS of a listener on real sockets: handshakes good and bad, certificates of clients, certificates that change while it runs."""

import contextlib
import hashlib
import pathlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.certificates import SERVER, Authority, Pair, tls_config
from tests.integration.http_server import Answer, RunningServer, answers, running
from tests.integration.peer import Peer, TlsPeer

from headwater.http.config import ClientCertificates, ClientConfig
from headwater.http.metrics import EXPIRES, HANDSHAKES
from headwater.http.tls import Handshake
from headwater.kernel.config import Seconds
from headwater.kernel.errors import InvalidConfig

GET = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEPT = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
TOKEN = "open sesame"
WIKI = ClientConfig(name="wiki", certificate_names=("wiki.example", "spiffe://farm/wiki"), grants=("test:read",))
OTHER = ClientConfig(name="other", certificate_names=("other.example",))
READER = ClientConfig(name="reader", token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), grants=("test:read",))


@dataclass(frozen=True)
class World:
    """An authority of servers, one of clients, and a server's certificate."""

    folder: pathlib.Path
    servers: Authority
    clients: Authority
    server: Pair

    @contextlib.contextmanager
    def serving(
        self,
        *,
        client_ca: bool = False,
        optional: bool = False,
        clients: Sequence[ClientConfig] = (),
        handshake_timeout: float = 10.0,
        connections_max: int = 100,
        connections_hard_max: int = 100,
    ) -> Iterator[RunningServer]:
        config = tls_config(
            self.server,
            client_ca=self.clients if client_ca else None,
            client_certificates=ClientCertificates.OPTIONAL if optional else ClientCertificates.REQUIRED,
            handshake_timeout=Seconds(handshake_timeout),
        )
        with running(tls=config, clients=clients, connections_max=connections_max, connections_hard_max=connections_hard_max) as server:
            yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    servers = Authority(folder, "servers")
    return World(folder, servers, Authority(folder, "clients"), servers.issue("server", "localhost", use=SERVER))


def read_all(peer: Peer) -> bytes:
    received = b""
    while part := peer.recv(65_536):
        received += part
    return received


def get(server: RunningServer, context: ssl.SSLContext, path: bytes = b"/empty", *fields: bytes) -> Answer:
    with TlsPeer(server.port, context) as peer:
        lines = b"".join(field + b"\r\n" for field in (b"Host: a", b"Connection: close", *fields))
        peer.sendall(b"GET " + path + b" HTTP/1.1\r\n" + lines + b"\r\n")
        (answer,) = answers(read_all(peer))
        assert peer.ended_well, "the end of TLS came before the end of the connection"
        return answer


def until(read: Callable[[], object], state: object) -> None:
    """Wait for a state of the server that nothing else tells of."""
    deadline = time.monotonic() + 10
    while (found := read()) != state:
        assert time.monotonic() < deadline, f"it is {found}"
        time.sleep(0.005)


def counted(server: RunningServer, how: Handshake) -> float:
    return server.metrics.value(HANDSHAKES, role="test", result=how.value)


@pytest.mark.parametrize(
    ("version", "named"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3"), (None, "TLSv1.3")]
)
def test_what_is_spoken(world: World, version: ssl.TLSVersion | None, named: str) -> None:
    context = world.servers.trusted()
    context.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        context.maximum_version = version
    with world.serving() as server, TlsPeer(server.port, context) as peer:
        peer.sendall(GET % b"/empty")
        assert answers(read_all(peer))[0].status == 200
        assert peer.tls.version() == named
        assert peer.tls.selected_alpn_protocol() == "http/1.1"
        assert peer.tls.compression() is None
        cipher = peer.tls.cipher()
        assert cipher is not None and ("GCM" in cipher[0] or "CHACHA20" in cipher[0]), "authenticated encryption alone"
        assert counted(server, Handshake.OK) == 1


def old_client(servers: Authority) -> ssl.SSLContext:
    context = servers.trusted()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def weak_client(servers: Authority) -> ssl.SSLContext:
    context = servers.trusted()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:AES256-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    return context


def test_old_versions_are_refused(world: World) -> None:
    with world.serving() as server:
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            TlsPeer(server.port, old_client(world.servers))
        until(lambda: counted(server, Handshake.PROTOCOL), 1)


def test_old_ciphers_are_refused(world: World) -> None:
    with world.serving() as server:
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            TlsPeer(server.port, weak_client(world.servers))
        until(lambda: counted(server, Handshake.PROTOCOL), 1)


def test_plain_http_is_told_so(world: World) -> None:
    with world.serving() as server:
        with Peer(server.port) as peer:
            peer.sendall(GET % b"/empty")
            (answer,) = answers(read_all(peer))
        assert (answer.status, answer.body) == (400, b"This port speaks HTTPS, not HTTP.\n")
        until(lambda: counted(server, Handshake.PLAIN_HTTP), 1)


@pytest.mark.parametrize("sent", [b"\x00" * 64, b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000])
def test_what_is_no_tls_is_refused(world: World, sent: bytes) -> None:
    with world.serving() as server:
        with Peer(server.port) as peer:
            peer.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert not read_all(peer).startswith(b"HTTP")
        until(lambda: counted(server, Handshake.PROTOCOL), 1)
        assert get(server, world.servers.trusted()).status == 200


def test_a_client_that_does_not_trust_us_is_counted(world: World, tmp_path: pathlib.Path) -> None:
    with world.serving() as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            TlsPeer(server.port, Authority(tmp_path).trusted())
        until(lambda: counted(server, Handshake.REFUSED_BY_PEER), 1)


@pytest.mark.parametrize("drips", [False, True])
def test_a_slow_handshake_is_cut(world: World, drips: bool) -> None:
    with world.serving(handshake_timeout=0.3) as server, Peer(server.port) as peer:
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"\x16\x03\x01\x3f\xff" + bytes(100) if drips else b"":
                peer.sendall(bytes([byte]))
                time.sleep(0.02)
            assert peer.recv(100) == b""
        assert time.monotonic() - begun < 5
        assert counted(server, Handshake.LATE) == 1


def test_who_leaves_in_the_handshake_is_counted(world: World) -> None:
    with world.serving() as server:
        Peer(server.port).close()
        until(lambda: counted(server, Handshake.GONE), 1)


def test_connections_without_a_handshake_count(world: World) -> None:
    with world.serving(connections_max=2, connections_hard_max=3) as server:
        waiting = [Peer(server.port) for _ in range(3)]
        with pytest.raises(ConnectionError):
            TlsPeer(server.port, world.servers.trusted())
        waiting.pop().close()
        until(lambda: counted(server, Handshake.GONE), 1)
        assert get(server, world.servers.trusted()).status == 503, "above the soft maximum"
        for peer in waiting:
            peer.close()
        until(lambda: counted(server, Handshake.GONE), 3)
        assert get(server, world.servers.trusted()).status == 200


def test_a_handshake_under_way_when_the_server_ends_does_not_hold_it_up(world: World) -> None:
    with world.serving() as server, Peer(server.port):
        until(lambda: get(server, world.servers.trusted()).status, 200)
        begun = time.monotonic()
        server.stop()
        server.thread.join(10)
        assert not server.thread.is_alive() and time.monotonic() - begun < 5


def test_who_shook_hands_when_the_server_ends_is_answered(world: World) -> None:
    with world.serving() as server, TlsPeer(server.port, world.servers.trusted()) as peer, TlsPeer(server.port, world.servers.trusted()):
        peer.sendall(KEPT % b"/gate" + KEPT % b"/empty")
        until(lambda: get(server, world.servers.trusted(), b"/metrics").body.count(b'requests_in_flight{role="test"} 1.0'), 1)
        server.stop()
        server.open_gate()
        assert [answer.status for answer in answers(read_all(peer))] == [200, 200]
        assert peer.ended_well


def broken(peer: TlsPeer) -> None:
    """Whoever speaks over it is told of nothing any more: an alert, a reset, or the end."""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        peer.sendall(GET % b"/empty")
        assert read_all(peer) == b""


def named(*names: tuple[int, bytes]) -> bytes:
    """Alternative names in DER, as (tag, value) each, whatever they hold."""
    inner = b"".join(bytes([tag, len(value)]) + value for tag, value in names)
    return bytes([0x30, len(inner)]) + inner


@pytest.mark.parametrize(
    "names",
    [
        ((0x82, b"wiki.example\xff"), (0x82, b"wiki.example")),
        ((0x82, b"wiki.example\0.evil.example"),),
        ((0x86, b"spiffe://farm/wiki\xff"),),
        ((0x82, b""), (0x86, b"")),
    ],
)
def test_names_that_cannot_be_read_are_nobodys(world: World, names: tuple[tuple[int, bytes], ...]) -> None:
    context = world.clients.issue("unreadable", raw_names=named(*names)).into(world.servers.trusted())
    with world.serving(client_ca=True, clients=[WIKI]) as server:
        assert get(server, context, b"/granted").status == 401
        assert counted(server, Handshake.OK) == 1


def test_names_of_other_programs_do_no_harm(world: World) -> None:
    """Such as the user's principal name that Active Directory puts there."""
    others = [
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x04user"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    context = world.clients.issue("directory", "wiki.example", others=others).into(world.servers.trusted())
    with world.serving(client_ca=True, clients=[WIKI]) as server:
        assert get(server, context, b"/granted").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("case", ["none", "another authority", "expired", "for servers", "signed by itself"])
@pytest.mark.parametrize("optional", [False, True])
def test_clients_without_the_right_certificate_are_refused(
    world: World, tmp_path: pathlib.Path, version: ssl.TLSVersion, case: str, optional: bool
) -> None:
    context = world.servers.trusted()
    context.maximum_version = version
    match case:
        case "another authority":
            Authority(tmp_path, "clients").issue("wiki", "wiki.example").into(context)
        case "expired":
            world.clients.issue("expired", "wiki.example", days=-1).into(context)
        case "for servers":
            world.clients.issue("server-like", "wiki.example", use=SERVER).into(context)
        case "signed by itself":
            own = Authority(tmp_path, "self")
            own.issue("wiki", "wiki.example").into(context)
    with world.serving(client_ca=True, optional=optional, clients=[WIKI]) as server:
        if case == "none" and optional:
            assert get(server, context).status == 200
            assert get(server, context, b"/granted").status == 401
            return
        with contextlib.suppress(ssl.SSLError, ConnectionError), TlsPeer(server.port, context) as peer:
            broken(peer)
        until(lambda: counted(server, Handshake.NO_CERTIFICATE if case == "none" else Handshake.BAD_CERTIFICATE), 1)
        assert counted(server, Handshake.OK) == 0


@pytest.mark.parametrize(
    ("names", "token", "status"),
    [
        (("wiki.example",), None, 200),
        (("WIKI.example",), None, 200),
        (("spiffe://farm/wiki",), None, 200),
        (("nobody.example", "wiki.example"), None, 200),
        (("other.example",), None, 403),
        (("nobody.example",), None, 401),
        (("*.example",), None, 401),
        ((), None, 401),
        (("wiki.example", "other.example"), None, 401),
        (("wiki.example",), TOKEN, 401),
        (("nobody.example",), TOKEN, 200),
        (("wiki.example",), "unknown", 401),
    ],
)
def test_clients_are_known_by_their_names(world: World, names: tuple[str, ...], token: str | None, status: int) -> None:
    """The common name is `wiki.example` in all of them, and no certificate is known by it."""
    context = world.clients.issue("shown", *names, common_name="wiki.example").into(world.servers.trusted())
    fields = () if token is None else (b"Authorization: Bearer " + token.encode(),)
    with world.serving(client_ca=True, clients=[WIKI, OTHER, READER]) as server:
        assert get(server, context, b"/granted", *fields).status == status


def test_other_kinds_of_names_are_nobodys(world: World) -> None:
    others = [x509.RFC822Name("wiki.example"), x509.UniformResourceIdentifier("wiki.example"), x509.DNSName("spiffe://farm/wiki")]
    context = world.clients.issue("odd", others=others).into(world.servers.trusted())
    with world.serving(client_ca=True, clients=[WIKI]) as server:
        assert get(server, context, b"/granted").status == 401


def test_a_certificate_is_looked_at_in_every_handshake(world: World) -> None:
    """No session of TLS 1.3 is resumed where clients show certificates."""
    context = world.clients.issue("again", "wiki.example").into(world.servers.trusted())
    session = None
    with world.serving(client_ca=True, clients=[WIKI]) as server:
        for _ in range(2):
            raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as peer:
                peer.sendall(GET % b"/granted")
                assert peer.recv(12) == b"HTTP/1.1 200"
                assert not peer.session_reused
                session = peer.session


def test_pages_in_a_browser_change_nothing_with_a_persons_certificate(world: World) -> None:
    """A browser shows it for whatever site asks, as it sends no token."""
    context = world.clients.issue("person", "wiki.example").into(world.servers.trusted())
    with world.serving(client_ca=True, clients=[WIKI]) as server:
        for fields, status in ((b"", 200), (b"Origin: https://evil.example\r\n", 403), (b"Sec-Fetch-Site: cross-site\r\n", 403)):
            with TlsPeer(server.port, context) as peer:
                peer.sendall(b"POST /empty-post HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n" + fields + b"\r\n")
                assert answers(read_all(peer))[0].status == status


def subject_key(peer: TlsPeer) -> bytes | None:
    return peer.tls.getpeercert(binary_form=True)


def test_new_certificates_are_for_new_connections(world: World, tmp_path: pathlib.Path) -> None:
    pair = world.servers.issue("renewed", "localhost", use=SERVER, days=10)
    config = tls_config(pair)
    context = world.servers.trusted()
    with running(tls=config) as server, TlsPeer(server.port, context) as old:
        first = server.metrics.value(EXPIRES, role="test", file="certificate")
        world.servers.issue("renewed", "localhost", use=SERVER, days=20)
        server.use_tls(config)
        assert server.metrics.value(EXPIRES, role="test", file="certificate") - first == pytest.approx(10 * 86_400, abs=60)
        with TlsPeer(server.port, context) as new:
            assert subject_key(new) != subject_key(old)
        old.sendall(GET % b"/empty")
        assert answers(read_all(old))[0].status == 200, "a running connection goes on"


def spoil(case: str, pair: Pair, authority: Authority) -> None:
    match case:
        case "no certificate":
            pair.certificate.unlink()
        case "no key":
            pair.private_key.unlink()
        case "garbage":
            pair.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        case "another key":
            pair.private_key.chmod(0o600)
            pair.private_key.write_bytes(authority.issue("stranger", "localhost").private_key.read_bytes())
        case "no key in the file":
            pair.private_key.chmod(0o600)
            pair.private_key.write_bytes(b"\n")
        case "key for all to read":
            pair.private_key.chmod(0o644)
        case "key for the group to read":
            pair.private_key.chmod(0o640)
        case "expired":
            authority.issue("spoilt", "localhost", use=SERVER, days=-1)
        case "encrypted":
            pair.private_key.chmod(0o600)
            key = serialization.load_pem_private_key(pair.private_key.read_bytes(), None)
            shape, secret = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
            pair.private_key.write_bytes(key.private_bytes(serialization.Encoding.PEM, shape, secret))


@pytest.mark.parametrize(
    ("case", "option"),
    [
        ("no certificate", "certificate"),
        ("no key", "private_key"),
        ("garbage", "certificate"),
        ("another key", "private_key"),
        ("no key in the file", "private_key"),
        ("key for all to read", "private_key"),
        ("key for the group to read", "private_key"),
        ("expired", "certificate"),
        ("encrypted", "private_key"),
    ],
)
def test_wrong_files_change_nothing(world: World, tmp_path: pathlib.Path, case: str, option: str) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("spoilt", "localhost", use=SERVER)
    config = tls_config(pair)
    with running(tls=config) as server:
        with TlsPeer(server.port, authority.trusted()) as peer:
            before = subject_key(peer)
        spoil(case, pair, authority)
        with pytest.raises(InvalidConfig) as refused:
            server.use_tls(config)
        assert refused.value.where == f"http.tls.{option}"
        with TlsPeer(server.port, authority.trusted()) as peer:
            assert subject_key(peer) == before


def test_large_bodies_go_both_ways(world: World) -> None:
    body = bytes(range(256)) * 256
    post = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n"
    with world.serving() as server, TlsPeer(server.port, world.servers.trusted()) as peer:
        sent = (post + b"\r\n" + body) * 20 + post + b"Connection: close\r\n\r\n" + body
        sender = threading.Thread(target=peer.sendall, args=(sent,))
        sender.start()
        received = read_all(peer)
        sender.join(10)
        assert peer.ended_well
        assert [answer.body for answer in answers(received)] == [body] * 21

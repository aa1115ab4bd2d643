"""TLS as an operator sees it: sessions behind certificates, certificates that change under traffic, our own clients over TLS."""

import contextlib
import hashlib
import http.client
import ipaddress
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from tests.acceptance.served_process import COMMAND, environment, eventually
from tests.certificates import SERVER, Authority, Pair

START_MAX_S = 60.0
TOKEN = "open sesame"
LOOPBACK = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")),)
SESSIONS = f"""
data_dir: data
sessions:
  listen: 127.0.0.1:0
  namespaces:
    wiki: {{base: /wiki/}}
    other: {{base: /other/}}
  clients:
    - {{name: wiki, certificate_names: [wiki.example], grants: {{wiki: [read, write, mint, delete]}}}}
    - {{name: other, certificate_names: [other.example], grants: {{other: [read, write, mint, delete]}}}}
    - {{name: mediawiki, token_sha256: {hashlib.sha256(TOKEN.encode()).hexdigest()}, grants: {{wiki: [read, write, delete]}}}}
  http:
    tls:
      certificate: server.pem
      private_key: server.key
      client_ca: clients.pem
      client_certificates: optional
"""
ROLES = """
data_dir: data
events: {{listen: "127.0.0.1:{events}"}}
propagation: {{listen: "127.0.0.1:{propagation}"}}
purging: {{listen: "127.0.0.1:{purging}"}}
console: {{listen: "127.0.0.1:0", token: open sesame}}
clients:
  - {{name: operator, token_sha256: 41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb, grants: ["*"]}}
http:
  tls:
    certificate: server.pem
    private_key: server.key
    client_ca: clients.pem
    asking: {{ca: servers.pem, server_name: localhost, certificate: operator.pem, private_key: operator.key}}
"""


@dataclass
class World:
    """A folder with authorities and certificates, and the process that serves from it."""

    folder: pathlib.Path
    servers: Authority
    clients: Authority
    roles: tuple[str, ...]
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def addresses(self) -> dict[str, str]:
        """Where the roles listen, once they do."""
        text = (self.folder / "ready.json").read_text()
        return dict(json.loads(text)["roles"]) if text.endswith("\n") else {}

    def trusted(self, shown: Pair | None = None) -> ssl.SSLContext:
        context = self.servers.trusted()
        return context if shown is None else shown.into(context)

    def connection(self, context: ssl.SSLContext, role: str = "sessions") -> http.client.HTTPSConnection:
        host, _, port = self.addresses[role].rpartition(":")
        return http.client.HTTPSConnection(host, int(port), timeout=20, context=context)

    def ask(
        self, context: ssl.SSLContext, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        with contextlib.closing(self.connection(context)) as connection:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command under the same configuration, which listens where the process does."""
        listens = {f"HEADWATER_{role.upper()}__LISTEN": address for role, address in self.addresses.items()}
        command = [COMMAND, *arguments, "--config", "headwater.yaml"]
        env = environment(**listens, **more)
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False)

    def hang_up(self) -> None:
        """SIGHUP: read configuration and certificates again."""
        self.process.send_signal(signal.SIGHUP)


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on, for roles that have to know of each other."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def serving(folder: pathlib.Path, config: str, *roles: str) -> Iterator[World]:
    servers, clients = Authority(folder, "servers"), Authority(folder, "clients")
    servers.issue("server", "localhost", use=SERVER, others=LOOPBACK)
    clients.issue("operator", "operator.example")
    (folder / "headwater.yaml").write_text(config)
    with (folder / "log").open("wb") as log, (folder / "ready.json").open("wb") as ready:
        command = [COMMAND, "serve", *roles, "--json", "--config", "headwater.yaml"]
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=ready, stderr=log, start_new_session=True
        )
    world = World(folder, servers, clients, roles, process)
    try:
        eventually(lambda: process.poll() is not None or bool(world.addresses), within_s=START_MAX_S, what=lambda: world.log[-3000:])
        assert process.poll() is None, world.log[-3000:]
        yield world
        process.terminate()
        assert process.wait(10) == 0, world.log[-3000:]
        assert "Traceback" not in world.log
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("sessions"), SESSIONS, "sessions") as world:
        yield world


def test_each_client_has_its_own_sessions(sessions: World) -> None:
    wiki = sessions.trusted(sessions.clients.issue("wiki", "wiki.example"))
    other = sessions.trusted(sessions.clients.issue("other", "other.example"))
    unknown = sessions.trusted(sessions.clients.issue("unknown", "unknown.example"))
    nameless = sessions.trusted(sessions.clients.issue("nameless", common_name="wiki.example"))
    assert sessions.ask(wiki, "POST", "/wiki/key", b"value")[0] == 201
    assert sessions.ask(wiki, "GET", "/wiki/key") == (200, b"value")
    assert json.loads(sessions.ask(wiki, "POST", "/v2/wiki", b"minted")[1])["session"]
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert sessions.ask(sessions.trusted(), "GET", "/wiki/key", headers=bearer) == (200, b"value")
    refused = [
        sessions.ask(other, "GET", "/wiki/key"),
        sessions.ask(unknown, "GET", "/wiki/key"),
        sessions.ask(nameless, "GET", "/wiki/key"),
        sessions.ask(sessions.trusted(), "GET", "/wiki/key"),
        sessions.ask(other, "GET", "/wiki/key", headers=bearer),
        sessions.ask(wiki, "GET", "/wiki/key", headers={"authorization": "Bearer wrong"}),
    ]
    assert {status for status, _ in refused} == {401}
    assert len({body for _, body in refused}) == 1, "all refusals look the same"
    assert sessions.ask(other, "GET", "/v2/wiki/sessions/key")[0] == 401


@pytest.mark.parametrize("case", ["expired", "another authority"])
def test_wrong_certificates_do_not_come_in(sessions: World, tmp_path: pathlib.Path, case: str) -> None:
    shown = sessions.clients.issue("old", "wiki.example", days=-1) if case == "expired" else Authority(tmp_path).issue("x", "wiki.example")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        sessions.ask(sessions.trusted(shown), "GET", "/wiki/key")


def test_the_doctor_shows_a_certificate(sessions: World, tmp_path: pathlib.Path) -> None:
    shown = sessions.clients.issue("doctor", "wiki.example")
    files = ["--certificate", str(shown.certificate), "--private-key", str(shown.private_key)]
    well = sessions.run("doctor", "sessions", "--json", "--ca", "servers.pem", *files)
    assert well.returncode == 0, well.stdout + well.stderr
    assert json.loads(well.stdout)["ok"] is True
    nobody = sessions.run("doctor", "sessions", "--json", "--ca", "servers.pem")
    assert nobody.returncode == 1 and json.loads(nobody.stdout)["ok"] is False
    distrust = sessions.run("doctor", "sessions", "--ca", str(Authority(tmp_path).file), *files)
    assert distrust.returncode == 4, distrust.stderr
    assert "certificate verify failed" in distrust.stderr and "Traceback" not in distrust.stderr
    half = sessions.run("doctor", "sessions", "--certificate", str(shown.certificate))
    assert half.returncode == 2


def test_check_reads_the_files(tmp_path: pathlib.Path) -> None:
    Authority(tmp_path, "clients")
    pair = Authority(tmp_path, "servers").issue("server", "localhost", use=SERVER)
    (tmp_path / "headwater.yaml").write_text(SESSIONS)

    def check() -> subprocess.CompletedProcess[str]:
        command = [COMMAND, "check", "--config", "headwater.yaml"]
        return subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False)

    assert check().returncode == 0
    pair.private_key.chmod(0o640)
    open_key = check()
    assert open_key.returncode == 3 and "sessions.http.tls.private_key" in open_key.stderr and "0400" in open_key.stderr
    pair.private_key.chmod(0o400)
    (tmp_path / "headwater.yaml").write_text(SESSIONS.replace("client_ca: clients.pem", ""))
    unasked = check()
    assert unasked.returncode == 3 and "nobody is asked for a certificate" in unasked.stderr


def applied(world: World, result: str) -> float:
    _, body = world.ask(world.trusted(), "GET", "/metrics")
    lines = [line for line in body.decode().splitlines() if line.startswith(f'headwater_config_reloads_total{{result="{result}"}}')]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@dataclass
class Traffic:
    """Clients that ask on and on, half of them over a new connection each time; what failed, and how much was asked."""

    world: World
    context: ssl.SSLContext
    asked: int = 0
    failed: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event, *, fresh: bool) -> None:
        connection = self.world.connection(self.context)
        while not stop.is_set():
            try:
                connection.request("GET", "/wiki/key")
                answer = connection.getresponse()
                if (answer.status, answer.read()) != (200, b"value"):
                    self.failed.append(f"{answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
            self.asked += 1
            if fresh:
                connection.close()
        connection.close()


def test_certificates_change_under_traffic_and_no_request_fails(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path, SESSIONS, "sessions") as world:
        wiki = world.trusted(world.clients.issue("wiki", "wiki.example"))
        assert world.ask(wiki, "POST", "/wiki/key", b"value")[0] == 201
        stop, traffic = threading.Event(), Traffic(world, wiki)
        threads = [threading.Thread(target=traffic.run, args=(stop,), kwargs={"fresh": fresh}) for fresh in (True, True, False, False)]
        for thread in threads:
            thread.start()
        for number in range(1, 6):
            world.servers.issue("server", "localhost", use=SERVER, others=LOOPBACK, days=10 + number)
            world.hang_up()
            eventually(lambda number=number: applied(world, "applied") == number, within_s=20, what=lambda: world.log[-2000:])  # type: ignore[misc]
            kept = (world.folder / "server.pem").read_bytes()
            (world.folder / "server.pem").write_bytes(b"half a certif")
            world.hang_up()
            eventually(lambda number=number: applied(world, "refused") == number, within_s=20, what=lambda: world.log[-2000:])  # type: ignore[misc]
            (world.folder / "server.pem").write_bytes(kept)
        begun = time.monotonic()
        eventually(lambda: traffic.asked > 200, within_s=30, what=lambda: f"{traffic.asked} requests in {time.monotonic() - begun} s")
        stop.set()
        for thread in threads:
            thread.join(20)
        assert traffic.failed == [], f"of {traffic.asked}"
        with contextlib.closing(world.connection(wiki)) as connection:
            connection.connect()
            shown = connection.sock.getpeercert(binary_form=True)
            assert shown == ssl.PEM_cert_to_DER_cert((world.folder / "server.pem").read_text())
        assert "config_refused" in world.log and "sessions.http.tls.certificate" in world.log


def test_authorities_of_clients_change_too(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path, SESSIONS, "sessions") as world:
        old = world.trusted(world.clients.issue("wiki", "wiki.example"))
        assert world.ask(old, "POST", "/wiki/key", b"value")[0] == 201
        renewed = Authority(tmp_path, "clients")
        world.hang_up()
        eventually(lambda: applied(world, "applied") == 1, within_s=20, what=lambda: world.log[-2000:])
        with pytest.raises((ssl.SSLError, ConnectionError)):
            world.ask(old, "GET", "/wiki/key")
        assert world.ask(world.trusted(renewed.issue("wiki", "wiki.example")), "GET", "/wiki/key") == (200, b"value")


def test_our_own_clients_ask_over_tls(tmp_path: pathlib.Path) -> None:
    """Every connection needs a certificate here: the command line and the status page show the operator's."""
    events, propagation, purging = free_ports(3)
    config = ROLES.format(events=events, propagation=propagation, purging=purging)
    with serving(tmp_path, config, "events", "propagation", "purging", "console") as world:
        status = world.run("status", "events", "propagation", "purging", "console", "--json", HEADWATER_TOKEN=TOKEN)
        assert status.returncode == 0, status.stdout + status.stderr
        assert all(role["ready"] for role in json.loads(status.stdout).values())
        shown = world.trusted(Pair(tmp_path / "operator.pem", tmp_path / "operator.key"))
        with contextlib.closing(world.connection(shown, "console")) as connection:
            connection.request("GET", "/v1/overview", headers={"authorization": f"Bearer {TOKEN}"})
            overview = json.loads(connection.getresponse().read())
        states = {role["name"]: role["state"] for role in overview["roles"]}
        assert [states[role] for role in ("events", "propagation", "purging")] == ["ready"] * 3
        with contextlib.closing(world.connection(world.trusted(), "events")) as connection, pytest.raises((ssl.SSLError, ConnectionError)):
            connection.request("GET", "/livez")
            connection.getresponse()

"""No key, value, subject or token in a log, a metric or the body of an error, whatever goes wrong."""

import base64
import logging
import secrets
from collections.abc import Iterator
from urllib.parse import quote

import msgspec
import pytest
import structlog
from tests.integration.http_server import Answer, exchange
from tests.integration.sessions_server import SessionsServer, client, serving

from headwater.http.application import Manner, Privacy
from headwater.http.config import HttpLimits
from headwater.kernel.errors import Corrupted, OutcomeUnknown, StorageFull, Unavailable
from headwater.sessions.api import SessionsApi
from headwater.sessions.config import NamespaceConfig, SessionClientConfig, SessionHttpLimits, SessionsConfig, Strictness, Verb

PIECE_BYTES = 8
BASE, ROOT = "/sessions/v1/", "/v2/sessions"


def pieces(secret: str) -> Iterator[bytes]:
    """Every piece of a secret of 8 bytes, as it is and as it may be written."""
    raw = secret.encode()
    for start in range(len(raw) - PIECE_BYTES + 1):
        piece = raw[start : start + PIECE_BYTES]
        yield from (piece, piece.hex().encode(), piece.hex().upper().encode())
        yield "".join(f"%{byte:02X}" for byte in piece).encode()
    for offset in range(3):
        yield base64.b64encode(raw[offset:])[: PIECE_BYTES * 4 // 3]


class Canaries:
    """Random secrets, and what was answered while they were in use."""

    def __init__(self) -> None:
        self.key, self.value, self.subject = (secrets.token_hex(16) for _ in range(3))
        self.token = "token-canary"
        self.answers: list[Answer] = []
        self.wire: list[bytes] = []

    def assert_unseen(self, text: bytes) -> None:
        for secret in (self.key, self.value, self.subject):
            seen = [piece for piece in pieces(secret) if piece in text]
            assert not seen, seen
        assert self.token.encode() not in text


def config(strict: Strictness) -> SessionsConfig:
    limits = msgspec.structs.replace(SessionHttpLimits(), access_log=True)
    assert isinstance(limits, HttpLimits)
    clients: tuple[SessionClientConfig, ...] = (client("canary", {"*": tuple(Verb)}), client("less", {"*": (Verb.READ,)}))
    return SessionsConfig(
        namespaces={"sessions": NamespaceConfig(base=BASE, scan_subjects=True)}, clients=clients, http=limits, strict=strict, misses_max=1
    )


def work(server: SessionsServer, canaries: Canaries) -> None:
    """Everything that can be asked for, rightly and wrongly, of a store in each state."""
    bearer = {"authorization": f"Bearer {canaries.token}", "x_request_id": canaries.key}
    value = canaries.value.encode()
    targets = [f"{BASE}{canaries.key}", f"{BASE}{canaries.key}%0A", f"{BASE}{canaries.key}%", f"{BASE}{canaries.key}/{canaries.key}"]
    targets += [f"{BASE}{canaries.key * 20}", f"{BASE}{canaries.key}?{canaries.key}", f"http://127.0.0.1{BASE}{canaries.key}"]
    targets += [f"{ROOT}/sessions/{canaries.key}", f"{ROOT}/sessions/{canaries.key}%FF", f"/{canaries.key}", f"/v2/{canaries.key}/session"]
    targets += [f"{BASE}a%2F{quote(canaries.key)}", f"{ROOT}/subjects/{canaries.subject}", f"{ROOT}/sessions/{canaries.key}/rotate"]
    for target in targets:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            body = value if method in ("POST", "PUT") else None
            if method == "GET" and target in (targets[0], targets[7]):
                continue  # a hit: its body is the value
            canaries.answers += [
                server.ask(method, target, body, **bearer),
                server.ask(method, target, body, authorization=f"Bearer {canaries.key}"),
                server.ask(method, target, body, authorization=f"Session {canaries.key}", client_authorization="Bearer token-less"),
            ]
    canaries.answers.append(server.ask("POST", ROOT, value, session_subject=canaries.subject + "%", **bearer))
    canaries.answers.append(server.ask("PUT", targets[7], value, If_Match=canaries.key, **bearer))
    canaries.answers.append(server.ask("PUT", targets[7], value, If_Match=f'"{canaries.key}"', **bearer))
    canaries.answers += [server.ask("GET", f"{ROOT}/sessions/no{canaries.key}", None, **bearer) for _ in range(3)]
    canaries.wire.append(exchange(server.port, [f"GET {BASE}{canaries.key} HTTP/1.1\r\nHost: x y{canaries.key}\r\n\r\n".encode()]))
    canaries.wire.append(exchange(server.port, [f"GET {BASE}{canaries.key} HTTP/9.9\r\n{canaries.key}\r\n\r\n".encode()]))


@pytest.mark.parametrize("strict", list(Strictness))
def test_nothing_of_a_request_is_told_anywhere(strict: Strictness, caplog: pytest.LogCaptureFixture) -> None:
    canaries = Canaries()
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs, serving(config(strict)) as server:
        states: list[Exception | None] = [Unavailable("out"), OutcomeUnknown("?"), StorageFull("full"), Corrupted("bad")]
        # A bug's message may hold anything.
        states += [KeyError(canaries.key), ValueError(canaries.value), None]
        for state in states:
            server.fail(state)
            work(server, canaries)
        metrics = server.ask("GET", "/metrics").body
    bodies = [answer.body for answer in canaries.answers if answer.status not in (200, 201)]
    assert {answer.status for answer in canaries.answers} >= {201, 204, 400, 401, 404, 405, 412, 414, 429, 500, 503, 504, 507}
    for text in (*bodies, *canaries.wire, metrics, *(str(line).encode() for line in logs), caplog.text.encode()):
        canaries.assert_unseen(text)
    headers = [str(answer.headers) for answer in canaries.answers]
    canaries.assert_unseen(" ".join(headers).encode())
    assert any(line["event"] == "request" for line in logs) and any(line["event"] == "request_failed" for line in logs)


def test_a_service_that_logs_paths_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = Canaries()
    manner = SessionsApi.manner
    monkeypatch.setattr(SessionsApi, "manner", lambda api: Manner(manner(api).fallback, Privacy.NONE))
    with structlog.testing.capture_logs() as logs, serving(config(Strictness.NONE)) as server:
        server.ask("GET", f"{BASE}{canaries.key}", authorization=f"Bearer {canaries.token}")
    with pytest.raises(AssertionError):
        canaries.assert_unseen(str(logs).encode())

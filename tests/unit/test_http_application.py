"""One application without a server: ASGI messages in, ASGI messages out."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, MutableMapping, Sequence
from typing import Any

import pytest
import structlog

from headwater.http.application import Manner, Privacy, application
from headwater.http.config import ClientConfig, HttpLimits
from headwater.http.hosts import hosts_of
from headwater.http.messages import Fallback, ReadinessCheck, Request, Response, Route
from headwater.http.metrics import DURATION, METRICS, REQUESTS
from headwater.kernel.clock import SystemClock
from headwater.kernel.errors import NotFound, OutcomeUnknown, StorageFull
from headwater.kernel.metrics import Metrics

Message = MutableMapping[str, Any]
METRICS_OF_TEST = Metrics(METRICS)
ORDINARY = Manner()


async def echo(request: Request) -> Response:
    assert await request.body() == await request.body(), "a body may be asked for again"
    return Response(201, await request.body(), (("x-seen", request.headers.get("x-a", "-")),), "text/plain")


async def query(request: Request) -> Response:
    seen = [list(request.query), request.query_value("a"), request.remote, request.raw_path, request.has_query]
    return Response(200, json.dumps(seen).encode())


async def bug(request: Request) -> Response:
    raise KeyError("secret detail")


async def full(request: Request) -> Response:
    raise StorageFull("no space", retry_after_s=30)


async def unknown(request: Request) -> Response:
    raise OutcomeUnknown("no answer")


async def missing(request: Request) -> Response:
    raise NotFound("no such page", where="title")


async def chunks(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    return Response(200, parts())


ROUTES = [
    Route("POST", "/echo", echo, "Echo.", {}, body_bytes_max=10),
    Route("GET", "/query", query, "Query.", {}),
    Route("GET", "/bug", bug, "Bug.", {}),
    Route("GET", "/full", full, "Full.", {}),
    Route("GET", "/unknown", unknown, "Unknown.", {}),
    Route("GET", "/missing", missing, "Missing.", {}),
    Route("GET", "/chunks", chunks, "Chunks.", {}),
]


def call(
    method: str,
    path: str,
    *,
    body: Sequence[bytes] = (b"",),
    headers: Sequence[tuple[bytes, bytes]] = (),
    readiness: Sequence[ReadinessCheck] = (),
    clients: Sequence[ClientConfig] = (),
    manner: Manner = ORDINARY,
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Message] = []
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(body) - 1} for number, part in enumerate(body)
    ]

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect", "fault": "slow"}

    async def send(message: Message) -> None:
        sent.append(message)

    raw, _, raw_query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "raw_path": raw.encode(),
        "query_string": raw_query.encode(),
        "headers": list(headers),
        "client": ("192.0.2.7", 1),
        "http_version": "1.1",
    }
    app = application(
        ROUTES,
        role="unit",
        metrics=METRICS_OF_TEST,
        readiness=readiness,
        clients=clients,
        limits=HttpLimits(),
        clock=SystemClock(),
        manner=manner,
    )
    asyncio.run(app(scope, receive, send))
    assert sent[0]["type"] == "http.response.start" and not sent[-1].get("more_body", False)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message["body"] for message in sent[1:])


def test_a_body_and_headers_come_through() -> None:
    status, headers, body = call("POST", "/echo", body=[b"abc", b"", b"de"], headers=[(b"x-a", b"1"), (b"x-a", b" 2")])
    assert (status, body) == (201, b"abcde")
    assert headers["x-seen"] == "1, 2" and headers["content-type"] == "text/plain"
    assert headers["content-length"] == "5" and headers["x-content-type-options"] == "nosniff"


def test_query_and_peer_come_through() -> None:
    status, _, body = call("GET", "/query?a=1&b=%20&a=2")
    assert status == 200
    assert json.loads(body) == [[["a", "1"], ["b", " "], ["a", "2"]], "2", "192.0.2.7", "/query", True]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 201),
        ([(b"origin", b"http://127.0.0.1:8192")], 403),
        ([(b"origin", b"null")], 403),
        ([(b"sec-fetch-site", b"cross-site")], 403),
        ([(b"sec-fetch-site", b"none")], 201),
    ],
)
def test_no_site_that_somebody_visits_can_post_where_no_token_is_asked_for(headers: list[tuple[bytes, bytes]], status: int) -> None:
    assert call("POST", "/echo", headers=headers)[0] == status
    assert call("GET", "/query", headers=headers)[0] == 200


def test_with_clients_the_token_alone_decides() -> None:
    token = ClientConfig(name="console", token_sha256=hashlib.sha256(b"t").hexdigest(), grants=("*",))
    sent = [(b"origin", b"https://console.example"), (b"authorization", b"Bearer t")]
    assert call("POST", "/echo", headers=sent, clients=[token])[0] == 201


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/missing", 404, "not-found"),
        ("PUT", "/echo", 405, "method-not-allowed"),
        ("GET", "/bug", 500, "internal"),
        ("GET", "/full", 507, "storage-full"),
        ("GET", "/unknown", 504, "outcome-unknown"),
        ("GET", "/query?a=%00", 400, "invalid-input"),
    ],
)
def test_refusals_are_problems(method: str, path: str, status: int, code: str) -> None:
    found, headers, body = call(method, path)
    assert (found, json.loads(body)["type"]) == (status, f"/problems/{code}")
    assert headers["content-type"] == "application/problem+json"
    assert b"secret" not in body
    assert ("allow" in headers) == (status == 405)
    assert ("retry-after" in headers) == (status == 507)


def test_a_body_above_the_limit_is_refused_by_length_and_by_count() -> None:
    assert call("POST", "/echo", headers=[(b"content-length", b"11")])[0] == 413
    assert call("POST", "/echo", body=[b"x" * 5, b"x" * 6])[0] == 413
    assert call("POST", "/echo", body=[b"x" * 5, b"x" * 5])[0] == 201


def test_a_body_that_stops_is_a_408() -> None:
    assert call("POST", "/echo", body=())[0] == 408


def test_chunks_are_sent_as_they_come_and_not_for_head() -> None:
    assert call("GET", "/chunks")[2] == b"ab"
    assert call("HEAD", "/chunks")[2] == b""


def test_requests_are_counted_by_template() -> None:
    before = METRICS_OF_TEST.value(REQUESTS, role="unit", route="/missing", method="GET", code="404")
    call("GET", "/missing?x=1")
    assert METRICS_OF_TEST.value(REQUESTS, role="unit", route="/missing", method="GET", code="404") == before + 1
    assert METRICS_OF_TEST.value(DURATION, role="unit", route="/missing") >= 1
    call("GET", "/x/y/z")
    assert METRICS_OF_TEST.value(REQUESTS, role="unit", route="(none)", method="GET", code="404") >= 1
    call("FROB", "/missing")
    assert METRICS_OF_TEST.value(REQUESTS, role="unit", route="/missing", method="other", code="405") == 1


def test_a_readiness_check_that_fails_is_a_reason() -> None:
    async def failing() -> str | None:
        raise StorageFull("no space")

    status, _, body = call("GET", "/readyz", readiness=[("disk", failing)])
    assert status == 503 and json.loads(body)["checks"] == {"disk": "no space"}


def test_a_fallback_answers_what_no_route_does_by_any_method_and_in_its_own_manner() -> None:
    async def foreign(request: Request) -> Response:
        seen = f"{request.method} {request.raw_path}?{request.raw_query} {request.absolute} {request.client.name}".encode()
        return Response(418, seen + await request.body(), bare=True)

    manner = Manner(Fallback(foreign, "/foreign", body_bytes_max=4, exempt=frozenset({"/alive"})))
    status, headers, body = call("FROB", "/no//route?a", body=[b"1234"], manner=manner)
    assert (status, headers, body) == (418, {"content-length": str(len(body))}, b"FROB /no//route?a False anonymous1234")
    assert call("GET", "/missing", manner=manner)[0] == 404
    assert call("POST", "/no", body=[b"12345"], manner=manner)[0] == 413
    assert METRICS_OF_TEST.value(REQUESTS, role="unit", route="/foreign", method="other", code="418") == 1


def test_where_paths_are_secrets_no_log_has_them_nor_what_an_error_says() -> None:
    async def broken(request: Request) -> Response:
        raise KeyError(request.raw_path)

    manner = Manner(Fallback(broken, "/foreign", body_bytes_max=4), Privacy.PATHS)
    with structlog.testing.capture_logs() as logs:
        assert call("GET", "/canary-1", manner=manner)[0] == 500
        assert call("GET", "/bug", manner=manner)[0] == 500
    assert {entry["event"] for entry in logs} == {"request_failed", "request"}
    assert "canary" not in str(logs) and "secret" not in str(logs)
    assert [entry["error"] for entry in logs if entry["event"] == "request_failed"] == ["KeyError", "KeyError"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/query", "/echo", "/nowhere", "/%zz"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"])
def test_a_foreign_host_is_answered_nothing(method: str, path: str) -> None:
    manner = Manner(hosts=hosts_of("127.0.0.1:80", ("pages.example",)))
    status, _, body = call(method, path, manner=manner, headers=[(b"host", b"evil.example")])
    assert status == 421
    problem = json.loads(body)
    assert (problem["type"], problem["where"]) == ("/problems/misdirected-request", "host") and b"evil" not in body
    for name in (b"localhost:80", b"pages.example"):
        assert call(method, path, manner=manner, headers=[(b"host", name)])[0] != 421
    assert call(method, path, headers=[(b"host", b"evil.example")])[0] != 421

"""Every row of the table of what Kask's clients send and expect, on a real socket."""

import json
import re
import socket
import time
from collections.abc import Iterator

import pytest
import structlog
from tests.integration.http_server import Answer, answers, exchange
from tests.integration.sessions_server import SessionsServer, client, poll, serving

from headwater.kernel.config import Bytes, Seconds
from headwater.kernel.errors import OutcomeUnknown, StorageFull, Unavailable
from headwater.sessions.config import NamespaceConfig, SessionsConfig, SheddingConfig, Strictness, Verb
from headwater.sessions.metrics import KASK_DURATION, KASK_REQUESTS, OVER_BUDGET, READS, SHED

BASE = "/sessions/v1/"
TYPE = "https://www.mediawiki.org/wiki/Kask/errors/"
TITLES = {
    "bad_request": "Bad request",
    "not_authorized": "Not authorized",
    "not_found": "Not found",
    "server_error": "Internal server error",
}


@pytest.fixture(scope="module")
def server() -> Iterator[SessionsServer]:
    config = SessionsConfig(misses_max=1_000_000)
    with serving(config) as running:
        yield running


@pytest.fixture(scope="module")
def strict() -> Iterator[SessionsServer]:
    with serving(SessionsConfig(strict=Strictness.KASK)) as running:
        yield running


def assert_fault(answer: Answer, status: int, kind: str, *, key: str = "canary") -> None:
    """An error exactly in Kask's form, with nothing of the key."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    members = json.loads(answer.body)
    assert list(members) == ["type", "title", "detail", "instance"]
    assert members["type"] == TYPE + kind and members["title"] == TITLES[kind] and members["instance"] == BASE
    assert answer.body == (json.dumps(members, indent=2, ensure_ascii=False) + "\n").encode()
    assert key not in answer.body.decode() and key not in str(answer.headers)


def test_a_hit_has_exactly_these_headers(server: SessionsServer) -> None:
    value = bytes(range(256))
    server.ask("POST", f"{BASE}hit", value)
    answer = server.ask("GET", f"{BASE}hit")
    assert (answer.status, answer.body) == (200, value)
    assert {**answer.headers, "date": ""} == {
        "content-type": "application/octet-stream",
        "content-length": "256",
        "date": "",
        "connection": "close",
    }
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])


def test_the_status_line_is_one_that_mediawiki_understands(server: SessionsServer) -> None:
    sent = [f"GET {BASE}nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()]
    assert re.match(rb"HTTP/1\.1 404 [A-Za-z ]+\r\n", exchange(server.port, sent))


def test_a_miss_is_a_404(server: SessionsServer) -> None:
    assert_fault(server.ask("GET", f"{BASE}canary-absent"), 404, "not_found")


def test_an_expired_session_is_a_miss_that_looks_the_same(server: SessionsServer) -> None:
    server.ask("POST", f"{BASE}canary-old", b"v")
    server.later(86_399)
    assert server.ask("GET", f"{BASE}canary-old").status == 200
    server.later(2)
    expired, absent = server.ask("GET", f"{BASE}canary-old"), server.ask("GET", f"{BASE}canary-absent")
    assert_fault(expired, 404, "not_found")
    assert (expired.body, {**expired.headers, "date": ""}) == (absent.body, {**absent.headers, "date": ""})


def test_a_post_creates_and_overwrites_with_201_and_no_content_type(server: SessionsServer) -> None:
    for value in (b"one", b"two", b"two"):
        answer = server.ask("POST", f"{BASE}post", value)
        assert (answer.status, answer.body) == (201, b"")
        assert set(answer.headers) == {"content-length", "date", "connection"} and answer.headers["content-length"] == "0"
        assert server.ask("GET", f"{BASE}post").body == value


def test_a_post_starts_the_ttl_anew_and_a_get_does_not(server: SessionsServer) -> None:
    server.ask("POST", f"{BASE}slide", b"v")
    server.later(50_000)
    assert server.ask("POST", f"{BASE}slide", b"v").status == 201
    server.later(50_000)
    assert server.ask("GET", f"{BASE}slide").status == 200
    server.later(36_500)
    assert server.ask("GET", f"{BASE}slide").status == 404


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "text/plain", "application/x-www-form-urlencoded", "?"])
def test_the_content_type_of_a_post_does_not_matter(server: SessionsServer, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content_type": content_type}
    assert server.ask("POST", f"{BASE}typed", b"v", **headers).status == 201


def test_a_chunked_post_is_accepted(server: SessionsServer) -> None:
    head = f"POST {BASE}chunked HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    (answer,) = answers(exchange(server.port, [head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"]))
    assert answer.status == 201
    assert server.ask("GET", f"{BASE}chunked").body == b"abcde"


def test_expect_100_continue_is_answered(server: SessionsServer) -> None:
    head = f"POST {BASE}expect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    found = answers(exchange(server.port, [head.encode(), b"abc"], pause_s=0.05))
    assert [answer.status for answer in found] == [100, 201]


@pytest.mark.parametrize("body", [b"", None])
def test_an_empty_post_is_a_400(server: SessionsServer, body: bytes | None) -> None:
    assert_fault(server.ask("POST", f"{BASE}canary", body), 400, "bad_request")


def test_a_delete_is_a_204_whether_something_was_there_or_not(server: SessionsServer) -> None:
    server.ask("POST", f"{BASE}gone", b"v")
    for _ in range(2):
        answer = server.ask("DELETE", f"{BASE}gone")
        assert (answer.status, answer.body) == (204, b"") and set(answer.headers) == {"date", "connection"}
    assert server.ask("GET", f"{BASE}gone").status == 404


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE", "PROPFIND", "PURGE"])
def test_other_methods_are_400(server: SessionsServer, strict: SessionsServer, method: str) -> None:
    for one in (server, strict):
        one.ask("POST", f"{BASE}canary", b"v")
        assert_fault(one.ask(method, f"{BASE}canary"), 400, "bad_request")


def test_head_is_a_400_without_a_body(server: SessionsServer) -> None:
    server.ask("POST", f"{BASE}head", b"v")
    received = exchange(server.port, [f"HEAD {BASE}head HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()])
    assert received.startswith(b"HTTP/1.1 400 ") and received.endswith(b"\r\n\r\n")


def test_put_is_an_upsert_unless_strict(server: SessionsServer, strict: SessionsServer) -> None:
    assert (server.ask("PUT", f"{BASE}put", b"one").status, server.ask("PUT", f"{BASE}put", b"two").status) == (201, 201)
    assert server.ask("GET", f"{BASE}put").body == b"two"
    assert_fault(strict.ask("PUT", f"{BASE}canary-put", b"v"), 400, "bad_request")
    assert strict.ask("GET", f"{BASE}canary-put").status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_query_string_is_a_400_and_a_bare_question_mark_nothing(server: SessionsServer, method: str) -> None:
    body = b"v" if method == "POST" else None
    assert_fault(server.ask(method, f"{BASE}canary?a=1", body), 400, "bad_request")
    assert_fault(server.ask(method, f"{BASE}canary?canary", body), 400, "bad_request")
    server.ask("POST", f"{BASE}asked", b"v")
    assert server.ask(method, f"{BASE}asked?", body).status == {"GET": 200, "POST": 201, "DELETE": 204}[method]


@pytest.mark.parametrize("path", [BASE, f"{BASE}canary/two", f"{BASE}canary/", f"{BASE}canary{BASE}zzz"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_paths_that_name_no_key_are_404(server: SessionsServer, strict: SessionsServer, method: str, path: str) -> None:
    for one in (server, strict):
        assert_fault(one.ask(method, path, b"v" if method == "POST" else None), 404, "not_found")
    assert server.ask("GET", f"{BASE}k9").status == 404, "no aliasing"


def test_a_slash_in_a_key_is_accepted_unless_strict(server: SessionsServer, strict: SessionsServer) -> None:
    assert server.ask("POST", f"{BASE}canary%2Fb", b"v").status == 201
    assert server.ask("GET", f"{BASE}canary%2fb").body == b"v"
    assert_fault(strict.ask("POST", f"{BASE}canary%2Fb", b"v"), 404, "not_found")


def test_the_base_without_its_slash_is_moved_to_it(server: SessionsServer, strict: SessionsServer) -> None:
    for one in (server, strict):
        answer = one.ask("GET", "/sessions/v1")
        assert (answer.status, answer.headers["location"]) == (301, BASE)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.body == b'<a href="/sessions/v1/">Moved Permanently</a>.\n\n'
    assert server.ask("GET", "/sessions/v1?a=b").headers["location"] == BASE
    assert strict.ask("GET", "/sessions/v1?a=b").headers["location"] == f"{BASE}?a=b"
    posted = server.ask("POST", "/sessions/v1", b"v")
    assert (posted.status, posted.body, "content-type" in posted.headers) == (301, b"", False)


@pytest.mark.parametrize("path", ["//sessions/v1/canary", "/sessions/v1//canary", "/sessions/v1/x/../canary", "/x/../sessions/v1/./canary"])
def test_a_path_that_is_not_clean_names_no_key_and_leads_to_one_only_if_strict(
    server: SessionsServer, strict: SessionsServer, path: str
) -> None:
    server.ask("POST", f"{BASE}canary", b"v")
    answer = server.ask("GET", path)
    assert_fault(answer, 404, "not_found")
    assert "canary" not in str(answer.headers)
    answer = strict.ask("GET", path)
    assert (answer.status, answer.headers["location"]) == (301, f"{BASE}canary")
    assert b"canary" not in answer.body


@pytest.mark.parametrize("path", ["/", "/sessions", "/sessions/v2/canary", "/healthz/", "/v1/canary", "/sessions/v1canary"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
def test_outside_of_the_base_is_gos_404(server: SessionsServer, method: str, path: str) -> None:
    answer = server.ask(method, path)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8" and answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("error", [Unavailable("canary"), OutcomeUnknown("canary"), StorageFull("canary")])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_errors_of_the_storage_are_500_in_answer_and_metric(method: str, error: Exception) -> None:
    with serving(SessionsConfig()) as server, structlog.testing.capture_logs() as logs:
        server.ask("POST", f"{BASE}kept", b"v")
        server.fail(error)
        answer = server.ask(method, f"{BASE}kept", b"w" if method == "POST" else None, x_request_id="6b1a0c2e-0000-4000-8000-00000000beef")
        assert answer.status == 500 and json.loads(answer.body)["type"] == f"{TYPE}server_error"
        assert server.metrics.value(KASK_REQUESTS, code="500", method=method) == 1
        assert server.metrics.value(KASK_REQUESTS, code="204", method="DELETE") == 0
        server.fail(None)
        assert server.ask("GET", f"{BASE}kept").body == b"v"
    stem = {"GET": "reading from", "POST": "writing to", "DELETE": "deleting in"}[method]
    (line,) = [entry for entry in logs if entry["event"].startswith(f"Error {stem} storage (")]
    assert line["request_id"] == "6b1a0c2e-0000-4000-8000-00000000beef" and line["log_level"] == "error"


def test_the_log_has_kasks_stems_sparingly_and_no_foreign_request_ids(server: SessionsServer) -> None:
    server.later(60)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            server.ask("POST", f"{BASE}canary", b"", x_request_id="canary canary")
            server.ask("PATCH", f"{BASE}canary")
    found = [(entry["event"], entry["request_id"]) for entry in logs]
    nobody = "00000000-0000-0000-0000-000000000000"
    assert found == [("Request body is empty", nobody), ("Unsupported HTTP method (PATCH)", nobody)]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
def test_healthz_is_answered_to_any_method(server: SessionsServer, method: str) -> None:
    answer = server.ask(method, "/healthz")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    members = json.loads(answer.body)
    assert list(members) == ["version", "build_date", "build_host", "go_version"]
    assert answer.body == json.dumps(members, indent=2).encode()


def test_healthz_does_not_look_at_the_storage_and_readyz_does() -> None:
    with serving(SessionsConfig()) as server:
        assert server.ask("GET", "/readyz").status == 200
        server.fail(Unavailable("the disk"))
        poll(lambda: server.ask("GET", "/readyz").status == 503)
        assert server.ask("GET", "/healthz", host="10.0.0.1").status == 200
        assert server.store.asked == 0
        server.fail(None)
        poll(lambda: server.ask("GET", "/readyz").status == 200)


def test_openapi_has_the_examples_that_monitors_run(server: SessionsServer) -> None:
    answer = server.ask("GET", "/openapi")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-yaml")
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load(answer.body.decode())
    (example,) = document["paths"][f"{BASE}{{key}}"]["get"]["x-amples"]
    asked = server.ask("GET", f"{BASE}{example['request']['params']['key']}")
    assert asked.status == example["response"]["status"] == 404
    assert asked.headers["content-type"] == example["response"]["headers"]["content-type"]
    assert document["paths"]["/healthz"]["get"]["x-amples"][0]["response"]["status"] == 200


def test_metrics_have_kasks_names_beside_our_own(server: SessionsServer) -> None:
    server.ask("GET", f"{BASE}nothing-there")
    answer = server.ask("GET", "/metrics")
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert re.search(r'^http_requests_total\{code="404",method="GET"\} \d', text, re.MULTILINE)
    bounds = re.findall(r'^http_request_duration_seconds_bucket\{code="404",le="([^"]+)",method="GET"\}', text, re.MULTILINE)
    assert bounds == ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "+Inf"]
    labels = ",".join(f'{name}="{told}"' for name, told in sorted(json.loads(server.ask("GET", "/healthz").body).items()))
    assert f"kask_build_info{{{labels}}} 1.0" in text
    assert "headwater_http_requests_total{" in text and "headwater_sessions_reads_total{" in text


def test_only_what_is_below_a_base_is_counted_as_kask_does() -> None:
    with serving(SessionsConfig()) as server:
        for path in ("/healthz", "/openapi", "/metrics", "/nothing", "/sessions/v1", "/v2/sessions/session"):
            server.ask("GET", path)
        assert server.metrics.value(KASK_DURATION, code="404", method="GET") == 0
        for method, path in (("GET", BASE), ("GET", f"{BASE}a"), ("FROB", f"{BASE}a"), ("GET", f"{BASE}%")):
            server.ask(method, path)
        assert server.metrics.value(KASK_REQUESTS, code="404", method="GET") == 2
        assert server.metrics.value(KASK_REQUESTS, code="400", method="GET") == 1


KEYS = [
    ("enwiki%3AMWSession%3Aabc", "enwiki:MWSession:abc"),
    ("a%3Fb", "a%3fb"),
    ("a%20b", "a%20b"),
    ("a+b", "a%2Bb"),
    ("id%253Awith", "i%64%253Awith"),
    ("%C3%A9", "%c3%a9"),
]


@pytest.mark.parametrize(("one", "other"), KEYS)
def test_keys_are_decoded_once(server: SessionsServer, one: str, other: str) -> None:
    server.ask("POST", f"{BASE}{one}", one.encode())
    assert server.ask("GET", f"{BASE}{other}").body == one.encode()


def test_different_keys_are_different(server: SessionsServer) -> None:
    server.ask("POST", f"{BASE}Case+x", b"v")
    for other in ("case+x", "Case%20x", "Case%252Bx", "Case%2Bx%20"):
        assert server.ask("GET", f"{BASE}{other}").status == 404


@pytest.mark.parametrize("bad", ["%FF", "%C3", "%", "%4", "%zz", "%00", "%0A", "%1F", "%7F", "%C2%80"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_keys_that_are_no_text_are_400(server: SessionsServer, method: str, bad: str) -> None:
    assert_fault(server.ask(method, f"{BASE}canary{bad}", b"v" if method == "POST" else None), 400, "bad_request")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_key_above_512_bytes_is_a_414(server: SessionsServer, method: str) -> None:
    body = b"v" if method == "POST" else None
    at_limit = server.ask(method, f"{BASE}{'k' * 512}", body)
    assert at_limit.status in (200, 201, 204, 404)
    assert_fault(server.ask(method, f"{BASE}canary{'k' * 507}", body), 414, "bad_request")


def test_a_value_above_its_limit_is_a_413_and_nothing_is_stored(server: SessionsServer) -> None:
    mebibyte = 1 << 20
    assert server.ask("POST", f"{BASE}big", bytes(mebibyte)).status == 201
    assert server.ask("GET", f"{BASE}big").body == bytes(mebibyte)
    assert_fault(server.ask("POST", f"{BASE}canary-big", bytes(mebibyte + 1)), 413, "bad_request")
    head = f"POST {BASE}canary-big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    (answer,) = answers(exchange(server.port, [head, b"%x\r\n" % (mebibyte + 1), bytes(mebibyte + 1), b"\r\n0\r\n\r\n"]))
    assert_fault(answer, 413, "bad_request")
    assert server.ask("GET", f"{BASE}canary-big").status == 404


def test_each_namespace_has_its_own_limits_and_its_own_keys() -> None:
    small = NamespaceConfig(base="/small/", value_bytes_max=Bytes(10), key_bytes_max=Bytes(4), ttl=Seconds(10))
    with serving(SessionsConfig(namespaces={"small": small, "large": NamespaceConfig(base="/large/v1/")})) as server:
        assert server.ask("POST", "/small/abcd", bytes(10)).status == 201
        assert server.ask("POST", "/small/abcd", bytes(11)).status == 413
        assert server.ask("POST", "/small/abcde", b"v").status == 414
        assert server.ask("POST", "/large/v1/abcde", bytes(11)).status == 201
        assert server.ask("GET", "/large/v1/abcd").status == 404, "foreign is absent"
        server.later(11)
        assert (server.ask("GET", "/small/abcd").status, server.ask("GET", "/large/v1/abcde").status) == (404, 200)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (f"http://127.0.0.1{BASE}canary", "127.0.0.1"),
        (f"{BASE}canary", "evil.example"),
        (f"{BASE}canary", "127.0.0.1.evil.example:80"),
    ],
)
def test_targets_for_proxies_and_foreign_hosts_are_refused(server: SessionsServer, target: str, host: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = server.ask(method, target, b"v" if method == "POST" else None, host=host)
        assert answer.status == 400 and b"canary" not in answer.body


def test_a_page_in_a_browser_can_change_nothing(server: SessionsServer) -> None:
    assert_fault(server.ask("POST", f"{BASE}canary-page", b"v", origin="https://evil.example"), 403, "not_authorized")
    assert server.ask("GET", f"{BASE}canary-page").status == 404


def test_misses_stay_404_and_hits_are_served_however_many_misses_there_are() -> None:
    with serving(SessionsConfig(misses_max=2, misses_per_second=0.001)) as server, structlog.testing.capture_logs() as logs:
        server.ask("POST", f"{BASE}there", b"v")
        for number in range(10):
            assert_fault(server.ask("GET", f"{BASE}canary{number}"), 404, "not_found")
            assert server.ask("GET", f"{BASE}there").status == 200
        assert server.metrics.value(OVER_BUDGET, client="anonymous") == 8
        assert server.metrics.value(READS, namespace="sessions", result="miss") == 10
        assert server.metrics.value(READS, namespace="sessions", result="hit") == 10
    assert [entry["event"] for entry in logs if entry["event"] == "misses_over_budget"], "an alarm"


ANONYMOUS = b'JSON..{"data":[],"metadata":{"userId":0,"userName":null}}'
SOMEBODY = b'JSON..{"data":[],"metadata":{"userId":7,"userName":"U"}}'


def test_anonymous_writes_are_shed_first_then_others_and_reads_never() -> None:
    config = SessionsConfig(shedding=SheddingConfig(anonymous_writes_max=1, writes_max=2))
    with serving(config) as server:
        server.ask("POST", f"{BASE}there", SOMEBODY)
        server.hold_writes()
        waiting = [_post_and_wait(server, f"{BASE}w{number}") for number in range(1)]
        shed = server.ask("POST", f"{BASE}canary-a", ANONYMOUS)
        assert_fault(shed, 503, "server_error")
        assert shed.headers["retry-after"] == "1"
        waiting.append(_post_and_wait(server, f"{BASE}w1"))
        assert_fault(server.ask("POST", f"{BASE}canary-b", SOMEBODY), 503, "server_error")
        assert_fault(server.ask("DELETE", f"{BASE}canary-b"), 503, "server_error")
        assert server.ask("GET", f"{BASE}there").status == 200
        assert (server.metrics.value(SHED, kind="anonymous"), server.metrics.value(SHED, kind="other")) == (1, 2)
        server.release_writes()
        for peer in waiting:
            assert peer.recv(12) == b"HTTP/1.1 201"
            peer.close()


def _post_and_wait(server: SessionsServer, path: str) -> socket.socket:
    """A post that is held up by the store."""
    asked = server.store.asked
    peer = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(SOMEBODY)}\r\n\r\n"
    peer.sendall(head.encode() + SOMEBODY)
    deadline_s = time.monotonic() + 10
    while server.store.asked < asked + 2 and time.monotonic() < deadline_s:
        time.sleep(0.002)
    return peer


def test_clients_are_let_in_by_verb_and_namespace_and_refusals_are_alike() -> None:
    config = SessionsConfig(
        namespaces={"sessions": NamespaceConfig(base=BASE), "echo": NamespaceConfig(base="/echo/")},
        clients=(client("app", {"sessions": (Verb.READ, Verb.WRITE)}), client("reader", {"*": (Verb.READ,)})),
    )
    with serving(config) as server:
        app, reader = "Bearer token-app", "Bearer token-reader"
        assert server.ask("POST", f"{BASE}a", b"v", host="any.example", authorization=app).status == 201
        assert server.ask("GET", f"{BASE}a", authorization=reader).status == 200
        asked = server.store.asked
        refused = [
            server.ask("GET", f"{BASE}a"),
            server.ask("GET", f"{BASE}absent", authorization="Bearer wrong"),
            server.ask("POST", f"{BASE}a", b"v", authorization=reader),
            server.ask("DELETE", f"{BASE}a", authorization=app),
            server.ask("POST", f"{BASE}a", b"", authorization=reader),
        ]
        for answer in refused:
            assert_fault(answer, 401, "not_authorized")
        assert len({answer.body for answer in refused}) == 1
        assert len({str({**answer.headers, "date": ""}) for answer in refused}) == 1
        foreign = server.ask("GET", "/echo/a", authorization=app)
        assert foreign.status == 401 and foreign.body.replace(b"/echo/", BASE.encode()) == refused[0].body
        assert server.store.asked == asked, "no look-up"
        assert server.ask("GET", "/echo/a", authorization=reader).status == 404

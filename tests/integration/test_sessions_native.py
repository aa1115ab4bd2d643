"""The native interface on a real socket: minting, conditions, TTLs, touching, rotating, revoking, and who may."""

import itertools
import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog
from tests.integration.http_server import Answer
from tests.integration.sessions_server import SessionsServer, client, serving

from headwater.kernel.config import Bytes, Seconds
from headwater.kernel.errors import Unavailable
from headwater.sessions.config import NamespaceConfig, SessionsConfig, Verb
from headwater.sessions.metrics import OVER_BUDGET, REFUSED

ROOT = "/v2/sessions"
CLIENTS: dict[str, dict[str, tuple[Verb, ...]]] = {
    "app": {"sessions": (Verb.READ, Verb.WRITE, Verb.DELETE)},
    "minter": {"sessions": (Verb.MINT,)},
    "revoker": {"*": (Verb.REVOKE,)},
    "operator": {"*": tuple(Verb)},
    "elsewhere": {"other": tuple(Verb)},
}


@pytest.fixture(scope="module")
def server() -> Iterator[SessionsServer]:
    with serving(SessionsConfig(misses_max=1_000_000)) as running:
        yield running


@pytest.fixture(scope="module")
def guarded() -> Iterator[SessionsServer]:
    namespaces = {"sessions": NamespaceConfig(base="/sessions/v1/"), "other": NamespaceConfig()}
    clients = tuple(client(name, grants) for name, grants in CLIENTS.items())
    with serving(SessionsConfig(namespaces=namespaces, clients=clients)) as running:
        yield running


def minted(server: SessionsServer, value: bytes = b"v", **headers: str) -> str:
    answer = server.ask("POST", ROOT, value, **headers)
    assert answer.status == 201
    key = json.loads(answer.body)["session"]
    assert isinstance(key, str)
    return key


def assert_problem(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, json.loads(answer.body)["type"]) == (status, f"/problems/{code}")


def test_a_session_is_minted_under_a_key_of_256_bits(server: SessionsServer) -> None:
    answer = server.ask("POST", ROOT, b"value")
    members = json.loads(answer.body)
    assert answer.status == 201 and answer.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", members["session"]) and "location" not in answer.headers
    assert answer.headers["etag"] == f'"{members["etag"]}"' and int(answer.headers["session-ttl"]) == members["ttl_s"]
    assert members["ttl_s"] in (86_399, 86_400)
    found = server.ask("GET", f"{ROOT}/sessions/{members['session']}")
    assert (found.status, found.body, found.headers["content-type"]) == (200, b"value", "application/octet-stream")
    assert found.headers["cache-control"] == "no-store" and found.headers["etag"] == answer.headers["etag"]
    assert minted(server) != minted(server)


def test_the_header_names_a_session_as_the_path_does(server: SessionsServer) -> None:
    key = minted(server)
    assert server.ask("GET", f"{ROOT}/session", authorization=f"Session {key}").body == b"v"
    assert server.ask("PUT", f"{ROOT}/session", b"w", authorization=f"session  {key}").status == 204
    assert server.ask("GET", f"{ROOT}/sessions/{key}").body == b"w"
    assert server.ask("POST", f"{ROOT}/session/touch", authorization=f"Session {key}").status == 204
    rotated = json.loads(server.ask("POST", f"{ROOT}/session/rotate", authorization=f"Session {key}").body)["session"]
    assert server.ask("DELETE", f"{ROOT}/session", authorization=f"Session {rotated}").status == 204
    assert server.ask("GET", f"{ROOT}/sessions/{rotated}").status == 404


def test_both_interfaces_see_the_same_sessions(server: SessionsServer) -> None:
    key = "enwiki:MWSession/é"
    server.ask("POST", f"/sessions/v1/{quote(key, safe='')}", b"v")
    assert server.ask("GET", f"{ROOT}/sessions/{quote(key, safe='')}").body == b"v"
    assert server.ask("GET", f"{ROOT}/session", authorization=f"Session {quote(key, safe='')}").body == b"v"


def test_an_update_needs_the_session_to_be_there(server: SessionsServer) -> None:
    assert_problem(server.ask("PUT", f"{ROOT}/sessions/chosen-by-an-attacker", b"v"), 404, "not-found")
    assert server.ask("GET", f"{ROOT}/sessions/chosen-by-an-attacker").status == 404


def test_conditions_of_writes(server: SessionsServer) -> None:
    key = minted(server)
    first = server.ask("GET", f"{ROOT}/sessions/{key}").headers["etag"]
    second = server.ask("PUT", f"{ROOT}/sessions/{key}", b"two", If_Match=first)
    assert second.status == 204 and second.headers["etag"] != first
    assert_problem(server.ask("PUT", f"{ROOT}/sessions/{key}", b"lost", If_Match=first), 412, "condition-failed")
    assert server.ask("GET", f"{ROOT}/sessions/{key}").body == b"two"
    assert server.ask("PUT", f"{ROOT}/sessions/{key}", b"three", If_Match="*").status == 204
    assert_problem(server.ask("PUT", f"{ROOT}/sessions/{key}", b"four", If_None_Match="*"), 412, "condition-failed")
    assert server.ask("PUT", f"{ROOT}/sessions/own-name", b"v", If_None_Match="*").status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"If_Match": "abc"},
        {"If_Match": '"a", "b"'},
        {"If_Match": 'W/"a"'},
        {"If_None_Match": '"a"'},
        {"If_Match": "*", "If_None_Match": "*"},
        {"If_Unmodified_Since": "Tue, 24 Nov 2026 08:11:13 GMT"},
    ],
)
def test_conditions_that_are_not_known_are_refused_and_not_dropped(server: SessionsServer, headers: dict[str, str]) -> None:
    key = minted(server)
    assert_problem(server.ask("PUT", f"{ROOT}/sessions/{key}", b"w", **headers), 400, "invalid-input")
    assert server.ask("GET", f"{ROOT}/sessions/{key}").body == b"v"
    if "If_None_Match" not in headers:
        assert server.ask("GET", f"{ROOT}/sessions/{key}", None, **headers).status == 400
    assert server.ask("DELETE", f"{ROOT}/sessions/{key}", None, **headers).status == 400
    assert server.ask("POST", f"{ROOT}/sessions/{key}/touch", None, **headers).status == 400
    assert server.ask("POST", ROOT, b"v", **headers).status == 400


def test_a_reader_who_has_it_already_gets_a_304(server: SessionsServer) -> None:
    key = minted(server)
    etag = server.ask("GET", f"{ROOT}/sessions/{key}").headers["etag"]
    for known in (etag, f'"x", W/{etag}', "*"):
        answer = server.ask("GET", f"{ROOT}/sessions/{key}", If_None_Match=known)
        assert (answer.status, answer.body) == (304, b"")
    assert server.ask("GET", f"{ROOT}/sessions/{key}", If_None_Match='"x"').status == 200
    assert server.ask("GET", f"{ROOT}/sessions/absent", If_None_Match="*").status == 404


def test_a_ttl_can_be_shortened_and_not_lengthened(server: SessionsServer) -> None:
    short = server.ask("POST", ROOT, b"v", Session_TTL="60")
    assert short.headers["session-ttl"] in ("59", "60")
    assert server.ask("POST", ROOT, b"v", Session_TTL="999999").headers["session-ttl"] in ("86399", "86400")
    key = json.loads(short.body)["session"]
    server.later(61)
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 404
    for bad in ("0", "-1", "1.5", "soon", "99999999999"):
        assert server.ask("POST", ROOT, b"v", Session_TTL=bad).status == 400


def test_touch_starts_the_ttl_anew(server: SessionsServer) -> None:
    key = minted(server)
    server.later(80_000)
    answer = server.ask("POST", f"{ROOT}/sessions/{key}/touch")
    assert answer.status == 204 and int(answer.headers["session-ttl"]) >= 86_399 and "etag" in answer.headers
    server.later(80_000)
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 200
    assert_problem(server.ask("POST", f"{ROOT}/sessions/absent/touch"), 404, "not-found")


def test_rotation_moves_a_session_and_the_old_key_leads_to_it_for_a_while(server: SessionsServer) -> None:
    key = minted(server)
    answer = server.ask("POST", f"{ROOT}/sessions/{key}/rotate", Session_Grace="10")
    fresh = json.loads(answer.body)["session"]
    assert answer.status == 201 and fresh != key
    assert server.ask("GET", f"{ROOT}/sessions/{fresh}").body == b"v"
    assert server.ask("GET", f"{ROOT}/sessions/{key}").body == b"v"
    server.later(11)
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 404
    assert server.ask("GET", f"{ROOT}/sessions/{fresh}").status == 200
    assert_problem(server.ask("POST", f"{ROOT}/sessions/absent/rotate"), 404, "not-found")


def test_the_grace_of_a_rotation_can_be_shortened_and_not_lengthened(server: SessionsServer) -> None:
    key = minted(server)
    assert server.ask("POST", f"{ROOT}/sessions/{key}/rotate", Session_Grace="100000").status == 201
    server.later(29)
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 200
    server.later(2)
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 404


def test_a_revoked_subject_has_no_session_left_and_a_late_save_brings_none_back(server: SessionsServer) -> None:
    with structlog.testing.capture_logs() as logs:
        mine = minted(server, Session_Subject="canary%20subject")
        again = minted(server, Session_Subject="canary%20subject")
        other = minted(server, Session_Subject="somebody")
        assert server.ask("DELETE", f"{ROOT}/subjects/canary%20subject").status == 204
        for key in (mine, again):
            assert_problem(server.ask("GET", f"{ROOT}/sessions/{key}"), 404, "not-found")
            assert_problem(server.ask("PUT", f"{ROOT}/sessions/{key}", b"late"), 409, "session-revoked")
            assert server.ask("POST", f"/sessions/v1/{key}", b"late").status == 409
            assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 404
        assert server.ask("GET", f"{ROOT}/sessions/{other}").status == 200
        assert server.ask("GET", f"{ROOT}/sessions/{minted(server, Session_Subject='canary%20subject')}").status == 200
    assert any(entry["event"] == "revocation_by_client" and entry["client"] == "anonymous" for entry in logs), "an audit trail"
    assert "canary" not in str(logs)


def test_a_whole_namespace_can_be_revoked_and_not_by_accident(server: SessionsServer) -> None:
    key = minted(server)
    assert server.ask("DELETE", ROOT, authorization=f"Session {key}").status == 400
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 200
    assert server.ask("DELETE", ROOT).status == 204
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 404
    assert server.ask("GET", f"{ROOT}/sessions/{minted(server)}").status == 200


def test_whatever_is_not_there_looks_the_same() -> None:
    namespaces = {"sessions": NamespaceConfig(base="/sessions/v1/"), "other": NamespaceConfig()}
    with serving(SessionsConfig(namespaces=namespaces)) as server:
        expired, revoked, deleted = (minted(server, Session_TTL="60"), minted(server, Session_Subject="s"), minted(server))
        foreign = json.loads(server.ask("POST", "/v2/other", b"v").body)["session"]
        server.later(61)
        server.ask("DELETE", f"{ROOT}/subjects/s")
        server.ask("DELETE", f"{ROOT}/sessions/{deleted}")
        found = [server.ask("GET", f"{ROOT}/sessions/{key}") for key in ("never", expired, revoked, deleted, foreign)]
        assert {answer.status for answer in found} == {404}
        assert len({answer.body for answer in found}) == 1
        assert len({str({**answer.headers, "date": ""}) for answer in found}) == 1


def test_a_client_that_misses_too_much_gets_429_and_its_hits(server: SessionsServer) -> None:
    with serving(SessionsConfig(misses_max=2, misses_per_second=0.5)) as limited:
        key = minted(limited)
        statuses = [limited.ask("GET", f"{ROOT}/sessions/no{number}").status for number in range(4)]
        assert statuses == [404, 404, 429, 429]
        answer = limited.ask("PUT", f"{ROOT}/sessions/no", b"v")
        assert_problem(answer, 429, "too-many-misses")
        assert 1 <= int(answer.headers["retry-after"]) <= 2
        assert limited.ask("GET", f"{ROOT}/sessions/{key}").status == 200
        assert limited.ask("GET", "/sessions/v1/no").status == 404, "MediaWiki would log its user out"
        assert limited.metrics.value(OVER_BUDGET, client="anonymous") >= 3
        limited.later(2)
        assert limited.ask("GET", f"{ROOT}/sessions/no").status == 404


CALLS: list[tuple[Verb, str, str, dict[str, str]]] = [
    (Verb.READ, "GET", "/sessions/canary", {}),
    (Verb.WRITE, "PUT", "/sessions/canary", {}),
    (Verb.MINT, "PUT", "/sessions/canary", {"If_None_Match": "*"}),
    (Verb.MINT, "POST", "", {}),
    (Verb.DELETE, "DELETE", "/sessions/canary", {}),
    (Verb.WRITE, "POST", "/sessions/canary/touch", {}),
    (Verb.WRITE, "POST", "/sessions/canary/rotate", {}),
    (Verb.REVOKE, "DELETE", "/subjects/canary", {}),
    (Verb.ADMINISTER, "DELETE", "", {}),
]


@pytest.mark.parametrize(("verb", "method", "path", "headers"), CALLS)
def test_each_operation_takes_its_verb_in_its_namespace_and_all_refusals_are_alike(
    guarded: SessionsServer, verb: Verb, method: str, path: str, headers: dict[str, str]
) -> None:
    body = b"v" if method in ("PUT", "POST") else None
    refused: list[Answer] = []
    asked = guarded.store.asked
    for name, namespace in itertools.product((*CLIENTS, None, "nobody"), ("sessions", "other", "absent")):
        sent = {} if name is None else {"authorization": f"Bearer token-{name}"}
        grants = CLIENTS.get(name or "", {})
        allowed = namespace != "absent" and verb in (*grants.get(namespace, ()), *grants.get("*", ()))
        if not allowed:
            refused.append(guarded.ask(method, f"/v2/{namespace}{path}", body, **sent, **headers))
    assert guarded.store.asked == asked, "no look-up"
    assert {answer.status for answer in refused} == {401}
    assert len({answer.body for answer in refused}) == 1 and b"canary" not in refused[0].body
    for name, grants in CLIENTS.items():
        for namespace in ("sessions", "other"):
            if verb in (*grants.get(namespace, ()), *grants.get("*", ())):
                answer = guarded.ask(method, f"/v2/{namespace}{path}", body, authorization=f"Bearer token-{name}", **headers)
                assert answer.status != 401, (name, namespace)


def test_a_token_stands_beside_the_session(guarded: SessionsServer) -> None:
    key = minted(guarded, authorization="Bearer token-operator")
    named = {"authorization": f"Session {key}"}
    assert guarded.ask("GET", f"{ROOT}/session", None, **named, client_authorization="Bearer token-app").status == 200
    assert guarded.ask("GET", f"{ROOT}/session", None, **named).status == 401
    assert guarded.ask("GET", f"{ROOT}/session", authorization="Bearer token-app").status == 400
    twice = {**named, "client_authorization": "Bearer token-app"}
    assert guarded.ask("GET", f"{ROOT}/sessions/{key}", None, **twice).status == 400, "named twice"
    assert guarded.metrics.value(REFUSED, interface="native") >= 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v2/nowhere/sessions/canary", None, 404),
        ("POST", "/v2/nowhere", b"v", 404),
        ("GET", f"{ROOT}/sessions/canary%00", None, 400),
        ("GET", f"{ROOT}/sessions/canary%0A", None, 400),
        ("GET", f"{ROOT}/sessions/canary%FF", None, 400),
        ("GET", f"{ROOT}/sessions/canary?a=b", None, 400),
        ("GET", f"{ROOT}/sessions/canary{'k' * 507}", None, 414),
        ("GET", f"{ROOT}/session", None, 400),
        ("POST", ROOT, b"", 400),
        ("POST", ROOT, bytes((1 << 20) + 1), 413),
        ("PUT", f"{ROOT}/sessions/canary", b"", 400),
        ("PATCH", f"{ROOT}/sessions/canary", b"v", 405),
        ("GET", f"{ROOT}/nothing", None, 404),
        ("DELETE", f"{ROOT}/subjects/canary{'s' * 251}", None, 400),
        ("DELETE", f"{ROOT}/subjects/canary%0A", None, 400),
    ],
)
def test_bad_input_is_a_problem_without_what_was_sent(
    server: SessionsServer, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = server.ask(method, path, body)
    assert answer.status == status and answer.headers["content-type"] == "application/problem+json"
    assert b"canary" not in answer.body


@pytest.mark.parametrize("subject", ["", "%0A", "%", "%FF", "s" * 257])
def test_subjects_that_are_none_are_refused(server: SessionsServer, subject: str) -> None:
    assert server.ask("POST", ROOT, b"v", Session_Subject=subject).status == 400


@pytest.mark.parametrize("named", ["", "a\tb", "J\xf6rg", "J\xc3\xb6rg", "a\x85", "\xa0a"])
def test_a_header_names_nothing_that_a_path_could_not_name(server: SessionsServer, named: str) -> None:
    """Else a key would have two names, and a subject in plain UTF-8 would be none that can be revoked."""
    assert server.ask("PUT", f"{ROOT}/session", b"v", authorization=f"Session {named}", if_none_match="*").status == 400
    assert server.ask("POST", ROOT, b"v", session_subject=named).status == 400


def test_a_subject_given_percent_encoded_is_the_one_that_a_path_revokes(server: SessionsServer) -> None:
    key = minted(server, session_subject="J%C3%B6rg%20M")
    assert server.ask("DELETE", f"{ROOT}/subjects/J%C3%B6rg%20M").status == 204
    assert server.ask("GET", f"{ROOT}/sessions/{key}").status == 404


def test_asking_by_if_match_whether_a_session_is_there_costs_a_miss_too() -> None:
    with serving(SessionsConfig(misses_max=2, misses_per_second=0.001)) as server:
        statuses = [server.ask("PUT", f"{ROOT}/sessions/absent", b"v", if_match="*").status for _ in range(3)]
        assert statuses == [412, 412, 429]
        key = minted(server)
        assert server.ask("PUT", f"{ROOT}/sessions/{key}", b"w", if_match="*").status == 204


def test_foreign_hosts_and_targets_for_proxies_are_refused_here_too(server: SessionsServer) -> None:
    assert server.ask("GET", f"{ROOT}/sessions/a", host="evil.example").status == 400
    assert server.ask("GET", f"http://127.0.0.1{ROOT}/sessions/a").status == 400
    assert server.ask("POST", ROOT, b"v", origin="https://evil.example").status == 403


def test_a_storage_that_does_not_answer_is_a_503_and_its_reason_is_not_told_wrongly() -> None:
    with serving(SessionsConfig()) as server:
        key = minted(server)
        server.fail(Unavailable("the disk does not answer"))
        assert_problem(server.ask("GET", f"{ROOT}/sessions/{key}"), 503, "unavailable")
        assert_problem(server.ask("PUT", f"{ROOT}/sessions/{key}", b"w"), 503, "unavailable")
        server.fail(None)
        assert server.ask("GET", f"{ROOT}/sessions/{key}").body == b"v"


def test_a_namespace_has_its_quota_and_others_work_on() -> None:
    small = NamespaceConfig(rows_max=2, value_bytes_max=Bytes(100), ttl=Seconds(60))
    with serving(SessionsConfig(namespaces={"sessions": NamespaceConfig(base="/sessions/v1/"), "small": small})) as server:
        statuses = [server.ask("POST", "/v2/small", b"v").status for _ in range(3)]
        assert statuses == [201, 201, 507]
        assert server.ask("POST", "/v2/small", bytes(101)).status == 413
        assert server.ask("POST", ROOT, b"v").status == 201

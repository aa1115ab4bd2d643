"""Clients × verbs × namespaces, budgets of misses, and what is shed first."""

import hashlib
import itertools

import pytest

from headwater.http.messages import Client, Request
from headwater.kernel.config import Bytes
from headwater.kernel.errors import Forbidden, InvalidInput, Overloaded, Unauthenticated
from headwater.kernel.metrics import Metrics
from headwater.sessions.clients import Callers, MissBudget
from headwater.sessions.config import NamespaceConfig, SessionClientConfig, SessionsConfig, SheddingConfig, Verb
from headwater.sessions.gate import Gate
from headwater.sessions.metrics import METRICS, SHED
from headwater.sessions.model import KeyEntropy
from headwater.sessions.quiet import KINDS_MAX, Seldom
from headwater.sessions.shedding import SMALL_BODY_BYTES, Shedding
from headwater.testing.clock import ManualClock

NAMESPACES = {"wiki": NamespaceConfig(base="/wiki/v1/"), "echo": NamespaceConfig(), "other": NamespaceConfig()}
GRANTS: dict[str, dict[str, tuple[Verb, ...]]] = {
    "app": {"wiki": (Verb.READ, Verb.WRITE, Verb.DELETE)},
    "reader": {"*": (Verb.READ,)},
    "minter": {"wiki": (Verb.MINT,), "*": (Verb.READ,)},
    "operator": {"*": tuple(Verb)},
    "nothing": {},
}
CONFIG = SessionsConfig(
    namespaces=NAMESPACES,
    clients=tuple(
        SessionClientConfig(name=name, token_sha256=hashlib.sha256(name.encode()).hexdigest(), grants=grants)
        for name, grants in GRANTS.items()
    ),
)


def request(method: str = "GET", *, absolute: bool = False, **headers: str) -> Request:
    async def nothing() -> bytes:
        return b""

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, "/wiki/v1/a", (), {"host": "127.0.0.1:8081", **named}, Client("anonymous"), "", nothing, absolute=absolute)


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"a"), (b"authorization", f"Bearer {token}".encode())]


def expected(name: str, verb: Verb, namespace: str) -> bool:
    return verb in GRANTS[name].get(namespace, ()) or verb in GRANTS[name].get("*", ()) if namespace in NAMESPACES else False


@pytest.mark.parametrize(("name", "verb", "namespace"), list(itertools.product(GRANTS, Verb, (*NAMESPACES, "absent", "*"))))
def test_the_matrix_of_clients_verbs_and_namespaces(name: str, verb: Verb, namespace: str) -> None:
    callers = Callers(CONFIG)
    client = callers.identify(bearer(name))
    assert client.name == name
    assert callers.may(client, verb, namespace) == expected(name, verb, namespace)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer operato")],
        [(b"authorization", b"Bearer operator2")],
        [(b"authorization", b"Basic operator")],
        [(b"authorization", b"operator")],
        [(b"authorization", b"Session operator")],
        [(b"authorization", b"Bearer operator"), (b"authorization", b"Bearer operator")],
        [(b"authorization", b"Bearer operator"), (b"client-authorization", b"Bearer operator")],
        [(b"authorization", "Bearer opérator".encode())],
        [(b"client-authorization", b"Session operator")],
        [(b"authorization", b"Bearer nothing")],
    ],
)
def test_refusals_are_one_and_the_same(headers: list[tuple[bytes, bytes]]) -> None:
    callers = Callers(CONFIG)
    client = callers.identify(headers)
    refusals = set()
    for verb, namespace in itertools.product(Verb, (*NAMESPACES, "absent")):
        with pytest.raises(Unauthenticated) as refused:
            callers.permit(client, verb, namespace)
        refusals.add((refused.value.code, refused.value.detail, refused.value.where))
    with pytest.raises(Unauthenticated) as known:
        callers.permit(callers.identify(bearer("reader")), Verb.WRITE, "wiki")
    assert refusals == {(known.value.code, known.value.detail, known.value.where)}


def test_the_token_stands_beside_a_session_or_in_its_place() -> None:
    callers = Callers(CONFIG)
    assert callers.identify([(b"authorization", b"Session abc"), (b"client-authorization", b"Bearer app")]).name == "app"
    assert callers.caller(request(authorization="bearer app")).name == "app"
    assert callers.caller(request(authorization="Session a", client_authorization="Bearer app")).name == "app"


def test_without_clients_everybody_on_this_machine_may_do_everything_and_no_page_in_a_browser() -> None:
    callers = Callers(SessionsConfig())
    assert len(callers) == 0
    assert all(callers.may(callers.identify([]), verb, "sessions") for verb in Verb)
    callers.check_origin(request("POST"))
    callers.check_origin(request("GET", origin="https://evil.example"))
    with pytest.raises(Forbidden):
        callers.check_origin(request("POST", origin="https://evil.example"))
    with pytest.raises(InvalidInput):
        callers.check_origin(request("GET", host="evil.example"))
    for host in ("localhost", "LOCALHOST:8081", "[::1]:1", "127.0.0.1"):
        callers.check_origin(request("GET", host=host))


def test_with_clients_the_token_alone_decides_unless_hosts_are_named() -> None:
    Callers(CONFIG).check_origin(request("POST", host="sessions.example", origin="https://a.example"))
    named = SessionsConfig(namespaces=NAMESPACES, clients=CONFIG.clients, hosts=("sessions.example",))
    Callers(named).check_origin(request(host="sessions.example:8081"))
    with pytest.raises(InvalidInput):
        Callers(named).check_origin(request(host="127.0.0.1"))


def test_targets_for_proxies_are_refused() -> None:
    with pytest.raises(InvalidInput):
        Callers(CONFIG).check_origin(request(absolute=True))


def test_clients_can_be_exchanged_while_the_service_runs() -> None:
    callers = Callers(CONFIG)
    callers.take(SessionsConfig(namespaces=NAMESPACES, clients=CONFIG.clients[1:]))
    assert not callers.may(callers.identify(bearer("app")), Verb.READ, "wiki")
    assert callers.may(callers.identify(bearer("reader")), Verb.READ, "wiki")


def test_a_budget_of_misses_runs_out_and_fills_up_again_for_each_client() -> None:
    clock = ManualClock()
    budget = MissBudget(SessionsConfig(misses_max=3, misses_per_second=2.0), clock)
    one, other = Client("one"), Client("other")
    assert [budget.spend(one) for _ in range(4)] == [None, None, None, 0.5]
    assert budget.spend(other) is None
    clock.advance(0.5)
    assert [budget.spend(one), budget.spend(one)] == [None, 0.5]
    clock.advance(3600)
    assert [budget.spend(one) for _ in range(4)] == [None, None, None, 0.5]


def test_anonymous_writes_are_shed_before_others_and_only_near_the_limit_is_it_asked_who_writes() -> None:
    metrics = Metrics(METRICS)
    shedding = Shedding(SheddingConfig(anonymous_writes_max=1, writes_max=2), metrics)
    asked: list[bool | None] = []

    def who(answer: bool | None) -> bool | None:
        asked.append(answer)
        return answer

    with shedding.write(lambda: who(True)):
        assert asked == []
        with pytest.raises(Overloaded) as shed, shedding.write(lambda: who(True)):
            pass
        assert shed.value.retry_after_s == 1.0
        with shedding.write(lambda: who(None)):
            with pytest.raises(Overloaded), shedding.write(lambda: who(False)):
                pass
            with pytest.raises(Overloaded):
                shedding.check_room()
    assert shedding.under_way == 0
    assert metrics.value(SHED, kind="anonymous") == 1 and metrics.value(SHED, kind="other") == 2


def test_large_bodies_share_their_memory_and_small_ones_need_none_of_it() -> None:
    metrics = Metrics(METRICS)
    shedding = Shedding(SheddingConfig(large_bodies_bytes_max=Bytes(300_000)), metrics)
    with shedding.body(200_000), shedding.body(100_000), shedding.body(SMALL_BODY_BYTES):
        with pytest.raises(Overloaded) as shed, shedding.body(SMALL_BODY_BYTES + 1):
            pass
        assert shed.value.retry_after_s == 1.0
    assert shedding.large_bytes == 0 and metrics.value(SHED, kind="large") == 1
    with shedding.body(1_000_000):
        pass  # one alone always fits


def test_a_line_that_anybody_can_cause_is_written_once_a_second_and_says_how_many_were_not() -> None:
    clock = ManualClock()
    seldom = Seldom(clock)
    assert [seldom.due("a"), seldom.due("a"), seldom.due("b")] == [0, None, 0]
    clock.advance(1)
    assert seldom.due("a") == 1
    for number in range(2 * KINDS_MAX):
        seldom.due(f"kind {number}")
    assert seldom.due("one more") is None


def test_misses_weigh_more_where_keys_can_be_guessed() -> None:
    spaces = {"fine": NamespaceConfig(), "pins": NamespaceConfig(key_entropy=KeyEntropy.LOW)}
    gate = Gate(SessionsConfig(namespaces=spaces, misses_max=41, misses_per_second=1.0), metrics=Metrics(METRICS), clock=ManualClock())
    client = Client("one")
    assert [gate.spend_miss(client, name) for name in ("pins", "pins", "fine")] == [None, None, None]
    assert gate.spend_miss(client, "fine") == 1.0
    assert gate.spend_miss(client, "pins") == 20.0


def test_a_budget_below_the_weight_of_a_guess_is_spent_by_one() -> None:
    gate = Gate(
        SessionsConfig(namespaces={"pins": NamespaceConfig(key_entropy=KeyEntropy.LOW)}, misses_max=3),
        metrics=Metrics(METRICS),
        clock=ManualClock(),
    )
    assert gate.spend_miss(Client("one"), "pins") is None
    assert gate.spend_miss(Client("one"), "pins") is not None

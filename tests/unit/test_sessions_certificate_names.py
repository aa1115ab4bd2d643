"""Who a caller of sessions is, given tokens and the names of a certificate."""

import hashlib
import hmac

import pytest
from tests.unit.test_sessions_clients import request

from headwater.kernel.errors import Forbidden
from headwater.sessions.clients import Callers
from headwater.sessions.config import NamespaceConfig, SessionClientConfig, SessionsConfig, Verb


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


GRANTS: dict[str, tuple[Verb, ...]] = {"wiki": (Verb.READ,)}
CONFIG = SessionsConfig(
    namespaces={"wiki": NamespaceConfig(base="/wiki/v1/")},
    clients=(
        SessionClientConfig(name="by-name", certificate_names=("wiki.example", "spiffe://farm/wiki"), grants=GRANTS),
        SessionClientConfig(name="by-token", token_sha256=sha256("token"), grants=GRANTS),
        SessionClientConfig(name="by-either", token_sha256=sha256("either"), certificate_names=("either.example",), grants=GRANTS),
    ),
)
NOBODY = "anonymous"


@pytest.mark.parametrize(
    ("token", "names", "name"),
    [
        ("", (), NOBODY),
        ("", ("wiki.example",), "by-name"),
        ("", ("spiffe://farm/wiki",), "by-name"),
        ("", ("wiki.example", "spiffe://farm/wiki"), "by-name"),
        ("", ("unknown.example",), NOBODY),
        ("", ("unknown.example", "wiki.example"), "by-name"),
        ("", ("either.example",), "by-either"),
        ("", ("either.example", "wiki.example"), NOBODY),
        ("token", (), "by-token"),
        ("token", ("unknown.example",), "by-token"),
        ("token", ("wiki.example",), NOBODY),
        ("either", (), "by-either"),
        ("either", ("either.example",), "by-either"),
        ("either", ("wiki.example",), NOBODY),
        ("either", ("either.example", "wiki.example"), NOBODY),
        ("wrong", ("wiki.example",), NOBODY),
        ("wrong", ("unknown.example",), NOBODY),
    ],
)
@pytest.mark.parametrize("header", ["authorization", "client-authorization"])
def test_who_it_is(token: str, names: tuple[str, ...], name: str, header: str) -> None:
    callers = Callers(CONFIG)
    fields: dict[str, str] = {header.replace("-", "_"): f"Bearer {token}"} if token else {}
    asked = request()
    asked.headers = {**asked.headers, **{field.replace("_", "-"): value for field, value in fields.items()}}
    asked.certificate_names = names
    found = callers.caller(asked)
    assert found.name == name
    assert callers.may(found, Verb.READ, "wiki") == (name != NOBODY)
    headers = [(field.replace("_", "-").encode(), value.encode()) for field, value in fields.items()]
    assert callers.identify(headers, names) == found


def test_tokens_in_both_headers_are_none_whatever_the_certificate() -> None:
    asked = request(authorization="Bearer either", client_authorization="Bearer either")
    asked.certificate_names = ("either.example",)
    assert Callers(CONFIG).caller(asked).name == NOBODY


def test_a_client_without_a_token_is_nobodys_by_token() -> None:
    for token in ("", "\0" * 32, "0" * 64):
        assert Callers(CONFIG).identify([(b"authorization", f"Bearer {token}".encode("latin-1"))]).name == NOBODY


def test_pages_in_a_browser_change_nothing_with_a_persons_certificate() -> None:
    callers = Callers(CONFIG)
    asked = request("POST", origin="https://evil.example")
    callers.check_origin(asked)
    asked.certificate_names = ("wiki.example",)
    with pytest.raises(Forbidden):
        callers.check_origin(asked)


def test_a_reload_changes_names() -> None:
    callers = Callers(CONFIG)
    changed = SessionClientConfig(name="by-name", certificate_names=("new.example",), grants=GRANTS)
    callers.take(SessionsConfig(namespaces=CONFIG.namespaces, clients=(changed,), http=CONFIG.http))
    assert callers.identify([], ("new.example",)).name == "by-name"
    assert callers.identify([], ("wiki.example",)).name == NOBODY


def test_every_name_is_compared_in_full_whoever_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of comparisons tells neither whether a name is known nor whose it is."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    callers = Callers(CONFIG)
    monkeypatch.setattr(hmac, "compare_digest", counted)
    numbers = set()
    for name in ("wiki.example", "spiffe://farm/wiki", "either.example", "unknown.example"):
        compared.clear()
        callers.identify([], (name,))
        numbers.add(len(compared))
    assert len(numbers) == 1
    assert all(len(one) == len(other) == 32 for one, other in compared)

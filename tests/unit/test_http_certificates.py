"""Names of certificates, and what of a configuration about them is refused."""

import os
import pathlib
from typing import Any

import msgspec
import pytest
from tests.certificates import SERVER, Authority, tls_config

from headwater.app.config import HeadwaterConfig, check
from headwater.app.reloading import differences
from headwater.http.auth import Clients
from headwater.http.certificates import NAMES_MAX, load_credentials, names_of
from headwater.http.config import AskingConfig, ClientCertificates, ClientConfig, HttpLimits, TlsConfig, certificate_name
from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Seconds
from headwater.kernel.errors import InvalidConfig, Unauthenticated
from headwater.sessions.config import SessionClientConfig, SessionsConfig
from headwater.tables.config import TableClientConfig

VALID = "Jan  1 00:00:00 2030 GMT"
NOW_S = 1_800_000_000.0
EXPIRY_S = 1_893_456_000.0
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TLS = TlsConfig(certificate="server.pem", private_key="server.key")
WITH_CA = msgspec.structs.replace(TLS, client_ca="clients.pem")
WIKI = ClientConfig(name="wiki", certificate_names=("wiki.example",))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("wiki.example", "wiki.example"),
        ("WIKI.Example", "wiki.example"),
        ("host", "host"),
        ("_service.a-b.example", "_service.a-b.example"),
        ("spiffe://farm/Wiki", "spiffe://farm/Wiki"),
        ("urn:uuid:1", "urn:uuid:1"),
        ("*.example", None),
        ("wiki.example.", None),
        ("-wiki.example", None),
        ("wiki..example", None),
        ("wiki.example\0.evil.example", None),
        ("wiki example", None),
        ("spiffe://farm/wiki\n", None),
        ("wikí.example", None),
        ("", None),
        ("a" * 254, None),
        ("1:a", None),
    ],
)
def test_what_is_a_name(text: str, name: str | None) -> None:
    assert certificate_name(text) == name


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ((("DNS", "Wiki.example"), ("URI", "spiffe://farm/wiki"), ("DNS", "wiki.example")), ("wiki.example", "spiffe://farm/wiki")),
        ((("DNS", "spiffe://farm/wiki"), ("URI", "wiki.example")), ()),
        ((("email", "wiki.example"), ("IP Address", "127.0.0.1"), ("DirName", ((("commonName", "wiki.example"),),))), ()),
        (tuple(("DNS", f"h{number}.example") for number in range(NAMES_MAX + 1)), ()),
        ((), ()),
    ],
)
def test_which_names_a_certificate_has(found: tuple[tuple[str, object], ...], names: tuple[str, ...]) -> None:
    subject = ((("commonName", "wiki.example"),),)
    assert names_of({"notAfter": VALID, "subject": subject, "subjectAltName": found}, now_s=NOW_S) == names


def test_one_that_has_expired_has_none() -> None:
    certificate = {"notAfter": VALID, "subjectAltName": (("DNS", "wiki.example"),)}
    assert names_of(certificate, now_s=EXPIRY_S - 1) == ("wiki.example",)
    assert names_of(certificate, now_s=EXPIRY_S) == ()
    assert names_of(None, now_s=NOW_S) == names_of({}, now_s=NOW_S) == ()


@pytest.mark.parametrize("kind", [ClientConfig, SessionClientConfig])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "neither token_sha256 nor certificate_names"),
        ({"token_sha256": "a token"}, "sha256sum"),
        ({"token_sha256": "0" * 64 + "\n"}, "sha256sum"),
        ({"token_sha256": EMPTY_SHA256}, "is empty"),
        ({"token_sha256": EMPTY_SHA256.upper()}, "is empty"),
        ({"certificate_names": ["*.example"]}, "neither a DNS name in lower case nor a URI"),
        ({"certificate_names": ["Wiki.example"]}, "neither a DNS name in lower case nor a URI"),
        ({"certificate_names": [""]}, "neither a DNS name in lower case nor a URI"),
    ],
)
def test_clients_that_nobody_or_everybody_would_be_are_refused(kind: type, options: dict[str, object], reason: str) -> None:
    grants: dict[str, object] = {"grants": {}} if kind is SessionClientConfig else {}
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.convert({"name": "wiki", **grants, **options}, kind)


def test_a_certificate_of_a_client_is_no_authority_of_clients(tmp_path: pathlib.Path) -> None:
    authority = Authority(tmp_path)
    server, leaf = authority.issue("server", "localhost", use=SERVER), authority.issue("client", "wiki.example")
    clock = SystemClock()
    whole = tls_config(server, client_ca=authority)
    assert load_credentials(whole, now_s=clock.now_ms() / 1000, where="http.tls").client_ca_expires_s is not None
    with pytest.raises(InvalidConfig, match="none of an authority") as refused:
        load_credentials(msgspec.structs.replace(whole, client_ca=str(leaf.certificate)), now_s=clock.now_ms() / 1000, where="http.tls")
    assert refused.value.where == "http.tls.client_ca"


@pytest.mark.parametrize(("owner", "is_taken"), [(1000, True), (0, True), (1001, False)])
def test_a_private_key_belongs_to_the_user_of_the_process_or_to_root(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, owner: int, is_taken: bool
) -> None:
    config = tls_config(Authority(tmp_path).issue("server", "localhost", use=SERVER))
    real = pathlib.Path.stat

    def owned(path: pathlib.Path, **more: Any) -> os.stat_result:
        found = real(path, **more)
        return os.stat_result((*found[:4], owner, *found[5:])) if str(path) == config.private_key else found

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(pathlib.Path, "stat", owned)
    if is_taken:
        assert load_credentials(config, now_s=SystemClock().now_ms() / 1000, where="http.tls").certificate_expires_s > 0
        return
    with pytest.raises(InvalidConfig, match="a file of the user of this process, or of root") as refused:
        load_credentials(config, now_s=SystemClock().now_ms() / 1000, where="http.tls")
    assert refused.value.where == "http.tls.private_key"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (ClientConfig(name="other", certificate_names=("a.example", "wiki.example")), "the same certificate name"),
        (ClientConfig(name="wiki", certificate_names=("other.example",)), "the same name"),
    ],
)
def test_clients_that_one_caller_could_be_are_refused(other: ClientConfig, reason: str) -> None:
    with pytest.raises(InvalidConfig, match=reason):
        Clients((WIKI, other))


@pytest.mark.parametrize("kind", [ClientConfig, SessionClientConfig, TableClientConfig])
@pytest.mark.parametrize("name", ["", "anonymous", "Wiki", "a wiki", "-wiki", "w" * 65])
def test_the_name_of_a_client_fits_logs_and_is_nobody_elses(kind: type[msgspec.Struct], name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="a client's name is"):
        msgspec.convert({"name": name, "certificate_names": ["wiki.example"], "grants": {} if kind is not ClientConfig else []}, kind)


def test_names_at_a_listener_that_asks_for_none_are_refused() -> None:
    for http in (HttpLimits(), HttpLimits(tls=TLS)):
        with pytest.raises(InvalidConfig, match="nobody is asked") as refused:
            check(HeadwaterConfig(clients=(WIKI,), http=http))
        assert refused.value.where == "http.tls"
    check(HeadwaterConfig(clients=(WIKI,), http=HttpLimits(tls=WITH_CA)))
    with pytest.raises(InvalidConfig, match="nobody is asked") as refused:
        client = SessionClientConfig(name="wiki", certificate_names=("wiki.example",), grants={})
        check(HeadwaterConfig(sessions=SessionsConfig(clients=(client,))))
    assert refused.value.where == "sessions.http.tls"


def test_half_a_pair_and_no_time_are_refused() -> None:
    with pytest.raises(ValueError, match="go together"):
        AskingConfig(certificate="operator.pem")
    with pytest.raises(ValueError, match="above 0"):
        TlsConfig(certificate="server.pem", private_key="server.key", handshake_timeout=Seconds(0))


def test_a_reload_changes_files_and_not_whether_tls_is_spoken() -> None:
    plain, secured = HeadwaterConfig(), HeadwaterConfig(http=HttpLimits(tls=TLS))
    assert differences(plain, secured).at_next_start == ("http.tls",)
    other = TlsConfig(
        certificate="other.pem", private_key="other.key", client_ca="ca.pem", client_certificates=ClientCertificates.OPTIONAL,
        handshake_timeout=Seconds(1),
    )  # fmt: skip
    found = differences(secured, HeadwaterConfig(http=HttpLimits(tls=other)))
    assert set(found.at_once) == {f"http.tls.{option}" for option in ("certificate", "private_key", "client_ca", "client_certificates")}
    assert found.at_next_start == ("http.tls.handshake_timeout",)


def test_without_clients_a_certificate_changes_nothing() -> None:
    assert Clients(()).identify([], ("wiki.example",)).may("anything")


def test_a_header_that_is_no_token_is_refused_beside_a_certificate_too() -> None:
    with pytest.raises(Unauthenticated, match="no bearer token"):
        Clients((WIKI,)).identify([(b"authorization", b"Basic abc")], ("wiki.example",))

"""The section `sessions`: an empty one works, and what could never work is refused with its place."""

import pathlib
from typing import Annotated

import pytest

from headwater.http.config import HttpLimits
from headwater.kernel.config import Bytes, Seconds, Section, doc
from headwater.kernel.configfile import load
from headwater.kernel.errors import InvalidConfig
from headwater.sessions.config import SessionsConfig, Strictness, Verb
from headwater.sessions.model import KeyEntropy, Policy


class File(Section, frozen=True):
    """A file with nothing but sessions."""

    sessions: Annotated[SessionsConfig, doc("Sessions.")] = SessionsConfig()


def read(tmp_path: pathlib.Path, text: str) -> SessionsConfig:
    path = tmp_path / "headwater.yaml"
    path.write_text(text)
    config = load(File, path=path, environ={}).sessions
    config.check()
    return config


def test_nothing_configured_is_a_service_for_mediawiki() -> None:
    config = SessionsConfig()
    assert config.bases() == {"/sessions/v1/": "sessions"} and config.listen == "127.0.0.1:8081"
    assert config.policies() == (Policy("sessions"),)
    assert config.strict is Strictness.NONE and not config.clients


def test_no_read_waits_for_a_place_and_bodies_are_cut_after_ten_seconds() -> None:
    limits = SessionsConfig().http
    assert isinstance(limits, HttpLimits)
    assert limits.concurrency_max >= limits.connections_hard_max
    assert {float(limits.header_timeout), float(limits.body_timeout), float(limits.body_time_max)} == {10.0}


def test_a_whole_section_is_read(tmp_path: pathlib.Path) -> None:
    config = read(
        tmp_path,
        """
sessions:
  listen: 127.0.0.1:9000
  strict: kask
  hosts: [sessions.example]
  namespaces:
    wiki: {base: /wiki/v1/, ttl: 2h, idle: 30m, absolute: 7d, rows_max: 10, bytes_max: 1MiB,
           writes_per_second_max: 5.5, scan_subjects: true}
    echo: {ttl: 365d, key_entropy: low, key_bytes_max: 64B, value_bytes_max: 2KiB}
  clients:
    - name: app
      token_sha256: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
      grants: {wiki: [read, write], "*": [delete]}
  http: {idle_timeout: 5s}
""",
    )
    wiki, echo = config.policies()
    assert wiki == Policy("wiki", 7200.0, 1800.0, 604_800.0, 1 << 20, 512, 10, 1 << 20, 5.5, KeyEntropy.HIGH, True)
    assert (echo.ttl_s, echo.key_entropy, echo.key_bytes_max, echo.value_bytes_max) == (31_536_000, KeyEntropy.LOW, 64, 2048)
    assert config.clients[0].grants == {"wiki": (Verb.READ, Verb.WRITE), "*": (Verb.DELETE,)}
    assert config.http.concurrency_max >= config.http.connections_hard_max and config.http.idle_timeout == Seconds(5)
    assert config.subject_bytes_max == Bytes(256)


TOKEN = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("namespaces: {}", "at least one namespace"),
        ("namespaces: {Bad: {}}", "name of a namespace"),
        ("namespaces: {a: {base: sessions}}", "base is a path"),
        ("namespaces: {a: {base: /}}", "base is a path"),
        ("namespaces: {a: {base: /a/../}}", "base is a path"),
        ("namespaces: {a: {base: /a//}}", "base is a path"),
        ("namespaces: {a: {base: /v2/a/}}", "base is a path"),
        ("namespaces: {a: {base: /metrics/}}", "base is a path"),
        ("namespaces: {a: {base: /x/}, b: {base: /x/}}", "two namespaces"),
        ("namespaces: {a: {base: /x/}, b: {base: /x/y/}}", "holds that of another"),
        ("namespaces: {a: {ttl: 0s}}", "at least 1s"),
        ("namespaces: {a: {idle: 0s}}", "at least 1s"),
        ("namespaces: {a: {rows_max: 0}}", "quotas"),
        ("namespaces: {a: {key_bytes_max: 4KiB}}", "key_bytes_max"),
        ("namespaces: {a: {value_bytes_max: 0B}}", "value_bytes_max"),
        ("clients: [{name: A B, token_sha256: " + TOKEN + ", grants: {}}]", "client's name"),
        ("clients: [{name: anonymous, token_sha256: " + TOKEN + ", grants: {}}]", "client's name"),
        ("clients: [{name: a, token_sha256: " + TOKEN + ", grants: {nope: [read]}}]", "no namespace"),
        ("clients: [{name: a, token_sha256: abc, grants: {}}]", "token_sha256"),
        (
            "clients: [{name: a, token_sha256: " + TOKEN + ", grants: {}}, {name: b, token_sha256: " + TOKEN.upper() + ", grants: {}}]",
            "same token",
        ),
        ("misses_per_second: 0.0", "misses_per_second"),
        ("subject_bytes_max: 1KiB", "subject_bytes_max"),
        ("hosts: ['Example:80']", "a host is"),
        ("shedding: {anonymous_writes_max: 10, writes_max: 9}", "anonymous_writes_max"),
        ("http: {concurrency_max: 100}", "concurrency_max"),
        ("listen: nowhere", "host:port"),
        ("strict: yes-please", "strict"),
    ],
)
def test_what_could_never_work_is_refused(tmp_path: pathlib.Path, text: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        read(tmp_path, f"sessions:\n  {text}\n")
    assert said in f"{refused.value.where} {refused.value.detail}" and "sessions" in str(refused.value.where)

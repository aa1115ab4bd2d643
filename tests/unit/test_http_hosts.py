"""Which names in `Host` are answered."""

import pytest

from headwater.http.hosts import Hosts, hosts_of, is_host
from headwater.kernel.errors import InvalidConfig


def answers(hosts: Hosts | None, *values: bytes) -> bool:
    """Whether a request with such headers is answered."""
    return hosts is None or hosts.answer([(b"accept", b"evil.example"), *((b"host", value) for value in values)])


LOOPBACK = (
    b"localhost",
    b"LocalHost:8081",
    b"127.0.0.1",
    b"127.0.0.1:",
    b"127.0.0.1:80 \t",
    b"127.9.9.9",
    b"[::1]",
    b"[::1]:8081",
    b"[0:0:0:0:0:0:0:1]",
)
FOREIGN = (
    *(
        b"evil.example",
        b"evil.example:8081",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"localhost.",
        b"192.0.2.1",
        b"[2001:db8::1]",
    ),
    *(b"0.0.0.0", b"127.1", b"2130706433", b"0x7f.0.0.1", b"localhost:80:80", b"", b"\xff"),
)


@pytest.mark.parametrize("listen", ["127.0.0.1:8081", "localhost:8081", "[::1]:8081", "127.0.0.7:8081"])
def test_on_loopback_names_of_loopback_are_answered_and_those_that_are_configured(listen: str) -> None:
    for names in ((), ("pages.example", "[2001:db8::2]")):
        hosts = hosts_of(listen, names)
        for _ in range(2):  # what was answered is remembered
            assert all(answers(hosts, value) for value in LOOPBACK)
            assert not any(answers(hosts, value) for value in FOREIGN)
            assert answers(hosts, b"pages.example") is answers(hosts, b"Pages.Example:443") is bool(names)
            assert answers(hosts, b"[2001:DB8::2]:80") is bool(names)
            assert not answers(hosts, b"more.pages.example")
        assert not answers(hosts, b"localhost", b"evil.example")


def test_elsewhere_all_are_answered_unless_some_are_configured() -> None:
    assert hosts_of("0.0.0.0:8081", ()) is None and hosts_of("data.example:8081", ()) is None
    hosts = hosts_of("192.0.2.7:8081", ("data.example",))
    assert all(answers(hosts, value) for value in (b"data.example", b"192.0.2.7:8081", b"localhost"))
    assert not any(answers(hosts, value) for value in (b"evil.example", b"192.0.2.8"))
    assert answers(hosts_of("[2001:db8::1]:80", ("data.example",)), b"[2001:db8::1]")
    with pytest.raises(InvalidConfig):
        hosts_of("nowhere", ())


def test_many_spellings_are_not_all_remembered() -> None:
    hosts = Hosts(())
    assert all(answers(hosts, b"localhost:%d" % port) for port in range(1, 1000))
    assert not answers(hosts, b"evil.example:1")


def test_names_as_they_are_configured() -> None:
    assert all(map(is_host, ("data.example", "192.0.2.1", "[::1]", "a_b-c")))
    assert not any(map(is_host, ("", "Data.example", "data.example:80", "::1", "*.example", "a b")))

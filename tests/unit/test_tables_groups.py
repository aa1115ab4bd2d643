"""Which group a domain belongs to, and what a domain is."""

from dataclasses import dataclass

import pytest

from headwater.kernel.errors import InvalidConfig, InvalidInput
from headwater.tables.errors import NoSuchDomain
from headwater.tables.groups import Groups, check_domain


@dataclass(frozen=True)
class Group:
    name: str
    domains: tuple[str, ...]


GROUPS = Groups(
    [
        Group("english", ("en.example", "simple.example")),
        Group("wikis", (r"/[a-z-]+\.example/",)),
        Group("either", ("/a|b/",)),
        Group("last", (r"/.*\.test/", "xn--e1afmkfd.test")),
    ]
)


@pytest.mark.parametrize(
    ("domain", "group"),
    [
        ("en.example", "english"),
        ("simple.example", "english"),
        ("de.example", "wikis"),
        ("zh-yue.example", "wikis"),
        ("b", "either"),
        ("a.b.test", "last"),
        ("xn--e1afmkfd.test", "last"),
    ],
)
def test_the_first_group_that_holds_a_domain_is_its_group(domain: str, group: str) -> None:
    assert GROUPS.group_of(domain) == group
    assert GROUPS.group_of(domain) == group  # the answer that was kept is the same


@pytest.mark.parametrize("domain", ["example", "en.example.org", "a.en.example", "ab", "enxexample", "en.example:80"])
def test_a_domain_that_no_group_holds_as_a_whole_is_nobodys(domain: str) -> None:
    for _ in range(2):
        with pytest.raises(NoSuchDomain) as caught:
            GROUPS.group_of(domain)
        assert caught.value.code == "no-such-domain"


def test_without_groups_each_domain_is_its_own() -> None:
    assert Groups([]).group_of("en.example") == "en.example"
    assert Groups([]).group_of("localhost:8080") == "localhost:8080"


@pytest.mark.parametrize("domain", ["a", "0", "en.wikipedia.org", "localhost:8080", "a-b.c", "a" * 255, "xn--a"])
def test_these_are_domains(domain: str) -> None:
    assert check_domain(domain) == domain


@pytest.mark.parametrize(
    "domain", ["", "*", "En.example", "a..b", ".", "..", ".a", "a.", "-a", "a/b", "a b", "a\n", "ä", "a_b", "a" * 256, "a%2e", "::1"]
)
def test_these_are_none(domain: str) -> None:
    for refuse in (check_domain, GROUPS.group_of, Groups([]).group_of):
        with pytest.raises(InvalidInput) as caught:
            refuse(domain)
        assert caught.value.where == "domain"


@pytest.mark.parametrize("domain", ["/(/", "/a{2,1}/", "En.example", "*", "/", "//", ""])
def test_groups_that_cannot_be_read_are_refused(domain: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        Groups([Group("g", (domain,))])
    assert caught.value.where == "tables.groups.g.domains"

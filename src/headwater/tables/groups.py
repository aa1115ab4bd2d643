"""Which storage group a domain belongs to: domains of a group share the schemas of their tables, and nothing else. Pure.

The first group that holds a domain is its group. Without any group each domain is one of its own, under its own name. `*` is no domain but
all of them: what is declared on it holds for every domain, and no row lies under it.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from headwater.kernel.errors import InvalidConfig, InvalidInput
from headwater.tables.config import EVERY
from headwater.tables.errors import NoSuchDomain

DOMAIN_CHARS_MAX = 255
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.:-]*[a-z0-9])?")
_CACHED_MAX = 10_000


class Group(Protocol):
    """A group as the configuration has it: domains are literal, or regular expressions between slashes."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def domains(self) -> Sequence[str]:
        """What it holds."""
        ...


class Groups:
    """The groups in their order, with the answers of late kept."""

    def __init__(self, groups: Sequence[Group]) -> None:
        """Raises InvalidConfig: an expression is none, or a domain is none."""
        self._groups = [(group.name, [_expression(domain, group.name) for domain in group.domains]) for group in groups]
        self._named = {group.name: tuple(group.domains) for group in groups}
        self._find = lru_cache(maxsize=_CACHED_MAX)(self._search)

    def group_of(self, domain: str) -> str:
        """The group of a domain.

        Raises:
            InvalidInput: `domain` is no domain.
            NoSuchDomain: there are groups, and none holds it.
        """
        found = self._find(check_domain(domain))
        if found is None:
            raise NoSuchDomain("no storage group holds this domain", where="domain")
        return found

    def sharing(self, domain: str) -> Sequence[str]:
        """The domains whose schemas are those of a domain, itself among them; `*` for those of an expression. Raises as `group_of`."""
        group = self.group_of(domain)
        named = self._named.get(group, (domain,))
        return [EVERY if _is_expression(one) else one for one in named if _is_expression(one) or self.group_of(one) == group]

    def _search(self, domain: str) -> str | None:
        if not self._groups:
            return domain
        return next((name for name, expressions in self._groups if any(one.fullmatch(domain) for one in expressions)), None)


def check_domain(domain: str) -> str:
    """`domain` where it is one: lower-case letters, digits, `-`, `.` and, before a port, `:`.

    Raises:
        InvalidInput: it is none.
    """
    if len(domain) > DOMAIN_CHARS_MAX or _DOMAIN.fullmatch(domain) is None or ".." in domain:
        raise InvalidInput(
            f"a domain is 1 to {DOMAIN_CHARS_MAX} lower-case letters, digits and - . : and neither begins nor ends with one of the latter",
            where="domain",
        )
    return domain


def _is_expression(domain: str) -> bool:
    return len(domain) > 2 and domain[0] == domain[-1] == "/"


def _expression(domain: str, group: str) -> re.Pattern[str]:
    where = f"tables.groups.{group}.domains"
    if _is_expression(domain):
        try:
            return re.compile(domain[1:-1], re.ASCII)
        except re.error as error:
            raise InvalidConfig(f"{domain} is no regular expression: {error}", where=where) from error
    try:
        return re.compile(re.escape(check_domain(domain)))
    except InvalidInput as error:
        raise InvalidConfig(f"{domain!r}: {error.detail}", where=where) from error

"""What can be checked of a configuration without starting anything: addresses, clients, schemas, streams, purge targets."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from headwater.app.config import HeadwaterConfig
from headwater.app.events_role import rules_of
from headwater.app.roles import SESSIONS
from headwater.app.tls import credentials_of
from headwater.http.auth import Clients, demand_clients
from headwater.http.certificates import asking_context
from headwater.http.config import parse_listen
from headwater.kernel.clock import SystemClock
from headwater.kernel.errors import HeadwaterError, InvalidConfig

_PLACEHOLDERS = ("title", "variant")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: how many schemas there are, and what works and yet somebody should know."""

    schemas: int
    warnings: tuple[str, ...] = ()


def check_everything(config: HeadwaterConfig) -> Checked:
    """Check everything that a start would refuse.

    Raises:
        InvalidConfig: `where` names the option.
    """
    clients = Clients(config.clients)
    _check_tls(config)
    for role, listen in config.listens().items():
        if role == SESSIONS:
            continue  # it has clients of its own
        host, _ = parse_listen(listen)
        try:
            demand_clients(host, clients)
        except HeadwaterError as error:
            raise InvalidConfig(error.detail, where=f"{role}.listen") from error
    for wiki, wiki_config in config.wikis.items():
        addresses = {"api_url": (wiki_config.api_url,), "page_urls": wiki_config.page_urls, "history_urls": wiki_config.history_urls}
        for option, urls in addresses.items():
            for url in urls:
                _check_url(url, where=f"wikis.{wiki}.{option}")
                if option != "api_url":
                    _check_placeholders(url, where=f"wikis.{wiki}.{option}")
    warnings = tuple(
        f"sessions.namespaces.{name}: keys can be guessed (key_entropy: low), so the database opens for whoever has the service keys too"
        for name in config.sessions.guessable()
    )
    return Checked(schemas=len(rules_of(config).schemas.uris()), warnings=warnings)


def _check_tls(config: HeadwaterConfig) -> None:
    """Read the files of every listener, and those that our own clients ask them with."""
    for where, limits in (("http", config.http), ("sessions.http", config.sessions.http)):
        credentials_of(limits, clock=SystemClock(), where=where)
        if limits.tls is not None:
            asking_context(limits.tls.asking, where=f"{where}.tls.asking")


def _check_placeholders(url: str, *, where: str) -> None:
    names = re.findall(r"\{(.*?)\}", url)
    unknown = [name for name in names if name not in _PLACEHOLDERS]
    if unknown:
        raise InvalidConfig(f"{url!r} holds {{{unknown[0]}}}, but only {{title}} and {{variant}} are filled in", where=where)
    if "title" not in names:
        raise InvalidConfig(f"{url!r} holds no {{title}}: it would be one address for all pages", where=where)


def _check_url(url: str, *, where: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidConfig(f"expected an address such as https://rivers.example/…, got {url!r}", where=where)

"""The whole configuration file: one section per room, everything with a default, so that Headwater starts without a file."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from headwater.app.logging_config import LoggingConfig
from headwater.app.sessions_config import DATA_DIR, SessionsFile, check_sessions, places_of
from headwater.console.config import ConsoleConfig
from headwater.events.config import EventsConfig
from headwater.http.certificates import check_tls
from headwater.http.config import ClientConfig, HttpLimits, parse_listen
from headwater.http.hosts import is_host
from headwater.kernel.config import Section, doc
from headwater.kernel.configfile import load
from headwater.kernel.errors import InvalidConfig
from headwater.log.config import LogConfig
from headwater.mediawiki.config import Source, WikiConfig
from headwater.propagation.config import PropagationConfig
from headwater.purging.config import PurgingConfig
from headwater.sessions.config import SessionsConfig
from headwater.sqlite.config import StorageConfig
from headwater.tables.config import TablesConfig

_WIKI_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class HeadwaterConfig(Section, frozen=True):
    """Everything that is no section of its own."""

    data_dir: Annotated[str, doc("Directory of all data; one process owns it, and that of sessions the folder `sessions` in it.")] = (
        DATA_DIR
    )
    log: Annotated[LogConfig, doc("The log.")] = LogConfig()
    wikis: Annotated[dict[str, WikiConfig], doc("The wikis by id, `[a-z0-9_-]`; the id stands in addresses and stream names.")] = {}
    events: Annotated[EventsConfig, doc("The intake.")] = EventsConfig()
    propagation: Annotated[PropagationConfig, doc("Propagation and the pages API.")] = PropagationConfig()
    purging: Annotated[PurgingConfig, doc("Caches and how they are purged.")] = PurgingConfig()
    sessions: Annotated[SessionsConfig, doc("Sessions.")] = SessionsConfig()
    tables: Annotated[TablesConfig, doc("Tables.")] = TablesConfig()
    console: Annotated[ConsoleConfig, doc("The status page.")] = ConsoleConfig()
    clients: Annotated[
        tuple[ClientConfig, ...], doc("Who may call. Without any, every caller on this machine may do everything, and no other is let in.")
    ] = ()
    hosts: Annotated[
        tuple[str, ...],
        doc(
            "Names in `Host` that all roles but sessions answer, beside loopback ones and the address that they listen on; other names are "
            "answered 421. Without any a role that listens on loopback answers no others, and one that listens elsewhere answers all."
        ),
    ] = ()
    http: Annotated[HttpLimits, doc("Limits and deadlines of every listener.")] = HttpLimits()
    logging: Annotated[LoggingConfig, doc("Logs.")] = LoggingConfig()
    storage: Annotated[StorageConfig, doc("The SQLite files.")] = StorageConfig()

    def listens(self) -> dict[str, str]:
        """The address of each role."""
        return {
            "events": self.events.listen,
            "propagation": self.propagation.listen,
            "purging": self.purging.listen,
            "sessions": self.sessions.listen,
            "tables": self.tables.listen,
            "console": self.console.listen,
        }

    def has_sessions(self) -> bool:
        """Whether sessions are meant to run: they are configured, or have run here before."""
        own = places_of(SessionsFile(data_dir=self.data_dir, sessions=self.sessions)).own
        return self.sessions != SessionsConfig() or own.exists()

    def followed(self) -> dict[str, WikiConfig]:
        """The wikis whose recent changes Headwater polls."""
        return {wiki: config for wiki, config in self.wikis.items() if config.source is not Source.INTAKE}


def load_config(path: Path | None, environ: Mapping[str, str]) -> HeadwaterConfig:
    """The configuration of the file at `path` (None: no file) under the environment, checked as a whole.

    Raises:
        InvalidConfig: `where` names file and line, or the variable, and the option.
    """
    config = load(HeadwaterConfig, path=path, environ=environ)
    check(config)
    return config


def check(config: HeadwaterConfig) -> None:
    """Refuse what no single section can see to be wrong.

    Raises:
        InvalidConfig: `where` names the option.
    """
    for wiki, wiki_config in config.wikis.items():
        if _WIKI_ID.fullmatch(wiki) is None:
            raise InvalidConfig("the id of a wiki is 1 to 64 of a-z, 0-9, _ and -", where=f"wikis.{wiki}")
        if not wiki_config.domains:
            raise InvalidConfig("a wiki has at least one domain", where=f"wikis.{wiki}.domains")
    for domain, count in Counter(domain for wiki_config in config.wikis.values() for domain in wiki_config.domains).items():
        if count > 1:
            raise InvalidConfig(f"domain {domain} belongs to {count} wikis", where="wikis")
    for wiki in config.propagation.read_policies:
        if wiki not in config.wikis:
            raise InvalidConfig(f"no wiki is called {wiki}", where=f"propagation.read_policies.{wiki}")
    if not all(map(is_host, config.hosts)):
        raise InvalidConfig("a host is a name in lower case or an address, IPv6 in brackets, without a port", where="hosts")
    check_sessions(config.sessions)
    check_tls(config.http, [client.certificate_names for client in config.clients], where="http.tls")
    _check_listens(config.listens())


def _check_listens(listens: dict[str, str]) -> None:
    taken: dict[tuple[str, int], str] = {}
    for role, listen in listens.items():
        try:
            address = parse_listen(listen)
        except InvalidConfig as error:
            raise InvalidConfig(error.detail, where=f"{role}.listen") from error
        if address[1] != 0 and address in taken:
            raise InvalidConfig(f"{listen} is the address of {taken[address]} too", where=f"{role}.listen")
        taken[address] = role

"""What the process of sessions reads of the configuration file. Loads no other service.

The sections of other roles are passed over unread, because understanding them would load those roles; `headwater check` and
`headwater up` read the whole file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from headwater.app.logging_config import LoggingConfig
from headwater.http.auth import demand_clients
from headwater.http.certificates import check_tls
from headwater.http.config import parse_listen
from headwater.kernel.config import Section, doc
from headwater.kernel.configfile import load
from headwater.sessions.config import SessionsConfig
from headwater.sqlite.config import StorageConfig

DATA_DIR = "./headwater-data"
OTHERS = frozenset({"log", "wikis", "events", "propagation", "purging", "tables", "console", "clients", "http"})
"""Sections that only other processes read."""


class SessionsFile(Section, frozen=True):
    """The part of the file that concerns sessions; the names are those of the whole configuration."""

    data_dir: Annotated[str, doc("Directory of all data; sessions keep theirs in a folder of their own below it.")] = DATA_DIR
    sessions: Annotated[SessionsConfig, doc("Sessions.")] = SessionsConfig()
    logging: Annotated[LoggingConfig, doc("Logs.")] = LoggingConfig()
    storage: Annotated[StorageConfig, doc("The SQLite files.")] = StorageConfig()


def load_sessions_config(path: Path | None, environ: Mapping[str, str]) -> SessionsFile:
    """What the file at `path` (None: no file) and the environment say of sessions.

    Raises:
        InvalidConfig: `where` names file and line, or the variable, and the option.
    """
    config = load(SessionsFile, path=path, environ=environ, others=OTHERS)
    check_sessions(config.sessions)
    return config


def check_sessions(config: SessionsConfig) -> None:
    """Refuse what a start would refuse.

    Raises:
        InvalidConfig: `where` names the option.
    """
    config.check()
    demand_clients(parse_listen(config.listen)[0], config.clients, section="sessions.")
    check_tls(config.http, [client.certificate_names for client in config.clients], where="sessions.http.tls")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of sessions lie.

    Attributes:
        own: the directory of sessions alone.
        keys: the directory of the service keys.
        keys_are_given: whether an operator named it, and so makes the keys too.
    """

    own: Path
    keys: Path
    keys_are_given: bool

    @property
    def store(self) -> Path:
        """The file of the sessions."""
        return self.own / "sessions.sqlite"

    @property
    def audit(self) -> Path:
        """One line of JSON for every administrative act on the files."""
        return self.own / "audit.jsonl"

    @property
    def invalidate(self) -> Path:
        """While this file is there, every session is to be invalidated before any is served."""
        return self.own / "invalidate-sessions"

    @property
    def writing_key(self) -> Path:
        """The id of the key that the process last started or told to reload writes under."""
        return self.own / "writing-key"

    @property
    def keys_in_use(self) -> Path:
        """The ids of the keys that the process last started or told to reload reads with."""
        return self.own / "keys-in-use"


def places_of(config: SessionsFile) -> Places:
    """Where this configuration puts the files."""
    own = Path(config.sessions.data_dir) if config.sessions.data_dir is not None else Path(config.data_dir) / "sessions"
    given = config.sessions.keys.directory
    return Places(own, Path(given) if given is not None else own / "keys", given is not None)

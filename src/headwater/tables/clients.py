"""Who may do what with which table.

A refusal comes before anything is looked up, so it tells nothing of whether a domain or table exists.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headwater.http.auth import Clients
from headwater.http.config import ClientConfig
from headwater.http.messages import Client
from headwater.kernel.errors import Forbidden, Unauthenticated
from headwater.tables.config import EVERY, TableClientConfig, TablesConfig, Verb

_NOBODY = "anonymous"


@dataclass(frozen=True, slots=True)
class Caller(Client):
    """A client of this service.

    Attributes:
        rights: verbs by domain and table, either of them also `*`; None: everything.
    """

    rights: dict[tuple[str, str], frozenset[Verb]] | None = field(default_factory=dict)


_EVERYBODY = Caller(_NOBODY, rights=None)
_STRANGER = Caller(_NOBODY)


class Callers:
    """The clients of the service (an `Authenticator`); none: everybody who can reach it may do everything."""

    def __init__(self, config: TablesConfig) -> None:
        clients = config.clients
        self._clients = Clients(
            [ClientConfig(name=one.name, token_sha256=one.token_sha256, certificate_names=one.certificate_names) for one in clients]
        )
        self._callers = {client.name: _caller(client) for client in clients}

    def __len__(self) -> int:
        return len(self._clients)

    def identify(self, headers: Iterable[tuple[bytes, bytes]], certificate_names: Sequence[str] = ()) -> Client:
        """The caller of the bearer token in `Authorization`, or of the certificate. Raises Unauthenticated."""
        if not self._callers:
            return _EVERYBODY
        return self._callers.get(self._clients.identify(headers, certificate_names).name, _STRANGER)


def permit(client: Client, verb: Verb, domain: str, table: str) -> None:
    """Let `client` pass if it may do `verb` with a table of a domain; with the domain `*` only who may in all of them.

    Raises:
        Unauthenticated: a stranger.
        Forbidden: it may not.
    """
    if may(client, verb, domain, table):
        return
    if client is _STRANGER:
        raise Unauthenticated("this needs a bearer token: Authorization: Bearer TOKEN, in the command --token", where="authorization")
    raise Forbidden(f"client {client.name} may not {verb.value} this table")


def may(client: Client, verb: Verb, domain: str, table: str) -> bool:
    """Whether `client` may do `verb` with a table of a domain."""
    assert isinstance(client, Caller)
    rights = client.rights
    if rights is None:
        return True
    of = rights.get
    return (
        verb in of((domain, table), ())
        or verb in of((domain, EVERY), ())
        or verb in of((EVERY, table), ())
        or verb in of((EVERY, EVERY), ())
    )


def _caller(client: TableClientConfig) -> Caller:
    rights = {(domain, table): frozenset(verbs) for domain, tables in client.grants.items() for table, verbs in tables.items()}
    return Caller(client.name, rights=rights)

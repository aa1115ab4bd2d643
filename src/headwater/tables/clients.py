"""Who may do what with which table.

A refusal comes before anything is looked up, so it tells nothing of whether a domain or table exists.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

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
        self._known = tuple((bytes.fromhex(client.token_sha256), _caller(client)) for client in config.clients)

    def __len__(self) -> int:
        return len(self._known)

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Client:
        """The caller whose bearer token stands in `Authorization`; every hash is compared in full.

        Raises:
            Unauthenticated: not a bearer token, an unknown one, or more than one header.
        """
        if not self._known:
            return _EVERYBODY
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return _STRANGER
        scheme, _, token = given[0].partition(b" ")
        digest = hashlib.sha256(token.strip()).digest()
        found = _STRANGER
        for known, caller in self._known:
            found = (found, caller)[hmac.compare_digest(known, digest)]
        if found is _STRANGER or scheme.lower() != b"bearer" or len(given) > 1:
            raise Unauthenticated("the bearer token is not known", where="authorization")
        return found


def permit(client: Client, verb: Verb, domain: str, table: str) -> None:
    """Let `client` pass if it may do `verb` with a table of a domain; with the domain `*` only who may in all of them.

    Raises:
        Unauthenticated: a stranger.
        Forbidden: it may not.
    """
    if may(client, verb, domain, table):
        return
    if client is _STRANGER:
        raise Unauthenticated("this needs a bearer token", where="authorization")
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

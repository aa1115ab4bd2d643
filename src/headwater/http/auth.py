"""Who calls: bearer tokens of the clients that the configuration names.

Only hashes of tokens are kept. Without clients every caller is `anonymous` and may do everything, which is allowed on loopback alone.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Protocol

from headwater.http.config import ClientConfig
from headwater.http.messages import Client
from headwater.kernel.errors import Forbidden, InvalidConfig, Unauthenticated

_OPEN = Client("anonymous", frozenset({"*"}))
_STRANGER = Client("anonymous")


class Authenticator(Protocol):
    """Who may call an application, and how that is found out. Empty: everybody, which is allowed on loopback alone."""

    def __len__(self) -> int:
        """The number of clients that are known."""
        ...

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Client:
        """The caller who sent these headers (lower-case names).

        Raises:
            Unauthenticated: what they say of the caller is not true.
        """
        ...


class Clients:
    """The clients of one application."""

    def __init__(self, clients: Sequence[ClientConfig]) -> None:
        self._clients = [(bytes.fromhex(client.token_sha256), _client(client)) for client in clients]
        if len({client.name for _, client in self._clients}) < len(clients):
            raise InvalidConfig("two clients have the same name", where="clients")

    def __len__(self) -> int:
        return len(self._clients)

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Client:
        """The caller whose bearer token stands in the first `Authorization` header. Raises Unauthenticated."""
        return self.authenticate(next((value.decode("latin-1") for name, value in headers if name == b"authorization"), None))

    def authenticate(self, authorization: str | None) -> Client:
        """The caller who sent this `Authorization` header; without one, or without clients, `anonymous`.

        Every client's hash is compared in full, so that time tells nothing of which one is near.

        Raises:
            Unauthenticated: not a bearer token, or an unknown one.
        """
        if not self._clients:
            return _OPEN
        if authorization is None:
            return _STRANGER
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("the Authorization header holds no bearer token", where="authorization")
        digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
        found = [client for known, client in self._clients if hmac.compare_digest(known, digest)]
        if not found:
            raise Unauthenticated("the bearer token is not known", where="authorization")
        return found[0]


def _client(client: ClientConfig) -> Client:
    return Client(client.name, frozenset(client.grants), frozenset(client.domains) if client.domains else None)


def refuse_pages_of_others(headers: Mapping[str, str]) -> None:
    """Refuse what the page of some web site has a browser send; for operations that change something and ask for no token.

    The browser of a person on this machine reaches its loopback addresses, and sends plain posts there for any site, also under
    a name that the site lets point there. Then it says so: every browser names the origin of a post, and no other caller does.

    Raises:
        Forbidden: a browser sent it.
    """
    if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
        raise Forbidden("pages in a browser may change nothing here while no clients are configured", where="origin")


def demand(client: Client, grant: str | None) -> None:
    """Let `client` pass if it holds `grant`; None is for all.

    Raises:
        Unauthenticated: a stranger asks for what needs a grant.
        Forbidden: the client is known and lacks the grant.
    """
    if grant is None or client.may(grant):
        return
    if client is _STRANGER:
        raise Unauthenticated("this needs a bearer token", where="authorization")
    raise Forbidden(f"client {client.name} lacks the grant {grant}")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def demand_clients(host: str, clients: Sized) -> None:
    """Refuse to be open to other machines.

    Raises:
        InvalidConfig: `host` is not loopback and no clients are configured.
    """
    if not clients and not is_loopback(host):
        raise InvalidConfig(f"{host} is reachable from other machines: configure `clients`, or listen on 127.0.0.1", where="listen")

"""Who calls: bearer tokens, and names of certificates, of the clients that the configuration names.

Only hashes of tokens are kept. A client that has both a token and names is known by either; who shows those of two clients is nobody.
Without clients every caller is `anonymous` and may do everything, which is allowed on loopback alone.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Protocol

from headwater.http.config import ClientConfig, check_distinct
from headwater.http.messages import Client
from headwater.kernel.errors import Forbidden, InvalidConfig, Unauthenticated

_OPEN = Client("anonymous", frozenset({"*"}))
_STRANGER = Client("anonymous")


class Authenticator(Protocol):
    """Who may call an application, and how that is found out. Empty: everybody, which is allowed on loopback alone."""

    def __len__(self) -> int:
        """The number of clients that are known."""
        ...

    def identify(self, headers: Iterable[tuple[bytes, bytes]], certificate_names: Sequence[str] = ()) -> Client:
        """The caller who sent these headers (lower-case names) over a connection with a verified certificate of these names.

        Raises:
            Unauthenticated: what they say of the caller is not true.
        """
        ...


class Names:
    """Whose certificate it is: the names of all clients, each compared in full."""

    def __init__(self, names: Iterable[tuple[str, int]]) -> None:
        """`names` come with the number of the client that has them."""
        self._known = tuple((_digest(name), owner) for name, owner in names)

    def owners(self, presented: Sequence[str]) -> frozenset[int]:
        """The numbers of the clients that have any of the names."""
        digests = [_digest(name) for name in presented]
        return frozenset([owner for digest in digests for known, owner in self._known if hmac.compare_digest(known, digest)])


class Clients:
    """The clients of one application."""

    def __init__(self, clients: Sequence[ClientConfig]) -> None:
        self._clients = [_client(client) for client in clients]
        self._tokens = [
            (bytes.fromhex(client.token_sha256), number) for number, client in enumerate(clients) if client.token_sha256 is not None
        ]
        self._names = Names((name, number) for number, client in enumerate(clients) for name in client.certificate_names)
        try:
            check_distinct(clients)
        except ValueError as error:
            raise InvalidConfig(str(error), where="clients") from error

    def __len__(self) -> int:
        return len(self._clients)

    def identify(self, headers: Iterable[tuple[bytes, bytes]], certificate_names: Sequence[str] = ()) -> Client:
        """The caller of the bearer token in the `Authorization` header, or of the certificate.

        Raises:
            Unauthenticated: as `authenticate`; or there are two such headers, of which something before us may have checked the other.
        """
        found = [value for name, value in headers if name == b"authorization"]
        if len(found) > 1 and self._clients:
            raise Unauthenticated("there is more than one Authorization header", where="authorization")
        return self.authenticate(found[0].decode("latin-1") if found else None, certificate_names)

    def authenticate(self, authorization: str | None, certificate_names: Sequence[str] = ()) -> Client:
        """The caller who sent this `Authorization` header and showed a certificate of these names; without either `anonymous`.

        Every client's hash is compared in full, so that time tells nothing of which one is near. A certificate that no client has
        is none: others may have one from the same authority. Without clients everybody is `anonymous` and may do everything.

        Raises:
            Unauthenticated: not a bearer token, or an unknown one; or token and certificate are not of one client.
        """
        if not self._clients:
            return _OPEN
        owners = self._names.owners(certificate_names) if certificate_names else frozenset()
        if authorization is not None:
            owners |= self._token_owners(authorization)
        if len(owners) > 1:
            raise Unauthenticated("the token and the certificate are those of two clients", where="authorization")
        return self._clients[min(owners)] if owners else _STRANGER

    def _token_owners(self, authorization: str) -> frozenset[int]:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("the Authorization header holds no bearer token", where="authorization")
        digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
        found = frozenset([owner for known, owner in self._tokens if hmac.compare_digest(known, digest)])
        if not found:
            raise Unauthenticated("the bearer token is not known", where="authorization")
        return found


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _client(client: ClientConfig) -> Client:
    return Client(client.name, frozenset(client.grants), frozenset(client.domains) if client.domains else None)


def refuse_pages_of_others(headers: Mapping[str, str]) -> None:
    """Refuse what the page of some web site has a browser send; for operations that change something and need no token.

    The browser of a person on this machine reaches its loopback addresses, and sends plain posts there for any site, also under
    a name that the site lets point there; and it shows that person's certificate for any site. Then it says so: every browser
    names the origin of a post, and no other caller does.

    Raises:
        Forbidden: a browser sent it.
    """
    if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
        raise Forbidden("pages in a browser may change nothing where no token is asked for", where="origin")


def demand(client: Client, grant: str | None) -> None:
    """Let `client` pass if it holds `grant`; None is for all.

    Raises:
        Unauthenticated: a stranger asks for what needs a grant.
        Forbidden: the client is known and lacks the grant.
    """
    if grant is None or client.may(grant):
        return
    if client is _STRANGER:
        raise Unauthenticated("this needs the bearer token or the certificate of a client", where="authorization")
    raise Forbidden(f"client {client.name} lacks the grant {grant}")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def demand_clients(host: str, clients: Sized, *, section: str = "") -> None:
    """Refuse to be open to other machines.

    Args:
        host: name or address that is listened on.
        clients: those that are configured.
        section: where in the configuration both stand, with a dot behind it.

    Raises:
        InvalidConfig: `host` is not loopback and no clients are configured.
    """
    if not clients and not is_loopback(host):
        detail = f"{host} is reachable from other machines: configure `{section}clients`, or listen on 127.0.0.1"
        raise InvalidConfig(detail, where=f"{section}listen")

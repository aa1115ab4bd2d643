"""Who may do what in which namespace, and how many sessions that are not there a client may ask for.

Refusals come before any look-up and are one and the same, whatever is wrong: no token, an unknown one, a namespace or verb that the client
does not have, a namespace that does not exist. Every one takes the same steps, so that time tells them apart as little as words.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headwater.http.auth import Names, refuse_pages_of_others
from headwater.http.messages import Client, Request
from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError, InvalidInput, Retry, Unauthenticated
from headwater.sessions.config import EVERY_NAMESPACE, SessionClientConfig, SessionsConfig, Verb

NOBODY = "anonymous"
"""Who calls without being a client, in metrics and logs."""
_NO_TOKEN = bytes(32)
"""The hash of no token that anybody could send."""
_PORT = re.compile(r":[0-9]{0,5}\Z")
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_BROWSER_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller(Client):
    """A client of this service.

    Attributes:
        rights: one byte for each namespace and verb, and a last one for what does not exist; so looking takes the same time for all.
    """

    rights: bytes = b""


class TooManyMisses(HeadwaterError):
    """A client asks for more sessions that are not there than it may; those that are there are still served."""

    code = "too-many-misses"
    retry = Retry.LATER


class Callers:
    """The clients of the service (an `Authenticator`); none: everybody who can reach it may do everything.

    A client's token stands in `Authorization: Bearer TOKEN`, or, where that header holds a session, in
    `Client-Authorization: Bearer TOKEN`. A token in both is no token. Without a token, the names of the certificate say who calls;
    a token and a certificate of two clients are nobody's, and so are names of two clients.
    """

    def __init__(self, config: SessionsConfig) -> None:
        self._namespaces = tuple(config.namespaces)
        self._known: tuple[tuple[bytes, Caller], ...] = ()
        columns = [(namespace, verb) for namespace in self._namespaces for verb in Verb]
        self._columns = {column: number for number, column in enumerate(columns)}
        self._names = Names(())
        self._stranger = Caller(NOBODY)
        self._hosts: frozenset[str] | None = None
        self.take(config)

    def take(self, config: SessionsConfig) -> None:
        """Take over the clients and hosts of `config`."""
        known = []
        for client in config.clients:
            rights = bytes([*(_has(client, column) for column in self._columns), 0])
            digest = bytes.fromhex(client.token_sha256) if client.token_sha256 is not None else _NO_TOKEN
            known.append((digest, Caller(client.name, rights=rights)))
        self._known = tuple(known)
        self._names = Names((name, number) for number, client in enumerate(config.clients) for name in client.certificate_names)
        self._stranger = Caller(NOBODY, rights=bytes([not known] * (len(self._columns) + 1)))
        loopback = _LOOPBACK_HOSTS if not config.clients else None
        self._hosts = frozenset(config.hosts) if config.hosts else loopback

    def __len__(self) -> int:
        return len(self._known)

    def identify(self, headers: Iterable[tuple[bytes, bytes]], certificate_names: Sequence[str] = ()) -> Client:
        """The caller of these headers over a connection with such a certificate; an unknown one is a stranger. Never raises."""
        found = {b"authorization": "", b"client-authorization": ""}
        for name, value in headers:
            if name in found:
                found[name] = f"{found[name]}, {value.decode('latin-1')}" if found[name] else value.decode("latin-1")
        return self._of(found[b"authorization"], found[b"client-authorization"], certificate_names)

    def caller(self, request: Request) -> Client:
        """The caller who sent `request`, as `identify` finds it."""
        headers = request.headers
        return self._of(headers.get("authorization", ""), headers.get("client-authorization", ""), request.certificate_names)

    def _of(self, authorization: str, client_authorization: str, certificate_names: Sequence[str]) -> Client:
        one, other = _bearer(authorization), _bearer(client_authorization) if client_authorization else ""
        digest = hashlib.sha256((one or other).encode("latin-1", "replace")).digest()
        client, is_known = self._stranger, False
        for known, candidate in self._known:
            # Chosen by index, not by a branch: a match takes no other way than none.
            is_equal = hmac.compare_digest(known, digest)
            client, is_known = (client, candidate)[is_equal], is_known | is_equal
        # Each request compares two that are equal once, since even that takes the processor another way.
        hmac.compare_digest(digest, (digest, _NO_TOKEN)[is_known])
        if certificate_names:
            client = self._agreed(client if one or other else None, certificate_names)
        return self._stranger if one and other else client

    def _agreed(self, of_token: Caller | None, certificate_names: Sequence[str]) -> Caller:
        """Who shows this certificate beside the token of `of_token` (None: without any token); the stranger where they are two."""
        callers = {id(self._known[owner][1]): self._known[owner][1] for owner in self._names.owners(certificate_names)}
        if of_token is not None:
            return of_token if callers.keys() <= {id(of_token)} else self._stranger
        return next(iter(callers.values())) if len(callers) == 1 else self._stranger

    def check_origin(self, request: Request) -> None:
        """Refuse what no program that uses the service sends: targets for proxies, foreign hosts, posts of pages in a browser.

        Raises:
            InvalidInput: an absolute target, or a `Host` that is not answered here.
            Forbidden: a page in a browser wants to change something where no clients are configured, or with a person's certificate.
        """
        if request.absolute:
            raise InvalidInput("the request target is a path, not a whole URI", where="target")
        if self._hosts is not None and _PORT.sub("", request.headers.get("host", "")).lower() not in self._hosts:
            raise InvalidInput("this Host is not answered here", where="host")
        if (not self._known or request.certificate_names) and request.method not in _BROWSER_SAFE:
            refuse_pages_of_others(request.headers)

    def permit(self, client: Client, verb: Verb, namespace: str) -> None:
        """Let `client` pass if it may do `verb` in `namespace`.

        Raises:
            Unauthenticated: it may not, or it is nobody; always the same.
        """
        if not self.may(client, verb, namespace):
            raise Unauthenticated("this needs the token of a client that may do it", where="authorization")

    def may(self, client: Client, verb: Verb, namespace: str) -> bool:
        """Whether `client` may do `verb` in `namespace`."""
        assert isinstance(client, Caller)
        return client.rights[self._columns.get((namespace, verb), -1)] == 1


def _has(client: SessionClientConfig, column: tuple[str, Verb]) -> bool:
    namespace, verb = column
    return verb in (*client.grants.get(namespace, ()), *client.grants.get(EVERY_NAMESPACE, ()))


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class MissBudget:
    """How many misses each client has left: a bucket that fills up again. Bounded by the number of clients."""

    def __init__(self, config: SessionsConfig, clock: Clock) -> None:
        self._misses_max = config.misses_max
        self._per_s = config.misses_per_second
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def spend(self, client: Client, misses: float = 1.0) -> float | None:
        """Count misses of `client`: None if they were within its budget, else the seconds until that many would be.

        A budget that is smaller than `misses` is spent by one call.
        """
        misses = min(misses, float(self._misses_max))
        now_s = self._clock.monotonic_s()
        left, at_s = self._left.get(client.name, (float(self._misses_max), now_s))
        left = min(self._misses_max, left + (now_s - at_s) * self._per_s)
        if left < misses:
            self._left[client.name] = (left, now_s)
            return (misses - left) / self._per_s
        self._left[client.name] = (left - misses, now_s)
        return None

"""Requests and responses as every `api.py` sees them, and the declaration of a route.

An `api.py` builds `Route`s; `headwater.http.application` joins them with the guard, problems and health endpoints into an ASGI
application. Routing works on the raw, still percent-encoded path, so that `%2F` in a title is not a separator.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from headwater.kernel.errors import InvalidInput

_NUMBER = re.compile(r"-?[0-9]{1,19}")

Body = bytes | AsyncIterator[bytes]


class Response(Struct, frozen=True):
    """An answer: status, headers as (lower-case name, value), body bytes or an iterator of chunks.

    Attributes:
        bare: nothing is added but the framing and the date, for protocols that say exactly which headers there are.
        etag: the entity tag, quotes included; apart from the other headers, which most answers share.
    """

    status: int
    body: Body = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str | None = None
    bare: bool = False
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """Who called, as the configuration names it; `name` is `anonymous` where no clients are configured.

    `domains` are those of wikis that the client may speak for; None is all.
    """

    name: str
    grants: frozenset[str] = frozenset()
    domains: frozenset[str] | None = None

    def may(self, grant: str) -> bool:
        """Whether the client holds `grant`, by name or through `*`."""
        return grant in self.grants or "*" in self.grants


class Request(Struct):
    """A request whose head has been checked and whose body is read on demand.

    Attributes:
        method: upper case.
        raw_path: the path as sent, percent-encoded, without the query.
        query: decoded query parameters in order; a repeated name is kept as given.
        has_query: the target holds a question mark, so it is another address than without one, even if nothing follows.
        raw_query: the query as sent, without the question mark.
        absolute: the target was a whole URI, as proxies are asked.
        headers: lower-case names; repeated headers joined with `, `.
        params: values of the route's `{placeholders}`, percent-decoded once.
        client: the authenticated caller.
        remote: the peer's address.
        certificate_names: names of the certificate that the peer has shown and that was verified.
    """

    method: str
    raw_path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    client: Client
    remote: str
    read_body: Callable[[], Awaitable[bytes]]
    params: dict[str, str] = {}
    has_query: bool = False
    raw_query: str = ""
    absolute: bool = False
    certificate_names: tuple[str, ...] = ()

    async def body(self) -> bytes:
        """The whole body. Raises TooLarge above the route's limit, DeadlineExceeded without progress; may be called again."""
        return await self.read_body()

    def query_value(self, name: str) -> str | None:
        """The last value of a query parameter, or None."""
        return next((value for key, value in reversed(self.query) if key == name), None)

    def query_number(self, name: str, default: int, *, least: int, most: int) -> int:
        """The whole number that a query parameter holds; `default` without it.

        Raises:
            InvalidInput: it holds something else, or less than `least`, or more than `most`.
        """
        text = self.query_value(name)
        if text is None:
            return default
        number = int(text) if _NUMBER.fullmatch(text) else least - 1
        if not least <= number <= most:
            raise InvalidInput(f"{name} is a whole number from {least} to {most}", where=name)
        return number


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of an API.

    Attributes:
        method: `GET` also answers `HEAD`.
        path: template such as `/v1/{wiki}/html/{title*}`; `{x}` matches one raw segment, `{x*}` the rest of the path.
        handler: makes the response; raises HeadwaterError for every refusal.
        summary: one line for OpenAPI and the reference page.
        statuses: every status the operation may answer besides the guard's, with what it means.
        grant: the permission a client needs, e.g. `events:write`; None for all.
        body_bytes_max: largest accepted body.
        parameters: query and header parameters as (in, name, meaning).
    """

    method: str
    path: str
    handler: Handler
    summary: str
    statuses: Mapping[int, str]
    grant: str | None = None
    body_bytes_max: int = 64 * 1024
    parameters: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Fallback:
    """What answers a request, of any method, whose path no route has: an interface with rules of its own for paths and refusals.

    It decides about clients and queries itself, so its requests come with neither, and it answers every refusal it knows of: an error
    that it raises is a problem as everywhere.

    Attributes:
        handler: makes the response.
        name: stands for the path in metrics and logs.
        body_bytes_max: largest body that it may read.
        exempt: paths that even a full server answers.
    """

    handler: Handler
    name: str
    body_bytes_max: int
    exempt: frozenset[str] = frozenset()


ReadinessCheck = tuple[str, Callable[[], Awaitable[str | None]]]
"""A named dependency and a question to it: the reason why it is not ready, or None."""

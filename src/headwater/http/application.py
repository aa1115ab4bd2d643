"""One role's HTTP application: routes, health, guard, clients and problems joined behind the ASGI interface.

Order of decisions: host, path, method, health (exempt from all that follows), place in the guard, client, grant, announced length, handler.
Nothing but a `Response` or a problem ever answers; what is no `HeadwaterError` is a bug, logged with its traceback and answered 500.
Where paths are secrets (`Privacy.PATHS`), logs name the route instead of the path, and a bug by its kind and place alone.
"""

import contextlib
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog
from msgspec import Struct

from headwater.http.auth import Authenticator, Clients, demand, refuse_pages_of_others
from headwater.http.config import ClientConfig, HttpLimits
from headwater.http.fields import Fields, fields_of, has_length, head_of
from headwater.http.guard import Guard, body_fault, check_length, too_large
from headwater.http.health import health_routes
from headwater.http.hosts import Hosts
from headwater.http.messages import Client, Fallback, ReadinessCheck, Request, Response, Route
from headwater.http.metrics import (
    CONNECTIONS,
    DURATION,
    EXPIRES,
    HANDSHAKES,
    IN_FLIGHT,
    READERS_DROPPED,
    REFUSED,
    REQUESTS,
    UNSENT,
)
from headwater.http.problems import internal_problem, problem, problem_of
from headwater.http.routing import PathMatch, Router, parse_query
from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics, Tally, TallyOfTimes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = structlog.get_logger(__name__)
_NOWHERE = PathMatch("(none)", None)
_SERVER = Client("server")
_UNKNOWN = Client("anonymous")


class Privacy(Enum):
    """What of a request may never be logged."""

    NONE = "none"
    PATHS = "paths"  # paths hold secrets, and so may the messages of errors


@dataclass(frozen=True, slots=True)
class Manner:
    """In what an application differs from the others.

    Attributes:
        fallback: answers what no route does; without one that is a 404.
        privacy: what of a request may not be logged.
        hosts: the names in `Host` that are answered; None: all.
    """

    fallback: Fallback | None = None
    privacy: Privacy = Privacy.NONE
    hosts: Hosts | None = None


_ORDINARY = Manner()


class Exchange(Struct, eq=False):
    """One request on its way: what the server passed, and what has been found out of it so far."""

    scope: Scope
    receive: Receive
    send: Send
    started_s: float
    match: PathMatch = _NOWHERE
    sent_status: int = 0


class Application:
    """The ASGI application of one role."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        role: str,
        metrics: Metrics,
        readiness: Sequence[ReadinessCheck],
        clients: Sequence[ClientConfig] | Authenticator,
        limits: HttpLimits,
        clock: Clock,
        manner: Manner = _ORDINARY,
    ) -> None:
        self.role = role
        self.clock = clock
        self.clients: Authenticator = Clients(clients) if isinstance(clients, Sequence) else clients
        self.hosts = manner.hosts
        self.draining = False
        self._limits = limits
        self._fallback = fallback = manner.fallback
        self._beyond = _NOWHERE if fallback is None else PathMatch(fallback.name, None)
        self._exempt = _EXEMPT if fallback is None else _EXEMPT | fallback.exempt
        self._privacy = manner.privacy
        self._metrics = metrics
        self._guard = Guard(limits)
        self._connections = 0
        self.unsent_bytes: Callable[[], int] = lambda: 0
        self._health = Router(health_routes(self, routes, readiness))
        self._router = Router(routes)
        self._tallies: dict[tuple[str, str, int], tuple[Tally, TallyOfTimes]] = {}
        self._times: dict[str, TallyOfTimes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3, HTTP only)."""
        assert scope["type"] == "http"
        exchange = Exchange(scope, receive, send, self.clock.monotonic_s())
        try:
            response = await self._answer(exchange)
            if response is not None:
                await self._send(exchange, response)
        except ConnectionAbortedError:
            _log.debug("caller_gone", role=self.role, route=exchange.match.template)
        finally:
            self._record(exchange)

    async def _answer(self, exchange: Exchange) -> Response | None:
        try:
            if self.hosts is not None and not self.hosts.answer(exchange.scope["headers"]):
                return problem(
                    "misdirected-request", "this Host is not answered here; the option `hosts` names those that are", where="host"
                )
            raw_path = exchange.scope["raw_path"].decode("ascii")
            health = self._health.find(raw_path)
            if health is not None:
                exchange.match = health[0]
                return await self._call(exchange, raw_path, {}, _SERVER)
            return await self._guarded(exchange, raw_path)
        except HeadwaterError as error:
            if exchange.sent_status:
                raise
            return problem_of(error)
        except Exception as error:
            if exchange.sent_status:
                raise
            self._log_bug(error, exchange)
            return internal_problem()

    async def _guarded(self, exchange: Exchange, raw_path: str) -> Response | None:
        found = self._router.find(raw_path)
        if found is None:
            if raw_path == "*" and exchange.scope["method"] == "OPTIONS":
                return Response(204, headers=(("allow", "GET, HEAD, OPTIONS, POST"),))
            if self._fallback is None:
                return problem("not-found", "no route has this path")
            found = self._beyond, {}
        exchange.match, params = found
        if not self._guard.try_enter():
            await self._guard.enter()
        try:
            if exchange.match is self._beyond:
                response = await self._fall_back(exchange, raw_path)
            else:
                response = await self._call(exchange, raw_path, params, self._identify(exchange.scope))
            if isinstance(response.body, bytes):
                return response
            await self._send(exchange, response)
            return None
        finally:
            self._guard.leave()

    def _identify(self, scope: Scope) -> Client:
        return self.clients.identify(scope["headers"], scope.get("certificate_names", ()))

    async def _call(self, exchange: Exchange, raw_path: str, params: dict[str, str], client: Client) -> Response:
        scope = exchange.scope
        method: str = scope["method"]
        route = exchange.match.route(method)
        if route is None:
            allow = (("allow", exchange.match.allow),)
            return (
                Response(204, headers=allow)
                if method == "OPTIONS"
                else problem("method-not-allowed", f"{method} is not allowed here", headers=allow)
            )
        demand(client, route.grant)
        headers = _headers(scope)
        if route.method not in _SAFE_METHODS and (not self.clients or scope.get("certificate_names")):
            refuse_pages_of_others(headers)
        length = headers.get("content-length")
        check_length(int(length) if length is not None else None, route.body_bytes_max)
        request = self._request(exchange, raw_path, headers, body_bytes_max=route.body_bytes_max)
        request.query = parse_query(request.raw_query) if request.raw_query else ()
        request.client, request.params = client, params
        return await route.handler(request)

    def _fall_back(self, exchange: Exchange, raw_path: str) -> Awaitable[Response]:
        assert self._fallback is not None
        headers = _headers(exchange.scope)
        return self._fallback.handler(self._request(exchange, raw_path, headers, body_bytes_max=self._fallback.body_bytes_max))

    def _request(self, exchange: Exchange, raw_path: str, headers: Mapping[str, str], *, body_bytes_max: int) -> Request:
        scope = exchange.scope
        query: bytes = scope["query_string"]
        peer = scope["client"]
        return Request(
            method=scope["method"],
            raw_path=raw_path,
            query=(),
            has_query=scope.get("has_query", bool(query)),
            raw_query=query.decode("ascii"),
            absolute=scope.get("absolute", False),
            certificate_names=scope.get("certificate_names", ()),
            headers=headers,
            client=_UNKNOWN,
            remote=peer[0] if peer else "",
            read_body=BodyReader(scope, exchange.receive, body_bytes_max, self._limits).read,
        )

    def _log_bug(self, error: Exception, exchange: Exchange) -> None:
        named = {"role": self.role, "route": exchange.match.template, "method": exchange.scope["method"]}
        if self._privacy is Privacy.NONE:
            _log.error("request_failed", exc_info=error, **named)
            return
        # The message of an error may hold what the request held; where it was raised holds nothing but our own text.
        frames = traceback.extract_tb(error.__traceback__)
        place = [f"{frame.name}:{frame.lineno}" for frame in frames[-_FRAMES_LOGGED:]]
        _log.error("request_failed", error=type(error).__name__, place=place, **named)

    async def _send(self, exchange: Exchange, response: Response) -> None:
        exchange.sent_status = response.status
        body = response.body
        if not isinstance(body, bytes):
            await self._send_chunks(exchange, response.status, fields_of(response), body)
            return
        # An extension of our server; taken out, since it leads back to the scope, and garbage like that only the collector finds.
        answer_whole = exchange.scope.pop("answer_whole", None)
        if answer_whole is not None and answer_whole(response.status, head_of(response, body), body):
            return
        headers = fields_of(response)
        if has_length(response.status):
            headers.append((b"content-length", b"%d" % len(body)))
        await exchange.send({"type": "http.response.start", "status": response.status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body})

    async def _send_chunks(self, exchange: Exchange, status: int, headers: Fields, body: AsyncIterator[bytes]) -> None:
        send = exchange.send
        await send({"type": "http.response.start", "status": status, "headers": headers})
        # An error from here on leaves the application: the head has gone out, so only a torn connection can
        # still tell the reader that the body is not whole.
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(body, AsyncGenerator):
                await stack.enter_async_context(contextlib.aclosing(body))
            if exchange.scope["method"] != "HEAD":
                async for chunk in body:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _record(self, exchange: Exchange) -> None:
        method: str = exchange.scope["method"]
        template, status = exchange.match.template, exchange.sent_status
        if status == 0:
            return
        duration_s = self.clock.monotonic_s() - exchange.started_s
        counted = method if method in _METHODS else "other"
        tallies = self._tallies.get((template, counted, status)) or self._tally(template, counted, status)
        tallies[0].inc()
        tallies[1].observe(duration_s)
        if self._limits.access_log or status >= 500:
            shown = template != "(none)" and self._privacy is Privacy.NONE
            path = exchange.scope["raw_path"].decode("ascii") if shown else template
            _log.info("request", role=self.role, method=method, path=path, status=status, duration_ms=round(duration_s * 1000, 3))

    def _tally(self, template: str, method: str, status: int) -> tuple[Tally, TallyOfTimes]:
        if template not in self._times:
            self._times[template] = self._metrics.tally_of_times(DURATION, role=self.role, route=template)
        counter = self._metrics.tally(REQUESTS, role=self.role, route=template, method=method, code=str(status))
        self._tallies[template, method, status] = tallies = (counter, self._times[template])
        return tallies

    def exposition(self) -> bytes:
        """All metrics of the process in the Prometheus text format."""
        self._metrics.set(IN_FLIGHT, self._guard.under_way, role=self.role)
        self._metrics.set(CONNECTIONS, self._connections, role=self.role)
        self._metrics.set(UNSENT, self.unsent_bytes(), role=self.role)
        return self._metrics.exposition()

    def is_health(self, raw_path: str) -> bool:
        """Whether `raw_path` is answered even by a full server."""
        return raw_path in self._exempt

    def count_connections(self, number: int) -> None:
        """Note how many connections the server has open."""
        self._connections = number

    def count_dropped_reader(self, reason: str) -> None:
        """Note that a connection was ended because its reader was too slow."""
        self._metrics.inc(READERS_DROPPED, role=self.role, reason=reason)

    def count_handshake(self, result: str) -> None:
        """Note how a TLS handshake ended."""
        self._metrics.inc(HANDSHAKES, role=self.role, result=result)

    def show_expiry(self, file: str, expires_s: float) -> None:
        """Note when the certificates of a file expire, seconds since the epoch."""
        self._metrics.set(EXPIRES, expires_s, role=self.role, file=file)

    def count_refused(self, status: int) -> None:
        """Note that the server refused a request before it came here."""
        self._metrics.inc(REFUSED, role=self.role, code=str(status))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_EXEMPT = frozenset({"/livez", "/readyz", "/metrics"})
_FRAMES_LOGGED = 3


class BodyReader:
    """Reads the body of one request once and keeps it."""

    __slots__ = ("_body", "_bytes_max", "_limits", "_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive, bytes_max: int, limits: HttpLimits) -> None:
        self._scope = scope
        self._receive = receive
        self._bytes_max = bytes_max
        self._limits = limits
        self._body: bytes | None = None

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it exceeds the limit of the route.
            DeadlineExceeded: it stopped coming, or took too long.
            InvalidInput: its framing is broken, or the caller has gone.
        """
        if self._body is not None:
            return self._body
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise body_fault(message.get("fault"), self._limits)
            part: bytes = message["body"]
            size += len(part)
            if size > self._bytes_max:
                raise too_large(self._bytes_max)
            parts.append(part)
            if not message["more_body"]:
                break
        self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._body


def _headers(scope: Scope) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("latin-1").strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def application(
    routes: Sequence[Route],
    *,
    role: str,
    metrics: Metrics,
    readiness: Sequence[ReadinessCheck],
    clients: Sequence[ClientConfig] | Authenticator,
    limits: HttpLimits,
    clock: Clock,
    manner: Manner = _ORDINARY,
) -> Application:
    """Join `routes` into the application of `role`, with `/livez`, `/readyz`, `/metrics` and `/openapi.json` beside them.

    Args:
        routes: its operations.
        role: its name in metrics and logs.
        metrics: of the process.
        readiness: what it depends on.
        clients: who may call.
        limits: limits and deadlines.
        clock: time.
        manner: in what it differs from the others.
    """
    return Application(
        routes,
        role=role,
        metrics=metrics,
        readiness=readiness,
        clients=clients,
        limits=limits,
        clock=clock,
        manner=manner,
    )

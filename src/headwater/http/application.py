"""One role's HTTP application: routes, health, guard, clients and problems joined behind the ASGI interface.

Order of decisions: path, method, health (exempt from all that follows), place in the guard, client, grant, announced length, handler.
Nothing but a `Response` or a problem ever answers; what is no `HeadwaterError` is a bug, logged with its traceback and answered 500.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from prometheus_client import Counter, Histogram

from headwater.http.auth import Clients, demand, refuse_pages_of_others
from headwater.http.config import ClientConfig, HttpLimits
from headwater.http.guard import Guard, body_fault, check_length, too_large
from headwater.http.health import health_routes
from headwater.http.messages import Client, ReadinessCheck, Request, Response, Route
from headwater.http.metrics import CONNECTIONS, DURATION, IN_FLIGHT, REFUSED, REQUESTS
from headwater.http.problems import internal_problem, problem, problem_of
from headwater.http.routing import PathMatch, Router, parse_query
from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = structlog.get_logger(__name__)
_NOWHERE = PathMatch("(none)", None)
_SERVER = Client("server")


@dataclass(slots=True)
class Exchange:
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
        clients: Sequence[ClientConfig],
        limits: HttpLimits,
        clock: Clock,
    ) -> None:
        self.role = role
        self.clock = clock
        self.clients = Clients(clients)
        self.draining = False
        self._limits = limits
        self._metrics = metrics
        self._guard = Guard(limits)
        self._connections = 0
        self._health = Router(health_routes(self, routes, readiness))
        self._router = Router(routes)
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._durations: dict[str, Histogram] = {}

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
        except Exception:
            if exchange.sent_status:
                raise
            _log.exception("request_failed", role=self.role, route=exchange.match.template, method=exchange.scope["method"])
            return internal_problem()

    async def _guarded(self, exchange: Exchange, raw_path: str) -> Response | None:
        found = self._router.find(raw_path)
        if found is None:
            if raw_path == "*" and exchange.scope["method"] == "OPTIONS":
                return Response(204, headers=(("allow", "GET, HEAD, OPTIONS, POST"),))
            return problem("not-found", "no route has this path")
        exchange.match, params = found
        if not self._guard.try_enter():
            await self._guard.enter()
        try:
            client = self.clients.authenticate(_header(exchange.scope, b"authorization"))
            response = await self._call(exchange, raw_path, params, client)
            if isinstance(response.body, bytes):
                return response
            await self._send(exchange, response)
            return None
        finally:
            self._guard.leave()

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
        if route.method not in _SAFE_METHODS and not self.clients:
            refuse_pages_of_others(headers)
        length = headers.get("content-length")
        check_length(int(length) if length is not None else None, route.body_bytes_max)
        query: bytes = scope["query_string"]
        peer = scope["client"]
        return await route.handler(
            Request(
                method=method,
                raw_path=raw_path,
                query=parse_query(query.decode("ascii")) if query else (),
                has_query=scope.get("has_query", bool(query)),
                headers=headers,
                client=client,
                remote=peer[0] if peer else "",
                read_body=BodyReader(scope, exchange.receive, route.body_bytes_max, self._limits).read,
                params=params,
            )
        )

    async def _send(self, exchange: Exchange, response: Response) -> None:
        exchange.sent_status = response.status
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        if response.content_type is not None:
            headers.append((b"content-type", response.content_type.encode("latin-1")))
        headers.append((b"x-content-type-options", b"nosniff"))
        body = response.body
        if not isinstance(body, bytes):
            await self._send_chunks(exchange, response.status, headers, body)
            return
        if response.status >= 200 and response.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        await exchange.send({"type": "http.response.start", "status": response.status, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": body})

    async def _send_chunks(self, exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], body: AsyncIterator[bytes]) -> None:
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
        counter = self._counters.get((template, counted, status))
        if counter is None:
            child = self._metrics.child(REQUESTS, role=self.role, route=template, method=counted, code=str(status))
            counter = self._counters[template, counted, status] = cast(Counter, child)
            self._durations[template] = cast(Histogram, self._metrics.child(DURATION, role=self.role, route=template))
        counter.inc()
        self._durations[template].observe(duration_s)
        if self._limits.access_log or status >= 500:
            path = exchange.scope["raw_path"].decode("ascii") if template != "(none)" else template
            _log.info("request", role=self.role, method=method, path=path, status=status, duration_ms=round(duration_s * 1000, 3))

    def exposition(self) -> bytes:
        """All metrics of the process in the Prometheus text format."""
        self._metrics.set(IN_FLIGHT, self._guard.under_way, role=self.role)
        self._metrics.set(CONNECTIONS, self._connections, role=self.role)
        return self._metrics.exposition()

    def is_health(self, raw_path: str) -> bool:
        """Whether `raw_path` is answered even by a full server."""
        return raw_path in _EXEMPT

    def count_connections(self, number: int) -> None:
        """Note how many connections the server has open."""
        self._connections = number

    def count_refused(self, status: int) -> None:
        """Note that the server refused a request before it came here."""
        self._metrics.inc(REFUSED, role=self.role, code=str(status))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_EXEMPT = frozenset({"/livez", "/readyz", "/metrics"})


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


def _header(scope: Scope, name: bytes) -> str | None:
    for known, value in scope["headers"]:
        if known == name:
            text: str = value.decode("latin-1")
            return text
    return None


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
    clients: Sequence[ClientConfig],
    limits: HttpLimits,
    clock: Clock,
) -> Application:
    """Join `routes` into the application of `role`, with `/livez`, `/readyz`, `/metrics` and `/openapi.json` beside them."""
    return Application(routes, role=role, metrics=metrics, readiness=readiness, clients=clients, limits=limits, clock=clock)

"""The interface of Kask, so that an unmodified MediaWiki (`RESTBagOStuff`) can keep its sessions here.

MediaWiki takes every error but 404 for "no session" and may then log its user out. So a hit is always served, whatever else goes on:
misses stay 404 however many there are, and only writes are shed. Order of decisions: target and `Host`, path, query, method, length of the
key, client, body, storage. All that comes before the client is syntax, so refusals say nothing of what is stored.
"""

import math
import re
from collections.abc import Awaitable, Coroutine
from functools import partial
from typing import Any

import structlog

from headwater.http.guard import check_length
from headwater.http.messages import Client, Request, Response
from headwater.http.problems import problem
from headwater.kernel.clock import Clock
from headwater.kernel.errors import (
    DeadlineExceeded,
    Forbidden,
    HeadwaterError,
    InvalidInput,
    Overloaded,
    TooLarge,
    Unauthenticated,
)
from headwater.kernel.metrics import Tally, TallyOfTimes
from headwater.sessions import kask
from headwater.sessions.config import Strictness, Verb
from headwater.sessions.errors import QuotaExceeded, Revoked
from headwater.sessions.gate import Gate
from headwater.sessions.kask import Fault
from headwater.sessions.metrics import KASK_BUILD, KASK_DURATION, KASK_REQUESTS
from headwater.sessions.paths import KeyPath, KeyTooLong, Moved, NoKey, Outside, Paths, check_key_length
from headwater.sessions.quiet import Seldom
from headwater.sessions.service import Sessions

NAME = "/{base}/{key}"
EXEMPT = frozenset({"/healthz"})
"""What even a full server answers."""
_NATIVE = "/v2/"
_NO_REQUEST_ID = "00000000-0000-0000-0000-000000000000"
_REQUEST_ID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_VERBS = {"GET": Verb.READ, "POST": Verb.WRITE, "PUT": Verb.WRITE, "DELETE": Verb.DELETE}
_STEMS = {
    "GET": "Error reading from storage",
    "POST": "Error writing to storage",
    "PUT": "Error writing to storage",
    "DELETE": "Error deleting in storage",
}
_COUNTED_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_CREATED = Response(201, bare=True)
_DELETED = Response(204, bare=True)

_log = structlog.get_logger(__name__)


class DropIn:
    """Answers whatever no route of the native interface does."""

    def __init__(self, service: Sessions, gate: Gate, *, clock: Clock) -> None:
        self._service = service
        self._gate = gate
        self._clock = clock
        self._strict = gate.config.strict is Strictness.KASK
        self._bases = gate.config.bases()
        self._policies = {policy.name: policy for policy in gate.config.policies()}
        self._paths = Paths(self._bases, strict=self._strict)
        self._missed = {base: kask.fault(404, Fault.NOT_FOUND, "The value was not found", base=base) for base in self._bases}
        self._seldom = Seldom(clock)
        gate.metrics.set(KASK_BUILD, 1, **kask.BUILD)
        self._tallies: dict[tuple[str, int], tuple[Tally, TallyOfTimes]] = {}

    def answer(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Answer any request (a `Fallback`)."""
        path = request.raw_path
        if path == "/healthz":
            return _at_once(kask.healthz())
        started_s = self._clock.monotonic_s()
        try:
            self._gate.callers.check_origin(request)
            place = self._paths.resolve(path)
        except HeadwaterError as error:
            return self._refuse(error, request, started_s)
        return self._counted(request, place, started_s) if isinstance(place, KeyPath) else self._without_key(request, place, started_s)

    async def _refuse(self, error: HeadwaterError, request: Request, started_s: float) -> Response:
        base = next((base for base in self._bases if request.raw_path.startswith(base)), None)
        response = self._fault_of(error, request, base or "/")
        if base is not None:
            self._count(request.method, response.status, started_s)
        return response

    async def _without_key(self, request: Request, place: NoKey | Moved | Outside, started_s: float) -> Response:
        match place:
            case NoKey(base):
                self._count(request.method, 404, started_s)
                return kask.fault(404, Fault.NOT_FOUND, "The path names no key", base=base)
            case Moved(location, shows_key):
                query = request.raw_query if self._strict else ""  # nobody knows what stands in one
                return kask.moved(location, method=request.method, query=query, shows_key=shows_key)
            case Outside():
                return self._outside(request.raw_path)

    def _outside(self, path: str) -> Response:
        if path == "/openapi":
            return kask.openapi(self._bases, clients=len(self._gate.callers) > 0)
        return problem("not-found", "no route has this path") if path.startswith(_NATIVE) else kask.page_not_found()

    async def _counted(self, request: Request, place: KeyPath, started_s: float) -> Response:
        status = 500  # what a bug is answered with, by the application
        try:
            response = await self._begin(request, place)
            status = response.status
        except HeadwaterError as error:
            response = self._fault_of(error, request, place.base)
            status = response.status
        finally:
            self._count(request.method, status, started_s)
        return response

    def _begin(self, request: Request, place: KeyPath) -> Awaitable[Response]:
        """Decide on a request without its body; what is returned does the rest."""
        method = request.method
        if request.raw_query:
            raise InvalidInput("a query string means nothing here")
        if method not in _VERBS or (method == "PUT" and self._strict):
            self._note(f"Unsupported HTTP method ({method})", request)
            raise InvalidInput("the method is not supported")
        check_key_length(place.key, self._policies[place.namespace].key_bytes_max)
        client = self._gate.callers.caller(request)
        self._gate.callers.permit(client, _VERBS[method], place.namespace)
        match method:
            case "GET":
                return self._read(client, place)
            case "DELETE":
                return self._delete(place)
            case _:
                return self._write(request, client, place)

    async def _delete(self, place: KeyPath) -> Response:
        with self._gate.shedding.write(_is_somebodys):
            await self._service.delete(place.namespace, place.key)
        return _DELETED

    async def _read(self, client: Client, place: KeyPath) -> Response:
        session = await self._service.read(place.namespace, place.key)
        self._gate.count_read(place.namespace, hit=session is not None)
        if session is None:
            self._gate.spend_miss(client, place.namespace)
            return self._missed[place.base]
        return Response(200, session.value, (), "application/octet-stream", bare=True)

    async def _write(self, request: Request, client: Client, place: KeyPath) -> Response:
        policy = self._policies[place.namespace]
        with self._gate.shedding.body(self._gate.check_body(request, policy)):
            value = await request.body()
            check_length(len(value), policy.value_bytes_max)
            if not value:
                self._note("Request body is empty", request)
                raise InvalidInput("the body is empty")
            may_read = self._gate.callers.may(client, Verb.READ, place.namespace)
            with self._gate.shedding.write(partial(self._service.is_anonymous, value)):
                await self._service.save(place.namespace, place.key, value, may_read=may_read)
        return _CREATED

    def _fault_of(self, error: HeadwaterError, request: Request, base: str) -> Response:
        status, kind = _status_of(error)
        if isinstance(error, Unauthenticated | Forbidden):
            self._gate.count_refused("drop-in")
        headers: tuple[tuple[str, str], ...] = ()
        if status == 401:
            headers = (("www-authenticate", 'Bearer realm="headwater"'),)
        elif status == 503 or error.retry_after_s is not None:
            headers = (("retry-after", str(max(1, math.ceil(error.retry_after_s or 1)))),)
        if status == 500:
            self._note(f"{_STEMS[request.method]} ({error.code})", request)
        return kask.fault(status, kind, error.detail, base=base, headers=headers)

    def _note(self, text: str, request: Request) -> None:
        """Log a line that operators of Kask look for: at most one of a kind per second, whatever clients send."""
        left_out = self._seldom.due(text)
        if left_out is not None:
            sent = request.headers.get("x-request-id", "")
            request_id = sent if _REQUEST_ID.fullmatch(sent) else _NO_REQUEST_ID
            _log.error(text, request_id=request_id, left_out=left_out)

    def _count(self, method: str, status: int, started_s: float) -> None:
        number, times = self._tallies.get((method, status)) or self._tally(method, status)
        number.inc()
        times.observe(self._clock.monotonic_s() - started_s)

    def _tally(self, method: str, status: int) -> tuple[Tally, TallyOfTimes]:
        """What counts such answers; all unusual methods share one."""
        counted = method if method in _COUNTED_METHODS else "other"
        if (counted, status) not in self._tallies:
            labels, metrics = {"code": str(status), "method": counted}, self._gate.metrics
            self._tallies[counted, status] = metrics.tally(KASK_REQUESTS, **labels), metrics.tally_of_times(KASK_DURATION, **labels)
        return self._tallies[counted, status]


async def _at_once(response: Response) -> Response:
    return response


def _is_somebodys() -> bool:
    """A delete is never shed as anonymous: it may be somebody's logout."""
    return False


def _status_of(error: HeadwaterError) -> tuple[int, Fault]:
    match error:
        case KeyTooLong():
            return 414, Fault.BAD_REQUEST
        case InvalidInput():
            return 400, Fault.BAD_REQUEST
        case Unauthenticated():
            return 401, Fault.NOT_AUTHORIZED
        case Forbidden():
            return 403, Fault.NOT_AUTHORIZED
        case TooLarge():
            return 413, Fault.BAD_REQUEST
        case DeadlineExceeded():
            return 408, Fault.BAD_REQUEST
        case Revoked():
            return 409, Fault.BAD_REQUEST
        case Overloaded():
            return 503, Fault.SERVER_ERROR
        case QuotaExceeded():
            return 507, Fault.SERVER_ERROR
        case _:
            return 500, Fault.SERVER_ERROR

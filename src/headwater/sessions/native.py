"""The native interface, `/v2/{namespace}`: keys are made here, writes can be conditional, and everything of a subject can be revoked.

A session is named by its key in the path or, where paths end up in the logs of proxies, in `Authorization: Session KEY`; then the
client's own token stands in `Client-Authorization: Bearer TOKEN`. Absent, expired, revoked and foreign sessions are the same 404, and
beyond a client's budget of such answers the same 429. No update makes a session that is not there. No answer may be stored.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import structlog

from headwater.http.guard import check_length
from headwater.http.messages import Client, Request, Response, Route
from headwater.kernel.clock import Clock
from headwater.kernel.errors import InvalidInput, NotFound, Unauthenticated
from headwater.sessions.clients import TooManyMisses
from headwater.sessions.config import Verb
from headwater.sessions.errors import ConditionFailed
from headwater.sessions.gate import Gate
from headwater.sessions.model import ABSENT, EXISTS, NEVER_MS, Condition, Match, Policy, SessionHeader
from headwater.sessions.paths import check_key_length, decode_key, holds_control
from headwater.sessions.service import Sessions

TTL_HEADER = "session-ttl"
SUBJECT_HEADER = "session-subject"
GRACE_HEADER = "session-grace"
_NUMBER = re.compile(r"[0-9]{1,10}")
_ETAG = re.compile(r'"([\x21\x23-\x7e]{0,100})"')
_PRINTABLE = re.compile("[ -~]+")
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
_NO_STORE = ("cache-control", "no-store")

_log = structlog.get_logger(__name__)


class Minted(msgspec.Struct, frozen=True):
    """A key that was made here, as JSON.

    Attributes:
        session: the key.
        etag: entity tag of the value.
        ttl_s: seconds until its end unless it is saved or touched; None: no end.
    """

    session: str
    etag: str
    ttl_s: int | None


@dataclass(frozen=True, slots=True)
class Call:
    """A request that may do what it asks for, and what it names."""

    client: Client
    policy: Policy
    key: bytes

    @property
    def namespace(self) -> str:
        """The namespace."""
        return self.policy.name


class NativeApi:
    """Routes over `Sessions`."""

    def __init__(self, service: Sessions, gate: Gate, *, clock: Clock) -> None:
        self._service = service
        self._gate = gate
        self._clock = clock
        self._policies = {policy.name: policy for policy in gate.config.policies()}
        self._value_bytes_max = max(policy.value_bytes_max for policy in self._policies.values())

    def routes(self) -> Sequence[Route]:
        """All operations."""
        return (*self._whole(), *self._by_path(), *self._by_header())

    def _whole(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                "/v2/{namespace}",
                self._mint,
                "Make a session under a new key of 256 random bits. The body is its value. Verb: `mint`.",
                {201: "`{session, etag, ttl_s}`", 400: "an empty body, or malformed headers", 404: _NO_NAMESPACE, 507: _FULL},
                body_bytes_max=self._value_bytes_max,
                parameters=(_TTL, _SUBJECT),
            ),
            Route(
                "DELETE",
                "/v2/{namespace}",
                self._revoke_namespace,
                "Revoke every session of the namespace. Verb: `administer`.",
                {204: "none of them is served any more", 400: "a session is named too", 404: _NO_NAMESPACE},
            ),
            Route(
                "DELETE",
                "/v2/{namespace}/subjects/{subject}",
                self._revoke_subject,
                "Revoke every session of a subject. Verb: `revoke`.",
                {204: "none of them is served any more, by any process", 404: _NO_NAMESPACE},
            ),
        )

    def _by_path(self) -> tuple[Route, ...]:
        return (
            Route("GET", "/v2/{namespace}/sessions/{key}", self._get, "Read a session. Verb: `read`.", _GET, parameters=_GET_HEADERS),
            Route(
                "PUT",
                "/v2/{namespace}/sessions/{key}",
                self._put,
                "Replace the value of a session. Verb: `write`; with `If-None-Match: *`, which makes one, `mint`.",
                _PUT,
                body_bytes_max=self._value_bytes_max,
                parameters=_PUT_HEADERS,
            ),
            Route("DELETE", "/v2/{namespace}/sessions/{key}", self._delete, "Delete a session. Verb: `delete`.", _DELETE),
            Route(
                "POST",
                "/v2/{namespace}/sessions/{key}/touch",
                self._touch,
                "Start the TTL of a session anew. Verb: `write`.",
                _TOUCH,
                parameters=(_TTL,),
            ),
            Route(
                "POST",
                "/v2/{namespace}/sessions/{key}/rotate",
                self._rotate,
                "Move a session to a new key; the old one leads to it for a short time. Verb: `write`.",
                _ROTATE,
                parameters=(_GRACE,),
            ),
        )

    def _by_header(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/v2/{namespace}/session",
                self._get,
                "Read the session named by the header. Verb: `read`.",
                _GET,
                parameters=(_SESSION, *_GET_HEADERS),
            ),
            Route(
                "PUT",
                "/v2/{namespace}/session",
                self._put,
                "Replace the value of the session named by the header. Verb: `write`; with `If-None-Match: *` `mint`.",
                _PUT,
                body_bytes_max=self._value_bytes_max,
                parameters=(_SESSION, *_PUT_HEADERS),
            ),
            Route(
                "DELETE",
                "/v2/{namespace}/session",
                self._delete,
                "Delete the session named by the header. Verb: `delete`.",
                _DELETE,
                parameters=(_SESSION,),
            ),
            Route(
                "POST",
                "/v2/{namespace}/session/touch",
                self._touch,
                "Start the TTL of the session named by the header anew. Verb: `write`.",
                _TOUCH,
                parameters=(_SESSION, _TTL),
            ),
            Route(
                "POST",
                "/v2/{namespace}/session/rotate",
                self._rotate,
                "Move the session named by the header to a new key. Verb: `write`.",
                _ROTATE,
                parameters=(_SESSION, _GRACE),
            ),
        )

    # -- operations

    async def _mint(self, request: Request) -> Response:
        policy, _ = self._enter(request, Verb.MINT)
        _refuse_conditions(request)
        _refuse_session(request)
        ttl_s, subject = _ttl_s(request), self._subject(request)
        async with self._value(request, policy) as value:
            key, header = await self._service.mint(policy.name, value, subject=subject, ttl_s=ttl_s)
        return self._minted(key, header)

    async def _get(self, request: Request) -> Response:
        call = self._call(request, Verb.READ)
        _refuse_conditions(request, but="if-none-match")
        session = await self._service.read(call.namespace, call.key)
        self._gate.count_read(call.namespace, hit=session is not None)
        if session is None:
            raise self._miss(call)
        headers = self._headers(session.etag, session.expires_ms)
        known = request.headers.get("if-none-match")
        if known is not None and (known == "*" or session.etag in _etags(known)):
            return Response(304, b"", headers)
        return Response(200, session.value, headers, "application/octet-stream")

    async def _put(self, request: Request) -> Response:
        condition = _condition(request)
        call = self._call(request, Verb.MINT if condition is ABSENT else Verb.WRITE)
        ttl_s, subject = _ttl_s(request), self._subject(request)
        may_read = self._gate.callers.may(call.client, Verb.READ, call.namespace)
        async with self._value(request, call.policy) as value:
            try:
                saved = await self._service.save(
                    call.namespace, call.key, value, condition=condition, ttl_s=ttl_s, subject=subject, may_read=may_read
                )
            except ConditionFailed:
                if condition is EXISTS:
                    # A miss, however it was asked for. Without `If-Match` it was no condition of the caller's: to him it is just not there.
                    miss = self._miss(call)
                    if "if-match" not in request.headers or isinstance(miss, TooManyMisses):
                        raise miss from None
                raise
        return Response(201 if saved.created else 204, b"", self._headers(saved.header.etag, saved.header.expires_ms))

    async def _delete(self, request: Request) -> Response:
        call = self._call(request, Verb.DELETE)
        _refuse_conditions(request)
        with self._gate.shedding.write(lambda: False):
            await self._service.delete(call.namespace, call.key)
        return Response(204, b"", (_NO_STORE,))

    async def _touch(self, request: Request) -> Response:
        call = self._call(request, Verb.WRITE)
        _refuse_conditions(request)
        ttl_s = _ttl_s(request)
        with self._gate.shedding.write(lambda: False):
            header = await self._service.touch(call.namespace, call.key, ttl_s=ttl_s)
        if header is None:
            raise self._miss(call)
        return Response(204, b"", self._headers(header.etag, header.expires_ms))

    async def _rotate(self, request: Request) -> Response:
        call = self._call(request, Verb.WRITE)
        _refuse_conditions(request)
        grace_s = _seconds(request, GRACE_HEADER)
        longest_s = float(self._gate.config.rotation_grace)
        with self._gate.shedding.write(lambda: False):
            rotated = await self._service.rotate(
                call.namespace, call.key, grace_s=longest_s if grace_s is None else min(grace_s, longest_s)
            )
        if rotated is None:
            raise self._miss(call)
        return self._minted(*rotated)

    async def _revoke_subject(self, request: Request) -> Response:
        policy, client = self._enter(request, Verb.REVOKE)
        _refuse_conditions(request)
        subject = self._checked_subject(request.params["subject"])
        await self._service.revoke_subject(policy.name, subject)
        return self._revoked(client, policy, "subject")

    async def _revoke_namespace(self, request: Request) -> Response:
        policy, client = self._enter(request, Verb.ADMINISTER)
        _refuse_conditions(request)
        _refuse_session(request)
        await self._service.revoke_namespace(policy.name)
        return self._revoked(client, policy, "namespace")

    # -- what they share

    def _enter(self, request: Request, verb: Verb) -> tuple[Policy, Client]:
        """The namespace of a request that may do `verb` there, and who sent it."""
        self._gate.callers.check_origin(request)
        name = request.params["namespace"]
        try:
            self._gate.callers.permit(request.client, verb, name)
        except Unauthenticated:
            self._gate.count_refused("native")
            raise
        if request.raw_query:
            raise InvalidInput("a query string means nothing here", where="query")
        policy = self._policies.get(name)
        if policy is None:
            raise NotFound("there is no such namespace")
        return policy, request.client

    def _call(self, request: Request, verb: Verb) -> Call:
        policy, client = self._enter(request, verb)
        in_header = _session_of(request)
        if "key" in request.params:
            if in_header is not None:
                raise InvalidInput("the session is named in the path and in the header", where="authorization")
            key = request.params["key"].encode()
            if holds_control(request.params["key"]):
                raise InvalidInput("the key holds control characters", where="key")
        elif in_header is None:
            raise InvalidInput("no session is named: Authorization: Session KEY", where="authorization")
        else:
            key = _decode_header(in_header, where="authorization")
        check_key_length(key, policy.key_bytes_max)
        return Call(client, policy, key)

    @asynccontextmanager
    async def _value(self, request: Request, policy: Policy) -> AsyncIterator[bytes]:
        """The body of a write that is admitted until it is done."""
        shedding = self._gate.shedding
        with shedding.body(self._gate.check_body(request, policy)):
            value = await request.body()
            check_length(len(value), policy.value_bytes_max)
            if not value:
                raise InvalidInput("the body is empty")
            with shedding.write(lambda: self._service.is_anonymous(value)):
                yield value

    def _subject(self, request: Request) -> str | None:
        text = request.headers.get(SUBJECT_HEADER)
        return None if text is None else self._checked_subject(_decode_header(text, where="subject").decode())

    def _checked_subject(self, subject: str) -> str:
        if not subject or holds_control(subject) or len(subject.encode()) > self._gate.config.subject_bytes_max:
            longest = int(self._gate.config.subject_bytes_max)
            raise InvalidInput(f"a subject is 1 to {longest} bytes without control characters", where="subject")
        return subject

    def _miss(self, call: Call) -> NotFound | TooManyMisses:
        wait_s = self._gate.spend_miss(call.client, call.namespace)
        if wait_s is None:
            return NotFound("there is no such session")
        return TooManyMisses("this client asks for too many sessions that are not there", retry_after_s=wait_s)

    def _headers(self, etag: str, expires_ms: int) -> tuple[tuple[str, str], ...]:
        ttl_s = self._ttl_left_s(expires_ms)
        ttl = () if ttl_s is None else ((TTL_HEADER, str(ttl_s)),)
        return (("etag", f'"{etag}"'), *ttl, _NO_STORE)

    def _ttl_left_s(self, expires_ms: int) -> int | None:
        return None if expires_ms >= NEVER_MS else max(0, (expires_ms - self._clock.now_ms()) // 1000)

    def _minted(self, key: bytes, header: SessionHeader) -> Response:
        minted = Minted(key.decode(), header.etag, self._ttl_left_s(header.expires_ms))
        return Response(201, msgspec.json.encode(minted), self._headers(header.etag, header.expires_ms), "application/json")

    def _revoked(self, client: Client, policy: Policy, scope: str) -> Response:
        _log.warning("revocation_by_client", namespace=policy.name, scope=scope, client=client.name)
        return Response(204, b"", (_NO_STORE,))


def _session_of(request: Request) -> str | None:
    """The key in `Authorization: Session KEY`, as sent, or None."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip(" \t") if scheme.lower() == "session" else None


def _decode_header(text: str, *, where: str) -> bytes:
    """What a header names, percent-encoded as a path would be, so that both mean the same: no key twice, no subject out of reach.

    Raises:
        InvalidInput: it is empty, or holds what a path cannot hold.
    """
    if _PRINTABLE.fullmatch(text) is None:
        raise InvalidInput("what a header names is percent-encoded as in a path", where=where)
    return decode_key(text)


def _refuse_session(request: Request) -> None:
    if _session_of(request) is not None:
        raise InvalidInput("this is not about a single session, yet one is named", where="authorization")


def _refuse_conditions(request: Request, *, but: str = "") -> None:
    """No condition is accepted and then not looked at."""
    for name in _CONDITIONS:
        if name != but and name in request.headers:
            raise InvalidInput("this operation knows no such condition", where=name)


def _condition(request: Request) -> Condition:
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and none_match is not None:
        raise InvalidInput("If-Match and If-None-Match exclude each other", where="if-match")
    if none_match is not None:
        _refuse_conditions(request, but="if-none-match")
        if none_match != "*":
            raise InvalidInput("a write knows If-None-Match: * alone", where="if-none-match")
        return ABSENT
    _refuse_conditions(request, but="if-match")
    if match is None or match == "*":
        return EXISTS
    etag = _ETAG.fullmatch(match)
    if etag is None:
        raise InvalidInput('If-Match holds one entity tag, "…", or *', where="if-match")
    return Match(etag[1])


def _etags(text: str) -> list[str]:
    """The entity tags in `If-None-Match`, compared weakly."""
    return [tag.strip().removeprefix("W/").strip('"') for tag in text.split(",")]


def _ttl_s(request: Request) -> float | None:
    ttl_s = _seconds(request, TTL_HEADER)
    if ttl_s == 0:
        raise InvalidInput("a session lives for at least a second", where=TTL_HEADER)
    return ttl_s


def _seconds(request: Request, name: str) -> float | None:
    text = request.headers.get(name)
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise InvalidInput("a whole number of seconds is expected", where=name)
    return float(text)


_NO_NAMESPACE = "no such namespace"
_NO_SESSION = "no such session: absent, expired, revoked or another's"
_MISSES = "no such session, and the client has used up its budget of such answers; `Retry-After`"
_FULL = "the namespace has used up a quota"
_SHED = "too many writes are under way; `Retry-After`"
_MALFORMED = "a malformed key or header, or a condition that is not known here"
_COMMON = {400: _MALFORMED, 401: "no client that may do this sent it", 404: _NO_SESSION, 414: "the key is too long", 429: _MISSES}
_TTL = ("header", "Session-TTL", "seconds; can shorten the TTL of the namespace, not lengthen it")
_SUBJECT = ("header", "Session-Subject", "whose session it is, percent-encoded; opaque here")
_GRACE = ("header", "Session-Grace", "seconds for which the old key still leads to the new one; at most `rotation_grace`")
_SESSION = (
    "header",
    "Authorization",
    "`Session KEY`, the key percent-encoded; the client's token is in `Client-Authorization: Bearer TOKEN`",
)
_GET_HEADERS = (("header", "If-None-Match", "entity tags; 304 if the session has one of them"),)
_PUT_HEADERS = (
    ("header", "If-Match", "one entity tag, or `*`"),
    ("header", "If-None-Match", "`*`: make the session, if there is none"),
    _TTL,
    _SUBJECT,
)
_GET = {200: "its value, `ETag`, `Session-TTL`", 304: "it has not changed", **_COMMON}
_PUT = {
    201: "made",
    204: "replaced; `ETag`, `Session-TTL`",
    **_COMMON,
    409: "it was revoked, or has reached the end of its absolute lifetime",
    412: "the condition does not hold",
    503: _SHED,
    507: _FULL,
}
_DELETE = {204: "it is not there any more, if it ever was", 400: _MALFORMED, 401: _COMMON[401], 414: _COMMON[414], 503: _SHED}
_TOUCH = {204: "`ETag`, `Session-TTL`", **_COMMON, 503: _SHED, 507: _FULL}
_ROTATE = {201: "`{session, etag, ttl_s}`: the new key", **_COMMON, 503: _SHED, 507: _FULL}

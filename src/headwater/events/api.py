"""HTTP in and out of the intake. Answers: `docs/reference/events.md`; EventGate's, but for a client's mistakes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from headwater.events.body import split
from headwater.events.config import EventsConfig
from headwater.events.examination import Rules
from headwater.events.model import IntakeStatus, Result, Status
from headwater.events.service import Intake
from headwater.http import json
from headwater.http.messages import Request, Response, Route
from headwater.http.problems import problem_type
from headwater.kernel.errors import HeadwaterError, InvalidInput, NotFound, Retry

CONTENT_TYPES = ("application/json", "text/plain", "application/reports+json")
SPLIT_INLINE_BYTES_MAX = 64 * 1024  # a larger body is split in a thread
MEMBERS_PER_SLICE = 100

_ENCODER = msgspec.json.Encoder()
_NULL = msgspec.Raw(b"null")
_WORST_FIRST = ("outcome-unknown", "storage-full")  # of the failures that are ours, which one the answer's status tells


class ViolationView(msgspec.Struct, frozen=True, rename="camel"):
    """One broken rule, with the member names that EventGate's clients know."""

    keyword: str
    data_path: str
    instance_path: str
    schema_path: str
    message: str


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an event was not stored."""

    message: str
    code: str
    where: str | None = None
    errors: tuple[ViolationView, ...] = ()
    errors_text: str | None = msgspec.field(default=None, name="errorsText")


class Member(msgspec.Struct, frozen=True):
    """One event that was not stored, and its place in the request."""

    status: str
    index: int
    event: msgspec.Raw
    context: Context


class StreamView(msgspec.Struct, frozen=True):
    """A stream, or a pattern of streams, as `/v1/streams` lists it."""

    name: str
    schema_title: str
    public: bool
    pattern: bool


class StreamsView(msgspec.Struct, frozen=True):
    """The answer of `/v1/streams`."""

    streams: tuple[StreamView, ...]
    schemas: tuple[str, ...]


class StatusView(msgspec.Struct, frozen=True):
    """The answer of `/v1/status`."""

    intake: IntakeStatus
    followers: Mapping[str, object]


def routes(
    intake: Intake, rules: Rules, config: EventsConfig, *, followers: Callable[[], Mapping[str, object]] = dict
) -> tuple[Route, ...]:
    """The operations of the intake.

    Args:
        intake: what accepts events.
        rules: the schemas and streams that are listed.
        config: limits.
        followers: the present state of each wiki's follower by wiki, as values that msgspec can encode.
    """
    api = _Api(intake, rules, followers)
    post_statuses = {
        201: "Every event is durable; repeated ones count.",
        207: "Some events are durable; the others are listed.",
        400: "Nothing was stored: malformed, or every event is listed with what is wrong with it.",
        413: "Nothing was stored: the body, its number of events or every event is too large.",
        503: "Nothing was stored: overloaded, or the log cannot be used.",
        504: "Nobody knows whether the events were stored; repeat the request.",
        507: "Nothing was stored: the disk is full.",
    }
    return (
        Route(
            "POST",
            "/v1/events",
            api.post_events,
            "Store one event or an array of events.",
            post_statuses,
            "events:write",
            config.body_bytes_max,
        ),
        Route("GET", "/v1/streams", api.get_streams, "List streams and schemas.", {200: "The streams and schemas."}),
        Route(
            "GET", "/v1/schemas/{uri*}", api.get_schema, "One version of a schema.", {200: "The schema.", 404: "There is no such schema."}
        ),
        Route("GET", "/v1/status", api.get_status, "Counters of the intake, state of the followers.", {200: "The status."}, "events:read"),
    )


class _Api:
    def __init__(self, intake: Intake, rules: Rules, followers: Callable[[], Mapping[str, object]]) -> None:
        self._intake = intake
        self._rules = rules
        self._followers = followers

    async def post_events(self, request: Request) -> Response:
        """Store what is in the body."""
        _check_content_type(request.headers.get("content-type"))
        body = await request.body()
        events = split(body) if len(body) <= SPLIT_INLINE_BYTES_MAX else await asyncio.to_thread(split, body)
        return await answer(events, await self._intake.accept(events, domains=request.client.domains))

    async def get_streams(self, _request: Request) -> Response:
        """List streams and schemas."""
        streams = tuple(StreamView(rule.name, rule.schema_title, rule.public, rule.is_pattern) for rule in self._rules.streams.rules)
        return json.respond(StreamsView(streams, tuple(self._rules.schemas.uris())))

    async def get_schema(self, request: Request) -> Response:
        """The file of one schema."""
        try:
            schema = self._rules.schemas.find("/" + request.params["uri"].removesuffix(".json"))
        except InvalidInput as error:
            raise NotFound(error.detail) from error
        return Response(200, schema.source, (("cache-control", "public, max-age=86400"),), "application/schema+json")

    async def get_status(self, _request: Request) -> Response:
        """Counters."""
        return json.respond(StatusView(self._intake.status(), self._followers()))


async def answer(events: Sequence[bytes], results: Sequence[Result]) -> Response:
    """What tells the client what became of `events`: nothing but 201 if all were accepted, else a list of the others."""
    failures = [index for index, result in enumerate(results) if not result.accepted]
    if not failures:
        return Response(201)
    lists: dict[Status, list[bytes]] = {Status.INVALID: [], Status.ERROR: []}
    for count, index in enumerate(failures, 1):
        lists[results[index].status].append(_ENCODER.encode(_member(index, events[index], results[index])))
        if count % MEMBERS_PER_SLICE == 0:
            await asyncio.sleep(0)
    body = b'{"invalid":[%b],"error":[%b]}' % (b",".join(lists[Status.INVALID]), b",".join(lists[Status.ERROR]))
    if len(failures) < len(results):
        return Response(207, body, content_type=json.CONTENT_TYPE)
    status, headers = _total_failure([error for result in results if (error := result.error) is not None])
    return Response(status, body, headers, json.CONTENT_TYPE)


def _total_failure(errors: Sequence[HeadwaterError]) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Status and headers when nothing was stored: ours if any failure is ours, else the client's."""
    ours = {error.code: error for error in errors if error.retry is not Retry.NEVER or error.code in ("fenced", "corrupted")}
    if ours:
        code = next((code for code in _WORST_FIRST if code in ours), next(iter(ours)))
        return problem_type(code).status, (("retry-after", str(max(1, round(ours[code].retry_after_s or 1)))),)
    codes = {error.code for error in errors}
    return problem_type("too-large" if codes == {"too-large"} else "invalid-input").status, ()


def _member(index: int, event: bytes, result: Result) -> Member:
    error = result.error
    assert error is not None, "what was not accepted has an error"
    views = tuple(
        ViolationView(violation.keyword, violation.data_path, violation.pointer, "#" + violation.schema_path, violation.message)
        for violation in result.violations
    )
    context = Context(error.detail, error.code, error.where, views, error.detail if views else None)
    # What is too large has not been examined, so it need not be JSON.
    return Member(result.status.value, index, _NULL if error.code == "too-large" else msgspec.Raw(event), context)


def _check_content_type(content_type: str | None) -> None:
    if content_type is None:
        raise InvalidInput(f"the Content-Type is missing; it is one of {', '.join(CONTENT_TYPES)}", where="content-type")
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() not in CONTENT_TYPES:
        raise InvalidInput(f"the Content-Type is one of {', '.join(CONTENT_TYPES)}", where="content-type")
    name, _, value = parameters.partition("=")
    if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
        raise InvalidInput("events are UTF-8", where="content-type")

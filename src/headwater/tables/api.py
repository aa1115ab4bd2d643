"""The HTTP interface of tables: JSON in and out. It decides nothing but who may, and what a condition in a header means."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from headwater.http.json import CONTENT_TYPE, parse, respond, respond_encoded
from headwater.http.json_places import InvalidJson, Place
from headwater.http.messages import Request, Response, Route
from headwater.http.problems import CONTENT_TYPE as PROBLEM_CONTENT_TYPE
from headwater.http.problems import problem_type
from headwater.kernel.errors import InvalidInput
from headwater.tables.clients import may, permit
from headwater.tables.column_plans import NAME_SHOWN_MAX
from headwater.tables.conditions import header_of
from headwater.tables.config import EVERY, TablesConfig, Verb
from headwater.tables.model import Condition, Revision
from headwater.tables.openapi import table_openapi
from headwater.tables.service import Tables, Written
from headwater.tables.streaming import Streams

_REVISION = re.compile(r'"([0-9a-f]{16})"')
_NO_STORE = (("cache-control", "no-store"),)
_FLAGS = {"0": False, "false": False, "1": True, "true": True}
_STATUS_OF = {"created": 201, "changed": 201, "unchanged": 200}

# What several operations answer.
_CLIENTS = {
    401: "a valid bearer token is needed; nothing was looked up",
    403: "the client may not do this, or it is the page of a web site; nothing was looked up",
}
_COMMON = _CLIENTS | {400: "the request breaks a rule; `where` names the column or option", 404: "the domain has declared no such table"}
_TYPES = _COMMON | {422: "a value is not of its column's type; `where` names the column"}
_FULL = "a partition, a quota or the disk is full; nothing was written"
_UNKNOWN = "it may or may not have happened; a repeat with the same `write_id` finds out"
_REFUSED = "a problem with `applied: false` and, for who may also read, `current`: the row that is there or null"
_WRITES = _TYPES | {
    201: "`{applied: true, revision}`",
    409: "the `write_id` was used for another write, or the table is being changed",
    412: _REFUSED,
    504: _UNKNOWN,
    507: _FULL,
}
_IF_MATCH = ("header", "If-Match", "`*` or the revision in quotes that the row has to have. Refused on tables of plain writes.")
_IF_NONE_MATCH = ("header", "If-None-Match", "`*`: the row must not be there. Refused on tables of plain writes.")


class TablesApi:
    """Routes over `Tables`."""

    def __init__(self, service: Tables, streams: Streams, config: TablesConfig) -> None:
        self._service = service
        self._streams = streams
        self._config = config

    def routes(self) -> Sequence[Route]:
        """All operations."""
        return (*self._declarations(), *self._rows(), *self._administration(), *self._overviews())

    def _declarations(self) -> tuple[Route, ...]:
        dry_run = ("query", "dry_run", "`1`: say what would happen, do nothing.")
        return (
            Route(
                "PUT",
                "/v1/{domain}/tables/{table}",
                self._declare,
                "Declare or migrate a table. Verb: `declare`, for a new or another schema in all domains of the storage group.",
                {
                    **_CLIENTS,
                    403: "the client may not do this, here or in all domains that share the schema; or it is the page of a web site",
                    200: "the table is as declared already; or the plan, with `dry_run`",
                    201: "declared or migrated",
                    400: "the schema breaks a rule; `where` names the element",
                    404: "the domain belongs to no storage group",
                    409: "the schema cannot replace the present one; `where` names the element",
                    504: "it may or may not have happened; repeat it",
                    507: "there are too many tables, or the disk is full; nothing was done",
                },
                body_bytes_max=self._config.schema_bytes_max,
                parameters=(dry_run,),
            ),
            Route(
                "GET",
                "/v1/{domain}/tables/{table}",
                self._schema,
                "The schema as normalised. Verb: `read`.",
                {200: "the schema", **_COMMON},
            ),
            Route(
                "DELETE",
                "/v1/{domain}/tables/{table}",
                self._drop,
                "Drop the table with the domain's rows. Verb: `declare`.",
                {
                    **_CLIENTS,
                    204: "it is not there, any more or never was",
                    400: "the domain has no valid name",
                    404: "the domain belongs to no storage group",
                    409: "it was declared for all domains",
                    504: "it may or may not have happened; repeat it",
                    507: "not even the room to take it away is left",
                },
            ),
        )

    def _rows(self) -> tuple[Route, ...]:
        body = self._config.body_bytes_max
        return (
            Route(
                "POST",
                "/v1/{domain}/tables/{table}/query",
                self._query,
                "Rows of a partition. Verb: `read`.",
                {200: "`{items, next?}`; no rows is no items", **_TYPES},
                body_bytes_max=64 * 1024,
            ),
            Route(
                "PUT",
                "/v1/{domain}/tables/{table}/rows",
                self._put,
                "Write a row: what is named is set, null clears. Verb: `write`.",
                _WRITES,
                body_bytes_max=body,
                parameters=(_IF_MATCH, _IF_NONE_MATCH),
            ),
            Route(
                "POST",
                "/v1/{domain}/tables/{table}/batch",
                self._batch,
                "Write and delete rows of one partition, all or none. Verb: `write`, with a delete in it also `delete`.",
                _WRITES,
                body_bytes_max=body,
            ),
            Route(
                "POST",
                "/v1/{domain}/tables/{table}/delete",
                self._delete,
                "Delete a row, a range of rows, or a partition. Verb: `delete`.",
                {
                    200: "`{deleted, complete: false}`: a range had more rows than are deleted at once; repeat",
                    **_TYPES,
                    204: "none of them is there any more; of a range or partition `Rows-Deleted` says how many were",
                    409: "the `write_id` was used for another write, or the table is being changed",
                    412: _REFUSED,
                    504: _UNKNOWN,
                    507: "not even the room to delete is left",
                },
                body_bytes_max=64 * 1024,
                parameters=(_IF_MATCH,),
            ),
            Route(
                "GET",
                "/v1/{domain}/tables/{table}/changes",
                self._changes,
                "The changes of the table's rows, in order, from a position on. Verb: `read`.",
                {
                    200: "a stream of changes: server-sent events, or lines of JSON where `Accept` asks for `application/x-ndjson`",
                    **_COMMON,
                    400: "a parameter breaks a rule, or the position is beyond the newest change (`position-unknown`)",
                    410: "changes after that position have been trimmed; the detail says from where on they are there",
                },
                parameters=(
                    ("header", "Last-Event-ID", "The position after which to begin: the last id that was read."),
                    ("query", "since", "The same, for the first request; without either from the beginning."),
                    ("query", "wait", "`0`: end where nothing more is there, instead of waiting."),
                ),
            ),
        )

    def _administration(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/v1/{domain}/tables/{table}/rows",
                self._walk,
                "Rows of all partitions, page by page. Verb: `administer`.",
                {200: "`{items, next?}`", **_COMMON},
                parameters=(
                    ("query", "next", "The token of the page before."),
                    ("query", "limit", f"Most rows of the page, 1 to {self._config.limit_max}."),
                    ("query", "as", "`writes`: each item is the `attributes` of a write; all together they make these rows again."),
                ),
            ),
            Route(
                "GET",
                "/v1/{domain}/tables/{table}/stats",
                self._stats,
                "Rows, bytes, largest partitions, latencies. Verb: `administer`.",
                {200: "the statistics", **_COMMON},
            ),
            Route(
                "GET",
                "/v1/{domain}/tables/{table}/openapi.json",
                self._openapi,
                "The description of this table, with its columns. Verb: `read`.",
                {200: "an OpenAPI 3.1 document", **_COMMON},
            ),
        )

    def _overviews(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/v1/{domain}/tables",
                self._list,
                "The tables of a domain that the client may read. Verb: `read`.",
                {
                    200: "`{tables: [{table, all_domains}]}`, by name; `all_domains`: it was declared under `*`",
                    400: "the domain has no valid name",
                    404: "the domain belongs to no storage group",
                    **_CLIENTS,
                },
            ),
            Route(
                "GET", "/v1/status", self._status, "What all tables take together, and how many partitions are full.", {200: "the status"}
            ),
        )

    # Declarations

    async def _declare(self, request: Request) -> Response:
        domain, table = _place(request, Verb.DECLARE, "dry_run")
        dry_run = _flag(request, "dry_run", False)

        def permitted(other: str) -> bool:
            return may(request.client, Verb.DECLARE, other, table)

        declared = await self._service.declare(domain, table, _read_object(await request.body()), dry_run=dry_run, may=permitted)
        return respond(declared, status=200 if dry_run else _STATUS_OF[declared.outcome])

    async def _schema(self, request: Request) -> Response:
        return respond(self._service.schema(*_place(request, Verb.READ)))

    async def _drop(self, request: Request) -> Response:
        await self._service.drop(*_place(request, Verb.DECLARE))
        return Response(204, headers=_NO_STORE)

    # Rows

    async def _query(self, request: Request) -> Response:
        domain, table = _place(request, Verb.READ)
        raw = await request.body()
        answer = await self._service.query_point(domain, table, raw)
        return respond(await self._service.query(domain, table, _object(raw))) if answer is None else respond_encoded(answer)

    async def _put(self, request: Request) -> Response:
        domain, table = _place(request, Verb.WRITE)
        raw, condition = await request.body(), _condition(request)
        revision = None if condition is not None else await self._service.put_point(domain, table, raw)
        if revision is not None:
            return _applied(revision)
        return _answer(request, await self._service.put(domain, table, _object(raw), condition=condition))

    async def _batch(self, request: Request) -> Response:
        domain, table = _place(request, Verb.WRITE)
        body = await _body(request)
        given = _condition(request)
        if given is not None:
            raise InvalidInput("a batch has no condition for all of its rows: give each row its own `if`", where=header_of(given))
        rows = body.get("rows")
        if isinstance(rows, list) and any(isinstance(row, dict) and row.get("delete") for row in rows):
            permit(request.client, Verb.DELETE, domain, table)
        return _answer(request, await self._service.batch(domain, table, body))

    async def _delete(self, request: Request) -> Response:
        domain, table = _place(request, Verb.DELETE)
        deleted = await self._service.delete(domain, table, await _body(request), condition=_condition(request))
        if isinstance(deleted, Written):
            return _answer(request, deleted)
        if not deleted.complete:
            return respond(deleted)
        counted = () if deleted.deleted is None else (("rows-deleted", str(deleted.deleted)),)
        return Response(204, headers=(*_NO_STORE, *counted))

    async def _changes(self, request: Request) -> Response:
        domain, table = _place(request, Verb.READ, "since", "wait")
        return await self._streams.open(request, domain, table, waits=_flag(request, "wait", True))

    # Administration

    async def _walk(self, request: Request) -> Response:
        domain, table = _place(request, Verb.ADMINISTER, "next", "limit", "as")
        limit = request.query_number("limit", self._config.limit_default, least=1, most=self._config.limit_max)
        shown_as = request.query_value("as") or "rows"
        if shown_as not in ("rows", "writes"):
            raise InvalidInput("as is rows or writes", where="as")
        after, as_writes = request.query_value("next"), shown_as == "writes"
        return respond(await self._service.walk(domain, table, after=after, limit=limit, as_writes=as_writes))

    async def _stats(self, request: Request) -> Response:
        return respond(await self._service.stats(*_place(request, Verb.ADMINISTER)))

    async def _openapi(self, request: Request) -> Response:
        domain, table = _place(request, Verb.READ)
        return respond(table_openapi(self._service.table(domain, table), domain=domain))

    async def _list(self, request: Request) -> Response:
        domain = request.params["domain"]
        shown = [one for one in self._service.tables_of(domain) if may(request.client, Verb.READ, domain, one.table)]
        if not shown:  # who may read nothing there learns as much from a domain that has tables
            permit(request.client, Verb.READ, domain, EVERY)
        return respond({"tables": shown})

    async def _status(self, request: Request) -> Response:
        return respond(await self._service.status())


def _place(request: Request, verb: Verb, *parameters: str) -> tuple[str, str]:
    """The domain and table that a request names, where its client may do `verb`.

    Raises:
        Unauthenticated, Forbidden: it may not.
        InvalidInput: it has other query parameters than these: `?dryrun=1` must not declare anything.
    """
    domain, table = request.params["domain"], request.params["table"]
    permit(request.client, verb, domain, table)
    if request.query:
        unknown = next((name for name, _ in request.query if name not in parameters), None)
        if unknown is not None:
            raise InvalidInput(f"query parameters here: {', '.join(parameters) or 'none'}", where=unknown[:NAME_SHOWN_MAX])
    return domain, table


def _flag(request: Request, name: str, default: bool) -> bool:
    """A query parameter that says yes or no. Raises InvalidInput."""
    text = request.query_value(name)
    if text is None:
        return default
    if text not in _FLAGS:
        raise InvalidInput(f"{name} is 0 or 1", where=name)
    return _FLAGS[text]


async def _body(request: Request) -> Mapping[str, object]:
    """What a request about rows says."""
    return _object(await request.body())


def _object(raw: bytes) -> Mapping[str, object]:
    """What a body about rows says; what is at fault in it is named as in every other refusal of these."""
    try:
        return _read_object(raw)
    except InvalidJson as error:
        error.where = _named(error.place)
        raise


def _named(place: Place) -> str | None:
    match place:
        case ("rows", int(row), *rest):
            return "/".join([f"/rows/{row}", *map(str, _member(rest))])
        case _:
            return "".join(map(str, _member(place))) or None


def _member(place: Sequence[str | int]) -> Sequence[str | int]:
    """The column where it is one, else the member of the body."""
    return place[1:2] if len(place) > 1 and place[0] in ("attributes", "if") else place[:1]


def _read_object(raw: bytes) -> Mapping[str, object]:
    """An object; what is at fault in it is named by its place."""
    value = parse(raw)
    if not isinstance(value, dict):
        raise InvalidInput("the body is a JSON object")
    return value


def _condition(request: Request) -> Condition | None:
    """What `If-Match` and `If-None-Match` ask for. Raises InvalidInput: something else than one revision or `*`."""
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and none_match is not None:
        raise InvalidInput("If-Match and If-None-Match exclude each other", where="if-match")
    if none_match is not None:
        if none_match != "*":
            raise InvalidInput("If-None-Match is *", where="if-none-match")
        return Condition(exists=False)
    if match is None:
        return None
    if match == "*":
        return Condition(exists=True)
    found = _REVISION.fullmatch(match)
    if found is None:
        raise InvalidInput("If-Match is * or one revision in quotes", where="if-match")
    return Condition(revision=Revision(int(found[1], 16)))


def _answer(request: Request, written: Written) -> Response:
    if not written.applied:
        return _not_applied(written, shown=may(request.client, Verb.READ, request.params["domain"], request.params["table"]))
    assert written.revision is not None
    return _applied(written.revision)


def _applied(revision: str) -> Response:
    return Response(201, b'{"applied":true,"revision":"%b"}' % revision.encode("ascii"), _NO_STORE, CONTENT_TYPE, etag=f'"{revision}"')


def _not_applied(written: Written, *, shown: bool) -> Response:
    """The refusal; the row itself is `shown` only to who could read it as well."""
    code = "condition-failed"
    kind = problem_type(code)
    members = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "nothing was written, since the row is not as the condition says",
        "applied": False,
        **({"current": written.current} if shown else {}),
    }
    return Response(kind.status, msgspec.json.encode(members), _NO_STORE, PROBLEM_CONTENT_TYPE)

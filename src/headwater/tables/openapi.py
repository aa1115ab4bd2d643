"""The OpenAPI 3.1 description of one table, with its own columns: what is sent and what comes back, so that it can be checked before. Pure.

What the planner decides from the whole of a request (a range after a range that is not fixed, keys of a batch that differ) cannot be said
in a schema; it is answered 400.
"""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from headwater.http.openapi import PROBLEM_SCHEMA
from headwater.http.problems import CONTENT_TYPE as PROBLEM_TYPE
from headwater.tables.jsonschemas import JsonSchema, or_null, sample, sent, shown
from headwater.tables.model import TTL_MAX_S, Column, Discipline, Kind, Operator, Table

_JSON = "application/json"
_PROBLEMS: Mapping[int, str] = {
    400: "The request breaks a rule; `where` names the column or option.",
    401: "A valid bearer token is needed.",
    403: "The client may not do this with this table.",
    404: "The domain has declared no such table.",
    408: "The request did not arrive in time.",
    409: "The table is being migrated, or the `write_id` was used for another write.",
    410: "Changes after that position have been trimmed.",
    413: "A row, a batch or the body is too large.",
    422: "A value is not of its column's type; `where` names the column.",
    431: "The header fields are too many or too large.",
    500: "A bug; the log says more.",
    503: "The server is full or its storage does not answer; `Retry-After` says when to try again.",
    504: "It may or may not have been written; repeat it with the same `write_id`.",
    507: "The partition, a quota or the disk is full; nothing was written.",
}
_ALWAYS = (400, 401, 403, 404, 408, 431, 500, 503)
_WITH_BODY = (*_ALWAYS, 413)
_WRITES = (*_WITH_BODY, 409, 422, 504, 507)


def table_openapi(table: Table, *, domain: str) -> dict[str, object]:
    """The document that describes a domain's table, as JSON values."""
    at = f"/v1/{quote(domain, safe='')}/tables/{quote(table.name, safe='')}"
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Table {table.name} of {domain}", "version": str(table.version), "description": _introduction(table)},
        "paths": {
            at: _declaration_item(),
            f"{at}/query": {"post": _query(table)},
            f"{at}/rows": {"put": _put(table), "get": _walk()},
            f"{at}/batch": {"post": _batch(table)},
            f"{at}/delete": {"post": _delete(table)},
            **({f"{at}/changes": {"get": _changes()}} if table.options.changes else {}),
            f"{at}/stats": {"get": _operation("stats", "Rows, bytes, largest partitions, latencies.", {200: {"type": "object"}})},
            f"{at}/openapi.json": {"get": _operation("describe", "This document.", {200: {"type": "object"}})},
        },
        "components": {
            "schemas": _schemas(table),
            "responses": {
                f"Problem{status}": {"description": meaning, "content": {PROBLEM_TYPE: {"schema": _ref("Problem")}}}
                for status, meaning in _PROBLEMS.items()
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],
    }


def _introduction(table: Table) -> str:
    partition = ", ".join(column.name for column in table.hashes)
    order = ", ".join(f"{column.name} {'desc' if column.descending else 'asc'}" for column in table.ranges)
    rows = f"A partition is named by {partition} and holds its rows in the order {order}." if order else f"A row is named by {partition}."
    writes = (
        "Writes are compare-and-set: conditions are answered 412 where they do not hold, and revisions of a row rise."
        if table.options.writes is Discipline.CONDITIONAL
        else "Writes are plain: the last one wins, conditions are refused, and a revision says nothing but that the write happened."
    )
    return f"{rows} {writes}"


# Schemas


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}


def _closed(properties: Mapping[str, object], *, required: Iterable[str] = (), **others: object) -> JsonSchema:
    """An object that has no other members than `properties`."""
    return {"type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False, **others}


def _names(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns]


def _schemas(table: Table) -> dict[str, JsonSchema]:
    found = {
        "Problem": dict(PROBLEM_SCHEMA),
        "Row": _row(table),
        "Attributes": _attributes(table),
        "Key": _key(table),
        "Slice": _slice(table),
        "Written": _written(table),
    }
    if table.options.writes is Discipline.CONDITIONAL:
        found["Condition"] = _condition(table)
        current = {
            "applied": {"const": False},
            "current": {"description": "What is there; of a batch, per row, as many as an answer holds. Only for who may also read."},
        }
        found["NotApplied"] = {"allOf": [_ref("Problem"), {"type": "object", "properties": current, "required": ["applied"]}]}
    return found


def _row(table: Table) -> JsonSchema:
    """A row as it is shown; a partition with nothing but static columns is a row without the others."""
    properties: dict[str, object] = {}
    for column in table.by_name.values():
        certain = column in table.hashes or (column in table.ranges and not table.statics)
        properties[column.name] = shown(column.type) if certain else or_null(shown(column.type))
    row = _closed(properties, examples=[{column.name: sample(column.type) for column in table.by_name.values()}])
    return row | {"patternProperties": {"^_": {"description": "What the query asked to know of the row, such as `_ttl`."}}}


def _key_of(table: Table) -> dict[str, object]:
    return {column.name: sent(column.type) for column in (*table.hashes, *table.ranges)}


def _key(table: Table) -> JsonSchema:
    return _closed(_key_of(table), required=_key_of(table))


def _attributes(table: Table) -> JsonSchema:
    """What is written of a row: its key, and what is to change; null clears. Only static columns may be written without the rest."""
    properties = _key_of(table)
    properties |= {column.name: or_null(sent(column.type)) for column in (*table.statics, *table.regulars)}
    properties["_ttl"] = {"type": "integer", "minimum": 0, "maximum": TTL_MAX_S, "description": "Seconds until it expires; 0: never."}
    example = {column.name: sample(column.type) for column in table.by_name.values()}
    if not table.statics:
        return _closed(properties, required=_names((*table.hashes, *table.ranges)), examples=[example])
    statics_alone = {"properties": dict.fromkeys(_names((*table.ranges, *table.regulars)), False)}
    either = [{"required": _names(table.ranges)}, statics_alone]
    return _closed(properties, required=_names(table.hashes), anyOf=either, examples=[example])


def _bare(column: Column) -> JsonSchema:
    """A value that means equality; an object that a json column is to equal has to be wrapped, since it could be operators."""
    if column.type.kind is Kind.JSON and not column.type.is_set:
        return {"not": {"type": ["null", "object"]}}
    return sent(column.type)


def _comparisons(value: JsonSchema) -> dict[str, object]:
    """Members of an object of operators other than equality; operators may be written in any case."""
    found: dict[str, object] = {operator.value: value for operator in Operator if operator is not Operator.EQ}
    return found | {Operator.BETWEEN.value: {"type": "array", "items": value, "minItems": 2, "maxItems": 2}}


def _equality(column: Column) -> list[JsonSchema]:
    """A key compared by equality, in both its forms."""
    return [_bare(column), _closed({Operator.EQ.value: sent(column.type)}, required=[Operator.EQ.value])]


def _slice(table: Table) -> JsonSchema:
    """Which rows of a partition: the whole hash, and range columns from the first on."""
    properties: dict[str, object] = {column.name: {"anyOf": _equality(column)} for column in table.hashes}
    for column in table.ranges:
        properties[column.name] = {"anyOf": [*_equality(column), _closed(_comparisons(sent(column.type)), minProperties=1)]}
    names = _names(table.ranges)
    before = {name: names[:at] for at, name in enumerate(names) if at}
    example = {column.name: sample(column.type) for column in table.hashes}
    return _closed(properties, required=_names(table.hashes), dependentRequired=before, examples=[example])


def _condition(table: Table) -> JsonSchema:
    """What has to hold for a write. A set compares by equality only, and only equality takes null."""
    predicates: dict[str, object] = {}
    for column in table.by_name.values():
        operators: dict[str, object] = {Operator.EQ.value: or_null(sent(column.type))}
        if not column.type.is_set:
            operators |= _comparisons(sent(column.type))
        predicates[column.name] = {"anyOf": [or_null(_bare(column)), _closed(operators, minProperties=1)]}
    not_there = {"type": "string", "pattern": r"^\s*[nN][oO][tT]\s+[eE][xX][iI][sS][tT][sS]\s*$"}
    return {"anyOf": [not_there, _closed(predicates, minProperties=1)], "examples": ["not exists"]}


def _written(table: Table) -> JsonSchema:
    revision: JsonSchema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
    if table.options.writes is Discipline.PLAIN:
        revision["description"] = "Opaque: it cannot be compared with others."
    return {"type": "object", "properties": {"applied": {"const": True}, "revision": revision}, "required": ["applied", "revision"]}


# Operations


def _operation(
    name: str, summary: str, answers: Mapping[int, JsonSchema], *, problems: Sequence[int] = _ALWAYS, **others: object
) -> JsonSchema:
    responses: dict[str, object] = {
        str(status): {"description": _ANSWERS[status], "content": {_JSON: {"schema": schema}}}
        if schema
        else {"description": _ANSWERS[status]}
        for status, schema in answers.items()
    }
    responses |= {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(problems)}
    return {"operationId": name, "summary": summary, **others, "responses": responses}


_ANSWERS = {
    200: "As asked.",
    201: "Done, and durable.",
    204: "Done: none of them is there any more. Of a range or partition `Rows-Deleted` says how many were.",
}


def _body(table: Table, properties: Mapping[str, object], *, required: Iterable[str] = ("attributes",)) -> dict[str, object]:
    whole = {"table": {"const": table.name, "description": "May be repeated here."}, **properties}
    schema = _closed(whole, required=required)
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": schema}}}}


def _header(name: str, meaning: str, pattern: str) -> dict[str, object]:
    return {"name": name, "in": "header", "description": meaning, "schema": {"type": "string", "pattern": pattern}}


def _conditions(table: Table, *, creation: bool) -> dict[str, object]:
    """The parameters that are conditions; none on a table of plain writes, which refuses them."""
    if table.options.writes is Discipline.PLAIN:
        return {}
    found = [_header("If-Match", "`*`, or the revision in quotes that the row has to have.", r'^(\*|"[0-9a-f]{16}")$')]
    if creation:
        found.append(_header("If-None-Match", "`*`: the row must not be there.", r"^\*$"))
    return {"parameters": found}


def _with_refusal(table: Table, operation: JsonSchema) -> JsonSchema:
    """`operation`, with the answer to a condition that does not hold where there are any."""
    responses = operation["responses"]
    assert isinstance(responses, dict)
    if table.options.writes is Discipline.CONDITIONAL:
        refusal = {
            "description": "The condition does not hold; nothing was written.",
            "content": {PROBLEM_TYPE: {"schema": _ref("NotApplied")}},
        }
        operation["responses"] = dict(sorted((responses | {"412": refusal}).items()))
    return operation


def _condition_of(table: Table) -> dict[str, object]:
    """Members of a row that are about conditions: none where writes are plain."""
    return {"if": _ref("Condition")} if table.options.writes is Discipline.CONDITIONAL else {}


def _write_id_of(table: Table) -> dict[str, object]:
    """The id of a write, as a member of its body; plain writes have none, since they may simply be repeated."""
    if table.options.writes is Discipline.PLAIN:
        return {}
    meaning = "A repeat with the same id gets the outcome of the first."
    return {"write_id": {"type": "string", "pattern": "^[!-~]{1,128}$", "description": meaning}}


def _query(table: Table) -> JsonSchema:
    name: JsonSchema = {"enum": _names(tuple(table.by_name.values()))}
    properties: dict[str, object] = {
        "attributes": _ref("Slice"),
        "proj": {
            "anyOf": [name, {"type": "array", "items": name, "minItems": 1}],
            "description": "Columns to show; all where it is left out.",
        },
        "limit": {"type": "integer", "minimum": 1},
        "next": {"type": "string", "description": "The token of the page before."},
        "withTTL": {"type": "boolean", "description": "Whether each row shows the seconds it has left, as `_ttl`."},
        "withRevision": {"type": "boolean", "description": "Whether each row shows its revision, as `_revision`."},
    }
    if table.ranges:
        properties["order"] = _order(table)
    answer: JsonSchema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": _ref("Row")}, "next": {"type": "string"}},
        "required": ["items"],
    }
    return _operation("query", "Rows of a partition.", {200: answer}, problems=(*_WITH_BODY, 422), **_body(table, properties))


def _order(table: Table) -> JsonSchema:
    """The order of declaration, or all of it in reverse."""
    declared = {column.name: {"const": "desc" if column.descending else "asc"} for column in table.ranges}
    reverse = {column.name: {"const": "asc" if column.descending else "desc"} for column in table.ranges}
    return {"anyOf": [_closed(declared), _closed(reverse)]}


def _put(table: Table) -> JsonSchema:
    body = _body(table, {"attributes": _ref("Attributes"), **_condition_of(table), **_write_id_of(table)})
    summary = "Write a row: what is named is set, null clears."
    parameters = _conditions(table, creation=True)
    return _with_refusal(table, _operation("put", summary, {201: _ref("Written")}, problems=_WRITES, **parameters, **body))


def _batch(table: Table) -> JsonSchema:
    members = {"table": {"const": table.name}, **_condition_of(table)}
    write = _closed({"attributes": _ref("Attributes"), "delete": {"const": False}, **members}, required=["attributes"])
    removal = _closed({"attributes": _ref("Key"), "delete": {"const": True}, **members}, required=["attributes", "delete"])
    rows = {"type": "array", "items": {"anyOf": [write, removal]}, "minItems": 1}
    body = _body(table, {"rows": rows, **_write_id_of(table)}, required=["rows"])
    summary = "Write and delete rows of one partition, all or none."
    return _with_refusal(table, _operation("batch", summary, {201: _ref("Written")}, problems=_WRITES, **body))


def _delete(table: Table) -> JsonSchema:
    some: JsonSchema = {
        "type": "object",
        "properties": {"deleted": {"type": "integer"}, "complete": {"const": False}},
        "required": ["deleted", "complete"],
        "description": "A range had more rows than are deleted at once; repeat.",
    }
    summary = "Delete a row, a range of rows, or a partition."
    body = _body(table, {"attributes": _ref("Slice"), **_condition_of(table), **_write_id_of(table)})
    parameters = _conditions(table, creation=False)
    return _with_refusal(table, _operation("delete", summary, {200: some, 204: {}}, problems=_WRITES, **parameters, **body))


def _changes() -> JsonSchema:
    parameters = [
        {
            "name": "since",
            "in": "query",
            "description": "The position after which to begin.",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        },
        {"name": "wait", "in": "query", "description": "`0`: end where nothing more is there.", "schema": {"enum": ["0", "1"]}},
        _header("Last-Event-ID", "The last id that was read.", "^[0-9]+$"),
    ]
    operation = _operation(
        "changes", "Changes of rows, in order, from a position on.", {200: {}}, problems=(*_ALWAYS, 410), parameters=parameters
    )
    lines: JsonSchema = {"text/event-stream": {"schema": {}}, "application/x-ndjson": {"schema": {}}}  # 3.1 describes no single events
    responses = operation["responses"]
    assert isinstance(responses, dict)
    responses["200"] = {
        "description": "Events, or lines of JSON where `Accept` asks for them; one of kind `end` says why it is over.",
        "content": lines,
    }
    return operation


def _walk() -> JsonSchema:
    parameters = [
        {"name": "next", "in": "query", "description": "The token of the page before.", "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "description": "Most rows of the page.", "schema": {"type": "integer", "minimum": 1}},
        {
            "name": "as",
            "in": "query",
            "description": "`writes`: items are the attributes of writes; together they make these rows again.",
            "schema": {"enum": ["rows", "writes"]},
        },
    ]
    page: JsonSchema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"anyOf": [_ref("Row"), _ref("Attributes")]}}, "next": {"type": "string"}},
        "required": ["items"],
    }
    return _operation("walk", "Rows of all partitions, page by page.", {200: page}, parameters=parameters)


def _declaration_item() -> dict[str, object]:
    schema: JsonSchema = {"type": "object", "required": ["attributes", "index"]}
    dry_run = {"name": "dry_run", "in": "query", "description": "`1`: say what would happen, do nothing.", "schema": {"enum": ["0", "1"]}}
    declared: JsonSchema = {"type": "object", "required": ["outcome"]}
    body = {"requestBody": {"required": True, "content": {_JSON: {"schema": schema}}}}
    answers = {200: declared, 201: declared}
    return {
        "get": _operation("schema", "The schema as normalised.", {200: schema}),
        "put": _operation("declare", "Migrate the table.", answers, problems=(*_WITH_BODY, 409, 504, 507), parameters=[dry_run], **body),
        "delete": _operation("drop", "Drop the table with the domain's rows.", {204: {}}, problems=(*_ALWAYS, 409, 504, 507)),
    }

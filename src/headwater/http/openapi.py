"""The OpenAPI 3.1 description of an application, made from its routes."""

import re
from collections.abc import Sequence

from headwater.http.messages import Route
from headwater.http.problems import CONTENT_TYPE

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\*?\}")
_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
_GUARD_STATUSES = {
    408: "The request did not arrive in time.",
    421: "The `Host` is none that is answered here.",
    431: "The header fields are too many or too large.",
    500: "A bug; the log says more.",
    503: "The server is full or a dependency does not answer; `Retry-After` says when to try again.",
}
PROBLEM_SCHEMA: dict[str, object] = {
    "type": "object",
    "description": "RFC 9457 problem.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "`/problems/` and the stable code of the error."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "where": {"type": "string", "description": "The field, option or header at fault."},
    },
}


def openapi(role: str, routes: Sequence[Route]) -> dict[str, object]:
    """The document that describes `routes`, as JSON values."""
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        path = _PLACEHOLDER.sub(lambda match: "{" + match[1] + "}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Headwater {role}", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM_SCHEMA},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, object]:
    operation: dict[str, object] = {"summary": route.summary, "responses": _responses(route)}
    parameters: list[dict[str, object]] = [
        {"name": match[1], "in": "path", "required": True, "schema": {"type": "string"}} for match in _PLACEHOLDER.finditer(route.path)
    ]
    parameters += [
        {"name": name, "in": place, "description": meaning, "schema": {"type": "string"}} for place, name, meaning in route.parameters
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.method in ("POST", "PUT", "PATCH"):
        limit = f"At most {route.body_bytes_max} bytes."
        operation["requestBody"] = {"description": limit, "content": {"application/json": {}}}
    if route.grant is not None:
        operation["security"] = [{"bearer": [route.grant]}]
        operation["description"] = f"Needs the grant `{route.grant}` where clients are configured."
    return operation


def _responses(route: Route) -> dict[str, object]:
    guard = dict(_GUARD_STATUSES)
    if route.grant is not None:
        guard |= {401: "A valid bearer token is needed.", 403: "The client lacks the grant."}
    if route.method in ("POST", "PUT", "PATCH"):
        guard[413] = "The body is too large."
    responses: dict[str, object] = {}
    for status, meaning in sorted((guard | dict(route.statuses)).items()):
        answer: dict[str, object] = {"description": meaning}
        if status >= 400 and status in guard:
            answer["content"] = {CONTENT_TYPE: {"schema": _PROBLEM_REF}}
        responses[str(status)] = answer
    return responses

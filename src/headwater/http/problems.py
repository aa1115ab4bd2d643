"""Errors as answers: RFC 9457 `application/problem+json`. The only place where an error meets an HTTP status.

`type` is the stable, relative reference `/problems/<code>`; codes are those of `headwater.kernel.errors` and of `HTTP_PROBLEMS`.
"""

import math
from dataclasses import dataclass

import orjson

from headwater.http.messages import Response
from headwater.kernel.errors import HeadwaterError, Retry

RETRY_AFTER_S = 1.0
"""When to try again after a 503 whose error does not know better."""
CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem: its status and a title that never changes from one occurrence to the next."""

    status: int
    title: str


ERROR_PROBLEMS: dict[str, ProblemType] = {
    "invalid-input": ProblemType(400, "The input breaks a rule"),
    "invalid-config": ProblemType(500, "The configuration cannot be used"),
    "not-found": ProblemType(404, "There is no such thing"),
    "unauthenticated": ProblemType(401, "Valid credentials are needed"),
    "forbidden": ProblemType(403, "The credentials do not allow this"),
    "too-large": ProblemType(413, "The input is too large"),
    "deadline-exceeded": ProblemType(408, "The request did not arrive in time"),
    "overloaded": ProblemType(503, "Too much work is under way"),
    "unavailable": ProblemType(503, "A dependency does not answer"),
    "storage-full": ProblemType(507, "The storage is full"),
    "fenced": ProblemType(503, "Another process has taken over"),
    "outcome-unknown": ProblemType(504, "It may or may not have happened"),
    "corrupted": ProblemType(500, "Stored data is damaged"),
    "offset-trimmed": ProblemType(410, "The records asked for are gone"),
    "already-owned": ProblemType(503, "Another process owns the data"),
    "format-too-new": ProblemType(500, "The data was written by a newer version"),
    "internal": ProblemType(500, "Something went wrong here"),
}
"""Status and title of every error code of `headwater.kernel.errors`."""

ROOM_PROBLEMS: dict[str, ProblemType] = {
    "condition-failed": ProblemType(412, "The condition does not hold"),
    "session-revoked": ProblemType(409, "The session was revoked"),
    "quota-exceeded": ProblemType(507, "A quota is used up"),
    "too-many-misses": ProblemType(429, "Too much was asked for that is not there"),
    "wrong-type": ProblemType(422, "A value is not of its column's type"),
    "invalid-paging-token": ProblemType(400, "The paging token is not valid here"),
    "no-such-table": ProblemType(404, "There is no such table"),
    "no-such-domain": ProblemType(404, "There is no such domain"),
    "migration-refused": ProblemType(409, "The table cannot become what is declared"),
    "schema-changed": ProblemType(409, "The table was changed meanwhile"),
    "partition-full": ProblemType(507, "The partition is full"),
    "table-quota-exceeded": ProblemType(507, "A quota is used up"),
    "write-id-reused": ProblemType(409, "The write_id belongs to another write"),
    "position-unknown": ProblemType(400, "The position is not from this stream"),
    "changes-trimmed": ProblemType(410, "The changes asked for are gone"),
    "keys-unusable": ProblemType(500, "The service keys cannot be used"),
}
"""Status and title of the error codes that single rooms add."""

HTTP_PROBLEMS: dict[str, ProblemType] = {
    "bad-request": ProblemType(400, "The request is not well-formed"),
    "method-not-allowed": ProblemType(405, "The method is not allowed here"),
    "target-too-long": ProblemType(414, "The request target is too long"),
    "misdirected-request": ProblemType(421, "The request is for another host"),
    "expectation-failed": ProblemType(417, "The expectation cannot be met"),
    "headers-too-large": ProblemType(431, "The header fields are too many or too large"),
}
"""Status and title of the refusals that only HTTP knows."""


def problem_type(code: str) -> ProblemType:
    """The declared kind of problem of `code`; an unknown code is internal."""
    return ERROR_PROBLEMS.get(code) or HTTP_PROBLEMS.get(code) or ROOM_PROBLEMS.get(code) or ERROR_PROBLEMS["internal"]


def problem_body(code: str, detail: str, *, where: str | None = None) -> bytes:
    """The JSON of one occurrence of `code`."""
    kind = problem_type(code)
    members: dict[str, str | int] = {"type": f"/problems/{code}", "title": kind.title, "status": kind.status, "detail": detail}
    if where is not None:
        members["where"] = where
    return orjson.dumps(members)


def problem(code: str, detail: str, *, where: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An answer that tells of one occurrence of `code`."""
    return Response(problem_type(code).status, problem_body(code, detail, where=where), headers, CONTENT_TYPE)


def problem_of(error: HeadwaterError) -> Response:
    """The answer that `error` becomes; its detail is shown, since details hold no secrets."""
    headers: tuple[tuple[str, str], ...] = ()
    retry_after_s = error.retry_after_s
    if retry_after_s is None and error.retry is Retry.LATER and problem_type(error.code).status == 503:
        retry_after_s = RETRY_AFTER_S
    if retry_after_s is not None:
        headers = (("retry-after", str(max(1, math.ceil(retry_after_s)))),)
    if error.code == "unauthenticated":
        headers = (*headers, ("www-authenticate", 'Bearer realm="headwater"'))
    return problem(error.code, error.detail, where=error.where, headers=headers)


def internal_problem() -> Response:
    """The answer to a bug: nothing of it is shown."""
    return problem("internal", "The server failed to answer; its log says why.")

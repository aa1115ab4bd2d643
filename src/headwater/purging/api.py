"""The HTTP interface of purging: its status and its dead letters."""

from collections.abc import Sequence

import msgspec

from headwater.http.messages import Request, Response, Route
from headwater.kernel.errors import InvalidInput
from headwater.log.model import BEFORE_FIRST, Offset
from headwater.purging.service import PurgingService

LETTERS_MAX = 1000
GRANT = "purging:manage"
_JSON = "application/json"


class PurgingApi:
    """Routes over a `PurgingService`."""

    def __init__(self, service: PurgingService) -> None:
        self._service = service

    def routes(self) -> Sequence[Route]:
        """All operations."""
        return (
            Route("GET", "/v1/status", self._status, "Targets, purges under way and the last ones finished.", {200: "the status"}),
            Route(
                "GET",
                "/v1/dead-letters",
                self._letters,
                "Unresolved dead letters, oldest first.",
                {200: "`{letters, next}`", 400: "a malformed `limit` or `after`"},
                parameters=(
                    ("query", "limit", f"at most this many, 1 to {LETTERS_MAX} (100)"),
                    ("query", "after", "`next` of the answer before"),
                ),
            ),
            Route(
                "POST",
                "/v1/dead-letters/{id}/retry",
                self._retry,
                "Try one again; it is resolved when its target acknowledges.",
                {
                    202: "it is under way",
                    400: "its target is not declared any more",
                    404: "no such letter",
                    503: "too many purges under way",
                },
                grant=GRANT,
            ),
            Route(
                "DELETE",
                "/v1/dead-letters/{id}",
                self._discard,
                "Resolve one without sending it.",
                {204: "resolved", 404: "no such letter"},
                grant=GRANT,
            ),
        )

    async def _status(self, request: Request) -> Response:
        return _json(200, await self._service.status())

    async def _letters(self, request: Request) -> Response:
        limit = _number(request, "limit", default=100, least=1, most=LETTERS_MAX)
        after = _number(request, "after", default=BEFORE_FIRST, least=BEFORE_FIRST, most=2**63 - 1)
        letters, following = await self._service.letters.read(limit, Offset(after))
        return _json(200, {"letters": letters, "next": following})

    async def _retry(self, request: Request) -> Response:
        await self._service.retry(request.params["id"])
        return _json(202, {"id": request.params["id"]})

    async def _discard(self, request: Request) -> Response:
        await self._service.discard(request.params["id"])
        return Response(204)


def _json(status: int, value: object) -> Response:
    return Response(status, msgspec.json.encode(value), headers=(("cache-control", "no-store"),), content_type=_JSON)


def _number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    text = request.query_value(name)
    if text is None:
        return default
    number = int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else least - 1
    if not least <= number <= most:
        raise InvalidInput(f"{name} is a whole number from {least} to {most}", where=name)
    return number

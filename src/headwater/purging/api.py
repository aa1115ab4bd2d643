"""The HTTP interface of purging: its status and its dead letters."""

from collections.abc import Sequence

from headwater.http import json
from headwater.http.messages import Request, Response, Route
from headwater.log.model import BEFORE_FIRST, Offset
from headwater.purging.service import PurgingService

LETTERS_MAX = 1000
GRANT = "purging:manage"


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
        return json.respond(await self._service.status())

    async def _letters(self, request: Request) -> Response:
        limit = request.query_number("limit", 100, least=1, most=LETTERS_MAX)
        after = request.query_number("after", BEFORE_FIRST, least=BEFORE_FIRST, most=2**63 - 1)
        letters, following = await self._service.letters.read(limit, Offset(after))
        return json.respond({"letters": letters, "next": following})

    async def _retry(self, request: Request) -> Response:
        await self._service.retry(request.params["id"])
        return json.respond({"id": request.params["id"]}, status=202)

    async def _discard(self, request: Request) -> Response:
        await self._service.discard(request.params["id"])
        return Response(204)

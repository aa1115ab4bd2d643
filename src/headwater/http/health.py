"""The endpoints that every role has beside its own routes: is it alive, is it ready, what does it count, what does it offer."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import orjson

from headwater.http.messages import ReadinessCheck, Request, Response, Route
from headwater.http.openapi import openapi
from headwater.kernel.errors import HeadwaterError

CHECK_TIME_MAX_S = 2.0


class Role(Protocol):
    """What the health endpoints need to know of the application they belong to."""

    role: str
    draining: bool

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        ...


def health_routes(role: Role, routes: Sequence[Route], readiness: Sequence[ReadinessCheck]) -> list[Route]:
    """`/livez`, `/readyz`, `/metrics` and `/openapi.json` of `role`."""

    async def livez(request: Request) -> Response:
        return Response(200, b"ok\n", content_type="text/plain; charset=utf-8")

    async def readyz(request: Request) -> Response:
        reasons = await ask(readiness)
        if role.draining:
            reasons["server"] = "is stopping"
        ready = all(reason is None for reason in reasons.values())
        body = orjson.dumps({"ready": ready, "checks": reasons})
        return Response(200 if ready else 503, body, content_type="application/json")

    async def metrics(request: Request) -> Response:
        # Writing thousands of series takes milliseconds, which the loop must not lose.
        text = await asyncio.to_thread(role.exposition)
        return Response(200, text, content_type="text/plain; version=0.0.4; charset=utf-8")

    async def description(request: Request) -> Response:
        return Response(200, document, content_type="application/json")

    own = [
        Route("GET", "/livez", livez, "Whether the process answers.", {200: "It does."}),
        Route("GET", "/readyz", readyz, "Whether all dependencies answer, with reasons.", {200: "They do.", 503: "Some do not."}),
        Route("GET", "/metrics", metrics, "Metrics in the Prometheus text format.", {200: "The metrics."}),
        Route("GET", "/openapi.json", description, "This description.", {200: "An OpenAPI 3.1 document."}),
    ]
    document = orjson.dumps(openapi(role.role, [*routes, *own]), option=orjson.OPT_INDENT_2)
    return own


async def ask(readiness: Sequence[ReadinessCheck]) -> dict[str, str | None]:
    """Why each named dependency is not ready, or None; one that does not say so within 2 s is not."""
    reasons = await asyncio.gather(*(_ask_one(question) for _, question in readiness))
    return {name: reason for (name, _), reason in zip(readiness, reasons, strict=True)}


async def _ask_one(question: object) -> str | None:
    assert callable(question)
    try:
        async with asyncio.timeout(CHECK_TIME_MAX_S):
            reason: str | None = await question()
            return reason
    except TimeoutError:
        return f"does not answer within {CHECK_TIME_MAX_S:g} s"
    except HeadwaterError as error:
        return error.detail

"""The reference page of the HTTP API, made from the routes themselves.

Routes are declared by functions that need a service only when a request comes, so they can be listed without starting one.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from headwater.app.config import HeadwaterConfig
from headwater.app.events_role import rules_of
from headwater.console.api import ConsoleApi
from headwater.events.api import routes as events_routes
from headwater.http.application import application
from headwater.http.health import health_routes
from headwater.http.messages import Route
from headwater.kernel.clock import SystemClock
from headwater.kernel.metrics import Metrics
from headwater.propagation.api import routes as propagation_routes
from headwater.propagation.config import PropagationConfig
from headwater.purging.api import PurgingApi
from headwater.sessions.api import SessionsApi
from headwater.sessions.config import SessionsConfig
from headwater.sessions.metrics import METRICS as SESSIONS
from headwater.tables.api import TablesApi
from headwater.tables.config import TablesConfig

INTRODUCTION = """Every role describes its own operations under `/openapi.json`. `{x}` stands for one percent-encoded segment of the
path, `{x*}` for the rest of it, slashes included. Errors are [problems](errors.md).
Where the configuration names `clients`, an operation with a grant needs `Authorization: Bearer TOKEN` of a client that has it; the
others are open.
"""


class _Nothing:
    """Stands where a service would, while routes are listed: nothing is asked of it but its configuration."""

    config = PropagationConfig()
    clock = SystemClock()


def roles() -> dict[str, Sequence[Route]]:
    """The routes of every role, the health endpoints that all have apart."""
    nothing = cast(Any, _Nothing())
    config = HeadwaterConfig()
    app = application((), role="any", metrics=Metrics(()), readiness=(), clients=(), limits=config.http, clock=SystemClock())
    return {
        "every role": health_routes(app, (), ()),
        "events": events_routes(nothing, rules_of(config), config.events),
        "propagation": propagation_routes(nothing),
        "purging": PurgingApi(nothing).routes(),
        "console": ConsoleApi(nothing).routes(),
        "tables": TablesApi(nothing, nothing, TablesConfig()).routes(),
        "sessions": SessionsApi(nothing, SessionsConfig(), metrics=Metrics(SESSIONS), clock=SystemClock()).routes(),
    }


def _lines(route: Route) -> Iterator[str]:
    yield f"### `{route.method} {route.path}`\n"
    yield route.summary + (f" Grant: `{route.grant}`." if route.grant else "") + "\n"
    if route.parameters:
        yield "| parameter | in | meaning |\n|---|---|---|"
        yield from (f"| `{name}` | {place} | {meaning} |" for place, name, meaning in route.parameters)
        yield ""
    yield "| status | meaning |\n|---|---|"
    yield from (f"| {status} | {meaning} |" for status, meaning in sorted(route.statuses.items()))
    yield ""


def http_api_page(note: str) -> str:
    """`http-api.md`."""
    lines = [f"# HTTP API\n\n{note}", INTRODUCTION]
    for role, routes in roles().items():
        lines.append(f"## {role[0].upper()}{role[1:]}\n")
        lines += [line for route in routes for line in _lines(route)]
    return "\n".join(lines).rstrip() + "\n"

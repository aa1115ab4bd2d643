"""The status page and its parts. The page works without scripts too: then it reloads itself."""

from collections.abc import Sequence
from importlib.resources import files

import jinja2
import msgspec

from headwater.console.service import Console
from headwater.http.messages import Request, Response, Route
from headwater.kernel.clock import iso_utc
from headwater.kernel.units import format_duration

_TEMPLATES = files("headwater.console") / "templates"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("cache-control", "no-store"),
    ("content-security-policy", _POLICY),
    ("referrer-policy", "no-referrer"),
)
_OK = {200: "the answer"}


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else format_duration(seconds)


def _environment() -> jinja2.Environment:
    texts = {name: (_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.html", "overview.html")}
    environment = jinja2.Environment(loader=jinja2.DictLoader(texts), autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["duration"] = _duration
    environment.filters["time"] = lambda time_ms: iso_utc(time_ms)[11:19]
    environment.filters["iso"] = iso_utc
    return environment


class ConsoleApi:
    """Routes over a `Console`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        environment = _environment()
        self._page = environment.get_template("page.html")
        self._part = environment.get_template("overview.html")
        self._style = (_TEMPLATES / "console.css").read_bytes()
        self._script = (_TEMPLATES / "console.js").read_bytes()

    def routes(self) -> Sequence[Route]:
        """All operations."""
        return (
            Route("GET", "/", self._whole, "The status page.", {200: "HTML"}),
            Route("GET", "/overview.html", self._fragment, "The changing part of the status page.", {200: "HTML"}),
            Route("GET", "/console.css", self._css, "Style of the status page.", _OK),
            Route("GET", "/console.js", self._js, "Script of the status page.", _OK),
            Route("GET", "/v1/overview", self._overview, "Everything on the status page, as JSON.", _OK),
        )

    async def _whole(self, request: Request) -> Response:
        return _html(self._page.render(overview=await self._console.overview()))

    async def _fragment(self, request: Request) -> Response:
        return _html(self._part.render(overview=await self._console.overview()))

    async def _css(self, request: Request) -> Response:
        return Response(200, self._style, headers=_HEADERS, content_type="text/css; charset=utf-8")

    async def _js(self, request: Request) -> Response:
        return Response(200, self._script, headers=_HEADERS, content_type="text/javascript; charset=utf-8")

    async def _overview(self, request: Request) -> Response:
        return Response(200, msgspec.json.encode(await self._console.overview()), headers=_HEADERS, content_type="application/json")


def _html(text: str) -> Response:
    return Response(200, text.encode(), headers=_HEADERS, content_type="text/html; charset=utf-8")

"""The status page: escaped, without foreign assets, asked for at most once per interval."""

import asyncio
import json
import re

from headwater.console.api import ConsoleApi
from headwater.console.ports import Answer
from headwater.console.service import Console
from headwater.http.messages import Client, Request, Response
from headwater.testing.clock import ManualClock

EVIL = "<script>alert(1)</script>\" onload='x"
STATUS = {
    "now_ms": 5,
    "wikis": [
        {
            "wiki": "rivers",
            "state": "running",
            "reason": EVIL,
            "classes": [{"urgency": 0, "dirty": 1, "stalest_ms": 1}],
            "flow": [{"number": 1, "what": f"c:{EVIL}", "cause": "edit"}],
        }
    ],
}


class Roles:
    """Roles that answer the same again and again, and count."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def ask(self, address: str, path: str) -> Answer:
        """As the port says."""
        self.asked.append((address, path))
        if address == "down":
            return Answer(None, fault=EVIL)
        if path == "/readyz":
            return Answer(200, b'{"ready": true, "checks": {}}')
        return Answer(200, json.dumps(STATUS).encode())


def api(roles: Roles, clock: ManualClock) -> ConsoleApi:
    addresses = {"events": "up", "propagation": "up", "purging": "down"}
    return ConsoleApi(Console(roles, addresses, clock=clock, poll_interval_s=1.0, edits_max=5))


async def get(console: ConsoleApi, path: str) -> Response:
    async def no_body() -> bytes:
        return b""

    (route,) = [route for route in console.routes() if route.path == path]
    return await route.handler(Request("GET", path, (), {}, Client("anonymous"), "127.0.0.1", no_body))


def text_of(response: Response) -> str:
    assert isinstance(response.body, bytes) and response.status == 200
    return response.body.decode()


def test_what_roles_say_is_escaped() -> None:
    async def scene() -> None:
        console = api(Roles(), ManualClock())
        for path in ("/", "/overview.html"):
            text = text_of(await get(console, path))
            assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
            assert "onload='x" not in text

    asyncio.run(scene())


def test_nothing_comes_from_elsewhere_and_the_policy_says_so() -> None:
    async def scene() -> None:
        console = api(Roles(), ManualClock())
        page = await get(console, "/")
        assert re.findall(r'(?:src|href)="([^"]+)"', text_of(page)) == ["/console.css", "/console.js", "/v1/overview"]
        policy = dict(page.headers)["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'") and "unsafe" not in policy
        assert "style=" not in text_of(page) and "<style" not in text_of(page)
        for path in ("/console.css", "/console.js"):
            assert "://" not in text_of(await get(console, path))

    asyncio.run(scene())


def test_roles_are_asked_once_per_interval_however_many_look() -> None:
    async def scene() -> None:
        roles, clock = Roles(), ManualClock()
        console = api(roles, clock)
        await asyncio.gather(*(get(console, "/v1/overview") for _ in range(10)))
        once = len(roles.asked)
        assert once == 6
        clock.advance(0.9)
        await get(console, "/v1/overview")
        assert len(roles.asked) == once
        clock.advance(0.1)
        await get(console, "/v1/overview")
        assert len(roles.asked) == 2 * once

    asyncio.run(scene())


def test_the_overview_is_json() -> None:
    async def scene() -> None:
        overview = json.loads(text_of(await get(api(Roles(), ManualClock()), "/v1/overview")))
        assert [role["state"] for role in overview["roles"]] == ["ready", "ready", "down"]
        assert overview["healthy"] is False

    asyncio.run(scene())

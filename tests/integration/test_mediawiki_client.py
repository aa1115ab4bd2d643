"""The client against servers on loopback that answer as wikis do when they are ill."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Bytes, Seconds, Secret
from headwater.kernel.errors import HeadwaterError, Retry
from headwater.kernel.metrics import Metrics
from headwater.mediawiki import metrics as m
from headwater.mediawiki.answers import Answer, PagesAnswer, ParseAnswer
from headwater.mediawiki.client import WikiClient
from headwater.mediawiki.config import WikiConfig
from headwater.mediawiki.errors import AnswerTooLarge, WikiBusy, WikiRefused, WikiUnavailable
from headwater.testing.ids import SequentialIds

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ASK = {"action": "query", "titles": "A"}


@dataclass
class Wiki:
    """A server with one handler, and what it was asked."""

    handler: Handler
    asked: list[dict[str, str]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    client: WikiClient | None = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        form = await request.post() if request.method == "POST" else {}
        self.asked.append({**dict(request.query), **{name: str(value) for name, value in form.items()}})
        self.kinds.append(f"{request.method} {request.content_type}".strip())
        return await self.handler(request)

    async def use(self, work: Callable[["Wiki"], Awaitable[None]], config: dict[str, Any] | None = None) -> None:
        """Serve, run `work`, end."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/api.php", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        settings: dict[str, Any] = {"domains": ("w.example",), "api_url": f"http://127.0.0.1:{port}/api.php", **(config or {})}
        self.client = WikiClient(
            "w",
            WikiConfig(**settings),
            clock=SystemClock(),
            ids=SequentialIds(),
            metrics=Metrics(m.METRICS),
        )
        try:
            await work(self)
        finally:
            await self.client.close()
            await runner.cleanup()

    async def ask(self, parameters: dict[str, str] | None = None) -> PagesAnswer:
        """One call."""
        assert self.client is not None
        return await self.client.call(PagesAnswer, parameters or ASK)


def always(answer: web.StreamResponse | Callable[[], web.StreamResponse]) -> Handler:
    """A handler with one answer."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return answer() if callable(answer) else answer

    return handle


def error_from(handler: Handler, **config: object) -> HeadwaterError:
    """The error that a call meets."""
    found: list[HeadwaterError] = []

    async def work(wiki: Wiki) -> None:
        with pytest.raises(HeadwaterError) as caught:
            await wiki.ask()
        found.append(caught.value)

    asyncio.run(Wiki(handler).use(work, dict(config)))
    return found[0]


def api_error(code: str, headers: dict[str, str] | None = None) -> Handler:
    """An answer with an error object, status 200."""
    return always(lambda: web.json_response({"error": {"code": code, "info": "…", "lag": 7.5}}, headers=headers))


def test_maxlag_says_when_to_come_back() -> None:
    error = error_from(api_error("maxlag", {"Retry-After": "5"}))
    assert isinstance(error, WikiBusy)
    assert (error.retry, error.retry_after_s) == (Retry.LATER, 5.0)


@pytest.mark.parametrize("code", ["readonly", "ratelimited", "internal_api_error_DBQueryError", "internal_api_error_DBConnectionError"])
def test_a_wiki_that_cannot_now_is_busy(code: str) -> None:
    assert isinstance(error_from(api_error(code)), WikiBusy)


@pytest.mark.parametrize("code", ["nosuchrevid", "internal_api_error_TypeError", "badtoken", "permissiondenied"])
def test_other_errors_are_refusals_with_their_code(code: str) -> None:
    error = error_from(api_error(code))
    assert isinstance(error, WikiRefused)
    assert error.api_code == code


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_of_a_server_in_trouble(status: int) -> None:
    error = error_from(always(lambda: web.Response(status=status, text="x", headers={"Retry-After": "9"})))
    assert isinstance(error, WikiUnavailable)
    assert error.retry_after_s == 9.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Fatal error</html>",
        b'{"query":',
        b'{"query": 7}',
        b"\xff\xfe",
        b'{"batchcomplete": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"query": {"pages": [{"pageid": 9223372036854775808}]}}',
        b'{"query": {"pages": [{"pageid": 1, "revisions": [{"revid": -1}]}]}}',
    ],
)
def test_what_is_no_answer_of_the_api_is_no_answer(body: bytes) -> None:
    assert isinstance(error_from(always(lambda: web.Response(body=body))), WikiUnavailable)


def test_redirects_are_not_followed() -> None:
    error = error_from(always(lambda: web.Response(status=302, headers={"Location": "http://192.0.2.1/api.php"})))
    assert isinstance(error, WikiUnavailable)
    assert "api_url" in error.detail


def test_a_large_answer_is_not_read_to_its_end() -> None:
    error = error_from(always(lambda: web.Response(body=b" " * 300_000 + b"{}")), answer_bytes_max=Bytes(100_000))
    assert isinstance(error, AnswerTooLarge)


def test_a_small_answer_that_unpacks_to_a_large_one_is_not_unpacked_to_its_end() -> None:
    bomb = gzip.compress(b" " * 50_000_000 + b"{}")
    tracemalloc.start()
    try:
        answer = always(lambda: web.Response(body=bomb, headers={"Content-Encoding": "gzip"}))
        assert isinstance(error_from(answer, answer_bytes_max=Bytes(100_000)), AnswerTooLarge)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_truncated_answer() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"query": {}')
        assert request.transport is not None
        request.transport.abort()
        return response

    assert isinstance(error_from(handle), WikiUnavailable)


def test_a_wiki_that_does_not_answer() -> None:
    async def handle(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    error = error_from(handle, timeout=Seconds(0.2))
    assert isinstance(error, WikiUnavailable)
    assert "0.2 s" in error.detail


def test_nobody_listens() -> None:
    async def work() -> None:
        config = WikiConfig(domains=("w",), api_url="http://127.0.0.1:1/api.php")
        client = WikiClient("w", config, clock=SystemClock(), ids=SequentialIds(), metrics=Metrics(m.METRICS))
        with pytest.raises(WikiUnavailable):
            await client.call(Answer, ASK)
        await client.close()

    asyncio.run(work())


def test_what_every_request_carries() -> None:
    async def work(wiki: Wiki) -> None:
        await wiki.ask()
        assert wiki.asked == [{**ASK, "format": "json", "formatversion": "2", "maxlag": "5"}]
        assert wiki.kinds == ["GET application/octet-stream"]

    agents: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        agents.append(request.headers["User-Agent"])
        return web.json_response({})

    asyncio.run(Wiki(handle).use(work, {"user_agent": "Test/1 (who@example.org)"}))
    assert agents == ["Test/1 (who@example.org)"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("x", "POST application/x-www-form-urlencoded"), ("é\r\n&=%+x" * 20_000, "POST multipart/form-data")],
    ids=["short", "long"],
)
def test_texts_arrive_as_they_are(text: str, kind: str) -> None:
    async def work(wiki: Wiki) -> None:
        assert wiki.client is not None
        await wiki.client.call(ParseAnswer, {"action": "parse", "text": text})
        assert wiki.asked[0]["text"] == text
        assert wiki.kinds == [kind]

    asyncio.run(Wiki(always(lambda: web.json_response({}))).use(work))


def test_long_lists_are_posted() -> None:
    async def work(wiki: Wiki) -> None:
        titles = "|".join(f"Some title {n}" for n in range(200))
        await wiki.ask({"action": "query", "titles": titles})
        assert wiki.asked[0]["titles"] == titles
        assert wiki.kinds[0].startswith("POST")

    asyncio.run(Wiki(always(lambda: web.json_response({}))).use(work))


def test_continue_is_followed_up_to_a_limit() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        number = int(request.query.get("apcontinue", "0"))
        pages = [{"pageid": number, "ns": 0, "title": str(number)}]
        return web.json_response({"query": {"allpages": pages}, "continue": {"apcontinue": str(number + 1), "continue": "-||"}})

    async def work(wiki: Wiki) -> None:
        assert wiki.client is not None
        request = {"action": "query", "list": "allpages"}
        found = [a.query.allpages[0].pageid async for a in wiki.client.call_all(PagesAnswer, request, answers_max=3)]
        assert found == [0, 1, 2]

    asyncio.run(Wiki(handle).use(work))


def test_no_more_requests_at_once_than_allowed() -> None:
    at_once = [0, 0]

    async def handle(_: web.Request) -> web.StreamResponse:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0)
        at_once[0] -= 1
        return web.json_response({})

    async def work(wiki: Wiki) -> None:
        await asyncio.gather(*(wiki.ask() for _ in range(20)))

    asyncio.run(Wiki(handle).use(work, {"concurrency_max": 3}))
    assert 1 <= at_once[1] <= 3


class PrivateWiki:
    """A wiki that knows one bot, and forgets its session when told to."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.logins = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Tokens and logins for anybody, the rest for those with a session."""
        form = await request.post()
        if request.query.get("meta") == "tokens":
            return web.json_response({"query": {"tokens": {"logintoken": "t+\\"}}})
        if form.get("action") == "login":
            if (form["lgname"], form["lgpassword"], form["lgtoken"]) != ("Bot@x", "secret", "t+\\"):
                return web.json_response({"login": {"result": "Failed", "reason": "wrong"}})
            self.logins += 1
            self.sessions.add(str(self.logins))
            response = web.json_response({"login": {"result": "Success"}})
            response.set_cookie("session", str(self.logins))
            return response
        if request.cookies.get("session") not in self.sessions or request.query.get("assert") != "user":
            return web.json_response({"error": {"code": "assertuserfailed"}})
        return web.json_response({"query": {"pages": [{"pageid": 7, "title": "A", "ns": 0}]}})


def test_it_logs_in_once_and_again_when_the_session_is_lost() -> None:
    private = PrivateWiki()

    async def work(wiki: Wiki) -> None:
        answers = await asyncio.gather(*(wiki.ask() for _ in range(5)))
        assert all(answer.query.pages[0].pageid == 7 for answer in answers)
        assert private.logins == 1
        private.sessions.clear()
        await wiki.ask()
        assert private.logins == 2

    asyncio.run(Wiki(private.handle).use(work, {"username": "Bot@x", "password": Secret("secret")}))


def test_a_wrong_password_is_a_refusal() -> None:
    error = error_from(PrivateWiki().handle, username="Bot@x", password=Secret("guess"))
    assert isinstance(error, WikiRefused)
    assert "guess" not in error.detail

"""The HTTP interface of purging: what each operation answers, over a service on a log in memory."""

import asyncio
import json
from typing import Any

import pytest

from headwater.http.messages import Client, Request, Response
from headwater.kernel.errors import InvalidInput, NotFound
from headwater.kernel.metrics import Metrics
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import Policy, StreamSpec
from headwater.purging import metrics as m
from headwater.purging.api import LETTERS_MAX, PurgingApi
from headwater.purging.config import PurgingConfig, TargetConfig
from headwater.purging.engines.memory import MemoryCache
from headwater.purging.model import STREAM, DeadLetter, letter_id
from headwater.purging.service import PurgingService
from headwater.testing.clock import ManualClock
from headwater.testing.ids import SequentialIds


class Nothing:
    """Pages of which nothing is stored."""

    async def served(self, wiki: str, page_id: int) -> int | None:
        """As the port says."""
        return None


async def started() -> tuple[PurgingApi, PurgingService]:
    """An API over a service that has three dead letters and does not run."""
    clock = ManualClock()
    log = MemoryLog(clock=clock)
    await log.declare([StreamSpec(STREAM, Policy.TIME)])
    config = PurgingConfig(targets=(TargetConfig(name="cache", url="http://127.0.0.1:1"),))
    service = PurgingService(
        log, [MemoryCache("cache")], Nothing(), config=config, clock=clock, ids=SequentialIds(), metrics=Metrics(m.METRICS)
    )
    await service.start()
    for number, target in enumerate(("cache", "cache", "a cache of old")):
        url = f"http://rivers.example/{number}"
        letter = DeadLetter(
            id=letter_id(target, url), target=target, url=url, reason="answered 403", attempts=1, parked_ms=5, time_ms=4, seq=2**53 + number
        )
        await service.letters.store(letter, 0)
    return PurgingApi(service), service


async def call(api: PurgingApi, method: str, path: str, *, query: dict[str, str] | None = None, **params: str) -> Response:
    async def no_body() -> bytes:
        return b""

    (route,) = [route for route in api.routes() if (route.method, route.path) == (method, path)]
    request = Request(method, path, tuple((query or {}).items()), {}, Client("anonymous"), "127.0.0.1", no_body, params)
    return await route.handler(request)


def told(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def test_the_status_names_every_target() -> None:
    async def scene() -> None:
        api, _ = await started()
        status = told(await call(api, "GET", "/v1/status"))
        assert (status["role"], status["unfinished"], status["dead_letters"], status["caught_up"]) == ("purging", 0, 3, True)
        assert [(one["name"], one["state"], one["oldest_age_s"]) for one in status["targets"]] == [("cache", "up", None)]

    asyncio.run(scene())


def test_dead_letters_are_listed_page_by_page() -> None:
    async def scene() -> None:
        api, _ = await started()
        found, after = [], None
        for _ in range(5):
            query = {"limit": "2"} | ({} if after is None else {"after": str(after)})
            page = told(await call(api, "GET", "/v1/dead-letters", query=query))
            found += page["letters"]
            after = page["next"]
            if after is None:
                break
        assert [letter["url"][-1] for letter in found] == ["0", "1", "2"]

    asyncio.run(scene())


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": str(LETTERS_MAX + 1)}, {"limit": "x"}, {"after": "-2"}, {"after": "9" * 30}])
def test_a_malformed_list_is_refused(query: dict[str, str]) -> None:
    async def scene() -> None:
        api, _ = await started()
        with pytest.raises(InvalidInput):
            await call(api, "GET", "/v1/dead-letters", query=query)

    asyncio.run(scene())


def test_a_letter_is_tried_again_or_discarded_by_id() -> None:
    async def scene() -> None:
        api, service = await started()
        first, second, third = [letter.id for letter in (await service.letters.read(10))[0]]
        assert (await call(api, "POST", "/v1/dead-letters/{id}/retry", id=first)).status == 202
        assert told(await call(api, "GET", "/v1/status"))["targets"][0]["waiting"] == 1
        assert (await call(api, "DELETE", "/v1/dead-letters/{id}", id=second)).status == 204
        assert len(service.letters) == 2
        with pytest.raises(InvalidInput):  # its cache is not declared any more
            await call(api, "POST", "/v1/dead-letters/{id}/retry", id=third)
        for method, path in (("POST", "/v1/dead-letters/{id}/retry"), ("DELETE", "/v1/dead-letters/{id}")):
            with pytest.raises(NotFound):
                await call(api, method, path, id=second)

    asyncio.run(scene())


def test_what_changes_something_needs_a_grant() -> None:
    async def scene() -> None:
        api, _ = await started()
        assert {route.grant for route in api.routes() if route.method != "GET"} == {"purging:manage"}

    asyncio.run(scene())


@pytest.mark.parametrize(
    "target",
    [
        {"name": "A"},
        {"name": ""},
        {"name": "#served"},
        {"url": "127.0.0.1:6081"},
        {"url": "ftp://127.0.0.1"},
        {"url": "http://user@127.0.0.1"},
        {"url": "http://127.0.0.1/path"},
        {"url": "http://127.0.0.1/?x"},
        {"method": "PUR GE"},
        {"concurrency_max": 0},
    ],
)
def test_a_target_that_cannot_work_is_refused(target: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="target"):
        TargetConfig(**{"name": "cache", "url": "http://127.0.0.1:6081", **target})


def test_two_targets_of_one_name_are_refused() -> None:
    one = TargetConfig(name="cache", url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="same name"):
        PurgingConfig(targets=(one, one))

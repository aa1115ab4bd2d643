"""Errors as problems, clients, the guard's decisions and the description of an application."""

import asyncio
import hashlib
import json
from collections.abc import Iterator

import msgspec
import pytest

from headwater.http.auth import Clients, demand, demand_clients, is_loopback
from headwater.http.config import ClientConfig, HttpLimits, parse_listen
from headwater.http.guard import Guard, check_length
from headwater.http.messages import Client, Request, Response, Route
from headwater.http.openapi import openapi
from headwater.http.problems import CONTENT_TYPE, ERROR_PROBLEMS, HTTP_PROBLEMS, internal_problem, problem_of
from headwater.kernel import errors
from headwater.kernel.config import Seconds
from headwater.kernel.errors import (
    Fenced,
    Forbidden,
    HeadwaterError,
    InvalidConfig,
    InvalidInput,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)


def subclasses(root: type[HeadwaterError]) -> Iterator[type[HeadwaterError]]:
    for found in root.__subclasses__():
        yield found
        yield from subclasses(found)


def body_of(response: Response) -> dict[str, object]:
    assert isinstance(response.body, bytes) and response.content_type == CONTENT_TYPE
    found = json.loads(response.body)
    assert isinstance(found, dict)
    return found


def test_every_error_code_has_a_status_and_a_title() -> None:
    codes = {error.code for error in subclasses(HeadwaterError) if error.__module__ == errors.__name__}
    assert codes | {HeadwaterError.code} == set(ERROR_PROBLEMS)
    assert not set(ERROR_PROBLEMS) & set(HTTP_PROBLEMS)


def test_a_problem_tells_what_where_and_when_again() -> None:
    response = problem_of(Overloaded("too much", where="/meta", retry_after_s=1.2))
    assert response.status == 503 and response.headers == (("retry-after", "2"),)
    assert body_of(response) == {
        "type": "/problems/overloaded",
        "title": "Too much work is under way",
        "status": 503,
        "detail": "too much",
        "where": "/meta",
    }


def test_a_problem_without_place_has_none() -> None:
    assert "where" not in body_of(problem_of(InvalidInput("odd")))


def test_a_503_says_when_to_come_again_if_that_can_help() -> None:
    assert problem_of(Unavailable("x")).headers == (("retry-after", "1"),)
    assert problem_of(Fenced("x")).headers == ()


def test_retry_after_is_at_least_a_second() -> None:
    assert problem_of(Overloaded("x", retry_after_s=0.0)).headers == (("retry-after", "1"),)


def test_a_bug_shows_nothing_of_itself() -> None:
    assert internal_problem().status == 500
    assert set(body_of(internal_problem())) == {"type", "title", "status", "detail"}


def client(name: str, token: str, *grants: str) -> ClientConfig:
    return ClientConfig(name=name, token_sha256=hashlib.sha256(token.encode()).hexdigest(), grants=grants)


def test_without_clients_everyone_may_everything() -> None:
    anonymous = Clients([]).authenticate(None)
    demand(anonymous, "events:write")
    assert anonymous.name == "anonymous"


def test_a_token_names_its_client() -> None:
    clients = Clients([client("a", "one", "x:read"), client("b", "two", "*")])
    assert clients.authenticate("Bearer one").name == "a"
    assert clients.authenticate("bearer  two ").name == "b"
    demand(clients.authenticate("Bearer one"), "x:read")
    demand(clients.authenticate("Bearer two"), "anything")
    with pytest.raises(Forbidden):
        demand(clients.authenticate("Bearer one"), "x:write")
    with pytest.raises(Unauthenticated):
        demand(clients.authenticate(None), "x:read")
    demand(clients.authenticate(None), None)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic one", "one", "Bearer three", "Bearer tw\xe4"])
def test_other_credentials_are_refused(header: str) -> None:
    with pytest.raises(Unauthenticated):
        Clients([client("a", "one")]).authenticate(header)


def test_two_clients_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidConfig):
        Clients([client("a", "one"), client("a", "two")])


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_only_loopback_may_be_open(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    demand_clients(host, Clients([client("a", "one")]))
    if not loopback:
        with pytest.raises(InvalidConfig):
            demand_clients(host, Clients([]))


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1:8192", ("127.0.0.1", 8192)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))]
)
def test_addresses_are_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "8192", ":8192", "a:", "a:b", "a:65536", "::1:80", "[::1]", "a b:1", "http://a:1"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidConfig):
        parse_listen(text)


def test_an_announced_body_is_refused_by_its_length() -> None:
    check_length(None, 10)
    check_length(10, 10)
    with pytest.raises(TooLarge):
        check_length(11, 10)


def limits(*, concurrency: int, queue: int, wait_s: float) -> HttpLimits:
    return HttpLimits(concurrency_max=concurrency, queue_max=queue, queue_time_max=Seconds(wait_s))


def test_a_place_goes_to_whom_waited_longest() -> None:
    async def scenario() -> list[str]:
        guard = Guard(limits(concurrency=1, queue=2, wait_s=60))
        order: list[str] = []

        async def enter(name: str) -> None:
            await guard.enter()
            order.append(name)

        assert guard.try_enter()
        tasks = [asyncio.create_task(enter(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await guard.enter()
        guard.leave()
        await tasks[0]
        assert guard.under_way == 1 and order == ["first"]
        guard.leave()
        await tasks[1]
        guard.leave()
        assert guard.under_way == 0
        return order

    assert asyncio.run(scenario()) == ["first", "second"]


def test_who_leaves_the_queue_takes_no_place_along() -> None:
    async def scenario() -> None:
        guard = Guard(limits(concurrency=1, queue=2, wait_s=60))
        assert guard.try_enter()
        waiting = asyncio.create_task(guard.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        guard.leave()
        assert guard.under_way == 0 and guard.try_enter()

    asyncio.run(scenario())


def test_a_place_given_to_who_is_cancelled_at_once_is_given_on() -> None:
    async def scenario() -> None:
        guard = Guard(limits(concurrency=1, queue=2, wait_s=60))
        assert guard.try_enter()
        waiting = asyncio.create_task(guard.enter())
        await asyncio.sleep(0)
        guard.leave()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert guard.under_way == 0

    asyncio.run(scenario())


def test_the_wait_for_a_place_ends() -> None:
    async def scenario() -> None:
        guard = Guard(limits(concurrency=1, queue=2, wait_s=0.0))
        assert guard.try_enter()
        with pytest.raises(Overloaded) as caught:
            await guard.enter()
        assert caught.value.retry_after_s == 1
        assert guard.under_way == 1

    asyncio.run(scenario())


def test_the_description_holds_routes_limits_and_problems() -> None:
    async def handler(request: Request) -> Response:
        return Response(200)

    route = Route("POST", "/v1/{wiki}/x/{title*}", handler, "Does.", {201: "Done."}, "x:write", 10, (("query", "q", "A word."),))
    document = json.loads(json.dumps(openapi("test", [route])))
    operation = document["paths"]["/v1/{wiki}/x/{title}"]["post"]
    assert [(parameter["name"], parameter["in"]) for parameter in operation["parameters"]] == [
        ("wiki", "path"),
        ("title", "path"),
        ("q", "query"),
    ]
    assert set(operation["responses"]) == {"201", "401", "403", "408", "413", "421", "431", "500", "503"}
    assert CONTENT_TYPE in operation["responses"]["413"]["content"]


def test_a_grant_is_held_by_name_or_by_all() -> None:
    assert Client("a", frozenset({"x"})).may("x") and Client("a", frozenset({"*"})).may("x") and not Client("a").may("x")


def test_a_client_speaks_for_the_domains_that_the_configuration_names() -> None:
    bound = msgspec.structs.replace(client("a", "one"), domains=("rivers.example",))
    clients = Clients([bound, client("b", "two")])
    assert clients.authenticate("Bearer one").domains == frozenset({"rivers.example"})
    assert clients.authenticate("Bearer two").domains is None

"""The intake over HTTP: which answer for which outcome, and in which form."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import orjson
import pytest
from tests.unit.events_setting import Setting, change, raw, recorded, run

from headwater.events.api import routes
from headwater.events.config import EventsConfig
from headwater.http.messages import Client, Request, Response, Route
from headwater.kernel.config import Bytes
from headwater.kernel.errors import (
    Fenced,
    HeadwaterError,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    StorageFull,
    TooLarge,
    Unavailable,
)
from headwater.log.model import AppendFailure

JSON: Mapping[str, str] = {"content-type": "application/json"}


def table(setting: Setting) -> Mapping[tuple[str, str], Route]:
    """The routes by method and path."""
    made = routes(setting.intake, setting.rules, setting.config, followers=lambda: {"rivers": {"position": 7}})
    return {(route.method, route.path): route for route in made}


def request(body: bytes, headers: Mapping[str, str] = JSON, **params: str) -> Request:
    """A request as the HTTP room hands it over."""

    async def read() -> bytes:
        return body

    return Request("POST", "/v1/events", (), headers, Client("anonymous"), "127.0.0.1", read, params)


async def post(setting: Setting, body: bytes, headers: Mapping[str, str] = JSON) -> Response:
    """Post to the intake."""
    return await table(setting)["POST", "/v1/events"].handler(request(body, headers))


def posted(body: bytes, headers: Mapping[str, str] = JSON, config: EventsConfig | None = None) -> Response:
    """The answer of a fresh intake."""
    return run(lambda setting: post(setting, body, headers), config)


def lists(response: Response) -> dict[str, Any]:
    """The body of an answer that lists events."""
    assert isinstance(response.body, bytes) and response.content_type == "application/json"
    document: dict[str, Any] = orjson.loads(response.body)
    assert set(document) == {"invalid", "error"}
    return document


def array(*events: bytes) -> bytes:
    """An array of these events."""
    return b"[" + b",".join(events) + b"]"


GOOD = raw(change("good"))
INVALID = raw(change("bad", tags="none"))
UNKNOWN = raw(change("lost", stream="nowhere"))


@pytest.mark.parametrize(
    "body", [GOOD, b" \n" + GOOD + b"\r\n", array(GOOD), b"[ " + GOOD + b" ,\n" + raw(change("x")) + b" ]", array(GOOD, GOOD)]
)
def test_201_without_a_body_when_every_event_is_accepted(body: bytes) -> None:
    response = posted(body)
    assert (response.status, response.body, response.content_type) == (201, b"", None)


def test_a_repeated_request_is_answered_201_again() -> None:
    async def test(setting: Setting) -> None:
        assert [(await post(setting, GOOD)).status for _ in range(2)] == [201, 201]
        assert await setting.values("resource_change") == [GOOD]

    run(test)


def test_the_elements_of_an_array_are_stored_without_what_divides_them() -> None:
    first, second = GOOD.replace(b",", b" ,\n "), raw(change("x"))

    async def test(setting: Setting) -> None:
        assert (await post(setting, b"[\n  " + first + b"  ,\t" + second + b" ] ")).status == 201
        assert await setting.values("resource_change") == [first, second]

    run(test)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/reports+json", "Application/JSON; charset=UTF-8", "text/plain;charset=utf-8"],
)
def test_content_types_that_clients_send_are_read(content_type: str) -> None:
    assert posted(GOOD, {"content-type": content_type}).status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonx"},
        {"content-type": "text/plain; charset=utf-16"},
    ],
)
def test_other_content_types_are_refused(headers: Mapping[str, str]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        posted(GOOD, headers)
    assert refusal.value.where == "content-type"


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b"{ \n}", b"[]", b"[ ]"])
def test_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="no event"):
        posted(body)


@pytest.mark.parametrize("body", [b"5", b'"text"', b"null", b"true", b"-1.5"])
def test_a_scalar_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="an object"):
        posted(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[",
        b"nonsense",
        GOOD + GOOD,
        GOOD[:-1],
        array(GOOD) + b"x",
        array(GOOD, b""),
        b"[" + GOOD + b" " + GOOD + b"]",
        array(GOOD, b'{"a":NaN}'),
        array(GOOD, b'{"a":1,"a":2}'),
        array(GOOD, b'{"a":"\\udc00"}'),
        array(GOOD, b"[" * 5000 + b"]" * 5000),
        b"\xef\xbb\xbf" + GOOD,
        array(GOOD).decode().encode("utf-16"),
    ],
)
def test_malformed_json_stores_nothing(body: bytes) -> None:
    async def test(setting: Setting) -> None:
        with pytest.raises(InvalidInput):
            await post(setting, body)
        assert await setting.values("resource_change") == []

    run(test)


def test_207_lists_what_was_not_stored_in_order() -> None:
    async def test(setting: Setting) -> None:
        response = await post(setting, array(UNKNOWN, GOOD, INVALID, GOOD, b"5", raw(change("worse", tags=[1, 2]))))
        assert response.status == 207
        document = lists(response)
        assert [(member["status"], member["index"]) for member in document["invalid"]] == [("invalid", 2), ("invalid", 5)]
        assert [(member["status"], member["index"]) for member in document["error"]] == [("error", 0), ("error", 4)]
        assert document["invalid"][0]["event"] == orjson.loads(INVALID) and document["error"][1]["event"] == 5
        assert await setting.values("resource_change") == [GOOD]

    run(test)


def test_the_context_of_an_invalid_event_names_each_field() -> None:
    event = recorded("03-mediawiki.revision-create.json")[0]
    del event["page_id"]
    event["meta"]["dt"] = "now"
    (member,) = lists(posted(raw(event)))["invalid"]
    context = member["context"]
    found = {error["dataPath"]: (error["instancePath"], error["keyword"]) for error in context["errors"]}
    assert found == {".page_id": ("/page_id", "required"), ".meta.dt": ("/meta/dt", "format")}
    assert "'.page_id' is required" in context["errorsText"] and context["code"] == "invalid-input"


def test_the_context_of_an_error_has_a_message_a_code_and_a_field() -> None:
    (member,) = lists(posted(UNKNOWN))["error"]
    assert member["context"] == {"message": "there is no stream 'nowhere'", "code": "invalid-input", "where": "/meta/stream"}


def test_a_client_tells_only_of_its_own_wikis() -> None:
    told = change("theirs")
    nameless = {**told, "meta": {name: value for name, value in told["meta"].items() if name != "domain"}}
    wiki = Client("wiki", frozenset({"events:write"}), frozenset({"rivers.example"}))

    async def test(setting: Setting) -> None:
        handler = table(setting)["POST", "/v1/events"].handler
        others = [raw({**told, "meta": {**told["meta"], "domain": "lakes.example"}}), raw(nameless)]
        response = await handler(msgspec.structs.replace(request(array(raw(change("ours")), *others)), client=wiki))
        assert response.status == 207 and len(await setting.values("resource_change")) == 1
        contexts = [member["context"] for member in lists(response)["error"]]
        assert [(context["code"], context["where"]) for context in contexts] == [("forbidden", "/meta/domain")] * 2
        response = await handler(request(array(*others)))
        assert response.status == 201, "a client without domains tells of all"

    run(test)


def test_the_event_comes_back_byte_for_byte() -> None:
    event = b'{ "meta" : {"stream":"nowhere"}, "$schema":"resource_change/1.0.0", "x":1.50 }'
    response = posted(event)
    assert isinstance(response.body, bytes) and event in response.body


@pytest.mark.parametrize("body", [INVALID, UNKNOWN, array(INVALID, UNKNOWN, b"5"), raw(change(stream="headwater.page-changed"))])
def test_400_when_every_event_is_the_clients_mistake(body: bytes) -> None:
    response = posted(body)
    assert response.status == 400
    assert lists(response)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("full"), 507),
        (Unavailable("down", retry_after_s=7), 503),
        (OutcomeUnknown("lost"), 504),
        (Fenced("gone"), 503),
    ],
)
def test_what_is_our_fault_is_told_so(error: HeadwaterError, status: int) -> None:
    async def test(setting: Setting) -> None:
        setting.log.refuse = lambda _record: AppendFailure(error)
        response = await post(setting, array(GOOD, INVALID))
        assert response.status == status
        assert dict(response.headers)["retry-after"] == ("7" if isinstance(error, Unavailable) else "1")
        assert lists(response)["error"][0]["context"]["code"] == error.code

    run(test)


def test_the_worst_of_our_faults_gives_the_status() -> None:
    errors: dict[bytes, HeadwaterError] = {b"a": Unavailable("x"), b"b": StorageFull("x"), b"c": OutcomeUnknown("x")}

    async def test(setting: Setting) -> None:
        setting.log.refuse = lambda record: AppendFailure(errors[dict(record.headers)["id"]])
        assert (await post(setting, array(raw(change("a")), raw(change("b")), raw(change("c"))))).status == 504
        assert (await post(setting, array(raw(change("a")), raw(change("b"))))).status == 507

    run(test)


def test_some_failing_records_are_listed_beside_the_stored() -> None:
    async def test(setting: Setting) -> None:
        setting.log.refuse = lambda record: AppendFailure(Unavailable("x")) if dict(record.headers)["id"] == b"bad" else None
        response = await post(setting, array(GOOD, raw(change("bad"))))
        assert response.status == 207
        (member,) = lists(response)["error"]
        assert member["index"] == 1 and member["context"]["code"] == "unavailable"

    run(test)


def test_413_when_every_event_is_too_large() -> None:
    config = EventsConfig(event_bytes_max=Bytes(300), events_max=2)
    large = raw(change("large", pad="x" * 300))
    response = posted(large, config=config)
    assert response.status == 413
    assert lists(response)["error"][0]["event"] is None
    assert posted(array(large, GOOD), config=config).status == 207
    assert posted(array(large, INVALID), config=config).status == 400
    with pytest.raises(TooLarge):
        posted(array(GOOD, GOOD, GOOD), config=config)


def test_the_route_bounds_the_body() -> None:
    async def test(setting: Setting) -> None:
        route = table(setting)["POST", "/v1/events"]
        assert route.body_bytes_max == 10 * 2**20 and route.grant == "events:write"

    run(test)


def test_a_body_of_10_mib_of_small_events_is_stored() -> None:
    events = [raw(change(str(number), pad="x" * 900)) for number in range(9500)]
    body = array(*events)
    assert 9.5 * 2**20 < len(body) <= 10 * 2**20

    async def test(setting: Setting) -> None:
        assert (await post(setting, body)).status == 201
        assert await setting.values("resource_change") == events

    run(test)


def test_a_long_list_of_failures_is_made_in_slices() -> None:
    async def test(setting: Setting) -> None:
        response = await post(setting, array(*[UNKNOWN] * 450))
        assert [member["index"] for member in lists(response)["error"]] == list(range(450))

    run(test)


def test_a_large_body_is_split_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    original = asyncio.to_thread

    async def to_thread(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        moved.append(function.__name__)
        return await original(function, *args, **named)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    posted(GOOD + b" " * (64 * 1024 - len(GOOD)))
    assert moved == []
    posted(GOOD + b" " * (64 * 1024 - len(GOOD) + 1))
    assert moved == ["split"]


async def get(setting: Setting, path: str, **params: str) -> Response:
    """Ask for a resource."""
    handler: Callable[[Request], Awaitable[Response]] = table(setting)["GET", path].handler
    return await handler(request(b"", JSON, **params))


def test_streams_and_schemas_are_listed_and_served() -> None:
    async def test(setting: Setting) -> None:
        listed = await get(setting, "/v1/streams")
        assert isinstance(listed.body, bytes)
        document = orjson.loads(listed.body)
        streams = {stream["name"]: stream for stream in document["streams"]}
        assert streams["mediawiki.job.*"] == {"name": "mediawiki.job.*", "schema_title": "mediawiki/job", "public": True, "pattern": True}
        assert not streams["headwater.page-changed"]["public"]
        for uri in document["schemas"]:
            served = await get(setting, "/v1/schemas/{uri*}", uri=uri[1:])
            assert isinstance(served.body, bytes) and orjson.loads(served.body)["$id"] == uri
        for absent in ("resource_change/9.9.9", "../../pyproject.toml", "resource_change/latest"):
            with pytest.raises(NotFound):
                await get(setting, "/v1/schemas/{uri*}", uri=absent)

    run(test)


def test_the_status_counts() -> None:
    async def test(setting: Setting) -> None:
        await post(setting, array(GOOD, GOOD, INVALID, UNKNOWN))
        response = await get(setting, "/v1/status")
        assert isinstance(response.body, bytes)
        document = orjson.loads(response.body)
        assert document["followers"] == {"rivers": {"position": 7}}
        counts = {name: document["intake"][name] for name in ("accepted", "duplicates", "invalid", "failed", "unsettled")}
        assert counts == {"accepted": 1, "duplicates": 1, "invalid": 1, "failed": 1, "unsettled": 0}

    run(test)

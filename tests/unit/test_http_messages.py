"""What handlers take from a request: numbers in the query, values in the body."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from headwater.http.framing import check_head
from headwater.http.json import body_as, respond
from headwater.http.messages import Client, Request
from headwater.kernel.errors import InvalidInput

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """A body as an API declares it."""

    pages: list[int] | None = None


def request(*query: tuple[str, str], body: bytes = b"") -> Request:
    """A request with this query and this body."""

    async def read() -> bytes:
        return body

    return Request("GET", "/", query, {}, Client("anonymous"), "127.0.0.1", read)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("1000", 1000), ("007", 7)])
def test_a_number_in_the_query_is_read(text: str, number: int) -> None:
    assert request(("limit", text)).query_number("limit", 5, least=1, most=1000) == number


def test_a_number_that_is_not_given_has_its_default() -> None:
    assert request(("other", "3")).query_number("limit", 5, least=1, most=1000) == 5


@pytest.mark.parametrize("text", ["", "0", "1001", "-1", "+1", "1.0", "1e2", " 1", "1\n", "x", "²", "١", "9" * 20])
def test_what_is_no_such_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="limit is a whole number from 1 to 1000") as refused:
        request(("limit", text)).query_number("limit", 5, least=1, most=1000)
    assert refused.value.where == "limit"


@pytest.mark.parametrize(("body", "pages"), [(b"", None), (b" \n", None), (b"{}", None), (b'{"pages":[1,2]}', [1, 2])])
def test_a_body_is_what_the_api_declares(run: Run, body: bytes, pages: list[int] | None) -> None:
    assert run(body_as(request(body=body), Wish)) == Wish(pages)


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"pages":["1"]}', b'{"page":[1]}', b'{"pages":[1],"pages":[2]}', b"{"])
def test_a_body_that_is_something_else_is_refused(run: Run, body: bytes) -> None:
    with pytest.raises(InvalidInput):
        run(body_as(request(body=body), Wish))


def test_an_answer_says_how_things_are_now() -> None:
    response = respond({"pages": Wish([1])}, status=202)
    assert (response.status, response.body, response.content_type) == (202, b'{"pages":{"pages":[1]}}', "application/json")
    assert ("cache-control", "no-store") in response.headers


@pytest.mark.parametrize(("target", "has_query"), [(b"/a", False), (b"/a?", True), (b"/a?b=1", True), (b"http://h/a?", True)])
def test_an_empty_query_makes_another_address(target: bytes, has_query: bool) -> None:
    head = check_head(b"GET", "1.1", target, [(b"host", b"h")])
    assert (head.raw_path, head.has_query) == (b"/a", has_query)

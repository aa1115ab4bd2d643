"""The HTTP purge target against a hand-written cache on a real socket: what is sent, to whom, and what each answer means."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.integration.small_server import small_server

from headwater.kernel.errors import InvalidInput, Unavailable
from headwater.purging.engines.http import HttpPurgeTarget, HttpTargetSpec
from headwater.purging.ports import PurgeRequest


def with_cache(answer: bytes | None, act: Callable[[HttpPurgeTarget, list[str]], Awaitable[None]]) -> None:
    """Run `act` with a target whose cache answers `answer` to everything (None: nothing), and the heads that it received."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if answer is not None:
                writer.write(answer)
                await writer.drain()

    async def scene() -> None:
        async with small_server(serve) as port:
            spec = HttpTargetSpec(name="cache", url=f"http://127.0.0.1:{port}", timeout_s=0.3)
            async with HttpPurgeTarget(spec) as target:
                await act(target, heads)

    asyncio.run(scene())


def status(code: int, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} X", "content-length: 0", *fields, "", ""]).encode()


def test_sends_host_path_and_floor_to_the_declared_address() -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        await target.purge(PurgeRequest("http://Rivers.example:80/v1/rivers/html/A%2FB_(x)?a=%20b", 8_589_934_597))
        lines = heads[0].split("\r\n")
        assert lines[0] == "PURGE /v1/rivers/html/A%2FB_(x)?a=%20b HTTP/1.1"
        assert "Host: rivers.example" in lines
        assert "X-Headwater-Seq: 8589934597" in lines

    with_cache(status(200), act)


def test_a_purge_of_the_wiki_carries_no_floor() -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        await target.purge(PurgeRequest("http://rivers.example/", None))
        assert "X-Headwater-Seq" not in heads[0]

    with_cache(status(204), act)


@pytest.mark.parametrize("path", ["//other.example/x", "/http://other.example/x", "/../../x", "/@other.example/", "/:80@other.example"])
def test_no_path_leads_elsewhere(path: str) -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        await target.purge(PurgeRequest(f"http://rivers.example{path}", None))
        assert heads[0].startswith(f"PURGE {path} HTTP/1.1\r\n")
        assert "Host: rivers.example\r\n" in heads[0]

    with_cache(status(200), act)


@pytest.mark.parametrize(
    "url",
    [
        "http://rivers.example/\r\nX-Smuggled: 1",
        "http://rivers.example/%0d%0a \r\n",
        "http://a:b@127.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_what_cannot_be_an_address_is_never_sent(url: str) -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        with pytest.raises(InvalidInput):
            await target.purge(PurgeRequest(url, None))
        assert heads == []

    with_cache(status(200), act)


@pytest.mark.parametrize("code", [200, 202, 204, 404])
def test_these_answers_are_acknowledgements(code: int) -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        await target.purge(PurgeRequest("http://rivers.example/", 1))
        assert len(heads) == 1

    with_cache(status(code), act)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_after_these_answers_it_is_tried_again(code: int) -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        with pytest.raises(Unavailable):
            await target.purge(PurgeRequest("http://rivers.example/", 1))

    with_cache(status(code), act)


@pytest.mark.parametrize("code", [301, 302, 307, 400, 401, 403, 405, 410, 501])
def test_these_answers_are_refusals_for_good_and_redirects_are_not_followed(code: int) -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        with pytest.raises(InvalidInput):
            await target.purge(PurgeRequest("http://rivers.example/", 1))
        assert len(heads) == 1

    with_cache(status(code, "location: http://127.0.0.1:9/elsewhere"), act)


@pytest.mark.parametrize("answer", [None, b"", b"not HTTP at all\r\n\r\n"])
def test_no_usable_answer_means_later(answer: bytes | None) -> None:
    async def act(target: HttpPurgeTarget, heads: list[str]) -> None:
        with pytest.raises(Unavailable):
            await target.purge(PurgeRequest("http://rivers.example/", 1))

    with_cache(answer, act)


def test_a_cache_that_is_not_there_means_later() -> None:
    async def scene() -> None:
        async with HttpPurgeTarget(HttpTargetSpec(name="cache", url="http://127.0.0.1:1")) as target:
            with pytest.raises(Unavailable):
                await target.purge(PurgeRequest("http://rivers.example/", 1))

    asyncio.run(scene())

"""Asking for copies over HTTP: what of an answer is believed, whom it asks, and that nothing holds it up."""

import asyncio
import hashlib

import pytest
from tests.integration.small_server import small_server

from headwater.kernel.errors import InvalidInput, Unavailable
from headwater.propagation.engines.copies_http import HttpCopies, seq_of_header
from headwater.propagation.model import BodyHash
from headwater.propagation.ports import Copy

BODY = b"<p>rhine</p>"
HASH = BodyHash(hashlib.sha256(BODY).hexdigest())


def ask(answer: bytes | None, *, path: str = "/wiki/R%C3%BCh", timeout_s: float = 5, body_bytes_max: int = 1000) -> tuple[Copy, bytes]:
    """What an answer is taken for, and the request that was sent; None does not answer."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        if answer is None:
            await asyncio.Event().wait()
        else:
            writer.write(answer)
            await writer.drain()

    async def case() -> Copy:
        async with small_server(handler) as port:
            base = f"http://127.0.0.1:{port}"
            copies = HttpCopies((f"{base}/wiki/{{title}}",), timeout_s=timeout_s, body_bytes_max=body_bytes_max, user_agent="test/1")
            try:
                return await copies.copy(base + path)
            finally:
                await copies.close()

    return asyncio.run(case()), seen[0]


def answer_of(body: bytes = BODY, *headers: str, status: str = "200 OK") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def test_an_answer_of_the_pages_api_gives_seq_and_hash() -> None:
    found, request = ask(answer_of(BODY, "X-Headwater-Seq: 4294967297"))
    assert found == Copy(4294967297, HASH)
    assert request.startswith(b"GET /wiki/R%C3%BCh HTTP/1.1\r\n")
    assert b"accept-encoding: identity" in request.lower() and b"user-agent: test/1" in request.lower()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (answer_of(), Copy(None, None)),
        (answer_of(BODY, "X-Headwater-Seq: 7", status="404 Not Found"), Copy(7, None)),
        (answer_of(b"", "X-Headwater-Seq: 7", "Location: /elsewhere", status="301 Moved Permanently"), Copy(7, None)),
        (answer_of(BODY, "X-Headwater-Seq: 7", "Content-Encoding: gzip"), Copy(7, None)),
        (answer_of(b"x" * 1001, "X-Headwater-Seq: 7"), Copy(7, None)),
        (answer_of(b"", "X-Headwater-Seq: 7"), Copy(7, BodyHash(hashlib.sha256(b"").hexdigest()))),
    ],
)
def test_what_cannot_be_compared_by_its_body_is_not(answer: bytes, expected: Copy) -> None:
    assert ask(answer)[0] == expected


@pytest.mark.parametrize("answer", [None, b"", b"no HTTP\r\n\r\n", answer_of(BODY, "X-Headwater-Seq: 7")[:-3]])
def test_an_answer_that_does_not_come_or_breaks_off_is_none(answer: bytes | None) -> None:
    with pytest.raises(Unavailable):
        ask(answer, timeout_s=0.5)


@pytest.mark.parametrize("url", ["http://elsewhere.example/wiki/A", "https://127.0.0.1/wiki/A", "file:///etc/passwd"])
def test_no_other_host_is_asked(url: str) -> None:
    async def case() -> None:
        copies = HttpCopies(("http://127.0.0.1/wiki/{title}",), timeout_s=1, body_bytes_max=10, user_agent="test")
        with pytest.raises(InvalidInput):
            await copies.copy(url)
        await copies.close()

    asyncio.run(case())


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), ("12", 12), ("", None), ("-1", None), ("1e3", None), ("٣", None), ("1" * 21, None)]
)
def test_a_seq_is_a_decimal_number(value: str | None, expected: int | None) -> None:
    assert seq_of_header(value) == expected

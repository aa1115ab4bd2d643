"""What readers get at a wiki's addresses, over aiohttp: for audits.

Only the hosts of the wiki's own `page_urls` are contacted. Redirects are not followed, proxies of the environment and cookies are not used,
and no more of an answer is read than the largest body that there can be.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from headwater.kernel.errors import InvalidInput, Unavailable
from headwater.propagation.model import BodyHash
from headwater.propagation.ports import Copy
from headwater.propagation.surroundings import hash_of

_SEQ = "X-Headwater-Seq"
_CONNECTIONS_MAX = 2
_SEQ_DIGITS_MAX = 20


class HttpCopies:
    """`Copies` of one wiki. Nothing is opened before the first question; `close` ends it.

    Args:
        page_urls: as configured; `{title}` stands for titles.
        timeout_s: longest wait for one answer, its body included.
        body_bytes_max: larger answers are not compared by their bodies.
    """

    def __init__(self, page_urls: Sequence[str], *, timeout_s: float, body_bytes_max: int, user_agent: str) -> None:
        self._origins = frozenset(_origin(url) for url in page_urls)
        self._timeout_s = timeout_s
        self._body_bytes_max = body_bytes_max
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close idle connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def copy(self, url: str) -> Copy:
        """As the port says."""
        if _origin(url) not in self._origins:
            raise InvalidInput("the address is on no host of the wiki's page_urls", where="url")
        try:
            async with self._opened().get(URL(url, encoded=True), allow_redirects=False) as answer:
                return Copy(seq_of_header(answer.headers.get(_SEQ)), await self._body_of(answer))
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"no answer: {type(error).__name__}") from error

    async def _body_of(self, answer: aiohttp.ClientResponse) -> BodyHash | None:
        """The hash of the body, where it can be compared: sent whole and as it is."""
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if answer.status != 200 or _SEQ not in answer.headers or encoding != "identity":
            return None
        size, pieces = 0, []
        async for piece in answer.content.iter_any():
            size += len(piece)
            if size > self._body_bytes_max:
                return None
            pieces.append(piece)
        return await hash_of(b"".join(pieces))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, keepalive_timeout=15),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                headers=self._headers,
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def seq_of_header(value: str | None) -> int | None:
    """The number in `X-Headwater-Seq`; None where there is none, or something else. Pure."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > _SEQ_DIGITS_MAX:
        return None
    return int(value)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()

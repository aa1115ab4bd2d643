"""A cache that is purged by an HTTP method, over aiohttp.

The connection always goes to the target's own address; of the purged URL only Host and path are sent. Redirects are not followed, proxies
of the environment are not used, and the body of an answer is read up to a limit only to keep the connection usable.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from headwater.kernel.errors import InvalidInput, Unavailable
from headwater.purging.address import address_of
from headwater.purging.ports import PurgeRequest

FLOOR_HEADER = "X-Headwater-Seq"
_TRY_AGAIN = frozenset({408, 425, 429})  # client errors that say "later"
_NO_COPY = 404


@dataclass(frozen=True, slots=True)
class HttpTargetSpec:
    """A declared target.

    Attributes:
        name: in metrics and dead letters.
        url: `scheme://host:port`, the only address that is contacted.
        method: HTTP method of a purge.
        layer: layers are purged in rising order.
        concurrency_max: most connections at once.
        timeout_s: longest wait for one answer, connecting included.
        answer_bytes_max: most bytes of an answer's body that are read.
        user_agent: names us in the cache's log.
    """

    name: str
    url: str
    method: str = "PURGE"
    layer: int = 0
    concurrency_max: int = 16
    timeout_s: float = 5.0
    answer_bytes_max: int = 65_536
    user_agent: str = "Headwater"


class HttpPurgeTarget:
    """One declared target. Use as an async context manager, or call `close`."""

    def __init__(self, spec: HttpTargetSpec) -> None:
        """Nothing is opened before the first purge."""
        self._spec = spec
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self._spec.name

    @property
    def layer(self) -> int:
        """Its layer in the configuration."""
        return self._spec.layer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close idle connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def purge(self, request: PurgeRequest) -> None:
        """Send one purge and read its answer; see `PurgeTarget.purge`."""
        address = address_of(request.url)
        headers = {"Host": address.host, "User-Agent": self._spec.user_agent}
        if request.seq is not None:
            headers[FLOOR_HEADER] = str(request.seq)
        url = URL(self._spec.url.rstrip("/") + address.path, encoded=True)
        try:
            async with self._opened().request(self._spec.method, url, headers=headers, allow_redirects=False) as answer:
                status = answer.status
                await answer.content.read(self._spec.answer_bytes_max)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._spec.timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"no answer: {type(error).__name__}") from error
        _judge(status)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._spec.concurrency_max, keepalive_timeout=15),
                timeout=aiohttp.ClientTimeout(total=self._spec.timeout_s),
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _judge(status: int) -> None:
    """Return for an acknowledgement: 2xx, or 404 of a cache that has no copy."""
    if 200 <= status < 300 or status == _NO_COPY:
        return
    if status in _TRY_AGAIN or (status >= 500 and status != 501):
        raise Unavailable(f"answered {status}")
    raise InvalidInput(f"answered {status}: the cache does not accept purges of this URL from here")

"""Asks roles over HTTP, with aiohttp. Only the addresses given are contacted; redirects and proxies of the environment are not followed."""

import aiohttp

from headwater.console.ports import Answer


class HttpRoleClient:
    """A `RoleClient`. Create it inside a running event loop, close it when done."""

    def __init__(self, *, timeout_s: float, answer_bytes_max: int, token: str | None) -> None:
        """`token` is sent as bearer token, where given."""
        self._answer_bytes_max = answer_bytes_max
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=16),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    async def ask(self, address: str, path: str) -> Answer:
        """See `RoleClient.ask`."""
        try:
            async with self._session.get(f"http://{address}{path}", allow_redirects=False) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > self._answer_bytes_max:
                        return Answer(None, fault="answers too much")
                return Answer(answer.status, bytes(body))
        except TimeoutError:
            return Answer(None, fault="does not answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(None, fault=f"cannot be reached ({type(error).__name__})")

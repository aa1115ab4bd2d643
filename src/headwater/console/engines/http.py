"""Asks roles over HTTP, with aiohttp. Only the addresses given are contacted; redirects and proxies of the environment are not followed."""

import ssl

import aiohttp

from headwater.console.ports import Answer


class HttpRoleClient:
    """A `RoleClient`. Create it inside a running event loop, close it when done."""

    def __init__(
        self,
        *,
        timeout_s: float,
        answer_bytes_max: int,
        token: str | None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        """Create a client.

        Args:
            timeout_s: longest wait for an answer.
            answer_bytes_max: largest answer that is read.
            token: sent as bearer token, where given.
            tls: what the roles are asked over TLS with; None: plain HTTP.
            server_name: what their certificates have to be for, if it is not their host.
        """
        self._scheme = "http" if tls is None else "https"
        self._server_name = server_name
        self._answer_bytes_max = answer_bytes_max
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=16, ssl=True if tls is None else tls),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    async def ask(self, address: str, path: str) -> Answer:
        """See `RoleClient.ask`."""
        url = f"{self._scheme}://{address}{path}"
        try:
            async with self._session.get(url, allow_redirects=False, server_hostname=self._server_name) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > self._answer_bytes_max:
                        return Answer(None, fault="answers too much")
                return Answer(answer.status, bytes(body))
        except TimeoutError:
            return Answer(None, fault="does not answer in time")
        except aiohttp.ClientConnectorCertificateError as error:
            return Answer(None, fault=f"shows a certificate that is not trusted ({error.certificate_error})")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(None, fault=f"cannot be reached ({type(error).__name__})")

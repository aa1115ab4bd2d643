"""The action API of one wiki as an asynchronous client.

Only the host of `api_url` is ever contacted: redirects are errors, proxies of the environment are not used. At most `concurrency_max`
requests are under way; each is bounded in time and in the size of its answer. Every failure is one of `headwater.mediawiki.errors`. Large
answers are decoded in a thread, so that the event loop stays free.
"""

import asyncio
import io
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlencode

import aiohttp
import msgspec
import structlog
from yarl import URL

from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.mediawiki import metrics as m
from headwater.mediawiki.answers import Answer, ApiError, LoginAnswer, ParseAnswer, SiteAnswer, UserAnswer
from headwater.mediawiki.config import WikiConfig
from headwater.mediawiki.errors import AnswerTooLarge, WikiBusy, WikiError, WikiRefused, WikiUnavailable
from headwater.mediawiki.ports import A, Value
from headwater.mediawiki.titles import SiteInfo, site_info

_URL_BYTES_MAX = 2000  # longer parameter lists are posted
_FORM_BYTES_MAX = 16 * 1024  # percent-encoding more than this would hold the loop: multipart instead
_INLINE_BYTES_MAX = 64 * 1024  # smaller answers are decoded on the loop
_RETRY_S_MAX = 300.0
_BUSY_CODES = frozenset({"maxlag", "readonly", "ratelimited", "actionthrottledtext", "internal_api_error_DBQueryError", "too-many-pings"})
_BUSY_PREFIX = "internal_api_error_DB"
_SITE_AGE_S_MAX = 3600.0

_log = structlog.get_logger(__name__)


def error_of(error: ApiError, *, retry_after_s: float | None) -> WikiBusy | WikiRefused:
    """What an `error` object of the API means for the request that met it."""
    detail = f"{error.code}: {error.info}"[:300]
    if error.code in _BUSY_CODES or error.code.startswith(_BUSY_PREFIX):
        return WikiBusy(detail, retry_after_s=retry_after_s)
    return WikiRefused(detail, api_code=error.code)


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for; None without a usable one. A date is not read: no wiki sends one."""
    if header is None or not header.strip().isdigit():
        return None
    return min(float(header.strip()), _RETRY_S_MAX)


def reason_of(error: aiohttp.ClientError | OSError) -> str:
    """Why a wiki cannot be reached, in words of the system and without its address: readers of pages are told it too."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    name = type(cause).__name__
    if not isinstance(cause, OSError):
        return name
    if isinstance(cause, ssl.SSLError):  # its errno is no number of the system
        return f"no TLS: {getattr(cause, 'reason', None) or name}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"its name: {cause.strerror}"
    return name if cause.errno is None else os.strerror(cause.errno)


class WikiClient:
    """The action API of one wiki. Create it inside a running event loop, close it when done."""

    def __init__(self, name: str, config: WikiConfig, *, clock: Clock, ids: Ids, metrics: Metrics) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": config.user_agent},
            timeout=aiohttp.ClientTimeout(total=float(config.timeout)),
            connector=aiohttp.TCPConnector(limit=config.concurrency_max),
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # a wiki may be known by its address alone
            trust_env=False,
        )
        self._slots = asyncio.Semaphore(config.concurrency_max)
        self._decoders: dict[type[Answer], msgspec.json.Decoder[Answer]] = {}
        self._login_lock = asyncio.Lock()
        self._logged_in = False
        self._site: SiteInfo | None = None
        self._site_read_s = 0.0
        self._site_lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """Name of the wiki in the configuration."""
        return self._name

    @property
    def config(self) -> WikiConfig:
        """The wiki's section of the configuration."""
        return self._config

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def call(self, answer: type[A], parameters: Mapping[str, Value]) -> A:
        """Ask once and return the decoded answer.

        Args:
            answer: what the answer is decoded as.
            parameters: of the API, without `format` and the like; True is a flag that is set, False one that is left out.

        Raises:
            WikiUnavailable: no usable answer.
            WikiBusy: not now; `retry_after_s` says when, if the wiki did.
            WikiRefused: an error that asking again would meet again.
            AnswerTooLarge: more than `answer_bytes_max`.
        """
        if self._config.username is not None and not self._logged_in:
            await self._log_in()
        try:
            return await self._measured(answer, self._complete(parameters))
        except WikiRefused as error:
            if error.api_code not in ("assertuserfailed", "assertbotfailed") or self._config.username is None:
                raise
            self._logged_in = False
        await self._log_in()
        return await self._measured(answer, self._complete(parameters))

    async def call_all(self, answer: type[A], parameters: Mapping[str, Value], *, answers_max: int) -> AsyncIterator[A]:
        """Ask and follow `continue` until there is none, or `answers_max` answers have come; raises as `call` does."""
        more: Mapping[str, Value] = {}
        for _ in range(answers_max):
            part = await self.call(answer, {**parameters, **more})
            yield part
            if not part.continue_:
                return
            more = part.continue_

    async def site(self) -> SiteInfo:
        """What the wiki says about itself, read again every hour; raises as `call` does."""
        async with self._site_lock:
            now = self._clock.monotonic_s()
            if self._site is None or now - self._site_read_s > _SITE_AGE_S_MAX:
                self._site = await self._read_site()
                self._site_read_s = now
            return self._site

    async def rights(self) -> frozenset[str]:
        """What this client may do in the wiki; raises as `call` does."""
        found = await self.call(UserAnswer, {"action": "query", "meta": "userinfo", "uiprop": "rights"})
        return frozenset(found.query.userinfo.rights)

    async def _read_site(self) -> SiteInfo:
        props = "general|namespaces|namespacealiases|interwikimap"
        told = await self.call(SiteAnswer, {"action": "query", "meta": "siteinfo", "siprop": props})
        # A parse of nothing special shows how long this wiki keeps HTML that nothing shortens.
        plain = await self.call(
            ParseAnswer, {"action": "parse", "title": "-", "text": "x", "contentmodel": "wikitext", "prop": "limitreportdata"}
        )
        return site_info(told.query, lifetime_s_max=plain.parse.cache_lifetime_s() if plain.parse else None)

    def _complete(self, parameters: Mapping[str, Value]) -> dict[str, str]:
        """All parameters of a request as strings."""
        full = {name: "1" if value is True else str(value) for name, value in parameters.items() if value is not False}
        full |= {"format": "json", "formatversion": "2"}
        if self._config.maxlag > 0:
            full["maxlag"] = str(max(1, round(self._config.maxlag)))
        if self._logged_in:
            full["assert"] = "user"
        return full

    async def _measured(self, answer: type[A], parameters: dict[str, str]) -> A:
        """One request within the cap, counted and timed."""
        began = self._clock.monotonic_s()
        outcome = "cancelled"
        try:
            async with self._slots:
                result = await self._exchange(answer, parameters)
            outcome = "ok"
            return result
        except WikiError as error:
            outcome = error.outcome
            raise
        finally:
            self._metrics.inc(m.REQUESTS, wiki=self._name, outcome=outcome)
            self._metrics.observe(m.REQUEST_SECONDS, self._clock.monotonic_s() - began, wiki=self._name, action=parameters["action"])

    async def _exchange(self, answer: type[A], parameters: dict[str, str]) -> A:
        try:
            async with self._request(parameters) as response:
                after = retry_after_s(response.headers.get("Retry-After"))
                if 300 <= response.status < 400:
                    raise WikiUnavailable(
                        f"the wiki redirects to another address (status {response.status}); `api_url` must name the final one"
                    )
                if response.status == 429 or response.status >= 500:
                    raise WikiUnavailable(f"the wiki answered status {response.status}", retry_after_s=after)
                body = await self._body(response)
        except TimeoutError as error:
            raise WikiUnavailable(f"the wiki did not answer within {self._config.timeout} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise WikiUnavailable(f"the wiki cannot be reached: {reason_of(error)}") from error
        decoded = await self._decode(answer, body)
        if decoded.error is not None:
            raise error_of(decoded.error, retry_after_s=after)
        return decoded

    def _request(self, parameters: dict[str, str]) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The request as GET where it is short and tells no secret, else as POST."""
        size = sum(len(value) for value in parameters.values())
        if size > _FORM_BYTES_MAX:
            boundary = f"headwater-{self._ids.uuid()}"
            body = multipart(parameters, boundary)
            headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
            return self._session.post(self._config.api_url, data=io.BytesIO(body), headers=headers, allow_redirects=False)
        encoded = urlencode(parameters)
        if parameters["action"] == "query" and len(encoded) <= _URL_BYTES_MAX:
            return self._session.get(URL(f"{self._config.api_url}?{encoded}", encoded=True), allow_redirects=False)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._session.post(self._config.api_url, data=encoded.encode(), headers=headers, allow_redirects=False)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._config.answer_bytes_max:
                raise AnswerTooLarge(f"the wiki's answer has more than {self._config.answer_bytes_max} bytes", where="answer_bytes_max")
            chunks.append(chunk)
        return b"".join(chunks)

    async def _decode(self, answer: type[A], body: bytes) -> A:
        decoder = self._decoders.get(answer)
        if decoder is None:
            decoder = self._decoders[answer] = msgspec.json.Decoder(answer)
        try:
            decoded = decoder.decode(body) if len(body) <= _INLINE_BYTES_MAX else await asyncio.to_thread(decoder.decode, body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WikiUnavailable(f"the wiki's answer is not what the action API gives: {error}"[:200]) from error
        assert isinstance(decoded, answer)
        return decoded

    async def _log_in(self) -> None:
        """Log in with the bot password; joined by all who wait for it."""
        async with self._login_lock:
            if self._logged_in:
                return
            assert self._config.username is not None
            if self._config.password is None:
                raise WikiRefused("a username is configured without a password", api_code="nopassword")
            tokens = {"action": "query", "meta": "tokens", "type": "login"}
            told = await self._measured(UserAnswer, self._complete(tokens))
            done = await self._measured(
                LoginAnswer,
                self._complete(
                    {
                        "action": "login",
                        "lgname": self._config.username,
                        "lgpassword": str(self._config.password),
                        "lgtoken": told.query.tokens.logintoken,
                    }
                ),
            )
            if done.login is None or done.login.result != "Success":
                reason = done.login.reason if done.login else "no answer"
                raise WikiRefused(f"the wiki refuses the login: {reason}"[:200], api_code="login")
            self._logged_in = True
            _log.info("wiki_logged_in", wiki=self._name)


def multipart(parameters: Mapping[str, str], boundary: str) -> bytes:
    """Parameters as multipart/form-data (RFC 7578): what a long text costs least to be sent as."""
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parameters.items()]
    return "".join([*parts, f"--{boundary}--\r\n"]).encode()

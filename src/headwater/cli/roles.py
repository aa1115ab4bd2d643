"""Talks to running roles over HTTP. Few requests, one after another: the standard library's client is enough, and loads fast."""

import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headwater.app.config import HeadwaterConfig, load_config
from headwater.app.roles import SESSIONS
from headwater.cli.connecting import Tls, connection_to, tls_of
from headwater.kernel.errors import NotFound, Unavailable

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a role answered: status and decoded JSON (None where the body is none)."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class RoleClient:
    """One role at its address. `token` is sent as bearer token where clients are configured; without `tls` it is plain HTTP."""

    name: str
    address: str
    token: str | None = None
    tls: Tls | None = None

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """Make one request; any answer is returned, whatever its status.

        Raises:
            Unavailable: nothing answers there, or not in time.
        """
        headers = {"accept": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        connection = connection_to(self.address, self.tls, timeout_s=TIMEOUT_S)
        try:
            connection.request(method, path, body=data, headers=headers)
            with connection.getresponse() as response:
                return Answer(response.status, _decoded(response.read()))
        except ConnectionRefusedError as error:
            raise Unavailable(f"{self.name} does not run at {self.address}: connection refused") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self.name} does not answer at {self.address}: {error}") from error
        finally:
            connection.close()

    def fetch(self, path: str) -> Any:
        """The JSON of a GET that has to succeed.

        Raises:
            NotFound: the role knows no such thing.
            Unavailable: nothing answers, or it answers with an error.
        """
        return self.checked(self.call("GET", path))

    def checked(self, answer: Answer) -> Any:
        """The body of a successful answer; errors as in `fetch`."""
        if answer.body is not None and not isinstance(answer.body, dict):
            raise Unavailable(f"what answers at {self.address} is not Headwater")
        if answer.status < 300:
            return answer.body
        detail = answer.body.get("detail", "") if answer.body else ""
        if answer.status == 404:
            raise NotFound(detail or f"{self.name} knows no such thing")
        raise Unavailable(f"{self.name} answered {answer.status}: {detail}")


class RoleConnection:
    """A connection to a role that is kept open, for many requests one after the other."""

    def __init__(self, client: RoleClient) -> None:
        self._client = client
        self._headers = {"accept": "application/json"}
        if client.token:
            self._headers["authorization"] = f"Bearer {client.token}"
        self._connection = connection_to(client.address, client.tls, timeout_s=TIMEOUT_S)

    def call(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Make one request with a body of JSON; any answer is returned, whatever its status.

        Raises:
            Unavailable: no whole answer came; what was asked for may have happened.
        """
        headers = self._headers if body is None else {**self._headers, "content-type": "application/json"}
        try:
            self._connection.request(method, path, body=body, headers=headers)
            with self._connection.getresponse() as response:
                return Answer(response.status, _decoded(response.read()))
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # and the next request opens it again
            raise Unavailable(f"{self._client.name} does not answer at {self._client.address}: {error}") from error

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def segment(text: str) -> str:
    """`text` as one percent-encoded path segment."""
    return quote(text, safe="")


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")


def wikis_of(client: RoleClient, wiki: str | None) -> list[str]:
    """The ids of the wikis that propagation keeps, or only `wiki`; the role knows them better than a file that may be another's.

    Raises:
        NotFound: it keeps no wiki of this id.
        Unavailable: it does not answer.
    """
    kept = sorted(one["wiki"] for one in client.fetch("/v1/status")["wikis"])
    if wiki is None:
        return kept
    if wiki not in kept:
        raise NotFound(f"no wiki is called {wiki}; there is {', '.join(kept) or 'none'}")
    return [wiki]


def role_clients(path: Path | None, token: str | None) -> tuple[HeadwaterConfig, dict[str, RoleClient]]:
    """The configuration, and a client for each role at the address that it names. Raises InvalidConfig."""
    config = load_config(path, os.environ)
    shared, own = tls_of(config.http, where="http"), tls_of(config.sessions.http, where="sessions.http")
    return config, {
        role: RoleClient(role, address, token, own if role == SESSIONS else shared) for role, address in config.listens().items()
    }

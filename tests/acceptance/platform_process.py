"""Headwater as a process of its own, as an operator runs it: started, asked over HTTP, stopped at a failpoint, killed, started again."""

import json
import pathlib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.acceptance.served_process import COMMAND, ServedProcess

ROLES = ("events", "propagation", "purging")


def fetch(
    url: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request without following redirects: status, headers by lower-case name, body."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    request = urllib.request.Request(url, method=method, headers=headers or {}, data=body)
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=30) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


@dataclass
class PlatformProcess(ServedProcess):
    """The roles of one configuration file in one process.

    Attributes:
        command: how it is started; tests of broken variants put another one here.
        addresses: of the roles, once it is ready.
    """

    log_name: ClassVar[str] = "platform.log"
    start_max_s: ClassVar[float] = 60.0
    config: pathlib.Path
    command: Sequence[str] = (COMMAND,)
    addresses: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.config.parent

    def begin(self, **environ: str) -> None:
        """Start it without waiting."""
        self.launch([*self.command, "serve", *ROLES, "--config", str(self.config), "--json"], environ)

    def start(self, **environ: str) -> None:
        """Start it and wait until every role answers `/readyz`."""
        self.begin(**environ)
        self.wait_until_ready()

    def is_ready(self) -> bool:
        """Whether every role is ready. Fails if the process has ended."""
        self.addresses = self.announced() or self.addresses
        return bool(self.addresses) and all(self.ask(role, "/readyz")[0] == 200 for role in ROLES)

    def ask(self, role: str, path: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
        """One request to a role; status 0 where there is no connection."""
        try:
            return fetch(f"http://{self.addresses[role]}{path}", **more)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, {}, b""

    def json(self, role: str, path: str) -> Any:
        """The JSON that a role answers with status 200."""
        status, _, body = self.ask(role, path)
        assert status == 200, (status, body[:500], self.last_words())
        return json.loads(body)

    def stopped_at(self) -> str | None:
        """The failpoint at which the process has stopped itself, or None while it runs."""
        note = self.folder / "failpoint"
        assert self.process is not None
        state = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return note.read_text() if state == "T" and note.exists() else None

    def armed(self, name: str, hit: int) -> dict[str, str]:
        """The environment that stops the process at the `hit`-th passing of a failpoint."""
        note = self.folder / "failpoint"
        note.unlink(missing_ok=True)
        return {"HEADWATER_FAILPOINT": f"{name}:{hit}", "HEADWATER_FAILPOINT_FILE": str(note)}

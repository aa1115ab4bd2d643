"""Headwater as a process of its own, as an operator runs it: started, asked over HTTP, stopped at a failpoint, killed, started again."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

ROLES = ("events", "propagation", "purging")
START_MAX_S = 60.0
_TICK_S = 0.02


def eventually(holds: Callable[[], bool], *, within_s: float, what: Callable[[], str]) -> None:
    """Ask again and again until `holds`; fail with `what()` after `within_s`."""
    end_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {within_s} s: {what()}")
        time.sleep(_TICK_S)


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
class PlatformProcess:
    """The roles of one configuration file in one process. Use as a context manager: what still runs at the end is killed.

    Attributes:
        command: how it is started; tests of broken variants put another one here.
        addresses: of the roles, once it is ready.
    """

    config: pathlib.Path
    command: Sequence[str] = (str(pathlib.Path(sys.executable).with_name("headwater")),)
    addresses: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def folder(self) -> pathlib.Path:
        """Where it is started, and where its output goes."""
        return self.config.parent

    def begin(self, **environment: str) -> None:
        """Start it without waiting; its output goes to `platform.log`, its announcement to `ready.json`."""
        assert self.process is None, "runs already"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_") or name == "HEADWATER_TEST_RUN"}
        with (self.folder / "platform.log").open("ab") as log, (self.folder / "ready.json").open("wb") as ready:
            self.process = subprocess.Popen(
                [*self.command, "serve", *ROLES, "--config", str(self.config), "--json"],
                cwd=self.folder,
                env={**kept, **environment},
                stdin=subprocess.DEVNULL,
                stdout=ready,
                stderr=log,
                start_new_session=True,
            )

    def start(self, **environment: str) -> None:
        """Start it and wait until every role answers `/readyz`."""
        self.begin(**environment)
        eventually(self.is_ready, within_s=START_MAX_S, what=self.last_words)

    def is_ready(self) -> bool:
        """Whether every role is ready. Fails if the process has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the platform ended with {self.process.returncode}: {self.last_words()}")
        text = (self.folder / "ready.json").read_text()
        if not text.endswith("\n"):
            return False
        self.addresses = json.loads(text.splitlines()[-1])["roles"]
        return all(self.ask(role, "/readyz")[0] == 200 for role in ROLES)

    def last_words(self) -> str:
        """The end of its log."""
        return (self.folder / "platform.log").read_text()[-3000:]

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

    def kill(self) -> None:
        """SIGKILL, whatever it is doing."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def terminate(self) -> None:
        """SIGTERM, as an operator ends it; it must end with status 0 within 10 s."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(10)
        self.process = None
        assert status == 0, self.last_words()

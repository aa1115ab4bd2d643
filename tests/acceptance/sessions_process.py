"""The process of sessions as an operator runs it: started, asked over HTTP, killed, started again on the same directory."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.acceptance.platform_process import eventually

COMMAND = str(pathlib.Path(sys.executable).with_name("headwater"))
START_MAX_S = 30.0
STOP_MAX_S = 10.0
ANSWER_MAX_S = 30.0


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_") or name == "HEADWATER_TEST_RUN"}
    return {**kept, **more}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class SessionsProcess:
    """`headwater serve sessions` on one data directory. Use as a context manager: what still runs at the end is killed.

    Attributes:
        folder: where it is started; data lie in `data`, its log in `sessions.log`.
        config: text of its configuration file, or None to run without one.
        command: how it is started, for variants of it.
        environ: more of its environment.
        listen: its address; port 0 lets the system choose, and every later start uses the same one.
    """

    folder: pathlib.Path
    config: str | None = None
    command: Sequence[str] = (COMMAND,)
    listen: str = "127.0.0.1:0"
    environ: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _local: threading.local = field(default_factory=threading.local)
    _connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def data(self) -> pathlib.Path:
        """Its data directory."""
        return self.folder / "data" / "sessions"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.folder / "sessions.log").read_text()

    def begin(self, **more: str) -> None:
        """Start it without waiting."""
        assert self.process is None, "runs already"
        self.folder.mkdir(exist_ok=True)
        arguments = ["serve", "sessions", "--json"]
        if self.config is not None:
            (self.folder / "headwater.yaml").write_text(self.config)
            arguments += ["--config", "headwater.yaml"]
        settings = {"HEADWATER_DATA_DIR": str(self.folder / "data"), "HEADWATER_SESSIONS__LISTEN": self.listen}
        with (self.folder / "sessions.log").open("ab") as log, (self.folder / "ready.json").open("wb") as ready:
            self.process = subprocess.Popen(
                [*self.command, *arguments],
                cwd=self.folder,
                env=environment(**{**settings, **self.environ, **more}),
                stdin=subprocess.DEVNULL,
                stdout=ready,
                stderr=log,
                start_new_session=True,
            )

    def start(self, **more: str) -> None:
        """Start it and wait until it answers `/livez`."""
        self.begin(**more)
        eventually(self.is_ready, within_s=START_MAX_S, what=lambda: self.log[-3000:])

    def is_ready(self) -> bool:
        """Whether it has said where it listens, and answers there. Fails if it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log[-3000:]}"
        text = (self.folder / "ready.json").read_text()
        if not text.endswith("\n"):
            return False
        self.listen = json.loads(text.splitlines()[-1])["roles"]["sessions"]
        return self.ask("GET", "/livez").status == 200

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request on this thread's own connection; status 0 where no whole answer came."""
        for fresh in (False, True):
            connection: http.client.HTTPConnection | None = None if fresh else getattr(self._local, "connection", None)
            kept = connection is not None and getattr(self._local, "address", None) == self.listen
            if connection is None or not kept:
                host, _, port = self.listen.rpartition(":")
                connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_MAX_S)
                self._connections.append(connection)
            try:
                connection.request(method, path, body=body, headers=dict(headers or {}))
                with connection.getresponse() as answer:
                    found = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if kept and method == "GET":
                    continue  # a kept connection may have been closed while it was idle
                return Answer(0, {}, b"")
            self._local.connection, self._local.address = connection, self.listen
            return found
        return Answer(0, {}, b"")

    def hang_up(self) -> None:
        """Close all connections; only when no other thread asks."""
        self._local = threading.local()  # a connection that was closed would open itself again, unseen
        while self._connections:
            self._connections.pop().close()

    def kill(self) -> None:
        """SIGKILL, whatever it is doing."""
        if self.process is None:
            self.hang_up()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process = None
        self.hang_up()

    def terminate(self) -> None:
        """SIGTERM, as an operator ends it; it must end with status 0 within 10 s."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(STOP_MAX_S)
        self.process = None
        assert status == 0, self.log[-3000:]

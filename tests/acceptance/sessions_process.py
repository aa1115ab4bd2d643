"""The process of sessions as an operator runs it: started, asked over HTTP, killed, started again on the same directory."""

import http.client
import pathlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from tests.acceptance.served_process import COMMAND, ServedProcess

ANSWER_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class SessionsProcess(ServedProcess):
    """`headwater serve sessions` on one data directory.

    Attributes:
        folder: where it is started; data lie in `data`, its log in `sessions.log`.
        config: text of its configuration file, or None to run without one.
        command: how it is started, for variants of it.
        environ: more of its environment.
        listen: its address; port 0 lets the system choose, and every later start uses the same one.
    """

    log_name: ClassVar[str] = "sessions.log"
    folder: pathlib.Path
    config: str | None = None
    command: Sequence[str] = (COMMAND,)
    listen: str = "127.0.0.1:0"
    environ: Mapping[str, str] = field(default_factory=dict)
    _local: threading.local = field(default_factory=threading.local)
    _connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.start()
        return self

    @property
    def data(self) -> pathlib.Path:
        """Its data directory."""
        return self.folder / "data" / "sessions"

    def begin(self, **more: str) -> None:
        """Start it without waiting."""
        self.folder.mkdir(exist_ok=True)
        arguments = ["serve", "sessions", "--json"]
        if self.config is not None:
            (self.folder / "headwater.yaml").write_text(self.config)
            arguments += ["--config", "headwater.yaml"]
        settings = {"HEADWATER_DATA_DIR": str(self.folder / "data"), "HEADWATER_SESSIONS__LISTEN": self.listen}
        self.launch([*self.command, *arguments], {**settings, **self.environ, **more})

    def start(self, **more: str) -> None:
        """Start it and wait until it answers `/livez`."""
        self.begin(**more)
        self.wait_until_ready()

    def is_ready(self) -> bool:
        """Whether it has said where it listens, and answers there. Fails if it has ended."""
        addresses = self.announced()
        if not addresses:
            return False
        self.listen = addresses["sessions"]
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
        super().kill()
        self.hang_up()

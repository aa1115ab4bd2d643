"""The process of tables as an operator runs it: started, asked over HTTP, killed, started again on the same directory."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.acceptance.platform_process import eventually
from tests.acceptance.sessions_process import COMMAND, environment

START_MAX_S = 30.0
STOP_MAX_S = 10.0
NOTED_MAX_S = 10.0


@dataclass
class TablesProcess:
    """`headwater serve tables` on one data directory. Use as a context manager: what still runs at the end is killed.

    Attributes:
        folder: where it is started; data lie in `data`, its log in `tables.log`.
        settings: its configuration, as the tree of a configuration file.
        port: where it listens; 0 lets the first start choose.
    """

    folder: pathlib.Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.folder / "tables.log").read_text()

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the configuration file; JSON is YAML."""
        self.settings = settings
        (self.folder / "headwater.yaml").write_text(json.dumps(settings))

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self.process is None, "runs already"
        self.configure(self.settings)
        more = {"HEADWATER_DATA_DIR": str(self.folder / "data"), "HEADWATER_TABLES__LISTEN": f"127.0.0.1:{self.port}"}
        with (self.folder / "tables.log").open("ab") as log, (self.folder / "ready.json").open("wb") as ready:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "tables", "--json", "--config", "headwater.yaml"],
                cwd=self.folder,
                env=environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=ready,
                stderr=log,
                start_new_session=True,
            )
        eventually(self.is_ready, within_s=START_MAX_S, what=lambda: self.log[-3000:])

    def is_ready(self) -> bool:
        """Whether it has said where it listens. Fails if it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log[-3000:]}"
        text = (self.folder / "ready.json").read_text()
        if not text.endswith("\n"):
            return False
        self.port = int(json.loads(text.splitlines()[-1])["roles"]["tables"].rpartition(":")[2])
        return self.ask("GET", "/livez")[0] == 200

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """One request on a connection of its own: status and body, as JSON where it is some; status 0 where no whole answer came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            with connection.getresponse() as answer:
                content = answer.read()
                return answer.status, json.loads(content) if "json" in answer.headers.get("content-type", "") and content else content
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    @contextlib.contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[socket.socket]:
        """A connection that reads a change stream, after the head of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as peer:
            lines = [f"GET {path} HTTP/1.1", "Host: tables", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
            peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                part = peer.recv(1)
                assert part, head
                head += part
            assert head.startswith(b"HTTP/1.1 200"), head
            yield peer

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def memory_bytes(self) -> int:
        """What it holds in memory."""
        assert self.process is not None
        fields = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

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
        status = self.process.wait(STOP_MAX_S)
        self.process = None
        assert status == 0, self.log[-3000:]

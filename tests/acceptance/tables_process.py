"""The process of tables as an operator runs it: started, asked over HTTP, killed, started again on the same directory."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from tests.acceptance.served_process import COMMAND, ServedProcess

NOTED_MAX_S = 10.0


@dataclass
class TablesProcess(ServedProcess):
    """`headwater serve tables` on one data directory.

    Attributes:
        folder: where it is started; data lie in `data`, its log in `tables.log`.
        settings: its configuration, as the tree of a configuration file.
        port: where it listens; 0 lets the first start choose.
    """

    log_name: ClassVar[str] = "tables.log"
    folder: pathlib.Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the configuration file; JSON is YAML."""
        self.settings = settings
        (self.folder / "headwater.yaml").write_text(json.dumps(settings))

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.configure(self.settings)
        environ = {"HEADWATER_DATA_DIR": str(self.folder / "data"), "HEADWATER_TABLES__LISTEN": f"127.0.0.1:{self.port}"}
        self.launch([COMMAND, "serve", "tables", "--json", "--config", "headwater.yaml"], environ)
        self.wait_until_ready()

    def is_ready(self) -> bool:
        """Whether it has said where it listens, and answers there. Fails if it has ended."""
        addresses = self.announced()
        if not addresses:
            return False
        self.port = int(addresses["tables"].rpartition(":")[2])
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
            lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
            peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                part = peer.recv(1)
                assert part, head
                head += part
            assert head.startswith(b"HTTP/1.1 200"), head
            yield peer

    def memory_bytes(self) -> int:
        """What it holds in memory."""
        assert self.process is not None
        fields = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

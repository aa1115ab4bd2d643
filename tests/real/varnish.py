"""A real Varnish with a given VCL, in a process group and a folder of its own, on loopback."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

from tests.real.wiki import free_port

SHIPPED_VCL = pathlib.Path(__file__).resolve().parents[2] / "connectors/varnish/headwater.vcl"
_START_S = 15.0


class RealVarnish:
    """A running varnishd. Use as a context manager.

    Args:
        vcl: the VCL file; the shipped one by default. Replacements in `substitute` are made in a copy, e.g. the backend's port.
        port: where it listens; 0 takes a free one.
        substitute: texts of the VCL and what stands in the copy in their place; each must be there.
    """

    def __init__(self, *, vcl: pathlib.Path = SHIPPED_VCL, port: int = 0, substitute: dict[str, str] | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._vcl = vcl
        self._substitute = substitute or {}
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-varnish-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it and return when it accepts connections."""
        text = self._vcl.read_text()
        for old, new in self._substitute.items():
            assert old in text, f"the VCL has no {old!r}"
            text = text.replace(old, new)
        (self._folder / "used.vcl").write_text(text)
        self._folder.chmod(0o755)  # varnishd's child runs as another user when started by root
        arguments = ["-F", "-n", str(self._folder / "work"), "-a", f"127.0.0.1:{self.port}", "-T", "none", "-s", "malloc,64m"]
        with (self._folder / "varnishd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["varnishd", *arguments, "-f", str(self._folder / "used.vcl")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        log_text = (self._folder / "varnishd.log").read_text()
        self.stop()
        raise RuntimeError(f"varnishd did not start: {log_text[-2000:]}")

    def stop(self) -> None:
        """End it and its child."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
        self._process = None

    def counters(self, *names: str) -> str:
        """What `varnishstat -1` says of the counters named, e.g. `MAIN.cache_hit`."""
        fields = [argument for name in names for argument in ("-f", name)]
        done = subprocess.run(["varnishstat", "-1", "-n", str(self._folder / "work"), *fields], capture_output=True, text=True, check=True)
        return done.stdout

"""A process of Headwater as an operator runs it: started on a data directory, announced, killed, ended. Each role adds how it is asked."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Self

COMMAND = str(pathlib.Path(sys.executable).with_name("headwater"))
STOP_MAX_S = 10.0
_TICK_S = 0.02
_LAST_WORDS = 3000


def eventually(holds: Callable[[], bool], *, within_s: float, what: Callable[[], str], every_s: float = _TICK_S) -> None:
    """Ask again every `every_s` until `holds`; fail with `what()` after `within_s`."""
    end_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end_s:
            raise AssertionError(f"not within {within_s} s: {what()}")
        time.sleep(every_s)


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_") or name == "HEADWATER_TEST_RUN"}
    return {**kept, **more}


class ServedProcess(ABC):
    """`headwater serve` of some roles. Use as a context manager: what still runs at the end is killed.

    Attributes:
        log_name: file of its log.
        start_max_s: how long it may take until it is ready.
        folder: where it is started, and where its log and its announcement go.
        process: while it runs.
    """

    log_name: ClassVar[str]
    start_max_s: ClassVar[float] = 30.0
    folder: pathlib.Path
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.folder / self.log_name).read_text()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log[-_LAST_WORDS:]

    def launch(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start it without waiting."""
        assert self.process is None, "runs already"
        with (self.folder / self.log_name).open("ab") as log, (self.folder / "ready.json").open("wb") as ready:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment(**environ),
                stdin=subprocess.DEVNULL,
                stdout=ready,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until `is_ready`."""
        eventually(self.is_ready, within_s=self.start_max_s, what=self.last_words)

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers. Fails if it has ended."""

    def announced(self) -> dict[str, str]:
        """The addresses of its roles, empty before it has announced them. Fails if it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.last_words()}"
        text = (self.folder / "ready.json").read_text()
        if not text.endswith("\n"):
            return {}
        addresses: dict[str, str] = json.loads(text.splitlines()[-1])["roles"]
        return addresses

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

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
        assert status == 0, self.last_words()

"""The process of sessions, kept running beside the process of all other roles: started, started again when it dies, ended with its parent.

The child is `headwater serve sessions` under the same configuration. It is told to end by SIGTERM, and it ends by itself when its standard
input is closed, which the kernel does however the parent dies. Until it has been ready once, its end is the end of the whole start;
after that it is started again for ever, with a pause that doubles while it keeps dying soon.
"""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from headwater.app.metrics import SESSIONS_RESTARTS
from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import event_or_timeout, run_until
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics

PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 10.0
SETTLED_S = 60.0
"""A child that has lived this long is started again with the shortest pause."""
END_TIME_MAX_S = 9.0
"""After SIGTERM; then it is killed. Below the 10 s in which SIGTERM ends the parent."""
ANNOUNCEMENT_BYTES_MAX = 64 * 1024
_NOT_INHERITED = ("HEADWATER_LOOP_WATCH",)  # names one file, which two processes would overwrite

_logger = structlog.get_logger(__name__)


class ChildEnded(HeadwaterError):
    """The process of sessions ended before it had ever been ready; `status` is what it ended with, and it has said why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the process of sessions ended with status {status} before it was ready")
        self.status = status


class _Announcement(msgspec.Struct, frozen=True):
    """The line by which a `serve` says that it is ready."""

    roles: dict[str, str]


def sessions_command(config: Path | None) -> tuple[str, ...]:
    """How the process of sessions is started under the configuration file `config` (None: none)."""
    named = () if config is None else ("--config", str(config))
    return (sys.executable, "-m", "headwater.cli", "serve", "sessions", "--json", "--end-with-stdin", *named)


@dataclass(slots=True)
class Supervisor:
    """Keeps one child process running.

    Attributes:
        command: how it is started.
        environ: its environment.
        addresses: where its roles listen, once it is ready.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    clock: Clock
    metrics: Metrics
    addresses: dict[str, str] = field(default_factory=dict)
    _process: Process | None = None

    async def run_beside(self, work: Coroutine[object, object, None], stop: asyncio.Event) -> None:
        """Start the child, then do `work` while the child is kept running. Both have ended when this returns or raises.

        Args:
            work: goes on until `stop` is set.
            stop: set by whoever wants the end, and here when either of the two ends by itself.

        Raises:
            ChildEnded: the child ended before it had ever been ready; `work` was not begun.
            HeadwaterError: what `work` raised.
        """
        try:
            await self._start(stop)
        except BaseException:
            work.close()
            await self._end()
            raise
        working, keeping = asyncio.ensure_future(work), asyncio.ensure_future(self._keep(stop))
        try:
            await asyncio.wait((working, keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.set()
            outcomes = await asyncio.gather(working, keeping, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def reload(self) -> None:
        """Let the child read its configuration again."""
        self._signal(signal.SIGHUP)

    async def _start(self, stop: asyncio.Event) -> None:
        await self._begin()
        if await run_until(stop, self._became_ready()) is False:
            raise ChildEnded(await self._ended())

    async def _keep(self, stop: asyncio.Event) -> None:
        """Start the child again whenever it ends, until `stop` is set; then end it."""
        pause_s = PAUSE_MIN_S
        try:
            while not stop.is_set():
                began_s = self.clock.monotonic_s()
                status = await run_until(stop, self._ended())
                if status is None or stop.is_set():
                    break
                self.metrics.inc(SESSIONS_RESTARTS)
                pause_s = PAUSE_MIN_S if self.clock.monotonic_s() - began_s >= SETTLED_S else pause_s
                _logger.error("sessions_process_ended", status=status, again_in_s=pause_s)
                if await event_or_timeout(stop, self.clock, pause_s):
                    break
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
                await self._begin()
                await run_until(stop, self._became_ready())
        finally:
            await self._end()

    async def _end(self) -> None:
        """SIGTERM, and SIGKILL when the child takes too long. Idempotent."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_TIME_MAX_S):
                await self._ended()
        except TimeoutError:
            _logger.error("sessions_process_killed")
            self._signal(signal.SIGKILL)
            await self._ended()

    async def _begin(self) -> None:
        environ = {name: value for name, value in self.environ.items() if name not in _NOT_INHERITED}
        # A session of its own: a Ctrl-C at the terminal reaches the parent alone, which ends the child in its turn.
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environ,
            start_new_session=True,
            limit=ANNOUNCEMENT_BYTES_MAX,
        )

    async def _became_ready(self) -> bool:
        """Whether the child said that it is ready, rather than ending."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return False
        try:
            self.addresses = msgspec.json.decode(line, type=_Announcement).roles
        except msgspec.DecodeError:  # the error that it prints before it ends
            return False
        _logger.info("sessions_process_ready", pid=self._process.pid, **self.addresses)
        return True

    async def _ended(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

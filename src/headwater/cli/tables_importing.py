"""`headwater tables import`: lines of a file are written as batches, many of them at once, those of one partition in their order.

`FILE.import` notes up to which line everything is done, and a name for the run. Killed and called again, it goes on after that line; what
was written beyond it is written again. On conditional tables the `write_id`, made of the run's name and the numbers of the lines, makes
that the same write. On plain ones the same values are written in the same order. A batch that is refused because of its lines is written
line by line, so that each line at fault is named; that is noted before, since the same lines under two ids would be two writes.
"""

import asyncio
import hashlib
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from headwater.cli.exits import Exit
from headwater.cli.output import complain
from headwater.cli.roles import Answer, RoleConnection
from headwater.cli.tables_asking import Target, refuse
from headwater.cli.tables_exporting import Keys, patiently
from headwater.cli.tables_groups import Group, Grouping
from headwater.cli.tables_lines import Finished, Line, lines_of
from headwater.cli.tables_progress import Shown, read_progress, write_progress
from headwater.kernel.errors import HeadwaterError, InvalidInput
from headwater.kernel.ids import Ids

GROUPS_AT_ONCE = 16
"""Groups of lines that a connection takes at a time."""
GROUPS_WAITING = 16
LINES_BETWEEN_NOTES = 2_000
ENDS_BYTES = 64 * 1024
_OF_THE_LINE = {400, 413, 422}
_CODES_OF_THE_LINE = ("/problems/partition-full", "/problems/write-id-reused")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line was not written."""

    line: int
    detail: str
    where: str | None = None

    def __str__(self) -> str:
        return f"line {self.line}: {f'{self.where}: ' if self.where else ''}{self.detail}"


@dataclass(slots=True)
class Run:
    """One import, as it is noted.

    Attributes:
        name: of the run, in every `write_id`.
        file, target: what goes where.
        finished: how far.
        singly: first lines of groups beyond that which are written line by line.
    """

    name: str
    file: dict[str, object]
    target: dict[str, object]
    finished: Finished = field(default_factory=Finished)
    singly: set[int] = field(default_factory=set)

    def note(self, path: Path) -> None:
        """Write it down. Raises StorageFull, Unavailable."""
        done = {"line": self.finished.number, "end": self.finished.end, "refused": self.finished.refused}
        self.singly = {number for number in self.singly if number > self.finished.number}
        write_progress(path, {"run": self.name, "file": self.file, "target": self.target, "singly": sorted(self.singly), **done})


def begin(path: Path, progress: Path, target: Target, *, restart: bool, ids: Ids) -> Run:
    """Begin an import, or go on with the one that was interrupted. Raises InvalidInput: that was of something else."""
    with path.open("rb") as file:
        of_file = _identity(file)
    of_target: dict[str, object] = {"address": target.client.address, "domain": target.domain, "table": target.table}
    noted = None if restart else read_progress(progress)
    if noted is None:
        run = Run(ids.uuid(), of_file, of_target)
        run.note(progress)  # before anything is written under its name
        return run
    if noted["target"] != of_target:
        raise InvalidInput(f"{progress} is of an import into {noted['target']}: give --restart to begin another")
    if noted["file"] != of_file:
        raise InvalidInput(f"{path} was changed since its import was begun: give --restart to begin again")
    if "singly" not in noted:
        raise InvalidInput(f"{progress} is of an earlier version: give --restart to begin again")
    return Run(noted["run"], of_file, of_target, Finished(noted["line"], noted["end"], noted["refused"]), set(noted["singly"]))


def _identity(file: BinaryIO) -> dict[str, object]:
    """What tells a file from what it was before: its size, its beginning and its end."""
    size = file.seek(0, os.SEEK_END)
    digest = hashlib.sha256()
    for at in (0, max(0, size - ENDS_BYTES)):
        file.seek(at)
        digest.update(file.read(ENDS_BYTES))
    return {"bytes": size, "sha256_of_ends": digest.hexdigest()}


class _Sender:
    """Writes lines over one connection."""

    def __init__(self, target: Target, run: Run, *, write_ids: bool) -> None:
        self._connection = RoleConnection(target.client)
        self._target = target.path
        self._run = run
        self._write_ids = write_ids
        self.is_over = False

    def send(self, groups: Sequence[Group]) -> list[list[Fault | None]]:
        """Write groups one after the other; for each line of each why not.

        Ends before one that is refused as a whole because of its lines. Raises what `refuse` raises for what is not about lines.
        """
        sent: list[list[Fault | None]] = []
        for group in groups:
            if self.is_over:
                break
            if len(group.lines) == 1 or group.number in self._run.singly:
                sent.append([self._send(line) for line in group.lines])
            elif self._send_together(group.lines):
                sent.append([None] * len(group.lines))
            else:
                break
        return sent

    def _send(self, line: Line) -> Fault | None:
        body = b'{"attributes":%s%s}' % (line.text, self._write_id(b"%d" % line.number))
        told = self._ask("PUT", "/rows", body)
        return None if told is None else Fault(line.number, str(told.get("detail", "")), told.get("where"))

    def _send_together(self, lines: Sequence[Line]) -> bool:
        rows = b",".join([b'{"attributes":%s}' % line.text for line in lines])
        return (
            self._ask("POST", "/batch", b'{"rows":[%s]%s}' % (rows, self._write_id(b"%d-%d" % (lines[0].number, lines[-1].number)))) is None
        )

    def _write_id(self, lines: bytes) -> bytes:
        return b',"write_id":"%s-%s"' % (self._run.name.encode(), lines) if self._write_ids else b""

    def _ask(self, method: str, rest: str, body: bytes) -> dict[str, Any] | None:
        """None where it was written, else the problem that its lines are."""
        answer = patiently(lambda: self._attempt(method, rest, body), give_up=lambda: self.is_over)
        if answer.status == 201:
            return None
        told = answer.body if isinstance(answer.body, dict) else {"detail": str(answer.status)}
        if answer.status in _OF_THE_LINE or told.get("type") in _CODES_OF_THE_LINE:
            return told
        refuse(answer)
        raise AssertionError(f"tables answered {answer.status} to a write")

    def _attempt(self, method: str, rest: str, body: bytes) -> Answer:
        answer = self._connection.call(method, self._target + rest, body)
        changed = answer.status == 409 and answer.body.get("type") == "/problems/schema-changed"
        full = answer.status == 507 and answer.body.get("type") == "/problems/storage-full"
        return Answer(503, answer.body) if changed or full else answer

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class TooManyFaults(HeadwaterError):
    """More lines of an import were refused than it was to bear; it can go on from there."""


@dataclass(slots=True)
class Importing:
    """One run of the command.

    Attributes:
        target, schema: where the rows go.
        run, progress: what is noted, and where.
        errors_max: how many lines may be refused.
        connections: how many requests are under way at once.
    """

    target: Target
    schema: dict[str, Any]
    run: Run
    progress: Path
    errors_max: int
    connections: int
    faults: list[Fault] = field(default_factory=list)
    written: int = 0
    _unnoted: int = 0
    _refused_before: int = field(init=False)

    def __post_init__(self) -> None:
        self._refused_before = self.run.finished.refused

    def go(self, path: Path, show: Shown) -> Exit:
        """Import what is left. Raises TooManyFaults, and what the service refuses whatever the line."""
        try:
            with path.open("rb") as file:
                asyncio.run(self._all(file, show))
        finally:
            self.run.note(self.progress)
        self.progress.unlink()
        return Exit.FAILED if self.run.finished.refused else Exit.OK

    async def _all(self, file: BinaryIO, show: Shown) -> None:
        plain = self.schema.get("options", {}).get("writes") == "plain"
        senders = [_Sender(self.target, self.run, write_ids=not plain) for _ in range(self.connections)]
        queues: list[asyncio.Queue[Group | None]] = [asyncio.Queue(GROUPS_WAITING) for _ in senders]
        try:
            with ThreadPoolExecutor(self.connections) as threads:
                await self._through(file, list(zip(senders, queues, strict=True)), threads, show)
        finally:
            for sender in senders:
                sender.close()

    async def _through(
        self, file: BinaryIO, lanes: "Sequence[tuple[_Sender, asyncio.Queue[Group | None]]]", threads: ThreadPoolExecutor, show: Shown
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for sender, queue in lanes:
                    group.create_task(self._work(sender, queue, threads, show))
                await self._deal(file, [queue for _, queue in lanes])
        except* HeadwaterError as errors:
            raise _first(errors) from errors
        finally:
            for sender, _ in lanes:
                sender.is_over = True

    async def _deal(self, file: BinaryIO, queues: "Sequence[asyncio.Queue[Group | None]]") -> None:
        """Give each group of lines to the connection that has those of its partition."""
        grouping, finished = Grouping(Keys(self.schema)), self.run.finished

        async def give(group: Group | None) -> None:
            if group is not None:
                await queues[zlib.crc32(group.partition.encode()) % len(queues)].put(group)

        for line in lines_of(file, number=finished.number, end=finished.end):
            await give(grouping.end() if line.row is None else grouping.add(line))
            finished.begin(line)
            if line.fault is not None:
                self._refused(Fault(line.number, line.fault, line.where))
            if line.row is None:
                finished.finish(line.number, refused=line.fault is not None)
        await give(grouping.end())
        for queue in queues:
            await queue.put(None)

    async def _work(self, sender: _Sender, queue: "asyncio.Queue[Group | None]", threads: ThreadPoolExecutor, show: Shown) -> None:
        more = True
        while more:
            groups: list[Group] = []
            while more and (not groups or (len(groups) < GROUPS_AT_ONCE and not queue.empty())):
                group = await queue.get()
                more = group is not None
                groups += [] if group is None else [group]
            await self._write(sender, groups, threads)
            show(self.run.finished.end, self.written)

    async def _write(self, sender: _Sender, groups: list[Group], threads: ThreadPoolExecutor) -> None:
        while groups:
            sent = await asyncio.get_running_loop().run_in_executor(threads, sender.send, groups)
            for group, faults in zip(groups, sent, strict=False):
                self._finish(group, faults)
            groups = groups[len(sent) :]
            if groups:
                self.run.singly.add(groups[0].number)
                self.run.note(self.progress)

    def _refused(self, fault: Fault) -> None:
        self.faults.append(fault)
        complain(str(fault))
        if self._refused_before + len(self.faults) > self.errors_max:
            raise TooManyFaults(f"more than {self.errors_max} lines were refused (--errors-max); once the file is mended, give --restart")

    def _finish(self, group: Group, faults: Sequence[Fault | None]) -> None:
        for fault in faults:  # before a line counts as finished: where this is the end, all of the group is done again
            if fault is not None:
                self._refused(fault)
        for line, fault in zip(group.lines, faults, strict=True):
            self.run.finished.finish(line.number, refused=fault is not None)
            self.written += fault is None
        self._unnoted += len(group.lines)
        if self._unnoted >= LINES_BETWEEN_NOTES:
            self._unnoted = 0
            self.run.note(self.progress)


def _first(errors: BaseExceptionGroup[HeadwaterError]) -> HeadwaterError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error

"""HTTP load over a fixed number of connections: as fast as answers come, or at times that do not wait for them."""

import asyncio
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

CONNECTIONS = 64
LOAD_S_MAX = 300
TICK_S = 0.001
ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of requests took: requests per second, and seconds of the server's CPU per request."""

    rate: float
    cpu_s: float


@dataclass(slots=True)
class Latencies:
    """Seconds from the moment at which each request was due until its whole answer was there, and answers by status."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def percentile_ms(self, share: float) -> float:
        """The latency that `share` of all requests do not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, by its own clock: `/proc` counts in steps of 10 ms, too coarse for a round."""
    return time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid(3) gives on Linux


def waited_s(pid: int) -> float:
    """Seconds for which threads of a process could have run, and had to wait for a processor."""
    return sum(int((task / "schedstat").read_text().split()[1]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def metrics_of(port: int) -> dict[str, float]:
    """What a server says at `/metrics`, by name and labels as they stand there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM now."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._length = -1
        self._waiting: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._length < 0:
            end = self._answer.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self._answer.find(b"content-length: ", 0, end)
            body = int(self._answer[at + 16 : self._answer.index(b"\r\n", at)]) if at >= 0 else 0
            self._length = end + 4 + body
        if len(self._answer) >= self._length:
            status = int(self._answer[9:12])
            self._answer.clear()
            self._length = -1
            waiting, self._waiting = self._waiting, None
            assert waiting is not None
            waiting.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the server closed the connection"))

    def send(self, request: bytes) -> "asyncio.Future[int]":
        """Send a request; its status comes when the whole answer is there."""
        assert self._waiting is None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


async def connected(port: int, count: int = CONNECTIONS) -> list[Connection]:
    """That many connections to a port of this machine."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(count)]


async def send_all(port: int, requests: Sequence[bytes], *, expected: int) -> None:
    """Send all requests, each connection one after the other; every answer has to have that status."""
    waiting: Iterator[bytes] = iter(requests)

    async def client(connection: Connection) -> None:
        for request in waiting:
            status = await connection.send(request)
            assert status == expected, status

    connections = await connected(port)
    try:
        async with asyncio.timeout(LOAD_S_MAX):
            await asyncio.gather(*map(client, connections))
    finally:
        for connection in connections:
            connection.close()


def alternate(pid: int, port: int, kinds: Mapping[str, tuple[Sequence[bytes], int]], *, rounds: int = ROUNDS) -> dict[str, Load]:
    """Send requests of several kinds, some of each in every round, so that what is compared has seen the same minutes of the machine.

    Args:
        pid, port: of the server.
        kinds: requests by the name of their kind, with the status that each answer has to have.
        rounds: how often the kinds take turns.
    """
    took_s, used_s = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    for turn in range(rounds):
        for name, (requests, expected) in kinds.items():
            before_s, began_s = cpu_s(pid), time.perf_counter()
            uvloop.run(send_all(port, requests[turn::rounds], expected=expected))
            took_s[name] += time.perf_counter() - began_s
            used_s[name] += cpu_s(pid) - before_s
    return {name: Load(len(requests) / took_s[name], used_s[name] / len(requests)) for name, (requests, _) in kinds.items()}


async def send_on_time(port: int, requests: Sequence[bytes], *, per_s: float) -> Latencies:
    """Send requests at even times, whether or not earlier ones are answered; those that find no free connection wait for one."""
    free = deque(await connected(port))
    queue: deque[tuple[float, bytes]] = deque()
    found, done = Latencies(), asyncio.Event()

    def dispatch() -> None:
        while free and queue:
            due_s, request = queue.popleft()
            connection = free.popleft()

            def answered(future: "asyncio.Future[int]", due_s: float = due_s, connection: Connection = connection) -> None:
                found.seconds.append(time.perf_counter() - due_s)
                found.statuses[future.result()] = found.statuses.get(future.result(), 0) + 1
                free.append(connection)
                if len(found.seconds) == len(requests):
                    done.set()
                dispatch()

            connection.send(request).add_done_callback(answered)

    began_s, sent = time.perf_counter(), 0
    async with asyncio.timeout(LOAD_S_MAX):
        while sent < len(requests):
            due = min(len(requests), int((time.perf_counter() - began_s) * per_s) + 1)
            queue.extend((began_s + number / per_s, requests[number]) for number in range(sent, due))
            sent = max(sent, due)
            dispatch()
            await asyncio.sleep(TICK_S)
        await done.wait()
    for connection in free:
        connection.close()
    return found

"""The application of tables in this process, over either engine and on a clock that stands still: asked without sockets."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from headwater.http.application import Application, application
from headwater.http.config import HttpLimits
from headwater.http.metrics import METRICS as HTTP
from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.tables.api import TablesApi
from headwater.tables.clients import Callers
from headwater.tables.config import TableClientConfig, TablesConfig, Verb
from headwater.tables.engines.memory import MemoryTableStore
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.metrics import METRICS
from headwater.tables.service import Tables
from headwater.tables.streaming import Streams
from headwater.tables.tokens import Tokens
from headwater.testing.clock import ManualClock

ENGINES = ("memory", "sqlite")
DOMAIN = "en.example"
T = TypeVar("T")
Store = MemoryTableStore | SqliteTableStore


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        code: str = self.json["type"]
        assert self.json["status"] == self.status
        return code.removeprefix("/problems/")


@dataclass
class Stream:
    """A change stream that is being read, chunk by chunk, as fast as the test takes them."""

    task: "asyncio.Task[None]"
    chunks: "asyncio.Queue[bytes]"
    head: "asyncio.Future[Answer]"
    run: Callable[[Awaitable[Any]], Any]

    def take(self) -> bytes:
        """The next chunk; nothing means that the stream has ended."""
        return bytes(self.run(asyncio.wait_for(self.chunks.get(), 10)))

    def events(self, number: int) -> list[dict[str, Any]]:
        """The next changes of a stream of events, heartbeats left out."""
        found: list[dict[str, Any]] = []
        while len(found) < number:
            chunk = self.take()
            assert chunk, "the stream has ended"
            found += events_in(chunk)
        assert len(found) == number
        return found

    def close(self) -> None:
        """Go away, as a reader does."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.run(self.task)


def events_in(received: bytes) -> list[dict[str, Any]]:
    """The data of server-sent events; their ids and kinds have to be what the data say."""
    found = []
    for block in received.decode().split("\n\n"):
        if block in ("", ":"):
            continue
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = json.loads(fields["data"])
        assert fields.get("id") == (str(data["id"]) if "id" in data else None) and fields["event"] == data["kind"]
        found.append(data)
    return found


@dataclass
class TablesApp:
    """The service of tables over one store."""

    clock: ManualClock
    metrics: Metrics
    store: Store
    service: Tables
    streams: Streams
    app: Application
    stopping: asyncio.Event
    runner: asyncio.Runner
    token: str | None = None
    _open: list[Stream] = field(default_factory=list)

    def run(self, work: Awaitable[T]) -> T:
        """Run something on the loop of the service."""

        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def ask(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        """One request; what is not bytes is sent as JSON; underscores in names of headers are dashes."""
        return self.run(self.asking(method, target, body, **headers))

    async def asking(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        """As `ask`, for requests beside each other."""
        chunks: asyncio.Queue[bytes] = asyncio.Queue()
        head: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        await self.exchange(self.scope(method, target, body, headers), _content(body), head=head, chunks=chunks)
        answered = head.result()
        return Answer(answered.status, answered.headers, b"".join(chunks.get_nowait() for _ in range(chunks.qsize())))

    def stream(self, target: str, **headers: str) -> Stream:
        """Begin to read a change stream; its head has come, and was not a refusal."""
        return self.run(self._begin(target, headers))

    async def _begin(self, target: str, headers: Mapping[str, str]) -> Stream:
        chunks: asyncio.Queue[bytes] = asyncio.Queue(1)
        head: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(self.exchange(self.scope("GET", target, None, headers), b"", head=head, chunks=chunks))
        assert (await asyncio.wait_for(head, 10)).status == 200
        opened = Stream(task, chunks, head, self.run)
        self._open.append(opened)
        return opened

    def scope(self, method: str, target: str, body: object, headers: Mapping[str, str]) -> dict[str, object]:
        path, _, query = target.partition("?")
        sent = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        if body is not None:
            sent.append((b"content-length", b"%d" % len(_content(body))))
        if self.token is not None:
            sent.append((b"authorization", b"Bearer " + self.token.encode()))
        return {
            "type": "http",
            "method": method,
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": sent,
            "client": ("127.0.0.1", 1),
        }

    async def exchange(
        self, scope: dict[str, object], content: bytes, *, head: "asyncio.Future[Answer]", chunks: "asyncio.Queue[bytes]"
    ) -> None:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                found = {name.decode(): value.decode() for name, value in message["headers"]}
                head.set_result(Answer(message["status"], found, b""))
            else:
                await chunks.put(message["body"])

        await self.app(scope, receive, send)

    def close(self) -> None:
        """End every stream and close the store."""
        for stream in self._open:
            stream.close()
        self.run(self.store.close())

    # What tests ask for again and again

    def declare(self, table: str, schema: Mapping[str, object], *, domain: str = DOMAIN) -> Answer:
        """Declare a table, which has to be done."""
        answer = self.ask("PUT", at(table, domain=domain), schema)
        assert answer.status in (200, 201), answer.body
        return answer

    def put(self, table: str, attributes: Mapping[str, object], /, *, domain: str = DOMAIN, **more: object) -> Answer:
        """Write a row."""
        return self.ask("PUT", at(table, "/rows", domain=domain), {"attributes": attributes, **more})

    def query(self, table: str, attributes: Mapping[str, object], /, *, domain: str = DOMAIN, **more: object) -> Any:
        """Rows of a partition, as the body of an answer of 200."""
        answer = self.ask("POST", at(table, "/query", domain=domain), {"attributes": attributes, **more})
        assert answer.status == 200, answer.body
        return answer.json

    def items(self, table: str, attributes: Mapping[str, object], /, *, domain: str = DOMAIN, **more: object) -> list[dict[str, Any]]:
        """The items of that."""
        items: list[dict[str, Any]] = self.query(table, attributes, domain=domain, **more)["items"]
        return items

    def everything(self, table: str, *, domain: str = DOMAIN) -> list[dict[str, Any]]:
        """All rows of a table, page by page."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            answer = self.ask("GET", at(table, f"/rows?limit=20{after}", domain=domain))
            assert answer.status == 200, answer.body
            found += answer.json["items"]
            if "next" not in answer.json:
                return found
            after = f"&next={quote(answer.json['next'], safe='')}"


def at(table: str, rest: str = "", *, domain: str = DOMAIN) -> str:
    """The path of a table."""
    return f"/v1/{quote(domain, safe='*')}/tables/{quote(table, safe='')}{rest}"


def _content(body: object) -> bytes:
    if body is None:
        return b""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def client(name: str, grants: Mapping[str, Mapping[str, tuple[Verb, ...]]]) -> TableClientConfig:
    """A client whose token is `token-` and its name."""
    digest = hashlib.sha256(f"token-{name}".encode()).hexdigest()
    return TableClientConfig(name=name, token_sha256=digest, grants={domain: dict(tables) for domain, tables in grants.items()})


async def _store(engine: str, folder: Path, metrics: Metrics, clock: ManualClock) -> Store:
    if engine == "memory":
        return MemoryTableStore(clock)
    storage = StorageConfig(ballast_bytes=Bytes(0), wal_bytes_max=Bytes(1 << 20))
    return await SqliteTableStore.open(folder / "tables.sqlite", metrics=metrics, clock=clock, storage=storage)


@contextlib.contextmanager
def tables_app(engine: str, folder: Path, config: TablesConfig | None = None, *, store: Store | None = None) -> Iterator[TablesApp]:
    """The application over an engine; the file of SQLite lies in `folder`. A `store` that is given is used instead."""
    config = config or TablesConfig()
    clock, metrics = ManualClock(), Metrics((*HTTP, *METRICS, *sqlite_metrics.METRICS))

    async def start() -> TablesApp:
        kept = store or await _store(engine, folder, metrics, clock)
        service = Tables(kept, config, tokens=Tokens(bytes(32)), clock=clock, metrics=metrics)
        await service.start()
        stopping = asyncio.Event()
        streams = Streams(service, stopping=stopping, metrics=metrics, streams_max=config.streams_max)
        app = application(
            TablesApi(service, streams, config).routes(),
            role="tables",
            metrics=metrics,
            readiness=(),
            clients=Callers(config),
            limits=HttpLimits(),
            clock=clock,
        )
        return TablesApp(clock, metrics, kept, service, streams, app, stopping, runner)

    with asyncio.Runner() as runner:
        made = runner.run(start())
        try:
            yield made
        finally:
            made.close()

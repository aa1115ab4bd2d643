"""Requests that Schemathesis makes of the descriptions: those of the deployment and of single tables, right ones and wrong ones.

Every answer has a documented status, is no 5xx, and looks as the description says. That every documented status is answered when it should
be is shown by `test_tables_openapi_statuses`, with requests that are always the same.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks
from tests.integration.tables_app import DOMAIN, Answer, TablesApp, at, tables_app

from headwater.kernel.config import Bytes
from headwater.tables.config import TablesConfig

CI_REQUESTS, PROOF_REQUESTS = 3_000, 50_000
AT_ONCE = 25
"""Requests of one operation and kind in one round: so few that the first rounds, which are whole, are no more than are asked for."""
KINDS = ("string", "blob", "int", "varint", "long", "decimal", "float", "double", "boolean", "timeuuid", "uuid", "timestamp", "json")
TABLES: Mapping[str, Mapping[str, Any]] = {
    "wide": {
        "attributes": {
            "h": "string",
            "r": "int",
            "s": "boolean",
            **{f"c_{kind}": kind for kind in KINDS},
            **{f"s_{kind}": f"set<{kind}>" for kind in KINDS},
        },
        "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}, {"attribute": "s", "type": "static"}],
        "options": {"changes": True},
    },
    "keys": {
        "attributes": {"a": "uuid", "b": "long", "t": "timeuuid", "d": "decimal", "v": "json"},
        "index": [
            {"attribute": "a", "type": "hash"},
            {"attribute": "b", "type": "hash"},
            {"attribute": "t", "type": "range", "order": "desc"},
            {"attribute": "d", "type": "range"},
        ],
    },
    "plain": {
        "attributes": {"k": "blob", "v": "timestamp"},
        "index": [{"attribute": "k", "type": "hash"}],
        "options": {"writes": "plain", "default_time_to_live": 60},
    },
}
CHECKS = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
"""What every answer has to fulfil."""


@dataclass
class Asker:
    """Asks what Schemathesis thinks of, and keeps the tables as they were declared."""

    tables: TablesApp
    schemas: dict[str, Any] = field(default_factory=dict)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    def restore(self) -> None:
        """Declare again what a request has dropped or changed."""
        for name, schema in TABLES.items():
            if name not in self.schemas or self.tables.ask("GET", at(name)).body != self.schemas[name]:
                self.tables.ask("DELETE", at(name, domain="*"))
                self.tables.ask("DELETE", at(name))
                self.tables.declare(name, schema)
                self.schemas[name] = self.tables.ask("GET", at(name)).body

    def ask(self, case: Any) -> None:
        """Send one request and check its answer."""
        sent = requests.Request(**case.as_transport_kwargs(base_url="http://tables.example")).prepare()
        parts = urlsplit(sent.url or "")
        target = f"{parts.path}?{parts.query}" if parts.query else str(parts.path)
        headers = {name: str(value) for name, value in sent.headers.items() if name.lower() not in ("content-length", "user-agent")}
        body = sent.body.encode() if isinstance(sent.body, str) else sent.body
        assert body is None or isinstance(body, bytes)
        answer = self.tables.run(self._answer(case.method.upper(), target, body, headers))
        self.statuses[case.operation.label, answer.status] += 1
        if case.method.upper() in ("PUT", "DELETE") and not target.partition("?")[0].endswith("/rows"):
            self.restore()
        found = schemathesis.Response(
            status_code=answer.status,
            headers={name: [value] for name, value in answer.headers.items()},
            content=answer.body,
            request=sent,
            elapsed=0.0,
            verify=False,
        )
        assert answer.status < 500 or answer.status == 507, (answer, sent.method, sent.url, body)
        case.validate_response(found, checks=CHECKS)

    async def _answer(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """The answer; of a stream that goes on only its head."""
        head: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        chunks: asyncio.Queue[bytes] = asyncio.Queue()
        sent = {name.replace("-", "_"): value for name, value in headers.items()}
        task = asyncio.ensure_future(
            self.tables.exchange(self.tables.scope(method, target, body, sent), body or b"", head=head, chunks=chunks)
        )
        await asyncio.wait((task, head), return_when=asyncio.FIRST_COMPLETED)
        answered = await head
        if "event-stream" in answered.headers.get("content-type", "") or "ndjson" in answered.headers.get("content-type", ""):
            task.cancel()
            await asyncio.wait((task,))
            return answered
        await task
        return Answer(answered.status, answered.headers, b"".join(chunks.get_nowait() for _ in range(chunks.qsize())))


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    """The service over SQLite with small bounds, so that they are met."""
    config = TablesConfig(clear_rows_max=3, limit_max=50, limit_default=10, row_bytes_max=Bytes.of("16KiB"), key_bytes_max=Bytes.of("256B"))
    with tables_app("sqlite", tmp_path, config) as tables:
        asker = Asker(tables)
        asker.restore()
        yield asker


DESCRIPTIONS = ("/openapi.json", *(at(name, "/openapi.json") for name in TABLES))
"""Where they are read: that of the deployment, and those of the tables."""


def _operations(asker: Asker, description: str) -> list[Any]:
    """Every operation of a description but those of health."""
    document = asker.tables.ask("GET", description).json
    document["paths"] = {path: item for path, item in document["paths"].items() if path.startswith("/v1/")}
    results: Any = schemathesis.openapi.from_dict(document).get_all_operations()
    found = [result.ok() for result in results]
    assert None not in found and len(found) > 5
    return found


def _can_be_wrong(operation: Any) -> bool:
    """Whether the description leaves anything to be done wrong: that of the deployment lets everything be any string."""
    return "{" not in operation.path and bool(list(operation.body) or list(operation.query))


def _send(asker: Asker, operation: Any, mode: GenerationMode, *, round_: int) -> None:
    """A number of requests of one operation; where a description leaves domain and table open, most name one that is there."""

    @seed(round_)
    @settings(
        max_examples=AT_ONCE,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), table=st.sampled_from([*TABLES, None]))
    def send(case: Any, table: str | None) -> None:
        if table is not None and case.path_parameters:
            case.path_parameters = {"domain": DOMAIN, "table": table}
        asker.ask(case)

    send()


def _ask_everything(asker: Asker, description: str, requests: int) -> None:
    operations = _operations(asker, description)
    left = [(operation, GenerationMode.POSITIVE) for operation in operations]
    left += [(operation, GenerationMode.NEGATIVE) for operation in operations if _can_be_wrong(operation)]
    round_ = 0
    while asker.statuses.total() < requests:
        for operation, mode in tuple(left):
            if round_ and asker.statuses.total() >= requests:
                break  # making a request costs ten times as much as answering and judging it
            try:
                _send(asker, operation, mode, round_=round_)
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, operation.label
                left.remove((operation, mode))
        round_ += 1
    assert {label for label, _ in asker.statuses} == {operation.label for operation in operations}, "which statuses is no matter of luck"


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_every_answer_is_as_described(asker: Asker, description: str) -> None:
    _ask_everything(asker, description, CI_REQUESTS // len(DESCRIPTIONS))


@pytest.mark.proof
@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_every_answer_is_as_described_for_long(asker: Asker, description: str) -> None:
    _ask_everything(asker, description, PROOF_REQUESTS // len(DESCRIPTIONS))


def test_what_is_not_as_described_is_noticed(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    (query,) = [one for one in _operations(asker, at("keys", "/openapi.json")) if one.label == f"POST {at('keys', '/query')}"]

    async def fail(*_: object, **__: object) -> Any:
        raise LookupError

    with monkeypatch.context() as broken:
        broken.setattr(asker.tables.store, "read", fail)
        with pytest.raises((AssertionError, ExceptionGroup), match="500"):
            _send(asker, query, GenerationMode.POSITIVE, round_=0)

    async def empty(*_: object, **__: object) -> Any:
        return {"rows": []}

    monkeypatch.setattr(asker.tables.service, "query", empty)
    with pytest.raises(BaseExceptionGroup):
        _send(asker, query, GenerationMode.POSITIVE, round_=0)

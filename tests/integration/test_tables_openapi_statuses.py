"""Every status that the description of the deployment has, of every operation, is answered when it should be, and looks as described.

The same requests each time. Left out are 408, 421 and 431, which are the same for every application (`test_http_*`).
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from tests.integration.tables_app import DOMAIN, Answer, TablesApp, at, client, tables_app
from tests.integration.test_tables_openapi_requests import CHECKS

from headwater.http.guard import Guard
from headwater.kernel.config import Bytes
from headwater.kernel.errors import OutcomeUnknown, StorageFull
from headwater.tables.config import GroupConfig, QuotaConfig, TablesConfig, Verb

OF_THE_SERVER = {408, 421, 431}
LOG: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
    "options": {"changes": True},
}
KEPT_MS = 60_000
BODY_BYTES_MAX = 64 * 1024
CONFIG = TablesConfig(
    clients=(client("root", {"*": {"*": tuple(Verb)}}), client("nobody", {})),
    groups=(GroupConfig(name="here", domains=(DOMAIN,)), GroupConfig(name="full", domains=("full.example",))),
    quotas={"full.example/log": QuotaConfig(rows_max=1)},
    clear_rows_max=3,
    tables_max=4,
    row_bytes_max=Bytes.of("16KiB"),
    body_bytes_max=Bytes(BODY_BYTES_MAX),
    schema_bytes_max=Bytes(BODY_BYTES_MAX),
)
TABLE = "/v1/{domain}/tables/{table}"
NO_GROUP = "nobody.test"


def row(number: int, **more: object) -> dict[str, Any]:
    """The body of a write that is right."""
    return {"attributes": {"h": "a", "r": number, "v": "x"}, **more}


@dataclass
class Described:
    """Asks, and holds every answer against the descriptions.

    Attributes:
        seen: statuses by operation of the deployment's description.
    """

    tables: TablesApp
    seen: dict[str, set[int]] = field(default_factory=dict)
    _operations: dict[str, Any] = field(default_factory=dict)

    def read(self, path: str) -> dict[str, set[int]]:
        """Read a description; the statuses of its operations on tables."""
        document = self.tables.ask("GET", path).json
        document["paths"] = {path: item for path, item in document["paths"].items() if path.startswith("/v1/")}
        found: Any = schemathesis.openapi.from_dict(document).get_all_operations()
        operations = {operation.label: operation for operation in (result.ok() for result in found)}
        self._operations |= operations
        return {label: {int(status) for status in one.definition.raw["responses"]} for label, one in operations.items()}

    def ask(self, status: int, method: str, path: str, body: object = None, /, **headers: str) -> Answer:
        """One request, which is answered with `status`; a path that begins with a slash is of the table `log`, as is none."""
        whole = path.startswith("/v1/")
        answer = self.tables.ask(method, path if whole else at("log", path), body, **headers)
        assert answer.status == status, (method, path, answer)
        base, _, _ = (path if whole else at("log", path)).partition("?")
        rest = base.removeprefix(at("log")) if base.startswith(at("log")) else _rest(base)
        labels = [f"{method} {TABLE}{rest}" if rest is not None else f"{method} {_template(base)}", f"{method} {base}"]
        for label in labels:
            if label in self._operations:
                self._check(self._operations[label], method, base, answer)
        self.seen.setdefault(labels[0], set()).add(status)
        return answer

    def _check(self, operation: Any, method: str, path: str, answer: Answer) -> None:
        sent = requests.Request(method, f"http://tables.example{path}").prepare()
        found = schemathesis.Response(
            status_code=answer.status,
            headers={name: [value] for name, value in answer.headers.items()},
            content=answer.body,
            request=sent,
            elapsed=0.0,
            verify=False,
        )
        operation.Case(path_parameters={"domain": DOMAIN, "table": "log"}).validate_response(found, checks=CHECKS)


def _rest(path: str) -> str | None:
    """What stands behind the table in a path; None where none is named."""
    parts = path.split("/")
    return "".join(f"/{part}" for part in parts[5:]) if len(parts) > 4 else None


def _template(path: str) -> str:
    return "/v1/status" if path == "/v1/status" else "/v1/{domain}/tables"


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Described]:
    """The service over SQLite with bounds that are met, and a table `log` in each of its two domains."""
    with tables_app("sqlite", tmp_path, CONFIG) as tables:
        tables.token = "token-root"
        tables.declare("log", LOG)
        tables.declare("log", LOG, domain="full.example")
        yield Described(tables)


OPERATIONS: Mapping[str, tuple[str, str, object]] = {
    f"PUT {TABLE}": ("PUT", "", LOG),
    f"GET {TABLE}": ("GET", "", None),
    f"DELETE {TABLE}": ("DELETE", "", None),
    f"POST {TABLE}/query": ("POST", "/query", {"attributes": {"h": "a"}}),
    f"PUT {TABLE}/rows": ("PUT", "/rows", row(1)),
    f"GET {TABLE}/rows": ("GET", "/rows", None),
    f"POST {TABLE}/batch": ("POST", "/batch", {"rows": [row(1)]}),
    f"POST {TABLE}/delete": ("POST", "/delete", {"attributes": {"h": "a", "r": 9}}),
    f"GET {TABLE}/changes": ("GET", "/changes?wait=0", None),
    f"GET {TABLE}/stats": ("GET", "/stats", None),
    f"GET {TABLE}/openapi.json": ("GET", "/openapi.json", None),
    "GET /v1/{domain}/tables": ("GET", f"/v1/{DOMAIN}/tables", None),
    "GET /v1/status": ("GET", "/v1/status", None),
}
"""One request of each operation that is right."""


def test_every_documented_status_is_answered(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    documented = described.read("/openapi.json")
    described.read(at("log", "/openapi.json"))
    assert documented.keys() == OPERATIONS.keys()
    _ask_what_is_right(described)
    _ask_what_is_wrong(described)
    _ask_as_others(described)
    _ask_what_conflicts(described)
    _ask_what_is_full(described)
    _ask_of_a_store_that_fails(described, monkeypatch)
    _ask_everything_of_a_service_that_fails(described, monkeypatch)
    missing = {label: statuses - described.seen.get(label, set()) - OF_THE_SERVER for label, statuses in documented.items()}
    assert not any(missing.values()), missing
    assert all(seen <= documented[label] for label, seen in described.seen.items())


def _ask_what_is_right(described: Described) -> None:
    ask = described.ask
    ask(200, "PUT", "", LOG)
    ask(201, "PUT", f"/v1/{DOMAIN}/tables/other", LOG)
    ask(204, "DELETE", f"/v1/{DOMAIN}/tables/other")
    for label in ("GET", "GET /rows", "GET /stats", "GET /openapi.json"):
        method, _, rest = label.partition(" ")
        ask(200, method, rest)
    ask(200, "GET", f"/v1/{DOMAIN}/tables")
    ask(200, "GET", "/v1/status")
    ask(201, "PUT", "/rows", row(1))
    ask(201, "POST", "/batch", {"rows": [row(number) for number in range(2, 8)]})
    ask(200, "POST", "/query", {"attributes": {"h": "a"}})
    ask(200, "GET", "/changes?wait=0", accept="application/x-ndjson")
    ask(200, "GET", "/changes?wait=0")
    ask(204, "POST", "/delete", {"attributes": {"h": "a", "r": 7}})
    ask(200, "POST", "/delete", {"attributes": {"h": "a"}})  # three of six
    ask(204, "DELETE", f"/v1/{DOMAIN}/tables/absent")


def _ask_what_is_wrong(described: Described) -> None:
    ask = described.ask
    for method, rest, body in (path for label, path in OPERATIONS.items() if TABLE in label):
        name = f"/v1/{DOMAIN}/tables/absent{rest}"
        if rest:
            ask(404, method, name, body)
        if body is not None:
            ask(400, method, rest, b"{")
            ask(413, method, rest, b'"' + b"x" * BODY_BYTES_MAX + b'"')
        if rest and method == "GET":
            ask(400, method, f"{rest.partition('?')[0]}?nonsense=1")
    ask(404, "GET", f"/v1/{DOMAIN}/tables/absent")
    for method, rest, body in (("PUT", "/log", LOG), ("DELETE", "/log", None), ("GET", "", None)):
        ask(404, method, f"/v1/{NO_GROUP}/tables{rest}", body)
        ask(400, method, f"/v1/-/tables{rest}", body)
    ask(400, "GET", "?nonsense=1")
    wrong = {"attributes": {"h": "a", "r": "not a number"}}
    for method, rest, body in (
        ("POST", "/query", wrong),
        ("PUT", "/rows", wrong),
        ("POST", "/batch", {"rows": [wrong]}),
        ("POST", "/delete", wrong),
    ):
        ask(422, method, rest, body)


def _ask_as_others(described: Described) -> None:
    for token, status in ((None, 401), ("token-nobody", 403)):
        described.tables.token = token
        for label, (method, rest, body) in OPERATIONS.items():
            if label != "GET /v1/status":
                described.ask(status, method, rest, body)
    described.tables.token = "token-root"


def _ask_what_conflicts(described: Described) -> None:
    ask = described.ask
    ask(409, "PUT", "", {**LOG, "version": 2, "attributes": {**LOG["attributes"], "r": "long"}})
    described.tables.declare("all", LOG, domain="*")
    ask(409, "DELETE", f"/v1/{DOMAIN}/tables/all")
    assert described.tables.ask("DELETE", at("all", domain="*")).status == 204
    for method, rest, first, other in (
        ("PUT", "/rows", row(20, write_id="put"), row(21, write_id="put")),
        ("POST", "/batch", {"rows": [row(20)], "write_id": "batch"}, {"rows": [row(21)], "write_id": "batch"}),
        ("POST", "/delete", {"attributes": {"h": "a", "r": 20}, "write_id": "x"}, {"attributes": {"h": "a", "r": 21}, "write_id": "x"}),
    ):
        assert described.tables.ask(method, at("log", rest), first).status in (201, 204)
        ask(409, method, rest, other)
    described.tables.put("log", {"h": "a", "r": 30, "v": "there"})
    ask(412, "PUT", "/rows", row(30), if_none_match="*")
    ask(412, "POST", "/batch", {"rows": [row(30) | {"if": "not exists"}]})
    ask(412, "POST", "/delete", {"attributes": {"h": "a", "r": 30}}, if_match='"0000000000000001"')
    described.tables.clock.advance(2 * KEPT_MS / 1000)
    described.tables.run(
        described.tables.store.reclaim(
            now_ms=described.tables.clock.now_ms(), changes_kept_ms=KEPT_MS, write_ids_kept_ms=KEPT_MS, limit=1_000
        )
    )
    ask(410, "GET", "/changes?wait=0&since=1")


def _ask_what_is_full(described: Described) -> None:
    full = "/v1/full.example/tables"
    described.ask(201, "PUT", f"{full}/log/rows", row(1))
    described.ask(507, "PUT", f"{full}/log/rows", row(2))
    described.ask(507, "POST", f"{full}/log/batch", {"rows": [row(2)]})
    for number in (2, 3):
        described.ask(201, "PUT", f"{full}/more{number}", LOG)
    described.ask(507, "PUT", f"{full}/more4", LOG)
    for number in (2, 3):
        described.ask(204, "DELETE", f"{full}/more{number}")


def _ask_of_a_store_that_fails(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((OutcomeUnknown("the disk does not answer"), 504), (StorageFull("the disk is full"), 507)):

        async def fail(*_: object, error: Exception = error, **__: object) -> Any:
            raise error

        with monkeypatch.context() as broken:
            for method in ("declare", "drop", "write", "clear"):
                broken.setattr(described.tables.store, method, fail)
            described.ask(status, "PUT", f"/v1/{DOMAIN}/tables/new", LOG)
            described.ask(status, "DELETE", "")
            described.ask(status, "PUT", "/rows", row(1))
            described.ask(status, "POST", "/batch", {"rows": [row(1)]})
            described.ask(status, "POST", "/delete", {"attributes": {"h": "a"}})
            described.ask(status, "POST", "/delete", {"attributes": {"h": "a", "r": 1}})


def _ask_everything_of_a_service_that_fails(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 and 503 are the same for all: a bug, and no place in the guard."""

    def fail(*_: object, **__: object) -> Any:
        raise LookupError

    @contextlib.contextmanager
    def bug() -> Iterator[None]:
        with monkeypatch.context() as broken:
            broken.setattr("headwater.tables.api.permit", fail)
            for method in ("tables_of", "status"):
                broken.setattr(described.tables.service, method, fail)
            yield

    @contextlib.contextmanager
    def crowd() -> Iterator[None]:
        with monkeypatch.context() as broken:
            broken.setattr(Guard, "try_enter", lambda _: False)
            yield

    for state, status in ((bug, 500), (crowd, 503)):
        with state():
            for method, rest, body in OPERATIONS.values():
                described.ask(status, method, rest, body)


def test_a_status_that_is_not_described_is_noticed(described: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    described.read("/openapi.json")

    async def fail(*_: object, **__: object) -> Any:
        raise OutcomeUnknown("a read has no unknown outcome")

    monkeypatch.setattr(described.tables.store, "read", fail)
    with pytest.raises(BaseExceptionGroup):
        described.ask(504, "POST", "/query", {"attributes": {"h": "a"}})

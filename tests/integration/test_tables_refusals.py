"""What must not be sent to tables: refused with a problem that names the column or element, nothing written, nothing echoed or logged."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.integration.tables_app import DOMAIN, ENGINES, Answer, TablesApp, at, tables_app

from headwater.kernel.config import Bytes
from headwater.tables.config import TablesConfig

CANARY = "canary-7f3a"
KINDS = (
    "string",
    "blob",
    "int",
    "varint",
    "long",
    "decimal",
    "float",
    "double",
    "boolean",
    "timeuuid",
    "uuid",
    "timestamp",
    "json",
)
WIDE: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", **{f"c-{kind}": kind for kind in KINDS}, **{f"s-{kind}": f"set<{kind}>" for kind in KINDS}},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
}
Sent = bytes | dict[str, Any]


@pytest.fixture(params=ENGINES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TablesApp]:
    """The service with a table of every type that holds one row; at the end that row and nothing else is there."""
    with (
        tables_app(request.param, tmp_path, TablesConfig(body_bytes_max=Bytes.of("4MiB"))) as made,
        structlog.testing.capture_logs() as logs,
    ):
        made.declare("wide", WIDE)
        assert made.put("wide", {"h": "a", "r": 1, "c-string": "kept"}).status == 201
        before = state(made)
        yield made
        assert state(made) == before, "what was refused has changed something"
        assert CANARY not in repr(logs)


def state(tables: TablesApp) -> object:
    """Everything that a refusal must leave as it is."""
    stats = tables.ask("GET", at("wide", "/stats")).json
    schema = tables.ask("GET", at("wide")).json
    return schema, tables.everything("wide"), stats["rows"], stats["bytes"], stats["largest_partitions"]


def refused(answer: Answer, status: int, where: str | None = None) -> None:
    """The answer is a problem of that status that names `where` and tells nothing of what was sent or of our insides."""
    assert answer.status == status, answer.body
    assert answer.code
    if where is not None:
        assert answer.json["where"] == where, answer.body
    assert CANARY.encode() not in answer.body and CANARY not in repr(answer.headers)
    assert b"Traceback" not in answer.body and b".py" not in answer.body and len(answer.body) < 2000


WRONG: dict[str, tuple[str, ...]] = {
    "string": ("1", "true", "[]", "{}", '["x"]', '{"a":1}', "1.5"),
    "blob": ('"AA=="', "1", "[]", "{}", '{"$base64":"A"}', '{"$base64":"A-=="}', '{"$base64":1}', '{"$base64":"AA==","x":1}'),
    "int": ("2147483648", "-2147483649", "1.0", '"1"', "true", "1e3", "18446744073709551616", "[1]", "{}"),
    "varint": ("1.5", '"1.0"', '"x"', '"１"', "1.0", "true", "18446744073709551616", f'"{"9" * 2000}"'),
    "long": ("9223372036854775808", '"9223372036854775808"', '"-9223372036854775809"', "1.0", '"+1"', '" 1"', '"0x1"', '"1_0"', "false"),
    "decimal": ("1.5", '"1,5"', '"NaN"', '"Infinity"', '"1e99999999"', '"--1"', "true", '""', f'"{"9" * 2000}"'),
    "float": ("1e39", '"1.5"', '"NaN"', "true", "[]", "-3.5e38"),
    "double": ('"1"', '"Infinity"', "true", "[]", "{}"),
    "boolean": ("0", "1", '"true"', "[]", '""'),
    "timeuuid": ('"00000000-0000-4000-8000-000000000000"', '"138140001dd211b28080808080808080"', "1", '""', '"x"', "[]"),
    "uuid": ('"{00000000-0000-4000-8000-000000000000}"', '"0"', "0", "true", '"00000000-0000-4000-8000-00000000000g"'),
    "timestamp": (
        "0",
        '"yesterday"',
        '"2026-02-30"',
        '"2026-01-01T25:00:00Z"',
        '"2026-01-01 00:00:00"',
        '"0000-01-01"',
        '"2026-01-01T00:00"',
    ),
    "json": (),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_another_type(tables: TablesApp, kind: str) -> None:
    for text in (*WRONG[kind], '"\\ud800"' if kind == "string" else '"x"'):
        if kind == "json":
            continue
        body = f'{{"attributes":{{"h":"a","r":2,"c-string":"{CANARY}","c-{kind}":{text}}}}}'
        if kind == "string":
            body = f'{{"attributes":{{"h":"a","r":2,"c-string":{text},"c-json":"{CANARY}"}}}}'
        answer = tables.ask("PUT", at("wide", "/rows"), body.encode())
        if "\\ud800" in text:
            refused(answer, 400, "c-string")
            continue
        refused(answer, 422, f"c-{kind}")
        in_set = f'{{"attributes":{{"h":"a","r":2,"c-json":"{CANARY}","s-{kind}":[{text}]}}}}'
        refused(tables.ask("PUT", at("wide", "/rows"), in_set.encode()), 422, f"s-{kind}")
    for text in ("[null]", "{}", '"x"', "1", "true"):
        body = f'{{"attributes":{{"h":"a","r":2,"c-json":"{CANARY}","s-{kind}":{text}}}}}'
        refused(tables.ask("PUT", at("wide", "/rows"), body.encode()), 422, f"s-{kind}")
    nested = f'{{"attributes":{{"h":"a","r":2,"s-{kind}":[["{CANARY}"]]}}}}'
    if kind != "json":
        refused(tables.ask("PUT", at("wide", "/rows"), nested.encode()), 422, f"s-{kind}")


def row(**more: object) -> dict[str, Any]:
    """The body of a write that would be right."""
    return {"attributes": {"h": "a", "r": 2, "c-string": CANARY, **more}}


def deep(levels: int) -> bytes:
    """A body with a value nested that deep."""
    return b'{"attributes":{"h":"a","r":2,"c-json":' + b"[" * levels + b"]" * levels + b"}}"


BODIES: tuple[tuple[str, Sent, int, str | None], ...] = (
    ("nothing", b"", 400, None),
    ("blanks", b"  ", 400, None),
    ("an array", b'["' + CANARY.encode() + b'"]', 400, None),
    ("a string", b'"' + CANARY.encode() + b'"', 400, None),
    ("null", b"null", 400, None),
    ("two values", b"{}{}", 400, None),
    ("not JSON", CANARY.encode(), 400, None),
    ("not UTF-8", b'{"attributes":{"h":"\xff' + CANARY.encode() + b'","r":2}}', 400, "h"),
    ("a byte order mark", b'\xef\xbb\xbf{"attributes":{"h":"a","r":2}}', 400, None),
    ("UTF-16", '{"attributes":{"h":"a","r":2}}'.encode("utf-16"), 400, None),
    ("NaN", b'{"attributes":{"h":"a","r":2,"c-double":NaN}}', 400, "c-double"),
    ("Infinity", b'{"attributes":{"h":"a","r":2,"c-double":-Infinity}}', 400, "c-double"),
    ("1e999", b'{"attributes":{"h":"a","r":2,"c-double":1e999}}', 400, "c-double"),
    ("a huge integer", b'{"attributes":{"h":"a","r":2,"c-varint":' + b"9" * 5000 + b"}}", 400, "c-varint"),
    (
        "a huge integer beside an escaped colon",
        b'{"x\\u003a":1,"attributes":{"h":"a","r":2,"c-varint":' + b"9" * 5000 + b"}}",
        400,
        "c-varint",
    ),
    ("1e999 in JSON", b'{"attributes":{"h":"a","r":2,"c-json":[1e999]}}', 400, "c-json"),
    ("a lone surrogate", b'{"attributes":{"h":"a","r":2,"c-string":"\\ud83d"}}', 400, "c-string"),
    ("a lone surrogate in JSON", b'{"attributes":{"h":"a","r":2,"c-json":{"\\udc00":1}}}', 400, "c-json"),
    ("a lone surrogate as name", b'{"attributes":{"h":"a","r":2,"\\ud83d":1}}', 400, "attributes"),
    ("a key twice", b'{"attributes":{"h":"a","r":2,"r":3}}', 400, "r"),
    ("a key twice in JSON", b'{"attributes":{"h":"a","r":2,"c-json":{"k":1,"k":2}}}', 400, "k"),
    ("the body's key twice", b'{"attributes":{"h":"a","r":2},"attributes":{"h":"a","r":3}}', 400, "attributes"),
    ("too deep", deep(70), 400, "c-json"),
    ("far too deep", deep(40_000), 400, "c-json"),
    ("more than is looked through", deep(100_000), 400, None),
    ("no attributes", {"table": "wide"}, 400, "attributes"),
    ("attributes that are none", {"attributes": [CANARY]}, 400, "attributes"),
    ("another table", {**row(), "table": "other"}, 400, "table"),
    ("another member", {**row(), "consistency": "all"}, 400, "consistency"),
    ("a long member", {**row(), "x" * 5000: CANARY}, 400, "x" * 100),
    ("no hash", {"attributes": {"r": 1, "c-string": CANARY}}, 400, "h"),
    ("no range", {"attributes": {"h": "a", "c-string": CANARY}}, 400, "r"),
    ("a null key", {"attributes": {"h": None, "r": 1}}, 400, "h"),
    ("an unknown column", row(unknown=CANARY), 400, "unknown"),
    ("a column that is SQL", row(**{"'); DROP TABLE row; --": CANARY}), 400, "'); DROP TABLE row; --"),
    ("a private column", row(_domain=CANARY), 400, "_domain"),
    ("10,000 columns", row(**{f"c{n}": CANARY for n in range(10_000)}), 400, None),
    ("a TTL that is text", row(_ttl="10"), 422, "_ttl"),
    ("a TTL that is a float", row(_ttl=1.5), 422, "_ttl"),
    ("a negative TTL", row(_ttl=-1), 400, "_ttl"),
    ("a TTL that is too long", row(_ttl=630_720_001), 400, "_ttl"),
    ("a condition that is none", {**row(), "if": "exists"}, 400, "if"),
    ("a condition without columns", {**row(), "if": {}}, 400, "if"),
    ("a condition on no column", {**row(), "if": {"nope": CANARY}}, 400, "nope"),
    ("a condition of another type", {**row(), "if": {"r": CANARY}}, 422, "r"),
    ("a condition with an operator that is none", {**row(), "if": {"c-int": {"like": CANARY}}}, 400, "c-int"),
    ("a condition between one", {**row(), "if": {"c-int": {"between": [1]}}}, 400, "c-int"),
    ("a row that is too large", row(**{"c-json": CANARY * 200_000}), 413, "c-json"),
    ("a blob that is too large", row(**{"c-blob": {"$base64": base64.b64encode(bytes(2 * 2**20)).decode()}}), 413, "c-blob"),
    ("a key that is too long", {"attributes": {"h": CANARY * 2000, "r": 1}}, 413, "h"),
)


@pytest.mark.parametrize(("sent", "status", "where"), [body[1:] for body in BODIES], ids=[body[0] for body in BODIES])
def test_bodies_of_writes(tables: TablesApp, sent: Sent, status: int, where: str | None) -> None:
    refused(tables.ask("PUT", at("wide", "/rows"), sent), status, where)
    if isinstance(sent, dict) and sent.keys() <= {"attributes", "if", "table"}:
        batch = {"rows": [{"attributes": {"h": "a", "r": 9, "c-string": CANARY}}, sent]}
        answer = tables.ask("POST", at("wide", "/batch"), batch)
        in_batch = None if where is None else f"/rows/1/{where}"
        if where == "h" and "c-string" not in sent["attributes"]:
            in_batch = None  # it may be the other partition that is noticed first
        refused(answer, status, in_batch)


NOT_JSON = ("NaN", "-Infinity", "1e999", "9" * 400, '"\\ud83d"', "[1,]", '{"x":[1e999]}', "[" * 70 + "]" * 70, "tru")


@pytest.mark.parametrize("text", NOT_JSON)
def test_what_is_no_json_is_named_by_its_column_in_every_operation(tables: TablesApp, text: str) -> None:
    bad = f'{{"attributes":{{"h":"a","r":{text},"c-string":"{CANARY}"}}}}'
    on_condition = f'{{"attributes":{{"h":"a","r":2}},"if":{{"c-string":"{CANARY}","c-int":{text}}}}}'
    good = f'{{"attributes":{{"h":"a","r":2,"c-string":"{CANARY}"}}}}'
    for method, rest, body, where in (
        ("PUT", "/rows", bad, "r"),
        ("PUT", "/rows", on_condition, "c-int"),
        ("PUT", "/rows", f'{{"write_id":{text},"attributes":{{"h":"a","r":2}}}}', "write_id"),
        ("POST", "/batch", f'{{"rows":[{good},{bad}]}}', "/rows/1/r"),
        ("POST", "/batch", f'{{"rows":[{good},{on_condition}]}}', "/rows/1/c-int"),
        ("POST", "/batch", f'{{"rows":[{good},{text}]}}', "/rows/1"),
        ("POST", "/batch", f'{{"rows":[{good},{{"delete":{text}}}]}}', "/rows/1/delete"),
        ("POST", "/query", bad, "r"),
        ("POST", "/query", f'{{"attributes":{{"h":"a","r":{{"between":[1,{text}]}}}}}}', "r"),
        ("POST", "/query", f'{{"attributes":{{"h":"a"}},"limit":{text}}}', "limit"),
        ("POST", "/delete", bad, "r"),
        ("PUT", "", f'{{"attributes":{{"h":{text}}}}}', "/attributes/h"),
    ):
        answer = tables.ask(method, at("wide", rest), body.encode())
        refused(answer, 400)
        named = answer.json["where"]
        inside = where in ("/rows/1", "/attributes/h")  # then the place may be one within that value
        assert named == where or (inside and named.startswith(f"{where}/")), (rest, answer.body)


@pytest.mark.parametrize(
    "sent", [body[1] for body in BODIES if isinstance(body[1], bytes)], ids=[b[0] for b in BODIES if isinstance(b[1], bytes)]
)
def test_bodies_that_are_none_everywhere(tables: TablesApp, sent: bytes) -> None:
    for method, rest in (("POST", "/query"), ("POST", "/batch"), ("POST", "/delete"), ("PUT", ""), ("PUT", "/rows")):
        answer = tables.ask(method, at("wide", rest), sent)
        assert answer.status in (400, 413)
        refused(answer, answer.status)


QUERIES: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"attributes": {}}, 400, "h"),
    ({"attributes": {"h": {"gt": CANARY}}}, 400, "h"),
    ({"attributes": {"h": [CANARY]}}, 422, "h"),
    ({"attributes": {"h": "a", "c-string": CANARY}}, 400, "c-string"),
    ({"attributes": {"h": "a", "nope": CANARY}}, 400, "nope"),
    ({"attributes": {"h": "a", "r": CANARY}}, 422, "r"),
    ({"attributes": {"h": "a", "r": {"lt": 2**31}}}, 422, "r"),
    ({"attributes": {"h": "a", "r": {"between": [1, CANARY]}}}, 422, "r"),
    ({"attributes": {"h": "a", "r": {"between": 1}}}, 400, "r"),
    ({"attributes": {"h": "a", "r": {CANARY: 1}}}, 400, "r"),
    ({"attributes": {"h": "a", "r": {}}}, 400, "r"),
    ({"attributes": {"h": "a", "r": None}}, 400, "r"),
    ({"attributes": {"h": "a"}, "proj": CANARY}, 400, CANARY),
    ({"attributes": {"h": "a"}, "proj": []}, 400, "proj"),
    ({"attributes": {"h": "a"}, "proj": [["h"]]}, 400, "proj"),
    ({"attributes": {"h": "a"}, "order": {"r": "sideways"}}, 400, "order"),
    ({"attributes": {"h": "a"}, "order": "asc"}, 400, "order"),
    ({"attributes": {"h": "a"}, "order": {"h": "asc"}}, 400, "h"),
    ({"attributes": {"h": "a"}, "limit": 0}, 400, "limit"),
    ({"attributes": {"h": "a"}, "limit": 1001}, 400, "limit"),
    ({"attributes": {"h": "a"}, "limit": "5"}, 400, "limit"),
    ({"attributes": {"h": "a"}, "limit": True}, 400, "limit"),
    ({"attributes": {"h": "a"}, "next": CANARY}, 400, "next"),
    ({"attributes": {"h": "a"}, "next": {"x": CANARY}}, 400, "next"),
    ({"attributes": {"h": "a"}, "next": 1}, 400, "next"),
    ({"attributes": {"h": "a"}, "withTTL": 1}, 400, "withTTL"),
    ({"attributes": {"h": "a"}, "index": "x"}, 400, "index"),
)


@pytest.mark.parametrize(("body", "status", "where"), QUERIES)
def test_queries(tables: TablesApp, body: dict[str, Any], status: int, where: str) -> None:
    answer = tables.ask("POST", at("wide", "/query"), body)
    if where == CANARY:  # the name of a column, which it has to name
        assert (answer.status, answer.json["where"]) == (status, where)
        return
    refused(answer, status, None if where == "order" or where == "h" else where)
    if body.keys() == {"attributes"}:
        refused(tables.ask("POST", at("wide", "/delete"), body), status)


def test_tokens_of_another_query_table_or_nobody(tables: TablesApp) -> None:
    tables.declare("other", WIDE)
    for n in range(3):
        assert tables.put("other", {"h": "a", "r": n}).status == 201
    token = tables.query("other", {"h": "a"}, limit=2)["next"]
    walk = tables.ask("GET", at("other", "/rows?limit=2")).json["next"]
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    wrong: tuple[tuple[str, dict[str, Any]], ...] = (
        ("wide", {"attributes": {"h": "a"}, "next": token}),
        ("other", {"attributes": {"h": "b"}, "next": token}),
        ("other", {"attributes": {"h": "a"}, "next": token, "order": {"r": "desc"}}),
        ("other", {"attributes": {"h": "a"}, "next": flipped}),
        ("other", {"attributes": {"h": "a"}, "next": token[1:]}),
        ("other", {"attributes": {"h": "a"}, "next": walk}),
        ("other", {"attributes": {"h": "a"}, "next": ""}),
        ("other", {"attributes": {"h": "a"}, "next": "é" * 2000}),
    )
    for table, body in wrong:
        answer = tables.ask("POST", at(table, "/query"), body)
        refused(answer, 400, "next")
        assert answer.code == "invalid-paging-token"
    assert tables.ask("GET", at("other", f"/rows?next={token}")).code == "invalid-paging-token"
    assert tables.ask("GET", at("wide", f"/rows?next={walk}")).code == "invalid-paging-token"
    assert tables.query("other", {"h": "a"}, limit=2, next=token)["items"][0]["r"] == 2


def schema(**changed: object) -> dict[str, Any]:
    """A schema that would be right."""
    return {"attributes": {"h": "string", "v": "int"}, "index": [{"attribute": "h", "type": "hash"}], "note": CANARY, **changed}


SCHEMAS: tuple[tuple[dict[str, Any], int, str | None], ...] = (
    ({}, 400, "/attributes"),
    (schema(attributes=[]), 400, "/attributes"),
    (schema(attributes={}), 400, "/attributes"),
    (schema(attributes={"h": "text"}), 400, "/attributes/h"),
    (schema(attributes={"h": "string", "v": "set<set<int>>"}), 400, "/attributes/v"),
    (schema(attributes={"h": "string", "v": "set<int"}), 400, "/attributes/v"),
    (schema(attributes={"h": "string", "v": {"type": "int"}}), 400, "/attributes/v"),
    (schema(attributes={"h": "string", "_v": "int"}), 400, "/attributes/_v"),
    (schema(attributes={"h": "string", "": "int"}), 400, "/attributes/"),
    (schema(attributes={"h": "string", "a\nb": "int"}), 400, None),
    (schema(attributes={"h": "string", "x" * 129: "int"}), 400, None),
    (schema(attributes={"h": "string", **{f"c{n}": "int" for n in range(10_000)}}), 400, "/attributes"),
    (schema(index=[]), 400, "/index"),
    (schema(index={"h": "hash"}), 400, "/index"),
    (schema(index=[{"attribute": "v", "type": "range"}]), 400, "/index"),
    (schema(index=[{"attribute": "nope", "type": "hash"}]), 400, "/index/0/attribute"),
    (schema(index=[{"attribute": "h", "type": "hash"}, {"attribute": "h", "type": "range"}]), 400, None),
    (schema(index=[{"attribute": "h", "type": "hash"}, {"attribute": "v", "type": "proj"}]), 400, "/index/1/type"),
    (schema(index=[{"attribute": "h", "type": "hash", "order": "asc"}]), 400, "/index/0/order"),
    (schema(index=[{"attribute": "h", "type": "hash"}, {"attribute": "v", "type": "static"}]), 400, "/index/1/type"),
    (schema(attributes={"h": "set<string>"}), 400, "/index/0/attribute"),
    (schema(version="1"), 400, "/version"),
    (schema(version=0), 400, "/version"),
    (schema(version=1.5), 400, "/version"),
    (schema(version=2**64), 400, "/version"),
    (schema(options={"writes": "fast"}), 400, "/options/writes"),
    (schema(options={"changes": "yes"}), 400, "/options/changes"),
    (schema(options={"default_time_to_live": -1}), 400, "/options/default_time_to_live"),
    (schema(options={"nope": CANARY}), 400, "/options/nope"),
    (schema(options=[CANARY]), 400, "/options"),
    (schema(secondaryIndexes={"by": [{"attribute": "v", "type": "hash"}]}), 400, "/secondaryIndexes"),
    (schema(table="another"), 400, "/table"),
    (schema(note="x" * 300_000), 413, None),
)


@pytest.mark.parametrize(("sent", "status", "where"), SCHEMAS)
def test_schemas(tables: TablesApp, sent: dict[str, Any], status: int, where: str | None) -> None:
    for dry_run in ("", "?dry_run=1"):
        refused(tables.ask("PUT", at("new") + dry_run, sent), status, where)
    assert tables.ask("GET", at("new")).code == "no-such-table"


PATHS = (
    "%00",
    "a%00b",
    "%ff",
    "%",
    "%zz",
    "%0a",
    "..%2f..%2fetc",
    "a%2fb",
    "x" * 300,
    "%F0%9F%98%80" * 200,
    "%ed%a0%80",
    "_private",
    "'%20OR%201=1;%20--",
    "%2e%2e",
    "%20",
)


@pytest.mark.parametrize("name", PATHS)
def test_names_in_paths(tables: TablesApp, name: str) -> None:
    """A name that a table may have is declared and dropped again; nothing else comes of any."""
    good = schema()
    for path in (f"/v1/{DOMAIN}/tables/{name}", f"/v1/{name}/tables/t"):
        asks: tuple[Callable[[], Answer], ...] = (
            lambda: tables.ask("PUT", path, good),  # noqa: B023
            lambda: tables.ask("GET", path),  # noqa: B023
            lambda: tables.ask("PUT", f"{path}/rows", {"attributes": {"h": "a"}}),  # noqa: B023
            lambda: tables.ask("POST", f"{path}/query", {"attributes": {"h": "a"}}),  # noqa: B023
            lambda: tables.ask("GET", f"{path}/openapi.json"),  # noqa: B023
            lambda: tables.ask("DELETE", path),  # noqa: B023
        )
        statuses = [ask().status for ask in asks]
        if statuses[0] == 201:
            assert statuses == [201, 200, 201, 200, 200, 204], path
        else:
            assert statuses[0] == 400 and set(statuses[1:5]) <= {400, 404} and statuses[5] in (204, 400), (path, statuses)
        if path.startswith(f"/v1/{name}"):
            assert statuses[0] == 400, "no such domain can be"


def test_names_that_are_sql_are_names(tables: TablesApp) -> None:
    table, column = 'row"; DROP TABLE row; --', "x'); DELETE FROM row; --"
    tables.declare(table, {"attributes": {column: "string", "SELECT": "int"}, "index": [{"attribute": column, "type": "hash"}]})
    assert tables.put(table, {column: "'; DROP TABLE space; --", "SELECT": 1}).status == 201
    assert tables.items(table, {column: "'; DROP TABLE space; --"}) == [{column: "'; DROP TABLE space; --", "SELECT": 1}]
    assert len(tables.everything(table)) == 1
    assert tables.ask("GET", at(table, "/openapi.json")).status == 200


def test_a_member_of_a_row_that_is_too_large_as_a_whole(tables: TablesApp) -> None:
    """No value is too large, all of them together are; also where most was written before."""
    half = "x" * 600_000
    assert tables.put("wide", {"h": "big", "r": 1, "c-string": half}).status == 201
    answer = tables.put("wide", {"h": "big", "r": 1, "c-json": half})
    together = tables.put("wide", {"h": "big", "r": 2, "c-string": half, "c-json": half})
    assert [item["c-json"] for item in tables.items("wide", {"h": "big", "r": 1})] == [None if answer.status == 413 else half]
    assert (answer.status, together.status) == (413, 413)
    assert tables.ask("POST", at("wide", "/delete"), {"attributes": {"h": "big"}}).status == 204


def test_what_the_log_says_of_a_bug_holds_no_body(tables: TablesApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise LookupError("inside")

    monkeypatch.setattr(tables.store, "write", fail)
    answer = tables.put("wide", {"h": "a", "r": 3, "c-string": CANARY})
    refused(answer, 500)
    assert b"inside" not in answer.body and json.loads(answer.body)["type"] == "/problems/internal"

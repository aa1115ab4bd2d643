"""Who may do what with which table: every client, verb, domain and table on every route, and that refusals tell nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tables_app import TablesApp, at, client, tables_app

from headwater.tables.clients import Callers
from headwater.tables.config import GroupConfig, TablesConfig, Verb

SCHEMA: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
    "options": {"changes": True},
}
ROW = {"attributes": {"h": "a", "r": 1}}
ROUTES: tuple[tuple[Verb, str, str, object], ...] = (
    (Verb.READ, "GET", "", None),
    (Verb.READ, "HEAD", "", None),
    (Verb.READ, "POST", "/query", {"attributes": {"h": "a"}}),
    (Verb.READ, "GET", "/openapi.json", None),
    (Verb.READ, "GET", "/changes?wait=0", None),
    (Verb.WRITE, "PUT", "/rows", ROW),
    (Verb.WRITE, "POST", "/batch", {"rows": [ROW]}),
    (Verb.DELETE, "POST", "/delete", {"attributes": {"h": "a"}}),
    (Verb.ADMINISTER, "GET", "/rows", None),
    (Verb.ADMINISTER, "GET", "/stats", None),
    (Verb.DECLARE, "PUT", "?dry_run=1", SCHEMA),
    (Verb.DECLARE, "PUT", "", SCHEMA),
    (Verb.DECLARE, "DELETE", "", None),
)
PLACES = (("one.example", "a"), ("one.example", "b"), ("two.example", "a"), ("two.example", "b"))
ALL = tuple(Verb)
GRANTS: dict[str, dict[str, dict[str, tuple[Verb, ...]]]] = {
    "root": {"*": {"*": ALL}},
    "one": {"one.example": {"*": ALL}},
    "a": {"*": {"a": ALL}},
    "one-a": {"one.example": {"a": ALL}},
    "nothing": {"one.example": {"a": ()}},
    **{f"only-{verb.value}": {"one.example": {"a": (verb,)}} for verb in Verb},
    "mixed": {"*": {"*": (Verb.READ,)}, "one.example": {"b": (Verb.WRITE, Verb.DELETE)}},
}


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[TablesApp]:
    """The service with every kind of client; as long as no test says otherwise root asks."""
    clients = tuple(client(name, grants) for name, grants in GRANTS.items())
    with tables_app("memory", tmp_path, TablesConfig(clients=clients)) as made:
        made.token = "token-root"
        yield made


def may(grants: Mapping[str, Mapping[str, tuple[Verb, ...]]], verb: Verb, domain: str, table: str) -> bool:
    """What the configuration says, by hand."""
    return any(verb in grants.get(one, {}).get(other, ()) for one in (domain, "*") for other in (table, "*"))


@pytest.mark.parametrize("name", GRANTS)
def test_every_client_may_what_its_grants_say_and_nothing_else(tables: TablesApp, name: str) -> None:
    for domain, table in PLACES:
        for verb, method, rest, body in ROUTES:
            tables.token = "token-root"
            tables.declare(table, SCHEMA, domain=domain)
            tables.token = f"token-{name}"
            answer = tables.ask(method, at(table, rest, domain=domain), body)
            if may(GRANTS[name], verb, domain, table):
                assert answer.status in (200, 201, 204), (domain, table, method, rest, answer.body)
            else:
                assert (answer.status, answer.code) == (403, "forbidden"), (domain, table, method, rest)


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 401), ("token-nothing", 403)])
def test_a_refusal_does_not_tell_what_exists(tables: TablesApp, token: str | None, status: int) -> None:
    tables.declare("a", SCHEMA, domain="one.example")
    tables.token = token
    for _, method, rest, body in ROUTES:
        broken = body if body is None else b'{"attributes"'
        answers = [
            tables.ask(method, at(table, rest, domain=domain), sent, **headers)
            for domain, table in (("one.example", "a"), ("one.example", "absent"), ("absent.example", "a"), ("NO DOMAIN", "_"))
            for sent in (body, broken)
            for headers in ({}, {"if_match": "nonsense"})
        ]
        assert {answer.status for answer in answers} == {status}
        assert len({(answer.body, tuple(sorted(answer.headers.items()))) for answer in answers}) == 1
        assert ("www-authenticate" in answers[0].headers) is (status == 401)


def test_who_may_only_write_deletes_nothing_and_reads_nothing(tables: TablesApp) -> None:
    tables.declare("a", SCHEMA, domain="one.example")
    assert tables.put("a", {"h": "a", "r": 1, "v": "secret"}, domain="one.example").status == 201
    tables.token = "token-only-write"
    batch = {"rows": [{"attributes": {"h": "a", "r": 2}}, {"attributes": {"h": "a", "r": 1}, "delete": True}]}
    assert tables.ask("POST", at("a", "/batch", domain="one.example"), batch).code == "forbidden"
    refused = tables.ask("PUT", at("a", "/rows", domain="one.example"), ROW | {"if": "not exists"})
    assert refused.status == 412 and "current" not in refused.json and b"secret" not in refused.body
    tables.token = "token-only-delete"
    refused = tables.ask("POST", at("a", "/delete", domain="one.example"), ROW | {"if": {"v": "other"}})
    assert refused.status == 412 and b"secret" not in refused.body
    tables.token = "token-one"
    assert len(tables.everything("a", domain="one.example")) == 1
    assert tables.ask("PUT", at("a", "/rows", domain="one.example"), ROW | {"if": "not exists"}).json["current"]["v"] == "secret"


def test_all_domains_at_once_are_for_who_may_in_all(tables: TablesApp) -> None:
    for name, allowed in (("one", False), ("a", True), ("only-declare", False), ("root", True)):
        tables.token = f"token-{name}"
        assert tables.ask("PUT", at("a", domain="*"), SCHEMA).status in ((200, 201) if allowed else (403,)), name
    tables.token = "token-one"
    assert tables.ask("DELETE", at("a", domain="*")).status == 403
    assert tables.ask("GET", at("a", domain="*")).status == 403


def test_the_schema_of_a_group_is_changed_by_who_may_in_all_its_domains(tmp_path: Path) -> None:
    declare = {"a": (Verb.DECLARE,)}
    clients = (
        client("one", {"one.example": declare}),
        client("both", {"one.example": declare, "two.example": declare}),
        client("all", {"*": declare}),
        client("other-table", {"one.example": declare, "two.example": {"b": (Verb.DECLARE,)}}),
        client("test", {"x.test": declare}),
        client("alone", {"alone.example": declare}),
    )
    groups = (
        GroupConfig(name="alone", domains=("alone.example",)),
        GroupConfig(name="named", domains=("one.example", "two.example", "alone.example")),  # the last is of the group before
        GroupConfig(name="expressed", domains=("x.test", r"/.*\.test/")),
    )
    with tables_app("memory", tmp_path, TablesConfig(clients=clients, groups=groups)) as tables:

        def declared(name: str, domain: str, schema: dict[str, Any], *, rest: str = "") -> int:
            tables.token = f"token-{name}"
            answer = tables.ask("PUT", at("a", rest, domain=domain), schema)
            if answer.status == 403:
                assert answer.code == "forbidden"
                missing = answer.json["detail"].rpartition(" in ")[2]
                assert (missing, answer.json["where"]) == ("two.example" if domain == "one.example" else "*", "domain")
            return answer.status

        more = {**SCHEMA, "version": 2, "attributes": {**SCHEMA["attributes"], "w": "int"}}
        assert declared("alone", "alone.example", SCHEMA) == 201
        assert declared("alone", "alone.example", more) == 201
        for name in ("one", "other-table"):
            assert declared(name, "one.example", SCHEMA) == declared(name, "one.example", SCHEMA, rest="?dry_run=1") == 403
        assert declared("both", "two.example", SCHEMA) == 201
        assert declared("one", "one.example", more) == 403, "it may not join with another schema"
        assert declared("one", "one.example", SCHEMA) == 201, "it may join"
        assert declared("one", "one.example", SCHEMA) == 200
        assert declared("one", "one.example", more) == declared("one", "one.example", more, rest="?dry_run=1") == 403
        assert "w" not in tables.service.schema("two.example", "a")["attributes"]  # type: ignore[operator]
        assert declared("both", "one.example", more) == 201
        assert tables.ask("DELETE", at("a", domain="one.example")).status == 204, "rows of one domain are its own"
        assert declared("test", "x.test", SCHEMA) == 403, "nobody can list the domains of an expression"
        assert declared("all", "y.test", SCHEMA) == 201
        assert declared("test", "x.test", SCHEMA) == 201


def test_tokens_that_are_none(tables: TablesApp) -> None:
    tables.token = None
    for value in ("Bearer", "Bearer ", "Basic token-root", "token-root", "Bearer token-root token-root", "Bearer \xff"):
        assert tables.ask("GET", at("a"), authorization=value).code == "unauthenticated"
    tables.token = "token-root"
    assert tables.ask("GET", at("a"), authorization="Bearer token-root").code == "unauthenticated", "two headers are not one"
    assert tables.ask("GET", at("a"), origin="https://pages.example").code == "no-such-table", "a token is enough for a page"


def test_pages_in_browsers_change_nothing_while_there_are_no_clients(tmp_path: Path) -> None:
    with tables_app("memory", tmp_path) as tables:
        tables.declare("a", SCHEMA)
        for headers in ({"origin": "https://pages.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}):
            for _, method, rest, body in ROUTES:
                if method not in ("GET", "HEAD"):
                    assert tables.ask(method, at("a", rest), body, **headers).code == "forbidden"
        assert tables.everything("a") == []


def test_clients_change_while_the_service_runs(tables: TablesApp) -> None:
    tables.declare("a", SCHEMA, domain="one.example")
    tables.app.clients = Callers(TablesConfig(clients=(client("new", {"*": {"*": (Verb.READ,)}}),)))
    assert tables.ask("GET", at("a", domain="one.example")).code == "unauthenticated"
    tables.token = "token-new"
    assert tables.ask("GET", at("a", domain="one.example")).status == 200
    assert tables.put("a", {"h": "a", "r": 1}, domain="one.example").code == "forbidden"

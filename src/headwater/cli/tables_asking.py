"""`headwater tables list|declare|show|drop|stats`: one question each to a running service, and what its refusals mean to a command."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.cli.exits import Exit
from headwater.cli.output import print_json, print_table
from headwater.cli.roles import Answer, RoleClient, role_clients, segment
from headwater.kernel.errors import Forbidden, HeadwaterError, InvalidInput, NotFound, StorageFull, Unavailable

ROLE = "tables"
SCHEMA_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A table at a running service.

    Attributes:
        client: of the service.
        domain, table: which.
    """

    client: RoleClient
    domain: str
    table: str

    @property
    def path(self) -> str:
        """Its path."""
        return f"/v1/{segment(self.domain)}/tables/{segment(self.table)}"

    def ask(self, method: str, rest: str = "", body: Mapping[str, object] | None = None) -> Any:
        """The body of a successful answer; raises as `refuse`."""
        answer = self.client.call(method, self.path + rest, body)
        refuse(answer)
        return answer.body

    def schema(self) -> dict[str, Any]:
        """Its schema as normalised. Raises as `refuse`."""
        schema: dict[str, Any] = self.ask("GET")
        return schema


def target_of(config: Path | None, token: str | None, domain: str, table: str) -> Target:
    """The table that a command names. Raises InvalidConfig."""
    return Target(role_clients(config, token)[1][ROLE], domain, table)


def refuse(answer: Answer) -> None:
    """Raise what an answer means that is no success.

    Raises:
        InvalidInput, NotFound, Forbidden, StorageFull: as the service says.
        HeadwaterError: it refuses for another reason.
        Unavailable: it cannot do it now, or what answers is not Headwater.
    """
    if answer.status < 300:
        return
    if not isinstance(answer.body, dict) or "detail" not in answer.body:
        raise Unavailable(f"tables answered {answer.status} without saying why")
    detail, where = str(answer.body["detail"]), answer.body.get("where")
    kinds = {400: InvalidInput, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: HeadwaterError, 413: InvalidInput, 422: InvalidInput}
    kinds |= {410: HeadwaterError, 507: StorageFull}
    raise kinds.get(answer.status, Unavailable)(detail, where=where)


def read_schema(path: Path) -> dict[str, Any]:
    """A schema in a file of JSON. Raises NotFound, InvalidInput."""
    try:
        with path.open("rb") as file:
            text = file.read(SCHEMA_BYTES_MAX + 1)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if len(text) > SCHEMA_BYTES_MAX or not isinstance(schema, dict):
        raise InvalidInput(f"{path} does not hold a schema, which is a JSON object")
    return schema


def declare_table(target: Target, schema: Mapping[str, object], *, dry_run: bool) -> dict[str, Any]:
    """Declare or migrate; the answer of the service. Raises as `refuse`."""
    declared: dict[str, Any] = target.ask("PUT", "?dry_run=1" if dry_run else "", schema)
    return declared


def show_declared(declared: Mapping[str, Any], *, dry_run: bool, as_json: bool) -> None:
    """What a declaration did, or would do."""
    if as_json:
        print_json(declared)
        return
    would = "would be " if dry_run else ""
    sys.stdout.write(f"{declared['domain']}: {declared['table']} {would}{declared['outcome']}\n")
    for title, member in (("step", "steps"), ("ignored", "ignored"), ("warning", "warnings")):
        for one in declared.get(member, ()):
            sys.stdout.write(f"  {title}: {one}\n")
    for name, value in (declared.get("forecast") or {}).items():
        sys.stdout.write(f"  forecast: {name.replace('_', ' ')}: {json.dumps(value, ensure_ascii=False)}\n")


def show_list(client: RoleClient, domain: str, *, as_json: bool) -> None:
    """The tables of a domain. Raises as `refuse`."""
    answer = client.call("GET", f"/v1/{segment(domain)}/tables")
    refuse(answer)
    if as_json:
        print_json(answer.body)
        return
    rows = [(one["table"], "all domains" if one["all_domains"] else domain) for one in answer.body["tables"]]
    print_table(f"Tables of {domain}", ("table", "declared for"), rows)


def show_schema(target: Target, *, as_json: bool) -> None:
    """A schema as normalised. Raises as `refuse`."""
    schema = target.schema()
    if as_json:
        print_json(schema)
    else:
        from headwater.tables.schema import BESIDE

        said_twice = [name for name in BESIDE if name in schema and name in schema["options"]]
        once = {name: value for name, value in schema.items() if name not in said_twice}
        sys.stdout.write(json.dumps(once, ensure_ascii=False, indent=2) + "\n")


def drop_table(target: Target, *, dry_run: bool, as_json: bool) -> Exit:
    """Drop a table with the domain's rows; a dry run says how many they are. Raises as `refuse`."""
    rows: int | None = None
    if dry_run:
        rows = target.ask("GET", "/stats")["rows"]
    else:
        target.ask("DELETE")
    if as_json:
        print_json({"table": target.table, "domain": target.domain, "dry_run": dry_run, "rows": rows})
    else:
        what = f"would be dropped with {rows} rows" if dry_run else "is not there any more"
        sys.stdout.write(f"{target.domain}: {target.table} {what}\n")
    return Exit.OK


def show_stats(target: Target, *, as_json: bool) -> None:
    """Rows, bytes, latencies, largest partitions. Raises as `refuse`."""
    stats = target.ask("GET", "/stats")
    if as_json:
        print_json(stats)
        return
    durations = ("read_p50_s", "read_p99_s", "write_p50_s", "write_p99_s")
    facts = [(name, stats[name]) for name in ("rows", "bytes", "reads", "writes")]
    facts += [(f"{name[:-2].replace('_', ' ')}, ms", None if stats[name] is None else round(stats[name] * 1000, 3)) for name in durations]
    print_table(f"{target.domain}: {target.table}", ("fact", "value"), facts)
    rows = [(json.dumps(one["partition"], ensure_ascii=False), one["rows"], one["bytes"]) for one in stats["largest_partitions"]]
    if rows:
        print_table("Largest partitions", ("partition", "rows", "bytes"), rows)

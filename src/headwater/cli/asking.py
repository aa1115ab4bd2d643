"""`headwater status` and `headwater explain`."""

import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from headwater.app.roles import SESSIONS
from headwater.cli.exits import Exit
from headwater.cli.output import print_json, print_table
from headwater.cli.roles import RoleClient, role_clients, segment
from headwater.console.sessions import sessions_view
from headwater.kernel.clock import iso_utc
from headwater.kernel.errors import InvalidInput, Unavailable
from headwater.kernel.units import format_duration

_RESOURCE = re.compile(r"[a-z]:.")
"""A kind and a name; a title without kind would be taken for a resource that nothing reads."""


def show_status(path: Path | None, roles: tuple[str, ...], *, token: str | None, as_json: bool) -> Exit:
    """Ask roles, all if none is named; the exit status says whether all of them answer and are ready. Raises InvalidInput.

    Sessions that do not run are no failure where they are neither named, nor configured, nor have ever run.
    """
    config, clients = role_clients(path, token)
    for name in roles:
        if name not in clients:
            raise InvalidInput(f"there is no role {name!r}; the roles are {', '.join(clients)}")
    answers = {name: _ask(client) for name, client in clients.items() if not roles or name in roles}
    if not roles and answers[SESSIONS]["error"] and not config.has_sessions():
        del answers[SESSIONS]
    if as_json:
        print_json(answers)
    else:
        _print_roles(answers)
        status = {name: answer["status"] for name, answer in answers.items()}
        _print_wikis(status.get("propagation"))
        _print_followers(status.get("events"))
        _print_targets(status.get("purging"))
        _print_sessions(status.get(SESSIONS))
        _print_tables(status.get("tables"))
    if any(answer["error"] for answer in answers.values()):
        return Exit.UNREACHABLE
    return Exit.OK if all(answer["ready"] for answer in answers.values()) else Exit.FAILED


def _ask(client: RoleClient) -> dict[str, Any]:
    """Readiness and status of a role, or why it does not answer."""
    found: dict[str, Any] = {"address": client.address, "ready": False, "checks": {}, "status": None, "error": None}
    try:
        readiness = client.call("GET", "/readyz").body
        found.update(ready=readiness["ready"], checks=readiness["checks"])
        answer = client.call("GET", "/metrics" if client.name == SESSIONS else "/v1/status")
        found["status"] = answer.body if answer.status == 200 else None
        if client.name == SESSIONS and found["status"] is not None:
            found["status"] = msgspec.to_builtins(sessions_view(found["status"]))
    except Unavailable as error:
        found["error"] = error.detail
    except (KeyError, TypeError, AttributeError, ValueError):
        found["error"] = f"what answers at {client.address} is not Headwater"
    return found


def _print_roles(answers: dict[str, dict[str, Any]]) -> None:
    rows = []
    for name, answer in answers.items():
        reasons = [f"{check}: {reason}" for check, reason in answer["checks"].items() if reason]
        state = "no answer" if answer["error"] else "ready" if answer["ready"] else "not ready"
        rows.append((name, answer["address"], state, answer["error"] or "; ".join(reasons)))
    print_table("Roles", ("role", "address", "state", "reasons"), rows)


def _print_wikis(status: dict[str, Any] | None) -> None:
    if not status or not status["wikis"]:
        return
    rows = []
    for wiki in status["wikis"]:
        dirty = " ".join(str(one["dirty"]) for one in wiki["classes"])
        oldest = [one["stalest_ms"] for one in wiki["classes"] if one["stalest_ms"] is not None]
        age = format_duration((status["now_ms"] - min(oldest)) / 1000) if oldest else None
        backfill = wiki["backfill"] or {}
        running = f"{backfill['seen']} pages seen" if backfill.get("running") else "no"
        found = wiki.get("audit") or {}
        wrong = f"{found.get('mismatches', 0)} pages, {found.get('stale_copies', 0)} copies"
        rows.append((wiki["wiki"], wiki["state"], wiki["pages"], dirty, wiki["in_flight"], age, wiki["dead_letters"], running, wrong))
    columns = (
        "wiki",
        "state",
        "pages",
        "stale, class 0 1 2 3",
        "rendering",
        "stalest for",
        "dead letters",
        "backfill",
        "audits found wrong",
    )
    print_table("Wikis", columns, rows)


def _print_followers(status: dict[str, Any] | None) -> None:
    """Whether Headwater still learns of edits: without this, a wiki that does not answer looks like one where nothing happens."""
    if not status or not status["followers"]:
        return
    rows = []
    for wiki, one in status["followers"].items():
        faults = ["edits may have been missed"] if one["may_have_gap"] else []
        faults += [one["last_error"]] if one["last_error"] else []
        behind = None if one["lag_s"] is None else format_duration(one["lag_s"])
        rows.append((wiki, one["state"], behind, one["errors_in_a_row"], "; ".join(faults)))
    print_table("Following recent changes", ("wiki", "state", "behind by", "failures in a row", "trouble"), rows)


def _print_targets(status: dict[str, Any] | None) -> None:
    if not status:
        return
    rows = [
        (one["name"], one["state"], one["waiting"], one["in_flight"], one["acknowledged"], one["retried"], one["parked"])
        for one in status["targets"]
    ]
    if rows:
        columns = ("target", "state", "waiting", "under way", "acknowledged", "retried", "given up")
        unfinished = f"{status['unfinished']} unfinished ({status['waiting_second']} wait for their second)"
        print_table(f"Purging: {unfinished}, {status['dead_letters']} dead letters", columns, rows)


def _print_sessions(status: dict[str, Any] | None) -> None:
    if not status:
        return
    rows = [(one["name"], one["rows"], one["bytes"], one["quota_refusals"]) for one in status["namespaces"]]
    keys = ", ".join(f"{one['key_id']} ({one['rows']} rows)" for one in status["keys"])
    print_table(f"Sessions under service keys {keys}", ("namespace", "rows", "bytes", "refused for a quota"), rows)
    facts = [
        ("revocations held", status["generations"]),
        ("requests of no client refused", status["refused"]),
        ("writes shed", status["shed"]),
        ("rows or revocations altered by somebody", status["altered"]),
        ("disk", "full: saves are refused" if status["disk_full"] else "has room"),
        ("memory is not protected by", ", ".join(status["unprotected"])),
    ]
    print_table("Sessions since the process began", ("fact", "value"), [fact for fact in facts if fact[1] != ""])


def _print_tables(status: dict[str, Any] | None) -> None:
    if status:
        names = {
            "tables": "tables",
            "spaces": "spaces (a domain's rows in one table)",
            "rows": "rows",
            "bytes": "bytes of rows",
            "full_partitions": "partitions that are full",
        }
        print_table("Tables", ("what", "number"), [(meaning, status[name]) for name, meaning in names.items()])


def show_explanation(path: Path | None, wiki: str, title: str, *, token: str | None, as_json: bool) -> None:
    """Why a page is as it is. Raises NotFound, Unavailable."""
    _, clients = role_clients(path, token)
    found = clients["propagation"].fetch(f"/v1/{segment(wiki)}/pages/{segment(title)}/explain")
    if as_json:
        print_json(found)
        return
    facts = [
        ("page", f"{found['title']} ({found['page_id']})"),
        ("state", found["freshness"]),
        ("stale since", _time(found["stale_since_ms"])),
        ("class", found["urgency"]),
        ("last commit", _time(found["committed_ms"])),
        ("revision", found["rev"]),
        ("redirects to", found["redirect"]),
        ("HTML hash", found["html_hash"]),
        ("seq, step", f"{found['seq']}, {found['step']}"),
        ("parked because", (found["parked"] or {}).get("reason")),
    ]
    print_table("Page", ("fact", "value"), [fact for fact in facts if fact[1] is not None])
    reads = sorted(found["reads"], key=lambda read: (not read["stale"], -(read["time_ms"] or 0)))
    rows = [(read["resource"], "changed since" if read["stale"] else "", read["cause"], _time(read["time_ms"])) for read in reads]
    print_table(f"Made from {len(rows)} resources", ("resource", "stale?", "last change", "at"), rows)
    commits = [(_time(one["time_ms"]), one["cause"], "changed" if one["changed"] else "as before", one["rev"]) for one in found["commits"]]
    if commits:
        print_table("Last commits", ("at", "because of", "result", "revision"), commits)


def show_dependents(path: Path | None, wiki: str, resource: str, *, limit: int, token: str | None, as_json: bool) -> None:
    """Which pages read a resource. Raises NotFound, InvalidInput, Unavailable."""
    if _RESOURCE.match(resource) is None:
        raise InvalidInput(f"{resource} is no resource: write c:{resource} for its text, e:{resource} for whether it exists")
    _, clients = role_clients(path, token)
    found = clients["propagation"].fetch(f"/v1/{segment(wiki)}/resources/{segment(resource)}/dependents?limit={limit}")
    if as_json:
        print_json(found)
        return
    sys.stdout.write(f"{found['count']} pages read {found['resource']}\n")
    for title in found["titles"]:
        sys.stdout.write(f"  {title}\n")


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_utc(time_ms)

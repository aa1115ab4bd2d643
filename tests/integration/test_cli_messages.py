"""What commands say when something is not as they expect; the roles are a small server with prepared answers."""

import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headwater.cli.main import app

FOLLOWER = {
    "state": "waiting",
    "lag_s": 69.2,
    "last_error": "wiki-unavailable: the wiki cannot be reached: Connection refused",
    "errors_in_a_row": 6,
    "may_have_gap": False,
}
PURGING = {"unfinished": 3, "waiting_second": 2, "dead_letters": 0, "targets": []}
WIKI = {
    "wiki": "rivers",
    "state": "running",
    "pages": 298,
    "classes": [],
    "in_flight": 0,
    "dead_letters": 0,
    "backfill": None,
    "audit": None,
}


@contextlib.contextmanager
def answering(answers: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Serve `answers` by path, bytes as they are, all else as JSON, of an iterator one after another; gives the environment to use."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            found = answers.get(self.path.partition("?")[0])
            found = next(found) if isinstance(found, Iterator) else found
            body = found if isinstance(found, bytes) else json.dumps({"detail": "no such thing"} if found is None else found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield listens(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def listens(port: int) -> dict[str, str]:
    """The environment in which events and propagation are at `port`, each under another name, and the other roles nowhere."""
    addresses = {"PROPAGATION": f"127.0.0.1:{port}", "EVENTS": f"localhost:{port}", "PURGING": "127.0.0.1:1", "CONSOLE": "localhost:1"}
    return {f"HEADWATER_{role}__LISTEN": address for role, address in addresses.items()}


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, arguments, env=dict(env or {}))


def test_the_wikis_are_those_that_the_role_keeps() -> None:
    with answering({"/v1/status": {"now_ms": 0, "wikis": [WIKI]}, "/v1/rivers/dead-letters": {"dead_letters": []}}) as env:
        assert run("dead-letters", "list", "--wiki", "rivers", env=env).output == "no dead letters\n"
        refused = run("follow", "--wiki", "lakes", env=env)
    assert refused.exit_code == 6
    assert "no wiki is called lakes; there is rivers" in refused.stderr


def test_following_no_wiki_is_refused() -> None:
    with answering({"/v1/status": {"now_ms": 0, "wikis": []}}) as env:
        result = run("follow", env=env)
    assert (result.exit_code, "declares none" in result.stderr) == (6, True)


def test_another_server_at_the_address_is_recognised() -> None:
    with answering({"/v1/rivers/pages/Elbe/explain": b"<!DOCTYPE html><p>It works!"}) as env:
        result = run("explain", "rivers", "Elbe", env=env)
    assert result.exit_code == 4
    assert "is not Headwater" in result.stderr
    assert "DOCTYPE" not in result.output


def test_a_role_that_does_not_run_is_said_not_to_run() -> None:
    with answering({}) as env:
        pass  # the port is free again
    result = run("explain", "rivers", "Elbe", env=env)
    assert result.exit_code == 4
    assert "propagation does not run at 127.0.0.1:" in result.stderr


def test_a_title_is_not_taken_for_a_resource_that_nothing_reads() -> None:
    result = run("explain", "rivers", "Template:Unit", "--dependents")
    assert result.exit_code == 2
    assert "c:Template:Unit" in result.stderr


def test_status_says_that_a_wiki_does_not_answer() -> None:
    readiness = {"ready": True, "checks": {}}
    status = {"now_ms": 0, "wikis": [], "followers": {"rivers": FOLLOWER}, **PURGING}
    with answering({"/readyz": readiness, "/v1/status": status}) as env:
        result = run("status", env=env)
    assert "Connection refused" in result.output


@pytest.mark.parametrize(("given_up", "verdict"), [(0, "all of them rendered"), (2, "all rendered but 2")])
def test_a_backfill_says_what_delays_it_and_what_was_given_up(given_up: int, verdict: str) -> None:
    delayed = {"running": True, "seen": 0, "waiting": 0, "delayed": "the wiki cannot be reached: Connection refused"}
    over = {"running": False, "seen": 5, "waiting": 0, "delayed": None}
    answers = {
        "/v1/rivers/backfill": iter([delayed, delayed, over]),
        "/v1/status": {"now_ms": 0, "wikis": [{**WIKI, "dead_letters": given_up}]},
    }
    with answering(answers) as env:
        result = run("backfill", "--wiki", "rivers", env=env)
    assert result.exit_code == 0, result.output
    assert "Connection refused" in result.stderr
    assert verdict in result.output


def test_a_wrong_configuration_starts_and_makes_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("up", env={"HEADWATER_EVENTS__LISTEN": "0.0.0.0:8192"})
    assert result.exit_code == 3
    assert "events.listen" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_would_never_end_is_refused() -> None:
    result = run("demo", "--exit")
    assert result.exit_code == 2
    assert "--edits" in result.stderr


def test_the_version_is_an_option_too() -> None:
    assert run("--version").output == run("version").output

"""What an operator is told of sessions: by `headwater status`, by the log and by metrics; and what the system keeps of their memory."""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal

import pytest
from tests.acceptance.sessions_process import SessionsProcess
from tests.acceptance.test_sessions_process import headwater, succeeded


def test_status_shows_sessions_that_run(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        assert service.ask("POST", "/v2/sessions", b"value", {"session-subject": "me"}).status == 201
        assert service.ask("DELETE", "/v2/sessions/subjects/me").status == 204
        told = succeeded(service, "status", "sessions")["sessions"]
        assert (told["ready"], told["error"]) == (True, None)
        status = told["status"]
        assert [one["name"] for one in status["namespaces"]] == ["sessions"] and [key["key_id"] for key in status["keys"]] == ["1"]
        assert (status["altered"], status["refused"], status["shed"]) == (0, 0, 0)
        shown = headwater(service, "status", "sessions")
        assert shown.returncode == 0 and "ready" in shown.stdout and "service keys 1" in shown.stdout


def test_status_fails_for_sessions_that_should_run(tmp_path: pathlib.Path) -> None:
    service = SessionsProcess(tmp_path / "service", listen="127.0.0.1:21399")
    service.folder.mkdir()
    named = headwater(service, "status", "sessions", "--json")
    assert named.returncode == 4 and json.loads(named.stdout)["sessions"]["error"]


def test_a_start_warns_of_keys_that_can_be_guessed(tmp_path: pathlib.Path) -> None:
    config = "sessions: {namespaces: {fine: {base: /fine/v1/}, pins: {key_entropy: low}}}"
    with SessionsProcess(tmp_path / "service", config=config) as service:
        lines = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
        assert [line["namespaces"] for line in lines if line["event"] == "sessions_keys_can_be_guessed"] == [["pins"]]
        assert "sessions.namespaces.pins" in headwater(service, "check", "--config", "headwater.yaml").stdout


def test_what_protects_the_memory_is_told_in_log_and_metrics(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        lines = [json.loads(line) for line in service.log.splitlines() if line.startswith("{")]
        (told,) = (line for line in lines if line["event"] == "memory_protected")
        metrics = service.ask("GET", "/metrics").body.decode().splitlines()
        reached = {
            measure: f'headwater_sessions_memory_protection{{measure="{measure}"}} 1.0' in metrics
            for measure in ("core_files", "undumpable", "unswappable")
        }
        assert reached == {"core_files": True, "undumpable": told["undumpable"], "unswappable": told["locked"] or not told["swap"]}
        warned = [line for line in lines if line["event"] == "memory_not_fully_protected"]
        assert bool(warned) is not all(reached.values())


OPERATIONS = pathlib.Path(__file__).resolve().parents[2] / "docs/operations/sessions.md"


def counters_of_alerts() -> list[tuple[str, set[str]]]:
    """The counters of this process that the alerts in the documentation look at, with the labels that they ask for."""
    alerts = re.findall(r"^Alerts to begin with:\n\n```\n(.*?)^```", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)[0]
    own = [line for line in alerts.splitlines() if "at the other roles" not in line]
    found = re.findall(r"([a-z_]+_total)(?:\{([^}]*)\})?", "\n".join(own))
    return [(name, set(filter(None, labels.split(",")))) for name, labels in found]


def test_every_counter_that_alerts_look_at_is_there_before_the_first_event(tmp_path: pathlib.Path) -> None:
    digest = "a" * 64
    config = f'sessions: {{clients: [{{name: wiki, token_sha256: "{digest}", grants: {{"*": [read]}}}}]}}'
    with SessionsProcess(tmp_path / "service", config=config) as service:
        shown = re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", service.ask("GET", "/metrics").body.decode(), re.MULTILINE)
        alerts = counters_of_alerts()
        assert len(alerts) > 5
        for name, labels in alerts:
            values = [value for found, has, value in shown if found == name and labels <= set(has.split(","))]
            assert values and set(values) == {"0.0"}, (name, labels)
        assert ("headwater_sessions_misses_over_budget_total", 'client="wiki"', "0.0") in shown


@pytest.mark.real("core files")
@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_leaves_no_core_file(tmp_path: pathlib.Path, crash: signal.Signals) -> None:
    kept = resource.getrlimit(resource.RLIMIT_CORE)
    service = SessionsProcess(tmp_path / "service")
    with contextlib.ExitStack() as stack:
        stack.callback(service.kill)
        resource.setrlimit(resource.RLIMIT_CORE, (kept[1], kept[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_CORE, kept)
        service.start()
        assert service.process is not None
        assert service.ask("POST", "/sessions/v1/key", b"canary" * 100).status == 201
        os.kill(service.process.pid, crash)
        assert service.process.wait(10) == -crash
        assert [path.name for path in service.folder.rglob("*core*")] == []

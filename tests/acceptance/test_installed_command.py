"""The `headwater` command as it is installed: what it prints, with which status it ends, and that it stops when it is told to."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

COMMAND = pathlib.Path(sys.executable).with_name("headwater")
STOP_TIME_MAX_S = 10.0
FIRST_EDIT_S_MAX = 10.0  # from the start of the process until its first edit is fresh everywhere
DEMO_KIB_MAX = 150 * 1024
EVENT = {
    "$schema": "/resource_change/1.0.0",
    "meta": {"uri": "https://rivers.example/wiki/Rhine", "domain": "rivers.example", "stream": "resource_change"},
    "tags": ["purge"],
}


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_") or name == "HEADWATER_TEST_RUN"}
    return {**kept, **more}


def headwater(*arguments: str, cwd: pathlib.Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([COMMAND, *arguments], cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=90, check=False)


@contextlib.contextmanager
def serving(*arguments: str, cwd: pathlib.Path, **more: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """Start the command and wait for the line that says that it is ready; kill it if the test does not end it."""
    process = subprocess.Popen(
        [COMMAND, *arguments, "--json"], cwd=cwd, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate()[1])
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def post(address: str, body: object) -> int:
    """Post JSON to the intake; the status."""
    request = urllib.request.Request(
        f"http://{address}/v1/events", data=json.dumps(body).encode(), headers={"content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def get(address: str, path: str) -> tuple[int, bytes]:
    """GET a path; status and body."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.status, answer.read()


def test_version(tmp_path: pathlib.Path) -> None:
    result = headwater("version", "--json", cwd=tmp_path)
    assert result.returncode == 0
    assert json.loads(result.stdout)["version"].count(".") == 2


def test_check_accepts_what_is_right(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "headwater.yaml"
    config.write_text(
        """
wikis:
  rivers:
    domains: [rivers.example]
    api_url: http://127.0.0.1:8090/api.php
    page_urls: ["http://127.0.0.1:6081/v1/rivers/html/{title}"]
events: {listen: 127.0.0.1:8192, body_bytes_max: 1MiB}
purging:
  targets: [{name: varnish, url: "http://127.0.0.1:6081", method: PURGE, layer: 0}]
"""
    )
    result = headwater("check", "--config", "headwater.yaml", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["wikis"] == ["rivers"]
    assert list(tmp_path.iterdir()) == [config], "checking starts and creates nothing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("events:\n  lisen: 127.0.0.1:8192\n", ["headwater.yaml:2", "events.lisen", "did you mean `listen`"]),
        ("events: {listen: nowhere}\n", ["events.listen"]),
        ("events: {listen: 0.0.0.0:8192}\n", ["events.listen", "clients"]),
        ("events: {body_bytes_max: 10}\n", ["headwater.yaml:1", "events.body_bytes_max"]),
        ("wikis: {rivers: {domains: [a.example], api_url: not-an-address}}\n", ["wikis.rivers.api_url"]),
        ("wikis: {'Big River': {domains: [a.example], api_url: 'http://a.example/api.php'}}\n", ["wikis.Big River"]),
        ("events: {streams: {my.stream: {schema_title: none/such}}}\n", ["events.streams.my.stream", "none/such"]),
        ("a: [\n", ["headwater.yaml", "YAML"]),
    ],
)
def test_check_refuses_what_is_wrong_and_says_where(tmp_path: pathlib.Path, text: str, expected: list[str]) -> None:
    (tmp_path / "headwater.yaml").write_text(text)
    result = headwater("check", "--config", "headwater.yaml", cwd=tmp_path)
    assert result.returncode == 3, result.stdout + result.stderr
    for part in expected:
        assert part in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_command_line_is_told_from_a_wrong_configuration(tmp_path: pathlib.Path) -> None:
    assert headwater("serve", "nothing", cwd=tmp_path).returncode == 2
    assert headwater("no-such-command", cwd=tmp_path).returncode == 2
    assert headwater("status", cwd=tmp_path, HEADWATER_EVENTS__LISTEN="127.0.0.1:1").returncode in (1, 4)


def test_events_start_on_an_empty_directory_and_stop_when_told(tmp_path: pathlib.Path) -> None:
    data = tmp_path / "data"
    settings = {"HEADWATER_DATA_DIR": str(data), "HEADWATER_EVENTS__LISTEN": "127.0.0.1:0"}
    with serving("serve", "events", cwd=tmp_path, **settings) as (process, ready):
        address = ready["roles"]["events"]
        assert get(address, "/livez")[0] == 200
        assert json.loads(get(address, "/readyz")[1])["ready"] is True
        assert b"headwater_" in get(address, "/metrics")[1]
        assert "/v1/events" in json.loads(get(address, "/openapi.json")[1])["paths"]
        assert post(address, [EVENT]) == 201
        assert post(address, [{**EVENT, "$schema": "/no/such/1.0.0"}]) == 400
        refused = headwater("serve", "events", cwd=tmp_path, **settings)
        assert refused.returncode == 5
        assert str(process.pid) in refused.stderr
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - began_s < STOP_TIME_MAX_S
    with serving("serve", "events", cwd=tmp_path, **settings) as (process, ready):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_an_address_that_is_taken_is_named(tmp_path: pathlib.Path) -> None:
    first = {"HEADWATER_DATA_DIR": str(tmp_path / "one"), "HEADWATER_EVENTS__LISTEN": "127.0.0.1:0"}
    with serving("serve", "events", cwd=tmp_path, **first) as (_, ready):
        address = ready["roles"]["events"]
        second = headwater("serve", "events", cwd=tmp_path, HEADWATER_DATA_DIR=str(tmp_path / "two"), HEADWATER_EVENTS__LISTEN=address)
        assert second.returncode == 5
        assert address.rpartition(":")[2] in second.stderr


def test_a_wrong_reload_changes_nothing_and_a_right_one_takes_effect(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "headwater.yaml"
    config.write_text("events: {listen: '127.0.0.1:0'}\n")
    with serving("serve", "events", "--config", "headwater.yaml", cwd=tmp_path) as (process, ready):
        address = ready["roles"]["events"]
        assert process.stderr is not None
        config.write_text("events: {lisen: 1}\n")
        process.send_signal(signal.SIGHUP)
        next(line for line in process.stderr if "config_refused" in line)
        assert post(address, [EVENT]) == 201
        digest = "0" * 64
        config.write_text(
            f"events: {{listen: '127.0.0.1:0'}}\nclients: [{{name: wiki, token_sha256: '{digest}', grants: [events:write]}}]\n"
        )
        process.send_signal(signal.SIGHUP)
        next(line for line in process.stderr if "config_reloaded" in line)
        assert post(address, [EVENT]) == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_wiki_that_does_not_answer_holds_up_neither_the_start_nor_the_end(tmp_path: pathlib.Path) -> None:
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)  # connections are taken by the system and never answered
        closed.bind(("127.0.0.1", 0))  # connections are refused
        (tmp_path / "headwater.yaml").write_text(
            f"""
wikis:
  silent: {{domains: [a.example], api_url: "http://127.0.0.1:{silent.getsockname()[1]}/api.php"}}
  closed: {{domains: [b.example], api_url: "http://127.0.0.1:{closed.getsockname()[1]}/api.php"}}
events: {{listen: "127.0.0.1:0"}}
propagation: {{listen: "127.0.0.1:0"}}
purging: {{listen: "127.0.0.1:0"}}
console: {{listen: "127.0.0.1:0"}}
sessions: {{listen: "127.0.0.1:0"}}
"""
        )
        with serving("up", "--config", "headwater.yaml", cwd=tmp_path) as (process, ready):
            assert get(ready["roles"]["propagation"], "/livez")[0] == 200
            assert post(ready["roles"]["events"], [EVENT]) == 201
            assert process.stderr is not None
            for _ in range(2):  # a second poll after a first one that failed
                next(line for line in process.stderr if "follower_poll_failed" in line)
            began_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
            assert time.monotonic() - began_s < STOP_TIME_MAX_S


def free_ports() -> int:
    """The first of six ports in a row that nobody listens on."""
    for base in range(21_000 + os.getpid() % 5_000, 60_000, 10):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + 6):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no six free ports in a row")


def test_the_demo_ends_with_nothing_stale(tmp_path: pathlib.Path) -> None:
    result = headwater("demo", "--edits", "3", "--exit", "--json", "--port-base", str(free_ports()), cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    outcome = json.loads(result.stdout.splitlines()[-1])
    assert outcome.keys() >= {"edits", "marked", "rendered", "skipped", "cutoffs", "purged", "stale_at_rest", "seconds"}
    assert outcome["edits"] == 3
    assert outcome["stale_at_rest"] == 0
    assert outcome["marked"] > 0
    assert outcome["rendered"] > 0
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_the_demo_shows_its_first_edit_soon_and_stays_small(tmp_path: pathlib.Path) -> None:
    """In one of three demos, and without the time for which others kept the processors from them."""
    times_s: list[float] = []
    while len(times_s) < 3 and (not times_s or times_s[-1] > FIRST_EDIT_S_MAX):
        times_s.append(seconds_of_a_first_edit(tmp_path))
    assert min(times_s) <= FIRST_EDIT_S_MAX, times_s


def seconds_without_processor(pid: int) -> float:
    """How long the main thread of a process was ready to run and did not, since others ran (Linux; elsewhere nobody knows)."""
    told = pathlib.Path(f"/proc/{pid}/schedstat")
    return int(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0


def seconds_of_a_first_edit(folder: pathlib.Path) -> float:
    """From the start of a demo until it shows its first edit; it stays small, shows more, and ends when it is told to."""
    began_s = time.monotonic()
    with serving("demo", "--port-base", str(free_ports()), cwd=folder) as (process, first_edit):
        took_s = time.monotonic() - began_s - seconds_without_processor(process.pid)
        assert process.stdout is not None
        later = [json.loads(process.stdout.readline()) for _ in range(2)]
        memory = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{process.pid}/status").read_text())
        process.send_signal(signal.SIGINT)  # a killed demo would leave its data in the temporary directory
        assert process.wait(timeout=30) == 0
    assert first_edit["rendered"] > 0 and first_edit["fresh_ms"] is not None
    assert any(edit["fresh_ms"] is not None for edit in later)
    assert memory is not None and int(memory[1]) <= DEMO_KIB_MAX
    return took_s


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """A directory with a configuration that says where the roles of a running demo are."""
    folder, base = tmp_path_factory.mktemp("demo"), free_ports()
    (folder / "headwater.yaml").write_text(
        f"""
wikis: {{rivers: {{domains: [rivers.example], api_url: "http://127.0.0.1:{base}/api.php"}}}}
events: {{listen: "127.0.0.1:{base + 2}"}}
propagation: {{listen: "127.0.0.1:{base + 3}"}}
purging: {{listen: "127.0.0.1:{base + 4}"}}
console: {{listen: "127.0.0.1:{base + 5}"}}
"""
    )
    with serving("demo", "--port-base", str(base), cwd=folder) as (process, first_edit):
        assert first_edit["fresh_ms"] is not None
        yield folder
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def ask(demo: pathlib.Path, *arguments: str) -> list[Any]:
    """Run a command that has to succeed; the JSON of its lines."""
    result = headwater(*arguments, "--json", "--config", "headwater.yaml", cwd=demo)
    assert result.returncode == 0, result.stdout + result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_status(demo: pathlib.Path) -> None:
    roles = ("events", "propagation", "purging", "console")  # the demo has no sessions
    (answer,) = ask(demo, "status", *roles)
    assert {name for name, role in answer.items() if role["ready"]} == {"events", "propagation", "purging", "console"}
    assert answer["propagation"]["status"]["wikis"][0]["pages"] > 250
    people = headwater("status", *roles, "--config", "headwater.yaml", cwd=demo)
    assert people.returncode == 0
    assert "rivers" in people.stdout
    assert headwater("status", "sessions", "--config", "headwater.yaml", cwd=demo).returncode == 4
    assert headwater("status", "nobody", "--config", "headwater.yaml", cwd=demo).returncode == 2


def test_explain(demo: pathlib.Path) -> None:
    (answer,) = ask(demo, "explain", "rivers", "elbe")
    assert answer["title"] == "Elbe"
    assert {"c:Elbe", "c:Template:Infobox_river", "e:North_Sea"} <= {read["resource"] for read in answer["reads"]}
    (reach,) = ask(demo, "explain", "rivers", "c:Template:Unit", "--dependents", "--limit", "3")
    assert reach["count"] > 200
    assert len(reach["titles"]) == 3
    people = headwater("explain", "rivers", "Elbe", "--config", "headwater.yaml", cwd=demo)
    assert "c:Template:Infobox_river" in people.stdout
    assert headwater("explain", "rivers", "No such river", "--config", "headwater.yaml", cwd=demo).returncode == 6
    assert headwater("explain", "lakes", "Elbe", "--config", "headwater.yaml", cwd=demo).returncode == 6


def test_follow(demo: pathlib.Path) -> None:
    (entry,) = ask(demo, "follow", "--edits", "1")
    assert entry["wiki"] == "rivers"
    assert entry["fresh_ms"] is not None
    people = headwater("follow", "--edits", "1", "--config", "headwater.yaml", cwd=demo)
    assert "pages marked" in people.stdout


def test_backfill(demo: pathlib.Path) -> None:
    (would,) = ask(demo, "backfill", "--wiki", "rivers", "--dry-run")
    assert would["would"] == "begin at the first page"
    status = ask(demo, "backfill", "--wiki", "rivers")[-1]
    assert status["running"] is False
    assert status["seen"] > 250
    assert headwater("backfill", "--wiki", "lakes", "--config", "headwater.yaml", cwd=demo).returncode == 6


def test_dead_letters(demo: pathlib.Path) -> None:
    assert ask(demo, "dead-letters", "list") == [[]]
    (answer,) = ask(demo, "dead-letters", "retry", "--all", "--dry-run")
    assert answer == {"action": "retry", "dry_run": True, "letters": []}
    assert headwater("dead-letters", "retry", "--config", "headwater.yaml", cwd=demo).returncode == 2
    assert headwater("dead-letters", "drop", "nothing", "--config", "headwater.yaml", cwd=demo).returncode == 6

"""The process of sessions: what it loads, what it keeps to itself, how it starts, drains and ends, alone and under `up`."""

import contextlib
import hashlib
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import apsw
import pytest
from tests.acceptance.served_process import COMMAND, STOP_MAX_S, environment, eventually
from tests.acceptance.sessions_process import SessionsProcess

OTHER_SERVICES = ("log", "events", "propagation", "purging", "tables", "mediawiki", "console")
_DUMPS_MODULES = """
import atexit, json, os, sys
atexit.register(lambda: open(os.environ["MODULES_FILE"], "w").write(json.dumps(sorted(sys.modules))))
from headwater.cli.main import main
main()
"""


def headwater(service: SessionsProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command under the configuration of a service, to its end."""
    settings = {"HEADWATER_DATA_DIR": str(service.folder / "data"), "HEADWATER_SESSIONS__LISTEN": service.listen}
    return subprocess.run(
        [COMMAND, *arguments], cwd=service.folder, env=environment(**settings), capture_output=True, text=True, timeout=60, check=False
    )


def succeeded(service: SessionsProcess, *arguments: str) -> Any:
    """The JSON of a command that has to succeed."""
    result = headwater(service, *arguments, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def test_it_loads_no_other_service_in_its_whole_life(tmp_path: pathlib.Path) -> None:
    modules = tmp_path / "modules.json"
    command = (sys.executable, "-c", _DUMPS_MODULES)
    with SessionsProcess(tmp_path / "service", command=command, environ={"MODULES_FILE": str(modules)}) as service:
        minted = json.loads(service.ask("POST", "/v2/sessions", b"value").body)
        assert service.ask("GET", f"/v2/sessions/sessions/{minted['session']}").body == b"value"
        assert service.ask("POST", "/sessions/v1/key", b"value").status == 201
        assert service.ask("GET", "/metrics").status == 200
        service.terminate()
    loaded = set(json.loads(modules.read_text()))
    assert "headwater.sessions.service" in loaded, "the list is that of the service"
    foreign = [name for name in loaded if name.startswith(tuple(f"headwater.{room}" for room in OTHER_SERVICES))]
    assert foreign == []


def test_it_starts_on_an_empty_directory_without_configuration(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        assert service.ask("GET", "/livez").status == 200
        assert json.loads(service.ask("GET", "/readyz").body)["ready"] is True
        assert service.ask("POST", "/sessions/v1/enwiki%3AMWSession%3Aabc", b"one").status == 201
        assert service.ask("GET", "/sessions/v1/enwiki:MWSession:abc").body == b"one"
        second = headwater(service, "serve", "sessions", "--json")
        assert second.returncode == 5
        assert service.process is not None
        assert str(service.process.pid) in second.stderr
        service.terminate()
        service.start()
        assert service.ask("GET", "/sessions/v1/enwiki:MWSession:abc").body == b"one"


def test_its_files_are_for_its_owner_alone(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        modes = {path.relative_to(service.data).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in service.data.rglob("*")}
        assert stat.S_IMODE(service.data.stat().st_mode) == 0o700
        assert modes["keys"] == 0o700
        assert modes["keys/1.key"] == 0o400
        assert {name for name, mode in modes.items() if mode & 0o077 and not name.startswith("keys/")} == set()
        assert stat.S_IMODE((service.folder / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize(("what", "mode"), [("keys/1.key", 0o600), ("keys/1.key", 0o440), ("keys", 0o750)])
def test_keys_that_others_could_read_are_refused(tmp_path: pathlib.Path, what: str, mode: int) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        service.terminate()
        (service.data / what).chmod(mode)
        refused = headwater(service, "serve", "sessions")
        assert refused.returncode not in (0, 5)
        assert what.partition("/")[0] in refused.stderr
        assert "Traceback" not in refused.stderr


def test_it_leaves_no_core_and_is_not_looked_into(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        assert service.process is not None
        limits = pathlib.Path(f"/proc/{service.process.pid}/limits").read_text()
        core = next(line.split() for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core[4:6] == ["0", "0"]
        assert '"undumpable":true' in service.log
        assert '"event":"memory_protected"' in service.log


def test_it_drains_without_a_failed_request(tmp_path: pathlib.Path) -> None:
    """Clients that close after each request see either an answer or, once it has stopped listening, no connection; never a torn one."""
    with SessionsProcess(tmp_path / "service") as service:
        failed: list[tuple[str, int]] = []
        written: list[str] = []
        stop = threading.Event()

        def client(number: int) -> None:
            turn = 0
            while not stop.is_set():
                turn += 1
                key = f"/sessions/v1/{number}-{turn}"
                answer = service.ask("POST", key, b"x" * 2048, {"connection": "close"})
                if answer.status == 0 and draining.is_set():
                    return
                if answer.status == 201:
                    written.append(key)
                else:
                    failed.append((key, answer.status))

        draining = threading.Event()
        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(written) > 200, within_s=30, what=lambda: f"{len(written)} {failed}")
        draining.set()
        began_s = time.monotonic()
        service.terminate()
        assert time.monotonic() - began_s < STOP_MAX_S
        stop.set()
        for thread in threads:
            thread.join()
        assert failed == []
        service.start()
        assert [key for key in written if service.ask("GET", key).status != 200] == []


# Under `up`

_EVERYWHERE = """
events: {listen: "127.0.0.1:0"}
propagation: {listen: "127.0.0.1:0"}
purging: {listen: "127.0.0.1:0"}
console: {listen: "127.0.0.1:0"}
sessions: {listen: "127.0.0.1:0"}
storage: {ballast_bytes: 0B}
"""


@contextlib.contextmanager
def up(folder: pathlib.Path) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """`headwater up`, once it is ready, and where its roles listen."""
    (folder / "headwater.yaml").write_text(_EVERYWHERE)
    process = subprocess.Popen(
        [COMMAND, "up", "--config", "headwater.yaml", "--json"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)["roles"]
    finally:
        process.kill()
        process.communicate()


def child_of(parent: int) -> int | None:
    """The process that another one has started."""
    children = pathlib.Path(f"/proc/{parent}/task").glob("*/children")
    found = [int(pid) for file in children for pid in file.read_text().split()]
    return found[0] if found else None


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_up_keeps_sessions_in_a_process_of_its_own(tmp_path: pathlib.Path) -> None:
    with up(tmp_path) as (process, roles):
        assert set(roles) == {"events", "propagation", "purging", "tables", "console", "sessions"}
        first = child_of(process.pid)
        assert first is not None
        assert (tmp_path / "headwater-data" / "sessions" / "keys" / "1.key").exists()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: child_of(process.pid) not in (None, first), within_s=20, what=lambda: "it was not started again")
        second = child_of(process.pid)
        assert second is not None
        assert process.stderr is not None
        next(line for line in process.stderr if "sessions_process_ready" in line)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - began_s < STOP_MAX_S
        assert not runs(second)


def test_sessions_end_when_their_parent_is_killed(tmp_path: pathlib.Path) -> None:
    with up(tmp_path) as (process, _):
        child = child_of(process.pid)
        assert child is not None
        process.kill()
        eventually(lambda: not runs(child), within_s=STOP_MAX_S, what=lambda: "it lives on without its parent")


def test_up_ends_with_the_status_of_sessions_that_cannot_start(tmp_path: pathlib.Path) -> None:
    (tmp_path / "headwater.yaml").write_text(
        _EVERYWHERE.replace('sessions: {listen: "127.0.0.1:0"}', "sessions: {keys: {directory: none}}")
    )
    result = subprocess.run(
        [COMMAND, "up", "--config", "headwater.yaml"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode not in (0, 5)
    assert "keys" in result.stderr
    assert "Traceback" not in result.stderr


# Keys, backups, the doctor


def test_a_key_is_changed_while_sessions_are_served(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        assert service.ask("POST", "/sessions/v1/a", b"one").status == 201
        assert succeeded(service, "sessions", "keys", "add") == {"key_id": 2}
        reload(service)
        succeeded(service, "sessions", "keys", "activate", "2")
        still = headwater(service, "sessions", "keys", "retire", "1")
        assert still.returncode != 0
        assert "SIGHUP" in still.stderr, "the running process still writes under it"
        reload(service)
        assert headwater(service, "sessions", "keys", "retire", "1").returncode != 0, "a row is sealed under it"
        assert "is active" in headwater(service, "sessions", "keys", "retire", "2").stderr
        assert "there is 1, 2" in headwater(service, "sessions", "keys", "activate", "9").stderr
        assert service.ask("GET", "/sessions/v1/a").body == b"one"
        eventually(
            lambda: {state["id"]: state["rows"] for state in succeeded(service, "sessions", "keys", "list")} == {1: 0, 2: 1},
            within_s=10,
            what=lambda: "a row that is read moves to the new key",
        )
        succeeded(service, "sessions", "keys", "retire", "1")
        reload(service)
        assert service.ask("GET", "/sessions/v1/a").body == b"one"
        acts = [json.loads(line)["act"] for line in (service.data / "audit.jsonl").read_text().splitlines()]
        assert acts == ["keys-add", "keys-activate", "keys-retire"]


def reload(service: SessionsProcess) -> None:
    """SIGHUP, and wait until it says so."""
    assert service.process is not None
    before = service.log.count("config_reloaded")
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.log.count("config_reloaded") > before, within_s=10, what=lambda: service.log[-2000:])


def test_a_reload_says_what_waits_for_the_next_start(tmp_path: pathlib.Path) -> None:
    text = "sessions: {namespaces: {wiki: {rows_max: %d}}, hosts: [%s]}\n"
    with SessionsProcess(tmp_path / "service", config=text % (5, "one.example")) as service:
        (service.folder / "headwater.yaml").write_text(text % (6, "two.example"))
        reload(service)
        told = next(json.loads(line) for line in reversed(service.log.splitlines()) if "config_reloaded" in line)
        assert (told["applied"], told["at_next_start"]) == (["sessions.hosts"], ["sessions.namespaces.wiki.rows_max"])


def test_a_restored_backup_logs_everybody_out(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        assert service.ask("POST", "/sessions/v1/logged-out-later", b"one").status == 201
        backup = tmp_path / "backup.sqlite"
        succeeded(service, "sessions", "backup", str(backup))
        assert service.ask("DELETE", "/sessions/v1/logged-out-later").status == 204
        assert headwater(service, "sessions", "restore", str(backup)).returncode == 5, "not while it runs"
        service.terminate()
        old_store = (service.data / "sessions.sqlite").read_bytes()
        assert succeeded(service, "sessions", "restore", str(backup), "--dry-run")["sessions"] == 1
        assert (service.data / "sessions.sqlite").read_bytes() == old_store
        assert succeeded(service, "sessions", "restore", str(backup)) == {"sessions": 1, "kept": False, "dry_run": False}
        service.start()
        assert service.ask("GET", "/sessions/v1/logged-out-later").status == 404
        assert service.ask("POST", "/sessions/v1/new", b"two").status == 201
        assert service.ask("GET", "/sessions/v1/new").body == b"two"
        assert not (service.data / "invalidate-sessions").exists()


def test_rows_put_back_by_hand_after_a_restore_are_of_a_generation_that_is_over(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        assert service.ask("POST", "/sessions/v1/a", b"one").status == 201
        backup = tmp_path / "backup.sqlite"
        succeeded(service, "sessions", "backup", str(backup))
        service.terminate()
        succeeded(service, "sessions", "restore", str(backup))
        connection = apsw.Connection(str(service.data / "sessions.sqlite"))
        connection.execute("ATTACH ? AS old; INSERT INTO session SELECT * FROM old.session", (str(backup),))
        assert connection.changes() == 1
        connection.close()
        service.start()
        assert service.ask("GET", "/sessions/v1/a").status == 404


def test_sessions_are_kept_only_with_a_reason_that_is_written_down(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        assert service.ask("POST", "/sessions/v1/a", b"one").status == 201
        backup = tmp_path / "backup.sqlite"
        succeeded(service, "sessions", "backup", str(backup))
        service.terminate()
        assert headwater(service, "sessions", "restore", str(backup), "--keep-sessions").returncode == 2
        assert headwater(service, "sessions", "restore", str(backup), "--reason", "x").returncode == 2
        succeeded(service, "sessions", "restore", str(backup), "--keep-sessions", "--reason", "the disk was replaced, nobody was served")
        service.start()
        assert service.ask("GET", "/sessions/v1/a").body == b"one"
        last = json.loads((service.data / "audit.jsonl").read_text().splitlines()[-1])
        assert (last["act"], last["kept"], last["sessions"]) == ("restore", True, 1)
        assert last["reason"].startswith("the disk was replaced")
        assert last["by"]


def test_the_doctor_tells_a_healthy_service_from_another(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service:
        found = succeeded(service, "doctor", "sessions")
        assert found["ok"] is True
        assert {step["step"] for step in found["steps"]} >= {"write", "read", "delete", "read what is deleted", "read what has expired"}
        assert headwater(service, "doctor", "sessions", "--namespace", "none").returncode == 2
        service.terminate()
        silent = headwater(service, "doctor", "sessions")
        assert (silent.returncode, "headwater serve sessions" in silent.stderr) == (4, True)
    strict = 'sessions: {clients: [{name: wiki, token_sha256: "' + "0" * 64 + '", grants: {"*": [read]}}]}\n'
    with SessionsProcess(tmp_path / "closed", config=strict) as closed:
        (closed.folder / "headwater.yaml").write_text(strict)
        result = headwater(closed, "doctor", "sessions", "--json", "--config", "headwater.yaml")
        assert result.returncode == 1, "without a token nothing goes as it has to"
        assert json.loads(result.stdout)["ok"] is False
        assert "--token" in "".join(json.loads(result.stdout)["advice"])


@pytest.mark.parametrize(("verbs", "status"), [("read, write, delete", 0), ("read, write", 1)])
def test_the_doctor_does_not_take_a_missing_verb_mint_for_a_fault(tmp_path: pathlib.Path, verbs: str, status: int) -> None:
    digest = hashlib.sha256(b"of a wiki").hexdigest()
    text = f'sessions: {{clients: [{{name: wiki, token_sha256: "{digest}", grants: {{"*": [{verbs}]}}}}]}}\n'
    with SessionsProcess(tmp_path / "service", config=text) as service:
        (service.folder / "headwater.yaml").write_text(text)
        result = headwater(service, "doctor", "sessions", "--json", "--config", "headwater.yaml", "--token", "of a wiki")
        assert result.returncode == status, result.stdout
        last = json.loads(result.stdout)["steps"][-1]
        assert (last["left_out"], "mint" in last["step"]) == (status == 0, True)

"""Sessions when there is no room: on a disk that is full, in a namespace that has used up its quota. Nothing is lost, others go on."""

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.acceptance.served_process import eventually
from tests.acceptance.sessions_process import SessionsProcess
from tests.acceptance.test_sessions_process import succeeded

DISK_BYTES = 24 * 2**20
CALM_MAX_S = 20.0
KEPT = 20
_CONFIG = """
storage:
  ballast_bytes: 1MiB
"""
_QUOTAS = """
sessions:
  namespaces:
    small: {base: /small/v1/, rows_max: 5}
    tight: {base: /tight/v1/, bytes_max: 8KiB}
    other: {base: /other/v1/}
"""


@pytest.fixture
def service(tmp_path: pathlib.Path) -> Iterator[SessionsProcess]:
    """The process on a small disk of its own."""
    data = tmp_path / "service" / "data"
    data.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(data)], check=True)
    try:
        with SessionsProcess(tmp_path / "service", config=_CONFIG) as made:
            yield made
    finally:
        subprocess.run(["umount", str(data)], check=True)


def _fill_up(folder: pathlib.Path) -> pathlib.Path:
    """Leave not one block free; returns the file that took them."""
    filler = folder / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)
    return filler


def _save(service: SessionsProcess, key: str, size: int = 2_000) -> int:
    return service.ask("POST", f"/sessions/v1/{key}", key.encode() + os.urandom(size)).status


def _alive(service: SessionsProcess) -> list[str]:
    names = [f"kept{number}" for number in range(KEPT)]
    return [name for name in names if service.ask("GET", f"/sessions/v1/{name}").body.startswith(name.encode())]


@pytest.mark.real("tmpfs")
@pytest.mark.parametrize("end", ["it goes on", "it is killed and started"])
def test_a_full_disk_refuses_saves_alone_and_forgets_nothing(service: SessionsProcess, end: str) -> None:
    everything = [f"kept{number}" for number in range(KEPT)]
    assert [_save(service, name) for name in everything] == [201] * KEPT
    minted = json.loads(service.ask("POST", "/v2/sessions", b"of me", {"session-subject": "me"}).body)["session"]
    filler = _fill_up(service.folder / "data")

    eventually(lambda: _save(service, f"more{os.urandom(4).hex()}", 200_000) == 500, within_s=CALM_MAX_S, what=service.last_words)
    assert _alive(service) == everything
    assert service.ask("DELETE", "/sessions/v1/kept0").status == 204
    assert service.ask("DELETE", "/v2/sessions/subjects/me").status == 204
    assert service.ask("GET", f"/v2/sessions/sessions/{minted}").status == 404
    assert {_save(service, "more", 200_000) for _ in range(20)} == {500}, "as Kask answers whatever its storage fails at"
    assert {service.ask("POST", "/v2/sessions", bytes(200_000)).status for _ in range(20)} == {507}
    assert _alive(service) == everything[1:]
    assert service.ask("GET", "/readyz").status == 200, "who serves reads is not taken out of service"
    assert succeeded(service, "status", "sessions")["sessions"]["status"]["disk_full"]

    if end == "it is killed and started":
        service.kill()
        service.start()
        assert _alive(service) == everything[1:] and service.ask("GET", f"/v2/sessions/sessions/{minted}").status == 404
    filler.unlink()
    eventually(lambda: _save(service, "after") == 201, within_s=CALM_MAX_S, what=service.last_words)
    assert _alive(service) == everything[1:] and service.ask("GET", f"/v2/sessions/sessions/{minted}").status == 404
    service.terminate()


def test_a_namespace_that_has_used_up_its_quota_holds_up_no_other(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service", config=_QUOTAS) as service:
        for base, size in (("/small/v1/", 10), ("/tight/v1/", 2_000)):
            statuses = [service.ask("POST", f"{base}{number}", bytes(size) + b"v").status for number in range(10)]
            room = statuses.index(507)
            assert 0 < room < 10 and set(statuses[:room]) == {201} and set(statuses[room:]) == {507}
            assert [service.ask("GET", f"{base}{number}").status for number in range(10)] == [200] * room + [404] * (10 - room)
            assert service.ask("POST", f"{base}0", bytes(size) + b"w").status == 201, "what takes no more room is saved"
            assert service.ask("POST", "/other/v1/key", b"v").status == 201
            assert service.ask("DELETE", f"{base}0").status == 204
            assert service.ask("POST", f"{base}again", bytes(size) + b"v").status == 201
        full = {one["name"]: one["quota_refusals"] for one in succeeded(service, "status", "sessions")["sessions"]["status"]["namespaces"]}
        assert full["other"] == 0 and full["small"] > 0 and full["tight"] > 0


def test_many_saves_of_one_session_at_once_are_all_answered(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service") as service, ThreadPoolExecutor(64) as callers:
        statuses = list(callers.map(lambda number: service.ask("POST", "/sessions/v1/hot", b"%d" % number).status, range(64 * 8)))
        assert set(statuses) == {201}
        assert service.ask("GET", "/sessions/v1/hot").status == 200
        assert "headwater_sessions_conflicts_total 0.0" in service.ask("GET", "/metrics").body.decode()

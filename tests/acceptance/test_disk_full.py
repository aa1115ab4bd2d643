"""The disk becomes full while edits flow: what is refused, what goes on, and that everything becomes right by itself once there is room.

The data directory is a file system of its own, small enough to be filled, so that every call of the operating system fails as it does on
a full disk: the writes of each database, the index of its write-ahead log, the note in the lock file.
"""

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest
from tests.acceptance.platform_process import PlatformProcess
from tests.acceptance.river_world import RIVERS, WIKI, RiverWorld
from tests.acceptance.served_process import eventually
from tests.acceptance.test_kill import all_right, event, filled, post

DISK_BYTES = 24 * 2**20
BALLAST = "ballast_bytes: 1MiB"
CALM_MAX_S = 20.0

pytestmark = [pytest.mark.real("tmpfs"), pytest.mark.timeout(300)]


@pytest.fixture
def world(tmp_path: pathlib.Path) -> Iterator[RiverWorld]:
    """A small wiki and a cache; Headwater's data directory beside them is a small disk."""
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(data)], check=True)
    try:
        with RiverWorld(tmp_path) as made:
            made.config.write_text(made.config.read_text().replace("ballast_bytes: 0B", BALLAST))
            yield made
    finally:
        subprocess.run(["umount", str(data)], check=True)


def fill_up(world: RiverWorld) -> pathlib.Path:
    """Leave not one block free; returns the file that took them."""
    filler = world.folder / "data" / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)
    return filler


def readiness(platform: PlatformProcess, role: str) -> tuple[int, dict[str, str | None]]:
    """The status of `/readyz` and its checks."""
    status, _, body = platform.ask(role, "/readyz")
    return status, json.loads(body)["checks"]


def served(platform: PlatformProcess) -> list[int]:
    """The statuses with which the pages of all rivers are answered, as they are."""
    paths = [f"/v1/{WIKI}/html/{title.replace(' ', '_')}" for title in RIVERS]
    return [platform.ask("propagation", path, headers={"Headwater-Read": "stale"})[0] for path in paths]


def see_full(world: RiverWorld, platform: PlatformProcess) -> None:
    """Edit until writes are refused; then reads go on and `/readyz` tells."""

    def refused() -> bool:
        world.edit("Template:Inner", f"words at {os.urandom(4).hex()}")
        return post(platform, int.from_bytes(os.urandom(4))) == 507

    eventually(refused, within_s=CALM_MAX_S, what=platform.last_words)
    assert served(platform) == [200] * len(RIVERS)
    eventually(lambda: readiness(platform, "events")[0] == 503, within_s=CALM_MAX_S, what=platform.last_words)
    assert "full" in (readiness(platform, "events")[1]["storage"] or "")
    assert readiness(platform, "propagation")[0] == 200, "pages are served"


def see_room(world: RiverWorld, platform: PlatformProcess, accepted: list[int]) -> None:
    """Everything is right without anybody's help, and what was accepted before is still there."""
    all_right(world, platform)
    eventually(lambda: readiness(platform, "events")[0] == 200, within_s=CALM_MAX_S, what=platform.last_words)
    assert post(platform, 999) == 201
    for number in accepted:
        body = json.dumps(event(number)).encode()
        status, _, _ = platform.ask("events", "/v1/events", method="POST", body=body, headers={"content-type": "application/json"})
        assert status == 201, "a repeated event counts as accepted"
    platform.terminate()


@pytest.mark.parametrize("end", ["stays", "is stopped and started", "is killed and started"])
def test_a_full_disk_refuses_writes_serves_reads_and_recovers(world: RiverWorld, end: str) -> None:
    with PlatformProcess(world.config) as platform:
        filled(world, platform)
        accepted = [number for number in range(1, 6) if post(platform, number) == 201]
        assert len(accepted) == 5
        filler = fill_up(world)
        see_full(world, platform)
        if end != "stays":
            if end == "is stopped and started":
                platform.terminate()
            else:
                platform.kill()
            fill_up(world)
            platform.begin()
            eventually(lambda: reads_again(platform), within_s=CALM_MAX_S, what=platform.last_words)
            see_full(world, platform)
        filler.unlink()
        see_room(world, platform, accepted)


def reads_again(platform: PlatformProcess) -> bool:
    """Whether a process that was started on a full disk serves pages; it is not ready for events."""
    assert not platform.is_ready()
    return platform.ask("propagation", "/readyz")[0] == 200

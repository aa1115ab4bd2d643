"""The process as a whole: it ends when it is told to, whatever it is doing."""

import asyncio
from pathlib import Path

import pytest

from headwater.app import platform as app_platform
from headwater.app.config import HeadwaterConfig
from headwater.app.platform import Platform
from headwater.app.roles import Role
from headwater.app.storage import owned_directory
from headwater.app.surroundings import Surroundings
from headwater.kernel.clock import SystemClock
from headwater.kernel.ids import SystemIds


def test_a_start_that_takes_long_ends_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        reading = asyncio.Event()

        async def read_for_ever(_around: Surroundings) -> Role:
            reading.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(app_platform, "start_purging", lambda around, _served: read_for_ever(around))
        platform = Platform(HeadwaterConfig(data_dir=str(tmp_path / "data")), ("purging",), SystemClock(), SystemIds())
        running = asyncio.create_task(platform.run())
        await reading.wait()
        platform.stop.set()
        await asyncio.wait_for(running, 10)
        with owned_directory(tmp_path / "data"):
            pass  # it has let go of everything

    asyncio.run(scenario())

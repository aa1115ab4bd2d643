"""A save that its owner did not wait for must not land after the next owner has loaded."""

import asyncio
import threading
from pathlib import Path

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.propagation.engines.checkpoint_sqlite import SqliteCheckpoints
from headwater.propagation.ports import Checkpoint
from headwater.sqlite import StorageConfig
from headwater.sqlite.metrics import METRICS


def checkpoint(epoch: int, applied: int) -> Checkpoint:
    return Checkpoint(epoch, 100, applied, 0, {}, {}, {})


async def _load_behind_an_abandoned_save(path: Path) -> None:
    store = await SqliteCheckpoints.open(path, metrics=Metrics(METRICS), config=StorageConfig(ballast_bytes=Bytes(0)))
    await store.save(checkpoint(1, 5))
    gate = threading.Event()
    holding = asyncio.create_task(store._database.write(lambda _: gate.wait()))
    abandoned = asyncio.create_task(store.save(checkpoint(1, 9)))
    await asyncio.sleep(0)
    abandoned.cancel()
    loading = asyncio.create_task(store.load())
    done, _ = await asyncio.wait({loading}, timeout=0.1)
    assert not done, "the load overtook the save"
    gate.set()
    loaded = await loading
    await holding
    assert loaded is not None and loaded.applied == 9
    await store.close()


def test_a_load_waits_for_saves_that_nobody_waits_for(tmp_path: Path) -> None:
    asyncio.run(_load_behind_an_abandoned_save(tmp_path / "shard-w.sqlite"))

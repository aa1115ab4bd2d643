"""The laws of BodyStore and CheckpointStore on every engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
import zstandard

from headwater.kernel.config import Bytes
from headwater.kernel.errors import Corrupted
from headwater.kernel.metrics import Metrics
from headwater.propagation.engines.bodies_sqlite import SqliteBodies
from headwater.propagation.engines.checkpoint_sqlite import SqliteCheckpoints
from headwater.propagation.engines.memory import MemoryBodies, MemoryCheckpoints
from headwater.propagation.model import BodyHash
from headwater.propagation.ports import BodyStore
from headwater.sqlite import StorageConfig
from headwater.sqlite.metrics import METRICS
from headwater.testing.body_laws import BodyLaws, hash_of, source
from headwater.testing.checkpoint_laws import CheckpointLaws, checkpoint

SMALL = StorageConfig(ballast_bytes=Bytes(0))


class TestMemoryBodies(BodyLaws):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[MemoryBodies]:
        yield MemoryBodies()

    async def damage(self, store: BodyStore, body: BodyHash) -> None:
        assert isinstance(store, MemoryBodies)
        store.damage(body, b"other")


class TestSqliteBodies(BodyLaws):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "bodies.sqlite"

    @asynccontextmanager
    async def store(self) -> AsyncIterator[SqliteBodies]:
        bodies = await SqliteBodies.open(self.path, metrics=Metrics(METRICS), config=SMALL)
        try:
            yield bodies
        finally:
            await bodies.close()

    async def damage(self, store: BodyStore, body: BodyHash) -> None:
        assert isinstance(store, SqliteBodies)
        await self._overwrite(store, body, zstandard.compress(b"other"))

    async def _overwrite(self, store: SqliteBodies, body: BodyHash, content: bytes) -> None:
        def work(connection: apsw.Connection) -> None:
            connection.execute("UPDATE bodies SET content = ? WHERE hash = ?", (content, bytes.fromhex(body)))

        await store._database.write(work)

    def test_a_frame_that_cannot_be_decompressed_is_reported(self) -> None:
        async def law(store: BodyStore) -> None:
            assert isinstance(store, SqliteBodies)
            await store.put({hash_of(b"a"): b"a"})
            for content in (b"", b"no frame", zstandard.compress(b"a")[:-1]):
                await self._overwrite(store, hash_of(b"a"), content)
                with pytest.raises(Corrupted):
                    await store.get(hash_of(b"a"))

        self._run(law)

    def test_an_erased_body_leaves_no_copy_in_the_file(self) -> None:
        secret = bytes(range(256)) * 3  # not compressible into something else that still contains it

        async def law(store: BodyStore) -> None:
            await store.put({hash_of(secret): secret}, [source(secret, 1)])
            await store.erase_revision("rivers", source(secret, 1).page, 1)

        self._run(law)
        assert bytes(range(256)) not in self.path.read_bytes()

    def test_what_was_put_is_there_after_reopening(self) -> None:
        async def put(store: BodyStore) -> None:
            await store.put({hash_of(b"a"): b"a"})

        async def look(store: BodyStore) -> None:
            assert await store.get(hash_of(b"a")) == b"a"

        self._run(put)
        self._run(look)


class TestMemoryCheckpoints(CheckpointLaws):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[MemoryCheckpoints]:
        yield MemoryCheckpoints()


class TestSqliteCheckpoints(CheckpointLaws):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "shard-rivers.sqlite"

    @asynccontextmanager
    async def store(self) -> AsyncIterator[SqliteCheckpoints]:
        checkpoints = await SqliteCheckpoints.open(self.path, metrics=Metrics(METRICS), config=SMALL)
        try:
            yield checkpoints
        finally:
            await checkpoints.close()

    def test_what_was_saved_is_there_after_reopening(self) -> None:
        async def save(store: SqliteCheckpoints) -> None:
            await store.save(checkpoint(pages={3: b"n"}))

        async def look(store: SqliteCheckpoints) -> None:
            assert await store.load() == checkpoint(pages={3: b"n"})

        self._run(save)  # type: ignore[arg-type]
        self._run(look)  # type: ignore[arg-type]

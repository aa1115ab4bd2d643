"""Laws of the port `CheckpointStore`. Subclass `CheckpointLaws` in a test and give `store`."""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

import pytest

from headwater.kernel.errors import Corrupted, Fenced
from headwater.propagation.ports import Checkpoint, CheckpointStore


def checkpoint(
    *,
    epoch: int = 1,
    log_base: int = 1 << 50,
    applied: int = 1 << 50,
    pages: Mapping[int, bytes | None] | None = None,
    marks: Mapping[str, bytes | None] | None = None,
    dirty: Mapping[int, bytes] | None = None,
) -> Checkpoint:
    """A checkpoint with what a test cares about."""
    return Checkpoint(
        epoch=epoch,
        log_base=log_base,
        applied=applied,
        commits_after=applied - log_base,
        dirty=dirty or {},
        pages=pages or {},
        marks=marks or {},
    )


class CheckpointLaws:
    """What every store of checkpoints keeps."""

    @abstractmethod
    def store(self) -> AbstractAsyncContextManager[CheckpointStore]:
        """An empty store, closed at the end."""

    def _run(self, law: Callable[[CheckpointStore], Awaitable[None]]) -> None:
        async def with_store() -> None:
            async with self.store() as store:
                await law(store)

        asyncio.run(with_store())

    def test_an_empty_store_has_no_checkpoint(self) -> None:
        async def law(store: CheckpointStore) -> None:
            assert await store.load() is None

        self._run(law)

    def test_what_was_saved_is_loaded(self) -> None:
        async def law(store: CheckpointStore) -> None:
            saved = checkpoint(pages={0: b"a", 5: b"\x00\xff"}, marks={"c:Ä": b"m"}, dirty={0: b"", 3: b"\x01"})
            await store.save(saved)
            assert await store.load() == saved

        self._run(law)

    def test_later_saves_replace_add_and_remove(self) -> None:
        async def law(store: CheckpointStore) -> None:
            await store.save(checkpoint(pages={1: b"a", 2: b"b"}, marks={"c:A": b"1", "c:B": b"2"}, dirty={0: b"x", 1: b"y"}))
            await store.save(
                checkpoint(applied=(1 << 50) + 9, pages={1: None, 2: b"c", 3: b"d"}, marks={"c:A": None, "c:C": b"3"}, dirty={1: b"z"})
            )
            loaded = await store.load()
            assert loaded == checkpoint(applied=(1 << 50) + 9, pages={2: b"c", 3: b"d"}, marks={"c:B": b"2", "c:C": b"3"}, dirty={1: b"z"})

        self._run(law)

    def test_an_older_epoch_is_fenced_and_changes_nothing(self) -> None:
        async def law(store: CheckpointStore) -> None:
            await store.save(checkpoint(epoch=2, pages={1: b"new"}))
            with pytest.raises(Fenced):
                await store.save(checkpoint(epoch=1, pages={1: b"old"}))
            loaded = await store.load()
            assert loaded is not None
            assert (loaded.epoch, loaded.pages) == (2, {1: b"new"})
            await store.save(checkpoint(epoch=2, pages={1: b"newer"}))
            await store.save(checkpoint(epoch=3, pages={}))

        self._run(law)

    def test_the_log_cannot_be_exchanged(self) -> None:
        async def law(store: CheckpointStore) -> None:
            await store.save(checkpoint(log_base=1 << 50))
            with pytest.raises(Corrupted):
                await store.save(checkpoint(epoch=2, log_base=1 << 51, applied=1 << 51))

        self._run(law)

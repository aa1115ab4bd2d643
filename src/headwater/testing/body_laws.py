"""Laws of the port `BodyStore`. Subclass `BodyLaws` in a test and give `store`."""

import asyncio
import hashlib
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from headwater.kernel.errors import Corrupted
from headwater.propagation.model import BodyHash, PageKey
from headwater.propagation.ports import BodySource, BodyStore

PAGE = PageKey(7)


def hash_of(content: bytes) -> BodyHash:
    """The hash under which `content` is stored."""
    return BodyHash(hashlib.sha256(content).hexdigest())


def source(content: bytes, rev: int, *, page: PageKey = PAGE, wiki: str = "rivers") -> BodySource:
    """That `content` was rendered from revision `rev` of `page`."""
    return BodySource(wiki, page, rev, hash_of(content))


class BodyLaws:
    """What every store of bodies keeps."""

    @abstractmethod
    def store(self) -> AbstractAsyncContextManager[BodyStore]:
        """An empty store, closed at the end."""

    @abstractmethod
    async def damage(self, store: BodyStore, body: BodyHash) -> None:
        """Replace the stored content of `body` by other bytes, behind the store's back."""

    def _run(self, law: Callable[[BodyStore], Awaitable[None]]) -> None:
        async def with_store() -> None:
            async with self.store() as store:
                await law(store)

        asyncio.run(with_store())

    def test_a_body_comes_back_byte_for_byte(self) -> None:
        async def law(store: BodyStore) -> None:
            for content in (b"", b"\x00\xff", "Ä".encode() * 100_000):
                await store.put({hash_of(content): content})
                assert await store.get(hash_of(content)) == content

        self._run(law)

    def test_what_was_never_put_is_absent(self) -> None:
        async def law(store: BodyStore) -> None:
            await store.put({hash_of(b"a"): b"a"})
            assert await store.get(hash_of(b"b")) is None
            assert await store.absent([hash_of(b"a"), hash_of(b"b")]) == {hash_of(b"b")}

        self._run(law)

    def test_putting_twice_is_putting_once(self) -> None:
        async def law(store: BodyStore) -> None:
            for _ in range(2):
                await store.put({hash_of(b"a"): b"a"}, [source(b"a", 1)])
            assert list(await store.hashes(None, 10)) == [hash_of(b"a")]

        self._run(law)

    def test_a_damaged_body_is_reported_and_never_returned(self) -> None:
        async def law(store: BodyStore) -> None:
            await store.put({hash_of(b"a"): b"a"})
            await self.damage(store, hash_of(b"a"))
            with pytest.raises(Corrupted):
                await store.get(hash_of(b"a"))
            await store.put({hash_of(b"a"): b"a"})  # a put repairs it
            assert await store.get(hash_of(b"a")) == b"a"

        self._run(law)

    def test_erasing_a_revision_removes_what_came_from_it_alone(self) -> None:
        async def law(store: BodyStore) -> None:
            bodies = {hash_of(content): content for content in (b"one", b"shared", b"other page", b"other wiki")}
            sources = [
                source(b"one", 1),
                source(b"shared", 1),
                source(b"shared", 2),
                source(b"other page", 1, page=PageKey(8)),
                source(b"other wiki", 1, wiki="lakes"),
            ]
            await store.put(bodies, sources)
            assert list(await store.erase_revision("rivers", PAGE, 1)) == [hash_of(b"one")]
            assert await store.absent(list(bodies)) == {hash_of(b"one")}
            assert list(await store.erase_revision("rivers", PAGE, 1)) == []
            assert list(await store.erase_revision("rivers", PAGE, 2)) == [hash_of(b"shared")]

        self._run(law)

    def test_sources_may_be_added_to_a_body_that_is_there(self) -> None:
        async def law(store: BodyStore) -> None:
            await store.put({hash_of(b"a"): b"a"}, [source(b"a", 1)])
            await store.put({}, [source(b"a", 2)])
            assert list(await store.erase_revision("rivers", PAGE, 1)) == []
            assert await store.get(hash_of(b"a")) == b"a"

        self._run(law)

    def test_erased_bodies_are_gone_and_can_be_put_again(self) -> None:
        async def law(store: BodyStore) -> None:
            await store.put({hash_of(b"a"): b"a", hash_of(b"b"): b"b"}, [source(b"a", 1)])
            await store.erase([hash_of(b"a"), hash_of(b"never there")])
            assert await store.get(hash_of(b"a")) is None
            assert await store.get(hash_of(b"b")) == b"b"
            await store.put({hash_of(b"a"): b"a"})
            assert list(await store.erase_revision("rivers", PAGE, 1)) == []
            assert await store.get(hash_of(b"a")) == b"a"

        self._run(law)

    def test_hashes_are_listed_in_order_and_in_pages(self) -> None:
        async def law(store: BodyStore) -> None:
            contents = [str(number).encode() for number in range(5)]
            await store.put({hash_of(content): content for content in contents})
            expected = sorted(map(hash_of, contents))
            first = list(await store.hashes(None, 2))
            assert first == expected[:2]
            assert list(await store.hashes(first[-1], 10)) == expected[2:]

        self._run(law)

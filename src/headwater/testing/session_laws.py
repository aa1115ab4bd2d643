"""Laws of the port `SessionStore`. Subclass `SessionStoreLaws` in a test and give `store`."""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from msgspec import structs

from headwater.sessions.model import FIRST_TOKEN, NEVER_MS, NO_SUBJECT, Generation, Head, KeyId, Kind, Row, RowId, Token, Version
from headwater.sessions.ports import SessionStore
from headwater.sessions.sealing import encode_head, version_of

DEADLINE = bytes(32)


def row(name: str, version: int, sealed: bytes = b"sealed") -> Row:
    """A row as an engine sees it: nothing in it has to be authentic."""
    head = Head(Kind.VALUE, KeyId(1), Version(version), 0, NEVER_MS, "n", FIRST_TOKEN, NO_SUBJECT, FIRST_TOKEN)
    return Row(row_id(name), encode_head(head), DEADLINE, sealed)


def row_id(name: str) -> RowId:
    """The id of the row of that name; ids are ordered as names of one length are."""
    return RowId(name.encode().rjust(32, b"\0"))


def generation(scope: str, token: int) -> Generation:
    """A record of a scope."""
    return Generation(scope.encode(), KeyId(1), Token(b"%016d" % token))


async def get(store: SessionStore, id: RowId) -> Row | None:
    """The row with that id and no other."""
    found = await store.near(id)
    return found if found is not None and found.id == id else None


class SessionStoreLaws:
    """What every store of sessions keeps."""

    @abstractmethod
    def store(self) -> AbstractAsyncContextManager[SessionStore]:
        """An empty store, closed at the end."""

    def _run(self, law: Callable[[SessionStore], Awaitable[None]]) -> None:
        async def with_store() -> None:
            async with self.store() as store:
                await law(store)

        asyncio.run(with_store())

    def test_a_row_comes_back_byte_for_byte(self) -> None:
        async def law(store: SessionStore) -> None:
            for name, sealed in (("empty", b""), ("small", b"\x00\xff"), ("large", b"x" * 1_100_000)):
                assert await store.put(row(name, 1, sealed), expected=None)
                assert await get(store, row_id(name)) == row(name, 1, sealed)

        self._run(law)

    def test_what_was_never_put_is_not_there(self) -> None:
        async def law(store: SessionStore) -> None:
            await store.put(row("a", 1), expected=None)
            assert await get(store, row_id("b")) is None

        self._run(law)

    def test_a_put_replaces_only_the_version_that_it_names(self) -> None:
        async def law(store: SessionStore) -> None:
            assert not await store.put(row("a", 2), expected=Version(1))
            assert await store.put(row("a", 1), expected=None)
            assert not await store.put(row("a", 2), expected=None)
            assert not await store.put(row("a", 3), expected=Version(2))
            assert await store.put(row("a", 2), expected=Version(1))
            assert await get(store, row_id("a")) == row("a", 2)

        self._run(law)

    def test_of_puts_that_replace_the_same_version_one_wins(self) -> None:
        async def law(store: SessionStore) -> None:
            await store.put(row("a", 1), expected=None)
            done = await asyncio.gather(*(store.put(row("a", 2, b"%d" % n), expected=Version(1)) for n in range(20)))
            assert sum(done) == 1
            assert await get(store, row_id("a")) == row("a", 2, b"%d" % done.index(True))

        self._run(law)

    def test_a_put_clears_other_rows_only_if_it_is_done(self) -> None:
        async def law(store: SessionStore) -> None:
            for name in ("a", "b", "c"):
                await store.put(row(name, 1), expected=None)
            assert not await store.put(row("a", 2), expected=Version(9), clears=[row_id("b")])
            assert await get(store, row_id("b")) is not None
            assert await store.put(row("a", 2), expected=Version(1), clears=[row_id("b"), row_id("never there")])
            assert await get(store, row_id("b")) is None
            assert await get(store, row_id("c")) is not None

        self._run(law)

    def test_extending_changes_the_deadline_of_that_version_alone(self) -> None:
        async def law(store: SessionStore) -> None:
            later = b"\x01" * 32
            await store.put(row("a", 1), expected=None)
            assert not await store.extend(row_id("a"), later, version=Version(2))
            assert not await store.extend(row_id("b"), later, version=Version(1))
            assert await store.extend(row_id("a"), later, version=Version(1))
            before = row("a", 1)
            assert await get(store, row_id("a")) == Row(before.id, before.head, later, before.sealed)
            assert not await store.extend(row_id("a"), before.deadline, version=Version(1), replaces=before.deadline)
            assert await store.extend(row_id("a"), before.deadline, version=Version(1), replaces=later)
            assert await get(store, row_id("a")) == before

        self._run(law)

    def test_deleting_removes_what_is_named_and_nothing_newer(self) -> None:
        async def law(store: SessionStore) -> None:
            for name in ("a", "b", "c", "d"):
                await store.put(row(name, 2), expected=None)
            named = {row_id("a"): None, row_id("b"): Version(2), row_id("c"): Version(1), row_id("absent"): None}
            assert await store.delete(named) == {row_id("a"), row_id("b")}
            assert await store.delete(named) == set()
            left = [name for name in ("a", "b", "c", "d") if await get(store, row_id(name)) is not None]
            assert left == ["c", "d"]
            assert await store.put(row("a", 1), expected=None)

        self._run(law)

    def test_a_row_whose_head_is_cut_off_can_be_replaced_and_deleted(self) -> None:
        async def law(store: SessionStore) -> None:
            for name in ("a", "b"):
                await store.put(Row(row_id(name), b"\x01", b"", b""), expected=None)
                found = await get(store, row_id(name))
                assert found is not None and version_of(found) == 0
            assert await store.put(row("a", 1), expected=Version(0))
            await store.delete({row_id("b"): Version(0)})
            assert await get(store, row_id("b")) is None

        self._run(law)

    def test_generations_are_replaced_and_told_in_the_order_in_which_they_were_put(self) -> None:
        async def law(store: SessionStore) -> None:
            assert await store.get_generation(b"a") is None
            assert list(await store.generations_since(0, limit=10)) == []
            await store.put_generations([generation("a", 1), generation("b", 1)])
            await store.put_generations([generation("a", 2)])
            told = list(await store.generations_since(0, limit=10))
            assert [(each.scope, each.token) for each in told] == [(b"b", b"%016d" % 1), (b"a", b"%016d" % 2)]
            assert told[0].sequence < told[1].sequence
            assert await store.get_generation(b"a") == told[1]
            assert list(await store.generations_since(told[0].sequence, limit=10)) == told[1:]
            assert list(await store.generations_since(0, limit=1)) == told[:1]

        self._run(law)

    def test_a_generation_comes_back_as_it_was_put(self) -> None:
        async def law(store: SessionStore) -> None:
            whole = Generation(b"a" * 16, KeyId(65_535), Token(b"t" * 16), Version((1 << 63) - 1), 1 << 62, b"m" * 16)
            await store.put_generations([whole])
            stored = await store.get_generation(whole.scope)
            assert stored is not None and stored.sequence > 0
            assert structs.replace(stored, sequence=0) == whole

        self._run(law)

    def test_generations_are_removed_only_while_they_are_the_ones_meant(self) -> None:
        async def law(store: SessionStore) -> None:
            await store.put_generations([generation("a", 1), generation("b", 1)])
            old = list(await store.generations_since(0, limit=10))
            await store.put_generations([generation("a", 2)])
            await store.delete_generations([*old, generation("absent", 1)])
            left = list(await store.generations_since(0, limit=10))
            assert [(each.scope, each.token) for each in left] == [(b"a", b"%016d" % 2)]
            assert await store.get_generation(b"b") is None

        self._run(law)

    def test_pages_hold_every_row_in_order(self) -> None:
        async def law(store: SessionStore) -> None:
            for number in (3, 1, 4, 0, 2):
                await store.put(row(f"{number}", 1, bytes(number)), expected=None)
            first = list(await store.page(None, limit=2))
            rest = list(await store.page(first[-1].id, limit=10))
            assert [(each.id, each.sealed_bytes) for each in (*first, *rest)] == [(row_id(f"{n}"), n) for n in range(5)]
            assert [each.head for each in first] == [row("0", 1).head, row("1", 1).head]
            assert list(await store.page(rest[-1].id, limit=10)) == []

        self._run(law)

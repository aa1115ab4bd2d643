"""Laws of the catalogue: declarations are compared and set, domains are strangers to each other, what was dropped is gone at once."""

import asyncio
from dataclasses import replace

import msgspec

from headwater.tables.errors import SchemaChanged
from headwater.tables.model import ColumnId, Declaration, Options, SpaceId, Usage
from headwater.testing.table_laws.setting import Law, Space, TableEngine, declare, opened, raises, table_of


async def a_declaration_comes_back_as_declared(engine: TableEngine) -> None:
    """A declaration comes back as declared."""
    async with opened(engine) as t:
        ids = {"ключ": ColumnId(1), "v": ColumnId(7)}
        asked = Declaration("group", "name", 0, 0, b'{"a": 1}', ids, 8, {"en.example": SpaceId(0), "de.example": SpaceId(0)})
        stored = await t.store.declare(asked, replaces=None)
        assert stored is not None
        assert msgspec.structs.replace(stored, incarnation=0, epoch=0, domains={}) == msgspec.structs.replace(asked, domains={})
        assert stored.domains.keys() == asked.domains.keys() and len({0, t.space, *stored.domains.values()}) == 4
        assert sorted(await t.store.declarations(), key=lambda one: one.group) == [t.declaration, stored]


async def a_declaration_replaces_only_the_epoch_that_it_names(engine: TableEngine) -> None:
    """A declaration replaces only the epoch that it names."""
    async with opened(engine) as t:
        assert await t.store.declare(t.declaration, replaces=None) is None
        assert await t.store.declare(t.declaration, replaces=t.declaration.epoch + 1) is None
        changed = await t.store.declare(msgspec.structs.replace(t.declaration, schema=b"{2}"), replaces=t.declaration.epoch)
        assert changed is not None and changed.epoch > t.declaration.epoch and changed.schema == b"{2}"
        assert (changed.incarnation, changed.domains) == (t.declaration.incarnation, t.declaration.domains)
        assert await t.store.declare(t.declaration, replaces=t.declaration.epoch) is None
        assert list(await t.store.declarations()) == [changed]
        assert await t.store.declare(msgspec.structs.replace(t.declaration, name="other"), replaces=t.declaration.epoch) is None


async def of_declarations_at_the_same_time_one_wins(engine: TableEngine) -> None:
    """Of declarations at the same time one wins."""
    async with opened(engine) as t:
        asked = [Declaration("g", "new", 0, 0, b"%d" % n, {}, 1, {f"d{n}": SpaceId(0)}) for n in range(10)]
        made = [one for one in await asyncio.gather(*(t.store.declare(one, replaces=None) for one in asked)) if one is not None]
        assert len(made) == 1
        changed = await asyncio.gather(*(t.store.declare(made[0], replaces=made[0].epoch) for _ in range(10)))
        assert sum(one is not None for one in changed) == 1


async def a_domain_that_joins_gets_a_space_and_others_keep_theirs(engine: TableEngine) -> None:
    """A domain that joins gets a space and others keep theirs."""
    async with opened(engine) as t:
        await t.put(1, v="mine")
        domains = {**t.declaration.domains, "new": SpaceId(0)}
        joined = await t.store.declare(msgspec.structs.replace(t.declaration, domains=domains), replaces=t.declaration.epoch)
        assert joined is not None and joined.domains["d"] == t.space and joined.domains["new"] not in (0, t.space)
        other = replace(t, declaration=joined, space=joined.domains["new"])
        assert await other.get(1) is None and await other.usage() == Usage(0, 0)
        await other.put(1, v="theirs")
        assert await t.get(1) == {"v": "mine"} and await other.get(1) == {"v": "theirs"}


async def spaces_share_nothing(engine: TableEngine) -> None:
    """Spaces share nothing."""
    async with opened(engine, table_of(options=Options(changes=True))) as t:
        declared = await declare(t.store, t.table, "a", "b", name="other")
        spaces = [replace(t, declaration=declared, space=space) for space in declared.domains.values()]
        for number, one in enumerate((t, *spaces)):
            await one.write(one.put_of((1,), {"v": f"{number}"}), write_id="same")
        for number, one in enumerate((t, *spaces)):
            assert await one.get(1) == {"v": f"{number}"} and (await one.usage()).rows == 1
            assert [one.cells(change.row) for change in await one.changes()] == [{"v": f"{number}"}]
            assert len(await one.walk()) == 1 and len(await one.store.largest(one.space, limit=9)) == 1
        await spaces[0].clear(spaces[0].slice())
        assert await spaces[0].get(1) is None and await spaces[1].get(1) == {"v": "2"} and await t.get(1) == {"v": "0"}


async def a_domain_joins_without_a_trace_for_the_others(engine: TableEngine) -> None:
    """A domain joins without a trace for the others."""
    async with opened(engine) as t:
        await t.put(1, v="x")
        space = await t.store.add_space(t.declaration, "joined")
        assert space is not None and space != t.space
        assert await t.store.add_space(t.declaration, "joined") == space and await t.store.add_space(t.declaration, "d") == t.space
        (now,) = await t.store.declarations()
        assert now.domains == {"d": t.space, "joined": space} and (now.epoch, now.incarnation) == (
            t.declaration.epoch,
            t.declaration.incarnation,
        )
        joined = replace(t, declaration=now, space=space)
        assert await joined.get(1) is None
        await t.put(2, v="as planned before")
        await joined.put(1, v="y")
        assert await t.get(1) == {"v": "x"} and await joined.get(1) == {"v": "y"}
        assert await t.store.drop(now, domain="d") and await joined.get(1) == {"v": "y"}
        assert await t.store.drop((await t.store.declarations())[0], domain=None)
        assert await t.store.add_space(now, "late") is None
        again = await declare(t.store, t.table)
        assert await t.store.add_space(now, "late") is None and set(again.domains) == {"d"}


async def what_was_dropped_is_gone_at_once(engine: TableEngine) -> None:
    """What was dropped is gone at once."""
    async with opened(engine, table_of(options=Options(changes=True), statics="s:string")) as t:
        await t.put(1, v="x", s="y")
        assert await t.store.drop(t.declaration, domain=None)
        assert await t.get(1) is None and await t.all(t.slice()) == [] and await t.walk() == []
        assert await t.changes() == [] and await t.usage() == Usage(0, 0) and await t.store.largest(t.space, limit=9) == []
        await raises(SchemaChanged, t.put(1, v="again"))
        await raises(SchemaChanged, t.clear(t.slice()))
        assert list(await t.store.declarations()) == []
        await t.reclaim(limit=2)
        assert await t.get(1) is None


async def a_table_declared_again_is_empty(engine: TableEngine) -> None:
    """A table declared again is empty."""
    async with opened(engine) as t:
        first = await t.put(1, v="x")
        await t.store.drop(t.declaration, domain=None)
        again = await declare(t.store, t.table)
        assert again.incarnation != t.declaration.incarnation and again.epoch != t.declaration.epoch and again.domains["d"] != t.space
        fresh = replace(t, declaration=again, space=again.domains["d"])
        assert await fresh.get(1) is None
        await raises(SchemaChanged, t.put(1, v="late"))
        outcome = await fresh.put(1, v="y")
        assert outcome.revision is not None and first.revision is not None and outcome.revision > first.revision
        await t.reclaim(limit=1)
        assert await fresh.get(1) == {"v": "y"} and await t.get(1) is None and (await fresh.usage()).rows == 1


async def a_drop_names_the_epoch(engine: TableEngine) -> None:
    """A drop names the epoch."""
    async with opened(engine) as t:
        await t.put(1, v="x")
        stale = msgspec.structs.replace(t.declaration, epoch=t.declaration.epoch + 1)
        assert not await t.store.drop(stale, domain=None) and not await t.store.drop(stale, domain="d")
        assert await t.get(1) == {"v": "x"}
        assert await t.store.drop(t.declaration, domain=None) and not await t.store.drop(t.declaration, domain=None)


async def a_domain_leaves_without_the_others(engine: TableEngine) -> None:
    """A domain leaves without the others."""
    async with opened(engine) as t:
        declared = await declare(t.store, t.table, "a", "b", name="other")
        a, b = (replace(t, declaration=declared, space=declared.domains[name]) for name in "ab")
        await a.put(1, v="a")
        await b.put(1, v="b")
        assert await t.store.drop(declared, domain="a")
        (left,) = [one for one in await t.store.declarations() if one.name == "other"] or [t.declaration]
        assert left.domains == {"b": b.space} and left.epoch > declared.epoch and left.incarnation == declared.incarnation
        assert await a.get(1) is None and await b.get(1) == {"v": "b"}
        await raises(SchemaChanged, b.put(1, v="late"))
        await t.reclaim(limit=1)
        assert await b.get(1) == {"v": "b"}
        assert await t.store.drop(left, domain="b")
        assert [one.name for one in await t.store.declarations()] == ["t"]


async def whoever_waits_for_changes_is_woken_by_a_drop(engine: TableEngine) -> None:
    """Whoever waits for changes is woken by a drop."""
    async with opened(engine, table_of(options=Options(changes=True))) as t:
        waiting = asyncio.ensure_future(t.store.changes(t.space, 0, limit=10, wait_s=3_600))
        await t.clock.wait_for_sleepers(1)
        await t.store.drop(t.declaration, domain=None)
        assert list((await asyncio.wait_for(waiting, 1.0)).changes) == []


async def many_tables_live_beside_each_other(engine: TableEngine) -> None:
    """Many tables live beside each other."""
    async with opened(engine) as t:
        declared = await asyncio.gather(*(declare(t.store, t.table, name=f"t{n}") for n in range(200)))
        spaces = [replace(t, declaration=one, space=one.domains["d"]) for one in declared]
        await asyncio.gather(*(one.put(1, v=one.declaration.name) for one in spaces))
        assert [await one.get(1) for one in spaces] == [{"v": f"t{n}"} for n in range(200)]
        assert len(await t.store.declarations()) == 201


async def no_space_is_given_twice(engine: TableEngine) -> None:
    """No space is given twice."""
    async with opened(engine) as t:
        seen = {t.space}
        for _ in range(5):
            one = await declare(t.store, t.table, "x", name="again")
            space = Space(t.store, t.clock, one, t.table, one.domains["x"])
            assert space.space not in seen
            seen.add(space.space)
            await space.put(1, v="x")
            await t.store.drop(one, domain="x")
            await t.reclaim()


LAWS: tuple[Law, ...] = (
    a_declaration_comes_back_as_declared,
    a_declaration_replaces_only_the_epoch_that_it_names,
    of_declarations_at_the_same_time_one_wins,
    a_domain_that_joins_gets_a_space_and_others_keep_theirs,
    spaces_share_nothing,
    a_domain_joins_without_a_trace_for_the_others,
    what_was_dropped_is_gone_at_once,
    a_table_declared_again_is_empty,
    a_drop_names_the_epoch,
    a_domain_leaves_without_the_others,
    whoever_waits_for_changes_is_woken_by_a_drop,
    many_tables_live_beside_each_other,
    no_space_is_given_twice,
)

"""Laws of many at once: rows read together and writes carried out together are what they would be alone."""

import asyncio

from msgspec.structs import replace as altered

from headwater.tables.errors import PartitionFull, SchemaChanged
from headwater.tables.model import Condition, Options, Outcome, RowKey, StoredRow
from headwater.testing.table_laws.setting import PATIENCE_S, Law, Space, TableEngine, opened, table_of


async def _together(t: Space, keys: list[RowKey]) -> list[StoredRow | None]:
    rows: list[StoredRow | None] = []
    while len(rows) < len(keys):
        found = await t.store.read_rows(keys[len(rows) :], now_s=t.now_s)
        assert 1 <= len(found) <= len(keys) - len(rows), "reading makes headway"
        rows += found
    return rows


async def rows_read_together_are_those_read_alone(engine: TableEngine) -> None:
    """Rows read together are those read alone."""
    async with opened(engine) as t:
        await t.put(1, v="x")
        await t.insert(2)
        await t.put(3, v="gone")
        await t.remove(3)
        await t.put(4, v="expires", ttl_s=10)
        await t.put(5, v="expires", ttl_s=10)
        await t.put(5, w="stays")
        await t.put(1, "q", v="another partition")
        for key in range(6, 12):
            await t.put(key, v="large" * 100_000)
        t.clock.advance(10)
        named = [(key, partition) for partition in ("p", "q") for key in range(14)]
        found = await _together(t, [(t.space, t.partition(partition), t.clustering(key)) for key, partition in named])
        alone = [await t.keyed(key, partition) for key, partition in named]
        assert found == [None if one is None else one.row for one in alone]
        assert sum(one is not None for one in alone) == 10


async def rows_of_a_dropped_space_are_not_read_together(engine: TableEngine) -> None:
    """Rows of a dropped space are not read together."""
    async with opened(engine) as t:
        await t.put(1, v="x")
        assert await t.store.drop(t.declaration, domain=None)
        assert await _together(t, [(t.space, t.partition("p"), t.clustering(1))]) == [None]


async def writes_carried_out_together_are_those_done_alone(engine: TableEngine) -> None:
    """Writes carried out together are those done alone: in their order, each refused for itself."""
    async with opened(engine, table_of(options=Options(changes=True))) as t:
        await t.put(9, v="there")
        refused = t.write_of(t.put_of((9,), {"v": "no"}, condition=Condition(exists=False)))
        late = altered(t.write_of(t.put_of((3,), {"v": "no"})), epoch=t.declaration.epoch + 1)
        full = altered(t.write_of(t.put_of((4,), {"v": "no" * 100})), partition_bytes_max=50)
        good = [t.write_of(t.put_of((key,), {"v": value})) for key, value in ((1, "a"), (2, "b"), (1, "c"))]
        outcomes = await t.store.write_each([good[0], refused, late, good[1], full, good[2]], now_ms=t.clock.now_ms())
        assert [type(one) for one in outcomes] == [Outcome, Outcome, SchemaChanged, Outcome, PartitionFull, Outcome]
        applied = [one for one in outcomes if isinstance(one, Outcome) and one.applied]
        revisions = [one.revision for one in applied if one.revision is not None]
        assert len(revisions) == 3 and revisions == sorted(set(revisions))
        assert isinstance(outcomes[1], Outcome) and not outcomes[1].applied and len(outcomes[1].current) == 1
        assert [(await t.get(key) or {}).get("v") for key in (1, 2, 3, 4, 9)] == ["c", "b", None, None, "there"]
        assert [change.revision for change in await t.changes()][1:] == revisions


async def a_reader_waits_for_writes_carried_out_together(engine: TableEngine) -> None:
    """A reader waits for writes carried out together."""
    async with opened(engine, table_of(options=Options(changes=True))) as t:
        waiting = asyncio.ensure_future(t.store.changes(t.space, 0, limit=10, wait_s=3_600))
        await t.clock.wait_for_sleepers(1)
        assert not waiting.done()
        await t.store.write_each([t.write_of(t.put_of((key,), {"v": "x"})) for key in (1, 2)], now_ms=t.clock.now_ms())
        found = await asyncio.wait_for(waiting, PATIENCE_S)
        assert found.changes, "the first of them is there, perhaps more"


LAWS: tuple[Law, ...] = (
    rows_read_together_are_those_read_alone,
    rows_of_a_dropped_space_are_not_read_together,
    writes_carried_out_together_are_those_done_alone,
    a_reader_waits_for_writes_carried_out_together,
)

"""Tables in SQLite against tables in memory: whatever is done in whatever order, both say and hold the same.

Revisions are numbers of their own in each; they are compared by which write gave them.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from headwater.kernel.config import Bytes
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.tables.engines.memory import MemoryTableStore
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.errors import ChangesTrimmed
from headwater.tables.model import (
    Change,
    Condition,
    KeyedRow,
    Operator,
    Options,
    Outcome,
    Page,
    Predicate,
    Put,
    Remove,
    Revision,
    Slice,
    Stored,
    StoredRow,
    Usage,
)
from headwater.testing.clock import ManualClock
from headwater.testing.table_laws.setting import BOUNDLESS, DAY_MS, Space, declare, table_of

STEPS = 50
CI_EXAMPLES, PROOF_EXAMPLES = 100, 4_000

PARTITIONS = st.sampled_from(("p", "q", "p\0"))
KEYS = st.integers(-2, 3)
VALUES = st.sampled_from((None, "", "x", "y" * 50))
CELLS = st.dictionaries(st.sampled_from(("v", "w", "s")), VALUES, max_size=3)
TTLS = st.sampled_from((0, 0, 1, 5, 60))
CONDITIONS = st.sampled_from(("always", "exists", "absent", "revision", "stale", "v is x", "v is null", "s above x"))
TABLE = table_of(statics="s:string", options=Options(changes=True))


class TablesMachine(RuleBasedStateMachine):
    """Every rule does the same to both stores and compares what both say."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.clock = ManualClock()
        self.given: tuple[list[Revision], list[Revision]] = ([], [])
        self.run(self._start())

    async def _start(self) -> None:
        self.stores = MemoryTableStore(self.clock), await self._open()
        await self._declare()

    async def _declare(self) -> None:
        spaces = []
        for store in self.stores:
            declared = await declare(store, TABLE)
            spaces.append(Space(store, self.clock, declared, TABLE, declared.domains["d"]))
        self.spaces = spaces

    async def _open(self) -> SqliteTableStore:
        storage = StorageConfig(ballast_bytes=Bytes(0), wal_bytes_max=Bytes(256 * 1024))
        path = self.directory / "tables.sqlite"
        return await SqliteTableStore.open(path, metrics=Metrics(sqlite_metrics.METRICS), clock=self.clock, storage=storage)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.stores[1].close())
        self.loop.close()
        shutil.rmtree(self.directory)

    # Comparing

    def both(self, work: Callable[[Space], Coroutine[Any, Any, Any]]) -> tuple[Any, Any]:
        """What comes of the same in both stores; of errors the class."""

        async def said(space: Space) -> Any:
            try:
                return await work(space)
            except HeadwaterError as error:
                return type(error)

        one, other = (self.run(said(space)) for space in self.spaces)
        return one, other

    def number(self, store: int, row: StoredRow | None) -> object:
        """A row with the number of the write that made it."""
        return row and (self.given[store].index(row.revision), row.cells, row.marker_expires_s)

    def rows(self, store: int, rows: Sequence[KeyedRow]) -> object:
        return [(row.clustering, self.number(store, row.row), self.number(store, row.static)) for row in rows]

    def page(self, store: int, page: Page) -> object:
        return self.rows(store, page.rows)

    # Writing

    def condition(self, name: str, key: int, partition: str) -> Callable[[Space], Condition | None]:
        model = self.run(self.spaces[0].keyed(key, partition))
        number = 0 if model is None or model.row is None else self.given[0].index(model.row.revision)
        fixed: Mapping[str, Condition | None] = {
            "always": None,
            "exists": Condition(exists=True),
            "absent": Condition(exists=False),
            "v is x": Condition(predicates=(Predicate(TABLE.by_name["v"], Operator.EQ, ("x",)),)),
            "v is null": Condition(predicates=(Predicate(TABLE.by_name["v"], Operator.EQ, (None,)),)),
            "s above x": Condition(predicates=(Predicate(TABLE.by_name["s"], Operator.GT, ("x",)),)),
        }

        def made(space: Space) -> Condition | None:
            if name in fixed:
                return fixed[name]
            given = self.given[self.spaces.index(space)]
            return Condition(revision=given[number if name == "revision" else number // 2] if given else Revision(1))

        return made

    def write(self, made: Callable[[Space], Sequence[Put | Remove]], partition: str, write_id: str | None = None) -> None:
        async def work(space: Space) -> Any:
            return await space.write(*made(space), partition=partition, write_id=write_id, digest=str(write_id).encode())

        one, other = self.both(work)
        if not isinstance(one, Outcome) or not isinstance(other, Outcome):
            assert one == other
            return
        assert (one.applied, one.repeated) == (other.applied, other.repeated)
        if one.applied and not one.repeated:
            for given, revision in zip(self.given, (one.revision, other.revision), strict=True):
                assert revision is not None and (not given or revision > given[-1])
                given.append(revision)
        if one.applied:
            assert self.given[0].index(one.revision or Revision(0)) == self.given[1].index(other.revision or Revision(0))
        assert self.rows(0, one.current) == self.rows(1, other.current)

    @initialize(ceiling=st.sampled_from((1 << 60, 400)), room=st.sampled_from((BOUNDLESS, Usage(4, 1 << 60), Usage(100, 900))))
    def limit(self, ceiling: int, room: Usage) -> None:
        for space in self.spaces:
            space.partition_bytes_max, space.room = ceiling, room

    @rule(key=KEYS, partition=PARTITIONS, cells=CELLS, ttl_s=TTLS, condition=CONDITIONS, marker=st.sampled_from((None, True, False)))
    def put(self, key: int, partition: str, cells: dict[str, Stored], ttl_s: int, condition: str, marker: bool | None) -> None:
        holds = self.condition(condition, key, partition)
        self.write(lambda t: [t.put_of((key,), cells, ttl_s=ttl_s, marker=marker, condition=holds(t))], partition)

    @rule(partition=PARTITIONS, value=VALUES, ttl_s=TTLS)
    def put_static(self, partition: str, value: Stored, ttl_s: int) -> None:
        self.write(lambda t: [t.put_of(None, {"s": value}, ttl_s=ttl_s)], partition)

    @rule(key=KEYS, partition=PARTITIONS, condition=CONDITIONS)
    def remove(self, key: int, partition: str, condition: str) -> None:
        holds = self.condition(condition, key, partition)
        self.write(lambda t: [t.remove_of((key,), holds(t))], partition)

    @rule(keys=st.lists(KEYS, min_size=2, max_size=4, unique=True), partition=PARTITIONS, cells=CELLS, ttl_s=TTLS, condition=CONDITIONS)
    def batch(self, keys: list[int], partition: str, cells: dict[str, Stored], ttl_s: int, condition: str) -> None:
        holds = self.condition(condition, keys[0], partition)

        def made(t: Space) -> Sequence[Put | Remove]:
            puts = [t.put_of((key,), cells, ttl_s=ttl_s, condition=holds(t) if key == keys[0] else None) for key in keys[:-1]]
            return [*puts, t.remove_of((keys[-1],))]

        self.write(made, partition)

    @rule(key=KEYS, partition=PARTITIONS, write_id=st.sampled_from(("w0", "w1")), condition=st.sampled_from(("always", "absent")))
    def put_once(self, key: int, partition: str, write_id: str, condition: str) -> None:
        holds = self.condition(condition, key, partition)
        self.write(lambda t: [t.put_of((key,), {"v": write_id}, condition=holds(t))], partition, write_id)

    @rule(lower=KEYS, upper=st.none() | KEYS, partition=PARTITIONS, limit=st.integers(1, 4))
    def clear(self, lower: int, upper: int | None, partition: str, limit: int) -> None:
        async def work(t: Space) -> int:
            total = 0
            while True:
                slice = self.slice(t, partition, lower, upper, limit=limit)
                deleted, complete = await t.clear(slice)
                assert deleted <= limit
                total += deleted
                if complete:
                    return total

        one, other = self.both(work)
        assert one == other

    @rule(seconds=st.sampled_from((0.4, 1.0, 5.0, 70.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from((-30.0, 30.0)))
    def the_clock_jumps(self, seconds: float) -> None:
        self.clock.jump_wall(seconds)

    @rule()
    def restart(self) -> None:
        async def work() -> None:
            await self.stores[1].close()
            self.stores = self.stores[0], await self._open()
            self.spaces[1].store = self.stores[1]

        self.run(work())

    @rule(limit=st.sampled_from((1, 3, 1000)), changes_kept_ms=st.sampled_from((DAY_MS, 10_000)))
    def reclaim(self, limit: int, changes_kept_ms: int) -> None:
        self.both(lambda t: t.reclaim(limit=limit, changes_kept_ms=changes_kept_ms, write_ids_kept_ms=30_000))

    @rule()
    def migrate(self) -> None:
        async def work(t: Space) -> None:
            declared = await t.store.declare(t.declaration, replaces=t.declaration.epoch)
            assert declared is not None
            stale = replace(t)
            t.declaration = declared
            assert await t.store.declare(stale.declaration, replaces=stale.declaration.epoch) is None

        assert self.both(work) == (None, None)

    @rule(again=st.integers(0, 3))
    def drop(self, again: int) -> None:
        if again:
            return  # once in a while

        async def work(t: Space) -> bool:
            return await t.store.drop(t.declaration, domain="d")

        assert self.both(work) == (True, True)
        assert self.both(lambda t: t.all(t.slice())) == ([], [])
        limits = self.spaces[0].partition_bytes_max, self.spaces[0].room
        self.run(self._declare())
        for space in self.spaces:
            space.partition_bytes_max, space.room = limits

    # Reading

    def slice(self, t: Space, partition: str, lower: int, upper: int | None, *, limit: int, backwards: bool = False) -> Slice:
        whole = lower == -2 and upper is None
        slice = t.slice(partition, limit=limit, backwards=backwards)
        end = None if upper is None else t.clustering(upper)
        return msgspec.structs.replace(slice, lower=slice.lower if whole else t.clustering(lower), upper=end, whole=whole)

    @rule(lower=KEYS, upper=st.none() | KEYS, partition=PARTITIONS, limit=st.integers(1, 5), backwards=st.booleans())
    def read(self, lower: int, upper: int | None, partition: str, limit: int, backwards: bool) -> None:
        for pages in (False, True):
            read = Space.all if pages else Space.page
            one, other = self.both(lambda t: read(t, self.slice(t, partition, lower, upper, limit=limit, backwards=backwards)))  # noqa: B023
            if not pages:
                one, other = one.rows, other.rows
            assert self.rows(0, one) == self.rows(1, other)

    @rule(limit=st.integers(1, 4))
    def walk(self, limit: int) -> None:
        one, other = self.both(lambda t: t.walk(limit))
        shown = [sorted((key, str(self.rows(n, [row]))) for key, row in found) for n, found in enumerate((one, other))]
        assert shown[0] == shown[1]

    @rule(skip=st.integers(0, 3))
    def changes(self, skip: int) -> None:
        async def work(t: Space) -> tuple[object, list[Change]]:
            try:
                return None, await t.changes()
            except ChangesTrimmed as error:
                return "trimmed", await t.changes(error.first)

        (trimmed, one), (also, other) = self.both(work)
        assert trimmed == also
        assert [self.change(change) for change in one] == [self.change(change) for change in other]
        if one:
            rest = [self.run(t.changes(found[skip % len(found)].sequence)) for t, found in zip(self.spaces, (one, other), strict=True)]
            assert len(rest[0]) == len(rest[1]) == len(one) - 1 - skip % len(one)

    def change(self, change: Change) -> object:
        row, static = (one and (one.cells, one.marker_expires_s) for one in (change.row, change.static))
        return change.at_ms, change.kind, change.partition, change.clustering, row, static

    @invariant()
    def every_row_is_as_in_memory(self) -> None:
        for partition in ("p", "q", "p\0"):
            one, other = self.both(lambda t: t.all(t.slice(partition)))  # noqa: B023
            assert self.rows(0, one) == self.rows(1, other)

    @invariant()
    def usage_is_what_is_stored(self) -> None:
        one, other = self.both(Space.usage)
        assert one == other or self.has_expired_rows_cleared(one, other)

    def has_expired_rows_cleared(self, one: Usage, other: Usage) -> bool:
        """Clearing a range takes expired rows along in SQLite and leaves them to the next reclaim in memory."""
        self.both(lambda t: t.reclaim(write_ids_kept_ms=30_000, changes_kept_ms=DAY_MS))
        one, other = self.both(Space.usage)
        return bool(one == other)


def _settings(examples: int) -> settings:
    quiet = (HealthCheck.too_slow, HealthCheck.data_too_large)
    return settings(
        max_examples=examples, stateful_step_count=STEPS, deadline=None, suppress_health_check=quiet, verbosity=Verbosity.normal
    )


def test_sqlite_does_what_memory_does() -> None:
    run_state_machine_as_test(TablesMachine, settings=_settings(CI_EXAMPLES))


@pytest.mark.proof
def test_sqlite_does_what_memory_does_for_long() -> None:
    run_state_machine_as_test(TablesMachine, settings=_settings(PROOF_EXAMPLES))

"""Conditional tables under concurrency: the recorded histories can have happened one operation after the other.

Many callers read rows, replace the revision they have seen, make rows that must not be there and delete them. Long histories are checked by
their revisions, short ones by a search that knows nothing of revisions. Three broken stores fail the same.
"""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import pytest
from msgspec.structs import replace as altered

from headwater.kernel.config import Bytes
from headwater.kernel.metrics import Metrics
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.model import Condition, Outcome, Page, Put, Remove, Revision, Slice, Write
from headwater.testing.clock import ManualClock
from headwater.testing.linearizability import ABSENT, Operation, broken_chain, is_linearizable
from headwater.testing.table_laws.setting import Space, declare, table_of

CI_OPERATIONS, PROOF_OPERATIONS = 100_000, 2_000_000
CALLERS = 48
ROWS = 12
SHORT_HISTORIES = 60

Row = tuple[str, int]


class DecidesOnTheLoop(SqliteTableStore):
    """Looks whether the condition holds, and only then hands the write in."""

    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        one = write.writes[0]
        assert one.clustering is not None
        slice = Slice(write.space, write.partition, one.clustering, None, False, 1, point=True, statics=False)
        page = await self.read(slice, now_s=now_ms // 1000)
        row = page.rows[0].row if page.rows else None
        condition = one.condition or Condition()
        holds = condition.exists is None or condition.exists is (row is not None)
        holds = holds and (condition.revision is None or (row is not None and row.revision == condition.revision))
        if not holds:
            return await super().write(write, now_ms=now_ms)
        return await super().write(altered(write, writes=(msgspec.structs.replace(one, condition=None),)), now_ms=now_ms)


class ReadsFromACache(SqliteTableStore):
    """Answers a read with what it has read before, up to eight times."""

    async def read(self, slice: Slice, *, now_s: int) -> Page:
        cache: dict[bytes, tuple[int, Page]] = self.__dict__.setdefault("cache", {})
        key = slice.partition + slice.lower
        times, page = cache.get(key, (8, Page((), None)))
        if times == 8:
            times, page = 0, await super().read(slice, now_s=now_s)
        cache[key] = times + 1, page
        return page


class AnswersBeforeItHasWritten(SqliteTableStore):
    """Gives its answer while the write is still on its way."""

    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        early: set[asyncio.Future[Outcome]] = self.__dict__.setdefault("early", set())
        outcome = await super().write(write, now_ms=now_ms)
        if not outcome.applied or len(early) > 3:
            early.clear()
            return outcome
        again = altered(write, writes=tuple(msgspec.structs.replace(one, condition=None) for one in write.writes))
        early.add(asyncio.ensure_future(super().write(again, now_ms=now_ms)))
        return outcome


class _Recorder:
    """Callers of a table, and what each row has seen of them."""

    def __init__(self, space: Space, *, operations: int, seed: int) -> None:
        self._space = space
        self._left = operations
        self._lot = Random(seed)
        self._now = count()
        self._values: dict[Revision, object] = {}
        self.histories: dict[Row, list[Operation]] = {}

    async def call(self) -> None:
        """One caller."""
        while self._left > 0:
            row = "pqr"[self._lot.randrange(3)], self._lot.randrange(ROWS // 3)
            revision = await self._read(row)
            if self._lot.random() < 0.1:
                await asyncio.sleep(0)
            if revision == ABSENT:
                await self._write(row, self._put(row, Condition(exists=False)), ABSENT)
            elif self._lot.random() < 0.2:
                condition = Condition(revision=Revision(revision))
                await self._write(row, self._space.remove_of((row[1],), condition), revision)
            else:
                await self._write(row, self._put(row, Condition(revision=Revision(revision))), revision)

    def _put(self, row: Row, condition: Condition) -> Put:
        return self._space.put_of((row[1],), {"n": next(self._now)}, condition=condition)

    async def _read(self, row: Row) -> int:
        self._left -= 1
        begin = next(self._now)
        found = await self._space.keyed(row[1], row[0])
        revision = ABSENT if found is None or found.row is None else found.row.revision
        self._note(row, Operation(begin, next(self._now), revision))
        if found is not None and found.row is not None and found.row.revision in self._values:
            assert self._space.cells(found.row) == self._values[found.row.revision], "a row of one write has the cells of another"
        return revision

    async def _write(self, row: Row, write: Put | Remove, expected: int) -> None:
        self._left -= 1
        begin = next(self._now)
        outcome = await self._space.write(write, partition=row[0])
        end = next(self._now)
        if outcome.applied:
            assert outcome.revision is not None
            if isinstance(write, Put):
                self._values[outcome.revision] = {"n": next(iter(write.cells.values()))}
            left = outcome.revision if isinstance(write, Put) else ABSENT
            self._note(row, Operation(begin, end, expected, left, outcome.revision))
            return
        there = outcome.current[0].row
        found = ABSENT if there is None else there.revision
        assert found != expected, "a write was refused though its condition held"
        self._note(row, Operation(begin, end, found))

    def _note(self, row: Row, operation: Operation) -> None:
        self.histories.setdefault(row, []).append(operation)


async def _record(
    directory: Path, *, operations: int, callers: int = CALLERS, seed: int = 1, kind: type[SqliteTableStore] = SqliteTableStore
) -> Mapping[Row, Sequence[Operation]]:
    clock = ManualClock()
    storage = StorageConfig(ballast_bytes=Bytes(0))
    store = await kind.open(directory / f"{seed}.sqlite", metrics=Metrics(sqlite_metrics.METRICS), clock=clock, storage=storage)
    table = table_of(regulars="n:long")
    declared = await declare(store, table)
    space = Space(store, clock, declared, table, declared.domains["d"])
    recorder = _Recorder(space, operations=operations, seed=seed)
    await asyncio.gather(*(recorder.call() for _ in range(callers)))
    await store.close()
    return recorder.histories


def _check(histories: Mapping[Row, Sequence[Operation]]) -> list[str]:
    return [broken for history in histories.values() if (broken := broken_chain(history)) is not None]


def test_conditional_tables_are_linearizable(tmp_path: Path) -> None:
    histories = asyncio.run(_record(tmp_path, operations=CI_OPERATIONS))
    assert _check(histories) == []
    operations = [one for history in histories.values() for one in history]
    assert len(operations) >= CI_OPERATIONS
    done = sum(one.left is not None for one in operations)
    assert done > CI_OPERATIONS / 20 and any(one.left == ABSENT for one in operations)


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(20))
def test_conditional_tables_are_linearizable_for_long(tmp_path: Path, seed: int) -> None:
    assert _check(asyncio.run(_record(tmp_path, operations=PROOF_OPERATIONS // 20, seed=seed))) == []


def test_a_sample_stands_a_search_that_knows_nothing_of_revisions(tmp_path: Path) -> None:
    async def sample() -> list[Sequence[Operation]]:
        recorded = [await _record(tmp_path, operations=150, callers=6, seed=seed) for seed in range(SHORT_HISTORIES // ROWS)]
        return [history for histories in recorded for history in histories.values()]

    histories = asyncio.run(sample())
    assert len(histories) >= SHORT_HISTORIES * 0.8
    assert all(is_linearizable(history) for history in histories)


@pytest.mark.parametrize("broken", [DecidesOnTheLoop, ReadsFromACache, AnswersBeforeItHasWritten])
def test_a_broken_store_is_caught_within_a_twentieth(tmp_path: Path, broken: type[SqliteTableStore]) -> None:
    histories = asyncio.run(_record(tmp_path, operations=CI_OPERATIONS // 20, kind=broken))
    assert _check(histories)

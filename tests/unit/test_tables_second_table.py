"""The how-to about second tables is true: its schemas load, and its steps lose no entry wherever the program is killed."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from headwater.kernel.metrics import Metrics
from headwater.tables.config import TablesConfig
from headwater.tables.engines.memory import MemoryTableStore
from headwater.tables.metrics import METRICS
from headwater.tables.service import Tables
from headwater.tables.tokens import Tokens
from headwater.testing.clock import ManualClock

PAGE = Path(__file__).parents[2] / "docs/how-to/second-table.md"
DOMAIN = "en.example"
FIRST, SECOND, STATE = "pages", "pages-by-author", "pages-by-author-state"


class Killed(Exception):
    """The program that feeds the second table ends here."""


class World:
    """A service with the tables of the page, and a program that follows it and can be killed after any step."""

    def __init__(self) -> None:
        clock = ManualClock()
        store = MemoryTableStore(clock)
        self.tables = Tables(store, TablesConfig(), tokens=Tokens(b"k" * 32), clock=clock, metrics=Metrics(METRICS))
        self.position = 0
        self.steps_left = 10**6

    async def declare(self) -> None:
        await self.tables.start()
        for name, body in re.findall(r"PUT /v1/en\.example/tables/(\S+)\n(\{.*?\})\n\n?(?=PUT|```)", PAGE.read_text(), re.DOTALL):
            await self.tables.declare(DOMAIN, name, json.loads(body), dry_run=False)

    async def put(self, table: str, **attributes: object) -> None:
        assert (await self.tables.put(DOMAIN, table, {"attributes": attributes}, condition=None)).applied

    async def delete(self, table: str, **attributes: object) -> None:
        await self.tables.delete(DOMAIN, table, {"attributes": attributes}, condition=None)

    async def rows(self, table: str, **attributes: object) -> list[Mapping[str, object]]:
        return list((await self.tables.query(DOMAIN, table, {"attributes": attributes})).items)

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Killed

    async def feed(self) -> None:
        """Step 2 of the page, from the position that was kept."""
        found = await self.tables.changes(DOMAIN, FIRST, self.position, limit=1000, wait_s=0)
        for change in found.changes:
            await self.apply(change)
            self.step()
            assert isinstance(change["id"], int)
            self.position = change["id"]

    async def apply(self, change: Mapping[str, object]) -> None:
        row, revision = change["row"], change["revision"]
        assert isinstance(row, Mapping) and isinstance(revision, str)
        title, author = row["title"], row.get("author") if change["kind"] == "put" else None
        remembered = await self.rows(STATE, title=title)
        before = remembered[0]["author"] if remembered else None
        if remembered and str(remembered[0]["revision"]) >= revision:
            return
        if author is not None:
            self.step()
            await self.put(SECOND, author=author, title=title)
        if before is not None and before != author:
            self.step()
            await self.delete(SECOND, author=before, title=title)
        self.step()
        await self.put(STATE, title=title, author=author, revision=revision)

    async def edit(self) -> None:
        """Pages come, change their authors back and forth, lose them, go and come again."""
        await self.put(FIRST, title="Danube", author="Ada", length=2850)
        await self.put(FIRST, title="Rhine", author="Ada")
        await self.put(FIRST, title="Danube", author="Ben")
        await self.put(FIRST, title="Danube", length=1)
        await self.put(FIRST, title="Danube", author="Ada")
        await self.put(FIRST, title="Rhine", author=None, length=2)
        await self.put(FIRST, title="Elbe", author="Ben")
        await self.delete(FIRST, title="Elbe")
        await self.put(FIRST, title="Elbe", author="Cem")
        await self.put(FIRST, title="Oder", author="Cem")
        await self.delete(FIRST, title="Oder")

    async def by_author(self) -> dict[str, list[object]]:
        return {author: [row["title"] for row in await self.rows(SECOND, author=author)] for author in ("Ada", "Ben", "Cem")}


EXPECTED = {"Ada": ["Danube"], "Ben": [], "Cem": ["Elbe"]}


def test_the_page_declares_three_tables() -> None:
    async def run() -> None:
        world = World()
        await world.declare()
        assert all(world.tables.schema(DOMAIN, name) for name in (FIRST, SECOND, STATE))
        assert world.tables.schema(DOMAIN, FIRST)["changes"] is True

    asyncio.run(run())


def test_rows_are_found_by_author() -> None:
    async def run() -> None:
        world = World()
        await world.declare()
        await world.edit()
        await world.feed()
        assert await world.by_author() == EXPECTED
        await world.feed()
        assert await world.by_author() == EXPECTED

    asyncio.run(run())


@pytest.mark.parametrize("interval", range(1, 40))
def test_no_entry_is_lost_or_left_wherever_the_program_is_killed(interval: int) -> None:
    async def run() -> None:
        world = World()
        await world.declare()
        await world.edit()
        for lives in range(1000):
            world.steps_left = interval + lives // 40  # a program that is killed too early each time gets nowhere
            try:
                await world.feed()
                break
            except Killed:
                continue
        assert await world.by_author() == EXPECTED

    asyncio.run(run())


def test_a_position_that_was_lost_makes_work_and_no_harm() -> None:
    async def run() -> None:
        world = World()
        await world.declare()
        await world.edit()
        await world.feed()
        world.position = 0
        await world.feed()
        assert await world.by_author() == EXPECTED

    asyncio.run(run())

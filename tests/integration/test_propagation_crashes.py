"""Crashes at every failpoint of propagation, at several hits: nothing is lost or rendered without cause, seq never goes back.

The process is not killed here (the acceptance tests do that): the failpoint raises, which ends every task of the service at that instant,
and a new service starts on the same log and files.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from headwater.propagation import applying, checkpointing, committing, inputs, rendering
from headwater.propagation.inputs import InputReader
from headwater.propagation.model import Change
from headwater.testing.propagation_world import WIKI, World, world

POINTS = {
    "changes.append": inputs,
    "apply": applying,
    "lease": rendering,
    "body.put": committing,
    "commit.append": committing,
    "commit.appended": committing,
    "state": committing,
    "checkpoint": checkpointing,
}


class Crash(Exception):
    """The process dies here."""


async def pages(made: World) -> None:
    await made.wiki.edit("Template:Box", "box")
    for number in range(6):
        await made.wiki.edit(f"River_{number}", f"{{{{Box}}}} [[River_{(number + 1) % 6}]] [[Missing]]")
    await made.wiki.edit("Lake", "lake")
    await made.until()
    await made.clock.run_for(2)


async def edits(made: World) -> None:
    """Edits of every kind, with time for checkpoints and commits in between."""
    await made.wiki.edit("Template:Box", "new box")
    await made.turns(20)
    await made.clock.run_for(1.1)
    await made.wiki.edit("Missing", "there")
    await made.wiki.edit("Template:Box", "box")
    await made.turns(3)
    await made.wiki.delete("River_2")
    await made.clock.run_for(1.1)
    await made.wiki.move("River_3", "River_9")
    await made.turns(100)
    await made.clock.run_for(1.1)


async def commits(made: World) -> list[tuple[int, int]]:
    """Page and seq of every commit, in the order of the log."""
    values = [msgspec.json.decode(record.value) for record in await made.records(f"commits.{WIKI}") if record.value is not None]
    return [(value["page"], value["seq"]) for value in values]


@pytest.mark.parametrize("hit", [1, 2, 3, 7])
@pytest.mark.parametrize("name", POINTS)
def test_a_crash_loses_nothing(name: str, hit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [hit]

    def point(reached: str) -> None:
        if reached == name:
            left[0] -= 1
            if left[0] == 0:
                raise Crash(name)

    async def case() -> None:
        async with world() as made:
            await pages(made)
            made.wiki.rendered.clear()
            for module in set(POINTS.values()):
                monkeypatch.setattr(module, "failpoint", point)
            await edits(made)
            running = made.service._running
            assert running is not None
            assert running.done() is (left[0] <= 0)
            assert running.done() or hit > 3, "the first hits are always reached"
            await made.restart()
            await made.clock.run_for(1.1)
            await made.until()
            await made.check_all()
            seqs = [seq for _, seq in await commits(made)]
            assert seqs == sorted(set(seqs))
            assert "Lake" not in made.wiki.rendered
            before = Counter(made.wiki.rendered)
            await made.restart()
            await made.until()
            assert made.wiki.rendered == before  # at rest nothing is rendered again, whatever happened before

    asyncio.run(case())


def test_positions_before_their_changes_would_lose_an_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant to the test above: positions noted in an append of their own, before the changes."""
    original = InputReader._append

    async def positions_first(self: InputReader, changes: Sequence[Change]) -> None:
        await original(self, [])
        raise Crash

    async def case() -> None:
        async with world() as made:
            await pages(made)
            monkeypatch.setattr(InputReader, "_append", positions_first)
            await made.wiki.edit("Template:Box", "new box")
            await made.turns(100)
            monkeypatch.setattr(InputReader, "_append", original)
            await made.restart()
            await made.until()
            with pytest.raises(AssertionError):
                await made.check_all()

    asyncio.run(case())

"""A past that is gone: events trimmed before they were read, a log restored from an older copy. What an operator does then is enough."""

import asyncio

import pytest

from headwater.log.model import Offset, PartitionId
from headwater.propagation.engines.memory import MemoryCheckpoints
from headwater.propagation.owner import OwnerState
from headwater.propagation.streams import group_of
from headwater.testing.propagation_world import WIKI, World, world


async def edited_unheard(made: World) -> None:
    """Pages are rendered, then the owner is down while a template is edited, and the event goes before it comes back."""
    await made.wiki.edit("Template:Box", "box")
    for number in range(5):
        await made.wiki.edit(f"River_{number}", f"{{{{Box}}}} river {number}")
    await made.until()
    await made.clock.run_for(15)  # positions and checkpoint are saved
    await made.crash()
    await made.wiki.edit("Template:Box", "a new box")
    partition = PartitionId("mediawiki.revision-create")
    (info,) = [info for info in await made.log.describe(partition.stream) if info.partition == partition]
    await made.log.advance(group_of(WIKI), {partition: Offset(info.end - 1)})  # in real life it is expelled for being idle
    await made.log.trim(partition, info.end)


def test_events_that_went_unread_stop_the_owner_and_a_rebuilt_shard_renders_everything() -> None:
    async def scenario() -> None:
        async with world() as made:
            await edited_unheard(made)
            await made.start()
            await made.turns()
            assert made.owner.state is OwnerState.FAILED
            assert "shard-rivers.sqlite" in (made.owner.reason or "")
            await made.crash()
            made.checkpoints = MemoryCheckpoints()
            await made.start()
            await made.until()
            await made.check_all()
            await made.wiki.edit("Template:Box", "a third box")
            await made.until()
            await made.check_all()
            rendered = dict(made.wiki.rendered)
            await made.clock.run_for(15)
            await made.restart()
            await made.until()
            assert made.wiki.rendered == rendered, "once is enough"

    asyncio.run(scenario())


@pytest.mark.parametrize("crashes_after", ["the checkpoint", "nothing"])
def test_a_crash_before_the_positions_are_noted_loses_nothing(crashes_after: str) -> None:
    async def scenario() -> None:
        async with world() as made:
            await edited_unheard(made)
            made.checkpoints = MemoryCheckpoints()
            original, stopped = made.checkpoints.save, asyncio.Event()

            async def save_and_die(checkpoint: object) -> None:
                if crashes_after == "the checkpoint":
                    await original(checkpoint)  # type: ignore[arg-type]
                stopped.set()
                await asyncio.Event().wait()

            made.checkpoints.save = save_and_die  # type: ignore[method-assign]
            await made.start()
            await made.until(stopped)
            await made.crash()
            made.checkpoints.save = original  # type: ignore[method-assign]
            await made.start()
            await made.turns()
            if made.owner.state is OwnerState.FAILED:  # the same is asked of the operator again
                await made.crash()
                made.checkpoints = MemoryCheckpoints()
                await made.start()
            await made.until()
            await made.check_all()

    asyncio.run(scenario())


def test_a_shard_of_an_epoch_that_the_log_has_not_seen_is_refused() -> None:
    async def scenario() -> None:
        async with world() as made:
            await made.wiki.edit("Rhine", "rhine")
            await made.until()
            await made.clock.run_for(15)
            saved = await made.checkpoints.load()
            assert saved is not None
            await made.crash()
            for name in made.log._epochs:
                made.log._epochs[name] = 0  # as in a copy of the log made before
            await made.start()
            await made.turns()
            assert made.owner.state is OwnerState.FAILED
            assert "restored from an older copy" in (made.owner.reason or "")

    asyncio.run(scenario())

"""What a look-up does where nothing can be served: the same as everywhere else, and without any row of the store to do it with."""

import asyncio
from collections.abc import Sequence

import pytest

from headwater.sessions.finding import DECOY_BYTES
from headwater.sessions.model import Row, RowId
from headwater.sessions.sealing import Content, Header, RecordKey, Sealer
from headwater.testing.sessions_world import SPACE, SessionsWorld

Step = tuple[str, int]


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """What is authenticated and opened from now on, with the size of what is sealed in each row."""
    steps: list[Step] = []
    read_header, read_content = Sealer.read_header, Sealer.read_content

    def header(sealer: Sealer, record: RecordKey, row: Row, *, id: RowId) -> Header | None:
        steps.append(("header", len(row.sealed)))
        return read_header(sealer, record, row, id=id)

    def content(sealer: Sealer, record: RecordKey, row: Row, *, id: RowId) -> Content | None:
        steps.append(("content", len(row.sealed)))
        return read_content(sealer, record, row, id=id)

    monkeypatch.setattr(Sealer, "read_header", header)
    monkeypatch.setattr(Sealer, "read_content", content)
    return steps


def steps_of_a_miss(monkeypatch: pytest.MonkeyPatch, saved: Sequence[bytes], *, key_ids: tuple[int, ...]) -> list[Step]:
    """The steps of one read of a session that is not there, among those saved, which are of the size of the decoy."""
    found: list[Step] = []

    async def work(world: SessionsWorld) -> None:
        for key in saved:
            await world.sessions.save(SPACE, key, bytes(DECOY_BYTES))
        with monkeypatch.context() as patch:
            steps = steps_of(patch)
            assert await world.value(b"nobody's") is None
            found.extend(steps)

    asyncio.run(SessionsWorld(key_ids=key_ids).run(work))
    return found


@pytest.mark.parametrize("key_ids", [(1,), (2, 1)])
def test_a_miss_in_an_empty_store_takes_the_steps_of_any_other(monkeypatch: pytest.MonkeyPatch, key_ids: tuple[int, ...]) -> None:
    among = steps_of_a_miss(monkeypatch, [b"one", b"two", b"three"], key_ids=key_ids)
    alone = steps_of_a_miss(monkeypatch, [], key_ids=key_ids)
    assert [step for step, _ in alone] == ["header", "content"] * len(key_ids), "a row is authenticated and a decoy opened for each key"
    assert alone == among, "where there is no row at all, the decoy in memory stands in for it"

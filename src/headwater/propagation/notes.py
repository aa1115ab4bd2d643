"""The notes beside the changes: identity of the order, positions of the inputs, state of the backfill, spans of time that ended.

They are records of `propagation.<wiki>`, one per key, written under the fence of the changes. The positions are appended together with the
changes that they stand for, so no event is applied twice or lost: `docs/decisions/0017-keep-input-positions-beside-the-changes.md`.
"""

from collections.abc import Mapping

import msgspec

from headwater.kernel.errors import Corrupted
from headwater.log.model import NewRecord, Offset, PartitionId
from headwater.log.ports import Log
from headwater.log.scanning import records_to_end
from headwater.propagation.streams import BACKFILL_KEY, IDENTITY_KEY, INPUTS_KEY, TICKS_KEY, notes_of_wiki


class Identity(msgspec.Struct, frozen=True):
    """Which order the LSNs of a wiki belong to: LSN = base + offset. A new log gets a new base, above all LSNs of an older one."""

    log_id: str
    base: int


class Inputs(msgspec.Struct, frozen=True):
    """How far each event stream is contained in the changes, by stream and partition number."""

    positions: dict[str, dict[int, int]] = {}

    def offsets(self) -> dict[PartitionId, Offset]:
        """The positions by partition."""
        return {
            PartitionId(stream, number): Offset(offset)
            for stream, partitions in self.positions.items()
            for number, offset in partitions.items()
        }

    @classmethod
    def of(cls, offsets: Mapping[PartitionId, Offset]) -> "Inputs":
        """The note that says `offsets`."""
        positions: dict[str, dict[int, int]] = {}
        for partition, offset in sorted(offsets.items()):
            positions.setdefault(partition.stream, {})[partition.number] = offset
        return cls(positions)


class BackfillNote(msgspec.Struct, frozen=True):
    """State of a backfill. `token` is where it goes on; pages before it are in a saved checkpoint."""

    running: bool
    token: str | None
    seen: int
    added: int
    started_ms: int
    finished_ms: int | None = None


class Ticks(msgspec.Struct, frozen=True):
    """Up to which boundary (ms since the epoch) spans of time are settled, by resource: told as changes, or of no interest to anybody."""

    settled_ms: dict[str, int] = {}


class Notes(msgspec.Struct, frozen=True):
    """All notes of a wiki, as last written."""

    identity: Identity | None = None
    inputs: Inputs = Inputs()
    backfill: BackfillNote | None = None
    ticks: Ticks = Ticks()


def identity_base(now_ms: int) -> int:
    """The base of an order created now: above every LSN of one created earlier, as long as that had under 1,024 changes a millisecond."""
    return now_ms << 10


async def read_notes(log: Log, wiki: str) -> Notes:
    """The notes of `wiki`. Raises Corrupted if one cannot be read."""
    partition = notes_of_wiki(wiki)
    values = {record.key: record.value async for record in records_to_end(log, partition)}
    try:
        identity, inputs, backfill, ticks = (values.get(key) for key in (IDENTITY_KEY, INPUTS_KEY, BACKFILL_KEY, TICKS_KEY))
        return Notes(
            identity=None if identity is None else msgspec.json.decode(identity, type=Identity),
            inputs=Inputs() if inputs is None else msgspec.json.decode(inputs, type=Inputs),
            backfill=None if backfill is None else msgspec.json.decode(backfill, type=BackfillNote),
            ticks=Ticks() if ticks is None else msgspec.json.decode(ticks, type=Ticks),
        )
    except msgspec.DecodeError as error:
        raise Corrupted(f"a record of {partition.stream} cannot be read") from error


def note_record(wiki: str, key: bytes, note: Identity | Inputs | BackfillNote | Ticks, now_ms: int) -> NewRecord:
    """The record that replaces the note under `key`."""
    return NewRecord(notes_of_wiki(wiki).stream, msgspec.json.encode(note), now_ms, key=key)

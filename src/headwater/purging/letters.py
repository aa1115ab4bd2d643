"""Dead letters of purging, on the compacted stream `dead-letters.purging`.

The newest record of an id is the letter; a tombstone resolves it.
"""

from collections.abc import Sequence

import msgspec

from headwater.kernel.clock import Clock
from headwater.kernel.errors import NotFound
from headwater.log.model import BEFORE_FIRST, AppendFailure, NewRecord, Offset, PartitionId, Policy, StreamSpec
from headwater.log.ports import Log
from headwater.log.scanning import records_to_end
from headwater.purging.model import DEAD_LETTERS, DeadLetter, letter_id

PARTITION = PartitionId(DEAD_LETTERS)
SPEC = StreamSpec(DEAD_LETTERS, Policy.COMPACT)
BEFORE_THIS_PROCESS = -1
_READ_RECORDS = 500
_DECODER = msgspec.json.Decoder(DeadLetter)


class DeadLetters:
    """Stores, lists and resolves dead letters.

    It remembers which ids are unresolved (up to `held_max`) together with the number of the work that parked them, so that a later purge of
    the same URL that is acknowledged resolves what an earlier one left.
    """

    def __init__(self, log: Log, *, clock: Clock, held_max: int) -> None:
        self._log = log
        self._clock = clock
        self._held_max = held_max
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        """Unresolved dead letters known; a lower bound once there have been more than the configured maximum."""
        return len(self._held)

    async def start(self) -> None:
        """Declare the stream and learn what is unresolved. Raises Unavailable."""
        await self._log.declare([SPEC])
        async for record in records_to_end(self._log, PARTITION):
            self._note((record.key or b"").decode(), None if record.value is None else BEFORE_THIS_PROCESS)

    def _note(self, identity: str, number: int | None) -> None:
        if number is None:
            self._held.pop(identity, None)
        elif identity in self._held or len(self._held) < self._held_max:
            self._held[identity] = number

    async def store(self, letter: DeadLetter, number: int) -> None:
        """Make a letter durable; `number` is that of the work that gave up. Raises Unavailable, StorageFull, OutcomeUnknown (repeat it)."""
        await self._append(letter.id, msgspec.json.encode(letter))
        self._note(letter.id, number)

    async def resolve(self, identity: str) -> None:
        """Remove a letter. Idempotent. Raises as `store`."""
        await self._append(identity, None)
        self._note(identity, None)

    async def _append(self, identity: str, value: bytes | None) -> None:
        record = NewRecord(DEAD_LETTERS, value, self._clock.now_ms(), key=identity.encode())
        for outcome in await self._log.append([record]):
            if isinstance(outcome, AppendFailure):
                raise outcome.error

    def outdated(self, url: str, targets: Sequence[str], number: int) -> list[str]:
        """Ids of letters of `url` that were parked before work `number`, or by it before it began anew."""
        if not self._held:
            return []
        ids = (letter_id(target, url) for target in targets)
        return [identity for identity in ids if self._held.get(identity, number + 1) <= number]

    async def read(self, limit: int, after: Offset = BEFORE_FIRST) -> tuple[list[DeadLetter], Offset | None]:
        """At most `limit` unresolved letters, oldest first, and where to go on (None at the end). Raises Unavailable."""
        found: dict[str, DeadLetter] = {}
        while True:
            batch = await self._log.read(PARTITION, after, limit=min(limit, _READ_RECORDS))
            for record in batch.records:
                identity = (record.key or b"").decode()
                found.pop(identity, None)
                if record.value is not None and self._unresolved(identity):
                    found[identity] = _DECODER.decode(record.value)
            after = batch.next
            if batch.at_end:
                return list(found.values()), None
            if len(found) >= limit:
                return list(found.values()), after

    def _unresolved(self, identity: str) -> bool:
        return identity in self._held or len(self._held) >= self._held_max

    async def get(self, identity: str) -> DeadLetter:
        """The letter of that id. Raises NotFound, Unavailable."""
        letters, after = await self.read(_READ_RECORDS)
        while True:
            for letter in letters:
                if letter.id == identity:
                    return letter
            if after is None:
                raise NotFound("no unresolved dead letter has this id", where="id")
            letters, after = await self.read(_READ_RECORDS, after)

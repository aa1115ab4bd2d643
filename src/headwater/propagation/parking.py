"""Dead letters: pages that could not be rendered, with the reason, until somebody retries them or they change.

A record of `dead-letters.propagation.<wiki>` per page, a tombstone when resolved. After a restart a parked page is tried again, because the
shard's state has no place for it: it is parked anew if it still fails.
"""

import msgspec

from headwater.kernel.errors import Corrupted
from headwater.log.model import BEFORE_FIRST, NewRecord
from headwater.log.ports import Log
from headwater.propagation.model import PageKey
from headwater.propagation.streams import dead_letters_of_wiki


class DeadLetter(msgspec.Struct, frozen=True):
    """A page that is parked, why, and since when (ms since the epoch)."""

    page: int
    title: str
    reason: str
    attempts: int
    time_ms: int


async def read_dead_letters(log: Log, wiki: str) -> dict[PageKey, DeadLetter]:
    """The dead letters of `wiki` that are not resolved. Raises Corrupted."""
    letters: dict[PageKey, DeadLetter] = {}
    partition, after = dead_letters_of_wiki(wiki), BEFORE_FIRST
    while True:
        batch = await log.read(partition, after, limit=1000)
        for record in batch.records:
            if record.value is None:
                letters.pop(PageKey(int(record.key or b"0")), None)
                continue
            try:
                letter = msgspec.json.decode(record.value, type=DeadLetter)
            except msgspec.DecodeError as error:
                raise Corrupted(f"a record of {partition.stream} cannot be read") from error
            letters[PageKey(letter.page)] = letter
        after = batch.next
        if batch.at_end:
            return letters


def dead_letter_record(wiki: str, letter: DeadLetter) -> NewRecord:
    """The record that parks a page."""
    return NewRecord(dead_letters_of_wiki(wiki).stream, msgspec.json.encode(letter), letter.time_ms, key=str(letter.page).encode())


def resolved_record(wiki: str, page: PageKey, now_ms: int) -> NewRecord:
    """The record that says that a page is parked no longer."""
    return NewRecord(dead_letters_of_wiki(wiki).stream, None, now_ms, key=str(page).encode())

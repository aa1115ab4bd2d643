"""Dead letters: pages that could not be rendered, with the reason, until somebody retries them or they change.

A record of `dead-letters.propagation.<wiki>` per page, a tombstone when resolved. After a restart a parked page is tried again, because the
shard's state has no place for it: it is parked anew if it still fails.
"""

import msgspec

from headwater.kernel.errors import Corrupted
from headwater.log.model import NewRecord
from headwater.log.ports import Log
from headwater.log.scanning import records_to_end
from headwater.propagation.model import PageKey
from headwater.propagation.streams import dead_letters_of_wiki, key_of_page, page_of_key


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
    partition = dead_letters_of_wiki(wiki)
    async for record in records_to_end(log, partition):
        page = page_of_key(record.key)
        if record.value is None:
            letters.pop(page, None)
            continue
        try:
            letters[page] = msgspec.json.decode(record.value, type=DeadLetter)
        except msgspec.DecodeError as error:
            raise Corrupted(f"a record of {partition.stream} cannot be read") from error
    return letters


def dead_letter_record(wiki: str, letter: DeadLetter) -> NewRecord:
    """The record that parks a page."""
    return NewRecord(dead_letters_of_wiki(wiki).stream, msgspec.json.encode(letter), letter.time_ms, key=key_of_page(PageKey(letter.page)))


def resolved_record(wiki: str, page: PageKey, now_ms: int) -> NewRecord:
    """The record that says that a page is parked no longer."""
    return NewRecord(dead_letters_of_wiki(wiki).stream, None, now_ms, key=key_of_page(page))

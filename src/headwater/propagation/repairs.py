"""Repairs: changes that no event told of, written because what is stored was found to be wrong. They take the way of every change."""

from collections.abc import Sequence

from headwater.kernel.clock import iso_utc
from headwater.log.model import NewRecord
from headwater.propagation.codec import encode_change
from headwater.propagation.model import Change, CommitRecord, Urgency, content
from headwater.propagation.streams import changes_of_wiki


def repair_of(record: CommitRecord, urgency: Urgency, now_ms: int) -> Change:
    """A change of the text of the page of `record`, without revision: it always applies, also to whatever includes the page."""
    return Change(
        resource=content(record.title),
        cause="repair",
        urgency=urgency,
        event_id=f"repair/{record.page}/{record.seq}/{iso_utc(now_ms)}",
        time_ms=now_ms,
    )


def change_records(wiki: str, changes: Sequence[Change], now_ms: int) -> Sequence[NewRecord]:
    """The records that append these changes to those of `wiki`."""
    stream = changes_of_wiki(wiki).stream
    return [NewRecord(stream, encode_change(change), now_ms) for change in changes]

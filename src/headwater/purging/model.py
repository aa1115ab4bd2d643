"""Values of purging: a purge, how it is retried, a dead letter. Pure."""

from dataclasses import dataclass

import msgspec

from headwater.kernel.errors import InvalidInput
from headwater.kernel.ids import name_uuid

STREAM = "resource-purge"
DEAD_LETTERS = "dead-letters.purging"
GROUP = "purging"
EVERY_TARGET = "*"  # target of a dead letter whose purge could not be sent to any
CANARY_DOMAIN = "canary"  # events of this domain prove that a stream flows; they name nothing


@dataclass(frozen=True, slots=True)
class Purge:
    """One wish to have the copies of a URL removed.

    Attributes:
        url: absolute address.
        seq: commit that made the copies stale, for Headwater's own purges; None for the wiki's.
        wiki, page_id: the page that was committed; None without `seq`.
        time_ms: wall time of the event.
        only: the one target it is meant for (a dead letter tried again), or None for all.
    """

    url: str
    seq: int | None
    wiki: str | None
    page_id: int | None
    time_ms: int
    only: str | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a target may stay silent.

    Attributes:
        attempts_max: after this many failed attempts a purge is parked for that target.
        park_after_s: and at the latest after this long.
        backoff_first_s, backoff_max_s: pause after the first failure, doubled with each further one up to the maximum.
        down_after: failures in a row after which a target counts as down and is only probed.
    """

    attempts_max: int
    park_after_s: float
    backoff_first_s: float
    backoff_max_s: float
    down_after: int = 3

    def backoff_s(self, failures: int, jitter: float) -> float:
        """Pause after `failures` (>= 1) failures in a row; `jitter` in [0, 1) spreads it over its upper half."""
        exponent = min(failures - 1, 30)
        pause_s = min(self.backoff_max_s, self.backoff_first_s * float(2**exponent))
        return pause_s * (0.5 + jitter / 2)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A purge that was given up for one target. It stays on `dead-letters.purging` until it is resolved.

    Attributes:
        id: the same for each purge of one URL at one target: a newer dead letter replaces an older one.
        target: name of the target, or `*`.
        url: as in the event; for a record that could not be read, its position.
        reason: why it was given up.
        attempts: how many requests were made.
        parked_ms: wall time when it was given up.
        seq, wiki, page_id, time_ms: as in the purge.
    """

    id: str
    target: str
    url: str
    reason: str
    attempts: int
    parked_ms: int
    time_ms: int
    seq: int | None = None
    wiki: str | None = None
    page_id: int | None = None


def letter_id(target: str, url: str) -> str:
    """The id of the dead letter of `url` at `target`."""
    return name_uuid(f"purging/{target}/{url}")


def again(letter: DeadLetter) -> Purge:
    """The purge that tries a dead letter once more, at its own target."""
    return Purge(
        url=letter.url,
        seq=letter.seq,
        wiki=letter.wiki,
        page_id=letter.page_id,
        time_ms=letter.time_ms,
        only=None if letter.target == EVERY_TARGET else letter.target,
    )


class _Meta(msgspec.Struct, frozen=True):
    uri: str
    domain: str = ""


class _Own(msgspec.Struct, frozen=True):
    wiki: str
    page_id: int
    seq: int


class _Event(msgspec.Struct, frozen=True):
    meta: _Meta
    headwater: _Own | None = None


_EVENTS = msgspec.json.Decoder(_Event)


def purge_of(value: bytes | None, time_ms: int) -> Purge | None:
    """The purge that a record of `resource-purge` asks for; None for a canary, which asks for nothing.

    Raises:
        InvalidInput: the record is no such event.
    """
    try:
        event = _EVENTS.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not a resource-purge event: {error}") from error
    if event.meta.domain == CANARY_DOMAIN:
        return None
    own = event.headwater
    if own is None:
        return Purge(url=event.meta.uri, seq=None, wiki=None, page_id=None, time_ms=time_ms)
    return Purge(url=event.meta.uri, seq=own.seq, wiki=own.wiki, page_id=own.page_id, time_ms=time_ms)


def can_join(older: Purge, newer: Purge) -> bool:
    """Whether one purge, sent after both were asked for, does the work of both.

    Floors of one page may be joined (the higher holds for both) and a purge without floor joins any; floors of two pages that had the same
    URL after a move may not: each has to be seen served before its own second purge.
    """
    if older.only is not None or newer.only is not None:
        return False
    return older.seq is None or newer.seq is None or (older.wiki, older.page_id) == (newer.wiki, newer.page_id)


def joined(older: Purge, newer: Purge) -> Purge:
    """The purge that stands for both; needs `can_join`. Its floor is the higher, its age the older one's."""
    assert can_join(older, newer)
    floor = max((older, newer), key=lambda purge: -1 if purge.seq is None else purge.seq)
    return Purge(url=newer.url, seq=floor.seq, wiki=floor.wiki, page_id=floor.page_id, time_ms=min(older.time_ms, newer.time_ms))

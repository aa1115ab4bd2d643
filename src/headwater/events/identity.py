"""Under which keys an event is known: its id, and the happening that it tells of, whoever tells it.

A wiki may be told of by two sources, EventBus and the follower, each with ids of its own. Their events are the same happening if they
name the same revision of the same domain or, for what makes no revision, the same page, kind and title (visibility: revision) within
two seconds. An event is remembered under the second that it names; a question asks for all seconds that are near enough.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from headwater.events.model import Key

TOLERANCE_S = 2

_EDITS = frozenset({"mediawiki.revision-create", "mediawiki.page-create"})
_BY_TITLE = {
    "mediawiki.page-delete": "delete",
    "mediawiki.page-suppress": "delete",
    "mediawiki.page-undelete": "restore",
    "mediawiki.page-move": "move",
    "mediawiki.page-restrictions-change": "protect",
}
_VISIBILITY = "mediawiki.revision-visibility-change"


def id_key(event_id: str, *, internal: bool = False) -> Key:
    """The key of an event's own id; ids that Headwater itself gives (`internal`) have keys of their own.

    Those ids can be foretold, for they are made from what happened. Were they one with those of clients, an event that a client posts
    under such an id would swallow the real one.
    """
    return _key("own-id" if internal else "id", event_id)


def identities(stream: str, event: Mapping[str, object], dt: str) -> tuple[Key, ...]:
    """Keys of what the event tells of; empty where no other source could tell the same.

    Args:
        stream: where the event goes.
        event: the event, valid under its schema.
        dt: its effective time, RFC 3339.
    """
    if stream in _EDITS:
        return (_edit(event),)
    subject = _subject(stream, event)
    second = _second(dt)
    return () if subject is None or second is None else (_key(*subject, str(second)),)


def alike(stream: str, event: Mapping[str, object], dt: str) -> tuple[Key, ...]:
    """Keys under which the same happening would be known from another source."""
    if stream in _EDITS:
        return (_edit(event),)
    subject = _subject(stream, event)
    second = _second(dt)
    if subject is None or second is None:
        return ()
    return tuple(_key(*subject, str(near)) for near in range(second - TOLERANCE_S, second + TOLERANCE_S + 1))


def _edit(event: Mapping[str, object]) -> Key:
    return _key("rev", _domain(event), str(event["rev_id"]))


def _subject(stream: str, event: Mapping[str, object]) -> tuple[str, ...] | None:
    if stream == _VISIBILITY:  # one action may hide many revisions of a page, so the title would not tell them apart
        return ("visibility", _domain(event), str(event["page_id"]), str(event["rev_id"]))
    kind = _BY_TITLE.get(stream)
    return None if kind is None else (kind, _domain(event), str(event["page_id"]), str(event["page_title"]))


def _domain(event: Mapping[str, object]) -> str:
    meta = event["meta"]
    assert isinstance(meta, dict)
    return str(meta["domain"])


def _second(dt: str) -> int | None:
    try:
        return int(datetime.fromisoformat(dt).timestamp())
    except ValueError:  # a leap second is valid RFC 3339; such an event has its id only
        return None


def _key(*parts: str) -> Key:
    return Key(hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest())

"""Names and policies of the streams that propagation writes, and who owns them."""

from headwater.kernel.errors import Corrupted
from headwater.log.model import GroupName, OwnedName, PartitionId, Policy, StreamSpec
from headwater.propagation.config import PropagationConfig
from headwater.propagation.model import PageKey

PURGES = "resource-purge"  # one event per address to purge
PAGE_CHANGED = "headwater.page-changed"

IDENTITY_KEY = b"identity"
INPUTS_KEY = b"inputs"
BACKFILL_KEY = b"backfill"
TICKS_KEY = b"ticks"


def changes_of_wiki(wiki: str) -> PartitionId:
    """The total order of a wiki's changes."""
    return PartitionId(f"changes.{wiki}")


def commits_of_wiki(wiki: str) -> PartitionId:
    """What each page is now; key = page id in decimal."""
    return PartitionId(f"commits.{wiki}")


def notes_of_wiki(wiki: str) -> PartitionId:
    """Identity of the order, positions of the inputs, state of the backfill, spans of time that ended: one record per key."""
    return PartitionId(f"propagation.{wiki}")


def dead_letters_of_wiki(wiki: str) -> PartitionId:
    """Pages that could not be rendered; key = page id in decimal, a tombstone means resolved."""
    return PartitionId(f"dead-letters.propagation.{wiki}")


def key_of_page(page: PageKey) -> bytes:
    """The key of a page's records, in `commits` and in the dead letters."""
    return str(page).encode()


def page_of_key(key: bytes | None) -> PageKey:
    """The page that a record of `commits` or of the dead letters is about. Raises Corrupted."""
    try:
        return PageKey(int(key or b""))
    except ValueError as error:
        raise Corrupted("a record's key is no page id") from error


def group_of(wiki: str) -> GroupName:
    """The group that guards events and changes against trimming until they are safe elsewhere."""
    return GroupName(f"propagation.{wiki}")


def owned_changes(wiki: str) -> OwnedName:
    """Owner of `changes.<wiki>`: the one who may give a change its place."""
    return OwnedName(f"headwater.changes.{wiki}")


def owned_commits(wiki: str) -> OwnedName:
    """Owner of the wiki's shard. Its epoch is the epoch of all sequence numbers."""
    return OwnedName(f"headwater.commits.{wiki}.0")


def own_streams(wiki: str, config: PropagationConfig) -> tuple[StreamSpec, ...]:
    """The streams that only propagation writes."""
    return (
        StreamSpec(
            changes_of_wiki(wiki).stream,
            Policy.TIME,
            age_ms_max=int(config.changes_age_max * 1000),
            bytes_max=config.changes_bytes_max,
        ),
        StreamSpec(commits_of_wiki(wiki).stream, Policy.COMPACT),
        StreamSpec(notes_of_wiki(wiki).stream, Policy.COMPACT),
        StreamSpec(dead_letters_of_wiki(wiki).stream, Policy.COMPACT),
    )

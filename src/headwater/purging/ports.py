"""What purging needs from outside: caches, and a word from the pages API."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """Remove the copies of one URL.

    Attributes:
        url: absolute address whose copies must go.
        seq: floor that the purge carries, or None for purges that the wiki asked for.
    """

    url: str
    seq: int | None


class PurgeTarget(Protocol):
    """A cache, or a layer of caches, that can drop one URL."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        ...

    @property
    def layer(self) -> int:
        """Layers are purged in rising order: inner first."""
        ...

    async def purge(self, request: PurgeRequest) -> None:
        """Return once the cache has acknowledged. Idempotent, bounded in time.

        Raises Unavailable (no or a 5xx answer: retry) or InvalidInput (it refused for good: park).
        """
        ...


class ServedSeq(Protocol):
    """What the pages API serves now. Asked before a second purge."""

    async def served(self, wiki: str, page_id: int) -> int | None:
        """The `seq` of the commit that a reader of this page gets now, or None if nothing older can be served any more.

        None means that no stored copy exists: the page is gone and forgotten, or the wiki is not declared. As long as that cannot be told
        (the owner recovers) the answer is an error, never None. Has no effect; never goes back for one page. Bounded in time.

        Raises:
            Unavailable: it cannot be told now.
        """
        ...

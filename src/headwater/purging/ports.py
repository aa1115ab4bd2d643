"""What purging needs from outside: caches."""

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

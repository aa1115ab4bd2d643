"""What propagation needs from outside: a renderer, a store of bodies, a place for checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.propagation.model import BodyHash, Lsn, Outcome, PageKey, Resource, Title


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What to render: the page of `page`, reflecting at least every change known up to `floor`.

    Attributes:
        revs: for every resource changed within the replication window, the highest revision known, or None where a change carried
            none: a renderer that may read a lagging replica proves its floor with it, else answers `Retry`. Empty without replicas.
    """

    page: PageKey
    title: Title
    floor: Lsn
    revs: Mapping[Resource, int | None]


class Renderer(Protocol):
    """Makes the current HTML of a page and says what it was made from."""

    async def render(self, request: RenderRequest) -> Outcome:
        """Render the page as it is now, from nothing that was cached before the call.

        Idempotent, bounded in time; concurrent calls may be joined into one request to the wiki. Never raises for what the wiki
        or the network does: that is `Retry` or `Failed`.
        """
        ...

    async def resolve(self, title: Title) -> tuple[PageKey, Title] | None:
        """The key and normalised title of the page that has `title` now, or None if there is none. Raises Unavailable."""
        ...

    async def pages(self, after: str | None, limit: int) -> tuple[Sequence[tuple[PageKey, Title]], str | None]:
        """Existing pages in a stable order for a backfill, at most `limit`, and the token to go on with (None at the end). Raises Unavailable."""
        ...


class BodyStore(Protocol):
    """Immutable bodies under their content hash. A body is seen by nobody until a commit record names it."""

    async def put(self, bodies: Mapping[BodyHash, bytes]) -> None:
        """Store all, durable when it returns; unconditional and idempotent. Raises StorageFull, OutcomeUnknown (may be repeated)."""
        ...

    async def get(self, body: BodyHash) -> bytes | None:
        """The body, or None. Raises Corrupted if it does not match its hash."""
        ...

    async def erase(self, bodies: Sequence[BodyHash]) -> None:
        """Remove bodies, durable when it returns; absent ones are ignored."""
        ...

    async def hashes(self, after: BodyHash | None, limit: int) -> Sequence[BodyHash]:
        """Stored hashes above `after`, in order: for the collection of orphans."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a shard saves, in one transaction. Only what changed since the last one is in `pages`, `marks` and `dropped`.

    Attributes:
        epoch: of the owner that saves; a store refuses (Fenced) a lower one than it has seen.
        log_base: identity of the changes stream: LSN = base + offset.
        applied: LSN up to which changes are in this state.
        commits_after: offset of the last commit record that is in this state.
        dirty: serialized Roaring bitmaps of page numbers, dirty and in flight, per class.
        pages: encoded nodes by dense page number; None removes.
        marks: encoded last/rev by resource; None removes.
    """

    epoch: int
    log_base: int
    applied: int
    commits_after: int
    dirty: Mapping[int, bytes]
    pages: Mapping[int, bytes | None]
    marks: Mapping[str, bytes | None]


class CheckpointStore(Protocol):
    """The shard's own file. It may be lost: everything in it can be rebuilt from the log."""

    async def load(self) -> Checkpoint | None:
        """The whole state as last saved, or None. Raises Corrupted, FormatTooNew."""
        ...

    async def save(self, checkpoint: Checkpoint) -> None:
        """Save changes in one transaction, durable when it returns. Raises Fenced, StorageFull (nothing saved)."""
        ...

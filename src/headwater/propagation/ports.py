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
        """Existing pages in a stable order for a backfill, at most `limit`, and the token to go on with (None at the end).

        Raises Unavailable.
        """
        ...


class Site(Protocol):
    """The wiki, asked about itself."""

    async def site(self) -> "Titles":
        """Its rules for titles as they are now; may be remembered for a while. Raises Unavailable."""
        ...


class Titles(Protocol):
    """The wiki's own rules for titles, and its clock's offset."""

    @property
    def time_offset_min(self) -> int:
        """Minutes by which the wiki's local time is ahead of UTC."""
        ...

    def normalise(self, text: str) -> str:
        """The prefixed database key meant by `text`.

        Case of the first letter, blanks, namespace names. Raises InvalidInput for what can be no title.
        """
        ...

    def title_of_url(self, url: str) -> str | None:
        """The prefixed database key of the page that an address of the wiki shows, or None."""
        ...

    def namespace_of(self, key: str) -> int:
        """The namespace of a prefixed database key."""
        ...


@dataclass(frozen=True, slots=True)
class Copy:
    """What readers of one address get, from a cache or through it.

    Attributes:
        seq: `X-Headwater-Seq` of the answer; None if the pages API did not make it.
        body: hash of what was sent; None where that says nothing (no 200, encoded, too large).
    """

    seq: int | None
    body: BodyHash | None


class Copies(Protocol):
    """The addresses of a wiki's pages, asked as any reader asks."""

    async def copy(self, url: str) -> Copy:
        """What `url` answers now. Raises Unavailable (no answer in time), InvalidInput (not an address of this wiki's pages)."""
        ...


@dataclass(frozen=True, slots=True)
class BodySource:
    """Which revision of which page a body was rendered from: so that it can be found when that revision is hidden."""

    wiki: str
    page: PageKey
    rev: int
    body: BodyHash


class BodyStore(Protocol):
    """Immutable bodies under their content hash. A body is seen by nobody until a commit record names it."""

    async def put(self, bodies: Mapping[BodyHash, bytes], sources: Sequence[BodySource] = ()) -> None:
        """Store all bodies and what they were made from, in one transaction, durable when it returns; unconditional and idempotent.

        Raises StorageFull (nothing was stored), OutcomeUnknown (may be repeated).
        """
        ...

    async def get(self, body: BodyHash) -> bytes | None:
        """The body, or None. Raises Corrupted if it does not match its hash."""
        ...

    async def absent(self, bodies: Sequence[BodyHash]) -> frozenset[BodyHash]:
        """Which of these are not stored. A point read; does not look at their content."""
        ...

    async def erase_revision(self, wiki: str, page: PageKey, rev: int) -> Sequence[BodyHash]:
        """Forget that bodies came from this revision, and remove those that came from no other; durable when it returns. Idempotent.

        Returns the bodies removed. A body that was also made from a revision that is still shown has the same text, and stays.
        """
        ...

    async def erase(self, bodies: Sequence[BodyHash]) -> None:
        """Remove bodies and their sources, durable when it returns; absent ones are ignored."""
        ...

    async def hashes(self, after: BodyHash | None, limit: int) -> Sequence[BodyHash]:
        """Stored hashes above `after`, in order: for the collection of orphans."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a shard saves, in one transaction. Of `pages` and `marks` only what changed since the last one is in it.

    Attributes:
        epoch: of the owner that saves; a store refuses (Fenced) a lower one than it has seen.
        log_base: identity of the changes stream: LSN = base + offset.
        applied: LSN up to which changes are in this state.
        commits_after: offset of the last commit record that is in this state.
        dirty: per class the pages that are dirty, in flight or parked, with the times since which they wait, encoded.
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

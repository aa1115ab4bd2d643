"""Bodies, checkpoints and copies in memory: the model in property tests, with faults to order. Nothing outlives the object."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headwater.kernel.errors import Corrupted, Fenced, HeadwaterError, Unavailable
from headwater.propagation.model import BodyHash, PageKey
from headwater.propagation.ports import BodySource, Checkpoint, Copy


@dataclass(slots=True)
class Faults:
    """Errors to raise: each call takes the next of its method's list; None lets that call through.

    Attributes:
        before: raised before anything happens.
        after: raised after it happened, as when no answer came.
    """

    before: dict[str, list[HeadwaterError | None]] = field(default_factory=dict)
    after: dict[str, list[HeadwaterError | None]] = field(default_factory=dict)

    def enter(self, method: str) -> None:
        """Raise what is ordered before `method`."""
        self._raise(self.before, method)

    def leave(self, method: str) -> None:
        """Raise what is ordered after `method`."""
        self._raise(self.after, method)

    def _raise(self, ordered: dict[str, list[HeadwaterError | None]], method: str) -> None:
        waiting = ordered.get(method)
        error = waiting.pop(0) if waiting else None
        if error is not None:
            raise error


class MemoryBodies:
    """A `BodyStore` in a dictionary."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self._bodies: dict[BodyHash, bytes] = {}
        self._sources: set[BodySource] = set()

    async def put(self, bodies: Mapping[BodyHash, bytes], sources: Sequence[BodySource] = ()) -> None:
        self.faults.enter("put")
        self._bodies.update(bodies)
        self._sources.update(sources)
        self.faults.leave("put")

    async def get(self, body: BodyHash) -> bytes | None:
        self.faults.enter("get")
        stored = self._bodies.get(body)
        if stored is not None and hashlib.sha256(stored).hexdigest() != body:
            raise Corrupted(f"body {body} does not match its hash")
        return stored

    async def absent(self, bodies: Sequence[BodyHash]) -> frozenset[BodyHash]:
        self.faults.enter("absent")
        return frozenset(body for body in bodies if body not in self._bodies)

    async def erase_revision(self, wiki: str, page: PageKey, rev: int) -> Sequence[BodyHash]:
        self.faults.enter("erase_revision")
        hidden = {source for source in self._sources if (source.wiki, source.page, source.rev) == (wiki, page, rev)}
        self._sources -= hidden
        kept = {source.body for source in self._sources}
        gone = sorted({source.body for source in hidden} - kept)
        for body in gone:
            self._bodies.pop(body, None)
        self.faults.leave("erase_revision")
        return gone

    async def erase(self, bodies: Sequence[BodyHash]) -> None:
        self.faults.enter("erase")
        for body in bodies:
            self._bodies.pop(body, None)
        self._sources = {source for source in self._sources if source.body not in bodies}
        self.faults.leave("erase")

    async def hashes(self, after: BodyHash | None, limit: int) -> Sequence[BodyHash]:
        self.faults.enter("hashes")
        return sorted(body for body in self._bodies if after is None or body > after)[:limit]

    def damage(self, body: BodyHash, content: bytes) -> None:
        """Replace stored content behind the store's back."""
        self._bodies[body] = content


class MemoryCopies:
    """`Copies` that a test sets; addresses that it does not set answer without `X-Headwater-Seq`.

    Attributes:
        found: what each address answers; None does not answer.
        asked: every address asked, in order.
    """

    def __init__(self) -> None:
        self.found: dict[str, Copy | None] = {}
        self.asked: list[str] = []

    async def copy(self, url: str) -> Copy:
        """As the port says."""
        self.asked.append(url)
        found = self.found.get(url, Copy(None, None))
        if found is None:
            raise Unavailable("the cache does not answer")
        return found


class MemoryCheckpoints:
    """A `CheckpointStore` that keeps the state merged, as the file would."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self._saved: Checkpoint | None = None

    async def load(self) -> Checkpoint | None:
        self.faults.enter("load")
        return self._saved

    async def save(self, checkpoint: Checkpoint) -> None:
        self.faults.enter("save")
        self._saved = merged(self._saved, checkpoint)
        self.faults.leave("save")


def merged(saved: Checkpoint | None, checkpoint: Checkpoint) -> Checkpoint:
    """What a store holds after saving `checkpoint` over `saved`. Raises Fenced, Corrupted (another log)."""
    if saved is None:
        pages: dict[int, bytes | None] = {}
        marks: dict[str, bytes | None] = {}
    else:
        if checkpoint.epoch < saved.epoch:
            raise Fenced(f"epoch {saved.epoch} has saved this shard; epoch {checkpoint.epoch} is over")
        if checkpoint.log_base != saved.log_base:
            raise Corrupted("the saved shard belongs to another log")
        pages, marks = dict(saved.pages), dict(saved.marks)
    pages.update(checkpoint.pages)
    marks.update(checkpoint.marks)
    return dataclasses.replace(
        checkpoint,
        pages={number: node for number, node in pages.items() if node is not None},
        marks={resource: mark for resource, mark in marks.items() if mark is not None},
    )

"""A shard's state to a checkpoint and back.

Invariants: a checkpoint is one instant; what was touched after it was taken is in the next one, whether or not it could be saved;
pages in flight are saved as dirty. Pages and marks are immutable values, so a checkpoint only refers to them and encodes them when it is
read: taking one costs microseconds per thousand pages.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec
from pyroaring import BitMap

from headwater.kernel.errors import Corrupted
from headwater.propagation import codec
from headwater.propagation.ages import AgeQueue, Entry
from headwater.propagation.model import Lsn, Resource, Urgency
from headwater.propagation.ports import Checkpoint
from headwater.propagation.state import Mark, Node, ShardState

HORIZON = ""  # key among the marks of a checkpoint, no resource's name: the LSN at which every resource counts as changed
ENTRIES_PER_CLASS_MAX = 64  # times of waiting pages are saved this coarsely, never later than true

_Key = TypeVar("_Key", int, str)
_Value = TypeVar("_Value")


class Encoded(Mapping[_Key, bytes | None], Generic[_Key, _Value]):
    """Values by key, encoded on each access; None stays None. Read-only, safe to read in another thread."""

    def __init__(self, values: Mapping[_Key, _Value | None], encode: Callable[[_Value], bytes]) -> None:
        self._values: Mapping[_Key, _Value | None] = values
        self._encode = encode

    def __getitem__(self, key: _Key) -> bytes | None:
        value = self._values[key]
        return None if value is None else self._encode(value)

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Unsaved:
    """What a shard has touched since the last saved checkpoint."""

    def __init__(self) -> None:
        self._nodes: set[int] = set()
        self._marks: set[Resource] = set()
        self._left: set[int] = set()  # numbers whose pages are gone in the checkpoint taken last
        self._taken: Checkpoint | None = None

    def take(self, state: ShardState, *, epoch: int, log_base: int, waiting: Sequence[Mapping[int, BitMap]]) -> Checkpoint:
        """A checkpoint of `state` as of now; what an earlier one held that was not saved is in it too."""
        self._nodes |= state.touched_nodes
        self._marks |= state.touched_marks
        state.touched_nodes, state.touched_marks = set(), set()
        nodes: Mapping[int, Node | None] = {number: state.node_or_none(number) for number in self._nodes}
        marks: dict[str, Mark | int | None] = {resource: state.mark(resource) for resource in self._marks}
        if state.horizon is not None:
            marks[HORIZON] = state.horizon
        self._left = {number for number, node in nodes.items() if node is None}
        self._taken = Checkpoint(
            epoch=epoch,
            log_base=log_base,
            applied=state.applied,
            commits_after=state.commits_after,
            dirty={
                urgency: codec.encode_waiting(Entry(time_ms, pages) for time_ms, pages in by_time.items())
                for urgency, by_time in enumerate(waiting)
            },
            pages=Encoded[int, Node](nodes, codec.encode_node),
            marks=Encoded[str, Mark | int](marks, _encode_mark),
        )
        return self._taken

    def saved(self, state: ShardState, checkpoint: Checkpoint) -> None:
        """`checkpoint`, the one taken last, is durable: its pages and marks need not be saved again, its freed numbers are free."""
        assert checkpoint is self._taken, "only the checkpoint taken last can be acknowledged"
        state.freed(self._left)
        self._nodes, self._marks, self._left, self._taken = set(), set(), set(), None


def waiting(state: ShardState, held: Sequence[tuple[Urgency, int, int]]) -> list[dict[int, BitMap]]:
    """Per class, by time: the dirty pages of `state`, and of `held` (class, time, number) those that do not wait besides."""
    classes: list[dict[int, BitMap]] = [
        {entry.time_ms: entry.pages for entry in queue.entries(ENTRIES_PER_CLASS_MAX)} for queue in state.dirty
    ]
    for urgency, since_ms, number in held:
        if state.class_of(number) is None:
            classes[urgency].setdefault(since_ms, BitMap()).add(number)
    return classes


def restore(state: ShardState, checkpoint: Checkpoint) -> None:
    """Fill an empty state with what a checkpoint holds. Raises Corrupted, FormatTooNew."""
    state.applied = Lsn(checkpoint.applied)
    state.commits_after = checkpoint.commits_after
    for number, row in checkpoint.pages.items():
        if row is not None:
            state.restore_node(number, codec.decode_node(row))
    state.free_holes()
    for name, row in checkpoint.marks.items():
        if row is not None and name == HORIZON:
            state.horizon = _horizon_of(row)
        elif row is not None:
            state.restore_mark(Resource(name), codec.decode_mark(row))
    _restore_waiting(state, checkpoint.dirty)


def _restore_waiting(state: ShardState, dirty: Mapping[int, bytes]) -> None:
    numbers = BitMap(state.numbers())
    seen = BitMap()
    queues = list(state.dirty)
    for urgency, row in sorted(dirty.items()):
        if not 0 <= urgency < len(queues):
            raise Corrupted(f"the checkpoint has a class {urgency}")
        entries = codec.decode_waiting(row)
        for entry in entries:
            if not entry.pages.issubset(numbers) or not entry.pages.isdisjoint(seen):
                raise Corrupted("the checkpoint has dirty pages that it does not hold, or twice")
            seen |= entry.pages
        queues[urgency] = AgeQueue.of(entries)
    state.dirty = tuple(queues)


def _encode_mark(mark: Mark | int) -> bytes:
    return codec.encode_mark(mark) if isinstance(mark, Mark) else msgspec.msgpack.encode(mark)


def _horizon_of(row: bytes) -> Lsn:
    try:
        return Lsn(msgspec.msgpack.decode(row, type=int))
    except msgspec.DecodeError as error:
        raise Corrupted("the horizon of the checkpoint does not decode") from error

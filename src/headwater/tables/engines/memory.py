"""Tables in memory: the model of what a store does, for tests and for trying things out. Nothing survives the process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from sortedcontainers import SortedDict

from headwater.kernel.clock import Clock
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.waiting import Waiters
from headwater.tables.errors import ChangesTrimmed, PartitionFull, PositionUnknown, SchemaChanged, TableQuotaExceeded, WriteIdReused
from headwater.tables.model import (
    NOTHING,
    Change,
    Changes,
    ClusteringKey,
    Declaration,
    KeyedRow,
    Outcome,
    Page,
    PartitionKey,
    PartitionUsage,
    Place,
    Revision,
    RowKey,
    Slice,
    SpaceId,
    StoredRow,
    Usage,
    Walked,
    Write,
)
from headwater.tables.rows import (
    CHANGES_BYTES_MAX,
    Effect,
    Found,
    carry_out,
    changes_of,
    check_row,
    encode_row,
    first_expiry,
    live,
    refusal,
    size_bytes,
)


@dataclass(slots=True)
class _Partition:
    rows: "SortedDict[ClusteringKey, StoredRow]" = field(default_factory=SortedDict)
    static: StoredRow | None = None

    def stored(self) -> Iterator[tuple[ClusteringKey | None, StoredRow]]:
        if self.static is not None:
            yield None, self.static
        yield from self.rows.items()

    def put(self, clustering: ClusteringKey | None, row: StoredRow | None) -> None:
        if clustering is None:
            self.static = row
        elif row is None:
            self.rows.pop(clustering, None)
        else:
            self.rows[clustering] = row


@dataclass(slots=True)
class _Space:
    partitions: dict[PartitionKey, _Partition] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    trimmed: int = 0
    outcomes: dict[tuple[PartitionKey, str], tuple[int, bytes, Outcome]] = field(default_factory=dict)


class MemoryTableStore:
    """`TableStore` in dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._declarations: dict[tuple[str, str], Declaration] = {}
        self._spaces: dict[SpaceId, _Space] = {}
        self._dropped: list[SpaceId] = []
        self._last_id = 0
        self._revision = 0
        self._waiters = Waiters[SpaceId](clock)

    async def close(self) -> None:
        """Let nobody wait any longer."""
        self._waiters.wake_all()

    # The catalogue

    async def declarations(self) -> Sequence[Declaration]:
        """All of them."""
        return list(self._declarations.values())

    async def declare(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration | None:
        """Compare and set."""
        present = self._declarations.get((declaration.group, declaration.name))
        if (None if present is None else present.epoch) != replaces:
            return None
        domains = dict(present.domains) if present else {}
        for domain in declaration.domains:
            if domain not in domains:
                domains[domain] = SpaceId(self._next_id())
                self._spaces[domains[domain]] = _Space()
        incarnation = present.incarnation if present else self._next_id()
        stored = msgspec.structs.replace(declaration, incarnation=incarnation, epoch=self._next_id(), domains=domains)
        self._declarations[stored.group, stored.name] = stored
        for space in domains.values() if ends_streams else ():
            self._spaces[space].trimmed = self._next_revision(0)
        return stored

    async def add_space(self, declaration: Declaration, domain: str) -> SpaceId | None:
        """Compare and add."""
        present = self._declarations.get((declaration.group, declaration.name))
        if present is None or present.incarnation != declaration.incarnation:
            return None
        space = present.domains.get(domain)
        if space is None:
            space = SpaceId(self._next_id())
            self._spaces[space] = _Space()
            domains = {**present.domains, domain: space}
            self._declarations[present.group, present.name] = msgspec.structs.replace(present, domains=domains)
        return space

    async def drop(self, declaration: Declaration, *, domain: str | None) -> bool:
        """Compare and remove."""
        at = declaration.group, declaration.name
        present = self._declarations.get(at)
        if present is None or present.epoch != declaration.epoch:
            return False
        left = {name: space for name, space in present.domains.items() if domain is not None and name != domain}
        gone = [space for name, space in present.domains.items() if name not in left]
        if left:
            self._declarations[at] = msgspec.structs.replace(present, epoch=self._next_id(), domains=left)
        else:
            del self._declarations[at]
        self._dropped += gone
        self._waiters.wake(gone)
        return True

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _epoch_of(self, space: SpaceId) -> int | None:
        for declaration in self._declarations.values():
            if space in declaration.domains.values():
                return declaration.epoch
        return None

    def _space(self, id: SpaceId) -> _Space | None:
        return None if self._epoch_of(id) is None else self._spaces[id]

    # Reads

    async def read(self, slice: Slice, *, now_s: int) -> Page:
        """Every row of the partition is looked at."""
        space = self._space(slice.space)
        partition = _Partition() if space is None else space.partitions.get(slice.partition, _Partition())
        static = live(partition.static, now_s) if slice.statics else None
        keys = [key for key in partition.rows if _is_within(slice, key)]
        if slice.backwards:
            keys.reverse()
        found: list[KeyedRow] = []
        taken_bytes = 0
        static_bytes = 0 if partition.static is None or not slice.statics else len(encode_row(partition.static))
        for n, key in enumerate(keys):
            if len(found) == slice.limit or (found and taken_bytes >= slice.bytes_max):
                return Page(found, keys[n - 1])
            row = live(partition.rows[key], now_s)
            if row is not None:
                found.append(KeyedRow(key, row, static))
                taken_bytes += len(encode_row(partition.rows[key])) + static_bytes
        if slice.whole and static is not None and not any(live(row, now_s) for row in partition.rows.values()):
            found.append(KeyedRow(None, None, static))
        return Page(found, None)

    async def read_rows(self, keys: Sequence[RowKey], *, now_s: int) -> Sequence[StoredRow | None]:
        """One search for each."""
        return [self._find(*key, now_s=now_s) for key in keys]

    def _find(self, space: SpaceId, partition: PartitionKey, clustering: ClusteringKey, *, now_s: int) -> StoredRow | None:
        kept = self._space(space)
        found = None if kept is None else kept.partitions.get(partition)
        return None if found is None else live(found.rows.get(clustering), now_s)

    async def walk(self, space: SpaceId, after: Place | None, *, limit: int, now_s: int) -> Walked:
        """Partitions in the order of their keys."""
        kept = self._space(space)
        found: list[tuple[PartitionKey, KeyedRow]] = []
        for key, partition in sorted(kept.partitions.items() if kept is not None else ()):
            if after is not None and key < after[0]:
                continue
            beyond = after[1] if after is not None and key == after[0] else None
            found += ((key, row) for row in _walked(partition, beyond, now_s, resumed=after is not None and key == after[0]))
        rows = found[:limit]
        return Walked(rows, (rows[-1][0], rows[-1][1].clustering) if len(found) > limit else None)

    async def usage(self, space: SpaceId) -> Usage:
        """Counted."""
        kept = self._space(space)
        return NOTHING if kept is None else _whole(kept)

    async def total(self) -> Usage:
        """Counted."""
        return sum([await self.usage(space) for one in await self.declarations() for space in one.domains.values()], NOTHING)

    async def largest(self, space: SpaceId, *, limit: int) -> Sequence[PartitionUsage]:
        """Sorted."""
        kept = self._space(space)
        usages = [PartitionUsage(key, _usage(key, partition)) for key, partition in kept.partitions.items()] if kept else []
        usages.sort(key=lambda one: one.usage.size_bytes, reverse=True)
        return [one for one in usages if one.usage.size_bytes][:limit]

    # Writes

    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        """In one turn of the loop."""
        space = self._space(write.space)
        if space is None or self._epoch_of(write.space) != write.epoch:
            raise SchemaChanged("the table was changed meanwhile")
        if write.write_id is None:
            return self._write(space, write, now_ms)
        first = space.outcomes.get((write.partition, write.write_id))
        if first is not None:
            if first[1] != write.digest:
                raise WriteIdReused("this write_id was used for another write", where="write_id")
            return msgspec.structs.replace(first[2], repeated=True)
        outcome = self._write(space, write, now_ms)
        space.outcomes[write.partition, write.write_id] = now_ms, write.digest, outcome
        return outcome

    def _write(self, space: _Space, write: Write, now_ms: int) -> Outcome:
        partition = space.partitions.get(write.partition, _Partition())
        found = Found(dict(partition.rows), partition.static)
        current = refusal(write, found, now_ms // 1000)
        if current is not None:
            return Outcome(False, None, current)
        revision = self._next_revision(now_ms)
        effect = carry_out(write, found, revision=revision, now_s=now_ms // 1000)
        changed = _Partition(SortedDict(partition.rows), effect.static)
        for key, row in effect.rows.items():
            changed.put(key, row)
        _check_room(write, space, partition, changed)
        changes: Sequence[Change] = ()
        if write.table.options.changes:
            changes = changes_of(write.partition, found, effect, revision=revision, now_ms=now_ms)
        space.partitions[write.partition] = changed
        self._note(write.space, changes)
        return Outcome(True, revision)

    def _next_revision(self, now_ms: int) -> Revision:
        self._revision = max(self._revision + 1, now_ms * 1000)
        return Revision(self._revision)

    def _note(self, space: SpaceId, changes: Sequence[Change]) -> None:
        if changes:
            self._revision = max(self._revision, changes[-1].sequence)
            self._spaces[space].changes += changes
            self._waiters.wake((space,))

    async def write_each(self, writes: Sequence[Write], *, now_ms: int) -> Sequence[Outcome | HeadwaterError]:
        """One after the other."""
        outcomes: list[Outcome | HeadwaterError] = []
        for write in writes:
            try:
                outcomes.append(await self.write(write, now_ms=now_ms))
            except HeadwaterError as error:
                outcomes.append(error)
        return outcomes

    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        """Row by row."""
        space = self._space(slice.space)
        if space is None or self._epoch_of(slice.space) != epoch:
            raise SchemaChanged("the table was changed meanwhile")
        partition = space.partitions.get(slice.partition)
        if partition is None:
            return 0, True
        now_s = now_ms // 1000
        there = [key for key, row in partition.rows.items() if _is_within(slice, key) and live(row, now_s)]
        most = slice.limit
        if table_changes and partition.static is not None:
            most = min(most, max(1, CHANGES_BYTES_MAX // len(encode_row(partition.static))))
        for key in there[:most]:
            self._clear_one(slice, partition, key, table_changes=table_changes, now_ms=now_ms)
        if len(there) > most:
            return most, False
        if slice.whole and partition.static is not None:
            self._clear_one(slice, partition, None, table_changes=table_changes, now_ms=now_ms)
        return len(there), True

    def _clear_one(self, slice: Slice, partition: _Partition, key: ClusteringKey | None, *, table_changes: bool, now_ms: int) -> None:
        found = Found(dict(partition.rows), partition.static)
        partition.put(key, None)
        effect = Effect({} if key is None else {key: None}, partition.static, key is None)
        if table_changes:
            revision = self._next_revision(now_ms)
            self._note(slice.space, changes_of(slice.partition, found, effect, revision=revision, now_ms=now_ms))

    # The change stream

    async def changes(self, space: SpaceId, after: int, *, limit: int, wait_s: float) -> Changes:
        """Those of the space after the position."""
        changes = self._changes(space, after)
        if not changes and wait_s > 0:
            await self._waiters.wait(space, wait_s)
            changes = self._changes(space, after)
        page = changes[:limit]
        return Changes(page, page[-1].sequence if page else after, len(page) == len(changes))

    def _changes(self, id: SpaceId, after: int) -> Sequence[Change]:
        space = self._space(id)
        if space is None:
            return []
        if after < space.trimmed:
            raise ChangesTrimmed(f"changes up to position {space.trimmed} have been trimmed; those after it are there", first=space.trimmed)
        if after > max(space.trimmed, space.changes[-1].sequence if space.changes else 0):
            raise PositionUnknown
        return [change for change in space.changes if change.sequence > after]

    # Upkeep

    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        """One space after the other, all of it at once where that is more than the limit."""
        for id in self._dropped:
            del self._spaces[id]
        self._dropped.clear()
        for space in self._spaces.values():
            for partition in space.partitions.values():
                _strip(partition, now_ms // 1000)
            for change in space.changes:
                if change.at_ms >= now_ms - changes_kept_ms:
                    break
                space.trimmed = max(space.trimmed, change.sequence)
            space.changes = [change for change in space.changes if change.sequence > space.trimmed]
            space.outcomes = {key: one for key, one in space.outcomes.items() if one[0] >= now_ms - write_ids_kept_ms}
        return False


def _is_within(slice: Slice, key: ClusteringKey) -> bool:
    if slice.point:
        return key == slice.lower
    if slice.after is not None and not (key < slice.after if slice.backwards else key > slice.after):
        return False
    return slice.lower <= key and (slice.upper is None or key < slice.upper)


def _walked(partition: _Partition, beyond: ClusteringKey | None, now_s: int, *, resumed: bool) -> Iterator[KeyedRow]:
    static = live(partition.static, now_s)
    rows = [KeyedRow(key, row, static) for key, stored in partition.rows.items() if (row := live(stored, now_s)) is not None]
    if not rows and static is not None and not resumed:
        yield KeyedRow(None, None, static)
    yield from (row for row in rows if beyond is None or (row.clustering is not None and row.clustering > beyond))


def _usage(key: PartitionKey, partition: _Partition) -> Usage:
    return Usage(len(partition.rows), sum(size_bytes(key, clustering, encode_row(row)) for clustering, row in partition.stored()))


def _whole(space: _Space) -> Usage:
    return sum((_usage(key, partition) for key, partition in space.partitions.items()), NOTHING)


def _check_room(write: Write, space: _Space, before: _Partition, after: _Partition) -> None:
    """Only what grows is refused."""
    for clustering, row in after.stored():
        was_there = before.static if clustering is None else before.rows.get(clustering)
        check_row(write, len(encode_row(row)), 0 if was_there is None else len(encode_row(was_there)))
    was, becomes = _usage(write.partition, before), _usage(write.partition, after)
    if becomes.size_bytes > was.size_bytes and becomes.size_bytes > write.partition_bytes_max:
        raise PartitionFull("the partition has reached its ceiling", where="partition")
    rows, size = becomes.rows - was.rows, becomes.size_bytes - was.size_bytes
    whole = _whole(space)
    if rows > 0 and whole.rows + rows > write.room.rows:
        raise TableQuotaExceeded("the quota of rows is used up")
    if size > 0 and whole.size_bytes + size > write.room.size_bytes:
        raise TableQuotaExceeded("the quota of bytes is used up")


def _strip(partition: _Partition, now_s: int) -> None:
    """Take out what has expired."""
    for clustering, row in list(partition.stored()):
        if 0 < first_expiry(row) <= now_s:
            partition.put(clustering, live(row, now_s))

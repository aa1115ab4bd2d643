"""Sessions in memory: the model of what a store does, for tests and for trying things out. Nothing survives the process."""

from collections.abc import Mapping, Sequence, Set

from msgspec import structs
from sortedcontainers import SortedDict

from headwater.sessions.model import Generation, Row, RowId, RowOutline, Version
from headwater.sessions.sealing import version_of


class MemorySessionStore:
    """`SessionStore` in dictionaries.

    Attributes:
        rows, generations: what is stored, open to tests that damage it.
    """

    shared = False

    def __init__(self) -> None:
        self.rows: SortedDict[RowId, Row] = SortedDict()
        self.generations: dict[bytes, Generation] = {}
        self._sequence = 0

    async def near(self, id: RowId) -> Row | None:
        """The row, or the next one."""
        rows = self.rows
        at = rows.bisect_left(id)
        if at == len(rows):
            return None
        row: Row = rows.peekitem(at)[1]
        return row

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        """Compare and set."""
        if self._version(row.id) != expected:
            return False
        self.rows[row.id] = row
        for id in clears:
            self.rows.pop(id, None)
        return True

    async def extend(self, id: RowId, deadline: bytes, *, version: Version, replaces: bytes | None = None) -> bool:
        """Replace the deadline alone."""
        if self._version(id) != version:
            return False
        row = self.rows[id]
        if replaces not in (None, row.deadline):
            return False
        self.rows[id] = Row(id, row.head, deadline, row.sealed)
        return True

    async def delete(self, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
        """Remove all of them."""
        removed = {id for id, version in rows.items() if id in self.rows and version in (None, self._version(id))}
        for id in removed:
            del self.rows[id]
        return removed

    async def put_generations(self, generations: Sequence[Generation]) -> None:
        """Put all of them."""
        for generation in generations:
            self._sequence += 1
            self.generations.pop(generation.scope, None)
            self.generations[generation.scope] = structs.replace(generation, sequence=self._sequence)

    async def get_generation(self, scope: bytes) -> Generation | None:
        """The record."""
        return self.generations.get(scope)

    async def generations_since(self, sequence: int, *, limit: int) -> Sequence[Generation]:
        """The records in the order in which they were put."""
        return [each for each in self.generations.values() if each.sequence > sequence][:limit]

    async def delete_generations(self, generations: Sequence[Generation]) -> None:
        """Compare and remove."""
        for generation in generations:
            stored = self.generations.get(generation.scope)
            if stored is not None and stored.sequence == generation.sequence:
                del self.generations[generation.scope]

    async def page(self, after: RowId | None, *, limit: int) -> Sequence[RowOutline]:
        """Rows in order."""
        ids = list(self.rows.irange(minimum=after, inclusive=(False, True)))[:limit]
        return [RowOutline(row.id, row.head, row.deadline, len(row.sealed)) for row in map(self.rows.__getitem__, ids)]

    def _version(self, id: RowId) -> Version | None:
        row = self.rows.get(id)
        return None if row is None else version_of(row)

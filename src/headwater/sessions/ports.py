"""What sessions need of a database: rows by id, one row at a time, and a small table of generations.

Narrow enough for a wide-column store: no operation scans, reads a second index, or needs a transaction over two rows. Only maintenance
pages through the rows.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Protocol

from headwater.sessions.model import Generation, Row, RowId, RowOutline, Version


class SessionStore(Protocol):
    """Durable rows. Every write returns when it is durable and every later read sees it.

    Errors of all methods: Unavailable (nothing happened), Corrupted; of those that write also StorageFull, Overloaded (nothing was
    written) and OutcomeUnknown.

    Attributes:
        shared: whether other processes may write to the same rows, so that a revocation has to wait until they know of it.
    """

    shared: bool

    async def near(self, id: RowId) -> Row | None:
        """The row; another one, or None, where it is not there. One search, on the event loop where the engine is local.

        Callers look at the id of what they get. An engine returns another row where it can, the next one in its order: then to look for
        what is not there is the same work as to find something, for every size of the store and state of its caches.
        """
        ...

    async def put(self, row: Row, *, expected: Version | None, clears: Sequence[RowId] = ()) -> bool:
        """Write `row` if the row stored under its id has the version `expected` (None: there is none); says whether it was written.

        Linearizable per row. `clears` are removed with it or after it, never before; they matter only while service keys are changed.
        A row with nothing sealed in it ends a session, so it may use the last space.
        """
        ...

    async def extend(self, id: RowId, deadline: bytes, *, version: Version, replaces: bytes | None = None) -> bool:
        """Replace the deadline of the row if it has that version; says whether it has. Does not change the version.

        With `replaces` only if the deadline is still that one.
        """
        ...

    async def delete(self, rows: Mapping[RowId, Version | None]) -> Set[RowId]:
        """Remove rows, in the order given; one with a version only if it still has it. Absent rows are fine. May use the last space.

        Returns:
            The rows that this very call has removed.
        """
        ...

    async def put_generations(self, generations: Sequence[Generation]) -> None:
        """Replace the records of their scopes; each gets a new sequence. In the order given, not as one. May use the last space."""
        ...

    async def get_generation(self, scope: bytes) -> Generation | None:
        """The record of a scope, or None."""
        ...

    async def generations_since(self, sequence: int, *, limit: int) -> Sequence[Generation]:
        """Records put after the one with that sequence, in the order of their sequences; without those that were replaced since."""
        ...

    async def delete_generations(self, generations: Sequence[Generation]) -> None:
        """Remove the records of these scopes that still have the sequence they had. May use the last space."""
        ...

    async def page(self, after: RowId | None, *, limit: int) -> Sequence[RowOutline]:
        """Up to `limit` rows in the order of their ids. Does not hold up other operations."""
        ...

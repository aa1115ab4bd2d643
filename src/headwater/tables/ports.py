"""What tables need of a database: consecutive rows of a partition, atomic writes to one partition, and a small catalogue.

Narrow enough for a wide-column store: nothing filters, nothing reads a second index, nothing writes to two partitions at once. Only
administration walks over partitions. Laws: `headwater.testing.table_laws`.
"""

from collections.abc import Sequence
from typing import Protocol

from headwater.kernel.errors import HeadwaterError
from headwater.tables.model import (
    Changes,
    Declaration,
    Outcome,
    Page,
    PartitionUsage,
    Place,
    RowKey,
    Slice,
    SpaceId,
    StoredRow,
    Usage,
    Walked,
    Write,
)


class TableStore(Protocol):
    """Durable tables. Every write returns when it is durable, and every later read sees it.

    Errors of all methods: Unavailable (nothing happened), Corrupted; of those that write also StorageFull, Overloaded (nothing was
    written) and OutcomeUnknown.
    """

    async def declarations(self) -> Sequence[Declaration]:
        """The whole catalogue."""
        ...

    async def declare(self, declaration: Declaration, *, replaces: int | None, ends_streams: bool = False) -> Declaration | None:
        """Put a declaration on record if the present one has the epoch `replaces` (None: there is none); linearizable per group and name.

        Returns it with its incarnation (a new one where there was none), its epoch, and a space for each domain that has none yet (given as
        0); None if the present one is another. Space ids, incarnations and epochs are never used twice. A domain that has a space keeps it;
        only `drop` takes one away. With `ends_streams` every change so far counts as trimmed from then on, in all of its spaces.
        """
        ...

    async def add_space(self, declaration: Declaration, domain: str) -> SpaceId | None:
        """Give a domain a space in a declaration, however many others have one; the one that it has, if it has. The epoch stays as it is,
        since no row that is there means anything else by it. None if there is no declaration of that incarnation.
        """
        ...

    async def drop(self, declaration: Declaration, *, domain: str | None) -> bool:
        """Take a domain's space out of a declaration, or with None take the declaration and all its spaces away; False if the present epoch
        is another. From then on no read sees the rows and no write reaches them; `reclaim` takes back their room. The last domain that
        goes takes the declaration with it.
        """
        ...

    async def read(self, slice: Slice, *, now_s: int) -> Page:
        """Live rows of a slice, from one snapshot; on the event loop where the engine is local and the limit small."""
        ...

    async def read_rows(self, keys: Sequence[RowKey], *, now_s: int) -> Sequence[StoredRow | None]:
        """The live rows of the first of these keys, of all or at least of one where they are large; each without its static row: what
        `read` finds of the slice that is that point. All from one snapshot.
        """
        ...

    async def write(self, write: Write, *, now_ms: int) -> Outcome:
        """Carry out `write` as `headwater.tables.rows.carry_out` says: linearizable per partition; with its changes, or not at all.

        Raises:
            SchemaChanged: the declaration of the space is not the one the write was planned with; plan again.
            TooLarge: a row would be larger than rows may be.
            PartitionFull: the partition would pass its ceiling.
            TableQuotaExceeded: the space would pass its room.
            WriteIdReused: the `write_id` was used for something else.
        """
        ...

    async def write_each(self, writes: Sequence[Write], *, now_ms: int) -> Sequence[Outcome | HeadwaterError]:
        """Carry out each of the writes as `write` does, in their order; what `write` would raise of one stands in its place.

        Raises:
            OutcomeUnknown: some may have been done.
            HeadwaterError: any other one is of all of them, and none was done.
        """
        ...

    async def clear(self, slice: Slice, *, epoch: int, table_changes: bool, now_ms: int) -> tuple[int, bool]:
        """Delete the live rows of a slice, at most its limit, fewer if they are large, row by row; with `whole` at last the static row.
        Says how many rows it deleted and whether none is left. Each deleted row is a change where `table_changes`.

        Raises:
            SchemaChanged: the declaration of the space has another epoch than that it was planned with; plan again.
        """
        ...

    async def changes(self, space: SpaceId, after: int, *, limit: int, wait_s: float) -> Changes:
        """Changes after a position, 0 being the beginning; waits up to `wait_s` for a first one.

        Raises:
            PositionUnknown: the position is beyond the newest change, and so not one of this space.
            ChangesTrimmed: some after that position have been trimmed; says the first position that can be read from.
        """
        ...

    async def walk(self, space: SpaceId, after: Place | None, *, limit: int, now_s: int) -> Walked:
        """Administration: live rows of all partitions beyond a place, in any order of the partitions. Holds up no other operation."""
        ...

    async def usage(self, space: SpaceId) -> Usage:
        """What a space takes; nothing, of one that has been dropped."""
        ...

    async def total(self) -> Usage:
        """Administration: what all spaces take that have not been dropped."""
        ...

    async def largest(self, space: SpaceId, *, limit: int) -> Sequence[PartitionUsage]:
        """Administration: the largest partitions, largest first."""
        ...

    async def reclaim(self, *, now_ms: int, changes_kept_ms: int, write_ids_kept_ms: int, limit: int) -> bool:
        """Take back the room of expired rows, dropped spaces, old changes and write ids, at most `limit` rows, fewer if they are large;
        says whether more is left to do now.
        """
        ...

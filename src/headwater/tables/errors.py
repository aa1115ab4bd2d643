"""What can go wrong with tables only."""

from headwater.kernel.errors import HeadwaterError, InvalidInput, NotFound, Retry, StorageFull


class WrongType(InvalidInput):
    """A value is not of its column's type; `where` names the column."""

    code = "wrong-type"


class InvalidPagingToken(InvalidInput):
    """`next` is not a token that an answer to the same query gave."""

    code = "invalid-paging-token"


class NoSuchTable(NotFound):
    """The domain has declared no such table."""

    code = "no-such-table"


class NoSuchDomain(NotFound):
    """No storage group holds the domain."""

    code = "no-such-domain"


class MigrationRefused(HeadwaterError):
    """The declared schema cannot replace the present one; `where` names the element."""

    code = "migration-refused"


class SchemaChanged(HeadwaterError):
    """The table was migrated or dropped while a request was on its way; nothing was done."""

    code = "schema-changed"
    retry = Retry.LATER


class PartitionFull(StorageFull):
    """The write would take the partition past its ceiling; nothing was written. `where` names the partition."""

    code = "partition-full"
    retry = Retry.NEVER


class TableQuotaExceeded(StorageFull):
    """The domain or table has used up its rows or bytes; nothing was written."""

    code = "table-quota-exceeded"


class WriteIdReused(HeadwaterError):
    """The `write_id` was given before, for another write; nothing was done."""

    code = "write-id-reused"


class PositionUnknown(InvalidInput):
    """The position of a change stream is beyond its newest change: it was given by another stream, or by none."""

    code = "position-unknown"

    def __init__(self) -> None:
        super().__init__(
            "the position is beyond the newest change: it is not from this stream; look at all rows and begin without it", where="since"
        )


class ChangesTrimmed(HeadwaterError):
    """Changes after the given position have been trimmed; `first` is where reading can go on."""

    code = "changes-trimmed"

    def __init__(self, detail: str, *, first: int) -> None:
        super().__init__(detail)
        self.first = first

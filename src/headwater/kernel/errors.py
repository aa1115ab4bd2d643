"""The error tree. Every error that leaves a room of Headwater is one of these.

Each class has a stable `code` (documented API, never reused for another meaning) and says whether, and when, the
same call may be repeated. HTTP statuses do not exist here; `headwater.http.problems` maps codes to them.
A bug is an assertion, never one of these.
"""

from enum import Enum


class Retry(Enum):
    """Whether the same call may be made again."""

    NEVER = "never"  # the call itself is wrong; repeating it cannot help
    LATER = "later"  # nothing happened; the same call may succeed later
    UNKNOWN = "unknown"  # it may or may not have happened; only an idempotent call may be repeated


class HeadwaterError(Exception):
    """Root of all errors.

    Attributes:
        code: stable name of the kind of error, in kebab case.
        retry: whether the same call may be repeated.
        detail: what is wrong, for the person who made the call; holds no secret and no body.
        where: the field, option or header at fault, as a path (`/meta/stream`), or None.
        retry_after_s: seconds to wait before repeating, where the error knows.
    """

    code = "internal"
    retry = Retry.NEVER

    def __init__(self, detail: str, *, where: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.where = where
        self.retry_after_s = retry_after_s


class InvalidInput(HeadwaterError):
    """The input breaks a documented rule."""

    code = "invalid-input"


class InvalidConfig(HeadwaterError):
    """The configuration cannot be used; `where` is its path and line."""

    code = "invalid-config"


class NotFound(HeadwaterError):
    """The thing named does not exist."""

    code = "not-found"


class Unauthenticated(HeadwaterError):
    """No valid credentials were given."""

    code = "unauthenticated"


class Forbidden(HeadwaterError):
    """The credentials given do not allow this."""

    code = "forbidden"


class TooLarge(HeadwaterError):
    """The input exceeds a configured size."""

    code = "too-large"


class DeadlineExceeded(HeadwaterError):
    """The caller did not send what it announced in time."""

    code = "deadline-exceeded"
    retry = Retry.LATER


class Overloaded(HeadwaterError):
    """A configured maximum of work is under way; nothing was done."""

    code = "overloaded"
    retry = Retry.LATER


class Unavailable(HeadwaterError):
    """A dependency does not answer, or refuses for now; nothing was done."""

    code = "unavailable"
    retry = Retry.LATER


class StorageFull(HeadwaterError):
    """The disk or a quota is full; nothing was written, reads go on."""

    code = "storage-full"
    retry = Retry.LATER


class Fenced(HeadwaterError):
    """Another owner has claimed what this one owned; this one must stop."""

    code = "fenced"


class OutcomeUnknown(HeadwaterError):
    """A write was sent and no answer came: it may or may not have happened."""

    code = "outcome-unknown"
    retry = Retry.UNKNOWN


class Corrupted(HeadwaterError):
    """Stored data does not match its checksum; it is reported and never served."""

    code = "corrupted"


class OffsetTrimmed(HeadwaterError):
    """Records after the given offset have been trimmed; `first` is the first offset still there."""

    code = "offset-trimmed"

    def __init__(self, detail: str, *, first: int) -> None:
        super().__init__(detail)
        self.first = first


class AlreadyOwned(HeadwaterError):
    """Another process owns the data directory."""

    code = "already-owned"


class FormatTooNew(HeadwaterError):
    """Data on disk was written by a newer version of Headwater than this one can read."""

    code = "format-too-new"

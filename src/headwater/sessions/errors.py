"""What can stand in the way of a write to a session, beside what the kernel's errors say already."""

from headwater.kernel.errors import HeadwaterError, Retry


class ConditionFailed(HeadwaterError):
    """The session is not as the caller's condition says; nothing was written."""

    code = "condition-failed"


class Revoked(HeadwaterError):
    """The session was revoked, or has reached the end of its absolute lifetime: a late save must not bring it back."""

    code = "session-revoked"


class QuotaExceeded(HeadwaterError):
    """The namespace has used up its rows, its bytes or its writes per second; nothing was written, reads and deletes go on."""

    code = "quota-exceeded"
    retry = Retry.LATER


class KeysUnusable(HeadwaterError):
    """The files of the service keys are missing, open to others, damaged, or the change asked for would lose sessions."""

    code = "keys-unusable"

"""How much of the store one namespace may take. The numbers are hints: counted at leisure, kept up by writes, repaired by the next count.

No session is ever valid or invalid because of them.
"""

from headwater.kernel.clock import Clock
from headwater.sessions.errors import QuotaExceeded
from headwater.sessions.model import Policy

BURST_S = 1.0


class Quota:
    """The use of one namespace.

    Attributes:
        rows, bytes: what it has, as far as is known.
    """

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self.rows = 0
        self.bytes = 0
        self._policy = policy
        self._clock = clock
        self._burst = max(1.0, (policy.writes_per_s_max or 0.0) * BURST_S)
        self._allowance = self._burst
        self._filled_s = clock.monotonic_s()

    def take_write(self) -> None:
        """Count one write against the rate.

        Raises:
            QuotaExceeded: there were too many; `retry_after_s` says when one more fits.
        """
        rate = self._policy.writes_per_s_max
        if rate is None:
            return
        now_s = self._clock.monotonic_s()
        self._allowance = min(self._burst, self._allowance + (now_s - self._filled_s) * rate)
        self._filled_s = now_s
        if self._allowance < 1:
            raise QuotaExceeded("too many writes per second in this namespace", where="rate", retry_after_s=(1 - self._allowance) / rate)
        self._allowance -= 1

    def check(self, *, rows: int, bytes: int) -> None:
        """Whether that much more fits; what grows nothing always does.

        Raises:
            QuotaExceeded: it does not.
        """
        policy = self._policy
        if rows > 0 and policy.rows_max is not None and self.rows + rows > policy.rows_max:
            raise QuotaExceeded("this namespace has as many sessions as it may have", where="rows")
        if bytes > 0 and policy.bytes_max is not None and self.bytes + bytes > policy.bytes_max:
            raise QuotaExceeded("this namespace has as many bytes as it may have", where="bytes")

    def add(self, *, rows: int, bytes: int) -> None:
        """Keep up with a write; negative where something was removed."""
        self.rows = max(0, self.rows + rows)
        self.bytes = max(0, self.bytes + bytes)

    def recount(self, *, rows: int, bytes: int) -> None:
        """Put right by a full count."""
        self.rows, self.bytes = rows, bytes

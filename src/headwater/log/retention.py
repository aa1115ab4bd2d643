"""When records may go: the rules that every engine follows, and the clock that they trust.

Age is measured from when the log took a record, not from the time that the record states: an import of old events is not
trimmed at once, and one event from the future does not keep everything before it for ever.
"""

from dataclasses import dataclass

from headwater.kernel.clock import Clock

CLOCK_JUMP_MS_MAX = 3_600_000


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """When a group stops guarding records and when a tombstone may go.

    Attributes:
        group_idle_s_max: a group that has records to read and has not advanced for so long no longer guards them.
        tombstone_grace_s: how long a tombstone stays visible to readers of a compacted stream.
    """

    group_idle_s_max: float = 7 * 86_400.0
    tombstone_grace_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one `maintain` did.

    Attributes:
        trimmed: records removed for age or size.
        compacted: records removed because a newer one has the same key, tombstones included.
        expelled: groups that stopped guarding records because they were idle.
        more: work is left; call again soon.
    """

    trimmed: int = 0
    compacted: int = 0
    expelled: int = 0
    more: bool = False


class TrustedClock:
    """Wall time that does not follow a jump forward: otherwise a wrong time server would expire a whole log at once.

    It runs at most `CLOCK_JUMP_MS_MAX` ahead of what the monotonic clock allows since the process started.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_ms = clock.now_ms()
        self._start_s = clock.monotonic_s()

    def now_ms(self) -> int:
        """Wall time in milliseconds, clamped."""
        elapsed_ms = round((self._clock.monotonic_s() - self._start_s) * 1000)
        return min(self._clock.now_ms(), self._start_ms + elapsed_ms + CLOCK_JUMP_MS_MAX)


class IdleTimer:
    """How long each group has been idle, on the monotonic clock, between two rounds of maintenance.

    What was counted before is kept by the engine; a stopped process adds nothing, so groups are not expelled for downtime.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._round_s = clock.monotonic_s()
        self._heard_s: dict[str, float] = {}

    def heard(self, group: str) -> None:
        """`group` advanced just now."""
        self._heard_s[group] = self._clock.monotonic_s()

    def idle_s(self, group: str, now_s: float) -> float:
        """Seconds to add to what `group` had at the previous round."""
        return max(0.0, now_s - max(self._round_s, self._heard_s.get(group, 0.0)))

    def snapshot(self) -> "IdleTimer":
        """The same, fixed, for use in another thread."""
        fixed = IdleTimer(self._clock)
        fixed._round_s, fixed._heard_s = self._round_s, dict(self._heard_s)
        return fixed

    def end_round(self, now_s: float) -> None:
        """Everything up to `now_s` has been added."""
        self._round_s = now_s
        self._heard_s = {group: heard_s for group, heard_s in self._heard_s.items() if heard_s > now_s}

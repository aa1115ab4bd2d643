"""Lines of the log that anybody can cause, written at most once a second for each kind, so that nobody can flood the log."""

from headwater.kernel.clock import Clock

PAUSE_S = 1.0
KINDS_MAX = 64


class Seldom:
    """Says when a line may be written again. Bounded: beyond `KINDS_MAX` kinds all further ones are one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}

    def due(self, kind: str) -> int | None:
        """How many lines of this kind were left out since the last, if one may be written now; None if not."""
        if kind not in self._kinds and len(self._kinds) >= KINDS_MAX:
            kind = ""
        now_s = self._clock.monotonic_s()
        last_s, left_out = self._kinds.get(kind, (now_s - PAUSE_S, 0))
        if now_s - last_s < PAUSE_S:
            self._kinds[kind] = (last_s, left_out + 1)
            return None
        self._kinds[kind] = (now_s, 0)
        return left_out

"""Answers that readers have not taken, over all connections of a server: bounded by cutting off who takes them most slowly.

Each connection alone is bounded by the answer that it is sent, and by the time in which its reader has to take something; a thousand
readers of large answers would still make the process hold them all. Only connections whose buffer is above its high mark are looked at:
below it, the number of connections bounds them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

HEAD_START_BYTES = 65_536
"""Taken for granted of every reader, so that who has just begun is not the slowest."""


class Reader(Protocol):
    """A connection with an answer that its reader has not taken."""

    def unsent_bytes(self) -> int:
        """How much of its answers is still here."""
        ...

    def cut_off(self) -> None:
        """End it, and let go of what it holds."""
        ...


@dataclass(slots=True)
class _Held:
    since_s: float
    bytes_then: int


class Unsent:
    """What the connections of one server hold. Invariant: after `hold`, at most `bytes_max`, or what the last one holds alone."""

    def __init__(self, bytes_max: int, time_s: Callable[[], float]) -> None:
        self._bytes_max = bytes_max
        self._time_s = time_s
        self._held: dict[Reader, _Held] = {}

    def bytes(self) -> int:
        """How much is held now."""
        return sum(reader.unsent_bytes() for reader in self._held)

    def hold(self, reader: Reader) -> None:
        """A connection has more to send than its reader takes; the slowest others are cut off where that is too much in all."""
        self._held[reader] = _Held(self._time_s(), reader.unsent_bytes())
        excess = self.bytes() - self._bytes_max
        while excess > 0 and len(self._held) > 1:
            slowest = max((other for other in self._held if other is not reader), key=self._slowness)
            excess -= slowest.unsent_bytes()
            del self._held[slowest]
            slowest.cut_off()

    def release(self, reader: Reader) -> None:
        """The reader has caught up, or has gone."""
        self._held.pop(reader, None)

    def _slowness(self, reader: Reader) -> float:
        """Seconds for each byte that the reader has taken since it fell behind."""
        held = self._held[reader]
        return (self._time_s() - held.since_s) / (HEAD_START_BYTES + held.bytes_then - reader.unsent_bytes())

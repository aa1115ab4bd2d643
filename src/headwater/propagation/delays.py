"""Pages that may not be rendered before a time, and how the delays of a failing page grow."""

import heapq

from pyroaring import BitMap

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 900.0


def retry_delay_s(attempt: int, jitter: float) -> float:
    """Seconds to wait after the failure number `attempt` (from 0) in a row: doubling from 1 s up to 15 min.

    Args:
        attempt: how often in a row the page had failed before.
        jitter: random number in [0, 1); spreads the delay over its upper half, so that pages that failed together do not return together.
    """
    assert attempt >= 0 and 0 <= jitter < 1
    longest = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(attempt, 32))
    return longest * (0.5 + jitter / 2)


class Delays:
    """Pages (by number) that wait for a time. At most one time per page."""

    def __init__(self) -> None:
        self.pages = BitMap()
        self._due_ms: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []  # may hold times that were replaced

    def put(self, number: int, not_before_ms: int) -> None:
        """Hold a page back until `not_before_ms`."""
        self.pages.add(number)
        self._due_ms[number] = not_before_ms
        heapq.heappush(self._heap, (not_before_ms, number))

    def clear(self, number: int) -> None:
        """Hold a page back no longer."""
        if self._due_ms.pop(number, None) is not None:
            self.pages.discard(number)

    def ripen(self, now_ms: int) -> None:
        """Release every page whose time has come."""
        while self._heap and (self._heap[0][0] <= now_ms or self._due_ms.get(self._heap[0][1]) != self._heap[0][0]):
            due_ms, number = heapq.heappop(self._heap)
            if self._due_ms.get(number) == due_ms:
                self.clear(number)

    def next_due_ms(self) -> int | None:
        """The earliest time at which a page is released, or None."""
        while self._heap and self._due_ms.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

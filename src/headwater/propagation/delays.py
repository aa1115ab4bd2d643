"""Pages that may not be rendered before a time. How long a page that failed waits is decided in `setbacks.py`."""

import heapq

from pyroaring import BitMap


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

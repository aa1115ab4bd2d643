"""Which pages were viewed lately: the last ten minutes (hot), the last 24 hours (warm).

Views fall into buckets of fixed length; a bucket is forgotten as a whole when it is older than the window, so a page stays up to one
bucket longer than the window says. Memory is bounded by one bit per page and bucket.
"""

from pyroaring import BitMap

HOT_MS = 10 * 60_000
WARM_MS = 24 * 3_600_000


class RecentPages:
    """Pages (by number) seen within a window of `window_ms`, kept in buckets of `bucket_ms`."""

    def __init__(self, window_ms: int, bucket_ms: int) -> None:
        self._window_ms = window_ms
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, BitMap] = {}
        self._union = BitMap()

    def add(self, pages: BitMap, now_ms: int) -> None:
        """Count `pages` as seen now."""
        self._expire(now_ms)
        bucket = self._buckets.setdefault(now_ms // self._bucket_ms, BitMap())
        bucket |= pages
        self._union |= pages

    def forget(self, number: int) -> None:
        """Forget one page, whose number may be given to another."""
        if number in self._union:
            self._union.discard(number)
            for bucket in self._buckets.values():
                bucket.discard(number)

    def pages(self, now_ms: int) -> BitMap:
        """Those seen within the window; the caller must not change the answer."""
        self._expire(now_ms)
        return self._union

    def _expire(self, now_ms: int) -> None:
        oldest = (now_ms - self._window_ms) // self._bucket_ms
        expired = [start for start in self._buckets if start < oldest]
        if expired:
            for start in expired:
                del self._buckets[start]
            self._union = BitMap.union(*self._buckets.values()) if self._buckets else BitMap()


class Heat:
    """How warm each page is. Volatile: a restart forgets it, and views bring it back."""

    def __init__(self) -> None:
        self._hot = RecentPages(HOT_MS, HOT_MS // 10)
        self._warm = RecentPages(WARM_MS, WARM_MS // 24)

    def viewed(self, pages: BitMap, now_ms: int) -> None:
        """Count a view of each of `pages`."""
        self._hot.add(pages, now_ms)
        self._warm.add(pages, now_ms)

    def hot(self, now_ms: int) -> BitMap:
        """Pages viewed in the last ten minutes."""
        return self._hot.pages(now_ms)

    def warm(self, now_ms: int) -> BitMap:
        """Pages viewed in the last 24 hours."""
        return self._warm.pages(now_ms)

    def forget(self, number: int) -> None:
        """Forget one page, whose number may be given to another."""
        self._hot.forget(number)
        self._warm.forget(number)

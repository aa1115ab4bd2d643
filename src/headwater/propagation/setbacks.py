"""Renders that did not succeed: how long to wait, and when to give up. Pure.

A *retry* is the wiki's wish (it is busy, or lags) and is no fault of the page, unless the wiki puts off this one page again and again while
it answers for others. A *failure* is the page's. Delays double up to a maximum and are spread by jitter.
"""

from dataclasses import dataclass

from headwater.propagation.config import PropagationConfig
from headwater.propagation.model import PageKey

_PAGES_MAX = 10_000  # pages put off whose count is kept; of others each retry counts as the first
AGAIN_AND_AGAIN = 3  # times put off: more than lag or one time-out explain
AWAY_AFTER = 10  # so often in a row without an answer between: the wiki is away, and pages are held back no longer than until it returns


@dataclass(slots=True)
class _PutOff:
    times: int
    answered_before: int


class Setbacks:
    """Counts the retries of each page; failures are counted by the shard."""

    def __init__(self, config: PropagationConfig) -> None:
        self._config = config
        self._put_off: dict[PageKey, _PutOff] = {}
        self._answered = 0
        self._silent = 0  # times that a page was put off once more, since the last answer

    def answered(self, page: PageKey) -> bool:
        """Note that the wiki answered for `page`; True where it is back: before, it had put off one page after the other.

        What it put off then says nothing about those pages, and is forgotten.
        """
        is_back = self._silent >= AWAY_AFTER
        self._answered += 1
        self._silent = 0
        if is_back:
            self._put_off.clear()
        else:
            self._put_off.pop(page, None)
        return is_back

    def retry_delay_s(self, page: PageKey, after_s: float, *, jitter: float) -> float | None:
        """How long to wait after the wiki put off `page` for `after_s`; None where this counts as a failure of the page."""
        put_off = self._put_off.get(page)
        if put_off is None:
            put_off = _PutOff(0, self._answered)
            if len(self._put_off) < _PAGES_MAX:
                self._put_off[page] = put_off
        put_off.times += 1
        self._silent += put_off.times >= AGAIN_AND_AGAIN
        if put_off.times > self._config.retries_max and self._answered > put_off.answered_before:
            del self._put_off[page]
            return None
        return max(after_s, self._doubled_s(put_off.times - 1)) * (1 + jitter / 2)

    def failure_delay_s(self, attempt: int, *, jitter: float) -> float | None:
        """How long to wait after failure number `attempt` (from 1) in a row; None: park the page."""
        if attempt >= self._config.failures_max:
            return None
        return self._doubled_s(attempt - 1) * (1 + jitter / 2)

    def _doubled_s(self, times: int) -> float:
        return min(self._config.retry_delay_max, self._config.retry_delay * 2.0 ** min(times, 60))

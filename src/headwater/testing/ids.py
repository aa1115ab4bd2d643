"""Ids that a test can predict."""

import hashlib
from itertools import count


class SequentialIds:
    """`Ids` that count: the first UUID ends in 1, the next in 2; jitter is always the same."""

    def __init__(self, jitter: float = 0.5) -> None:
        assert 0 <= jitter < 1
        self._numbers = count(1)
        self._tokens = count(1)
        self._jitter = jitter

    def uuid(self) -> str:
        """The next number, in the form of a version 4 UUID."""
        return f"00000000-0000-4000-8000-{next(self._numbers):012x}"

    def jitter(self) -> float:
        """The jitter given at construction."""
        return self._jitter

    def token(self, size_bytes: int) -> bytes:
        """Bytes that look random and differ from those given before."""
        return hashlib.shake_256(b"%d" % next(self._tokens)).digest(size_bytes)

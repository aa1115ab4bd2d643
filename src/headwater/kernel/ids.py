"""Randomness, as a port: the only way in which it enters Headwater."""

import os
import random
import uuid
from typing import Protocol


class Ids(Protocol):
    """Makes ids and jitter. Never fails, never blocks."""

    def uuid(self) -> str:
        """A fresh random UUID (version 4) in its canonical text form."""
        ...

    def jitter(self) -> float:
        """A float in [0, 1), for spreading retries; not for secrets."""
        ...

    def token(self, size_bytes: int) -> bytes:
        """That many bytes that nobody can guess: nonces, keys, session ids."""
        ...


class SystemIds:
    """Ids from the operating system's randomness."""

    def uuid(self) -> str:
        return str(uuid.uuid4())

    def jitter(self) -> float:
        return random.random()

    def token(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)


def name_uuid(name: str) -> str:
    """The UUID (version 5, URL namespace) that always belongs to `name`: deterministic ids of derived events."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))

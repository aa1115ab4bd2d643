"""What the console needs from outside: answers of the roles."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What a role said.

    Attributes:
        status: HTTP status, or None if it did not answer.
        body: as received; empty without an answer.
        fault: why there is no answer, in a few words.
    """

    status: int | None
    body: bytes = b""
    fault: str = ""


class RoleClient(Protocol):
    """Asks roles over HTTP."""

    async def ask(self, address: str, path: str) -> Answer:
        """GET `path` at `address` (host:port). Bounded in time and size, never raises: no usable answer is an answer too."""
        ...

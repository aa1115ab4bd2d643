"""A cache in memory: the model of a purge target in tests.

It keeps copies, remembers the purges that it got, and can be told to fail, to refuse, or to hang until released.
"""

import asyncio
from dataclasses import dataclass, field

from headwater.kernel.errors import HeadwaterError
from headwater.purging.ports import PurgeRequest


@dataclass(slots=True)
class MemoryCache:
    """A cache of one layer.

    Attributes:
        copies: by URL, what it holds.
        purges: what it acknowledged, in order.
        failure: raised by every purge while set.
        gate: while it is not set, purges hang.
        in_flight_most: most purges that were under way at once.
    """

    name: str
    layer: int = 0
    copies: dict[str, str] = field(default_factory=dict)
    purges: list[PurgeRequest] = field(default_factory=list)
    calls: int = 0
    failure: HeadwaterError | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    in_flight_most: int = 0

    def __post_init__(self) -> None:
        """Begin open."""
        self.gate.set()

    async def purge(self, request: PurgeRequest) -> None:
        """Drop the copy of the URL; see `PurgeTarget.purge`."""
        self.calls += 1
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            self.copies.pop(request.url, None)
            self.purges.append(request)
        finally:
            self.in_flight -= 1

"""How much a domain, and each of its tables, may take.

The quota of a table is held by the store, exactly. That of a domain is what its tables take together: a running total, which is moved on
after every write and counted anew from time to time, so that a write costs the same however many tables the domain has. What is under way
to several tables of a domain at once may pass it by as much as that is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from headwater.kernel.clock import Clock
from headwater.tables.config import EVERY, QuotaConfig
from headwater.tables.model import NOTHING, SpaceId, Usage
from headwater.tables.ports import TableStore

BOUNDLESS = Usage(1 << 62, 1 << 62)
COUNTED_FOR_S = 60.0
"""How long a total is moved on before it is counted anew: upkeep takes back room unseen."""
REFUSED_FOR_S = 1.0
"""As that, where it would refuse a write."""


class Spaces(Protocol):
    """What has to be known of the catalogue."""

    def spaces_of(self, domain: str) -> Mapping[str, SpaceId]:
        """The spaces of a domain by the name of their table."""
        ...


@dataclass(slots=True)
class _Total:
    """What the spaces of a domain take together."""

    counted_s: float
    spaces: dict[SpaceId, Usage] = field(default_factory=dict)
    rows: int = 0
    size_bytes: int = 0

    def put(self, space: SpaceId, usage: Usage) -> None:
        before = self.of(space)
        self.spaces[space] = usage
        self.rows += usage.rows - before.rows
        self.size_bytes += usage.size_bytes - before.size_bytes

    def of(self, space: SpaceId) -> Usage:
        return self.spaces.get(space, NOTHING)


class Quotas:
    """The configured quotas, and what of them is left. For one event loop."""

    def __init__(self, quotas: Mapping[str, QuotaConfig], store: TableStore, spaces: Spaces, *, clock: Clock) -> None:
        self._quotas = quotas
        self._store = store
        self._spaces = spaces
        self._clock = clock
        self._totals: dict[str, _Total] = {}

    async def room(self, domain: str, table: str, space: SpaceId) -> Usage:
        """The most that `space` may take after a write: what its table may, and what the domain's other tables leave."""
        if not self._quotas:
            return BOUNDLESS
        own = self._first(f"{domain}/{table}", f"{domain}/{EVERY}", f"{EVERY}/{table}", f"{EVERY}/{EVERY}")
        whole = self._whole(domain)
        if whole == BOUNDLESS:
            return own
        total = await self._total(domain, COUNTED_FOR_S)
        ours = total.of(space)
        rows = whole.rows - (total.rows - ours.rows)
        size_bytes = whole.size_bytes - (total.size_bytes - ours.size_bytes)
        return Usage(min(own.rows, rows), min(own.size_bytes, size_bytes))

    async def note(self, domain: str, space: SpaceId) -> None:
        """What `space` takes has changed."""
        total = self._totals.get(domain)
        if total is not None:
            total.put(space, await self._store.usage(space))

    async def count_again(self, domain: str) -> bool:
        """A write was refused: count what the domain takes, unless that was just done; says whether it was."""
        if not self._quotas or self._whole(domain) == BOUNDLESS:
            return False
        before = self._totals.get(domain)
        return await self._total(domain, REFUSED_FOR_S) is not before

    def forget(self) -> None:
        """A table has been dropped, and what it took with it."""
        self._totals.clear()

    async def _total(self, domain: str, counted_for_s: float) -> _Total:
        now_s = self._clock.monotonic_s()
        found = self._totals.get(domain)
        if found is None or now_s - found.counted_s >= counted_for_s:
            found = _Total(now_s)
            for space in self._spaces.spaces_of(domain).values():
                found.put(space, await self._store.usage(space))
            self._totals[domain] = found
        return found

    def _whole(self, domain: str) -> Usage:
        return self._first(domain, EVERY)

    def _first(self, *names: str) -> Usage:
        """The quota of the first of `names` that has one: the more particular one counts."""
        for name in names:
            quota = self._quotas.get(name)
            if quota is not None:
                return Usage(
                    BOUNDLESS.rows if quota.rows_max is None else quota.rows_max,
                    BOUNDLESS.size_bytes if quota.bytes_max is None else quota.bytes_max,
                )
        return BOUNDLESS

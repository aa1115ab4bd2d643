"""How much a domain, and each of its tables, may take."""

from collections.abc import Mapping
from typing import Protocol

from headwater.tables.config import EVERY, QuotaConfig
from headwater.tables.model import SpaceId, Usage
from headwater.tables.ports import TableStore

BOUNDLESS = Usage(1 << 62, 1 << 62)


class Spaces(Protocol):
    """What has to be known of the catalogue."""

    def spaces_of(self, domain: str) -> Mapping[str, SpaceId]:
        """The spaces of a domain by the name of their table."""
        ...


class Quotas:
    """The configured quotas, and what of them is left."""

    def __init__(self, quotas: Mapping[str, QuotaConfig], store: TableStore, spaces: Spaces) -> None:
        self._quotas = quotas
        self._store = store
        self._spaces = spaces

    async def room(self, domain: str, table: str, space: SpaceId) -> Usage:
        """The most that `space` may take after a write: what its table may, and what the domain's other tables leave."""
        if not self._quotas:
            return BOUNDLESS
        own = self._first(f"{domain}/{table}", f"{domain}/{EVERY}", f"{EVERY}/{table}", f"{EVERY}/{EVERY}")
        whole = self._first(domain, EVERY)
        if whole == BOUNDLESS:
            return own
        others = [await self._store.usage(other) for other in self._spaces.spaces_of(domain).values() if other != space]
        rows = whole.rows - sum(usage.rows for usage in others)
        size_bytes = whole.size_bytes - sum(usage.size_bytes for usage in others)
        return Usage(min(own.rows, rows), min(own.size_bytes, size_bytes))

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

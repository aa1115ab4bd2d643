"""What goes on beside the requests: generations are refreshed, space is reclaimed, rows are counted, single rows moved or extended.

Every step is bounded and safe alone. Counting and reclaiming are one slow walk over all rows, in pages, over and over.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from headwater.kernel.clock import Clock
from headwater.kernel.concurrency import stop_tasks
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metrics
from headwater.sessions.finding import Desk, Finder, Space
from headwater.sessions.generations import REFRESH_S, Generations
from headwater.sessions.model import ENDED_HEADERS_KEPT_MS, Head, KeyId, Row, RowId, RowOutline, Version, expiry, header_kept_until
from headwater.sessions.ports import SessionStore
from headwater.sessions.sealing import decode_deadline, decode_head, version_of
from headwater.sessions.service_metrics import BYTES, GENERATIONS, RECLAIMED, ROWS, ROWS_BY_KEY

logger = structlog.get_logger(__name__)

PAGE_ROWS = 256
PAGE_PAUSE_S = 0.05
WALK_PAUSE_S = 60.0
ERRANDS_MAX = 64


class Upkeep:
    """Runs beside the service, from `start` to `stop`."""

    def __init__(self, store: SessionStore, generations: Generations, finder: Finder, *, clock: Clock, metrics: Metrics) -> None:
        self._unknown = False
        self._counted = False
        self._store = store
        self._generations = generations
        self._finder = finder
        self._clock = clock
        self._metrics = metrics
        self._spaces: Mapping[str, Space] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._errands: dict[RowId, asyncio.Task[None]] = {}

    def start(self, spaces: Mapping[str, Space]) -> None:
        """Begin, for these namespaces."""
        self.use(spaces)
        self._loops = [asyncio.create_task(self._refresh()), asyncio.create_task(self._walk())]

    def trouble(self) -> str | None:
        """Why it cannot be known which sessions are revoked, or None."""
        if any(loop.done() for loop in self._loops):
            return "what runs beside the sessions has ended"
        return "the generations of sessions cannot be read" if self._unknown else None

    def use(self, spaces: Mapping[str, Space]) -> None:
        """Work for these namespaces from now on."""
        self._spaces = spaces

    async def stop(self) -> None:
        """End everything; what was begun in the store may still happen."""
        await stop_tasks([*self._loops, *self._errands.values()])
        self._loops.clear()

    def spawn(self, id: RowId, errand: Callable[[], Awaitable[object]]) -> None:
        """Do something for one row soon, unless something is being done for it, or for too many others: the next read will ask again."""
        if id in self._errands or len(self._errands) >= ERRANDS_MAX:
            return
        task = asyncio.create_task(self._run(errand))
        self._errands[id] = task
        task.add_done_callback(lambda _: self._errands.pop(id, None))

    async def _run(self, errand: Callable[[], Awaitable[object]]) -> None:
        try:
            await errand()
        except HeadwaterError as error:
            logger.warning("sessions_errand_failed", code=error.code)

    async def _refresh(self) -> None:
        while True:
            await self._clock.sleep(REFRESH_S)
            try:
                await self._generations.refresh()
                self._unknown = False
            except HeadwaterError as error:
                if not self._unknown:
                    logger.error("sessions_generations_unknown", code=error.code)
                self._unknown = True
            self._metrics.set(GENERATIONS, len(self._generations))
            self._tell_use()

    def _tell_use(self) -> None:
        """Publish what namespaces have used, kept up by their writes; before the first count nobody knows."""
        for name, space in self._spaces.items() if self._counted else ():
            self._metrics.set(ROWS, space.quota.rows, namespace=name)
            self._metrics.set(BYTES, space.quota.bytes, namespace=name)

    async def _walk(self) -> None:
        while True:
            try:
                await self.reclaim(pause_s=PAGE_PAUSE_S)
                await self._generations.audit()
            except HeadwaterError as error:
                logger.warning("sessions_reclaiming_failed", code=error.code)
            await self._clock.sleep(WALK_PAUSE_S)

    async def reclaim(self, *, pause_s: float = 0.0) -> int:
        """Walk over all rows once: remove what has ended, set quotas to what is there, drop generations that no row needs.

        Returns:
            How many rows were removed or reduced.
        """
        rows: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        keys: Counter[KeyId] = Counter()
        reclaimed = 0
        after: RowId | None = None
        while page := await self._store.page(after, limit=PAGE_ROWS):
            after = page[-1].id
            kept, removed = await self._reclaim_page(page)
            reclaimed += removed
            for head, size in kept:
                rows[head.namespace] += 1
                sizes[head.namespace] += size
                keys[head.key_id] += 1
            await self._clock.sleep(pause_s)
        for name, space in self._spaces.items():
            space.quota.recount(rows=rows[name], bytes=sizes[name])
            for desk in space.desks:
                self._metrics.set(ROWS_BY_KEY, keys[desk.sealer.key.id], key_id=str(desk.sealer.key.id))
        self._counted = True
        self._tell_use()
        await self._generations.drop()
        return reclaimed

    async def _reclaim_page(self, page: Sequence[RowOutline]) -> tuple[list[tuple[Head, int]], int]:
        now_ms = self._clock.now_ms()
        kept: list[tuple[Head, int]] = []
        removed: dict[RowId, Version | None] = {}
        reduced: list[Row] = []
        for row in page:
            head, deadlines = decode_head(row.head), decode_deadline(row.deadline)
            if head is None or deadlines is None:
                continue  # nobody can say when it ends: it stays for whoever looks into the damage
            self._generations.need(head.subject)
            desk = self._desk(head)
            in_doubt = desk is None or self._generations.is_in_doubt(desk.scope, head.subject)
            is_current = desk is None or in_doubt or self._finder.is_current(desk.scope, head)
            fixed_bytes = len(row.id) + len(row.head) + len(row.deadline)
            if now_ms >= header_kept_until(head, deadlines, is_current=is_current):
                removed[row.id] = head.version
            elif row.sealed_bytes and (not is_current or now_ms >= expiry(head, deadlines) + ENDED_HEADERS_KEPT_MS):
                reduced.append(Row(row.id, row.head, row.deadline, b""))
                kept.append((head, fixed_bytes))
            else:
                kept.append((head, fixed_bytes + row.sealed_bytes))
        if removed:
            await self._store.delete(removed)
        await asyncio.gather(*(self._store.put(row, expected=version_of(row)) for row in reduced))
        self._metrics.inc(RECLAIMED, len(reduced) + len(removed))
        return kept, len(reduced) + len(removed)

    def _desk(self, head: Head) -> Desk | None:
        space = self._spaces.get(head.namespace)
        desks = () if space is None else space.desks
        return next((desk for desk in desks if desk.sealer.key.id == head.key_id), None)

    async def count_keys(self) -> Mapping[KeyId, int]:
        """How many rows are sealed under each service key."""
        keys: Counter[KeyId] = Counter()
        after: RowId | None = None
        while page := await self._store.page(after, limit=PAGE_ROWS):
            after = page[-1].id
            keys.update(head.key_id for row in page if (head := decode_head(row.head)) is not None)
        return keys

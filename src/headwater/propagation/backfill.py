"""Backfill: makes every page of an existing wiki known, so that it is rendered when there is time (class 3).

Resumable: the token with which the wiki goes on is noted only when the pages before it are in a saved checkpoint. A page that is known but
was never committed exists nowhere but in the shard's file; so where that file was lost, the backfill begins anew (pages that commits know
cost nothing).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from headwater.kernel.concurrency import Slices
from headwater.kernel.errors import OutcomeUnknown, StorageFull, Unavailable
from headwater.log.model import NewRecord
from headwater.propagation.metrics import BACKFILL_PAGES
from headwater.propagation.model import PageKey, Title, Urgency
from headwater.propagation.notes import BackfillNote, note_record
from headwater.propagation.streams import BACKFILL_KEY
from headwater.propagation.tenure import Tenure

_log = structlog.get_logger(__name__)


class Backfill:
    """The backfill of one wiki in one epoch; it goes on where the epoch before left it.

    Attributes:
        delayed: why the last batch was put off, for people; None while batches succeed.
    """

    def __init__(
        self, tenure: Tenure, append: Callable[[Sequence[NewRecord]], Awaitable[object]], checkpoint: Callable[[], Awaitable[None]]
    ) -> None:
        self._tenure = tenure
        self._around = tenure.around
        self._append = append
        self._checkpoint = checkpoint
        self._asked = asyncio.Event()
        self.delayed: str | None = None
        note = tenure.notes.backfill
        if note is not None and tenure.rebuilt:
            note = msgspec.structs.replace(note, running=True, token=None, seen=0, added=0, finished_ms=None)
        self.note = note
        if self.running:
            self._asked.set()

    @property
    def running(self) -> bool:
        """Whether pages are being added, or will be."""
        return self.note is not None and self.note.running

    async def start(self, *, anew: bool = False) -> BackfillNote:
        """Begin, or go on with one that was stopped; one that runs goes on as it is.

        Args:
            anew: begin at the first page even if an earlier one was stopped in the middle.
        """
        note = self.note
        if note is None or anew or (not note.running and note.finished_ms is not None):
            note = BackfillNote(running=True, token=None, seen=0, added=0, started_ms=self._around.clock.now_ms())
        return await self._note(msgspec.structs.replace(note, running=True))

    async def stop(self) -> BackfillNote | None:
        """Stop adding pages; those added stay. None if there never was one."""
        if self.note is None or not self.note.running:
            return self.note
        return await self._note(msgspec.structs.replace(self.note, running=False))

    async def _note(self, note: BackfillNote) -> BackfillNote:
        self.note = note
        await self._append([note_record(self._around.wiki, BACKFILL_KEY, note, self._around.clock.now_ms())])
        self._asked.set()
        return note

    async def run(self) -> None:
        """Add pages whenever one is asked for. Raises Fenced, OutcomeUnknown."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self.running:
                await self._step()

    async def _step(self) -> None:
        """Add one batch, make it durable, note how far it went, and wait as long as the rate asks."""
        note, config = self.note, self._around.config
        assert note is not None
        began_s = self._around.clock.monotonic_s()
        try:
            pages, token = await self._around.renderer.pages(note.token, config.backfill_batch_max)
            added = await self._add(pages)
            await self._checkpoint()
        except (Unavailable, StorageFull, OutcomeUnknown) as error:
            self.delayed = error.detail
            _log.warning("backfill_delayed", wiki=self._around.wiki, code=error.code, detail=error.detail)
            await self._around.clock.sleep(config.backfill_retry_delay)
            return
        self.delayed = None
        self._around.inc(BACKFILL_PAGES, len(pages))
        if self.note is not note:
            return  # stopped or begun anew meanwhile; what was added stays
        finished_ms = self._around.clock.now_ms() if token is None else None
        await self._note(
            msgspec.structs.replace(
                note,
                running=token is not None,
                token=token,
                seen=note.seen + len(pages),
                added=note.added + added,
                finished_ms=finished_ms,
            )
        )
        spent_s = self._around.clock.monotonic_s() - began_s
        if self.running:
            await self._around.clock.sleep(max(0.0, len(pages) / config.backfill_rate_max - spent_s))

    async def _add(self, pages: Sequence[tuple[PageKey, Title]]) -> int:
        added, slices = 0, Slices(self._around.clock)
        for page, title in pages:
            added += self._tenure.shard.add(page, title, Urgency.REST, now_ms=self._around.clock.now_ms())
            await slices.breathe()
        self._tenure.touched()
        return added

"""Hidden revisions: stored bodies that came from them go, and no render begun before brings them back.

Invariant: a checkpoint never covers a change whose erasure has not been carried out, so a crash repeats erasures and loses none.
"""

from dataclasses import dataclass

from headwater.kernel.errors import OutcomeUnknown, Overloaded, StorageFull, Unavailable
from headwater.propagation.metrics import ERASED, WRITES_DELAYED
from headwater.propagation.model import Change, Lease, Lsn, PageKey
from headwater.propagation.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Hidden:
    """A revision of a page that was hidden by the change at `lsn`."""

    page: PageKey
    rev: int
    lsn: Lsn


class Erasures:
    """What has to be erased, and what renders under way must not bring back."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._pending: list[Hidden] = []
        self._hidden: dict[tuple[PageKey, int], Lsn] = {}

    def note(self, lsn: Lsn, change: Change, page: PageKey | None) -> None:
        """Remember what `change` hides, if anything; `page` is the page that it names."""
        if change.erase_rev is None or page is None:
            return
        self._pending.append(Hidden(page, change.erase_rev, lsn))
        self._hidden[page, change.erase_rev] = lsn

    def again(self, page: PageKey, rev: int) -> None:
        """Have a hidden revision erased once more: a body that came from it was put in the meantime."""
        self._pending.append(Hidden(page, rev, self._hidden[page, rev]))

    @property
    def pending(self) -> bool:
        """Whether erasures have to be carried out before the next checkpoint."""
        return bool(self._pending)

    async def carry_out(self) -> None:
        """Erase all that is pending, however often the store has to be asked."""
        while self._pending:
            hidden = self._pending[0]
            try:
                gone = await self._around.bodies.erase_revision(self._around.wiki, hidden.page, hidden.rev)
            except (StorageFull, Unavailable, Overloaded, OutcomeUnknown):
                self._around.inc(WRITES_DELAYED)
                await self._around.clock.sleep(self._around.config.full_retry_delay)
                continue
            if self._pending and self._pending[0] is hidden:
                self._around.inc(ERASED, len(gone))
                del self._pending[0]

    def forbids(self, lease: Lease, rev: int) -> bool:
        """Whether a render under `lease` shows a revision that was hidden after it began."""
        return lease.floor < self._hidden.get((lease.page, rev), -1)

    def forget_before(self, oldest_floor: Lsn) -> None:
        """Forget what no render under way can bring back: all were leased at `oldest_floor` or later."""
        self._hidden = {key: lsn for key, lsn in self._hidden.items() if lsn > oldest_floor}

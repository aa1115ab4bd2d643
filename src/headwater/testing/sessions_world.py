"""Sessions on a clock that a test moves: what most tests of the room begin with."""

from collections.abc import Awaitable, Callable

from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.sessions.engines.memory import MemorySessionStore
from headwater.sessions.keys import KeyRing, ring_of
from headwater.sessions.model import KeyId, Policy
from headwater.sessions.ports import SessionStore
from headwater.sessions.service import Sessions
from headwater.sessions.service_metrics import SERVICE_METRICS
from headwater.testing.clock import ManualClock
from headwater.testing.ids import SequentialIds

SPACE = "n"


def ring(*key_ids: int) -> KeyRing:
    """A ring of test keys, the first one active; the same id is always the same key."""
    return ring_of({KeyId(key_id): bytes([key_id]) * 32 for key_id in key_ids}, active=KeyId(key_ids[0]))


class SessionsWorld:
    """Sessions over a store, with all that surrounds them.

    Attributes:
        memory: the store, unless another one was given; its rows are open to tests.
        store, clock, ids, metrics: what the sessions were given.
        sessions: the service; `restart` makes a new one, as a new process would have.
    """

    def __init__(
        self,
        *policies: Policy,
        store: SessionStore | None = None,
        key_ids: tuple[int, ...] = (1,),
        clock: ManualClock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self.memory = MemorySessionStore()
        self.store: SessionStore = store or self.memory
        self.clock = clock or ManualClock()
        self.ids: Ids = ids or SequentialIds()
        self.metrics = Metrics(SERVICE_METRICS)
        self._policies = policies or (Policy(SPACE),)
        self._key_ids = key_ids
        self.sessions = self._make()

    def _make(self) -> Sessions:
        return Sessions(
            self.store, ring=ring(*self._key_ids), policies=self._policies, clock=self.clock, ids=self.ids, metrics=self.metrics
        )

    async def restart(self) -> None:
        """A new service over the same store: nothing that was only in memory is left."""
        await self.sessions.stop()
        self.sessions = self._make()
        await self.sessions.start()

    def use_keys(self, *key_ids: int) -> None:
        """Change the ring, the first key active."""
        self._key_ids = key_ids
        self.sessions.use_keys(ring(*key_ids))

    async def value(self, key: bytes, ns: str = SPACE) -> bytes | None:
        """The value under a key, None if there is no session."""
        found = await self.sessions.read(ns, key)
        return None if found is None else found.value

    async def run(self, work: Callable[["SessionsWorld"], Awaitable[None]]) -> None:
        """Start, do `work`, stop."""
        await self.sessions.start()
        try:
            await work(self)
        finally:
            await self.sessions.stop()

"""Which generation each subject and namespace has: the map in memory, kept near to the store.

A row is valid only while it carries the current tokens. Tokens are random and compared for equality; no clock takes part. What is not in
the store has the first generation. The map is read again every `REFRESH_S`; where other processes can write to the store and the map is
older than `AGE_MAX_S`, the store is asked for each token, so a revocation is known everywhere that long after it became durable.
"""

from collections.abc import Sequence

from headwater.kernel.clock import Clock
from headwater.kernel.ids import Ids
from headwater.sessions.model import FIRST_TOKEN, TOKEN_BYTES, Generation, KeyId, Token
from headwater.sessions.ports import SessionStore

REFRESH_S = 0.4
AGE_MAX_S = 1.0
PAGE_RECORDS = 1_000


class Generations:
    """The current tokens, as far as this process knows them."""

    def __init__(self, store: SessionStore, *, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._tokens: dict[bytes, Generation] = {}
        self._sequence = 0
        self._refreshed_s = float("-inf")

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def stale(self) -> bool:
        """Whether the map is too old to be believed. Where no other process writes, it holds all that was ever revoked."""
        return self._store.shared and self._clock.monotonic_s() - self._refreshed_s > AGE_MAX_S

    def current(self, scope: bytes) -> Token:
        """The token of a scope, from memory."""
        known = self._tokens.get(scope)
        return FIRST_TOKEN if known is None else known.token

    async def read_through(self, scopes: Sequence[bytes]) -> None:
        """Ask the store for the tokens of these scopes."""
        for scope in scopes:
            record = await self._store.get_generation(scope)
            if record is not None:
                self._learn(record)

    async def refresh(self) -> None:
        """Read what the store has learned since the last time."""
        started_s = self._clock.monotonic_s()
        while True:
            records = await self._store.generations_since(self._sequence, limit=PAGE_RECORDS)
            for record in records:
                self._learn(record)
                self._sequence = max(self._sequence, record.sequence)
            if len(records) < PAGE_RECORDS:
                break
        self._refreshed_s = started_s

    async def renew(self, scopes: Sequence[tuple[bytes, KeyId]]) -> None:
        """Give scopes a new generation; returns when it is durable and every process knows it."""
        records = [Generation(scope, key_id, Token(self._ids.token(TOKEN_BYTES))) for scope, key_id in scopes]
        await self._store.put_generations(records)
        await self.read_through([scope for scope, _ in scopes])
        if self._store.shared:
            await self._clock.sleep(AGE_MAX_S)

    def _learn(self, record: Generation) -> None:
        known = self._tokens.get(record.scope)
        if known is None or known.sequence < record.sequence:
            self._tokens[record.scope] = record

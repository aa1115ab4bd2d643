"""Sessions against a plain dictionary: whatever is done in whatever order, they serve what the dictionary has."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from headwater.sessions.errors import ConditionFailed, Revoked
from headwater.sessions.model import ABSENT, ANY, EXISTS, Condition, Policy
from headwater.sessions.service import HOPS_MAX
from headwater.testing.sessions_world import SessionsWorld

TTL_S, ABSOLUTE_S = 100, 1_000
SPACES = ("a", "b")
KEYS = (b"k0", b"k1", b"k2")
SUBJECTS = (None, "s0", "s1")


@dataclass(frozen=True, slots=True)
class Known:
    """A session as the model has it. `barred_until_ms`: a save is refused until then, though nothing is served."""

    value: bytes
    subject: str | None
    ends_ms: int
    absolute_ms: int
    alive: bool = True
    leads_to: bytes | None = None
    rotations: int = 0

    @property
    def end_ms(self) -> int:
        """When it ends unless saved or touched."""
        return min(self.ends_ms, self.absolute_ms)


class SessionsMachine(RuleBasedStateMachine):
    """Every rule does something to the service and to the model, and compares what both say."""

    minted = Bundle("minted")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = SessionsWorld(*(Policy(name, ttl_s=TTL_S, absolute_s=ABSOLUTE_S) for name in SPACES), key_ids=(1,))
        self.model: dict[tuple[str, bytes], Known] = {}
        self.key_ids: tuple[int, ...] = (1,)
        self.run(self.world.sessions.start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def and_settle() -> Any:
            result = await work
            await self.world.clock.settle()
            return result

        return self.loop.run_until_complete(and_settle())

    def teardown(self) -> None:
        self.run(self.world.sessions.stop())
        self.loop.close()

    @property
    def now_ms(self) -> int:
        return self.world.clock.now_ms()

    def live(self, ns: str, key: bytes) -> Known | None:
        known = self.model.get((ns, key))
        return known if known is not None and known.alive and self.now_ms < known.end_ms else None

    def resolved(self, ns: str, key: bytes) -> bytes:
        for _ in range(10):
            known = self.live(ns, key)
            if known is None or known.leads_to is None:
                return key
            key = known.leads_to
        return key

    def barred(self, ns: str, key: bytes) -> bool:
        """Whether a save has to be refused."""
        known = self.model.get((ns, key))
        if known is None:
            return False
        if not known.alive or known.leads_to is not None:
            return (not known.alive or self.now_ms >= known.end_ms) and self.now_ms < known.end_ms + 3_600_000
        return known.absolute_ms <= self.now_ms < known.absolute_ms + 60_000 and known.end_ms == known.absolute_ms

    @initialize(target=minted)
    def begin(self) -> Any:
        return multiple(*((ns, key) for ns in SPACES for key in KEYS))

    @rule(
        at=minted,
        value=st.binary(min_size=1, max_size=4),
        subject=st.sampled_from(SUBJECTS),
        condition=st.sampled_from((ANY, ABSENT, EXISTS)),
        may_read=st.booleans(),
    )
    def save(self, at: tuple[str, bytes], value: bytes, subject: str | None, condition: Condition, may_read: bool) -> None:
        ns, key = at
        key = self.resolved(ns, key)
        before = self.live(ns, key)
        try:
            saved = self.run(self.world.sessions.save(ns, at[1], value, subject=subject, condition=condition, may_read=may_read))
        except Revoked:
            assert self.barred(ns, key)
            return
        except ConditionFailed:
            assert condition is (EXISTS if before is None else ABSENT)
            return
        assert not self.barred(ns, key)
        assert saved.created is (before is None)
        subject = subject if subject is not None or before is None else before.subject
        absolute_ms = self.now_ms + ABSOLUTE_S * 1000 if before is None else before.absolute_ms
        rotations = 0 if before is None else before.rotations
        self.model[ns, key] = Known(value, subject, self.now_ms + TTL_S * 1000, absolute_ms, rotations=rotations)

    @rule(at=minted)
    def delete(self, at: tuple[str, bytes]) -> None:
        ns, key = at
        self.run(self.world.sessions.delete(ns, key))
        while (known := self.live(ns, key)) is not None:
            if known.leads_to is None:
                del self.model[ns, key]
                return
            self.model[ns, key] = replace(known, alive=False)
            key = known.leads_to

    @rule(at=minted)
    def touch(self, at: tuple[str, bytes]) -> None:
        ns, key = at[0], self.resolved(*at)
        header = self.run(self.world.sessions.touch(ns, at[1]))
        known = self.live(ns, key)
        assert (header is None) is (known is None)
        if known is not None:
            self.model[ns, key] = replace(known, ends_ms=self.now_ms + TTL_S * 1000)

    @rule(target=minted, ns=st.sampled_from(SPACES), value=st.binary(min_size=1, max_size=4), subject=st.sampled_from(SUBJECTS))
    def mint(self, ns: str, value: bytes, subject: str | None) -> tuple[str, bytes]:
        key, _ = self.run(self.world.sessions.mint(ns, value, subject=subject))
        self.model[ns, key] = Known(value, subject, self.now_ms + TTL_S * 1000, self.now_ms + ABSOLUTE_S * 1000)
        return ns, key

    @rule(target=minted, at=minted, grace_s=st.sampled_from((0, 10, 50)))
    def rotate(self, at: tuple[str, bytes], grace_s: int) -> Any:
        ns, key = at[0], self.resolved(*at)
        known = self.live(ns, key)
        if known is not None and known.rotations == HOPS_MAX:
            return multiple()  # a key leads through so many rotations and no more
        rotated = self.run(self.world.sessions.rotate(ns, at[1], grace_s=grace_s))
        assert (rotated is None) is (known is None)
        if rotated is None or known is None:
            return multiple()
        self.model[ns, rotated[0]] = replace(known, rotations=known.rotations + 1)
        self.model[ns, key] = replace(known, ends_ms=self.now_ms + grace_s * 1000, leads_to=rotated[0])
        return ns, rotated[0]

    @rule(ns=st.sampled_from(SPACES), subject=st.sampled_from(SUBJECTS[1:]))
    def revoke_subject(self, ns: str, subject: str) -> None:
        self.run(self.world.sessions.revoke_subject(ns, subject))
        for at, known in self.model.items():
            if at[0] == ns and known.subject == subject:
                self.model[at] = replace(known, alive=False)

    @rule(ns=st.sampled_from(SPACES))
    def revoke_namespace(self, ns: str) -> None:
        self.run(self.world.sessions.revoke_namespace(ns))
        for at, known in self.model.items():
            if at[0] == ns:
                self.model[at] = replace(known, alive=False)

    @rule(seconds=st.sampled_from((0.001, 9.999, 50.0, 99.999, 100.0, 600.0, 3_700.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.run(self.world.clock.settle())

    @rule()
    def reclaim(self) -> None:
        self.run(self.world.sessions._upkeep.reclaim())

    @rule()
    def restart(self) -> None:
        self.run(self.world.restart())

    @precondition(lambda self: len(self.key_ids) < 4)
    @rule(active=st.booleans())
    def add_key(self, active: bool) -> None:
        new = max(self.key_ids) + 1
        self.key_ids = (new, *self.key_ids) if active else (*self.key_ids, new)
        self.world.use_keys(*self.key_ids)

    @precondition(lambda self: len(self.key_ids) > 1)
    @rule()
    def retire_keys(self) -> None:
        in_use = self.run(self.world.sessions.keys_in_use())
        self.key_ids = tuple(key_id for n, key_id in enumerate(self.key_ids) if n == 0 or in_use.get(key_id))
        self.world.use_keys(*self.key_ids)

    @invariant()
    def every_session_is_as_the_model_has_it(self) -> None:
        for ns, key in list(self.model):
            found = self.run(self.world.sessions.read(ns, key))
            known = self.live(ns, self.resolved(ns, key))
            assert (found and (found.value, found.subject)) == (known and (known.value, known.subject)), (ns, key)


SessionsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSessionsMachine = SessionsMachine.TestCase

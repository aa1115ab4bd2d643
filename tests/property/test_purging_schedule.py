"""Whatever is asked for, answered, refused and lost in whatever order: no purge is finished too early, and each is finished at last."""

import math
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.log.model import Offset, PartitionId, Position
from headwater.purging.model import Purge, RetryPolicy
from headwater.purging.schedule import Action, AskServed, Park, Schedule, Send, TargetPlan

TARGETS = (TargetPlan("inner", 0, 2), TargetPlan("inner2", 0, 1), TargetPlan("edge", 1, 2))
POLICY = RetryPolicy(attempts_max=3, park_after_s=20.0, backoff_first_s=0.5, backoff_max_s=4.0)
SETTLE_S = 5.0
ANSWERS = ("acknowledged", "failed", "refused")


@dataclass(slots=True)
class World:
    """The schedule, and what a judge knows of the caches.

    Attributes:
        sent: by target and URL, when each acknowledged request was sent.
        given_up: (target, URL) with the time when a dead letter for it was made durable.
        wished: by offset, the purge and when it was asked for.
        served_since: by seq, since when the pages API serves it.
    """

    schedule: Schedule = field(default_factory=lambda: Schedule(TARGETS, policy=POLICY, settle_s=SETTLE_S, served_poll_s=0.5))
    now_s: float = 0.0
    committed: int = 0
    served: int = 0
    under_way: list[tuple[Action, float]] = field(default_factory=list)
    sent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    given_up: dict[tuple[str, str], float] = field(default_factory=dict)
    wished: dict[int, tuple[Purge, float]] = field(default_factory=dict)
    served_since: dict[int, float] = field(default_factory=dict)
    finished: list[int] = field(default_factory=list)

    def wish(self, url: str, kind: int) -> None:
        """A record is read: a purge of the wiki (-1), of the newest commit once more (0), or of a new commit (1)."""
        self.committed += max(0, kind)
        seq = None if kind < 0 or self.committed == 0 else self.committed
        offset = len(self.wished)
        own = seq is not None
        purge = Purge(url, seq, "rivers" if own else None, 7 if own else None, time_ms=0)
        self.wished[offset] = (purge, self.now_s)
        self.schedule.admit(purge, Position(PartitionId("resource-purge"), Offset(offset)), self.now_s)
        self.collect()

    def serve(self) -> None:
        """The pages API comes to serve the newest commit."""
        for one in range(self.served + 1, self.committed + 1):
            self.served_since[one] = self.now_s
        self.served = self.committed

    def begin(self) -> None:
        """Everything that is due is begun."""
        while (action := self.schedule.next_action(self.now_s)) is not None:
            self.under_way.append((action, self.now_s))

    def end(self, index: int, answer: str) -> None:
        """One action that is under way ends."""
        action, began_s = self.under_way.pop(index % len(self.under_way))
        match action:
            case AskServed():
                if answer == "failed":
                    self.schedule.unserved(action, "no answer", self.now_s)
                else:
                    self.schedule.served(action, self.served, self.now_s)
            case Park():
                if answer == "failed":
                    self.schedule.unparked(action, 0.5, self.now_s)
                else:
                    self.given_up[action.target, action.purge.url] = self.now_s
                    self.schedule.parked(action, self.now_s)
            case Send():
                self._answer(action, began_s, answer)
        self.collect()

    def end_all(self, answer: str, rounds: int) -> None:
        """Everything that is under way or due ends in the same way, and what follows from it too."""
        for _ in range(rounds):
            self.begin()
            for _ in range(len(self.under_way)):
                self.end(0, answer)

    def _answer(self, action: Send, began_s: float, answer: str) -> None:
        if answer == "acknowledged":
            self.sent.setdefault((action.target, action.request.url), []).append(began_s)
            self.schedule.acknowledged(action, self.now_s)
        elif answer == "failed":
            self.schedule.failed(action, "no answer", 0.5, self.now_s)
        else:
            self.schedule.refused(action, "answered 403", self.now_s)

    def collect(self) -> None:
        """Judge what the schedule says is finished."""
        for done in self.schedule.take_finished():
            for position in done.positions:
                self._judge(*self.wished[position.offset])
                self.finished.append(position.offset)

    def _judge(self, purge: Purge, wished_s: float) -> None:
        for target in TARGETS:
            if self.given_up.get((target.name, purge.url), -1.0) >= wished_s:
                continue
            least_s = wished_s if purge.seq is None else self.served_since.get(purge.seq, math.inf) + SETTLE_S
            times = self.sent.get((target.name, purge.url), [])
            assert any(sent_s >= least_s for sent_s in times), f"{purge} is finished too early at {target.name}"


def drain(world: World) -> None:
    """Let everything answer well until nothing is left."""
    world.serve()
    for _ in range(400):
        world.begin()
        while world.under_way:
            world.end(0, "acknowledged")
            world.begin()
        due_s = world.schedule.next_due_s()
        if due_s is None:
            return
        world.now_s = max(world.now_s, due_s)
    raise AssertionError("it does not come to rest")


STEPS = st.one_of(
    st.tuples(st.just("wish"), st.sampled_from(["http://r.example/a", "http://r.example/b"]), st.integers(-1, 1)),
    st.tuples(st.just("begin"), st.none(), st.none()),
    st.tuples(st.just("end"), st.sampled_from(ANSWERS), st.integers(0, 5)),
    st.tuples(st.just("all"), st.sampled_from(ANSWERS), st.integers(1, 3)),
    st.tuples(st.just("pass"), st.none(), st.sampled_from([1, 6, 30])),
    st.tuples(st.just("serve"), st.none(), st.none()),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=40))
def test_each_purge_is_finished_once_and_never_too_early(steps: list[tuple[str, str | None, int | None]]) -> None:
    world = World()
    for name, text, number in steps:
        world.now_s += 0.001  # no two steps at one time
        match name:
            case "wish":
                assert text is not None and number is not None
                world.wish(text, number)
            case "begin":
                world.begin()
            case "end" if world.under_way:
                assert text is not None and number is not None
                world.end(number, text)
            case "all":
                assert text is not None and number is not None
                world.end_all(text, number)
            case "pass":
                assert number is not None
                world.now_s += number
            case "serve":
                world.serve()
            case _:
                pass
    drain(world)
    assert sorted(world.finished) == sorted(world.wished)
    assert len(world.schedule) == 0 == world.schedule.waiting_for_second()
    assert all(len(lane) == 0 and lane.in_flight == 0 for lane in world.schedule.lanes.values())

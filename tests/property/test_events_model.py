"""Random requests, failures, restarts and kills against a model of what the intake must have stored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.events_setting import Setting, change, raw

from headwater.events.config import EventsConfig
from headwater.events.model import Result, Status
from headwater.kernel.errors import OutcomeUnknown, Unavailable
from headwater.log.model import AppendFailure

IDS = ("a", "b", "c", "d", "e")
EVENTS = st.one_of(
    st.tuples(st.just("valid"), st.sampled_from(IDS)),
    st.tuples(st.just("invalid"), st.sampled_from(IDS)),
    st.tuples(st.just("unknown"), st.sampled_from(IDS)),
)
STEPS = st.one_of(
    st.tuples(st.just("post"), st.lists(st.lists(EVENTS, min_size=1, max_size=5), min_size=1, max_size=3)),
    st.tuples(st.just("fail"), st.sampled_from(IDS)),
    st.tuples(st.just("lose"), st.sampled_from(IDS)),
    st.tuples(st.just("heal"), st.none()),
    st.tuples(st.sampled_from(("restart", "kill", "lose index", "wait")), st.none()),
)


@dataclass
class Model:
    """What must be in the log: an id at most once, and every one that was answered as accepted."""

    serial: int = 0
    accepted: set[str] = field(default_factory=set)
    sent: set[bytes] = field(default_factory=set)

    def event(self, kind: str, event_id: str) -> bytes:
        """An event of this kind, with bytes that no other has."""
        self.serial += 1
        stream = "nowhere" if kind == "unknown" else "resource_change"
        value = raw(change(event_id, stream=stream, serial=self.serial, tags=0 if kind == "invalid" else []))
        self.sent.add(value)
        return value

    def check(self, request: Sequence[tuple[str, str]], results: Sequence[Result]) -> None:
        """Compare the answer to one request."""
        assert len(results) == len(request)
        for (kind, event_id), result in zip(request, results, strict=True):
            if kind == "invalid":
                assert result.status is Status.INVALID
            elif kind == "unknown":
                assert result.status is Status.ERROR
            elif result.accepted:
                assert result.id == event_id
                self.accepted.add(event_id)
            else:
                assert isinstance(result.error, OutcomeUnknown | Unavailable)
                assert event_id not in self.accepted, "what is accepted stays so"


async def play(steps: Sequence[tuple[str, object]]) -> None:
    """Run the steps, then let everything settle and compare the log with the model."""
    setting, model = Setting(EventsConfig(batch_events_max=3, catch_up_records_max=2)), Model()
    await setting.intake.start()
    failing: set[bytes] = set()
    losing: set[bytes] = set()
    setting.log.refuse = lambda record: AppendFailure(Unavailable("x")) if dict(record.headers)["id"] in failing else None
    setting.log.lose = lambda record: AppendFailure(OutcomeUnknown("x")) if dict(record.headers)["id"] in losing - failing else None
    for name, argument in steps:
        if name == "post":
            assert isinstance(argument, list)
            posts = [setting.intake.accept([model.event(*event) for event in request]) for request in argument]
            for request, results in zip(argument, await asyncio.gather(*posts), strict=True):
                model.check(request, results)
        elif name == "heal":
            failing.clear()
            losing.clear()
        elif isinstance(argument, str):
            (failing if name == "fail" else losing).add(argument.encode())
        elif name == "restart":
            await setting.restart()
        elif name == "wait":
            await setting.clock.run_for(3)
        else:
            await setting.kill(index=setting.new_index() if name == "lose index" else None)
        await compare(setting, model)
    await setting.intake.stop()


async def compare(setting: Setting, model: Model) -> None:
    """Every accepted id is stored exactly once, nothing is stored twice, and all bytes are as sent."""
    stored = await setting.stored("resource_change")
    ids = [dict(record.headers)["id"].decode() for record in stored]
    assert len(ids) == len(set(ids)) and model.accepted <= set(ids)
    assert {record.value for record in stored} <= model.sent


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_the_intake_agrees_with_the_model(steps: Sequence[tuple[str, object]]) -> None:
    asyncio.run(play(steps))

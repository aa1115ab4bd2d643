"""What the status page makes of the metrics of sessions."""

import asyncio

import pytest

from headwater.console.model import overview_of
from headwater.console.ports import Answer
from headwater.console.service import Console
from headwater.console.sessions import KeyView, NamespaceView, SessionsView, sessions_view
from headwater.kernel.metrics import Metrics
from headwater.sessions.metrics import MEMORY_PROTECTION, METRICS, REFUSED, SHED
from headwater.sessions.service_metrics import BYTES, GENERATIONS, GENERATIONS_REJECTED, QUOTA_REFUSALS, ROWS, ROWS_BY_KEY, ROWS_REJECTED
from headwater.sqlite.metrics import METRICS as SQLITE
from headwater.sqlite.metrics import STORAGE_FULL
from headwater.testing.clock import ManualClock

READY = b'{"ready": true, "checks": {}}'


def _metrics() -> Metrics:
    metrics = Metrics(METRICS)
    metrics.set(ROWS, 3, namespace="echo")
    metrics.set(ROWS, 1_000_000, namespace="sessions")
    metrics.set(BYTES, 2.5e9, namespace="sessions")
    metrics.set(ROWS_BY_KEY, 7, key_id="1")
    metrics.set(ROWS_BY_KEY, 9, key_id="2")
    metrics.set(GENERATIONS, 4)
    metrics.set(MEMORY_PROTECTION, 1, measure="core_files")
    metrics.set(MEMORY_PROTECTION, 0, measure="unswappable")
    metrics.inc(REFUSED, 2, interface="native")
    metrics.inc(REFUSED, 3, interface="dropin")
    metrics.inc(SHED, 6, kind="anonymous")
    return metrics


def test_what_the_metrics_say() -> None:
    metrics = _metrics()
    view = sessions_view(metrics.exposition().decode())
    assert view == SessionsView(
        namespaces=[
            NamespaceView(name="echo", rows=3, bytes=0, quota_refusals=0),
            NamespaceView(name="sessions", rows=1_000_000, bytes=2_500_000_000, quota_refusals=0),
        ],
        keys=[KeyView("1", 7), KeyView("2", 9)],
        generations=4,
        refused=5,
        shed=6,
        altered=0,
        unprotected=["unswappable"],
        disk_full=False,
    )
    assert view.troubles() == []


def test_a_full_disk_is_told() -> None:
    metrics = Metrics((*METRICS, *SQLITE))
    metrics.set(STORAGE_FULL, 1, database="sessions")
    view = sessions_view(metrics.exposition().decode())
    assert view.disk_full and view.troubles() == ["sessions: the disk is full, saves are refused"]


def test_what_somebody_should_look_at() -> None:
    metrics = _metrics()
    metrics.inc(ROWS_REJECTED, reason="altered")
    metrics.inc(GENERATIONS_REJECTED, 2, reason="gone")
    metrics.inc(QUOTA_REFUSALS, namespace="echo", quota="rows")
    answer = Answer(200, metrics.exposition())
    sample = asyncio.run(_console({"/metrics": answer, "/readyz": Answer(200, READY)})._ask())
    overview = overview_of(sample, None, {"sessions": "there"}, 1)
    assert not overview.healthy
    assert overview.sessions is not None and not overview.sessions.disk_full
    assert "3 rows or revocations were altered" in overview.verdict and "the namespace echo has refused" in overview.verdict


@pytest.mark.parametrize("text", ["", "no metrics {", "up 1\n"])
def test_what_is_no_metrics_of_sessions_is_a_fault_of_the_role(text: str) -> None:
    with pytest.raises(ValueError):
        sessions_view(text)
    console = _console({"/metrics": Answer(200, text.encode()), "/readyz": Answer(200, READY)})
    (role,) = asyncio.run(console.overview()).roles
    assert role.state == "not ready" and role.reasons == ["/metrics cannot be read"]


def test_sessions_that_need_not_run_are_shown_only_while_they_do() -> None:
    answers = {"/metrics": Answer(None, fault="refused"), "/readyz": Answer(None, fault="refused")}
    clock = ManualClock()
    console = _console(answers, clock)
    overview = asyncio.run(console.overview())
    assert overview.healthy and overview.roles == [] and overview.sessions is None
    answers |= {"/metrics": Answer(200, _metrics().exposition()), "/readyz": Answer(200, READY)}
    clock.advance(2)
    overview = asyncio.run(console.overview())
    assert overview.healthy and [role.name for role in overview.roles] == ["sessions"] and overview.sessions is not None


def _console(answers: dict[str, Answer], clock: ManualClock | None = None) -> Console:
    class Roles:
        async def ask(self, address: str, path: str) -> Answer:
            return answers[path]

    return Console(
        Roles(),
        {"sessions": "there"},
        clock=clock or ManualClock(),
        poll_interval_s=1.0,
        edits_max=1,
        may_be_absent=lambda role: role == "sessions",
    )

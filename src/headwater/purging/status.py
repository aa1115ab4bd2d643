"""What purging says of itself: values of `GET /v1/status`, for the console, the command line and the demo."""

import msgspec

from headwater.kernel.metrics import Metric, Metrics
from headwater.purging import metrics as m
from headwater.purging.lanes import Lane
from headwater.purging.model import RetryPolicy


class TargetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One target. Counts are since the process began; `oldest_age_s` is None while nothing waits for it."""

    name: str
    layer: int
    state: str
    waiting: int
    in_flight: int
    oldest_age_s: float | None
    sent: int
    acknowledged: int
    retried: int
    refused: int
    parked: int


class PurgedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that all targets have acknowledged once. `asked_ms` and `purged_ms` are wall times."""

    url: str
    seq: int | None
    wiki: str | None
    page_id: int | None
    asked_ms: int
    purged_ms: int


class PurgingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All of purging.

    Attributes:
        unfinished: records under way, those that wait for a second purge included.
        waiting_second: of these, purges acknowledged once.
        purged: URLs acknowledged by all targets since the process began.
        dead_letters: unresolved ones.
        caught_up: every record of the log has been read.
        targets: as declared.
        recent: newest last.
        trouble: reasons why the log cannot be read now.
    """

    role: str = "purging"
    unfinished: int
    waiting_second: int
    purged: int
    dead_letters: int
    caught_up: bool
    targets: list[TargetStatus]
    recent: list[PurgedEntry]
    trouble: list[str]


def age_s(lane: Lane, now_s: float) -> float | None:
    """How long the oldest open item of a lane has been due, in seconds; None without one."""
    since_s = lane.oldest_since_s
    return None if since_s is None or since_s > now_s else now_s - since_s


def target_status(lane: Lane, layer: int, now_s: float, *, policy: RetryPolicy, metrics: Metrics) -> TargetStatus:
    """The status of the target behind `lane`."""

    def count(metric: Metric) -> int:
        return int(metrics.value(metric, target=lane.name))

    return TargetStatus(
        name=lane.name,
        layer=layer,
        state=lane.health(policy).value,
        waiting=len(lane),
        in_flight=lane.in_flight,
        oldest_age_s=age_s(lane, now_s),
        sent=count(m.SENT),
        acknowledged=count(m.ACKNOWLEDGED),
        retried=count(m.RETRIED),
        refused=count(m.REFUSED),
        parked=count(m.PARKED),
    )

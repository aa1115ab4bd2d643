"""The metrics catalogue: each metric is declared once, as a value, in the `metrics.py` of its room.

A room declares `Metric` constants and records through a `Metrics` that it is given; the reference page is printed from the
declarations (`headwater.app.metrics.CATALOGUE` joins the rooms). Names carry their unit last, in base units, as Prometheus asks. Labels
must be bounded: never a title, an id or a key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    3600.0,
)
COUNT_BUCKETS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


class Kind(Enum):
    """What Prometheus calls the type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric's declaration. `name` has no `headwater_` prefix and no `_total` suffix; both are added.

    A `foreign` metric keeps its name without the prefix, because dashboards made for a service that Headwater replaces ask for it.
    """

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS_BUCKETS
    foreign: bool = False

    @property
    def family(self) -> str:
        """The name that is exposed, without the suffix that its kind adds."""
        return self.name if self.foreign else f"headwater_{self.name}"


def counter(name: str, help: str, *labels: str, foreign: bool = False) -> Metric:
    """Declare a counter: only ever rises."""
    return Metric(Kind.COUNTER, name, help, labels, foreign=foreign)


def gauge(name: str, help: str, *labels: str, foreign: bool = False) -> Metric:
    """Declare a gauge: a value that goes up and down."""
    return Metric(Kind.GAUGE, name, help, labels, foreign=foreign)


def histogram(name: str, help: str, *labels: str, buckets: tuple[float, ...] = SECONDS_BUCKETS, foreign: bool = False) -> Metric:
    """Declare a histogram."""
    return Metric(Kind.HISTOGRAM, name, help, labels, buckets, foreign)


class Metrics:
    """Records values of a fixed catalogue. Thread-safe; an undeclared metric or label is a bug and raises."""

    def __init__(self, catalogue: Sequence[Metric]) -> None:
        self._registry = CollectorRegistry()
        self._collectors: dict[str, Counter | Gauge | Histogram] = {}
        for metric in catalogue:
            self._collectors[metric.family] = self._collector(metric)

    def _collector(self, metric: Metric) -> Counter | Gauge | Histogram:
        name = metric.family
        match metric.kind:
            case Kind.COUNTER:
                return Counter(name, metric.help, metric.labels, registry=self._registry)
            case Kind.GAUGE:
                return Gauge(name, metric.help, metric.labels, registry=self._registry)
            case Kind.HISTOGRAM:
                return Histogram(name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets)

    def inc(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Raise a counter."""
        collector = self._of(metric, labels)
        assert isinstance(collector, Counter)
        collector.inc(amount)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        collector = self._of(metric, labels)
        assert isinstance(collector, Gauge)
        collector.set(value)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        collector = self._of(metric, labels)
        assert isinstance(collector, Histogram)
        collector.observe(value)

    def value(self, metric: Metric, **labels: str) -> float:
        """The present value of a counter or gauge; a histogram's count of observations; 0 where nothing was recorded.

        Looks at this one metric only: statuses ask for many of them on the event loop.
        """
        suffix = {Kind.COUNTER: "_total", Kind.GAUGE: "", Kind.HISTOGRAM: "_count"}[metric.kind]
        name = f"{metric.family}{suffix}"
        for family in self._collectors[metric.family].collect():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0

    def child(self, metric: Metric, **labels: str) -> Counter | Gauge | Histogram:
        """The collector of one combination of labels, for hot paths that keep it instead of looking it up each time."""
        return self._of(metric, labels)

    def _of(self, metric: Metric, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        collector = self._collectors[metric.family]
        return collector.labels(**labels) if metric.labels else collector

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)

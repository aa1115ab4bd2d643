"""The metrics catalogue: each metric is declared once, as a value, in the `metrics.py` of its room.

A room declares `Metric` constants and records through a `Metrics` that it is given; the reference page is printed from the
declarations (`headwater.app.metrics.CATALOGUE` joins the rooms). Names carry their unit last, in base units, as Prometheus asks. Labels
must be bounded: never a title, an id or a key.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product

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
    `known` are labels with the values that somebody may wait for; `Metrics.begin` shows them before anything has happened.
    """

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS_BUCKETS
    foreign: bool = False
    known: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def family(self) -> str:
        """The name that is exposed, without the suffix that its kind adds."""
        return self.name if self.foreign else f"headwater_{self.name}"


def counter(name: str, help: str, *labels: str, foreign: bool = False, known: Mapping[str, Sequence[str]] | None = None) -> Metric:
    """Declare a counter: only ever rises."""
    values = tuple((label, tuple(some)) for label, some in (known or {}).items())
    return Metric(Kind.COUNTER, name, help, labels, foreign=foreign, known=values)


def gauge(name: str, help: str, *labels: str, foreign: bool = False) -> Metric:
    """Declare a gauge: a value that goes up and down."""
    return Metric(Kind.GAUGE, name, help, labels, foreign=foreign)


def histogram(name: str, help: str, *labels: str, buckets: tuple[float, ...] = SECONDS_BUCKETS, foreign: bool = False) -> Metric:
    """Declare a histogram."""
    return Metric(Kind.HISTOGRAM, name, help, labels, buckets, foreign)


class Tally:
    """Counts for one combination of labels of a counter, on one thread; a tenth of the cost of a thread-safe count.

    The metric learns of it whenever it is looked at. What is counted meanwhile is not lost: what was told is remembered, not subtracted.
    """

    __slots__ = ("_child", "_count", "_told")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self._count = self._told = 0

    def inc(self, amount: int = 1) -> None:
        """Count one, or that many."""
        self._count += amount

    def tell(self) -> None:
        """Bring the metric up to date."""
        count, told = self._count, self._told
        self._told = count
        self._child.inc(count - told)


class TallyOfTimes:
    """As a `Tally`, for a histogram."""

    __slots__ = ("_bounds", "_child", "_counts", "_sum", "_told", "_told_sum")

    def __init__(self, child: Histogram, bounds: Sequence[float]) -> None:
        self._child = child
        self._bounds = (*bounds, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._told = list(self._counts)
        self._sum = self._told_sum = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def tell(self) -> None:
        """Bring the metric up to date."""
        counts, total = list(self._counts), self._sum
        # The library has no public way to add many observations at once; the unit test holds it to what its own `observe` does.
        for bucket, count, told in zip(self._child._buckets, counts, self._told, strict=True):
            bucket.inc(count - told)
        self._child._sum.inc(total - self._told_sum)
        self._told, self._told_sum = counts, total


class Metrics:
    """Records values of a fixed catalogue. Thread-safe but for tallies; an undeclared metric or label is a bug and raises."""

    def __init__(self, catalogue: Sequence[Metric]) -> None:
        self._tallies: list[Tally | TallyOfTimes] = []
        self._registry = CollectorRegistry()
        self._collectors: dict[str, Counter | Gauge | Histogram] = {}
        self._catalogue = tuple(catalogue)
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

    def begin(self, **values: Iterable[str]) -> None:
        """Show counters at 0 before they first count: a rate begins with the second value, and would not see the first event.

        Args:
            values: of labels whose values no declaration can know, such as configured names. Of each counter every combination is shown,
                unless the values of one of its labels are not known.
        """
        given = {label: tuple(some) for label, some in values.items()}
        for metric in self._catalogue:
            known = given | dict(metric.known)
            if metric.kind is Kind.COUNTER and metric.labels and known.keys() >= set(metric.labels):
                for combination in product(*(known[label] for label in metric.labels)):
                    self._of(metric, dict(zip(metric.labels, combination, strict=True)))

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
        self._take_tallies()
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

    def tally(self, metric: Metric, **labels: str) -> Tally:
        """What counts for one combination of labels of a counter on the hottest paths of one thread. To be kept: each is held for good."""
        child = self._of(metric, labels)
        assert isinstance(child, Counter)
        tally = Tally(child)
        self._tallies.append(tally)
        return tally

    def tally_of_times(self, metric: Metric, **labels: str) -> TallyOfTimes:
        """The same for a histogram."""
        child = self._of(metric, labels)
        assert isinstance(child, Histogram)
        tally = TallyOfTimes(child, metric.buckets)
        self._tallies.append(tally)
        return tally

    def _take_tallies(self) -> None:
        for tally in list(self._tallies):
            tally.tell()

    def _of(self, metric: Metric, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        collector = self._collectors[metric.family]
        return collector.labels(**labels) if metric.labels else collector

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        self._take_tallies()
        return generate_latest(self._registry)

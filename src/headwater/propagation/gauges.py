"""The gauges of one wiki, read off the shard."""

from headwater.propagation.metrics import DEAD_LETTERS, DIRTY, IN_FLIGHT, PAGES, STALEST_SECONDS, WINDOW
from headwater.propagation.model import Urgency
from headwater.propagation.rendering import Dispatcher
from headwater.propagation.surroundings import Surroundings
from headwater.propagation.tenure import Tenure


def report_gauges(around: Surroundings, tenure: Tenure, dispatcher: Dispatcher) -> None:
    """Set every gauge to what is true now."""
    shard, now_ms = tenure.shard, around.clock.now_ms()
    around.set(PAGES, len(shard))
    around.set(IN_FLIGHT, shard.in_flight())
    around.set(DEAD_LETTERS, len(tenure.dead_letters))
    around.set(WINDOW, dispatcher.urgent.size, window="urgent")
    around.set(WINDOW, dispatcher.bulk.size, window="bulk")
    backlog, stalest_ms = shard.backlog(), shard.stalest_ms()
    for urgency in Urgency:
        label = str(int(urgency))
        around.set(DIRTY, backlog[urgency], urgency=label)
        around.set(STALEST_SECONDS, max(0, now_ms - stalest_ms.get(urgency, now_ms)) / 1000, urgency=label)

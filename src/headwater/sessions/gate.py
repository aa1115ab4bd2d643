"""What both interfaces share before they ask the service: the configuration, callers, shedding, budgets of misses, and counting."""

import structlog

from headwater.http.guard import check_length
from headwater.http.messages import Client, Request
from headwater.kernel.clock import Clock
from headwater.kernel.metrics import Metrics, Tally
from headwater.sessions.clients import Callers, MissBudget
from headwater.sessions.config import SessionsConfig
from headwater.sessions.metrics import OVER_BUDGET, READS, REFUSED
from headwater.sessions.model import KeyEntropy, Policy
from headwater.sessions.quiet import Seldom
from headwater.sessions.shedding import Shedding

GUESSABLE_MISS_WEIGHT = 20.0
"""What a miss costs of a client's budget in a namespace whose keys can be guessed, in misses."""

_log = structlog.get_logger(__name__)


class Gate:
    """One for both interfaces, so that no client has two budgets."""

    def __init__(self, config: SessionsConfig, *, metrics: Metrics, clock: Clock) -> None:
        self.config = config
        self.metrics = metrics
        self.callers = Callers(config)
        self.shedding = Shedding(config.shedding, metrics)
        self._budget = MissBudget(config, clock)
        self._weights = {
            name: GUESSABLE_MISS_WEIGHT if namespace.key_entropy is KeyEntropy.LOW else 1.0 for name, namespace in config.namespaces.items()
        }
        self._seldom = Seldom(clock)
        self._reads: dict[tuple[str, bool], Tally] = {}

    def count_read(self, namespace: str, *, hit: bool) -> None:
        """Note a read."""
        counter = self._reads.get((namespace, hit))
        if counter is None:
            result = "hit" if hit else "miss"
            counter = self._reads[namespace, hit] = self.metrics.tally(READS, namespace=namespace, result=result)
        counter.inc()

    def count_refused(self, interface: str) -> None:
        """Note that nobody who may sent a request."""
        self.metrics.inc(REFUSED, interface=interface)

    def check_body(self, request: Request, policy: Policy) -> int:
        """How many bytes the body of a write can have, before it is read. Raises TooLarge, or Overloaded where no write is admitted."""
        self.shedding.check_room()
        length = request.headers.get("content-length")
        announced = None if length is None else int(length)
        check_length(announced, policy.value_bytes_max)
        return policy.value_bytes_max if announced is None else announced

    def spend_miss(self, client: Client, namespace: str) -> float | None:
        """Count a miss of `client`; beyond its budget raise the alarm and return the seconds until it may miss again.

        A miss weighs more where keys can be guessed.
        """
        wait_s = self._budget.spend(client, self._weights[namespace])
        if wait_s is not None:
            self.metrics.inc(OVER_BUDGET, client=client.name)
            left_out = self._seldom.due(client.name)
            if left_out is not None:
                _log.warning("misses_over_budget", client=client.name, left_out=left_out)
        return wait_s

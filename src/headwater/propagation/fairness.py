"""Who renders next: deficit round robin over flows (a wiki's class), paid in renderer milliseconds.

A flow's turn gives it a quantum, by weight of its class; it may start renders while its account is positive, and what a render took is
taken from the account when it ends. A slow wiki therefore gets as much of the renderers' time as a fast one, not as many renders. A flow
that has nothing to do keeps no credit, but pays its debts. Source: Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round
Robin", 1996; with payment afterwards, because what a render costs is known only then.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from headwater.propagation.model import Urgency

QUANTUM_MS = 500.0
WEIGHTS: Mapping[Urgency, float] = {Urgency.NOW: 8.0, Urgency.HOT: 4.0, Urgency.WARM: 2.0, Urgency.REST: 1.0}
ROUNDS_OF_DEBT_MAX = 20  # one very long render may silence its flow for at most this many of its turns


@dataclass(frozen=True, slots=True)
class Flow:
    """What waits for renderers: one class of one wiki."""

    wiki: str
    urgency: Urgency


class DeficitRoundRobin:
    """The accounts of all flows and whose turn it is."""

    def __init__(self, quantum_ms: float = QUANTUM_MS) -> None:
        assert quantum_ms > 0
        self._quantum_ms = quantum_ms
        self._accounts_ms: OrderedDict[Flow, float] = OrderedDict()  # in order of turns, the next first

    def next(self, waiting: Collection[Flow]) -> Flow | None:
        """The flow that may start a render now, of those that wait; None if none waits.

        The same flow is named again until its account is used up by `charge`, or it waits no longer.
        """
        if not waiting:
            return None
        for flow in waiting:
            self._accounts_ms.setdefault(flow, 0.0)
        while True:
            flow, account_ms = next(iter(self._accounts_ms.items()))
            if flow not in waiting:
                self._pass(flow, min(account_ms, 0.0))
            elif account_ms > 0:
                return flow
            else:
                self._pass(flow, account_ms + self._share_ms(flow))

    def charge(self, flow: Flow, took_ms: float) -> None:
        """Take what a render of `flow` took from its account; negative gives back what was taken too early."""
        floor_ms = -ROUNDS_OF_DEBT_MAX * self._share_ms(flow)
        self._accounts_ms[flow] = max(self._accounts_ms.get(flow, 0.0) - took_ms, floor_ms)

    def account_ms(self, flow: Flow) -> float:
        """What `flow` may still use in this turn; negative is debt."""
        return self._accounts_ms.get(flow, 0.0)

    def forget(self, wiki: str) -> None:
        """Close the accounts of a wiki that is served no longer."""
        for flow in [flow for flow in self._accounts_ms if flow.wiki == wiki]:
            del self._accounts_ms[flow]

    def _share_ms(self, flow: Flow) -> float:
        return self._quantum_ms * WEIGHTS[flow.urgency]

    def _pass(self, flow: Flow, account_ms: float) -> None:
        self._accounts_ms[flow] = account_ms
        self._accounts_ms.move_to_end(flow)

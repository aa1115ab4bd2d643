"""Asks the roles while somebody looks, and keeps what the page shows."""

import asyncio
from collections.abc import Callable, Mapping

from headwater.console.model import METRICS_ROLE, STATUS_ROLES, Overview, Sample, overview_of
from headwater.console.ports import Answer, RoleClient
from headwater.kernel.clock import Clock


class Console:
    """The present overview, asked for at most once per interval however many look."""

    def __init__(
        self,
        client: RoleClient,
        addresses: Mapping[str, str],
        *,
        clock: Clock,
        poll_interval_s: float,
        edits_max: int,
        may_be_absent: Callable[[str], bool] = lambda role: False,
    ) -> None:
        """Create it.

        Args:
            client: asks them.
            addresses: of the roles to ask, by name, as host:port.
            clock: tells when the page is old.
            poll_interval_s: how old.
            edits_max: recent edits shown.
            may_be_absent: whether a role that does not answer is not shown at all, since it need not run.
        """
        self._may_be_absent = may_be_absent
        self._client = client
        self._addresses = dict(addresses)
        self._clock = clock
        self._poll_interval_s = poll_interval_s
        self._edits_max = edits_max
        self._lock = asyncio.Lock()
        self._sample: Sample | None = None
        self._overview: Overview | None = None

    async def overview(self) -> Overview:
        """What the roles say, at most one interval old. Never fails: a role that does not answer is shown as down."""
        async with self._lock:
            now_s = self._clock.monotonic_s()
            if self._overview is None or self._sample is None or now_s - self._sample.at_s >= self._poll_interval_s:
                sample = await self._ask()
                self._overview = overview_of(sample, self._sample, self._present(sample), self._edits_max)
                self._sample = sample
            return self._overview

    def _present(self, sample: Sample) -> Mapping[str, str]:
        readiness = sample.readiness
        return {
            role: address
            for role, address in self._addresses.items()
            if readiness[role].status is not None or not self._may_be_absent(role)
        }

    async def _ask(self) -> Sample:
        at_s, now_ms = self._clock.monotonic_s(), self._clock.now_ms()
        roles = list(self._addresses)
        with_status = [role for role in roles if role in STATUS_ROLES]
        with_metrics = [role for role in roles if role == METRICS_ROLE]
        questions = [(role, "/readyz") for role in roles] + [(role, "/v1/status") for role in with_status]
        questions += [(role, "/metrics") for role in with_metrics]
        answers: list[Answer] = await asyncio.gather(*(self._client.ask(self._addresses[role], path) for role, path in questions))
        return Sample(
            now_ms=now_ms,
            at_s=at_s,
            readiness=dict(zip(roles, answers[: len(roles)], strict=True)),
            status=dict(zip(with_status, answers[len(roles) :][: len(with_status)], strict=True)),
            metrics=dict(zip(with_metrics, answers[len(roles) + len(with_status) :], strict=True)),
        )

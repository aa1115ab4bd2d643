"""What sessions say of themselves in their metrics, as values. Pure.

The process of sessions has no status of its own to ask for: every address there may be the key of a session, and metrics hold no secret.
What is not told reads as 0, so that both may be of different versions.
"""

from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_PREFIX = "headwater_sessions_"
_STORAGE_FULL = "headwater_sqlite_storage_full"


class NamespaceView(msgspec.Struct, frozen=True, kw_only=True):
    """One namespace, as last counted by the service: at most some minutes ago."""

    name: str
    rows: int
    bytes: int
    quota_refusals: int


class KeyView(msgspec.Struct, frozen=True):
    """A service key in use, and how many rows are sealed under it."""

    key_id: str
    rows: int


class SessionsView(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions as a whole; counts are since the process began.

    Attributes:
        namespaces, keys: what is stored.
        generations: revoked subjects and namespaces.
        refused: requests of no client that may make them.
        shed: writes refused because there was too much to do.
        altered: rows and records of revocations that are not as they were written.
        unprotected: what the system did not allow for the memory of the process.
        disk_full: saves are refused for want of space; reads and deletes go on.
    """

    namespaces: list[NamespaceView]
    keys: list[KeyView]
    generations: int
    refused: int
    shed: int
    altered: int
    unprotected: list[str]
    disk_full: bool

    def troubles(self) -> list[str]:
        """What somebody should look at."""
        found = [f"sessions: {self.altered} rows or revocations were altered by somebody"] if self.altered else []
        found += ["sessions: the disk is full, saves are refused"] if self.disk_full else []
        full = [one.name for one in self.namespaces if one.quota_refusals]
        return found + [f"sessions: the namespace {name} has refused writes for its quota" for name in full]


def sessions_view(exposition: str) -> SessionsView:
    """Read the text of `/metrics`.

    Raises:
        ValueError: it is none, or not that of sessions.
    """
    everything = [sample for family in text_string_to_metric_families(exposition) for sample in family.samples]
    samples = [sample for sample in everything if sample.name.startswith(_PREFIX)]
    if not samples:
        raise ValueError("these are no metrics of sessions")
    refusals = dict(_by_label(samples, "quota_refusals_total", "namespace"))
    sizes = dict(_by_label(samples, "bytes", "namespace"))
    return SessionsView(
        namespaces=[
            NamespaceView(name=name, rows=rows, bytes=sizes.get(name, 0), quota_refusals=refusals.get(name, 0))
            for name, rows in _by_label(samples, "rows", "namespace")
        ],
        keys=[KeyView(key_id, rows) for key_id, rows in _by_label(samples, "rows_by_key", "key_id")],
        generations=_sum(samples, "generations"),
        refused=_sum(samples, "refused_total"),
        shed=_sum(samples, "shed_total"),
        altered=_sum(samples, "rows_rejected_total") + _sum(samples, "generations_rejected_total"),
        unprotected=[name for name, reached in _by_label(samples, "memory_protection", "measure") if not reached],
        disk_full=any(sample.value for sample in everything if sample.name == _STORAGE_FULL),
    )


def _by_label(samples: Iterable[Sample], name: str, label: str) -> Iterator[tuple[str, int]]:
    """The sum for each value of a label, in their order."""
    sums: dict[str, int] = {}
    for sample in samples:
        if sample.name == f"{_PREFIX}{name}" and label in sample.labels:
            sums[sample.labels[label]] = sums.get(sample.labels[label], 0) + int(sample.value)
    yield from sorted(sums.items())


def _sum(samples: Iterable[Sample], name: str) -> int:
    return sum(int(sample.value) for sample in samples if sample.name == f"{_PREFIX}{name}")

"""COMMIT, before it is durable: what follows from a render. Pure functions of the state.

Early cutoff: if body, title and redirect target are all as before, nothing that is served changes; the reads and the step are recorded
all the same, else the page would stay stale or miss a change of what it reads now.
"""

import hashlib
from dataclasses import dataclass, replace

from pyroaring import BitMap

from headwater.propagation import staleness
from headwater.propagation.model import HTML, BodyHash, CommitRecord, Gone, Lease, Lsn, Rendered, Seq, Title, content, existence
from headwater.propagation.state import Node, ShardState


@dataclass(frozen=True, slots=True)
class Decision:
    """What COMMIT decided for one lease, before it is durable.

    Attributes:
        lease: under which the page was rendered.
        record: to append to `commits.<wiki>`.
        changed: False is early cutoff: nothing that is served changes.
        purge_titles: titles whose addresses must be purged (both after a move); empty on cutoff.
        body: hash and bytes to put before the append, or None.
        tombstone: the node leaves: append a tombstone of its key after the record.
        cause: of the change behind the render, for the page-changed event.
    """

    lease: Lease
    record: CommitRecord
    changed: bool
    purge_titles: tuple[Title, ...]
    body: tuple[BodyHash, bytes] | None
    tombstone: bool
    cause: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to commit a page: under which `lease`, with which `seq`, from which `step`, and when."""

    lease: Lease
    seq: Seq
    step: Lsn
    now_ms: int


def decide(state: ShardState, number: int, outcome: Rendered | Gone, attempt: Attempt) -> Decision:
    """What `outcome` means for the page of `number`, which is in flight under the attempt's lease."""
    node = state.node(number)
    record = _record(outcome, node.record, attempt)
    changed = record.body_seq == record.seq
    body = None
    if changed and isinstance(outcome, Rendered):
        assert record.html_hash is not None
        body = (record.html_hash, outcome.body)
    return Decision(
        lease=attempt.lease,
        record=record,
        changed=changed,
        purge_titles=_purge_titles(node.record, record) if changed else (),
        body=body,
        tombstone=isinstance(outcome, Gone) and _nobody_needs(state, number, replace(node, record=record)),
        cause=staleness.cause(state, node),
    )


def _record(outcome: Rendered | Gone, before: CommitRecord | None, attempt: Attempt) -> CommitRecord:
    html_hash, redirect, rev = None, None, None
    reads = frozenset({existence(outcome.title)})
    if isinstance(outcome, Rendered):
        html_hash = outcome.body_hash or BodyHash(hashlib.sha256(outcome.body).hexdigest())
        redirect, rev = outcome.redirect, outcome.rev
        reads |= outcome.reads | {content(outcome.title)}
    record = CommitRecord(
        page=attempt.lease.page,
        product=HTML,
        seq=attempt.seq,
        step=attempt.step,
        title=outcome.title,
        html_hash=html_hash,
        body_seq=attempt.seq,
        redirect=redirect,
        rev=rev,
        reads=tuple(sorted(reads)),
        time_ms=attempt.now_ms,
    )
    if before is not None and (html_hash, record.title, redirect) == (before.html_hash, before.title, before.redirect):
        return replace(record, body_seq=before.body_seq)
    return record


def _purge_titles(before: CommitRecord | None, record: CommitRecord) -> tuple[Title, ...]:
    if before is None or before.title == record.title:
        return (record.title,)
    return (before.title, record.title)


def _nobody_needs(state: ShardState, number: int, gone: Node) -> bool:
    """Whether the node of a page that is gone may leave: no other page reads its title, and nothing happened to it since."""
    itself = BitMap((number,))
    assert gone.record is not None
    resources = (content(gone.record.title), existence(gone.record.title))
    return not staleness.is_stale(state, gone) and all(state.dependents(resource).issubset(itself) for resource in resources)

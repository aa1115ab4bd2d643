"""When is a page stale: exactly if one of its reads has a last change later than its step.

A node's own name counts as one more read (`Node.named`), and a page without a commit is stale from the beginning. Pure functions of the
state.
"""

from headwater.propagation.model import Lsn, Resource
from headwater.propagation.state import Mark, Node, ShardState


def last_change(state: ShardState, resource: Resource) -> int:
    """LSN of the last change of `resource`; the horizon if that is later, -1 if nothing is known: then no page can have missed one."""
    mark = state.mark(resource)
    horizon = -1 if state.horizon is None else state.horizon
    return horizon if mark is None else max(mark.lsn, horizon)


def is_stale(state: ShardState, node: Node) -> bool:
    """Whether the page's last commit misses a change that is applied."""
    record = node.record
    return record is None or node.named > record.step or bool(state.changed_after(record.reads, record.step))


def stale_reads(state: ShardState, node: Node) -> list[tuple[Resource, Lsn]]:
    """What the page read that has changed since its step, with the LSN of the last change; nothing before its first commit."""
    if node.record is None:
        return []
    changed = state.changed_after(node.record.reads, node.record.step)
    return [(resource, Lsn(last_change(state, resource))) for resource in changed]


def unseen_marks(state: ShardState, node: Node) -> list[Mark]:
    """The changes that the page has missed, as far as more than the horizon is known of them."""
    marks = (state.mark(resource) for resource, _ in stale_reads(state, node))
    return [mark for mark in marks if mark is not None]


def cause(state: ShardState, node: Node) -> str:
    """The cause of the newest change that the page has missed; `again` if none is known."""
    step = -1 if node.record is None else node.record.step
    newest, found = (int(node.named), node.named_by) if node.named > step else (-1, "again")
    for mark in unseen_marks(state, node):
        if mark.lsn > newest:
            newest, found = mark.lsn, mark.cause
    return found


def was_overtaken(state: ShardState, node: Node) -> bool:
    """Whether the last render may have seen early all that made the page stale: it all happened before that render was committed."""
    marks = unseen_marks(state, node)
    return node.record is not None and bool(marks) and all(mark.happened_ms <= node.record.time_ms for mark in marks)

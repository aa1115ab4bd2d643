"""A small world around the real shard: a wiki, a log, owners that crash and live on as zombies, a checkpoint file, readers and a cache.

Everything that may happen next is an `Option`; whoever drives the world chooses. After each step the invariants of
`docs/explanation/propagation.md` are checked from what the log and the wiki say, not from what the shard believes; a breach raises
`Violation`. `Rules` are the owner's protocol; the first value named is the one that holds, every other value is a mutant.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from headwater.propagation.model import HTML, BodyHash, Change, CommitRecord, Gone, Lease, Lsn, PageKey, Rendered, Resource, Seq, Title
from headwater.propagation.ports import Checkpoint
from headwater.propagation.shard import Decision, Freshness, Shard

BASE = 1000  # LSN of the first change
REST_STEPS_MAX = 600  # rest must be reached within so many steps of the system alone


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of one run, then the protocol of the owner, its stores and the cache."""

    crashes: int = 1
    duplicates: int = 0
    failures: int = 0  # appends that fail, or whose outcome stays unknown
    fills: int = 0  # cache misses; 0 leaves the cache out
    disorder: bool = False  # changes may be appended in another order than the edits
    trim: bool = False  # `changes` is trimmed up to the checkpoint, and the checkpoint can be lost
    lag: bool = False  # a read may return the version before the newest
    i3: str = "content"  # content | step: how what is served may not go back

    store: str = "pointer"  # pointer: readers follow commit records | row: the body is put where readers look before the append
    cutoff: str = "advance"  # advance: reads and step are recorded | forget: no record
    unknown: str = "restart"  # an append of unknown outcome ends the epoch | carry_on
    fencing: bool = True
    fence_first: bool = True  # recovery takes the epoch before it reads the logs
    commits_first: bool = False  # commits are replayed before changes
    checkpoint_fenced: bool = True
    checkpoint_atomic: bool = True
    checkpoint_offset: str = "state"  # last commit in the state | end: of the log
    proof: str = "revs"  # a renderer that may lag proves its floor by `revs_within` | none
    pointer: str = "higher"  # what is served changes to a higher seq only | always
    purge: str = "floor"  # floor | rebound: second purge when the content is served and fetches landed | blind: without waiting | single
    purge_append: str = "commit"  # in the same append as the commit record | after


class Wiki(Protocol):
    """The source of truth. `state_matters`: what is published depends on what the shard knows."""

    state_matters: bool

    def edits(self) -> Sequence[tuple[str, Callable[[], Sequence[object]]]]:
        """What somebody may do now; each returns what it will publish, in order."""
        ...

    def changes(self, published: object, shard: Shard) -> Sequence[tuple[Change, int]]:
        """The changes that follow from something published, each with the version that it stands for. `shard` has applied all before."""
        ...

    def next_read(self, page: PageKey, seen: Mapping[Resource, int]) -> Resource | None:
        """What a render that has seen so much reads next; None when it is done."""
        ...

    def version(self, resource: Resource) -> int:
        """The newest version."""
        ...

    def start(self, resource: Resource) -> int:
        """The version when the world begins; nobody can read an older one."""
        ...

    def outcome(self, page: PageKey, seen: Mapping[Resource, int]) -> Rendered | Gone:
        """The render that has seen this."""
        ...

    def versions(self, page: PageKey, seen: Mapping[Resource, int]) -> Mapping[Resource, int]:
        """The version of each resource that such a render has read."""
        ...

    def fresh(self, page: PageKey) -> Rendered | Gone:
        """A render of the present."""
        ...

    def pages(self) -> Sequence[tuple[PageKey, Title, Mapping[Resource, int]]]:
        """Pages that are committed when the world begins, and what their render had seen."""
        ...

    def existing(self) -> Sequence[PageKey]:
        """Pages that exist now."""
        ...


@dataclass(slots=True)
class Render:
    """One lease on its way: read → put → append → point → state."""

    lease: Lease
    revs: Mapping[Resource, int | None]
    phase: str = "read"
    seen: dict[Resource, int] = field(default_factory=dict)
    decision: Decision | None = None
    offset: int = -1


@dataclass(slots=True)
class Owner:
    """A process that believes it owns the shard."""

    shard: Shard
    epoch: int
    renders: list[Render] = field(default_factory=list)
    saved: tuple[int, int, int] | None = None  # where its last checkpoint stood

    def stands(self) -> tuple[int, int, int]:
        """How far it has come: another checkpoint would say the same while this stays."""
        return (self.shard.applied, self.shard.commits_after, len(self.renders))


@dataclass(frozen=True, slots=True)
class Served:
    """What a reader or a cache got: a committed state of a page, with what its render had seen."""

    seq: Seq
    record: CommitRecord
    seen: Mapping[Resource, int]


@dataclass(frozen=True, slots=True)
class Option:
    """Something that may happen. `system`: it happens by itself, without edits, faults or visits."""

    name: str
    system: bool
    act: Callable[[], None]


@dataclass(slots=True)
class CheckpointFile:
    """The shard's file, which merges what it is given."""

    checkpoint: Checkpoint | None = None

    def save(self, new: Checkpoint) -> None:
        """Replace what `new` holds, keep the rest."""
        old = self.checkpoint
        pages = {**({} if old is None else old.pages), **new.pages}
        marks = {**({} if old is None else old.marks), **new.marks}
        self.checkpoint = replace(
            new,
            pages={k: v for k, v in pages.items() if v is not None},
            marks={k: v for k, v in marks.items() if v is not None},
        )


class Simulation:
    """The world. Times are steps; LSNs and offsets have gaps."""

    def __init__(self, wiki: Wiki, rules: Rules, shard_class: type[Shard] = Shard) -> None:
        self.wiki = wiki
        self.rules = rules
        self.shard_class = shard_class
        self.unpublished: list[object] = []
        self.changes: list[tuple[Lsn, Change, int]] = []
        self.trimmed = 0  # changes that a recovery cannot read any more
        self.commits: list[tuple[int, PageKey, CommitRecord | None]] = []
        self.seen: dict[Seq, Mapping[Resource, int]] = {}
        self.fence = 1
        self.file = CheckpointFile()
        self.zombie: Owner | None = None
        self.served: dict[PageKey, Served] = {}
        self.rows: dict[PageKey, tuple[Seq, Decision]] = {}
        self.crashes = self.failures = self.duplicates = self.fills = 0
        self.now_ms = 1
        self.purges: list[tuple[Seq, PageKey, bool]] = []
        self.floors: dict[PageKey, Seq] = {}
        self.copies: dict[PageKey, Served] = {}
        self.fetches: list[tuple[PageKey, Served]] = []
        self.lost_file = False
        self.owner = self._begin()
        self.trace: list[str] = []

    def _begin(self) -> Owner:
        """The first owner of a world whose pages are all committed and clean."""
        for number, (page, title, seen) in enumerate(self.wiki.pages()):
            record = first_commit(page, title, self.wiki.fresh(page), seq=Seq(number + 1))
            self.commits.append((2 * number, page, record))
            self.seen[record.seq] = dict(seen)
            self.served[page] = Served(record.seq, record, dict(seen))
            if self.rules.fills:
                self.copies[page] = self.served[page]
        owner = self._recover(1)
        checkpoint = owner.shard.checkpoint()
        self.file.save(checkpoint)
        owner.shard.saved(checkpoint)
        return owner

    # recovery

    def _recover(self, epoch: int) -> Owner:
        shard = self.shard_class(epoch=epoch, log_base=BASE, replication_window_ms=10**9 if self.rules.lag else 0)
        checkpoint = self.file.checkpoint
        if checkpoint is not None:
            shard.load(checkpoint)
        if self.trimmed and shard.applied < self.changes[self.trimmed - 1][0]:
            shard.changes_trimmed_to(Lsn(self.changes[self.trimmed - 1][0] + 1))
        order = [self._replay_changes, self._replay_commits]
        for replay in reversed(order) if self.rules.commits_first else order:
            replay(shard)
        shard.recovered()
        return Owner(shard, epoch)

    def _replay_changes(self, shard: Shard) -> None:
        for lsn, change, _ in self.changes[self.trimmed :]:
            if lsn > shard.applied:
                shard.replay_change(lsn, change)

    def _replay_commits(self, shard: Shard) -> None:
        for offset, page, record in self.commits:
            if offset > shard.commits_after:
                shard.replay_commit(offset, page, record)

    def _crash(self, *, lose_file: bool = False) -> None:
        """The old owner lives on as a zombie; the new one fences it and recovers."""
        self.crashes += 1
        if lose_file:
            self.file.checkpoint = None
            self.lost_file = True
        epoch = self.owner.epoch + 1
        self.zombie = self.owner
        if self.rules.fence_first:
            self.fence = epoch
        self.owner = self._recover(epoch)
        for page in {key for _, key, _ in self.commits}:
            self._point(page)

    # options

    def options(self) -> list[Option]:
        """Everything that may happen next."""
        found = list(self._world())
        if self.fence == self.owner.epoch:
            found.extend(self._owner(self.owner, ""))
        if self.zombie is not None:
            found.extend(self._owner(self.zombie, "z."))
        if self.rules.fills:
            found.extend(self._edge())
        return found

    def _world(self) -> Iterator[Option]:
        for name, edit in self.wiki.edits():
            yield Option(f"edit {name}", False, partial(self._edit, edit))
        for i in range(len(self.unpublished) if self.rules.disorder else min(1, len(self.unpublished))):
            yield Option("publish", True, partial(self._publish_one, i))
        if self.duplicates < self.rules.duplicates:
            for _, change, version in self.changes:
                yield Option(f"duplicate {change.resource}", False, partial(self._duplicate, change, version))
        if self.zombie is not None:
            yield Option("zombie dies", True, self._bury)
        if self.fence != self.owner.epoch:
            yield Option("fence", True, self._fence)
        elif self.crashes < self.rules.crashes:
            yield Option("crash", False, self._crash)
            if self.rules.trim:
                yield Option("crash and lose file", False, partial(self._crash, lose_file=True))
                yield Option("trim", False, self._trim)

    def _edit(self, edit: Callable[[], Sequence[object]]) -> None:
        self.unpublished.extend(edit())

    def _publish_one(self, index: int) -> None:
        """The owner writes `changes` itself, and has applied all that it wrote before it derives more from events."""
        if self.fence == self.owner.epoch and self.wiki.state_matters:
            while any(lsn > self.owner.shard.applied for lsn, _, _ in self.changes):
                self._apply(self.owner)
        for change, version in self.wiki.changes(self.unpublished.pop(index), self.owner.shard):
            self._publish(change, version)

    def _publish(self, change: Change, version: int) -> None:
        lsn = self.changes[-1][0] + 2 if self.changes else BASE + 1
        self.changes.append((Lsn(lsn), change, version))

    def _duplicate(self, change: Change, version: int) -> None:
        self.duplicates += 1
        self._publish(change, version)

    def _bury(self) -> None:
        self.zombie = None

    def _fence(self) -> None:
        self.fence = self.owner.epoch

    def _trim(self) -> None:
        applied = -1 if self.file.checkpoint is None else self.file.checkpoint.applied
        self.trimmed = max(self.trimmed, sum(lsn <= applied for lsn, _, _ in self.changes))

    def _owner(self, owner: Owner, z: str) -> Iterator[Option]:
        shard = owner.shard
        if any(lsn > shard.applied for lsn, _, _ in self.changes):
            yield Option(z + "apply", True, partial(self._apply, owner))
        if shard.ready(now_ms=self.now_ms):
            yield Option(z + "lease", True, partial(self._lease, owner, zombie=bool(z)))
        if owner.saved != owner.stands() and (not z or not self.rules.checkpoint_fenced):
            yield Option(z + "checkpoint", True, partial(self._checkpoint, owner))
        for render in owner.renders:
            for name, act in self._render(owner, render):
                yield Option(f"{z}{name} {render.lease.page}", not name.startswith("append fails"), act)

    def _apply(self, owner: Owner) -> None:
        lsn, change, _ = next(entry for entry in self.changes if entry[0] > owner.shard.applied)
        owner.shard.apply(lsn, change, now_ms=self.now_ms)

    def _lease(self, owner: Owner, *, zombie: bool) -> None:
        leases = owner.shard.lease(1, now_ms=self.now_ms)
        revs = owner.shard.revs_within(1) if self.rules.lag else {}
        for lease in leases:
            owner.renders.append(Render(lease, revs))
            if not zombie and not self.trimmed:
                record = self.committed(lease.page)
                if record is not None and not self._is_stale(record, owner.shard.applied):
                    raise Violation("I4 render of a page that is not stale")

    def _checkpoint(self, owner: Owner) -> None:
        owner.saved = owner.stands()
        checkpoint = owner.shard.checkpoint()
        if self.rules.checkpoint_offset == "end" and self.commits:
            checkpoint = replace(checkpoint, commits_after=self.commits[-1][0])
        before = self.file.checkpoint
        if not self.rules.checkpoint_atomic and before is not None and before.applied != checkpoint.applied:
            self.file.checkpoint = replace(before, applied=checkpoint.applied, commits_after=checkpoint.commits_after)
            owner.saved = None
            return  # how far it has come is durable; what came of it is not
        self.file.save(checkpoint)
        if self.rules.checkpoint_offset != "end":
            owner.shard.saved(checkpoint)

    # one render

    def _render(self, owner: Owner, render: Render) -> Iterator[tuple[str, Callable[[], None]]]:
        if render.phase == "read":
            resource = self.wiki.next_read(render.lease.page, render.seen)
            newest = None if resource is None else self.wiki.version(resource)
            if resource is None or newest is None:
                yield "render", partial(self._decide, owner, render)
                return
            yield f"read {resource}", partial(self._read, render, resource, newest)
            if self.rules.lag and newest - 1 >= max(self.wiki.start(resource), self._proven(render, resource)):
                yield f"lagging read {resource}", partial(self._read, render, resource, newest - 1)
        elif render.phase == "put":
            yield "put", partial(self._put, render)
        elif render.phase == "append":
            yield "append", partial(self._append, owner, render)
            if self.failures < self.rules.failures and owner is self.owner:
                yield "append fails", partial(self._fail, owner, render)
                yield "append fails though it landed", partial(self._fail, owner, render, landed=True)
        elif render.phase == "point":
            yield "point", partial(self._show, owner, render)
        elif render.offset == min((r.offset for r in owner.renders if r.offset >= 0), default=-1):
            yield "state", partial(self._settle, owner, render)

    def _proven(self, render: Render, resource: Resource) -> int:
        if self.rules.proof == "none" or resource not in render.revs:
            return self.wiki.start(resource)
        rev = render.revs[resource]
        return 10**9 if rev is None else rev

    def _read(self, render: Render, resource: Resource, version: int) -> None:
        render.seen[resource] = version

    def _decide(self, owner: Owner, render: Render) -> None:
        decision = owner.shard.decide(render.lease, self.wiki.outcome(render.lease.page, render.seen), now_ms=self.now_ms)
        if decision is None:
            owner.renders.remove(render)
            return
        if self.rules.cutoff == "forget" and not decision.changed:
            owner.shard._land(owner.shard._number(render.lease.page))
            owner.renders.remove(render)
            return
        render.decision = decision
        render.phase = "put" if self.rules.store == "row" and decision.changed else "append"

    def _put(self, render: Render) -> None:
        decision = render.decision
        assert decision is not None
        page, before = render.lease.page, self.served.get(render.lease.page)
        if before is None or decision.record.seq > before.seq:
            self._serve(page, Served(decision.record.seq, decision.record, dict(render.seen)))
        render.phase = "append"

    def _append(self, owner: Owner, render: Render) -> None:
        if self.rules.fencing and owner.epoch != self.fence:
            assert owner is self.zombie
            self.zombie = None
            return
        self._land(render)
        render.phase = "point" if self.rules.store == "pointer" else "state"

    def _land(self, render: Render) -> None:
        decision = render.decision
        assert decision is not None
        record = decision.record
        before = self.committed(record.page)
        if before is not None and record.seq <= before.seq and self.rules.fencing:
            raise Violation("I3 the seq of a commit went back")
        render.offset = self.commits[-1][0] + 2 if self.commits else 0
        self.commits.append((render.offset, record.page, record))
        if decision.tombstone:
            render.offset += 1
            self.commits.append((render.offset, record.page, None))
        self.seen[record.seq] = dict(render.seen)
        if decision.changed and self.rules.purge_append == "commit":
            self._purge(record)

    def _purge(self, record: CommitRecord) -> None:
        if self.rules.fills:
            self.purges.append((record.seq, record.page, False))

    def _fail(self, owner: Owner, render: Render, *, landed: bool = False) -> None:
        self.failures += 1
        if landed:
            self._land(render)
        if self.rules.unknown == "restart" and landed:
            self._crash()
            self.crashes -= 1
            return
        owner.renders.remove(render)
        owner.shard.release(render.lease, not_before_ms=0, failed=False)

    def _show(self, owner: Owner, render: Render) -> None:
        decision = render.decision
        assert decision is not None
        if self.rules.pointer == "always" and decision.changed:
            self._serve(render.lease.page, Served(decision.record.seq, decision.record, dict(render.seen)))
        else:
            self._point(render.lease.page)
        render.phase = "state"

    def _point(self, page: PageKey) -> None:
        """Readers follow the commit records of the log."""
        if self.rules.store == "row":
            return
        record = self.committed(page, changed=True)
        if record is not None and (page not in self.served or record.seq > self.served[page].seq):
            self._serve(page, Served(record.seq, record, self.seen[record.seq]))

    def _settle(self, owner: Owner, render: Render) -> None:
        decision = render.decision
        assert decision is not None
        owner.renders.remove(render)
        owner.shard.settle(decision, render.offset, now_ms=self.now_ms)
        if decision.changed and self.rules.purge_append == "after":
            self._purge(decision.record)

    def _serve(self, page: PageKey, new: Served) -> None:
        before = self.served.get(page)
        self.served[page] = new
        if before is None:
            return
        if new.seq <= before.seq:
            raise Violation("I3 the served seq went back")
        seen = self.wiki.versions(page, before.seen)
        for resource, version in self.wiki.versions(page, new.seen).items():
            if self.rules.i3 == "content" and version < seen.get(resource, 0):
                raise Violation("I3 the served content went back")
            if version < self.top(resource, before.record.step):
                raise Violation("I3 what is served is older than the step served before")

    # the cache

    def _edge(self) -> Iterator[Option]:
        for purge in self.purges:
            seq, page, again = purge
            waits = any(p == page for p, _ in self.fetches) or page not in self.served or self.served[page].seq < seq
            if not again or self.rules.purge == "blind" or not waits:
                yield Option(f"purge {page}{' again' if again else ''}", True, partial(self._do_purge, purge))
        if self.fills < self.rules.fills:
            for page in self.served:
                if page not in self.copies:
                    yield Option(f"miss {page}", False, partial(self._miss, page))
        for i, (page, _) in enumerate(self.fetches):
            yield Option(f"fill {page}", True, partial(self._fill, i))

    def _do_purge(self, purge: tuple[Seq, PageKey, bool]) -> None:
        self.purges.remove(purge)
        seq, page, again = purge
        copy = self.copies.get(page)
        if self.rules.purge == "floor":
            self.floors[page] = max(seq, self.floors.get(page, Seq(0)))
            if copy is not None and copy.seq < self.floors[page]:
                del self.copies[page]
            return
        self.copies.pop(page, None)
        if self.rules.purge in ("rebound", "blind") and not again:
            self.purges.append((seq, page, True))

    def _miss(self, page: PageKey) -> None:
        self.fills += 1
        self.fetches.append((page, self.served[page]))

    def _fill(self, index: int) -> None:
        page, got = self.fetches.pop(index)
        if self.rules.purge != "floor" or got.seq >= self.floors.get(page, 0):
            self.copies[page] = got

    # what is true

    def committed(self, page: PageKey, *, changed: bool = False) -> CommitRecord | None:
        """The last commit of a page in the log; with `changed`, the last that changed what is served."""
        for _, key, record in reversed(self.commits):
            if key == page and record is None and not changed:
                return None
            if key == page and record is not None and not (changed and record.body_seq != record.seq):
                return record
        return None

    def top(self, resource: Resource, lsn: int) -> int:
        """The newest version of `resource` that a change up to `lsn` names."""
        return max((v for at, change, v in self.changes if at <= lsn and change.resource == resource), default=0)

    def _is_stale(self, record: CommitRecord, lsn: int) -> bool:
        named = max((at for at, change, _ in self.changes if at <= lsn and change.page_id == record.page), default=-1)
        return named > record.step or any(self.last(resource, lsn) > record.step for resource in record.reads)

    def last(self, resource: Resource, lsn: int) -> int:
        """The LSN of the last change of `resource` up to `lsn`. Repetitions count: once a revision is forgotten they may cost a render."""
        return max((at for at, change, _ in self.changes if at <= lsn and change.resource == resource), default=-1)

    def check(self) -> None:
        """I1 of the owner of the current epoch."""
        if self.fence == self.owner.epoch:
            self._check_marks(self.owner.shard)
            self.owner.shard.validate()

    def check_recovery(self) -> None:
        """I2: the state that a recovery would build now satisfies I1 at the end of `changes`."""
        self._check_marks(self._recover(self.owner.epoch + 1).shard, "I2 a crash now would lose the update")

    def _check_marks(self, shard: Shard, text: str = "I1 a stale page is neither dirty nor in flight") -> None:
        for page in {key for _, key, _ in self.commits}:
            record = self.committed(page)
            if record is None or shard.freshness(page) is not Freshness.FRESH:
                continue
            seen = self.wiki.versions(page, self.seen[record.seq])
            if any(version < self.top(resource, shard.applied) for resource, version in seen.items()):
                raise Violation(text)

    def take(self, option: Option) -> None:
        """Let one thing happen, and check."""
        self.now_ms += 1
        self.trace.append(option.name)
        option.act()
        self.check()

    def rest(self) -> None:
        """Let the system alone until nothing is left to do; then I5 must hold. I6: that it ends."""
        for _ in range(REST_STEPS_MAX):
            options = [option for option in self.options() if option.system and not option.name.endswith("checkpoint")]
            options = [option for option in options if not option.name.startswith("lagging")]
            if not options:
                break
            self.take(options[0])
        else:
            raise Violation("I6 no way to rest")
        for page in {*self.served, *self.wiki.existing()}:
            self._check_rest(page)

    def _check_rest(self, page: PageKey) -> None:
        fresh = _shown(self.wiki.fresh(page))
        served = self.served.get(page)
        if (None if served is None else _shown(self.wiki.outcome(page, served.seen))) != fresh:
            raise Violation(f"I5 at rest page {page} serves old content")
        if page in self.copies and _shown(self.wiki.outcome(page, self.copies[page].seen)) != fresh:
            raise Violation(f"I5 at rest the cache holds old content of page {page}")


def first_commit(page: PageKey, title: Title, outcome: Rendered | Gone, *, seq: Seq) -> CommitRecord:
    """The commit of a page from before the world begins."""
    assert isinstance(outcome, Rendered)
    return CommitRecord(
        page=page,
        product=HTML,
        seq=seq,
        step=Lsn(BASE - 1),
        title=title,
        html_hash=BodyHash(hashlib.sha256(outcome.body).hexdigest()),
        body_seq=seq,
        redirect=outcome.redirect,
        rev=outcome.rev,
        reads=tuple(sorted(outcome.reads)),
        time_ms=0,
    )


def _shown(outcome: Rendered | Gone) -> tuple[bytes, Title, Title | None] | None:
    return (outcome.body, outcome.title, outcome.redirect) if isinstance(outcome, Rendered) else None

"""A state machine over the real shard: a wiki with templates, links, redirects, moves, deletions and restores, against full recomputation.

The wiki publishes events as MediaWiki's EventBus does; `changes_of_batch` turns them into changes. Whatever order Hypothesis finds of
edits, steps, faults and repetitions: the invariants hold after each step, and at rest every page is served as a fresh render would be.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from headwater.propagation.changes import SourceEvent, changes_of_batch
from headwater.propagation.model import Change, Gone, PageKey, Rendered, Resource, Title
from headwater.propagation.shard import Shard
from headwater.testing.shard_simulation import Option, Rules, Simulation

TITLES = (Title("A"), Title("B"), Title("T"), Title("U"))
RULES = Rules(crashes=3, duplicates=3, failures=2, fills=3, disorder=True)
EDITS_MAX = 8
CHOICE = st.integers(min_value=0, max_value=2**16)
SETTINGS = settings(max_examples=500, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SNAPSHOT = Resource("x:snapshot")  # the one read of a render here: the state of the whole wiki


@dataclass(frozen=True)
class Text:
    """What a page says: a redirect, or a value with the titles that it transcludes and links."""

    value: int = 0
    uses: tuple[Title, ...] = ()
    links: tuple[Title, ...] = ()
    redirect: Title | None = None


TEXTS = (
    Text(0),
    Text(1),
    Text(0, uses=(TITLES[2],)),
    Text(0, uses=(TITLES[3], TITLES[2])),
    Text(1, links=(TITLES[0], TITLES[3])),
    Text(redirect=TITLES[2]),
    Text(redirect=TITLES[3]),
)


@dataclass(frozen=True)
class State:
    """The whole wiki at one moment. `versions` rises for each resource with each change of it."""

    titles: Mapping[PageKey, Title]
    texts: Mapping[PageKey, Text]
    versions: Mapping[Resource, int]

    def page(self, title: Title) -> PageKey | None:
        return next((page for page, own in self.titles.items() if own == title), None)

    def text(self, title: Title) -> Text | None:
        page = self.page(title)
        return None if page is None else self.texts[page]

    def render(self, page: PageKey, asked: Title) -> tuple[Rendered | Gone, frozenset[Resource]]:
        title = self.titles.get(page)
        if title is None:
            return Gone(asked), frozenset({_e(asked)})
        text, reads = self.texts[page], {_c(title), _e(title)}
        body: list[object] = [title, text.value]
        for used in text.uses:
            body.append(self._transclude(used, reads))
        for linked in text.links if text.redirect is None else (text.redirect,):
            reads.add(_e(linked))
            body.append(_appearance(self.text(linked)))
        rendered = Rendered(title, repr(body).encode(), frozenset(reads), self.versions[_c(title)], text.redirect)
        return rendered, frozenset(reads)

    def _transclude(self, title: Title, reads: set[Resource]) -> object:
        reads.add(_c(title))
        text = self.text(title)
        if text is not None and text.redirect is not None:
            reads.add(_c(text.redirect))
            text = self.text(text.redirect)
        return None if text is None else (text.value, text.redirect)


def _c(title: Title) -> Resource:
    return Resource(f"c:{title}")


def _e(title: Title) -> Resource:
    return Resource(f"e:{title}")


def _appearance(text: Text | None) -> str:
    return "red" if text is None else "blue" if text.redirect is None else "redirect"


@dataclass(frozen=True)
class Published:
    """Events as the wiki sends them, and the versions that were true when it did."""

    events: tuple[SourceEvent, ...]
    versions: Mapping[Resource, int]


class NoAddresses:
    """No event of this wiki names an address."""

    def title_of_url(self, url: str) -> str | None:
        return None

    def namespace_of(self, key: str) -> int:
        return 0


class EventfulWiki:
    """The wiki: its history, and what one may do to it."""

    state_matters = True

    def __init__(self) -> None:
        titles = {PageKey(1): TITLES[0], PageKey(2): TITLES[2]}
        texts = {PageKey(1): TEXTS[2], PageKey(2): TEXTS[0]}
        start = {kind(title): 1 for title in TITLES for kind in (_c, _e)}
        self.history = [State(titles, texts, start)]
        self.deleted: dict[PageKey, tuple[Title, Text]] = {}
        self.rev = 100
        self.next_page = 3

    @property
    def now(self) -> State:
        return self.history[-1]

    def edits(self) -> Sequence[tuple[str, Callable[[], Sequence[object]]]]:
        found: list[tuple[str, Callable[[], Sequence[object]]]] = []
        for title in TITLES:
            found += [(f"{title} := {text}", partial(self._save, title, text)) for text in TEXTS if text != self.now.text(title)]
        for page, title in self.now.titles.items():
            found.append((f"delete {title}", partial(self._delete, page)))
            for free in TITLES:
                if self.now.page(free) is None:
                    found.append((f"move {title} to {free}", partial(self._move, page, free, leave=False)))
                    found.append((f"move {title} to {free}, redirect", partial(self._move, page, free, leave=True)))
        for page, (title, _) in self.deleted.items():
            if self.now.page(title) is None:
                found.append((f"restore {title}", partial(self._restore, page)))
        return found

    def _save(self, title: Title, text: Text) -> Sequence[object]:
        page = self.now.page(title)
        created = page is None
        if page is None:
            page, self.next_page = PageKey(self.next_page), self.next_page + 1
        self._become({**self.now.titles, page: title}, {**self.now.texts, page: text})
        streams = ("mediawiki.page-create", "mediawiki.revision-create") if created else ("mediawiki.revision-create",)
        return [self._published(*(self._saved(stream, page, created=created) for stream in streams))]

    def _saved(self, stream: str, page: PageKey, *, created: bool) -> SourceEvent:
        parent = {} if created else {"rev_parent_id": 1}
        redirect = self.now.texts[page].redirect is not None
        return self._event(stream, page, self.now.titles[page], rev_id=self.rev, page_is_redirect=redirect, **parent)

    def _delete(self, page: PageKey) -> Sequence[object]:
        title = self.now.titles[page]
        self.deleted[page] = (title, self.now.texts[page])
        self._become(_without(self.now.titles, page), _without(self.now.texts, page))
        return [self._published(self._event("mediawiki.page-delete", page, title))]

    def _restore(self, page: PageKey) -> Sequence[object]:
        title, text = self.deleted.pop(page)
        self._become({**self.now.titles, page: title}, {**self.now.texts, page: text})
        return [self._published(self._event("mediawiki.page-undelete", page, title))]

    def _move(self, page: PageKey, title: Title, *, leave: bool) -> Sequence[object]:
        old = self.now.titles[page]
        titles, texts = {**self.now.titles, page: title}, dict(self.now.texts)
        left, self.next_page = PageKey(self.next_page), self.next_page + 1
        if leave:
            titles[left], texts[left] = old, Text(redirect=title)
        self._become(titles, texts)
        events = [self._event("mediawiki.page-move", page, title, prior_state={"page_title": old, "page_namespace": 0})]
        if leave:
            events.append(self._saved("mediawiki.page-create", left, created=True))
        return [self._published(*events)]

    def _become(self, titles: Mapping[PageKey, Title], texts: Mapping[PageKey, Text]) -> None:
        before = self.now
        self.rev += 1
        after = State(titles, texts, before.versions)
        versions = dict(before.versions)
        for title in TITLES:
            if before.page(title) != after.page(title) or before.text(title) != after.text(title):
                versions[_c(title)] = self.rev
            if before.page(title) != after.page(title) or _appearance(before.text(title)) != _appearance(after.text(title)):
                versions[_e(title)] = self.rev
        self.history.append(replace(after, versions=versions))

    def _published(self, *events: SourceEvent) -> Published:
        return Published(events, self.now.versions)

    def _event(self, stream: str, page: PageKey, title: Title, **fields: object) -> SourceEvent:
        value = json.dumps({"meta": {"stream": stream}, "page_id": page, "page_title": title, "page_namespace": 0, **fields})
        return SourceEvent(stream, value.encode(), f"event-{self.rev}", 1)

    def changes(self, published: object, shard: Shard) -> Sequence[tuple[Change, int]]:
        assert isinstance(published, Published)
        outcomes = changes_of_batch(published.events, site=NoAddresses(), may_redirect=shard.may_redirect)
        changes = [change for outcome in outcomes if isinstance(outcome, tuple) for change in outcome]
        return [(change, published.versions[change.resource]) for change in changes]

    # what the simulation asks

    def next_read(self, page: PageKey, seen: Mapping[Resource, int]) -> Resource | None:
        return None if seen else SNAPSHOT

    def version(self, resource: Resource) -> int:
        return len(self.history) - 1

    def start(self, resource: Resource) -> int:
        return 0

    def outcome(self, page: PageKey, seen: Mapping[Resource, int]) -> Rendered | Gone:
        return self._rendered(page, seen[SNAPSHOT])[0]

    def versions(self, page: PageKey, seen: Mapping[Resource, int]) -> Mapping[Resource, int]:
        state = self.history[seen[SNAPSHOT]]
        return {resource: state.versions[resource] for resource in self._rendered(page, seen[SNAPSHOT])[1]}

    def _rendered(self, page: PageKey, snapshot: int) -> tuple[Rendered | Gone, frozenset[Resource]]:
        """A page that is gone is asked for under the last title that it had."""
        asked = next((state.titles[page] for state in reversed(self.history[: snapshot + 1]) if page in state.titles), TITLES[0])
        return self.history[snapshot].render(page, asked)

    def fresh(self, page: PageKey) -> Rendered | Gone:
        return self._rendered(page, len(self.history) - 1)[0]

    def pages(self) -> Sequence[tuple[PageKey, Title, Mapping[Resource, int]]]:
        return [(page, title, {SNAPSHOT: 0}) for page, title in self.now.titles.items()]

    def existing(self) -> Sequence[PageKey]:
        return list(self.now.titles)


def _without(mapping: Mapping[PageKey, Any], page: PageKey) -> Mapping[PageKey, Any]:
    return {key: value for key, value in mapping.items() if key != page}


class Machine(RuleBasedStateMachine):
    """Hypothesis chooses what happens next."""

    def __init__(self) -> None:
        super().__init__()
        self.wiki = EventfulWiki()
        self.world = Simulation(self.wiki, RULES)
        self.edits = 0

    def _take(self, options: Sequence[Option], choice: int) -> None:
        if options:
            self.world.take(options[choice % len(options)])

    @precondition(lambda self: self.edits < EDITS_MAX)
    @rule(choice=CHOICE)
    def edit(self, choice: int) -> None:
        """Somebody does something in the wiki."""
        self.edits += 1
        self._take([option for option in self.world.options() if option.name.startswith("edit ")], choice)

    @rule(choices=st.lists(CHOICE, min_size=1, max_size=6))
    def work(self, choices: Sequence[int]) -> None:
        """The system goes on."""
        for choice in choices:
            self._take([option for option in self.world.options() if option.system], choice)

    @rule(choice=CHOICE)
    def disturb(self, choice: int) -> None:
        """Something fails, is repeated, or is looked at."""
        options = self.world.options()
        self._take([option for option in options if not option.system and not option.name.startswith("edit ")], choice)

    @invariant()
    def the_shard_is_consistent(self) -> None:
        """The indexes of the shard agree with each other, and no stale page is forgotten."""
        if self.world.fence == self.world.owner.epoch:
            self.world.owner.shard.validate(thorough=True)

    def teardown(self) -> None:
        """Whatever happened: a crash now loses nothing, and rest is reached with every page right."""
        self.world.check_recovery()
        self.world.rest()
        shard = self.world.owner.shard
        for page, title in self.wiki.now.titles.items():
            fresh = self.wiki.fresh(page)
            record = shard.current(page)
            assert isinstance(fresh, Rendered) and record is not None
            assert record.html_hash == sha256(fresh.body).hexdigest()
            assert shard.title(page) == title
        shard.validate(thorough=True)


def test_every_page_is_right_at_rest() -> None:
    run_state_machine_as_test(Machine, settings=SETTINGS)


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_every_page_is_right_at_rest_for_long() -> None:
    run_state_machine_as_test(Machine, settings=settings(SETTINGS, max_examples=20_000, stateful_step_count=60))

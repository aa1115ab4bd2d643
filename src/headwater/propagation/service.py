"""Propagation of all wikis of this process: an owner and readers for each, and what operators ask of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from headwater.http.messages import ReadinessCheck
from headwater.kernel.clock import Clock
from headwater.kernel.errors import InvalidInput, NotFound
from headwater.kernel.ids import Ids
from headwater.kernel.metrics import Metrics
from headwater.log.model import StreamSpec
from headwater.log.ports import Log
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.backfill import Backfill
from headwater.propagation.config import PropagationConfig
from headwater.propagation.flow import FlowEntry
from headwater.propagation.metrics import VIEWS
from headwater.propagation.model import PageKey, Resource, Seq, Title
from headwater.propagation.owner import Owner, OwnerState
from headwater.propagation.pages import Pages
from headwater.propagation.parking import DeadLetter
from headwater.propagation.ports import BodyStore, CheckpointStore, Copies, Renderer, Site
from headwater.propagation.status import (
    BackfillStatus,
    Dependents,
    Explanation,
    Status,
    WikiStatus,
    backfill_status,
    dependents,
    explain,
    status_of,
)
from headwater.propagation.surroundings import Surroundings
from headwater.propagation.turns import Turns
from headwater.propagation.waiters import Waiters


@dataclass(frozen=True, slots=True)
class WikiParts:
    """What one wiki needs: its configuration, and what reaches it."""

    config: WikiConfig
    renderer: Renderer
    site: Site
    checkpoints: CheckpointStore
    copies: Copies | None = None


@dataclass(frozen=True, slots=True)
class _Wiki:
    around: Surroundings
    owner: Owner
    waiters: Waiters
    pages: Pages


class PropagationService:
    """Owns the shards of `wikis`.

    Args:
        event_streams: the event streams read and emitted, as the events service declares them; declared before anything is read.
    """

    def __init__(
        self,
        wikis: Mapping[str, WikiParts],
        *,
        config: PropagationConfig,
        log: Log,
        bodies: BodyStore,
        event_streams: Sequence[StreamSpec],
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
    ) -> None:
        self.config = config
        self.clock = clock
        self.metrics = metrics
        self._log = log
        self._event_streams = event_streams
        self._turns = Turns(config.renders_max)
        self._wikis: dict[str, _Wiki] = {}
        for wiki, parts in wikis.items():
            around = Surroundings(
                wiki=wiki,
                wiki_config=parts.config,
                config=config,
                log=log,
                renderer=parts.renderer,
                bodies=bodies,
                checkpoints=parts.checkpoints,
                site=parts.site,
                clock=clock,
                ids=ids,
                metrics=metrics,
                copies=parts.copies,
            )
            waiters = Waiters(config.waiters_max, clock)
            owner = Owner(around, self._turns, waiters.wake)
            self._wikis[wiki] = _Wiki(around, owner, waiters, Pages(around, owner, waiters))
        self._running: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Declare the streams and let every owner begin; recovery goes on in the background (`/readyz` tells)."""
        assert self._running is None, "started once"
        if self._event_streams:
            await self._log.declare(self._event_streams)
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as owners:
            for wiki in self._wikis.values():
                owners.create_task(wiki.owner.run())

    async def run(self) -> None:
        """Wait until every owner has ended. A bug in one is raised here, after the others have been stopped."""
        assert self._running is not None, "started first"
        await asyncio.shield(self._running)

    async def stop(self) -> None:
        """End every owner: no render is waited for, a last checkpoint is saved."""
        for wiki in self._wikis.values():
            wiki.owner.stop()
        if self._running is not None:
            await self._running

    def readiness(self) -> Sequence[ReadinessCheck]:
        """One check per wiki: whether its shard is owned and recovered."""
        return tuple((f"propagation {name}", _readiness_of(wiki.owner)) for name, wiki in self._wikis.items())

    # Reads

    def pages(self, wiki: str) -> Pages:
        """The pages of `wiki`. Raises NotFound."""
        return self._of(wiki).pages

    def served_seq(self, wiki: str, page: PageKey) -> Seq | None:
        """The `seq` of the commit that readers of a page get now; None where nothing older can be served. Raises Unavailable.

        Of a wiki that is not declared any more nothing is served any more.
        """
        found = self._wikis.get(wiki)
        record = None if found is None else found.pages.epoch().tenure.shard.current(page)
        return None if record is None else record.seq

    def viewed(self, wiki: str, titles: Sequence[str]) -> int:
        """Count views of pages by title; returns how many are known. Raises NotFound, InvalidInput (too many), Unavailable."""
        if len(titles) > self.config.views_max:
            raise InvalidInput(f"more than {self.config.views_max} titles", where="/titles")
        found = self._of(wiki)
        tenure = found.pages.epoch().tenure
        pages = [page for title in titles if (page := tenure.shard.find(Title(title.replace(" ", "_")))) is not None]
        tenure.shard.viewed(pages, now_ms=self.clock.now_ms())
        tenure.work.set()
        self.metrics.inc(VIEWS, len(titles), wiki=wiki)
        return len(pages)

    # What operators ask

    async def status(self) -> Status:
        """The status of every wiki."""
        wikis = [await self._status_of(wiki) for wiki in self._wikis.values()]
        return Status(self.clock.now_ms(), tuple(wikis))

    async def _status_of(self, wiki: _Wiki) -> WikiStatus:
        at_rest = await wiki.owner.at_rest()
        return status_of(wiki.owner, at_rest=at_rest, readers_waiting=wiki.waiters.waiting, flow_max=20)

    async def at_rest(self, wiki: str) -> bool:
        """Whether nothing is to be done for `wiki`: all events in the log are applied and no page waits. Raises NotFound."""
        return await self._of(wiki).owner.at_rest()

    def flow(self, wiki: str, *, after: int, limit: int) -> Sequence[FlowEntry]:
        """Recent edits of `wiki` with numbers above `after`. Raises NotFound."""
        return self._of(wiki).owner.flow.entries(after, limit)

    def explain(self, wiki: str, text: str) -> Explanation:
        """Why the page with this title is as it is. Raises NotFound, InvalidInput, Unavailable."""
        found = self._of(wiki)
        title, tenure = found.pages.normalise(text), found.pages.epoch().tenure
        page = tenure.shard.find(title)
        if page is None:
            raise NotFound(f"the shard of {wiki} knows no page {title}")
        return explain(found.owner, tenure, page)

    def dependents(self, wiki: str, name: str, *, limit: int) -> Dependents:
        """Who depends on the resource `name` (`kind:title`). Raises NotFound (no such wiki), InvalidInput, Unavailable."""
        kind, colon, rest = name.partition(":")
        if not colon or not kind or not rest:
            raise InvalidInput("a resource is named kind:name, as in c:Template:Cite_web", where="name")
        resource = Resource(f"{kind}:{rest.replace(' ', '_')}")
        return dependents(self._of(wiki).pages.epoch().tenure.shard, resource, limit)

    def dead_letters(self, wiki: str, *, limit: int) -> Sequence[DeadLetter]:
        """Pages of `wiki` that are parked, the oldest first. Raises NotFound, Unavailable."""
        letters = self._of(wiki).pages.epoch().tenure.dead_letters.values()
        return sorted(letters, key=lambda letter: letter.time_ms)[:limit]

    def retry(self, wiki: str, pages: Sequence[int] | None) -> int:
        """Let parked pages (None: all) be rendered again; returns how many. Their dead letters stay until they succeed."""
        tenure = self._of(wiki).pages.epoch().tenure
        chosen = tuple(tenure.dead_letters) if pages is None else tuple(map(PageKey, pages))
        returned = sum(tenure.shard.unpark(page) for page in chosen)
        tenure.touched()
        return returned

    async def backfill(self, wiki: str, action: str, *, anew: bool = False) -> BackfillStatus:
        """`start`, `stop` or ask for the `status` of the backfill of `wiki`. Raises NotFound, InvalidInput, Unavailable."""
        epoch = self._of(wiki).pages.epoch()
        await _act(epoch.backfill, action, anew=anew)
        return backfill_status(epoch.backfill, epoch.tenure.shard)

    def _of(self, wiki: str) -> _Wiki:
        found = self._wikis.get(wiki)
        if found is None:
            raise NotFound(f"no wiki {wiki!r} is configured", where="wiki")
        return found


async def _act(backfill: Backfill, action: str, *, anew: bool) -> None:
    if action == "start":
        await backfill.start(anew=anew)
    elif action == "stop":
        await backfill.stop()
    elif action != "status":
        raise InvalidInput("the action is start, stop or status", where="/action")


def _readiness_of(owner: Owner) -> Callable[[], Awaitable[str | None]]:
    async def question() -> str | None:
        return None if owner.state is OwnerState.RUNNING else f"{owner.state.value}: {owner.reason}"

    return question

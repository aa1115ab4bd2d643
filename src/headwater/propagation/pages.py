"""READ: what a reader of a page gets. Which body is current is decided by commit records alone.

A page that is clean is served as its last commit says. One that is not is waited for, or served marked stale and rendered sooner: by the
wiki's policy, or as the request asks. An unknown title is looked up and rendered once for all who wait. A body that is missing or damaged
is made again, and never served.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from headwater.kernel.errors import Corrupted, NotFound, Overloaded, Unavailable
from headwater.propagation.config import ReadPolicy
from headwater.propagation.metrics import BODIES_REPAIRED, READ_WAITS
from headwater.propagation.model import BodyHash, CommitRecord, PageKey, Rendered, Title, Urgency
from headwater.propagation.owner import Epoch, Owner, OwnerState
from headwater.propagation.ports import BodySource, RenderRequest
from headwater.propagation.repairs import change_records, repair_of
from headwater.propagation.shard import Freshness
from headwater.propagation.surroundings import Surroundings, hash_of
from headwater.propagation.waiters import Waiters

_log = structlog.get_logger(__name__)
_SERVING = frozenset({OwnerState.RUNNING, OwnerState.RECOVERING})
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Located:
    """A page as it is to be served now.

    Attributes:
        record: its last commit, which has a body.
        freshness: whether it is known to be as it should be.
    """

    page: PageKey
    record: CommitRecord
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The wiki gives the title asked for another form."""

    title: Title


class SingleFlight(Generic[_Key, _Value]):
    """Runs one thing per key, at most `keys_max` at once; all who ask meanwhile get its result."""

    def __init__(self, keys_max: int, what: str) -> None:
        self._keys_max = keys_max
        self._what = what
        self._under_way: dict[_Key, asyncio.Task[_Value]] = {}

    async def run(self, key: _Key, work: Callable[[], Awaitable[_Value]]) -> _Value:
        """The result of `work`, or of the one for `key` that is under way. Raises what it raises; Overloaded."""
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= self._keys_max:
                raise Overloaded(f"{self._keys_max} {self._what} are under way", retry_after_s=2)
            task = asyncio.ensure_future(self._run(work))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def _run(self, work: Callable[[], Awaitable[_Value]]) -> _Value:
        return await work()


class Pages:
    """Reads of one wiki's pages."""

    def __init__(self, around: Surroundings, owner: Owner, waiters: Waiters) -> None:
        self._around = around
        self._owner = owner
        self._waiters = waiters
        self._absent: OrderedDict[Title, float] = OrderedDict()
        self._look_ups: SingleFlight[Title, tuple[PageKey, Title] | None] = SingleFlight(around.config.unknown_max, "look-ups")
        self._repairs: SingleFlight[PageKey, bytes | None] = SingleFlight(around.config.repairs_max, "repairs")

    def epoch(self) -> Epoch:
        """The epoch to read from. Raises Unavailable while there is none, or for good once another owner may serve newer pages."""
        epoch = self._owner.epoch
        if epoch is None or self._owner.state not in _SERVING:
            raise Unavailable(f"the pages of {self._around.wiki} cannot be read now: {self._owner.reason}", retry_after_s=1)
        return epoch

    def normalise(self, text: str) -> Title:
        """The title that the wiki gives to `text`. Raises InvalidInput, Unavailable."""
        return Title(self.epoch().tenure.titles.normalise(text))

    async def locate(self, title: Title, asked: ReadPolicy | None = None) -> Located | Elsewhere:
        """The page that has `title`, to be served now; waits for it to be rendered where the policy or the lack of a body says so.

        Args:
            title: in the wiki's form.
            asked: what the request asks for; None leaves it to the wiki's policy.

        Raises:
            NotFound: there is no such page.
            Unavailable: it could not be rendered in time, or at all.
            Overloaded: too many wait.
        """
        deadline_s = self._around.clock.monotonic_s() + self._around.config.read_deadline
        found = self.epoch().tenure.shard.find(title)
        if found is None:
            found_now = await self._look_up(title)
            if isinstance(found_now, Elsewhere):
                return found_now
            found = found_now
        self.epoch().tenure.shard.viewed((found,), now_ms=self._around.clock.now_ms())
        return await self._locate(found, asked, deadline_s)

    async def _look_up(self, title: Title) -> PageKey | Elsewhere:
        """The page of a title that the shard does not know, made known and urgent. Raises NotFound."""
        now_s = self._around.clock.monotonic_s()
        if self._absent.get(title, now_s) > now_s:
            raise NotFound(f"there is no page {title}")
        found = await self._look_ups.run(title, lambda: self._around.renderer.resolve(title))
        if found is None:
            self._absent[title] = now_s + self._around.config.absent_lifetime
            while len(self._absent) > self._around.config.absent_max:
                self._absent.popitem(last=False)
            raise NotFound(f"there is no page {title}")
        page, its_title = found
        if its_title != title:
            return Elsewhere(its_title)
        tenure = self.epoch().tenure
        tenure.shard.add(page, title, Urgency.NOW, now_ms=self._around.clock.now_ms())
        tenure.touched()
        return page

    async def _locate(self, page: PageKey, asked: ReadPolicy | None, deadline_s: float) -> Located:
        policy = asked or self._around.config.policy_of(self._around.wiki)
        waited = False
        while True:
            tenure = self.epoch().tenure
            record, freshness = tenure.shard.current(page), tenure.shard.freshness(page)
            has_body = record is not None and record.html_hash is not None
            if tenure.shard.title(page) is None:  # it turned out to be gone, and nothing depends on it
                raise NotFound("the page does not exist")
            if freshness is Freshness.FRESH:
                return _existing(page, record, freshness)
            if page in tenure.dead_letters and page in tenure.shard.parked():
                if not has_body or asked is ReadPolicy.FRESH:
                    raise Unavailable(f"the page cannot be rendered: {tenure.dead_letters[page].reason}")
                return _existing(page, record, freshness)
            may_be_stale = policy is ReadPolicy.STALE and has_body
            tenure.shard.promote(page, Urgency.HOT if may_be_stale else Urgency.NOW)
            tenure.work.set()
            if may_be_stale:
                return _existing(page, record, freshness)
            if not waited:
                waited = True
                self._around.inc(READ_WAITS)
            if not await self._waiters.wait(page, deadline_s - self._around.clock.monotonic_s()):
                if not has_body or asked is ReadPolicy.FRESH:
                    raise Unavailable("the page is being rendered and was not ready in time", retry_after_s=2)
                return _existing(page, record, freshness)

    async def body(self, located: Located) -> tuple[Located, bytes]:
        """The body to serve, with the page as it then is: where the body had to be made again, that may be a later commit.

        Raises:
            NotFound: the page is gone meanwhile.
            Unavailable, Overloaded: the body is missing and could not be made again in time.
        """
        deadline_s = self._around.clock.monotonic_s() + self._around.config.read_deadline
        while True:
            assert located.record.html_hash is not None
            body = await self._stored(located.record.html_hash)
            if body is None and located.freshness is Freshness.FRESH:
                record = located.record
                body = await self._repairs.run(located.page, lambda record=record: self._repair(record))  # type: ignore[misc]
            if body is not None:
                return located, body
            if self._around.clock.monotonic_s() >= deadline_s:
                raise Unavailable("the page's body is missing and was not made again in time", retry_after_s=2)
            located = await self._locate(located.page, ReadPolicy.FRESH, deadline_s)

    async def _stored(self, body: BodyHash) -> bytes | None:
        try:
            stored = await self._around.bodies.get(body)
        except Corrupted as error:
            _log.error("body_damaged", wiki=self._around.wiki, body=body, error=error.detail)
            self._around.inc(BODIES_REPAIRED, found="damaged")
            await self._around.bodies.erase([body])  # so that the next commit or repair puts it again
            return None
        if stored is None:
            self._around.inc(BODIES_REPAIRED, found="missing")
        return stored

    async def _repair(self, record: CommitRecord) -> bytes | None:
        """Make the body of a page that is fresh again; None if the page turned out to be another, and is now stale.

        No commit is needed where the render gives what the commit names. Raises Unavailable.
        """
        assert record.html_hash is not None
        stored = await self._around.bodies.get(record.html_hash)
        if stored is not None:
            return stored  # another reader had it made again
        epoch = self.epoch()
        floor = epoch.tenure.shard.applied
        outcome = await self._around.renderer.render(RenderRequest(record.page, record.title, floor, {}))
        if isinstance(outcome, Rendered) and await hash_of(outcome.body) == record.html_hash:
            source = BodySource(self._around.wiki, record.page, outcome.rev, record.html_hash)
            await self._around.bodies.put({record.html_hash: outcome.body}, [source])
            return outcome.body
        now_ms = self._around.clock.now_ms()
        await epoch.inputs.repeat(change_records(self._around.wiki, [repair_of(record, Urgency.NOW, now_ms)], now_ms))
        await self._waiters.wait(record.page, self._around.config.read_deadline)
        return None


def _existing(page: PageKey, record: CommitRecord | None, freshness: Freshness) -> Located:
    if record is None or record.html_hash is None:
        raise NotFound("the page does not exist")
    return Located(page, record, freshness)

"""Wires events: the intake over the log and the index of seen ids, and a follower for each wiki that is polled."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from headwater.app.config import HeadwaterConfig
from headwater.app.roles import Role, cancelled_at_stop
from headwater.app.storage import SEEN_IDS_FILE
from headwater.app.surroundings import Surroundings
from headwater.events.api import routes
from headwater.events.engines.sqlite import SqliteSeenIds
from headwater.events.examination import Rules
from headwater.events.model import Status
from headwater.events.schemas import SchemaRegistry
from headwater.events.service import Intake
from headwater.events.streams import StreamTable, spec_of
from headwater.log.model import Fence, NewRecord, StreamSpec
from headwater.mediawiki.client import WikiClient
from headwater.mediawiki.follower import Follower
from headwater.mediawiki.ports import SinkResult

_logger = structlog.get_logger(__name__)


def rules_of(config: HeadwaterConfig) -> Rules:
    """The schemas and streams that the configuration declares. Raises InvalidConfig."""
    events = config.events
    rules = Rules(
        schemas=SchemaRegistry.load([Path(directory) for directory in events.schema_directories]),
        streams=StreamTable(events.rules()),
        event_bytes_max=events.event_bytes_max,
    )
    rules.check()
    return rules


def event_stream_specs(config: HeadwaterConfig) -> list[StreamSpec]:
    """Every event stream that has a name of its own, so that each role finds what it reads, whichever starts first."""
    events = config.events
    names = StreamTable(events.rules()).names
    return [spec_of(name, age_ms_max=int(events.retention * 1000), bytes_max=events.stream_bytes_max) for name in names]


class IntakeSink:
    """`EventSink` over the intake: what a follower finds enters by the same use case as what clients post."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def accept_atomic(self, events: Sequence[bytes], *, beside: Sequence[NewRecord], fence: Fence) -> SinkResult:
        """As the port says."""
        results = await self._intake.accept_atomic(events, beside=beside, fence=fence)
        refused = next((result.error for result in results if result.error is not None), None)
        if refused is not None and not any(result.accepted for result in results):
            _logger.error("followed_events_refused", code=refused.code, detail=refused.detail, where=refused.where)
        count = Counter(result.status for result in results)
        return SinkResult(new=count[Status.ACCEPTED], known=count[Status.DUPLICATE], invalid=count[Status.INVALID] + count[Status.ERROR])


async def _start_followers(around: Surroundings, intake: Intake, stack: AsyncExitStack) -> dict[str, Follower]:
    """A follower for each wiki that is polled; none polls yet."""
    followers = {}
    sink = IntakeSink(intake)
    for wiki, wiki_config in around.config.followed().items():
        client = WikiClient(wiki, wiki_config, clock=around.clock, ids=around.ids, metrics=around.metrics)
        stack.push_async_callback(client.close)
        followers[wiki] = Follower(client, log=around.log, sink=sink, clock=around.clock, ids=around.ids, metrics=around.metrics)
    return followers


async def start_events(around: Surroundings) -> Role:
    """Start the intake: its index has caught up with the log when this returns. Raises what the log and the index raise."""
    config = around.config
    async with AsyncExitStack() as stack:
        index = await SqliteSeenIds.open(
            around.data_dir / SEEN_IDS_FILE,
            ids_max=config.events.dedup_ids_max,
            metrics=around.metrics,
            clock=around.clock,
            storage=config.storage,
        )
        stack.push_async_callback(index.close)
        rules = rules_of(config)
        intake = Intake(around.log, index, rules=rules, config=config.events, clock=around.clock, ids=around.ids, metrics=around.metrics)
        await intake.start()
        stack.push_async_callback(intake.stop)
        followers = await _start_followers(around, intake, stack)
        return Role(
            name="events",
            listen=config.events.listen,
            routes=routes(intake, rules, config.events, followers=lambda: {wiki: one.status() for wiki, one in followers.items()}),
            readiness=(("intake", intake.ready), ("storage", around.not_writable)),
            loops=tuple((f"follower.{wiki}", cancelled_at_stop(one.run)) for wiki, one in followers.items()),
            close=stack.pop_all().aclose,
        )
    raise AssertionError("unreachable")

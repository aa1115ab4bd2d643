"""Wires events: the intake over the log and the index of seen ids, and a follower for each wiki that is polled."""

from contextlib import AsyncExitStack
from pathlib import Path

from headwater.app.config import HeadwaterConfig
from headwater.app.roles import Role
from headwater.app.storage import SEEN_IDS_FILE
from headwater.app.surroundings import Surroundings
from headwater.events.api import routes
from headwater.events.engines.sqlite import SqliteSeenIds
from headwater.events.examination import Rules
from headwater.events.schemas import SchemaRegistry
from headwater.events.service import Intake
from headwater.events.streams import StreamTable, spec_of
from headwater.log.ports import Log


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


async def declare_event_streams(config: HeadwaterConfig, log: Log) -> None:
    """Declare every event stream that has a name of its own, so that each role finds what it reads, whichever starts first."""
    events = config.events
    names = StreamTable(events.rules()).names
    await log.declare([spec_of(name, age_ms_max=int(events.retention * 1000), bytes_max=events.stream_bytes_max) for name in names])


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
        return Role(
            name="events",
            listen=config.events.listen,
            routes=routes(intake, rules, config.events),
            readiness=(("intake", intake.ready),),
            close=stack.pop_all().aclose,
        )
    raise AssertionError("unreachable")

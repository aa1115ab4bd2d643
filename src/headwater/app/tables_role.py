"""Wires tables: their file, the key that signs page tokens, the service, and what takes back room."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from headwater.app.roles import Loop, Role
from headwater.app.storage import TABLES_FILE
from headwater.app.surroundings import Surroundings
from headwater.kernel.concurrency import event_or_timeout
from headwater.kernel.errors import HeadwaterError
from headwater.tables.api import TablesApi
from headwater.tables.config import TablesConfig
from headwater.tables.engines.sqlite import SqliteTableStore
from headwater.tables.metrics import RECLAIM_FAILURES
from headwater.tables.service import Tables
from headwater.tables.streaming import Streams
from headwater.tables.tokens import Tokens

MORE_TO_DO_PAUSE_S = 0.05
RECLAIM_ROWS = 500
SECRET_BYTES = 32

_logger = structlog.get_logger(__name__)


def _reclaiming(store: SqliteTableStore, config: TablesConfig, around: Surroundings) -> Loop:
    """Take back the room of what has expired or was dropped, in bounded rounds; a round that fails is counted and repeated."""

    async def loop(stop: asyncio.Event) -> None:
        while not stop.is_set():
            more = False
            try:
                more = await store.reclaim(
                    now_ms=around.clock.now_ms(),
                    changes_kept_ms=int(config.changes_kept * 1000),
                    write_ids_kept_ms=int(config.write_ids_kept * 1000),
                    limit=RECLAIM_ROWS,
                )
            except HeadwaterError as error:
                around.metrics.inc(RECLAIM_FAILURES)
                _logger.warning("tables_reclaim_failed", code=error.code, detail=error.detail)
            await event_or_timeout(stop, around.clock, MORE_TO_DO_PAUSE_S if more else config.reclaim_interval)

    return loop


async def start_tables(around: Surroundings) -> Role:
    """Start tables: the catalogue is known when this returns. Raises what the store raises."""
    config = around.config.tables
    async with AsyncExitStack() as stack:
        store = await SqliteTableStore.open(
            around.data_dir / TABLES_FILE, metrics=around.metrics, clock=around.clock, storage=around.config.storage
        )
        stack.push_async_callback(store.close)
        tokens = Tokens(await store.secret(around.ids.token(SECRET_BYTES)))
        service = Tables(store, config, tokens=tokens, clock=around.clock, metrics=around.metrics)
        await service.start()
        streams = Streams(service, stopping=around.stopping, metrics=around.metrics, streams_max=config.streams_max)
        return Role(
            name="tables",
            listen=config.listen,
            routes=TablesApi(service, streams, config).routes(),
            readiness=(("storage", store.database.not_writable),),
            loops=(("tables.reclaim", _reclaiming(store, config, around)),),
            close=stack.pop_all().aclose,
        )
    raise AssertionError("unreachable")

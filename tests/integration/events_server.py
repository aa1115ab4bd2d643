"""An intake on SQLite behind a real socket, as a process that a test may kill: `python -m tests.integration.events_server DIRECTORY`.

It writes `port N` when it can be called. Failpoints are armed by the environment.
"""

import asyncio
import signal
import sys
from pathlib import Path

from headwater.events.api import routes
from headwater.events.config import EventsConfig
from headwater.events.engines.sqlite import SqliteSeenIds
from headwater.events.examination import Rules
from headwater.events.metrics import METRICS as EVENTS
from headwater.events.schemas import SchemaRegistry
from headwater.events.service import Intake
from headwater.events.streams import StreamTable
from headwater.http.application import application
from headwater.http.config import HttpLimits
from headwater.http.metrics import METRICS as HTTP
from headwater.http.serving import Listener, serve
from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Bytes
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.log.engines.sqlite import SqliteLog
from headwater.log.metrics import METRICS as LOG
from headwater.sqlite.config import StorageConfig
from headwater.sqlite.metrics import METRICS as SQLITE

STORAGE = StorageConfig(ballast_bytes=Bytes(0))


async def main(directory: Path) -> None:
    """Serve until SIGTERM."""
    clock, metrics, config = SystemClock(), Metrics((*EVENTS, *HTTP, *LOG, *SQLITE)), EventsConfig()
    rules = Rules(SchemaRegistry.load(), StreamTable(config.rules()), config.event_bytes_max)
    log = await SqliteLog.open(directory / "log.sqlite", clock=clock, metrics=metrics, storage=STORAGE)
    index = await SqliteSeenIds.open(
        directory / "events.sqlite", ids_max=config.dedup_ids_max, metrics=metrics, clock=clock, storage=STORAGE
    )
    intake = Intake(log, index, rules=rules, config=config, clock=clock, ids=SystemIds(), metrics=metrics)
    await intake.start()
    limits = HttpLimits()
    app = application(
        routes(intake, rules, config),
        role="events",
        metrics=metrics,
        readiness=(("intake", intake.ready),),
        clients=(),
        limits=limits,
        clock=clock,
    )
    listener = Listener("127.0.0.1", 0, app, limits)
    stop, started = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    serving = asyncio.create_task(serve([listener], stop=stop, started=started))
    await started.wait()
    sys.stdout.write(f"port {listener.bound_port}\n")
    sys.stdout.flush()
    await serving
    await intake.stop()
    await index.close()
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

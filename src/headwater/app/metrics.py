"""The catalogue: every metric of every room, and those of the process itself."""

from headwater.events.metrics import METRICS as EVENTS
from headwater.http.metrics import METRICS as HTTP
from headwater.kernel.metrics import Metric, counter, gauge, histogram
from headwater.log.metrics import METRICS as LOG
from headwater.mediawiki.metrics import METRICS as MEDIAWIKI
from headwater.propagation.metrics import METRICS as PROPAGATION
from headwater.purging.metrics import METRICS as PURGING
from headwater.sqlite.metrics import METRICS as SQLITE

STARTED = gauge("process_started_seconds", "Wall time of the start of the process, seconds since the epoch.")
LOOP_LAG = histogram("loop_lag_seconds", "How late the event loop calls what is due: all roles share it.")
RELOADS = counter("config_reloads", "Reloads of the configuration, by result: applied, refused.", "result")
MAINTENANCE_FAILURES = counter("log_maintenance_failures", "Rounds of maintenance that failed.")

METRICS = (STARTED, LOOP_LAG, RELOADS, MAINTENANCE_FAILURES)

CATALOGUE: tuple[Metric, ...] = (*METRICS, *HTTP, *SQLITE, *LOG, *MEDIAWIKI, *EVENTS, *PROPAGATION, *PURGING)

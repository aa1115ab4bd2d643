"""The catalogue: every metric of every room, and those of the process itself."""

from headwater.app.process_metrics import METRICS as PROCESS
from headwater.events.metrics import METRICS as EVENTS
from headwater.http.metrics import METRICS as HTTP
from headwater.kernel.metrics import Metric, counter
from headwater.log.metrics import METRICS as LOG
from headwater.mediawiki.metrics import METRICS as MEDIAWIKI
from headwater.propagation.metrics import METRICS as PROPAGATION
from headwater.purging.metrics import METRICS as PURGING
from headwater.sessions.metrics import METRICS as SESSIONS
from headwater.sqlite.metrics import METRICS as SQLITE
from headwater.tables.metrics import METRICS as TABLES

MAINTENANCE_FAILURES = counter("log_maintenance_failures", "Rounds of maintenance that failed.")
SESSIONS_RESTARTS = counter("sessions_process_restarts", "How often `up` started the process of sessions again after it had ended.")

METRICS = (MAINTENANCE_FAILURES, SESSIONS_RESTARTS)

CATALOGUE: tuple[Metric, ...] = (*PROCESS, *METRICS, *HTTP, *SQLITE, *LOG, *MEDIAWIKI, *EVENTS, *PROPAGATION, *PURGING, *TABLES)
"""What the process of all roles but sessions records."""

EVERYTHING: tuple[Metric, ...] = (*CATALOGUE, *SESSIONS)
"""What any process records: the pages of the documentation."""

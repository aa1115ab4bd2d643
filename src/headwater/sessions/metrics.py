"""Metrics of sessions. Labels are namespaces, clients and kinds as configured; never a key, a subject or an id.

The three foreign ones are those of Kask, for dashboards and alarms that know it: only requests below the base path of a namespace count,
and `method` is what was sent, in capitals, or `other`. What Kask has from its runtime and libraries (`go_…`, `process_…`, `promhttp_…`) is
not there.
"""

from headwater.kernel.metrics import counter, gauge, histogram
from headwater.sessions.service_metrics import SERVICE_METRICS

KASK_REQUESTS = counter(
    "http_requests",
    "Requests to the drop-in interface, as Kask counts them.",
    "code",
    "method",
    foreign=True,
    known={"code": ("500", "503", "507"), "method": ("GET", "POST", "PUT", "DELETE")},  # what alarms wait for
)
KASK_DURATION = histogram(
    "http_request_duration_seconds",
    "Time to answer a request to the drop-in interface, as Kask measures it.",
    "code",
    "method",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    foreign=True,
)
KASK_BUILD = gauge(
    "kask_build_info",
    "1; its labels are what `/healthz` says.",
    "version",
    "build_date",
    "build_host",
    "go_version",
    foreign=True,
)
READS = counter("sessions_reads", "Reads, by result: hit, miss.", "namespace", "result", known={"result": ("hit", "miss")})
OVER_BUDGET = counter("sessions_misses_over_budget", "Misses of a client beyond its budget: somebody may be guessing keys.", "client")
REFUSED = counter(
    "sessions_refused",
    "Requests refused because no client that may do it sent them.",
    "interface",
    known={"interface": ("drop-in", "native")},
)
SHED = counter(
    "sessions_shed",
    "Writes refused because too many were under way, by kind: anonymous, large, other.",
    "kind",
    known={"kind": ("anonymous", "large", "other")},
)
WRITES_UNDER_WAY = gauge("sessions_writes_under_way", "Writes that wait for the disk.")
MEMORY_PROTECTION = gauge(
    "sessions_memory_protection",
    "What keeps secrets in memory from leaving it, 1 where the system allowed it: core_files, undumpable, unswappable.",
    "measure",
)

METRICS = (
    KASK_REQUESTS,
    KASK_DURATION,
    KASK_BUILD,
    READS,
    OVER_BUDGET,
    REFUSED,
    SHED,
    WRITES_UNDER_WAY,
    MEMORY_PROTECTION,
    *SERVICE_METRICS,
)

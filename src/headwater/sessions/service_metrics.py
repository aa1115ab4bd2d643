"""Metrics of what happens behind the requests: rows, generations, quotas; `headwater.sessions.metrics` joins them to the others.

`namespace` is a configured name, never anything of a request.
"""

from headwater.kernel.metrics import counter, gauge

ROWS_REJECTED = counter(
    "sessions_rows_rejected",
    "Rows that read as absent since they are not as they were written.",
    "reason",
    known={"reason": ("altered", "put back")},
)
REVOCATIONS = counter(
    "sessions_revocations", "Subjects and whole namespaces revoked.", "namespace", "scope", known={"scope": ("subject", "namespace")}
)
SAVES_UNCHANGED = counter(
    "sessions_saves_unchanged", "Saves of the value already there, which moved its end without rewriting it.", "namespace"
)
QUOTA_REFUSALS = counter(
    "sessions_quota_refusals",
    "Writes refused by a quota of their namespace.",
    "namespace",
    "quota",
    known={"quota": ("rate", "rows", "bytes")},
)
CONFLICTS = counter("sessions_conflicts", "Writes tried again since another write of the same session came first.")
RECLAIMED = counter("sessions_reclaimed", "Rows removed, or reduced to their header, after their end.")
RESEALED = counter("sessions_resealed", "Rows moved to the active service key when they were read.")
ROWS = gauge("sessions_rows", "Rows of a namespace, as last counted and kept up since.", "namespace")
BYTES = gauge("sessions_bytes", "Bytes of the rows of a namespace, as last counted and kept up since.", "namespace")
ROWS_BY_KEY = gauge("sessions_rows_by_key", "Rows sealed under a service key, as last counted.", "key_id")
GENERATIONS_REJECTED = counter(
    "sessions_generations_rejected",
    "Records of revocations that are not as they were written; the right ones stay in force.",
    "reason",
    known={"reason": ("altered", "put back", "gone")},
)
GENERATIONS_DROPPED = counter("sessions_generations_dropped", "Records of revocations dropped since no session needs them any more.")
GENERATIONS = gauge("sessions_generations", "Revoked subjects and namespaces held in memory.")

SERVICE_METRICS = (
    ROWS_REJECTED,
    REVOCATIONS,
    SAVES_UNCHANGED,
    QUOTA_REFUSALS,
    CONFLICTS,
    RECLAIMED,
    RESEALED,
    ROWS,
    BYTES,
    ROWS_BY_KEY,
    GENERATIONS,
    GENERATIONS_REJECTED,
    GENERATIONS_DROPPED,
)

"""The metrics of purging."""

from headwater.kernel.metrics import counter, gauge, histogram

SENT = counter("purging_sent", "PURGE requests sent.", "target")
ACKNOWLEDGED = counter("purging_acknowledged", "Purges that a target acknowledged.", "target")
RETRIED = counter("purging_retried", "Purges that a target did not answer well and that are sent again.", "target")
REFUSED = counter("purging_refused", "Purges that a target refused for good.", "target")
PARKED = counter("purging_parked", "Purges given up for a target and kept as dead letters.", "target")
REVIVED = counter("purging_revived", "Dead letters tried again because their target answered again.", "target")
OLDEST_AGE = gauge("purging_oldest_age_seconds", "Age of the oldest purge that a target has not acknowledged.", "target")
DURATION = histogram("purging_duration_seconds", "From reading a purge to its acknowledgement by every target, first purge.")
REQUEST_DURATION = histogram("purging_request_duration_seconds", "How long a target took to answer.", "target")
UNFINISHED = gauge("purging_unfinished", "Purges under way.")
WAITING_SECOND = gauge("purging_waiting_second", "Purges acknowledged once that wait for their second purge.")
UNREADABLE = counter("purging_unreadable", "Records of resource-purge that could not be read and were parked.")
LOST = counter("purging_trimmed", "Times that records of resource-purge were trimmed before they were read.")
DEAD_LETTERS_HELD = gauge("purging_dead_letters", "Unresolved dead letters.")

METRICS = (
    SENT,
    ACKNOWLEDGED,
    RETRIED,
    REFUSED,
    PARKED,
    REVIVED,
    OLDEST_AGE,
    DURATION,
    REQUEST_DURATION,
    UNFINISHED,
    WAITING_SECOND,
    UNREADABLE,
    LOST,
    DEAD_LETTERS_HELD,
)

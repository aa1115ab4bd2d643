"""Metrics of the intake."""

from headwater.kernel.metrics import COUNT_BUCKETS, counter, gauge, histogram

ACCEPTED = counter("events_accepted", "Events stored durably.", "stream")
DUPLICATES = counter("events_duplicates", "Events that were in the log before, under the same id or told by another source.")
INVALID = counter("events_invalid", "Events that break their schema.")
REFUSED = counter("events_refused", "Events not stored for another reason, by error code.", "code")
ACCEPT_SECONDS = histogram("events_accept_seconds", "Time from the events of a request to their outcome.")
APPEND_EVENTS = histogram("events_append_events", "Events that shared one append to the log.", buckets=COUNT_BUCKETS)
IN_FLIGHT = gauge("events_in_flight", "Events under way.")
WINDOW_IDS = gauge("events_dedup_window_ids", "Ids that the index of deduplication holds.")
WINDOW_SECONDS = gauge("events_dedup_window_seconds", "Age of the oldest id held: the effective window of deduplication.")
PENDING = gauge("events_dedup_pending", "Accepted ids that wait in memory for the index.")
UNSETTLED = gauge("events_dedup_unsettled", "Ids whose append had an unknown outcome and that the log has not settled yet.")
INDEX_READ = counter("events_dedup_records_read", "Records of the log read again for the index, after a start or an unknown outcome.")
INDEX_FAILURES = counter("events_dedup_index_failures", "Failed writes of the index; its ids stay in memory and are tried again.")
INDEX_REBUILDS = counter("events_dedup_rebuilds", "Times the index was dropped because it belonged to another log.")
INDEX_UNREADABLE = counter("events_dedup_records_unreadable", "Damaged records of the log whose ids the index does not know.")

METRICS = (
    ACCEPTED,
    DUPLICATES,
    INVALID,
    REFUSED,
    ACCEPT_SECONDS,
    APPEND_EVENTS,
    IN_FLIGHT,
    WINDOW_IDS,
    WINDOW_SECONDS,
    PENDING,
    UNSETTLED,
    INDEX_READ,
    INDEX_FAILURES,
    INDEX_REBUILDS,
    INDEX_UNREADABLE,
)

"""Metrics of the wiki as a client sees it and of the follower."""

from headwater.kernel.metrics import counter, gauge, histogram

REQUESTS = counter(
    "wiki_requests",
    "Requests to a wiki's action API, by what became of them: ok, unavailable, busy, refused, too-large, cancelled.",
    "wiki",
    "outcome",
)
REQUEST_SECONDS = histogram("wiki_request_seconds", "Time from asking a wiki to its decoded answer.", "wiki", "action")
FOLLOWER_ROWS = counter("follower_rows", "Rows of recent changes that the follower saw for the first time, by kind.", "wiki", "kind")
FOLLOWER_EVENTS = counter("follower_events", "Events that the follower put into the log.", "wiki")
FOLLOWER_RECONCILED = counter(
    "follower_reconciled", "Events that the wiki knew and the log lacked, although another source should have sent them.", "wiki"
)
FOLLOWER_UNREADABLE = counter("follower_unreadable_rows", "Rows whose subject the wiki hides from the follower.", "wiki")
FOLLOWER_UNKNOWN = counter("follower_unknown_rows", "Rows of a kind that the follower does not know; their page is rendered again.", "wiki")
FOLLOWER_ERRORS = counter(
    "follower_errors",
    "Polls that failed, by the code of the error, or `wiki-` and what the wiki did: unavailable, busy, refused, too-large.",
    "wiki",
    "code",
)
FOLLOWER_LAG_SECONDS = gauge(
    "follower_lag_seconds", "Age of the newest change up to which everything is followed, less the pause of polling.", "wiki"
)
FOLLOWER_POLL_SECONDS = histogram("follower_poll_seconds", "Duration of a poll with all its pages.", "wiki")

METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    FOLLOWER_ROWS,
    FOLLOWER_EVENTS,
    FOLLOWER_RECONCILED,
    FOLLOWER_UNREADABLE,
    FOLLOWER_UNKNOWN,
    FOLLOWER_ERRORS,
    FOLLOWER_LAG_SECONDS,
    FOLLOWER_POLL_SECONDS,
)

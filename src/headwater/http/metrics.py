"""Metrics of the HTTP layer, for all roles."""

from headwater.kernel.metrics import counter, gauge, histogram

REQUESTS = counter("http_requests", "Requests answered by the application.", "role", "route", "method", "code")
DURATION = histogram("http_request_duration_seconds", "Time from the head of a request to the end of its answer.", "role", "route")
IN_FLIGHT = gauge("http_requests_in_flight", "Requests under way in the application.", "role")
CONNECTIONS = gauge("http_connections", "Open connections.", "role")
REFUSED = counter(
    "http_refused",
    "Requests refused before they reached the application.",
    "role",
    "code",
    known={"code": ("400", "408", "414", "417", "431", "503")},
)
UNSENT = gauge("http_unsent_bytes", "Bytes of answers that readers have not taken, of connections above the mark of their buffer.", "role")
READERS_DROPPED = counter(
    "http_readers_dropped",
    "Connections ended since their readers were too slow: for time, by `write_timeout`; for memory, by `unsent_bytes_max`.",
    "role",
    "reason",
    known={"reason": ("memory", "time")},
)
HANDSHAKES = counter(
    "tls_handshakes",
    "TLS handshakes by how they ended: ok, plain_http, no_certificate, bad_certificate, protocol, refused_by_peer, late, gone.",
    "role",
    "result",
)
EXPIRES = gauge(
    "tls_certificate_expires_seconds",
    "When the first certificate of a file in use expires, seconds since the epoch; the files are certificate and client_ca.",
    "role",
    "file",
)

METRICS = (REQUESTS, DURATION, IN_FLIGHT, CONNECTIONS, UNSENT, READERS_DROPPED, REFUSED, HANDSHAKES, EXPIRES)

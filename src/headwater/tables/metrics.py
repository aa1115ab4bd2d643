"""Metrics of tables. `domain` and `table` stand in none: clients name them, so there is no end to them; see the statistics of a table."""

from headwater.kernel.metrics import counter, gauge, histogram

ROWS_READ = counter("tables_rows_read", "Rows answered to queries.")
WRITES = counter("tables_writes", "Writes by outcome: applied, refused by their condition, or repeated with a known write_id.", "outcome")
ROWS_WRITTEN = counter("tables_rows_written", "Rows written or deleted, each counted once.")
ROWS_CLEARED = counter("tables_rows_cleared", "Rows removed by deletes of ranges and partitions.")
REFUSED_FULL = counter("tables_refused_full", "Writes refused since a partition or a quota is full.", "limit")
DECLARED = counter("tables_declared", "Tables declared, by what came of it.", "outcome")
DROPPED = counter("tables_dropped", "Tables dropped.")
HINTS_IGNORED = counter("tables_hints_ignored", "Options of a schema that are accepted and mean nothing here.", "option")
TABLES = gauge("tables_declared_now", "Tables that are declared.")
SPACES = gauge("tables_spaces", "Pairs of a domain and a table that it declared.")
STREAMS = gauge("tables_streams", "Change streams being read.")
CHANGES_SENT = counter("tables_changes_sent", "Changes sent to readers of change streams.")
RECLAIM_FAILURES = counter("tables_reclaim_failures", "Rounds of taking back room that failed.")
PLANNED_AGAIN = counter("tables_planned_again", "Requests planned again since their table was migrated meanwhile.")
ANSWER_ROWS = histogram(
    "tables_answer_rows", "Rows of an answer to a query.", buckets=(0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
)

METRICS = (
    ROWS_READ,
    WRITES,
    ROWS_WRITTEN,
    ROWS_CLEARED,
    REFUSED_FULL,
    DECLARED,
    DROPPED,
    HINTS_IGNORED,
    TABLES,
    SPACES,
    STREAMS,
    CHANGES_SENT,
    RECLAIM_FAILURES,
    PLANNED_AGAIN,
    ANSWER_ROWS,
)

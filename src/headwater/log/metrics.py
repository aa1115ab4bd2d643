"""Metrics of the log. Streams and groups are declared ones, so the labels are bounded."""

from headwater.kernel.metrics import counter, gauge

RECORDS_APPENDED = counter("log_records_appended", "Records appended.", "stream")
BYTES_APPENDED = counter("log_bytes_appended", "Bytes appended: keys, values and headers.", "stream")
RECORDS_TRIMMED = counter("log_records_trimmed", "Records removed for age or size.", "stream")
RECORDS_COMPACTED = counter("log_records_compacted", "Records removed because a newer one has their key, tombstones included.")
RECORDS_CORRUPTED = counter("log_records_corrupted", "Reads refused because a record did not match its checksum or was missing.", "stream")
GROUPS_EXPELLED = counter("log_groups_expelled", "Groups that stopped guarding records because they were idle.")
STREAM_BYTES = gauge("log_stream_bytes", "Bytes of a stream at the last round of upkeep.", "stream")
GROUP_LAG = gauge("log_group_lag", "Offsets between a group's progress and the end of its partitions at the last round of upkeep.", "group")

METRICS = (
    RECORDS_APPENDED,
    BYTES_APPENDED,
    RECORDS_TRIMMED,
    RECORDS_COMPACTED,
    RECORDS_CORRUPTED,
    GROUPS_EXPELLED,
    STREAM_BYTES,
    GROUP_LAG,
)

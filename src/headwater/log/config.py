"""Section `log` of the configuration file."""

from typing import Annotated

import msgspec

from headwater.kernel.config import Bytes, Seconds, Section, doc
from headwater.log.admission import Limits
from headwater.log.retention import RetentionRules


class LogConfig(Section, frozen=True):
    """Limits and retention of the log."""

    record_bytes_max: Annotated[Bytes, doc("Largest record: key, value and headers.")] = Bytes.of("8MiB")
    append_records_max: Annotated[int, msgspec.Meta(ge=1, le=100_000), doc("Records of one append.")] = 10_000
    append_bytes_max: Annotated[Bytes, doc("Bytes of one append.")] = Bytes.of("64MiB")
    waiting_bytes_max: Annotated[Bytes, doc("Bytes of appends that may wait for the disk; beyond it they are refused.")] = Bytes.of(
        "128MiB"
    )
    read_records_max: Annotated[int, msgspec.Meta(ge=1, le=100_000), doc("Records after which one read stops.")] = 250
    read_bytes_max: Annotated[Bytes, doc("Bytes after which one read stops; it bounds how long a read holds the event loop.")] = Bytes.of(
        "512KiB"
    )
    group_idle_max: Annotated[Seconds, doc("A group that has records to read and does not advance for so long no longer guards them.")] = (
        Seconds.of("7d")
    )
    tombstone_grace: Annotated[Seconds, doc("How long a deletion stays visible to readers of a compacted stream.")] = Seconds.of("1d")
    maintain_interval: Annotated[Seconds, doc("Time between two rounds of trimming and compaction.")] = Seconds.of("30s")

    def limits(self) -> Limits:
        """What one call may carry."""
        return Limits(
            record_bytes_max=self.record_bytes_max,
            append_records_max=self.append_records_max,
            append_bytes_max=self.append_bytes_max,
            read_records_max=self.read_records_max,
            read_bytes_max=self.read_bytes_max,
            waiting_bytes_max=self.waiting_bytes_max,
        )

    def rules(self) -> RetentionRules:
        """When groups are expelled and tombstones removed."""
        return RetentionRules(group_idle_s_max=self.group_idle_max, tombstone_grace_s=self.tombstone_grace)

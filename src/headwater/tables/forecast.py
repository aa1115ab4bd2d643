"""How large the partitions of a table may become, and which keys may become hot: what a schema tells, and what has been measured. Pure.

A forecast is for people who look at the plan of a declaration: it refuses nothing. It knows types and roles, not values, so it says what
can happen, not what will.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from headwater.tables.model import Column, Discipline, Kind, PartitionUsage, Table

ROW_BYTES = 1024
"""The row that forecasts count in."""
NEAR = 0.5
"""From this part of the ceiling on a partition is called large."""
_FEW_VALUES = {Kind.BOOLEAN: 2}
_TIMES = (Kind.TIMEUUID, Kind.TIMESTAMP)
_NUMBERS = (Kind.INT, Kind.LONG, Kind.VARINT)
_INEXACT = (Kind.FLOAT, Kind.DOUBLE)


class Growth(StrEnum):
    """How many rows a partition can come to hold."""

    ONE_ROW = "one-row"  # there are no range columns
    FEW_ROWS = "few-rows"  # as many as its range columns have values, which are few
    WITH_TIME = "with-time"  # a range column is a time: a row more for each write, as long as writes come
    WITH_VALUES = "with-values"  # as many as range columns are given values


@dataclass(frozen=True, slots=True)
class Forecast:
    """What may become of the partitions of a table.

    Attributes:
        growth: how many rows one can come to hold.
        ceiling_bytes: of one partition; writes beyond it are refused.
        rows_max: how many rows of `ROW_BYTES` fit below that.
        largest_bytes: of the largest partition there is; None: nothing was measured.
        warnings: what to think about before rows are there, most urgent first.
    """

    growth: Growth
    ceiling_bytes: int
    rows_max: int
    largest_bytes: int | None
    warnings: tuple[str, ...]

    @property
    def figures(self) -> Mapping[str, object]:
        """All but the warnings, as JSON values."""
        found: dict[str, object] = {
            "growth": self.growth.value,
            "partition_bytes_max": self.ceiling_bytes,
            "rows_of_1_kib_max": self.rows_max,
        }
        if self.largest_bytes is not None:
            found["largest_partition_bytes"] = self.largest_bytes
            found["largest_partition_part"] = round(self.largest_bytes / self.ceiling_bytes, 3)
        return found


def forecast(table: Table, largest: Sequence[PartitionUsage] = (), *, partition_bytes_max: int) -> Forecast:
    """What may become of the partitions of `table`.

    Args:
        table: as it would be.
        largest: its largest partitions, where it has any.
        partition_bytes_max: the ceiling where the table declares none.
    """
    ceiling_bytes = table.options.partition_bytes_max or partition_bytes_max
    growth = _growth(table)
    rows_max = ceiling_bytes // ROW_BYTES
    measured = max((one.usage.size_bytes for one in largest), default=None)
    warnings = (
        *_measured_warnings(largest, ceiling_bytes),
        *_hash_warnings(table, growth),
        *_growth_warnings(table, growth, rows_max),
        *_column_warnings(table),
    )
    return Forecast(growth, ceiling_bytes, rows_max, measured, warnings)


def _growth(table: Table) -> Growth:
    if not table.ranges:
        return Growth.ONE_ROW
    if all(column.type.kind in _FEW_VALUES for column in table.ranges):
        return Growth.FEW_ROWS
    if any(column.type.kind in _TIMES for column in table.ranges):
        return Growth.WITH_TIME
    return Growth.WITH_VALUES


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _measured_warnings(largest: Sequence[PartitionUsage], ceiling_bytes: int) -> list[str]:
    full = [one for one in largest if one.usage.size_bytes >= ceiling_bytes]
    near = [one for one in largest if ceiling_bytes * NEAR <= one.usage.size_bytes < ceiling_bytes]
    found = []
    if full:
        found.append(f"{len(full)} of the largest partitions are at the ceiling of {ceiling_bytes} bytes already, and take no more rows")
    if near:
        most = f"{near[0].usage.size_bytes} of {ceiling_bytes} bytes"
        found.append(f"{len(near)} of the largest partitions are above half of the ceiling; the largest of them has {most}")
    return found


def _hash_warnings(table: Table, growth: Growth) -> list[str]:
    """What the hash columns tell of how evenly rows and requests are spread."""
    names, kinds = _names(table.hashes), [column.type.kind for column in table.hashes]
    if all(kind in _FEW_VALUES for kind in kinds):
        count = 1
        for kind in kinds:
            count *= _FEW_VALUES[kind]
        return [
            f"{names} has {count} values, so a domain has {count} partitions: all its rows and requests meet in them; add a hash column "
            "that many rows differ in"
        ]
    if all(kind in _TIMES for kind in kinds) and growth is not Growth.ONE_ROW:
        return [
            f"{names} is a time: whatever is written at one time meets in one partition, which is hot just then; add a hash column that "
            "rows of one time differ in"
        ]
    if any(kind in _INEXACT for kind in kinds):
        return [f"{names} holds a floating-point number: a row is found only by exactly the number that it was written with"]
    return []


def _growth_warnings(table: Table, growth: Growth, rows_max: int) -> list[str]:
    names, fits = _names(table.ranges), f"{rows_max} rows of 1 KiB fit below the ceiling"
    ttl_s = table.options.default_ttl_s
    if growth is Growth.WITH_TIME and not ttl_s:
        days = max(1, rows_max // 24)
        return [
            f"partitions grow with time ({names}), and nothing expires: {fits}, which is {days} days of a row an hour; declare "
            "default_time_to_live, delete old ranges, or put a period (such as the month) into the hash"
        ]
    if growth is Growth.WITH_TIME:
        often_s = ttl_s / max(1, rows_max)
        return [
            f"partitions grow with time ({names}): {fits}, and rows live {ttl_s} s: a partition takes a row each {often_s:.3g} s for ever"
        ]
    if growth is Growth.WITH_VALUES:
        numbered = any(column.type.kind in _NUMBERS for column in table.ranges)
        of_what = "a number that rises fills its partition" if numbered else "a partition holds one row for each value"
        return [f"nothing bounds how many rows a partition gets by {names}: {fits}; {of_what}"]
    return []


def _column_warnings(table: Table) -> list[str]:
    """What single columns and options tell."""
    found = []
    sets = [column for column in (*table.statics, *table.regulars) if column.type.is_set]
    blobs = [column for column in (*table.hashes, *table.ranges) if column.type.kind in (Kind.BLOB, Kind.JSON)]
    if blobs:
        found.append(f"{_names(blobs)} in the key is compared byte by byte, and the key has to be sent whole with every request")
    if sets:
        found.append(f"{_names(sets)}: a set is written and read as a whole, so it is for tens of members, not for thousands")
    if table.statics and not table.regulars:
        found.append(f"all columns beside the key are static ({_names(table.statics)}): rows hold nothing of their own")
    if table.statics and table.options.writes is Discipline.CONDITIONAL:
        found.append(f"{_names(table.statics)}: writes of a static column meet with each other for the whole partition")
    return found

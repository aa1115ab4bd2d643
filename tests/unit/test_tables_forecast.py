"""What a schema tells of the partitions that it will have."""

from dataclasses import dataclass

import pytest

from headwater.tables.forecast import Growth, forecast
from headwater.tables.migration import plan
from headwater.tables.model import PartitionKey, PartitionUsage, Table, Usage
from headwater.tables.schema import table_of

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    columns_max: int = 256
    schema_bytes_max: int = 256 * 1024
    partition_bytes_max: int = 100 * MIB


def table(key: str, *columns: str, **options: object) -> Table:
    """A table of `name:type` columns; those of the key are `hash name:type`, `range name:type`, `static name:type`."""
    words = [part.strip() for part in key.split(",")]
    index = [{"type": word.split(" ")[0], "attribute": word.split(" ")[1].partition(":")[0]} for word in words]
    pairs = [word.split(" ")[1].split(":") for word in words] + [column.split(":") for column in columns]
    body = {"attributes": dict(pairs), "index": index, "options": options}
    return table_of(plan(None, body, name="t", group="g", domain="d", limits=Limits()).declaration)


GROWTHS = [
    ("hash k:string", Growth.ONE_ROW),
    ("hash k:string, range on:boolean", Growth.FEW_ROWS),
    ("hash k:string, range a:boolean, range b:boolean", Growth.FEW_ROWS),
    ("hash k:string, range rev:int", Growth.WITH_VALUES),
    ("hash k:string, range name:string", Growth.WITH_VALUES),
    ("hash k:string, range tid:timeuuid", Growth.WITH_TIME),
    ("hash k:string, range at:timestamp", Growth.WITH_TIME),
    ("hash k:string, range on:boolean, range tid:timeuuid", Growth.WITH_TIME),
    ("hash k:string, range id:uuid", Growth.WITH_VALUES),
]


@pytest.mark.parametrize(("key", "growth"), GROWTHS)
def test_the_range_columns_say_how_a_partition_grows(key: str, growth: Growth) -> None:
    found = forecast(table(key), partition_bytes_max=100 * MIB)
    assert found.growth is growth
    assert found.figures == {"growth": growth.value, "partition_bytes_max": 100 * MIB, "rows_of_1_kib_max": 102_400}


@pytest.mark.parametrize("key", ["hash k:string", "hash k:string, range on:boolean", "hash a:boolean, hash k:uuid"])
def test_a_table_of_bounded_partitions_and_many_keys_gives_no_warning(key: str) -> None:
    assert forecast(table(key, "v:blob"), partition_bytes_max=100 * MIB).warnings == ()


def test_the_ceiling_of_the_table_comes_before_that_of_the_deployment() -> None:
    found = forecast(table("hash k:string, range r:int", partition_bytes_max=10 * 1024), partition_bytes_max=100 * MIB)
    assert (found.ceiling_bytes, found.rows_max) == (10_240, 10)
    assert "10 rows of 1 KiB fit below the ceiling" in found.warnings[0]


WARNINGS = [
    (table("hash on:boolean"), "on has 2 values, so a domain has 2 partitions"),
    (table("hash a:boolean, hash b:boolean, range r:int"), "a, b has 4 values"),
    (table("hash at:timestamp, range k:string"), "at is a time: whatever is written at one time meets"),
    (table("hash x:double"), "floating-point"),
    (table("hash k:string, range tid:timeuuid"), "grow with time (tid), and nothing expires: 1024 rows of 1 KiB fit"),
    (table("hash k:string, range tid:timeuuid", default_time_to_live=10_240), "a partition takes a row each 10 s for ever"),
    (table("hash k:string, range rev:int"), "a number that rises fills its partition"),
    (table("hash k:string, range name:string"), "one row for each value"),
    (table("hash k:blob"), "k in the key is compared byte by byte"),
    (table("hash k:string", "tags:set<string>"), "tags: a set is written and read as a whole"),
    (table("hash k:string, range r:int, static s:int"), "all columns beside the key are static (s)"),
    (table("hash k:string, range r:int, static s:int", "v:int"), "s: writes of a static column meet"),
]


@pytest.mark.parametrize(("declared", "says"), WARNINGS)
def test_what_may_become_hot_or_large_is_warned_of(declared: Table, says: str) -> None:
    found = forecast(declared, partition_bytes_max=MIB)
    assert any(says in warning for warning in found.warnings), found.warnings


def test_a_time_as_the_whole_key_of_one_row_is_no_reason_to_warn() -> None:
    assert forecast(table("hash id:timeuuid", "v:int"), partition_bytes_max=MIB).warnings == ()


def measured(*sizes_bytes: int) -> list[PartitionUsage]:
    return [PartitionUsage(PartitionKey(bytes([at])), Usage(1, size)) for at, size in enumerate(sizes_bytes)]


def test_partitions_that_are_there_are_held_against_the_ceiling() -> None:
    found = forecast(table("hash k:string"), measured(1200, 1000, 999, 500, 499), partition_bytes_max=1000)
    assert found.figures.items() >= {"largest_partition_bytes": 1200, "largest_partition_part": 1.2}.items()
    assert found.warnings == (
        "2 of the largest partitions are at the ceiling of 1000 bytes already, and take no more rows",
        "2 of the largest partitions are above half of the ceiling; the largest of them has 999 of 1000 bytes",
    )


def test_small_partitions_are_no_reason_to_warn() -> None:
    assert forecast(table("hash k:string"), measured(499), partition_bytes_max=1000).warnings == ()

"""Versions seen: the newest are kept, the number is bounded."""

from headwater.sessions.model import RowId, Version
from headwater.sessions.versions import SeenVersions


def _id(number: int) -> RowId:
    return RowId(number.to_bytes(8) * 4)


def test_beyond_the_bound_the_rows_seen_longest_ago_are_forgotten_some_at_a_time() -> None:
    seen = SeenVersions(rows_max=640)
    for number in range(640):
        seen.raise_to(_id(number), Version(7))
    assert all(seen.floor(_id(number)) == 7 for number in range(640))
    seen.raise_to(_id(640), Version(7))
    forgotten = [number for number in range(641) if seen.floor(_id(number)) == 0]
    assert forgotten == list(range(11)), "room for the next ten is made at once"
    for number in range(641, 5_000):
        seen.raise_to(_id(number), Version(7))
        known = sum(seen.floor(_id(each)) == 7 for each in range(number - 640, number + 1))
        assert known <= 640 and seen.floor(_id(number)) == 7


def test_a_floor_never_falls() -> None:
    seen = SeenVersions(tolerance=2)
    for version in (9, 5, 10):
        seen.raise_to(_id(1), Version(version))
    assert seen.floor(_id(1)) == 8 and seen.floor(_id(2)) == 0

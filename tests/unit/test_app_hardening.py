"""What is said of the memory's protection; what it does is seen on real processes (tests/acceptance/test_sessions_status.py)."""

import pathlib

import pytest

from headwater.app.hardening import Hardened, has_swap

HEADER = "Filename\tType\tSize\tUsed\tPriority\n"


@pytest.mark.parametrize(("text", "swap"), [(HEADER, False), (f"{HEADER}/dev/sda2 partition 1 0 -2\n", True), (None, True)])
def test_swap_is_taken_for_granted_where_the_system_does_not_say(tmp_path: pathlib.Path, text: str | None, swap: bool) -> None:
    swaps = tmp_path / "swaps"
    if text is not None:
        swaps.write_text(text)
    assert has_swap(swaps) is swap


@pytest.mark.parametrize(("locked", "swap", "kept"), [(True, True, True), (True, False, True), (False, False, True), (False, True, False)])
def test_memory_is_unswappable_if_it_is_locked_or_there_is_no_swap(locked: bool, swap: bool, kept: bool) -> None:
    assert Hardened(True, locked, swap, ()).measures() == {"core_files": True, "undumpable": True, "unswappable": kept}

"""The `headwater` command with one thing broken on purpose, for tests of the tests: `broken_platform.py NAME ARGUMENT…`."""

import sys
from collections.abc import Callable, Mapping, Sequence

from pyroaring import BitMap

from headwater.cli.main import main
from headwater.propagation import snapshot
from headwater.propagation.shard import Shard


def checkpoint_without_in_flight() -> None:
    """Checkpoints save only what waits: pages that are being rendered are lost with the process."""

    def waiting(self: Shard) -> Sequence[Mapping[int, BitMap]]:
        return snapshot.waiting(self._state, [])

    Shard._waiting = waiting  # type: ignore[method-assign]


BROKEN: Mapping[str, Callable[[], None]] = {made.__name__: made for made in (checkpoint_without_in_flight,)}

if __name__ == "__main__":
    BROKEN[sys.argv.pop(1)]()
    main()

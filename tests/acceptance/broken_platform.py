"""The `headwater` command with one thing broken on purpose, for tests of the tests: `broken_platform.py NAME ARGUMENT…`."""

import sys
from collections.abc import Callable, Mapping, Sequence

from pyroaring import BitMap

from headwater.app.demo.cache import DemoCache
from headwater.cli.main import main
from headwater.http.messages import Request, Response
from headwater.propagation import snapshot
from headwater.propagation.shard import Shard


def checkpoint_without_in_flight() -> None:
    """Checkpoints save only what waits: pages that are being rendered are lost with the process."""

    def waiting(self: Shard) -> Sequence[Mapping[int, BitMap]]:
        return snapshot.waiting(self._state, [])

    Shard._waiting = waiting  # type: ignore[method-assign]


def cache_that_ignores_purges() -> None:
    """The demo's cache acknowledges purges and keeps its copies."""

    async def purge(self: DemoCache, request: Request) -> Response:
        return Response(200, b"purged\n", content_type="text/plain")

    DemoCache._purge = purge  # type: ignore[method-assign]


BROKEN: Mapping[str, Callable[[], None]] = {made.__name__: made for made in (checkpoint_without_in_flight, cache_that_ignores_purges)}

if __name__ == "__main__":
    BROKEN[sys.argv.pop(1)]()
    main()

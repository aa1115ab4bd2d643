"""Keeps the cyclic garbage collector from holding the event loop.

What Headwater keeps for long (pages, records, edges) is free of cycles and is freed by reference counts; a full collection that walks over
all of it finds nothing and holds the loop for tens of milliseconds. So whatever has survived one full collection is frozen, which costs
nothing, and never walked over again: each full collection sees only what is new since the last one. The price: a cycle that dies after it
was frozen stays until `thaw`, which walks over everything once, for a moment chosen by the caller.
"""

import gc
from typing import Literal

_THRESHOLDS = (1_000, 10, 3)  # a full collection after about 30,000 new containers: 1 to 3 ms


def freeze_survivors() -> None:
    """From now on freeze what survives a full collection, all that there is now included. Calling it again changes nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    if _after_collection not in gc.callbacks:
        gc.callbacks.append(_after_collection)


def thaw() -> int:
    """Collect everything once, what was frozen included; returns how many objects were unreachable. May take long."""
    gc.unfreeze()
    return gc.collect()


def _after_collection(phase: Literal["start", "stop"], info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()

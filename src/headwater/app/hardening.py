"""What the operating system can do so that secrets in memory stay there: no core dumps, no reading by others' debuggers, no swap.

Core dumps are off or the process does not start. The rest is best effort and said aloud: where it fails, the log says so, and what an
operator can do about it stands in docs/operations/sessions.md. Locking memory is not tried where a limit applies to it, because a locked
process that reaches its limit cannot allocate any more and dies of it.

Sources: prctl(2), mlockall(2), getrlimit(2), proc(5) of Linux.
"""

import ctypes
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog

from headwater.kernel.errors import Unavailable

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14

_SWAPS = Path("/proc/swaps")

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hardened:
    """What was reached; core files are off in any case.

    Attributes:
        undumpable: the kernel lets no other process of this user read the memory, and writes no core whatever its pattern says.
        locked: no page of the process is ever swapped out.
        swap: whether the system has any to swap out to; taken for granted where it does not say.
        reasons: why not, in words, for what was not reached.
    """

    undumpable: bool
    locked: bool
    swap: bool
    reasons: tuple[str, ...]

    def measures(self) -> dict[str, bool]:
        """What was reached, by the names of the metric."""
        return {"core_files": True, "undumpable": self.undumpable, "unswappable": self.locked or not self.swap}


def harden() -> Hardened:
    """Turn core dumps off, and do the rest as far as the system allows. Children inherit only the limit of core files.

    Raises:
        Unavailable: core dumps cannot be turned off.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        raise Unavailable(f"core dumps cannot be turned off: {error}") from error
    reasons: list[str] = []
    undumpable = _refuse_dumps(reasons)
    locked = _lock_memory(reasons)
    reached = Hardened(undumpable, locked, has_swap(_SWAPS), tuple(reasons))
    missing = sorted(measure for measure, is_reached in reached.measures().items() if not is_reached)
    _logger.info("memory_protected", core_dumps=False, undumpable=undumpable, locked=locked, swap=reached.swap, reasons=reasons)
    if missing:
        _logger.warning("memory_not_fully_protected", missing=missing, reasons=reasons)
    return reached


def has_swap(swaps: Path) -> bool:
    """Whether a file such as `/proc/swaps` names any space to swap out to; True where it cannot be read."""
    try:
        return len(swaps.read_text().splitlines()) > 1
    except OSError:
        return True


def _refuse_dumps(reasons: list[str]) -> bool:
    if not sys.platform.startswith("linux"):
        reasons.append("prctl is there on Linux alone")
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) == 0:
        return True
    reasons.append(f"prctl: {os.strerror(ctypes.get_errno())}")
    return False


def _lock_memory(reasons: list[str]) -> bool:
    if not sys.platform.startswith("linux"):
        reasons.append("memory is locked on Linux alone")
        return False
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard != resource.RLIM_INFINITY and not _may_lock_without_limit():
        reasons.append(f"memory is not locked: at most {hard} bytes may be (RLIMIT_MEMLOCK); without a limit all of it would be")
        return False
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    libc = ctypes.CDLL(None, use_errno=True)
    # On fault: only pages that are used count, not the megabytes that every thread reserves for its stack.
    if libc.mlockall(ctypes.c_int(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)) == 0:
        return True
    reasons.append(f"mlockall: {os.strerror(ctypes.get_errno())}")
    return False


def _may_lock_without_limit() -> bool:
    """Whether the process holds CAP_IPC_LOCK."""
    status = Path("/proc/self/status").read_text()
    capabilities = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return bool(capabilities >> _CAP_IPC_LOCK & 1)

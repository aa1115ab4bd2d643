"""Named places where a test may stop the process as a kill would.

`HEADWATER_FAILPOINT=name` or `name:N` arms one point for its Nth hit in this process. When it is reached the process writes
`name` to the file named by `HEADWATER_FAILPOINT_FILE` and stops itself with SIGSTOP, all threads at once; whoever watches from outside then
kills it. Unarmed, a point costs one comparison. Points are listed in `docs/reference/failpoints.md`.
"""

import os
import pathlib
import signal

_armed, _, _count = os.environ.get("HEADWATER_FAILPOINT", "").partition(":")
_left = int(_count or "1")


def failpoint(name: str) -> None:
    """Stop the process here if `name` is armed and this is the hit asked for."""
    global _left
    if name != _armed:
        return
    _left -= 1
    if _left == 0:
        note = os.environ.get("HEADWATER_FAILPOINT_FILE")
        if note:
            pathlib.Path(note).write_text(name)
        os.kill(os.getpid(), signal.SIGSTOP)

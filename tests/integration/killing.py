"""A program that works on a store, started and killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WAIT_S = 60.0
_TICK_S = 0.005


def kill_one(program: str, directory: Path, run: str, *, point: str | None, hit: int, delay_s: float = 0.0) -> list[str]:
    """Start a program on a directory, kill it at the hit of a failpoint or some time after its first answer.

    Args:
        program: module that is started with the directory and the run, and writes a JSON array on a line of its own for each step.
        directory: what it works on, with what it said and the note of the failpoint beside it.
        run: tells runs on one directory apart.
        point: failpoint to kill it at; None for any time.
        hit: at which of its passings.
        delay_s: how long it is left to work after its first answer, or after the failpoint has stopped it.

    Returns:
        The arrays that it had written in whole.
    """
    note = directory / "note"
    note.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": f"src{os.pathsep}."}
    if point is not None:
        environment |= {"HEADWATER_FAILPOINT": f"{point}:{hit}", "HEADWATER_FAILPOINT_FILE": str(note)}
    output = directory / "said"
    with output.open("wb") as said:
        command = [sys.executable, "-m", program, str(directory), run]
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.PIPE, env=environment)
    try:
        ready = note.exists if point is not None else lambda: output.stat().st_size > 0
        until_s = time.monotonic() + WAIT_S
        while not ready():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until_s, f"{point}:{hit} was never reached"
            time.sleep(_TICK_S)
        time.sleep(delay_s)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return [line for line in output.read_text().splitlines() if line.startswith("[")]

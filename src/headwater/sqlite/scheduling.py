"""How the interpreter shares itself between the event loop and the writer threads."""

import sys

SWITCH_INTERVAL_S = 0.0005


def shorten_thread_switches() -> None:
    """Let a thread that waits for the interpreter lock have it after 0.5 ms instead of 5 ms.

    Called once where a process starts. A writer thread takes the lock several times per commit; beside a busy event loop the default
    interval costs it most of its commits.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)

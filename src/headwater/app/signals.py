"""Signals of the operating system: SIGTERM and SIGINT ask the process to stop, SIGHUP to read its configuration again."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

_STOP = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def signals_as_events(stop: asyncio.Event, reload: asyncio.Event) -> Iterator[None]:
    """While open, signals set these events instead of ending the process. Needs the running loop of the main thread."""
    loop = asyncio.get_running_loop()
    for number in _STOP:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    try:
        yield
    finally:
        for number in (*_STOP, signal.SIGHUP):
            loop.remove_signal_handler(number)

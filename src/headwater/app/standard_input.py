"""The standard input of a child, by which it learns that its supervisor is gone. Loads no service."""

import asyncio
import os
import sys


async def stdin_closed() -> None:
    """Return when the other end of this process's standard input is closed. For the child of a supervisor."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    )
    try:
        while await reader.read(1024):
            pass
    finally:
        transport.close()

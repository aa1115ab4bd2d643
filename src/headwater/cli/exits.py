"""Exit statuses of every command: documented API."""

from enum import IntEnum


class Exit(IntEnum):
    """What an exit status means."""

    OK = 0  # done
    FAILED = 1  # it did not do what was asked: stale at rest, a refused operation, a crash
    USAGE = 2  # the command line is wrong
    CONFIG = 3  # the configuration is wrong; nothing was started
    UNREACHABLE = 4  # a role does not answer at the address that the configuration names
    TAKEN = 5  # another process owns the data directory, or an address is taken
    NOT_FOUND = 6  # the wiki, page, dead letter, table or file named does not exist
    INTERRUPTED = 130  # Ctrl-C; what was begun can be resumed


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "it did not do what was asked: something stale at rest, an operation refused, a failure inside",
    Exit.USAGE: "the command line is wrong",
    Exit.CONFIG: "the configuration is wrong; nothing was started",
    Exit.UNREACHABLE: "a role does not answer at the address that the configuration names",
    Exit.TAKEN: "another process owns the data directory, or an address is taken",
    Exit.NOT_FOUND: "the wiki, page, dead letter, table or file that was named does not exist",
    Exit.INTERRUPTED: "interrupted with Ctrl-C; what was begun can be resumed",
}

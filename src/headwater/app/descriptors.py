"""As many open files as the connections that the configuration allows need, whatever the shell has set.

Many systems start programs with a soft limit of 1024 descriptors. A listener that may have more connections than that could not accept any
more, and could neither answer 503 nor say that it lives, long before the cap on its connections is reached.

Source: getrlimit(2) of Linux: a process may raise its soft limit up to the hard one.
"""

import resource

import structlog

SPARE = 128
"""For the files of the store, the log, the event loop."""

_logger = structlog.get_logger(__name__)


def allow_connections(number: int) -> None:
    """Raise the limit of open files so far that `number` connections fit in; where that is not allowed, the log says so."""
    needed = number + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    if allowed < needed:
        _logger.warning("descriptors_too_few", allowed=allowed, needed=needed)

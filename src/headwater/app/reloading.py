"""Reading the configuration again: what takes effect at once, and what waits for the next start.

Invariant: a new configuration is validated as a whole before any of it is used; a wrong one changes nothing.
Both processes use this, that of sessions too: it imports no service.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from headwater.app import tls
from headwater.kernel.config import Section

AT_ONCE = ("clients", "hosts", "logging", "tables.clients", *(f"http.tls.{option}" for option in tls.AT_ONCE))
"""Options, with everything below them, that the process of the other roles takes over while it runs."""

AT_ONCE_SESSIONS = (
    *("logging", "sessions.clients", "sessions.hosts", "sessions.keys.ids", "sessions.keys.active"),
    *(f"sessions.http.tls.{option}" for option in tls.AT_ONCE),
)
"""Those that the process of sessions takes over."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Paths of the options that differ: those taken over at once, and those that wait for the next start."""

    at_once: tuple[str, ...]
    at_next_start: tuple[str, ...]


def differences(old: Section, new: Section, *, at_once: Sequence[str] = AT_ONCE, others: Sequence[str] = ()) -> Differences:
    """Which options differ between two configurations.

    Args:
        old: what the process started with.
        new: what the file says now.
        at_once: options that the process takes over while it runs, with everything below them.
        others: options of another process, which speaks for itself; they are passed over.
    """
    paths = [path for path in _paths(old, new, "") if not _is_below(path, others)]
    taken = tuple(path for path in paths if _is_below(path, at_once))
    return Differences(taken, tuple(path for path in paths if path not in taken))


def _is_below(path: str, options: Sequence[str]) -> bool:
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in options)


def _paths(old: object, new: object, path: str) -> list[str]:
    if old == new:
        return []
    if isinstance(old, Section) and isinstance(new, Section) and type(old) is type(new):
        names = [field.name for field in msgspec.structs.fields(type(old))]
        return [found for name in names for found in _paths(getattr(old, name), getattr(new, name), f"{path}.{name}".lstrip("."))]
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [found for key in keys for found in _paths(old.get(key), new.get(key), f"{path}.{key}")]
    return [path]

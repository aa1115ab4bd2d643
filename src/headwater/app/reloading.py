"""Reading the configuration again: what takes effect at once, and what waits for the next start.

Invariant: a new configuration is validated as a whole before any of it is used; a wrong one changes nothing.
"""

from dataclasses import dataclass

import msgspec

from headwater.app import tls
from headwater.app.config import HeadwaterConfig
from headwater.kernel.config import Section

AT_ONCE = ("clients", "logging", "tables.clients", *(f"http.tls.{option}" for option in tls.AT_ONCE))
"""Options, with everything below them, that a running process takes over."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Paths of the options that differ: those taken over at once, and those that wait for the next start."""

    at_once: tuple[str, ...]
    at_next_start: tuple[str, ...]


def differences(old: HeadwaterConfig, new: HeadwaterConfig) -> Differences:
    """Which options differ between two configurations."""
    paths = _paths(old, new, "")
    at_once = tuple(path for path in paths if any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in AT_ONCE))
    return Differences(at_once, tuple(path for path in paths if path not in at_once))


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

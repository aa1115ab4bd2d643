"""Durations and sizes as people write them: `30s`, `64KiB`.

Source of the size prefixes: IEC 80000-13 (Ki, Mi, Gi) beside the decimal ones (k, M, G).
"""

import re

from headwater.kernel.errors import InvalidInput

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def parse_duration_s(text: str) -> float:
    """Seconds meant by `text`, e.g. `250ms`, `30s`, `5m`, `7d`.

    Raises:
        InvalidInput: no number with one of the units ms, s, m, min, h, d.
    """
    return _parse(text, _SECONDS, "a duration such as 250ms, 30s, 5m, 2h or 7d")


def parse_size_bytes(text: str) -> int:
    """Bytes meant by `text`, e.g. `512B`, `64KiB`, `10MB`.

    Raises:
        InvalidInput: no number with one of the units B, kB, MB, GB, KiB, MiB, GiB, TiB.
    """
    return int(_parse(text, _BYTES, "a size such as 512B, 64KiB, 10MiB or 2GB"))


def _parse(text: str, units: dict[str, int] | dict[str, float], expected: str) -> float:
    match = _FORM.fullmatch(text.strip())
    if match is None or match[2] not in units:
        raise InvalidInput(f"expected {expected}")
    return float(match[1]) * units[match[2]]


def format_duration(seconds: float) -> str:
    """`seconds` in the largest unit that leaves at least 1, e.g. `1.5h`."""
    for unit in ("d", "h", "min", "s"):
        if seconds >= _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.3g}{unit}"
    return f"{seconds * 1000:.3g}ms"

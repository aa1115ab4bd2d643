"""Timestamps as the action API reads and writes them: whole seconds, UTC."""

from datetime import UTC, datetime


def timestamp_of(seconds: int) -> str:
    """`seconds` since the epoch as `2026-11-24T06:21:22Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(timestamp: str) -> int:
    """Seconds since the epoch of a timestamp such as `2026-11-24T06:21:22Z`."""
    return int(datetime.fromisoformat(timestamp).timestamp())

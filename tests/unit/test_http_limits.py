"""The limits that are promised are the defaults; a change of one is a change of what clients meet."""

import pytest

from headwater.events.config import EventsConfig
from headwater.http.config import HttpLimits


@pytest.mark.parametrize(
    ("option", "promised"),
    [
        ("headers_max", 100),
        ("header_bytes_max", 32 * 1024),
        ("header_timeout", 10.0),
        ("body_timeout", 10.0),
        ("idle_timeout", 75.0),
        ("queue_time_max", 0.2),
    ],
)
def test_promised_limits_are_the_defaults(option: str, promised: float) -> None:
    assert getattr(HttpLimits(), option) == promised


def test_promised_sizes_of_the_intake_are_the_defaults() -> None:
    config = EventsConfig()
    assert (config.body_bytes_max, config.event_bytes_max) == (10 * 2**20, 4 * 2**20)

"""Logs: their form, and that secrets cannot enter them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from headwater.kernel.config import Secret
from headwater.kernel.logging import configure


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_time_level_logger_and_fields(stream: io.StringIO) -> None:
    configure(level="info", human=False, stream=stream)
    structlog.get_logger("headwater.x").info("page_rendered", wiki="rivers", page=7)
    (line,) = lines(stream)
    assert list(line)[:4] == ["time", "level", "logger", "event"]
    assert (line["level"], line["logger"], line["event"], line["wiki"], line["page"]) == (
        "info",
        "headwater.x",
        "page_rendered",
        "rivers",
        7,
    )


def test_less_than_the_level_is_left_out(stream: io.StringIO) -> None:
    configure(level="warning", human=False, stream=stream)
    structlog.get_logger("x").info("quiet")
    structlog.get_logger("x").warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize("human", [False, True])
def test_secrets_are_never_printed_at_any_depth(stream: io.StringIO, human: bool) -> None:
    configure(level="info", human=human, stream=stream)
    secret = Secret("hush")
    structlog.get_logger("x").info("said", token=secret, inside={"a": [secret, (secret,)]})
    logging.getLogger("library").warning("foreign")
    assert "hush" not in stream.getvalue()
    assert stream.getvalue().count("(secret)") == 3


def test_libraries_log_in_the_same_form(stream: io.StringIO) -> None:
    configure(level="debug", human=False, stream=stream)
    logging.getLogger("library").warning("odd %s", "thing")
    logging.getLogger("library").debug("headers")
    assert [(line["logger"], line["event"], line["level"]) for line in lines(stream)] == [("library", "odd thing", "warning")]


def test_a_traceback_shows_no_local_variables(stream: io.StringIO) -> None:
    configure(level="info", human=True, stream=stream)
    hidden = "swordfish".upper()
    try:
        raise LookupError("gone")
    except LookupError:
        structlog.get_logger("x").exception("failed", length=len(hidden))
    assert "LookupError" in stream.getvalue() and "SWORDFISH" not in stream.getvalue()

"""Logs: one JSON object per line on standard error, or a form for people.

`configure` is called once, by the command. Rooms log through `structlog.get_logger(__name__)`: an event in snake_case and named
fields. Secrets cannot be printed: `Secret` values are replaced wherever they stand in the fields, and no traceback shows local variables.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import orjson
import structlog

from headwater.kernel.config import Secret

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
REDACTED = "(secret)"


def configure(*, level: str, human: bool, stream: TextIO | None = None) -> None:
    """Log from `level` on (one of `LEVELS`), for people if `human`, to standard error or `stream`.

    The standard library's loggers, through which libraries speak, go the same way.
    """
    target = stream or sys.stderr
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        _add_logger,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        redact,
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=target.isatty(), timestamp_key="time", exception_formatter=structlog.dev.plain_traceback)]
        if human
        else [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer(serializer=_dumps)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_NamedLoggers(target),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries are quieter than we are: their debug lines may hold headers.
    root.setLevel(max(LEVELS[level], logging.INFO))


class _NamedLogger(structlog.WriteLogger):
    """Writes lines, and knows the name of the room that logs."""

    def __init__(self, file: TextIO, name: str) -> None:
        super().__init__(file)
        self.name = name


class _NamedLoggers:
    """Makes loggers that know the name they were asked for with."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, *names: str) -> _NamedLogger:
        return _NamedLogger(self._file, names[0] if names else "headwater")


def _add_logger(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    event["logger"] = record.name if record is not None else getattr(logger, "name", "headwater")
    return event


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace every secret in the fields of an event, at any depth (a structlog processor)."""
    for key, value in event.items():
        if not isinstance(value, str) or isinstance(value, Secret):
            event[key] = _redacted(value)
    return event


def _redacted(value: object) -> object:
    match value:
        case Secret():
            return REDACTED
        case Mapping():
            return {key: _redacted(below) for key, below in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(below) for below in value]
        case _:
            return value


def _in_order(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    first = {name: event.pop(name) for name in ("time", "level", "logger", "event") if name in event}
    return {**first, **event}


def _dumps(event: object, **_: object) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()

"""Section `logging` of the configuration file, which every process reads. Loads no service."""

from enum import Enum
from typing import Annotated

from headwater.kernel import logging
from headwater.kernel.config import Section, doc


class LogLevel(Enum):
    """From which level on is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LoggingConfig(Section, frozen=True):
    """Logs, on standard error."""

    level: Annotated[LogLevel, doc("`debug`, `info`, `warning` or `error`.")] = LogLevel.INFO
    human: Annotated[bool, doc("Lines for people instead of one JSON object per line.")] = False


def log_as(config: LoggingConfig) -> None:
    """Log as the configuration says, from now on."""
    logging.configure(level=config.level.value, human=config.human)

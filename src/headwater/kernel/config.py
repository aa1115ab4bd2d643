"""The types that sections of the configuration file are made of.

Each room declares its section in its own `config.py` as a `Section`: frozen, every option with a default where one can
exist, a description in `doc(...)`, a maximum for every queue, batch, body, retry and cache. `headwater.kernel.configfile` reads files.

    class EventsConfig(Section, frozen=True):
        listen: Annotated[str, doc("Address of the intake as host:port.")] = "127.0.0.1:8192"
        body_bytes_max: Annotated[Bytes, doc("Largest accepted request body.")] = Bytes.of("10MiB")
"""

from typing import Self

import msgspec

from headwater.kernel.units import parse_duration_s, parse_size_bytes


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the configuration file whose unknown keys are errors."""


def doc(text: str) -> msgspec.Meta:
    """The description of an option; the reference page is made from it."""
    return msgspec.Meta(description=text)


class Seconds(float):
    """A duration in seconds, written with a unit in the file (`30s`)."""

    @classmethod
    def of(cls, text: str) -> Self:
        """The duration that `text` means; raises InvalidInput."""
        return cls(parse_duration_s(text))


class Bytes(int):
    """A size in bytes, written with a unit in the file (`64KiB`)."""

    @classmethod
    def of(cls, text: str) -> Self:
        """The size that `text` means; raises InvalidInput."""
        return cls(parse_size_bytes(text))


class Secret(str):
    """A secret: `option_file: PATH` in place of `option: …` reads it from a file. Never shown by `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"

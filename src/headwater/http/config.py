"""What every role's HTTP server accepts: limits, deadlines and clients."""

import re
from typing import Annotated

import msgspec

from headwater.kernel.config import Bytes, Seconds, Section, doc
from headwater.kernel.errors import InvalidConfig

_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})")


class HttpLimits(Section, frozen=True):
    """Limits and deadlines of one listener and the application behind it."""

    connections_max: Annotated[
        int, msgspec.Meta(ge=1), doc("Connections served at once; more are answered 503, health endpoints excepted.")
    ] = 1000
    connections_hard_max: Annotated[int, msgspec.Meta(ge=1), doc("Connections above which new ones are dropped unanswered.")] = 1200
    concurrency_max: Annotated[int, msgspec.Meta(ge=1), doc("Requests under way at once in the application.")] = 256
    queue_max: Annotated[int, msgspec.Meta(ge=0), doc("Requests that may wait for a free place.")] = 256
    queue_time_max: Annotated[Seconds, doc("Longest wait for a free place before 503.")] = Seconds.of("200ms")
    retry_after: Annotated[Seconds, doc("`Retry-After` of a 503 of an overloaded server; whole seconds.")] = Seconds.of("1s")
    headers_max: Annotated[int, msgspec.Meta(ge=1), doc("Header fields of a request; more are answered 431.")] = 100
    header_bytes_max: Annotated[Bytes, doc("Bytes of all header fields of a request; more are answered 431.")] = Bytes.of("32KiB")
    target_bytes_max: Annotated[Bytes, doc("Bytes of a request target; more are answered 414.")] = Bytes.of("8KiB")
    header_timeout: Annotated[Seconds, doc("Time in which the head of a request must be complete, else 408.")] = Seconds.of("10s")
    body_timeout: Annotated[Seconds, doc("Longest time without a byte of an announced body, else 408.")] = Seconds.of("10s")
    body_time_max: Annotated[Seconds, doc("Time in which a body must be complete, else 408.")] = Seconds.of("5min")
    idle_timeout: Annotated[Seconds, doc("Time after which a connection without a request is closed.")] = Seconds.of("75s")
    write_timeout: Annotated[Seconds, doc("Time after which a connection whose reader takes nothing is dropped.")] = Seconds.of("10s")
    send_buffer: Annotated[Bytes, doc("Kernel send buffer of a connection.")] = Bytes.of("128KiB")
    linger: Annotated[Seconds, doc("Time a closed connection is still read from, so that the answer arrives.")] = Seconds.of("1s")
    drain: Annotated[Seconds, doc("Time for requests under way to end when the server stops.")] = Seconds.of("8s")
    access_log: Annotated[bool, doc("Log every request; without it only answers of 500 and above are logged.")] = False

    def __post_init__(self) -> None:
        if self.connections_hard_max < self.connections_max:
            raise ValueError("connections_hard_max is below connections_max")


class ClientConfig(Section, frozen=True):
    """A caller who may use the API."""

    name: Annotated[str, doc("Name in logs and metrics.")]
    token_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$", description="SHA-256 of the bearer token, in hexadecimal.")]
    grants: Annotated[tuple[str, ...], doc("Permissions such as `events:write`; `*` is all.")] = ()
    domains: Annotated[
        tuple[str, ...],
        doc("Values of `meta.domain` of which it may post events; without any, all. Name those of the wiki that has the token."),
    ] = ()


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of a `listen` option, e.g. `127.0.0.1:8192` or `[::1]:8192`.

    Raises:
        InvalidConfig: not of the form host:port.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise InvalidConfig(f"expected an address as host:port, got {text!r}", where="listen")
    return match[1] or match[2], int(match[3])

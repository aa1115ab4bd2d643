"""What every role's HTTP server accepts: limits, deadlines and clients."""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import msgspec

from headwater.kernel.config import Bytes, Seconds, Section, doc
from headwater.kernel.errors import InvalidConfig

_SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_CLIENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]{1,2000}")
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})")


class ClientCertificates(Enum):
    """What is asked of the other side of a connection where `client_ca` is set."""

    REQUIRED = "required"  # no connection without a certificate
    OPTIONAL = "optional"  # a certificate that is shown has to be right


class AskingConfig(Section, frozen=True):
    """How Headwater's own clients, the status page and the command line, ask a listener that speaks TLS."""

    ca: Annotated[str | None, doc("File of the authorities (PEM) that they trust; none: those of the system.")] = None
    server_name: Annotated[str | None, doc("Name that the certificate has to hold; none: the host that they connect to.")] = None
    certificate: Annotated[str | None, doc("File of the certificate (PEM) that they show; none: they show none.")] = None
    private_key: Annotated[str | None, doc("File of its private key (PEM), which only its owner may read.")] = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key go together")


class TlsConfig(Section, frozen=True):
    """TLS 1.2 and 1.3 on a listener. SIGHUP reads the files again."""

    certificate: Annotated[str, doc("File of the certificate (PEM), followed by those of its issuers but the last.")]
    private_key: Annotated[str, doc("File of its private key (PEM), not encrypted, which only its owner may read.")]
    client_ca: Annotated[
        str | None, doc("File of the authorities (PEM) whose certificates clients may show; none: clients are not asked for any.")
    ] = None
    client_certificates: Annotated[ClientCertificates, doc("Whether a client has to show one; it takes effect with `client_ca` alone.")] = (
        ClientCertificates.REQUIRED
    )
    handshake_timeout: Annotated[Seconds, doc("Time in which a handshake must be complete; then the connection is dropped.")] = Seconds.of(
        "10s"
    )
    asking: Annotated[AskingConfig, doc("How Headwater's own clients ask this listener.")] = AskingConfig()

    def __post_init__(self) -> None:
        if self.handshake_timeout <= 0:
            raise ValueError("handshake_timeout is above 0")


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
    unsent_bytes_max: Annotated[
        Bytes, doc("Bytes of answers that slow readers may leave here, over all connections; beyond it the slowest is dropped.")
    ] = Bytes.of("128MiB")
    linger: Annotated[Seconds, doc("Time a closed connection is still read from, so that the answer arrives.")] = Seconds.of("1s")
    drain: Annotated[Seconds, doc("Time for requests under way to end when the server stops.")] = Seconds.of("8s")
    access_log: Annotated[bool, doc("Log every request; without it only answers of 500 and above are logged.")] = False
    tls: Annotated[TlsConfig | None, doc("TLS; none: plain HTTP.")] = None

    def __post_init__(self) -> None:
        if self.connections_hard_max < self.connections_max:
            raise ValueError("connections_hard_max is below connections_max")


_SHA256_PATTERN = "^[0-9a-fA-F]{64}$"
Sha256 = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": _SHA256_PATTERN})]
"""Held to its pattern by `Credentials`, which can say how such a hash is made."""


class Credentials(Section, frozen=True):
    """How a program that may call is known: it sends its token, or shows a certificate with one of its names."""

    name: Annotated[str, doc("Its name in logs and metrics: 1 to 64 of `[a-z0-9_-]`.")]
    token_sha256: Annotated[Sha256 | None, doc("SHA-256 of its bearer token, in hexadecimal.")] = None
    certificate_names: Annotated[
        tuple[str, ...], doc("Names by which its certificate knows it: DNS names, or URIs such as `spiffe://farm/wiki`.")
    ] = ()

    def __post_init__(self) -> None:
        """Refuse a client that nobody could be, or anybody."""
        if _CLIENT_NAME.fullmatch(self.name) is None or self.name == "anonymous":
            raise ValueError("a client's name is 1 to 64 of a-z, 0-9, _ and -, and not anonymous, which is nobody's")
        token = self.token_sha256
        if token is None and not self.certificate_names:
            raise ValueError(f"client {self.name} has neither token_sha256 nor certificate_names, so nobody can be it")
        if token is not None and not re.fullmatch(_SHA256_PATTERN, token):
            raise ValueError(f"token_sha256 of client {self.name} is not what `printf %s TOKEN | sha256sum` prints: 64 hexadecimal digits")
        if token is not None and token.lower() == _SHA256_OF_NOTHING:
            raise ValueError(f"the token of client {self.name} is empty")
        for name in self.certificate_names:
            if certificate_name(name) != name:
                raise ValueError(f"client {self.name}: {name!r} is neither a DNS name in lower case nor a URI")


class ClientConfig(Credentials, frozen=True):
    """A caller who may use the API."""

    grants: Annotated[tuple[str, ...], doc("Permissions such as `events:write`; `*` is all.")] = ()
    domains: Annotated[
        tuple[str, ...],
        doc("Values of `meta.domain` of which it may post events; without any, all. Name those of the wiki that has the token."),
    ] = ()


def check_distinct(clients: Sequence[Credentials]) -> None:
    """Refuse two clients that one caller could be, or that nobody could tell apart in a log. Raises ValueError."""
    for what, known in (
        ("name", [client.name for client in clients]),
        ("token", [client.token_sha256.lower() for client in clients if client.token_sha256 is not None]),
        ("certificate name", [name for client in clients for name in set(client.certificate_names)]),
    ):
        if len(set(known)) < len(known):
            raise ValueError(f"two clients have the same {what}")


def certificate_name(text: str) -> str | None:
    """A name of a certificate as clients are known by: a DNS name in lower case, or a URI as it is; None for what is neither.

    The two cannot be mistaken for each other, because only a URI holds a colon. Patterns (`*.example`) are no names of anybody.
    """
    if ":" in text:
        return text if _URI.fullmatch(text) else None
    return text.lower() if _DNS_NAME.fullmatch(text.lower()) else None


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of a `listen` option, e.g. `127.0.0.1:8192` or `[::1]:8192`.

    Raises:
        InvalidConfig: not of the form host:port.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise InvalidConfig(f"expected an address as host:port, got {text!r}", where="listen")
    return match[1] or match[2], int(match[3])

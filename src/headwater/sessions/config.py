"""Section `sessions`: namespaces, who may use them, and every limit of the service."""

import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Annotated

import msgspec

from headwater.http.config import Credentials, HttpLimits, check_distinct, parse_listen
from headwater.http.hosts import is_host
from headwater.kernel.config import Bytes, Seconds, Section, doc
from headwater.kernel.errors import InvalidConfig
from headwater.sessions.model import SUBJECT_BYTES_MAX, KeyEntropy, Policy

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_BASE = re.compile(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)+")
_RESERVED = ("/v2/", "/livez/", "/readyz/", "/metrics/", "/healthz/", "/openapi/", "/openapi.json/")
EVERY_NAMESPACE = "*"
KEY_BYTES_MAX = 2048
VALUE_BYTES_MAX = 64 * 1024 * 1024


class Verb(StrEnum):
    """What a client may do in a namespace."""

    READ = "read"
    WRITE = "write"  # save, and create through the drop-in; touch, rotate
    MINT = "mint"  # create through the native interface
    DELETE = "delete"
    REVOKE = "revoke"  # all sessions of a subject
    ADMINISTER = "administer"  # all sessions of the namespace


class Strictness(Enum):
    """How far the drop-in goes in being like Kask."""

    NONE = "none"  # what is more useful, where no client of Kask can tell the difference
    KASK = "kask"  # as Kask answers


class NamespaceConfig(Section, frozen=True):
    """Sessions that share their rules, and are apart from all others."""

    base: Annotated[str | None, doc("Path of the drop-in interface, such as `/sessions/v1/`; none: only the native one.")] = None
    ttl: Annotated[Seconds, doc("Life of a session from its last save or touch.")] = Seconds.of("1d")
    idle: Annotated[Seconds | None, doc("Life of a session from its last use, reads included.")] = None
    absolute: Annotated[Seconds | None, doc("Life of a session from its first save, whatever happens in between.")] = None
    key_bytes_max: Annotated[Bytes, doc("Longest key, once decoded; longer ones are answered 414.")] = Bytes(512)
    value_bytes_max: Annotated[Bytes, doc("Largest value; larger ones are answered 413.")] = Bytes.of("1MiB")
    rows_max: Annotated[int | None, doc("Most sessions; what would make more is refused.")] = None
    bytes_max: Annotated[Bytes | None, doc("Most bytes of all sessions together, as stored.")] = None
    writes_per_second_max: Annotated[float | None, doc("Most writes per second.")] = None
    key_entropy: Annotated[
        KeyEntropy,
        doc(
            "`high` if keys hold at least 128 random bits. `low` keys can be guessed: with database and service keys offline, which a "
            "start and `headwater check` warn of; over the network, so a miss counts as 20 of a client's budget."
        ),
    ] = KeyEntropy.HIGH
    scan_subjects: Annotated[bool, doc("Look for the user in what MediaWiki saves, so that all sessions of a user can be revoked.")] = False

    def __post_init__(self) -> None:
        """Refuse what could never work; ValueError becomes an InvalidConfig with the option's path."""
        if self.base is not None and (_BASE.fullmatch(self.base) is None or self.base.startswith(_RESERVED)):
            raise ValueError("base is a path such as /sessions/v1/ that begins and ends with / and is none of the service's own")
        if any(life is not None and life < 1 for life in (self.ttl, self.idle, self.absolute)):
            raise ValueError("ttl, idle and absolute are at least 1s")
        if not 1 <= self.key_bytes_max <= KEY_BYTES_MAX:
            raise ValueError(f"key_bytes_max is 1 to {KEY_BYTES_MAX} bytes")
        if not 1 <= self.value_bytes_max <= VALUE_BYTES_MAX:
            raise ValueError("value_bytes_max is 1 byte to 64MiB")
        quotas = (self.rows_max, self.bytes_max, self.writes_per_second_max)
        if any(quota is not None and quota <= 0 for quota in quotas):
            raise ValueError("quotas are above 0")

    def policy(self, name: str) -> Policy:
        """The rules as the service takes them."""
        return Policy(
            name=name,
            ttl_s=self.ttl,
            idle_s=self.idle,
            absolute_s=self.absolute,
            value_bytes_max=self.value_bytes_max,
            key_bytes_max=self.key_bytes_max,
            rows_max=self.rows_max,
            bytes_max=self.bytes_max,
            writes_per_s_max=self.writes_per_second_max,
            key_entropy=self.key_entropy,
            scan_subjects=self.scan_subjects,
        )


class SessionClientConfig(Credentials, frozen=True, kw_only=True):
    """A program that may call."""

    grants: Annotated[dict[str, tuple[Verb, ...]], doc("What it may do, by namespace; `*` is every namespace.")]


class SessionHttpLimits(HttpLimits, frozen=True):
    """Limits and deadlines of the listener. Only the number of connections may refuse a read, so there is a place for each of them."""

    concurrency_max: Annotated[
        int, msgspec.Meta(ge=1), doc("Requests under way at once; not below `connections_hard_max`, so that no read waits for a place.")
    ] = 1200
    body_time_max: Annotated[Seconds, doc("Time in which a body must be complete, else 408.")] = Seconds.of("10s")

    def __post_init__(self) -> None:
        """Refuse limits by which a read could be refused."""
        super().__post_init__()
        if self.concurrency_max < self.connections_hard_max:
            raise ValueError("concurrency_max is below connections_hard_max")


class SheddingConfig(Section, frozen=True):
    """What is refused first when there is too much to do. Reads never are."""

    anonymous_writes_max: Annotated[
        int, msgspec.Meta(ge=1), doc("Writes under way from which on those of nobody in particular (user id 0) are answered 503.")
    ] = 256
    writes_max: Annotated[int, msgspec.Meta(ge=1), doc("Writes under way from which on every further one is answered 503.")] = 768
    large_bodies_bytes_max: Annotated[
        Bytes, doc("Memory for bodies above 64 KiB, or of unknown length, that are under way; what goes beyond is answered 503.")
    ] = Bytes.of("128MiB")
    retry_after: Annotated[Seconds, doc("`Retry-After` of these answers; whole seconds.")] = Seconds.of("1s")

    def __post_init__(self) -> None:
        """Refuse an order of shedding that is none."""
        if self.anonymous_writes_max > self.writes_max:
            raise ValueError("anonymous_writes_max is above writes_max")


class KeysConfig(Section, frozen=True):
    """Where the service keys lie, and which of them are used."""

    directory: Annotated[
        str | None,
        doc("Directory of mode 0700 with files `ID.key` of mode 0400; none: `keys` in the directory of the data, made with a first key."),
    ] = None
    ids: Annotated[tuple[int, ...], doc("Ids of the keys to read with; none: every key that has a file.")] = ()
    active: Annotated[int | None, doc("Id of the key to write with; none: the one last activated.")] = None

    def __post_init__(self) -> None:
        """Refuse a ring without the key that writes."""
        if self.ids and self.active is not None and self.active not in self.ids:
            raise ValueError("active is one of ids")


def _one_namespace() -> dict[str, NamespaceConfig]:
    return {"sessions": NamespaceConfig(base="/sessions/v1/")}


class SessionsConfig(Section, frozen=True):
    """Sessions: a service of its own, with its own process, data, keys and port."""

    listen: Annotated[str, doc("Address of the service as host:port.")] = "127.0.0.1:8081"
    namespaces: Annotated[
        dict[str, NamespaceConfig],
        doc("The namespaces by name, `[a-z0-9_-]`. Without any it is one, `sessions`, whose base is `/sessions/v1/`."),
    ] = msgspec.field(default_factory=_one_namespace)
    data_dir: Annotated[str | None, doc("Directory of the data of sessions alone; none: `sessions` in the common `data_dir`.")] = None
    keys: Annotated[KeysConfig, doc("The service keys.")] = KeysConfig()
    strict: Annotated[
        Strictness,
        doc(
            "`kask`: the drop-in refuses PUT and keys with a slash, and redirects paths that are not clean, as Kask does. `none`: neither."
        ),
    ] = Strictness.NONE
    clients: Annotated[
        tuple[SessionClientConfig, ...],
        doc("Who may call. Without any, every program on this machine may do everything, and no other machine is let in."),
    ] = ()
    hosts: Annotated[
        tuple[str, ...],
        doc("Names in `Host` that are answered. Without any: every well-formed one where clients are configured, else loopback names."),
    ] = ()
    misses_max: Annotated[
        int, msgspec.Meta(ge=1), doc("Sessions that are not there a client may ask for at once; beyond, 429 in the native interface.")
    ] = 1000
    misses_per_second: Annotated[float, doc("How fast a client's budget of misses fills up again.")] = 50.0
    rotation_grace: Annotated[Seconds, doc("How long the old key of a rotated session still leads to it, at most.")] = Seconds.of("30s")
    subject_bytes_max: Annotated[Bytes, doc("Longest subject, once decoded.")] = Bytes(256)
    shedding: Annotated[SheddingConfig, doc("What is refused under load.")] = SheddingConfig()
    http: Annotated[SessionHttpLimits, doc("Limits and deadlines of the listener.")] = SessionHttpLimits()

    def __post_init__(self) -> None:
        """Refuse what no single option can see to be wrong."""
        if not self.namespaces:
            raise ValueError("there is at least one namespace")
        for name in self.namespaces:
            if _NAME.fullmatch(name) is None:
                raise ValueError("the name of a namespace is 1 to 64 of a-z, 0-9, _ and -")
        _check_bases(self.bases())
        _check_clients(self.clients, self.namespaces)
        if self.misses_per_second <= 0:
            raise ValueError("misses_per_second is above 0")
        if not 1 <= self.subject_bytes_max <= SUBJECT_BYTES_MAX:
            raise ValueError(f"subject_bytes_max is 1 to {SUBJECT_BYTES_MAX} bytes")
        if any(not is_host(host) for host in self.hosts):
            raise ValueError("a host is a name in lower case or an address, IPv6 in brackets, without a port")

    def check(self) -> None:
        """Refuse an address that is none. Raises InvalidConfig."""
        try:
            parse_listen(self.listen)
        except InvalidConfig as error:
            raise InvalidConfig(error.detail, where="sessions.listen") from error

    def policies(self) -> tuple[Policy, ...]:
        """The rules of all namespaces."""
        return tuple(namespace.policy(name) for name, namespace in self.namespaces.items())

    def guessable(self) -> tuple[str, ...]:
        """The namespaces whose keys can be guessed."""
        return tuple(name for name, namespace in self.namespaces.items() if namespace.key_entropy is KeyEntropy.LOW)

    def bases(self) -> dict[str, str]:
        """The namespaces that have a drop-in interface, by its path."""
        found: dict[str, str] = {}
        for name, namespace in self.namespaces.items():
            if namespace.base is not None:
                if namespace.base in found:
                    raise ValueError(f"{namespace.base} is the base of two namespaces")
                found[namespace.base] = name
        return found


def _check_bases(bases: Mapping[str, str]) -> None:
    for base in bases:
        if any(other != base and other.startswith(base) for other in bases):
            raise ValueError(f"the base {base} holds that of another namespace, so its keys could not be told from it")


def _check_clients(clients: tuple[SessionClientConfig, ...], namespaces: Mapping[str, NamespaceConfig]) -> None:
    check_distinct(clients)
    for client in clients:
        for name in client.grants:
            if name != EVERY_NAMESPACE and name not in namespaces:
                raise ValueError(f"client {client.name} has grants in {name}, which is no namespace")

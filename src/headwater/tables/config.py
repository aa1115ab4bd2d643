"""Section `tables`: who shares a schema, who may do what, and every limit of the service."""

import re
from enum import StrEnum
from typing import Annotated

import msgspec

from headwater.http.config import Credentials, check_distinct, parse_listen
from headwater.kernel.config import Bytes, Seconds, Section, doc
from headwater.kernel.errors import InvalidConfig

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
EVERY = "*"


class Verb(StrEnum):  # whose members, unlike those of Enum, are hashed without a call of Python
    """What a client may do with a table."""

    READ = "read"  # query, the schema, the change stream
    WRITE = "write"  # rows and batches
    DELETE = "delete"  # rows
    DECLARE = "declare"  # make, migrate and drop the table
    ADMINISTER = "administer"  # statistics, and walking over all rows


class GroupConfig(Section, frozen=True):
    """Domains that share the schemas of their tables. None of them sees another's rows."""

    name: Annotated[str, doc("Name of the group: `[a-z0-9_-]`.")]
    domains: Annotated[tuple[str, ...], doc("Domains, or regular expressions between slashes that a domain has to match as a whole.")]


class QuotaConfig(Section, frozen=True):
    """What a domain or one of its tables may take."""

    rows_max: Annotated[int | None, doc("Most rows; what would make more is answered 507.")] = None
    bytes_max: Annotated[Bytes | None, doc("Most bytes, as stored; what would make more is answered 507.")] = None

    def __post_init__(self) -> None:
        """Refuse a quota that lets nothing in; a table that nobody may write needs no quota but grants."""
        if any(quota is not None and quota < 1 for quota in (self.rows_max, self.bytes_max)):
            raise ValueError("rows_max and bytes_max are at least 1; leave out what has no bound")


class TableClientConfig(Credentials, frozen=True, kw_only=True):
    """A program that may call."""

    grants: Annotated[
        dict[str, dict[str, tuple[Verb, ...]]], doc("What it may do, by domain and table; `*` is every domain or every table.")
    ]


class TablesConfig(Section, frozen=True):
    """Tables that clients declare over HTTP."""

    listen: Annotated[str, doc("Address of the service as host:port.")] = "127.0.0.1:7231"
    groups: Annotated[
        tuple[GroupConfig, ...],
        doc("Storage groups; the first that holds a domain is its group, and other domains have no tables. Without any, each is its own."),
    ] = ()
    clients: Annotated[
        tuple[TableClientConfig, ...],
        doc("Who may call. Without any, every program on this machine may do everything, and no other machine is let in."),
    ] = ()
    quotas: Annotated[
        dict[str, QuotaConfig], doc("Quotas of domains (`en.example`) and of tables (`en.example/titles`); `*` is every domain or table.")
    ] = {}
    tables_max: Annotated[int, msgspec.Meta(ge=1), doc("Most tables in all; one that two groups declare counts twice.")] = 10_000
    columns_max: Annotated[int, msgspec.Meta(ge=1, le=4096), doc("Most columns of a table.")] = 256
    schema_bytes_max: Annotated[Bytes, doc("Largest schema; larger ones are answered 413.")] = Bytes.of("256KiB")
    row_bytes_max: Annotated[Bytes, doc("Largest row, as stored; larger ones are answered 413.")] = Bytes.of("1MiB")
    key_bytes_max: Annotated[Bytes, doc("Longest partition key and longest clustering key, as encoded.")] = Bytes.of("8KiB")
    body_bytes_max: Annotated[Bytes, doc("Largest body of a request.")] = Bytes.of("4MiB")
    batch_rows_max: Annotated[int, msgspec.Meta(ge=1), doc("Most rows of one batch.")] = 1000
    partition_bytes_max: Annotated[Bytes, doc("Largest partition where its table says nothing; larger ones are answered 507.")] = Bytes.of(
        "100MiB"
    )
    limit_default: Annotated[int, msgspec.Meta(ge=1), doc("Most rows of an answer where the query says nothing.")] = 100
    limit_max: Annotated[int, msgspec.Meta(ge=1), doc("Most rows that a query may ask for.")] = 1000
    answer_bytes_max: Annotated[Bytes, doc("An answer with several rows ends beyond this size, with a token for the rest.")] = Bytes.of(
        "4MiB"
    )
    clear_rows_max: Annotated[int, msgspec.Meta(ge=1), doc("Most rows that one delete of a range removes.")] = 1000
    changes_kept: Annotated[Seconds, doc("How long changes of a table are kept in its stream.")] = Seconds.of("7d")
    write_ids_kept: Annotated[Seconds, doc("How long a `write_id` is known.")] = Seconds.of("1d")
    streams_max: Annotated[int, msgspec.Meta(ge=1), doc("Most change streams read at once; more are answered 503.")] = 64
    reclaim_interval: Annotated[Seconds, doc("Pause between rounds that take back the room of what has expired.")] = Seconds.of("10s")

    def __post_init__(self) -> None:
        """Refuse what no single option can see to be wrong."""
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            raise ValueError("two groups have the same name")
        if any(_NAME.fullmatch(name) is None for name in names):
            raise ValueError("the name of a group is 1 to 64 of a-z, 0-9, _ and -")
        check_distinct(self.clients)
        if self.limit_default > self.limit_max:
            raise ValueError("limit_default is above limit_max")
        if self.row_bytes_max > self.body_bytes_max:
            raise ValueError("row_bytes_max is above body_bytes_max, so that it could never be reached")

    def check(self) -> None:
        """Refuse an address that is none. Raises InvalidConfig."""
        try:
            parse_listen(self.listen)
        except InvalidConfig as error:
            raise InvalidConfig(error.detail, where="tables.listen") from error

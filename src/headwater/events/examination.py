"""Examines one event: strict JSON, stream, permission, schema. Pure; what it needs of time and randomness is given to it."""

from dataclasses import dataclass

from headwater.events import identity
from headwater.events.model import Event, Result, Status, Violation, result_of
from headwater.events.schemas import Schema, SchemaRegistry
from headwater.events.streams import StreamRule, StreamTable, partition_key
from headwater.http.json import parse
from headwater.kernel.clock import iso_utc
from headwater.kernel.errors import Forbidden, HeadwaterError, InvalidConfig, InvalidInput, TooLarge
from headwater.kernel.ids import Ids


@dataclass(frozen=True, slots=True)
class Rules:
    """What events are examined by: schemas, streams, and the largest size of one in bytes."""

    schemas: SchemaRegistry
    streams: StreamTable
    event_bytes_max: int

    def check(self) -> None:
        """Raise InvalidConfig if a stream names a schema title that does not exist."""
        titles = self.schemas.titles()
        for rule in self.streams.rules:
            if rule.schema_title not in titles:
                raise InvalidConfig(f"there is no schema with the title {rule.schema_title}", where=f"events.streams.{rule.name}")


def examine(value: bytes, rules: Rules, ids: Ids, *, now_ms: int, internal: bool, domains: frozenset[str] | None = None) -> Event | Result:
    """The event of `value`, or why it is refused.

    Args:
        value: the bytes of one event.
        rules: what it is examined by.
        ids: gives an id to an event without one.
        now_ms: wall time, for an event without one and for the log.
        internal: Headwater itself is the author, so that streams closed to clients are open.
        domains: values of `meta.domain` that the author may tell of; None for all.

    Raises:
        InvalidInput: not strict JSON; the whole request is malformed then.
    """
    if len(value) > rules.event_bytes_max:
        return result_of(TooLarge(f"an event has at most {rules.event_bytes_max} bytes, this one has {len(value)}"))
    document = parse(value)
    try:
        if not isinstance(document, dict):
            raise InvalidInput("an event is a JSON object", where="")
        meta = _meta(document)
        stream = _text(meta, "stream", "/meta/stream")
        schema = rules.schemas.find(_text(document, "$schema", "/$schema"))
        _check_permission(rules.streams.rule_of(stream), stream, schema, internal=internal)
        _check_domain(meta, domains)
    except HeadwaterError as error:
        return result_of(error)
    violations = schema.violations(document)
    if violations:
        return Result(Status.INVALID, _id_of(meta), InvalidInput(sentence(violations), where=violations[0].pointer), violations)
    dt = meta.get("dt") or iso_utc(now_ms)
    event_id = meta.get("id") or ids.uuid()
    assert isinstance(dt, str) and isinstance(event_id, str), "the schema says so"
    return Event(
        value=value,
        stream=stream,
        schema=schema.uri,
        id=event_id,
        dt=dt,
        partition_key=partition_key(document),
        keys=(identity.id_key(event_id, internal=internal), *(() if internal else identity.identities(stream, document, dt))),
        alike=identity.alike(stream, document, dt) if internal else (identity.id_key(event_id, internal=True),),
        time_ms=now_ms,
    )


def sentence(violations: tuple[Violation, ...]) -> str:
    """All violations in one line: `'.field' what is wrong, …`."""
    return ", ".join(f"'{violation.data_path}' {violation.message}" for violation in violations)


def _meta(document: dict[str, object]) -> dict[str, object]:
    meta = document.get("meta")
    if not isinstance(meta, dict):
        raise InvalidInput("`meta` is missing or not an object", where="/meta")
    return meta


def _text(holder: dict[str, object], name: str, where: str) -> str:
    text = holder.get(name)
    if not isinstance(text, str) or not text:
        raise InvalidInput(f"`{where[1:].replace('/', '.')}` is missing or not a string", where=where)
    return text


def _id_of(meta: dict[str, object]) -> str | None:
    event_id = meta.get("id")
    return event_id if isinstance(event_id, str) else None


def _check_permission(rule: StreamRule | None, stream: str, schema: Schema, *, internal: bool) -> None:
    if rule is None:
        raise InvalidInput(f"there is no stream {stream[:200]!r}", where="/meta/stream")
    if not rule.public and not internal:
        raise Forbidden(f"only Headwater itself writes to {stream}", where="/meta/stream")
    if rule.schema_title != schema.title:
        raise Forbidden(f"stream {stream} carries events of schema {rule.schema_title}, not of {schema.title}", where="/$schema")


def _check_domain(meta: dict[str, object], domains: frozenset[str] | None) -> None:
    domain = meta.get("domain")
    if domains is not None and domain not in domains:
        raise Forbidden(f"this client may not tell of domain {str(domain)[:200]!r}", where="/meta/domain")

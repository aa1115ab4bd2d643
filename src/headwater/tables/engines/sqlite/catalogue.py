"""Declarations and the spaces of domains, in the writer thread and in the background."""

from collections.abc import Sequence

import apsw
import msgspec

from headwater.sqlite.queries import fetch_all, fetch_one
from headwater.tables.engines.sqlite.reads import snapshot
from headwater.tables.engines.sqlite.records import encode_ids, ids_of
from headwater.tables.model import Declaration, SpaceId

_ALL = "SELECT incarnation, storage_group, name, epoch, next_column_id, column_ids, schema FROM declaration ORDER BY storage_group, name"
_SPACES = "SELECT incarnation, domain, id FROM space WHERE incarnation IS NOT NULL"
_SPACES_OF = "SELECT domain, id FROM space WHERE incarnation = ?"
_PRESENT = "SELECT incarnation, epoch FROM declaration WHERE storage_group = ? AND name = ?"
_NEXT_EPOCH = "UPDATE counter SET value = value + 1 WHERE name = 'epoch' RETURNING value"
_INSERT = """
    INSERT INTO declaration (storage_group, name, epoch, next_column_id, column_ids, schema) VALUES (?, ?, ?, ?, ?, ?) RETURNING incarnation
"""
_UPDATE = "UPDATE declaration SET epoch = ?, next_column_id = ?, column_ids = ?, schema = ? WHERE incarnation = ?"
_UPDATE_EPOCH = "UPDATE declaration SET epoch = ? WHERE incarnation = ?"
_DELETE = "DELETE FROM declaration WHERE incarnation = ?"
_INSERT_SPACE = "INSERT INTO space (incarnation, domain) VALUES (?, ?) RETURNING id"
_ADD_SPACE = """
    INSERT INTO space (incarnation, domain) SELECT incarnation, ?2 FROM declaration WHERE incarnation = ?1 ON CONFLICT DO NOTHING
"""
_SPACE_OF = "SELECT id FROM space WHERE incarnation = ? AND domain = ?"
_END_STREAMS = "UPDATE space SET trimmed = ? WHERE incarnation = ?"
_DROP_SPACE = "UPDATE space SET incarnation = NULL WHERE id = ?"


def load(connection: apsw.Connection) -> Sequence[Declaration]:
    """Every declaration."""
    with snapshot(connection):
        declared, spaces = fetch_all(connection, _ALL), fetch_all(connection, _SPACES)
    domains: dict[int, dict[str, SpaceId]] = {}
    for incarnation, domain, id in spaces:
        domains.setdefault(incarnation, {})[domain] = SpaceId(id)
    return [
        Declaration(group, name, incarnation, epoch, schema, ids_of(column_ids), next_column_id, domains.get(incarnation, {}))
        for incarnation, group, name, epoch, next_column_id, column_ids, schema in declared
    ]


def spaces(connection: apsw.Connection) -> set[SpaceId]:
    """The spaces that have not been dropped."""
    return {SpaceId(id) for _, _, id in fetch_all(connection, _SPACES)}


def declare(connection: apsw.Connection, declaration: Declaration, replaces: int | None) -> Declaration | None:
    """Compare the epoch and set the record; None if it is another."""
    present = fetch_one(connection, _PRESENT, (declaration.group, declaration.name))
    if (None if present is None else present[1]) != replaces:
        return None
    epoch = _next_epoch(connection)
    record = declaration.next_column_id, encode_ids(declaration.column_ids), declaration.schema
    if present is None:
        incarnation = fetch_all(connection, _INSERT, (declaration.group, declaration.name, epoch, *record))[0][0]
    else:
        incarnation = present[0]
        connection.execute(_UPDATE, (epoch, *record, incarnation))
    domains = _spaces_of(connection, incarnation)
    for domain in declaration.domains:
        if domain not in domains:
            domains[domain] = SpaceId(fetch_all(connection, _INSERT_SPACE, (incarnation, domain))[0][0])
    return msgspec.structs.replace(declaration, incarnation=incarnation, epoch=epoch, domains=domains)


def add_space(connection: apsw.Connection, incarnation: int, domain: str) -> SpaceId | None:
    """The space of a domain in a declaration, made if it has none; None if there is no such declaration."""
    connection.execute(_ADD_SPACE, (incarnation, domain))
    found = fetch_one(connection, _SPACE_OF, (incarnation, domain))
    return None if found is None else SpaceId(found[0])


def end_streams(connection: apsw.Connection, declaration: Declaration, position: int) -> None:
    """Count every change up to a position as trimmed, in all spaces of a declaration; upkeep takes them away when they are old."""
    connection.execute(_END_STREAMS, (position, declaration.incarnation))


def drop(connection: apsw.Connection, declaration: Declaration, domain: str | None) -> Sequence[SpaceId] | None:
    """Compare the epoch and take away; the spaces that went, None if it is another."""
    present = fetch_one(connection, _PRESENT, (declaration.group, declaration.name))
    if present is None or present[1] != declaration.epoch:
        return None
    incarnation = present[0]
    domains = _spaces_of(connection, incarnation)
    gone = [space for name, space in domains.items() if domain is None or name == domain]
    for space in gone:
        connection.execute(_DROP_SPACE, (space,))
    if len(gone) == len(domains):
        connection.execute(_DELETE, (incarnation,))
    else:
        connection.execute(_UPDATE_EPOCH, (_next_epoch(connection), incarnation))
    return gone


def _spaces_of(connection: apsw.Connection, incarnation: int) -> dict[str, SpaceId]:
    return {domain: SpaceId(id) for domain, id in fetch_all(connection, _SPACES_OF, (incarnation,))}


def _next_epoch(connection: apsw.Connection) -> int:
    return int(fetch_all(connection, _NEXT_EPOCH)[0][0])

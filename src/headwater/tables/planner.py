"""Requests for one table as plans that every engine can carry out, or a refusal that says why and names the column. Pure.

What CQL would refuse is refused here, whatever the engine could do: see `slices` for reads and deletes, `write_plans` for writes. A member
of a body that means nothing is refused too; nothing is accepted and ignored.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec
import orjson
from msgspec.structs import replace

from headwater.kernel.errors import HeadwaterError, InvalidInput, TooLarge
from headwater.tables.column_plans import NAME_SHOWN_MAX, ColumnPlan, refuse_unknown
from headwater.tables.conditions import header_of
from headwater.tables.config import TablesConfig
from headwater.tables.encoding import decoder_of
from headwater.tables.model import (
    Change,
    ChangeKind,
    ClusteringKey,
    ColumnType,
    Condition,
    Discipline,
    KeyedRow,
    Kind,
    PartitionKey,
    Place,
    Put,
    Remove,
    Slice,
    SpaceId,
    Stored,
    Table,
)
from headwater.tables.showing import Item, RowShower, revision_text
from headwater.tables.slices import KeyPlanner, Span
from headwater.tables.tokens import Tokens
from headwater.tables.types import shower_of
from headwater.tables.usual import UsualRequests
from headwater.tables.write_plans import RowPlanner, attributes_of

SHOWERS_MAX = 256
"""Different selections of columns whose showers are kept."""
_WRITE_ID = re.compile(r"[!-~]{1,128}")
_NOWHERE = SpaceId(0)

_QUERY = frozenset(("table", "attributes", "proj", "order", "limit", "next", "withTTL", "withRevision"))
_PUT = frozenset(("table", "attributes", "if", "write_id"))
_BATCH = frozenset(("table", "rows", "write_id"))
_BATCH_ROW = frozenset(("table", "attributes", "if", "delete"))
_WHY_NOT = {
    "consistency": "the consistency of reads and writes is that of the deployment",
    "timestamp": "the service gives the time of a write",
    "index": "there are no secondary indexes; a table with other keys can be fed from the changes",
    "distinct": "a query reads one partition, so there is nothing to make distinct",
}


class Query(msgspec.Struct, frozen=True):
    """A read, planned.

    Attributes:
        slice: what to read; None: nothing can be there.
    """

    slice: Slice | None
    shower: RowShower
    tokens: Tokens

    def show(self, rows: Sequence[KeyedRow], now_s: int) -> list[Item]:
        """Rows of the slice as they are answered."""
        return [] if self.slice is None else self.shower.show(self.slice.partition, rows, now_s=now_s)

    def token(self, last: ClusteringKey) -> str:
        """With what the query goes on beyond `last`."""
        assert self.slice is not None
        return self.tokens.of_page(self.slice, last)


class WritePlan(msgspec.Struct, frozen=True):
    """Writes to one partition, planned: see the attributes of `headwater.tables.model.Write`."""

    partition: PartitionKey
    writes: tuple[Put | Remove, ...]
    write_id: str | None = None
    digest: bytes = b""


class TablePlanner:
    """Plans requests for one table; compiled once and then used for every request.

    Attributes:
        table: which.
        usual: recognises the commonest requests before they are planned; None: of this table it cannot.

    Raises in all of its methods that take a body:
        InvalidInput: the request breaks a rule; `where` names the column or the member of the body.
        WrongType: a value is not of its column's type.
        TooLarge: a key, a value or a batch is too large.
    """

    def __init__(self, table: Table, config: TablesConfig) -> None:
        self.table = table
        self._config = config
        plans = {name: ColumnPlan(column) for name, column in table.by_name.items()}
        hashes = [plans[column.name] for column in table.hashes]
        ranges = [plans[column.name] for column in table.ranges]
        self._keys = KeyPlanner(hashes, ranges, table=table, key_bytes_max=config.key_bytes_max)
        self._rows = RowPlanner(plans, self._keys, table=table, row_bytes_max=config.row_bytes_max)
        self._showers: dict[tuple[tuple[str, ...] | None, bool, bool], RowShower] = {}
        self._everything = self._shower(None, with_ttl=False, with_revision=False)
        self._with_revision = self._shower(None, with_ttl=False, with_revision=True)
        self._of_puts = self._shower(None, with_ttl=True, with_revision=False)
        self._of_deletes = RowShower(table, [column.name for column in (*table.hashes, *table.ranges)])
        self._decode_partition = decoder_of(table.hashes)
        self._show_partition = [shower_of(column.type) for column in table.hashes]

    @cached_property
    def usual(self) -> UsualRequests | None:
        """Made when it is first asked for, since of many tables nobody asks anything."""
        if self.table.statics:
            return None
        try:
            return UsualRequests(
                self.table, self._everything, key_bytes_max=self._config.key_bytes_max, row_bytes_max=self._config.row_bytes_max
            )
        except ValueError:
            return None

    # Reads

    def query(self, body: Mapping[str, object], *, space: SpaceId | None, tokens: Tokens) -> Query:
        """Plan a read. Without a space nothing can be there, but the body is checked all the same.

        Raises also InvalidPagingToken: `next` is not a token that an answer to the same query gave.
        """
        if not body.keys() <= _QUERY:
            raise _refuse_member(body, _QUERY)
        if "table" in body:
            self._check_table(body)
        shower = self._selection(body)
        span = self._keys.span_of(attributes_of(body))
        order = body.get("order", _ABSENT)
        backwards = order is not _ABSENT and self._keys.is_backwards(order, span)
        slice = Slice(
            _NOWHERE if space is None else space,
            span.partition,
            span.lower,
            span.upper,
            backwards,
            self._limit(body) if "limit" in body else self._config.limit_default,
            None,
            span.point,
            bool(self.table.statics) and (shower.has_statics or span.whole),
            span.whole,
            self._config.answer_bytes_max,
        )
        if "next" in body:
            slice = replace(slice, after=tokens.read_page(body["next"], slice))
        return Query(None if space is None or span.upper == b"" else slice, shower, tokens)

    def _selection(self, body: Mapping[str, object]) -> RowShower:
        if "proj" not in body and "withTTL" not in body and "withRevision" not in body:
            return self._everything
        names = self._projection(body["proj"]) if "proj" in body else None
        return self._shower(names, with_ttl=_flag(body, "withTTL"), with_revision=_flag(body, "withRevision"))

    def _projection(self, proj: object) -> tuple[str, ...]:
        names = [proj] if isinstance(proj, str) else proj
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise InvalidInput("proj is the name of a column, or an array of names", where="proj")
        for name in names:
            if name not in self.table.by_name:
                raise refuse_unknown(name)
        return tuple(dict.fromkeys(names))

    def _shower(self, names: tuple[str, ...] | None, *, with_ttl: bool, with_revision: bool) -> RowShower:
        key = names, with_ttl, with_revision
        found = self._showers.get(key)
        if found is None:
            if len(self._showers) >= SHOWERS_MAX:
                self._showers.clear()
            found = self._showers[key] = RowShower(self.table, names, with_ttl=with_ttl, with_revision=with_revision)
        return found

    def _limit(self, body: Mapping[str, object]) -> int:
        limit, most = body["limit"], self._config.limit_max
        if type(limit) is not int or not 1 <= limit <= most:
            raise InvalidInput(f"limit is an integer from 1 to {most}", where="limit")
        return limit

    # Writes

    def put(self, body: Mapping[str, object], *, now_s: int, condition: Condition | None = None) -> WritePlan:
        """Plan the write of a row, under its own condition and the given one."""
        if not body.keys() <= _PUT:
            raise _refuse_member(body, _PUT)
        if "table" in body:
            self._check_table(body)
        partition, put = self._rows.put(body, condition, now_s=now_s)
        if "write_id" not in body:
            return WritePlan(partition, (put,))
        return WritePlan(partition, (put,), self._write_id(body), _digest("put", body, condition))

    def batch(self, body: Mapping[str, object], *, now_s: int) -> WritePlan:
        """Plan writes and deletes of rows of one partition: `rows`, each with `attributes`, perhaps `if`, and `delete: true`.

        In the errors `where` is `/rows/3/` and what it would be for that row alone.
        """
        if not body.keys() <= _BATCH:
            raise _refuse_member(body, _BATCH)
        self._check_table(body)
        rows, most = body.get("rows"), self._config.batch_rows_max
        if not isinstance(rows, list) or not rows:
            raise InvalidInput("rows is an array of rows, at least one", where="rows")
        if len(rows) > most:
            raise TooLarge(f"a batch has at most {most} rows", where="rows")
        partition, writes = self._batch_rows(rows, now_s)
        if "write_id" not in body:
            return WritePlan(partition, writes)
        return WritePlan(partition, writes, self._write_id(body), _digest("batch", body, None))

    def _batch_rows(self, rows: Sequence[object], now_s: int) -> tuple[PartitionKey, tuple[Put | Remove, ...]]:
        partition: PartitionKey | None = None
        writes: list[Put | Remove] = []
        seen: set[ClusteringKey | None] = set()
        statics: dict[int, Stored] = {}
        for place, row in enumerate(rows):
            try:
                its, write = self._batch_row(row, now_s)
                partition = its if partition is None else partition
                self._check_together(its == partition, write, seen, statics)
            except HeadwaterError as error:
                error.where = f"/rows/{place}" if error.where is None else f"/rows/{place}/{error.where}"
                raise
            writes.append(write)
        assert partition is not None
        return partition, tuple(writes)

    def _batch_row(self, row: object, now_s: int) -> tuple[PartitionKey, Put | Remove]:
        if not isinstance(row, dict):
            raise InvalidInput("a row is an object with attributes")
        if not row.keys() <= _BATCH_ROW:
            raise _refuse_member(row, _BATCH_ROW)
        self._check_table(row)
        return self._rows.remove(row, None) if _flag(row, "delete") else self._rows.put(row, None, now_s=now_s)

    def _check_together(
        self, same_partition: bool, write: Put | Remove, seen: set[ClusteringKey | None], statics: dict[int, Stored]
    ) -> None:
        if not same_partition:
            raise InvalidInput("all rows of a batch are of one partition", where=self.table.hashes[-1].name)
        if write.clustering in seen:
            raise InvalidInput("a batch has each row once", where=(self.table.ranges or self.table.hashes)[-1].name)
        seen.add(write.clustering)
        for id_, value in write.statics.items() if isinstance(write, Put) else ():
            if statics.setdefault(id_, value) != value:
                raise InvalidInput("a batch gives a static column one value", where=self.table.by_id[id_].name)

    def delete(self, body: Mapping[str, object], *, space: SpaceId | None, condition: Condition | None = None) -> WritePlan | Slice | None:
        """Plan a delete: the removal of one row, or what to clear; None: nothing can be there."""
        if not body.keys() <= _PUT:
            raise _refuse_member(body, _PUT)
        self._check_table(body)
        attributes = attributes_of(body)
        span = self._keys.span_of(attributes)
        if span.point:
            return self._removal(body, span, condition)
        for member in ("if", "write_id"):
            if member in body:
                raise InvalidInput(f"{member} is for the delete of one row, by its whole key", where=member)
        if condition is not None:
            raise InvalidInput("a condition is for the delete of one row, by its whole key", where=header_of(condition))
        if space is None or span.upper == b"":
            return None
        statics = bool(self.table.statics) and span.whole
        most = self._config.clear_rows_max
        return Slice(space, span.partition, span.lower, span.upper, False, most, statics=statics, whole=span.whole)

    def _removal(self, body: Mapping[str, object], span: Span, given: Condition | None) -> WritePlan:
        write = self._rows.removal(body, given, span.partition, span.lower)
        if "write_id" not in body:
            return WritePlan(span.partition, (write,))
        return WritePlan(span.partition, (write,), self._write_id(body), _digest("delete", body, given))

    def _write_id(self, body: Mapping[str, object]) -> str:
        if self.table.options.writes is Discipline.PLAIN:
            raise InvalidInput("the table is declared with plain writes, which may simply be repeated", where="write_id")
        given = body["write_id"]
        if not isinstance(given, str) or _WRITE_ID.fullmatch(given) is None:
            raise InvalidInput("a write_id is 1 to 128 printable ASCII characters without spaces", where="write_id")
        return given

    def _check_table(self, body: Mapping[str, object]) -> None:
        if body.get("table", self.table.name) != self.table.name:
            raise InvalidInput("the body names another table than the path", where="table")

    # Answers

    def show_current(self, partition: PartitionKey, row: KeyedRow, now_s: int) -> Item | None:
        """The row that made a condition fail, with its `_revision`; None: there is none."""
        if row.row is None and (row.clustering is not None or row.static is None):
            return None
        return self._with_revision.show(partition, (row,), now_s=now_s)[0]

    def show_change(self, change: Change) -> Item:
        """A change: `id`, `kind`, `at`, `revision`, and `row` as it was after it with its `_ttl`; of a deleted row only the keys."""
        shower = self._of_puts if change.kind is ChangeKind.PUT else self._of_deletes
        row = KeyedRow(change.clustering, change.row, change.static)
        return {
            "id": change.sequence,
            "kind": change.kind.value,
            "at": _show_time(change.at_ms),
            "revision": revision_text(change.revision),
            "row": shower.show(change.partition, (row,), now_s=change.at_ms // 1000)[0],
        }

    def show_walked(self, partition: PartitionKey, row: KeyedRow, now_s: int) -> Item:
        """A row of a walk over all partitions."""
        return self._everything.show(partition, (row,), now_s=now_s)[0]

    def walk_token(self, last: Place, *, space: SpaceId, tokens: Tokens) -> str:
        """With what a walk over all partitions goes on beyond `last`."""
        return tokens.of_walk(space, last)

    def walk_place(self, token: object, *, space: SpaceId, tokens: Tokens) -> Place:
        """Where a walk goes on. Raises InvalidPagingToken."""
        return tokens.read_walk(token, space)

    def partition_values(self, partition: PartitionKey) -> Item:
        """The hash columns of a partition."""
        values = zip(self.table.hashes, self._show_partition, self._decode_partition(partition), strict=True)
        return {column.name: show(value) for column, show, value in values}

    def partition_text(self, partition: PartitionKey) -> str:
        """The hash columns of a partition as JSON, shortened, to name it in an error."""
        return msgspec.json.encode(self.partition_values(partition)).decode()[: 2 * NAME_SHOWN_MAX]


_ABSENT = object()
_show_time = shower_of(ColumnType(Kind.TIMESTAMP))


def _flag(body: Mapping[str, object], name: str) -> bool:
    value = body.get(name, False)
    if type(value) is not bool:
        raise InvalidInput(f"{name} is true or false", where=name)
    return value


def _refuse_member(body: Mapping[str, object], known: frozenset[str]) -> InvalidInput:
    name = min(body.keys() - known)
    why = _WHY_NOT.get(name, f"a body has {', '.join(sorted(known))} and nothing else")
    return InvalidInput(why, where=name[:NAME_SHOWN_MAX])


def _digest(kind: str, body: Mapping[str, object], condition: Condition | None) -> bytes:
    """What tells one write from another: everything that was asked for but the `write_id` itself."""
    asked = {name: value for name, value in body.items() if name not in ("write_id", "table")}
    given = None if condition is None else [condition.exists, condition.revision]
    return hashlib.sha256(orjson.dumps([kind, asked, given], option=orjson.OPT_SORT_KEYS)).digest()

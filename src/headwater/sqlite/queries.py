"""Reading rows: the edge at which the driver's columns, which may be anything, become what a statement is known to return."""

from collections.abc import Sequence
from typing import Any

import apsw

Value = None | int | float | bytes | str


def fetch_all(connection: apsw.Connection, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
    """Every row, with no cursor left open."""
    return connection.execute(statement, values).fetchall()


def fetch_one(connection: apsw.Connection, statement: str, values: Sequence[Value] = ()) -> tuple[Any, ...] | None:
    """The first row or None, with no cursor left open."""
    cursor = connection.execute(statement, values)
    row = cursor.fetchone()
    cursor.close()
    return row

"""The format of a file: numbered migrations, each with the oldest format that can still read what it makes.

A program that knows migrations up to N opens files up to N and migrates them; it opens a newer file only if the migrations that made it
say that N can still read it, so an upgrade can be taken back once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import apsw

from headwater.kernel.errors import FormatTooNew

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_OLDEST_READER = re.compile(r"-- oldest reader: (\d+)\n")
_CREATE_FORMAT = (
    "CREATE TABLE IF NOT EXISTS headwater_format (version INTEGER PRIMARY KEY, oldest_reader INTEGER NOT NULL, applied_ms INTEGER NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a file's format.

    Attributes:
        number: 1 for the first, without holes.
        sql: statements, run in one transaction with the note that they ran.
        oldest_reader: the oldest format number whose program can still use the file afterwards.
    """

    number: int
    sql: str
    oldest_reader: int


def load_migrations(package: str) -> Sequence[Migration]:
    """The migrations in `package`: files `NNNN_name.sql` whose first line is `-- oldest reader: N`."""
    found = []
    for file in resources.files(package).iterdir():
        name = _FILE_NAME.fullmatch(file.name)
        if name is None:
            continue
        sql = file.read_text(encoding="utf-8")
        oldest_reader = _OLDEST_READER.match(sql)
        assert oldest_reader, f"{file.name} does not start with '-- oldest reader: N'"
        found.append(Migration(int(name[1]), sql, int(oldest_reader[1])))
    found.sort(key=lambda migration: migration.number)
    assert [migration.number for migration in found] == list(range(1, len(found) + 1)), f"{package}: migrations are not numbered 1, 2, …"
    return found


def migrate(connection: apsw.Connection, migrations: Sequence[Migration], *, now_ms: int) -> None:
    """Bring the file up to the last of `migrations`, all in one transaction.

    Raises:
        FormatTooNew: a newer program made the file and says that this one cannot read it.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_CREATE_FORMAT)
        version, oldest_reader = connection.execute(
            "SELECT coalesce(max(version), 0), coalesce(max(oldest_reader), 0) FROM headwater_format"
        ).get
        known = len(migrations)
        if oldest_reader > known:
            raise FormatTooNew(
                f"{connection.filename} has format {version}: it needs a program that knows format {oldest_reader}, this one knows {known}"
            )
        for migration in migrations[version:]:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO headwater_format (version, oldest_reader, applied_ms) VALUES (?, ?, ?)",
                (migration.number, migration.oldest_reader, now_ms),
            )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")

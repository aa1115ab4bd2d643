"""Bodies in one SQLite file, compressed with zstd, under the SHA-256 of their content. Decision: `docs/decisions/0016`.

Compression, decompression and hashing of more than a little run in a thread, outside the interpreter lock, so that the event loop stays
free.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import apsw
import zstandard

from headwater.kernel.errors import Corrupted
from headwater.kernel.metrics import Metrics
from headwater.propagation.model import BodyHash, PageKey
from headwater.propagation.ports import BodySource
from headwater.sqlite import Database, StorageConfig, load_migrations
from headwater.sqlite.errors import translated

LEVEL = 3
INLINE_BYTES_MAX = 64 * 1024  # more than this is compressed, or hashed, in a thread

_PUT = "INSERT INTO bodies (hash, content) VALUES (?, ?) ON CONFLICT (hash) DO UPDATE SET content = excluded.content"
_PUT_SOURCE = "INSERT INTO body_sources (wiki, page, rev, hash) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_GET = "SELECT content FROM bodies WHERE hash = ?"
_HAS = "SELECT 1 FROM bodies WHERE hash = ?"
_HASHES_OF_REVISION = "SELECT hash FROM body_sources WHERE wiki = ? AND page = ? AND rev = ? ORDER BY hash"
_FORGET_REVISION = "DELETE FROM body_sources WHERE wiki = ? AND page = ? AND rev = ?"
_HAS_SOURCE = "SELECT 1 FROM body_sources WHERE hash = ? LIMIT 1"
_ERASE = "DELETE FROM bodies WHERE hash = ?"
_FORGET_BODY = "DELETE FROM body_sources WHERE hash = ?"
_HASHES = "SELECT hash FROM bodies WHERE hash > ? ORDER BY hash LIMIT ?"


class SqliteBodies:
    """A `BodyStore` in one file. Make one with `open`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: Path, *, metrics: Metrics, config: StorageConfig | None = None) -> Self:
        """Open or create the file. Raises Corrupted, FormatTooNew, StorageFull, Unavailable."""
        migrations = load_migrations("headwater.propagation.engines.bodies_schema")
        database = await Database.open(path, name="bodies", migrations=migrations, metrics=metrics, config=config)
        await database.write(_overwrite_what_is_deleted, frees_space=True)  # needs no room
        return cls(database)

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def put(self, bodies: Mapping[BodyHash, bytes], sources: Sequence[BodySource] = ()) -> None:
        if sum(map(len, bodies.values())) <= INLINE_BYTES_MAX:
            rows = _compressed(bodies)
        else:
            rows = await asyncio.to_thread(_compressed, bodies)
        source_rows = [(source.wiki, source.page, source.rev, bytes.fromhex(source.body)) for source in sources]

        def work(connection: apsw.Connection) -> None:
            connection.executemany(_PUT, rows)
            connection.executemany(_PUT_SOURCE, source_rows)

        await self._database.write(work)

    async def get(self, body: BodyHash) -> bytes | None:
        with translated(self._database.reader):
            row = self._database.reader.execute(_GET, (bytes.fromhex(body),)).fetchone()
        if row is None:
            return None
        content: bytes = row[0]
        if _content_bytes(content) <= INLINE_BYTES_MAX:
            return _checked(body, content)
        return await asyncio.to_thread(_checked, body, content)

    async def absent(self, bodies: Sequence[BodyHash]) -> frozenset[BodyHash]:
        with translated(self._database.reader):
            reader = self._database.reader
            return frozenset(body for body in bodies if not reader.execute(_HAS, (bytes.fromhex(body),)).fetchall())

    async def erase_revision(self, wiki: str, page: PageKey, rev: int) -> Sequence[BodyHash]:
        def work(connection: apsw.Connection) -> Sequence[BodyHash]:
            hashes = [row[0] for row in connection.execute(_HASHES_OF_REVISION, (wiki, page, rev)).fetchall()]
            connection.execute(_FORGET_REVISION, (wiki, page, rev))
            gone = [body for body in hashes if not connection.execute(_HAS_SOURCE, (body,)).fetchall()]
            connection.executemany(_ERASE, [(body,) for body in gone])
            return [_hash(body) for body in gone]

        return await self._database.write(work, frees_space=True)

    async def erase(self, bodies: Sequence[BodyHash]) -> None:
        rows = [(bytes.fromhex(body),) for body in bodies]

        def work(connection: apsw.Connection) -> None:
            connection.executemany(_ERASE, rows)
            connection.executemany(_FORGET_BODY, rows)

        await self._database.write(work, frees_space=True)

    async def hashes(self, after: BodyHash | None, limit: int) -> Sequence[BodyHash]:
        start = bytes.fromhex(after) if after else b""
        with translated(self._database.reader):
            return [_hash(row[0]) for row in self._database.reader.execute(_HASHES, (start, limit)).fetchall()]


def _hash(stored: object) -> BodyHash:
    assert isinstance(stored, bytes)
    return BodyHash(stored.hex())


def _overwrite_what_is_deleted(connection: apsw.Connection) -> None:
    """An erased body is to leave no copy in free pages of the file."""
    connection.pragma("secure_delete", True)


def _compressed(bodies: Mapping[BodyHash, bytes]) -> list[tuple[bytes, bytes]]:
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    return [(bytes.fromhex(body), compressor.compress(content)) for body, content in bodies.items()]


def _content_bytes(compressed: bytes) -> int:
    """The size that the frame declares; of a damaged frame, the size of the frame."""
    try:
        return zstandard.get_frame_parameters(compressed).content_size
    except zstandard.ZstdError:
        return len(compressed)


def _checked(body: BodyHash, compressed: bytes) -> bytes:
    try:
        content: bytes = zstandard.ZstdDecompressor().decompress(compressed)
    except zstandard.ZstdError as error:
        raise Corrupted(f"body {body} cannot be decompressed") from error
    if hashlib.sha256(content).hexdigest() != body:
        raise Corrupted(f"body {body} does not match its hash")
    return content

"""What a stolen data directory tells: nothing of a key, a value or a subject, and nothing opens without the key of the session."""

import asyncio
import base64
import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

from headwater.kernel.config import Bytes
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.sessions.engines.sqlite import SqliteSessionStore
from headwater.sessions.keys import add_key, init_keys, load_ring
from headwater.sessions.model import Policy, Row, RowId
from headwater.sessions.sealing import Sealer
from headwater.sessions.service import Sessions
from headwater.sessions.service_metrics import SERVICE_METRICS
from headwater.sqlite import StorageConfig
from headwater.sqlite import metrics as sqlite_metrics
from headwater.testing.clock import ManualClock

PIECE_BYTES = 8
SESSIONS = 30
IDS = SystemIds()


def _canary() -> bytes:
    return base64.b64encode(IDS.token(32))


def _written(secret: bytes) -> Iterator[bytes]:
    """A secret as it may have been written."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for shift in range(3):
        yield base64.b64encode(b"\0" * shift + secret)[4 if shift else 0 : -4]
        yield base64.urlsafe_b64encode(b"\0" * shift + secret)[4 if shift else 0 : -4]
    yield quote_from_bytes(secret, safe="").encode()
    yield b"".join(b"%%%02X" % byte for byte in secret)


def pieces(secret: bytes) -> set[bytes]:
    """Every piece that would show 8 bytes of a secret, in any of the ways it may be written."""
    found = set()
    for written in _written(secret):
        size = PIECE_BYTES * len(written) // len(secret)
        found |= {written[at : at + size] for at in range(len(written) - size + 1)}
    return found


def unpacked(data: bytes) -> Iterator[bytes]:
    """`data` as it is, and what comes out of anything in it that begins as a compressed stream does."""
    yield data
    starts: list[tuple[bytes, Callable[[bytes], bytes]]] = [
        (rb"\x78[\x01\x5e\x9c\xda]", lambda part: zlib.decompressobj().decompress(part, 1 << 20)),
        (rb"\x1f\x8b\x08", lambda part: zlib.decompressobj(31).decompress(part, 1 << 20)),
        (rb"BZh[1-9]", lambda part: bz2.BZ2Decompressor().decompress(part, 1 << 20)),
        (rb"\xfd7zXZ", lambda part: lzma.LZMADecompressor().decompress(part, 1 << 20)),
    ]
    for pattern, unpack in starts:
        for start in re.finditer(pattern, data, re.DOTALL):
            try:
                yield unpack(data[start.start() : start.start() + (1 << 16)])
            except (zlib.error, OSError, lzma.LZMAError):
                continue


def shown(directory: Path, secrets: list[bytes]) -> list[Path]:
    """The files that show a piece of a secret."""
    wanted = set().union(*(pieces(secret) for secret in secrets))
    sizes = {len(piece) for piece in wanted}
    return [
        path
        for path in directory.rglob("*")
        if path.is_file()
        for data in unpacked(path.read_bytes())
        if any(data[at : at + size] in wanted for size in sizes for at in range(len(data) - size + 1))
    ]


async def _workload(directory: Path, clock: ManualClock) -> list[bytes]:
    """Use sessions in every way; returns the keys, values and subjects that were used."""
    metrics = Metrics((*SERVICE_METRICS, *sqlite_metrics.METRICS))
    init_keys(directory / "keys", IDS)
    storage = StorageConfig(ballast_bytes=Bytes(0))
    store = await SqliteSessionStore.open(directory / "sessions.sqlite", metrics=metrics, clock=clock, storage=storage)
    policies = [Policy("n", ttl_s=100, scan_subjects=True)]
    sessions = Sessions(store, ring=load_ring(directory / "keys"), policies=policies, clock=clock, ids=IDS, metrics=metrics)
    await sessions.start()
    secrets = []
    for number in range(SESSIONS):
        key, value, subject = _canary(), _canary() * (1 + number), _canary()
        secrets += [key, value[:44], subject]
        await sessions.save("n", key, value, subject=subject.decode())
        await sessions.save("n", key, value + b"2", may_read=True)
        match number % 5:
            case 0:
                await sessions.delete("n", key)
            case 1:
                rotated = await sessions.rotate("n", key, grace_s=10)
                assert rotated is not None
                secrets.append(rotated[0])
            case 2:
                await sessions.revoke_subject("n", subject.decode())
            case 3:
                if number == 3:
                    add_key(directory / "keys", IDS)
                sessions.use_keys(load_ring(directory / "keys"))
                await sessions.touch("n", key)
    clock.advance(200)
    await sessions.save("n", b"wiki:MWSession:x", b'JSON..{"metadata":{"userId":123456789012}}')
    secrets.append(b"123456789012")
    await sessions._upkeep.reclaim()
    await sessions.stop()
    await store.close()
    return secrets


def test_no_piece_of_a_secret_is_in_the_data_directory(tmp_path: Path) -> None:
    secrets = asyncio.run(_workload(tmp_path, ManualClock()))
    assert len(secrets) > 3 * SESSIONS
    assert shown(tmp_path, secrets) == []


def test_the_search_finds_what_is_there_in_any_writing(tmp_path: Path) -> None:
    secret = _canary()
    for name, data in (
        ("raw", secret[3:20]),
        ("hex", secret.hex().encode()),
        ("base64", base64.b64encode(b"x" + secret)),
        ("url", base64.urlsafe_b64encode(secret)),
        ("percent", b"".join(b"%%%02X" % byte for byte in secret)),
        ("zlib", b"before" + zlib.compress(b"more " + secret)),
        ("bz2", bz2.compress(secret)),
    ):
        path = tmp_path / name
        path.write_bytes(b"\0" * 100 + data + b"\0" * 100)
        assert shown(tmp_path, [secret]) == [path], name
        path.unlink()


def test_a_thief_of_database_and_service_keys_opens_nothing(tmp_path: Path) -> None:
    async def steal() -> None:
        clock = ManualClock()
        await _workload(tmp_path, clock)
        storage = StorageConfig(ballast_bytes=Bytes(0))
        metrics = Metrics((*SERVICE_METRICS, *sqlite_metrics.METRICS))
        store = await SqliteSessionStore.open(tmp_path / "sessions.sqlite", metrics=metrics, clock=clock, storage=storage)
        tried = 0
        for outline in await store.page(None, limit=1_000):
            row = await store.near(outline.id)
            assert isinstance(row, Row)
            for key in load_ring(tmp_path / "keys").keys:
                sealer = Sealer(key, "n")
                for guess in (b"", row.id, row.id[:16], row.head, row.sealed[:32]):
                    assert sealer.open(sealer.record_key(guess), row, id=row.id) is None
                    tried += 1
        assert tried
        await store.close()

    asyncio.run(steal())


def test_what_was_deleted_is_overwritten(tmp_path: Path) -> None:
    """Its key and the service keys would still open what a deleted row leaves behind."""

    async def work() -> None:
        clock, metrics, path = ManualClock(), Metrics((*SERVICE_METRICS, *sqlite_metrics.METRICS)), tmp_path / "sessions.sqlite"
        storage = StorageConfig(ballast_bytes=Bytes(0))
        store = await SqliteSessionStore.open(path, metrics=metrics, clock=clock, storage=storage)
        rows = [Row(RowId(bytes([number]) * 32), bytes(100), bytes(32), _canary() * 40) for number in range(20)]
        for row in rows:
            assert await store.put(row, expected=None)
        await store.delete({row.id: None for row in rows[::2]})
        await store.close()
        data = path.read_bytes()
        assert [row.sealed[:32] in data for row in rows] == [False, True] * 10

    asyncio.run(work())

"""Nothing of an id, a value, a subject or a token in any file, log, metric, answer or backup of the whole process, killed or not.

Random canaries go in wherever a client can put them, at right and at wrong places. Afterwards everything that the process left behind is
searched for each of their pieces of 8 bytes: as they are, in hexadecimal, percent-encoded, in base64 of every alignment, and in what can be
decompressed.
"""

import base64
import contextlib
import hashlib
import json
import pathlib
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
import zstandard
from tests.acceptance.sessions_process import Answer, SessionsProcess
from tests.acceptance.test_sessions_process import reload, succeeded

PIECE_BYTES = 8
SESSIONS = 40
_CONFIG = """
sessions:
  namespaces:
    sessions: {{base: /sessions/v1/, value_bytes_max: 64KiB, scan_subjects: true}}
  clients:
    - {{name: wiki, token_sha256: "{digest}", grants: {{"*": [read, write, mint, delete, revoke, administer]}}}}
  http: {{access_log: true}}
storage: {{ballast_bytes: 0B}}
logging: {{level: debug}}
"""


def _base64_pieces(raw: bytes) -> Iterator[bytes]:
    for alignment in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(raw[alignment:]).rstrip(b"=")
            yield from (text[at : at + 8] for at in range(0, len(text) - 8, 4))


_FORMS: tuple[Callable[[bytes], bytes], ...] = (
    lambda piece: piece,
    lambda piece: piece.hex().encode(),
    lambda piece: piece.hex().upper().encode(),
    lambda piece: "".join(f"%{byte:02X}" for byte in piece).encode(),
    lambda piece: "".join(f"%{byte:02x}" for byte in piece).encode(),
    lambda piece: quote(piece, safe="").encode(),
    lambda piece: repr(piece)[2:-1].encode(),
    lambda piece: json.dumps(piece.decode("latin-1"))[1:-1].encode(),
)


def pieces(canaries: Iterable[bytes]) -> set[bytes]:
    """Every piece of every canary in every form."""
    found: set[bytes] = set()
    for canary in canaries:
        windows = [canary[at : at + PIECE_BYTES] for at in range(len(canary) - PIECE_BYTES + 1)]
        found |= {form(window) for form in _FORMS for window in windows}
        found |= set(_base64_pieces(canary))
    return found


def decompressed(data: bytes) -> Iterator[bytes]:
    """Whatever in `data` can be decompressed."""
    for match in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]|\x28\xb5\x2f\xfd", data):
        start = data[match.start() : match.start() + 2**20]
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(start, 2**20)
        with contextlib.suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(start)


def by_start(wanted: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Pieces by their first bytes, so that one pass finds those of all sizes."""
    found: dict[bytes, list[bytes]] = {}
    for piece in wanted:
        assert len(piece) >= PIECE_BYTES
        found.setdefault(piece[:PIECE_BYTES], []).append(piece)
    return found


def leaks(data: bytes, wanted: dict[bytes, list[bytes]]) -> list[bytes]:
    """The pieces that stand in `data`."""
    begun = (at for at in range(len(data) - PIECE_BYTES + 1) if data[at : at + PIECE_BYTES] in wanted)
    return sorted({piece for at in begun for piece in wanted[data[at : at + PIECE_BYTES]] if data.startswith(piece, at)})


@dataclass
class Canaries:
    """Secrets of every kind, and whatever was answered while they were in use."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    secrets_used: list[bytes] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def new(self) -> bytes:
        """32 random bytes, remembered."""
        canary = secrets.token_bytes(32)
        self.secrets_used.append(canary)
        return canary

    def text(self) -> str:
        """A random text, remembered."""
        canary = secrets.token_urlsafe(32)
        self.secrets_used.append(canary.encode())
        return canary

    def ask(self, service: SessionsProcess, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request with the right token unless another is given; what came is kept, but for values that were asked for."""
        sent = {"authorization": f"Bearer {self.token}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        answer = service.ask(method, path, body, sent)
        if method != "GET" or answer.status != 200:
            self.answers.append(answer)
        return answer

    def visible(self) -> Iterator[bytes]:
        """All of the answers but a key that was made for the caller."""
        for answer in self.answers:
            yield repr(answer.headers).encode()
            if b'"session"' not in answer.body:
                yield answer.body


def mediawiki(value: bytes, user: int) -> bytes:
    """What MediaWiki would save: a user, and a secret in the data."""
    data = {"data": {"secret": value.hex(), "x": value.decode("latin-1")}, "metadata": {"userId": user, "userName": value.hex()}}
    return b"JSON.." + json.dumps(data).encode()


def use_rightly(service: SessionsProcess, canaries: Canaries) -> None:
    """Save, read, overwrite, touch, rotate, delete and revoke."""
    for number in range(SESSIONS):
        key = quote(f"enwiki:MWSession:{canaries.text()}", safe="")
        assert canaries.ask(service, "POST", f"/sessions/v1/{key}", mediawiki(canaries.new(), number)).status == 201
        assert canaries.ask(service, "GET", f"/sessions/v1/{key}").status == 200
        canaries.ask(service, "POST", f"/sessions/v1/{key}", canaries.new())
        subject = canaries.text()
        minted = canaries.ask(service, "POST", "/v2/sessions", canaries.new(), session_subject=subject)
        made = json.loads(minted.body)["session"]
        canaries.secrets_used.append(made.encode())
        own = f"Bearer {canaries.token}"
        named = canaries.ask(service, "GET", "/v2/sessions/session", authorization=f"Session {made}", client_authorization=own)
        assert named.status == 200
        canaries.ask(service, "PUT", f"/v2/sessions/sessions/{made}", canaries.new(), session_subject=subject)
        canaries.ask(service, "POST", f"/v2/sessions/sessions/{made}/touch")
        rotated = canaries.ask(service, "POST", f"/v2/sessions/sessions/{made}/rotate")
        canaries.secrets_used.append(json.loads(rotated.body)["session"].encode())
        if number % 3 == 0:
            assert canaries.ask(service, "DELETE", f"/v2/sessions/subjects/{quote(subject, safe='')}").status == 204
            assert canaries.ask(service, "DELETE", f"/sessions/v1/{key}").status == 204
            canaries.ask(service, "PUT", f"/v2/sessions/sessions/{made}", canaries.new())


def use_wrongly(service: SessionsProcess, canaries: Canaries) -> set[int]:
    """Put secrets where they do not belong; the statuses."""
    text = canaries.text
    for path in (
        "/sessions/v1/{}/{}",
        "/sessions/v1/{}?{}",
        "/sessions/v1/{}//{}",
        "/{}/{}",
        "//sessions/v1/../{}{}",
        "/sessions/v1/%ff{}{}",
        "/sessions/v1/{}%00{}",
        "/v2/{}/{}",
        "/v2/sessions/sessions/{}?{}",
        "/v2/sessions/subjects/{}/{}",
        "/sessions/v1/" + "{}{}" * 8,
    ):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            body = canaries.new() if method in ("POST", "PUT") else None
            target = path.format(*(text() for _ in range(path.count("{}"))))
            canaries.ask(service, method, target, body, x_request_id=text(), referer=f"http://x/{text()}", cookie=f"wiki_session={text()}")
    key = f"/sessions/v1/{text()}"
    canaries.ask(service, "POST", key, canaries.new() * 4096)
    canaries.ask(service, "POST", key, b"")
    canaries.ask(service, "GET", f"/sessions/v1/{text() * 20}")
    canaries.ask(service, "GET", key, authorization=f"Bearer {text()}")
    canaries.ask(service, "GET", key, authorization=f"Basic {text()}")
    canaries.ask(service, "GET", key, host=f"{text()}.example")
    canaries.ask(service, "GET", "/v2/sessions/session", authorization=f"Session {text()}")
    canaries.ask(service, "PUT", f"/v2/sessions/sessions/{text()}", canaries.new(), if_match=f'"{text()}"', session_ttl=text())
    return {answer.status for answer in canaries.answers}


@pytest.mark.timeout(300)
def test_nothing_secret_is_left_behind(tmp_path: pathlib.Path) -> None:
    canaries = Canaries()
    canaries.secrets_used.append(canaries.token.encode())
    config = _CONFIG.format(digest=hashlib.sha256(canaries.token.encode()).hexdigest())
    with SessionsProcess(tmp_path / "service", config=config) as service:
        use_rightly(service, canaries)
        statuses = use_wrongly(service, canaries)
        assert statuses >= {201, 204, 400, 404, 413, 414}, statuses
        assert statuses & {401, 403}, statuses
        metrics = service.ask("GET", "/metrics").body + service.ask("GET", "/readyz").body + service.ask("GET", "/openapi.json").body
        succeeded(service, "sessions", "keys", "add")
        reload(service)
        backup = tmp_path / "backup.sqlite"
        succeeded(service, "sessions", "backup", str(backup))
        service.kill()  # what lies in the write-ahead log stays there
        left = {f"after the kill: {path.name}": path.read_bytes() for path in service.folder.rglob("*") if path.is_file()}
        service.start()
        use_rightly(service, canaries)
        service.terminate()
        places = left | {path.name: path.read_bytes() for path in (*service.folder.rglob("*"), backup) if path.is_file()}
    assert places.keys() >= {"sessions.sqlite", "sessions.log", "backup.sqlite", "audit.jsonl", "1.key"}
    places |= {"metrics": metrics, "answers": b"\n".join(canaries.visible())}
    wanted = pieces(canaries.secrets_used)
    starts = by_start(wanted)
    found = {}
    for name, data in places.items():
        for content in (data, *decompressed(data)):
            if hits := leaks(content, starts):
                found[name] = hits[:3]
    assert found == {}
    print(f"{len(canaries.secrets_used)} secrets, {len(wanted)} pieces, {sum(map(len, places.values()))} bytes searched")


@pytest.mark.parametrize(
    "hide",
    [
        bytes,
        lambda canary: canary.hex().encode(),
        lambda canary: b"xy" + base64.b64encode(b"z" + canary),
        lambda canary: quote(canary).encode(),
        lambda canary: zlib.compress(canary * 3),
        lambda canary: zstandard.compress(canary * 3),
        lambda canary: json.dumps({"key": canary.decode("latin-1")}).encode(),
    ],
)
def test_the_search_finds_what_is_hidden(hide: Callable[[bytes], bytes]) -> None:
    canary = secrets.token_bytes(32)
    data = secrets.token_bytes(5000) + hide(canary) + secrets.token_bytes(5000)
    wanted = by_start(pieces([canary]))
    assert any(leaks(content, wanted) for content in (data, *decompressed(data)))
    assert not leaks(secrets.token_bytes(100_000), wanted)

"""How a session becomes a row that tells nothing, and comes back only for whoever presents its key.

With `K` one of the keys derived from a service key, `‖` joining and `len` a length before each part:

    row id     = HMAC-SHA256(K_id, len ‖ namespace ‖ len ‖ key)
    record key = HMAC-SHA512(K_record, len ‖ namespace ‖ len ‖ key), halved into a sealing key and an authentication key
    sealed     = nonce ‖ AES-256-GCM(sealing key, nonce, len ‖ subject ‖ value; head ‖ row id)
    deadline   = ttl ‖ idle ‖ first half of HMAC-SHA256(authentication key, ttl ‖ idle ‖ row id ‖ head)
    head       = format ‖ kind ‖ key id ‖ version ‖ created ‖ absolute end ‖ tokens and subject's hash ‖ len ‖ namespace
    generation = first half of HMAC-SHA256(K_generations, key id ‖ version ‖ until ‖ token ‖ scope)

The session's key is an input of the record key and stands nowhere, so the database with all service keys opens nothing unless the key can
be guessed. Each record has a sealing key of its own, so random nonces of 96 bits cannot meet: one key seals the writes of one session only.
Sources: RFC 2104 (HMAC), RFC 5869 (HKDF), NIST SP 800-38D (GCM).
"""

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from headwater.sessions.model import TOKEN_BYTES, Deadlines, Generation, Head, KeyId, Kind, Row, RowId, RowOutline, Version

FORMAT = 1
MASTER_BYTES = 32
NONCE_BYTES = 12
SUBJECT_BYTES_MAX = 512
_HEAD = struct.Struct(f">BBHQQQ{TOKEN_BYTES}s{TOKEN_BYTES}s{TOKEN_BYTES}sB")
_TIMES = struct.Struct(">QQ")
_GENERATION = struct.Struct(f">HQQ{TOKEN_BYTES}s")
_LENGTH = struct.Struct(">H")
_MAC_BYTES = 16
_DEADLINE_BYTES = _TIMES.size + _MAC_BYTES
_HEAD_BYTES = _HEAD.size
_TAG_BYTES = 16
_BLOCK_BYTES = 64  # of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


@dataclass(frozen=True, slots=True, repr=False)
class ServiceKey:
    """The keys derived from one service key."""

    id: KeyId
    of_rows: bytes
    of_records: bytes
    of_subjects: bytes
    of_generations: bytes


def derive(key_id: KeyId, master: bytes) -> ServiceKey:
    """The keys that come from the 32 random bytes of a service key."""
    assert len(master) == MASTER_BYTES
    return ServiceKey(key_id, *(_expand(master, label) for label in (b"rows", b"records", b"subjects", b"generations")))


def _expand(master: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"headwater sessions 1 " + label).derive(master)


class RecordKey(msgspec.Struct, frozen=True, gc=False):
    """What seals and authenticates the row of one session under one service key."""

    sealing: bytes
    authentication: bytes

    def __repr__(self) -> str:
        return "RecordKey(…)"


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A row that is authentic.

    Attributes:
        head, deadlines: its parts as values.
        subject: of the session, None if it has none.
        value: what was saved; None where only the header is left, empty where a look-up did not open what cannot be served.
    """

    head: Head
    deadlines: Deadlines
    subject: str | None
    value: bytes | None

    def __repr__(self) -> str:
        return "Opened(…)"


class Header(msgspec.Struct, frozen=True, gc=False):
    """A row without its content, as values; believed only if it `is_authentic`."""

    head: Head
    deadlines: Deadlines
    is_authentic: bool


class Content(msgspec.Struct, frozen=True, gc=False):
    """What is sealed in a row."""

    subject: str | None
    value: bytes

    def __repr__(self) -> str:
        return "Content(…)"


class KeyedHash:
    """HMAC (RFC 2104) of messages that all begin alike: begun once, then a copy goes on with the rest.

    Copies of `hmac.HMAC` take twice as long. `hmac.digest` begins anew and lets go of the interpreter in every call, so that the event loop
    would queue up behind the writer thread.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes, prefix: bytes, algorithm: Callable[[bytes], "hashlib._Hash"]) -> None:
        block_bytes = algorithm(b"").block_size
        assert len(key) <= block_bytes
        block = key.ljust(block_bytes, b"\0")
        self._inner = algorithm(block.translate(_INNER) + prefix)
        self._outer = algorithm(block.translate(_OUTER))

    def digest(self, rest: bytes) -> bytes:
        """The code of the prefix and `rest`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()


@dataclass(frozen=True)
class Sealer:
    """One service key at work for one namespace."""

    key: ServiceKey
    namespace: str

    @cached_property
    def _prefix(self) -> bytes:
        return _with_length(self.namespace.encode())

    @cached_property
    def _rows(self) -> "KeyedHash":
        return KeyedHash(self.key.of_rows, self._prefix, hashlib.sha256)

    @cached_property
    def _records(self) -> "KeyedHash":
        return KeyedHash(self.key.of_records, self._prefix, hashlib.sha512)

    def row_id(self, session_key: bytes) -> RowId:
        """Where the session is stored."""
        return RowId(self._rows.digest(_with_length(session_key)))

    def record_key(self, session_key: bytes) -> RecordKey:
        """What seals the session."""
        return self.locate(session_key)[1]

    def locate(self, session_key: bytes) -> tuple[RowId, RecordKey]:
        """Where the session is stored and what seals it."""
        message = _with_length(session_key)
        both = self._records.digest(message)
        return RowId(self._rows.digest(message)), RecordKey(both[:32], both[32:])

    def scope(self, subject: str | None = None) -> bytes:
        """The keyed hash of a subject of the namespace, or of the namespace itself."""
        text = b"" if subject is None else _with_length(subject.encode())
        return hmac.digest(self.key.of_subjects, self._prefix + text, "sha256")[:TOKEN_BYTES]

    def seal(self, record: RecordKey, opened: Opened, *, id: RowId, nonce: bytes) -> Row:
        """The row of a session; without a value its header alone."""
        head = encode_head(opened.head)
        sealed = b""
        if opened.value is not None:
            subject = (opened.subject or "").encode()
            assert len(subject) <= SUBJECT_BYTES_MAX and len(nonce) == NONCE_BYTES
            content = _LENGTH.pack(len(subject)) + subject + opened.value
            sealed = nonce + AESGCM(record.sealing).encrypt(nonce, content, head + id)
        return Row(id, head, encode_deadline(record, opened.deadlines, id=id, head=head), sealed)

    def read_header(self, record: RecordKey, row: Row, *, id: RowId) -> Header | None:
        """What a row says beside its content, and whether that is authentic under `record`; None if it says nothing that can be read.

        Takes the same steps, whichever of the two it is.
        """
        head, deadline = row.head, row.deadline
        fields = decode_head(head)
        if fields is None or len(deadline) != _DEADLINE_BYTES:
            return None
        times = deadline[: _TIMES.size]
        is_signed = hmac.compare_digest(_authenticate(record, times, id, head), deadline[_TIMES.size :])
        is_of_here = (fields.namespace == self.namespace) & (fields.key_id == self.key.id)
        return Header(fields, Deadlines(*_TIMES.unpack(times)), is_signed & is_of_here)

    def read_content(self, record: RecordKey, row: Row, *, id: RowId) -> Content | None:
        """The subject and value of a row, or None if a single bit of it is not as it was written, or was written elsewhere."""
        sealed = row.sealed
        if len(sealed) < NONCE_BYTES + _TAG_BYTES + _LENGTH.size:
            return None
        try:
            content = AESGCM(record.sealing).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row.head + id)
        except InvalidTag:
            return None
        (length,) = _LENGTH.unpack_from(content)
        start = _LENGTH.size + length
        return Content(content[_LENGTH.size : start].decode() or None, content[start:])

    def open(self, record: RecordKey, row: Row, *, id: RowId) -> Opened | None:
        """What a row holds, or None if a single bit of it is not as it was written, or was written elsewhere."""
        header = self.read_header(record, row, id=id)
        if header is None or not header.is_authentic:
            return None
        if not row.sealed:
            return Opened(header.head, header.deadlines, None, None)
        content = self.read_content(record, row, id=id)
        return None if content is None else Opened(header.head, header.deadlines, content.subject, content.value)


def encode_head(head: Head) -> bytes:
    """The bytes of a head."""
    name = head.namespace.encode()
    tokens = (head.namespace_token, head.subject, head.subject_token)
    fixed = (FORMAT, head.kind, head.key_id, head.version, head.created_ms, head.absolute_ms)
    return _HEAD.pack(*fixed, *tokens, len(name)) + name


def decode_head(data: bytes) -> Head | None:
    """The head that `data` says, or None; true only if the row opens."""
    if len(data) < _HEAD_BYTES:
        return None
    form, kind, key_id, version, created_ms, absolute_ms, namespace_token, subject, subject_token, length = _HEAD.unpack_from(data)
    name = data[_HEAD_BYTES:]
    if form != FORMAT or kind >= len(_KINDS) or len(name) != length or not name.isascii():
        return None
    return Head(_KINDS[kind], key_id, version, created_ms, absolute_ms, name.decode(), namespace_token, subject, subject_token)


_KINDS = tuple(Kind)
_VERSION = struct.Struct(">Q")
VERSION_AT = 4
"""Where a head has its version, in 8 bytes; a store may compare them without decoding the rest."""


def encode_version(version: Version) -> bytes:
    """A version as it stands in a head."""
    return _VERSION.pack(version)


def version_of(row: Row | RowOutline) -> Version:
    """The version that a stored row says, for comparing and setting; 0 if its head is cut off."""
    head = row.head
    return Version(_VERSION.unpack_from(head, VERSION_AT)[0]) if len(head) >= VERSION_AT + _VERSION.size else Version(0)


def decode_deadline(data: bytes) -> Deadlines | None:
    """The deadlines that `data` says, or None; true only if the row opens."""
    return Deadlines(*_TIMES.unpack_from(data)) if len(data) == _DEADLINE_BYTES else None


def encode_deadline(record: RecordKey, deadlines: Deadlines, *, id: RowId, head: bytes) -> bytes:
    """The authenticated bytes of deadlines of the row with that id and head."""
    times = _TIMES.pack(deadlines.ttl_ms, deadlines.idle_ms)
    return times + _authenticate(record, times, id, head)


def _authenticate(record: RecordKey, times: bytes, id: RowId, head: bytes) -> bytes:
    return _code(record.authentication, times + id + head)[:_MAC_BYTES]


def _code(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) under a key that is used for little else; every object of `hmac` takes longer than the hashes themselves."""
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(block.translate(_INNER) + message).digest()
    return hashlib.sha256(block.translate(_OUTER) + inner).digest()


def sign_generation(key: ServiceKey, record: Generation) -> bytes:
    """What authenticates the record of a generation under its service key."""
    fields = _GENERATION.pack(record.key_id, record.version, record.until_ms, record.token)
    return hmac.digest(key.of_generations, fields + record.scope, "sha256")[:_MAC_BYTES]


def is_genuine(key: ServiceKey, record: Generation) -> bool:
    """Whether the record of a generation is as it was signed under its service key."""
    whole = len(record.token) == TOKEN_BYTES and 0 <= record.version < _NUMBERS_END and 0 <= record.until_ms < _NUMBERS_END
    return whole and record.key_id == key.id and hmac.compare_digest(sign_generation(key, record), record.mac)


_NUMBERS_END = 1 << 63
"""Of what a store can hold."""


def _with_length(part: bytes) -> bytes:
    return _LENGTH.pack(len(part)) + part

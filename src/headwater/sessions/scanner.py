"""Whose session a value is, where MediaWiki wrote it: `metadata.userId` found without running or building anything.

Values have the form `TYPE.HMAC.PAYLOAD` with TYPE `JSON` or `PHP`. PHP's serialisation is walked over byte by byte: objects are skipped,
never made. Whatever does not fit, is too deep or too long is simply not known. Source: PHP's `var_unserializer.re`, MediaWiki's
`RESTBagOStuff` and `SessionBackend`.
"""

import re

import msgspec

DEPTH_MAX = 64
ITEMS_MAX = 4_000
"""Keys and values looked at: some 5 ms on the event loop, as long as the largest JSON takes. A session of MediaWiki has fewer than 100.
With 50,000 a single client that saved such values made everybody's reads wait for most of a second.
"""
USER_ID_MAX = 1 << 62
KEYSPACE_BYTES_MAX = 235
"""With a colon and the longest id it fits into 256 bytes, which a subject in a request may have by default."""
_PREFIX = re.compile(rb"(JSON|PHP)\.[^.]{0,512}\.")
_SCALAR = re.compile(rb"N;|b:[01];|i:(-?\d{1,20});|d:[^;]{1,64};|[rR]:\d{1,10};")
_OPEN = re.compile(rb"a:(\d{1,7}):\{")
_STRING = re.compile(rb's:(\d{1,9}):"')
_OBJECT = re.compile(rb'([OC]):(\d{1,4}):"')
_COUNT = re.compile(rb'":(\d{1,9}):\{')
_ENUM = re.compile(rb'E:(\d{1,4}):"')


class _Metadata(msgspec.Struct):
    userId: int | str | None = None  # noqa: N815 - MediaWiki's name


class _Blob(msgspec.Struct):
    metadata: _Metadata | None = None


_json = msgspec.json.Decoder(_Blob)


def user_id(value: bytes) -> int | None:
    """The id of the user whose session `value` is, 0 for an anonymous one; None if the value does not say."""
    prefix = _PREFIX.match(value)
    if prefix is None:
        return None
    payload = memoryview(value)[prefix.end() :]
    found = _from_json(payload) if prefix[1] == b"JSON" else _from_php(bytes(payload))
    return found if found is not None and 0 <= found <= USER_ID_MAX else None


def subject_of(key: bytes, value: bytes) -> str | None:
    """The subject of a session of MediaWiki: the keyspace that its key begins with, and the user's id; None for anonymous ones.

    None too for a keyspace that no wiki has, longer than a subject may be: the save must not fail for it.
    """
    user = user_id(value)
    keyspace, colon, _ = key.partition(b":")
    if not user or not colon:
        return None
    if len(keyspace) > KEYSPACE_BYTES_MAX:
        return None
    try:
        return f"{keyspace.decode()}:{user}"
    except UnicodeDecodeError:
        return None


def _from_json(payload: memoryview) -> int | None:
    try:
        blob = _json.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    found = blob.metadata.userId if blob.metadata is not None else None
    if isinstance(found, str):
        return int(found) if found.isascii() and found.isdigit() and len(found) < 20 else None
    return found


class _Malformed(Exception):
    """The payload is not what PHP writes, or larger than what is looked at."""


def _from_php(payload: bytes) -> int | None:
    try:
        return _Walk(payload).user_id()
    except _Malformed:
        return None


class _Walk:
    """One pass over a serialised value, without recursion."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._items = 0

    def user_id(self) -> int | None:
        """`metadata.userId` of the array at the top; the last one wins, as in PHP."""
        found = None
        for _ in range(self._open_array()):
            if self._key() == b"metadata":
                found = self._metadata()
            else:
                self._skip()
        self._expect(b"}")
        if self._at != len(self._data):
            raise _Malformed
        return found

    def _metadata(self) -> int | None:
        if _OPEN.match(self._data, self._at) is None:
            self._skip()
            return None
        found = None
        for _ in range(self._open_array()):
            if self._key() == b"userId":
                start = self._at
                self._skip()
                found = self._integer(start)
            else:
                self._skip()
        self._expect(b"}")
        return found

    def _integer(self, start: int) -> int | None:
        scalar = _SCALAR.match(self._data, start)
        if scalar is not None and scalar[1] is not None:
            return int(scalar[1])
        string = _STRING.match(self._data, start)
        if string is None:
            return None
        digits = self._data[string.end() : string.end() + int(string[1])]
        return int(digits) if digits.isdigit() and len(digits) < 20 else None

    def _open_array(self) -> int:
        return int(self._match(_OPEN)[1])

    def _key(self) -> bytes | None:
        """The key of the next item: a string's bytes, None for a number."""
        self._count_item()
        if _STRING.match(self._data, self._at) is not None:
            return self._string()
        if self._match(_SCALAR)[1] is None:
            raise _Malformed
        return None

    def _string(self) -> bytes:
        opened = self._match(_STRING)
        end = self._at + int(opened[1])
        content = self._data[self._at : end]
        self._at = end
        self._expect(b'";')
        return content

    def _skip(self) -> None:
        """Pass over one value: `left` holds, for each structure that is open, how many values are still to come."""
        left = [1]
        while left:
            if left[-1] == 0:
                left.pop()
                if left:
                    self._expect(b"}")
                continue
            left[-1] -= 1
            self._count_item()
            inside = self._enter()
            if inside is not None:
                if len(left) >= DEPTH_MAX:
                    raise _Malformed
                left.append(inside)

    def _enter(self) -> int | None:
        """Pass over a scalar, or the beginning of a structure; then how many values are in it."""
        kind = self._data[self._at : self._at + 1]
        if kind == b"s":
            self._string()
            return None
        if kind == b"a":
            return 2 * self._open_array()
        if kind in (b"O", b"C"):
            opened = self._match(_OBJECT)
            self._at += int(opened[2])
            count = int(self._match(_COUNT)[1])
            if kind == b"O":
                return 2 * count
            self._at += count
            self._expect(b"}")
            return None
        if kind == b"E":
            length = int(self._match(_ENUM)[1])
            self._at += length
            self._expect(b'";')
            return None
        self._match(_SCALAR)
        return None

    def _match(self, pattern: "re.Pattern[bytes]") -> "re.Match[bytes]":
        found = pattern.match(self._data, self._at)
        if found is None:
            raise _Malformed
        self._at = found.end()
        return found

    def _expect(self, text: bytes) -> None:
        if not self._data.startswith(text, self._at):
            raise _Malformed
        self._at += len(text)

    def _count_item(self) -> None:
        self._items += 1
        if self._items > ITEMS_MAX:
            raise _Malformed

"""What a path of the drop-in interface names: a key of a namespace, another place that is meant, or nothing. Pure.

A key is one segment behind a namespace's base, percent-decoded once. No path is a second name for a key: one that is not clean (`//`,
`/../`) names nothing, unless it means a base. Where all has to be as with Kask it is sent to the clean one, as Go's ServeMux does.
Escapes are decoded behind the base alone and a dot that is escaped is a dot, so that a proxy in front, whichever of the two it decodes,
and this service agree on which paths are below a base.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from headwater.kernel.errors import InvalidInput

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DOT = re.compile("%2e", re.IGNORECASE)
_ESCAPES = {form.format(code): chr(code) for code in range(0x20, 0x7F) for form in ("{:02x}", "{:02X}")}
"""What stands behind a `%` for a printable character of ASCII, as everybody writes it."""
_KEPT_ESCAPES = "/$&+,:;=@~"
"""What Go leaves as it is when it writes a path."""


class KeyTooLong(InvalidInput):
    """The key exceeds its limit in bytes."""

    code = "target-too-long"


class KeyPath(Struct, frozen=True, gc=False):
    """A key of a namespace."""

    base: str
    namespace: str
    key: bytes


@dataclass(frozen=True, slots=True)
class NoKey:
    """A path below a base that names no key."""

    base: str


@dataclass(frozen=True, slots=True)
class Moved:
    """Another path is meant; `shows_key` unless it is nothing but a base, and only where paths are `strict`."""

    location: str
    shows_key: bool


@dataclass(frozen=True, slots=True)
class Outside:
    """A path below no base."""


Place = KeyPath | NoKey | Moved | Outside
OUTSIDE = Outside()


class Paths:
    """The bases of all namespaces that have a drop-in interface; `strict`: keys hold no slash, however it is written."""

    def __init__(self, bases: Mapping[str, str], *, strict: bool) -> None:
        self._bases = dict(bases)
        self._strict = strict

    def resolve(self, raw_path: str) -> Place:
        """What a path, as it was sent, names.

        Raises:
            InvalidInput: a broken escape, or a key that is not UTF-8 or holds control characters.
        """
        path = _decoded(raw_path) if self._strict else raw_path
        for base, namespace in self._bases.items():
            if path.startswith(base):
                key = path[len(base) :]
                if key and "/" not in key and not (key[0] in ".%" and _DOT.sub(".", key) in (".", "..")):
                    return KeyPath(base, namespace, key.encode() if self._strict else decode_key(key))
        return self._no_key(path)

    def _no_key(self, path: str) -> Place:
        clean = clean_path(path)
        for base in (f"{clean}/", clean):
            if base in self._bases and base != path:
                return Moved(base, shows_key=False)
        if clean != path and self._strict:
            return Moved(quote(clean, safe=_KEPT_ESCAPES), shows_key=True)
        below = next((base for base in self._bases if path.startswith(base) or clean.startswith(base)), None)
        return OUTSIDE if below is None else NoKey(below)


def clean_path(path: str) -> str:
    """`path` without empty segments, `.` and `..`; a final slash stays. Segments are as sent, but an escaped dot is a dot."""
    segments: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        plain = _DOT.sub(".", part)
        if plain == "..":
            del segments[-1:]
        elif plain not in ("", "."):
            segments.append(part)
    return "/" + "/".join(segments) + ("/" if segments and not parts[-1] else "")


def decode_key(segment: str) -> bytes:
    """The key that a segment of a path means, percent-decoded once; `+` stays.

    Raises:
        InvalidInput: a broken escape, or a key that is not UTF-8 or holds control characters.
    """
    plain = segment.replace("%3A", ":")  # all that MediaWiki escapes in its keys
    if "%" not in plain:
        return plain.encode()
    first, *rest = segment.split("%")
    try:  # the usual escapes, of printable ASCII, without the general decoder
        return "".join([first, *[_ESCAPES[part[:2]] + part[2:] for part in rest]]).encode()
    except KeyError:
        return _decoded(segment).encode()


def check_key_length(key: bytes, key_bytes_max: int) -> None:
    """Refuse a key above the limit of its namespace. Raises KeyTooLong."""
    if len(key) > key_bytes_max:
        raise KeyTooLong(f"the key exceeds {key_bytes_max} bytes", where="key")


def holds_control(text: str) -> bool:
    """Whether there are control characters in a key or subject; what is printable holds none, and is told faster."""
    return not text.isprintable() and _CONTROL.search(text) is not None


def _decoded(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise InvalidInput("a % in the path is not followed by two hexadecimal digits", where="path")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        # The error of the decoder holds the bytes, which are a key: it must not be its cause.
        raise InvalidInput("the path is not UTF-8 once decoded", where="path") from None
    if holds_control(decoded):
        raise InvalidInput("the path holds control characters", where="path")
    return decoded

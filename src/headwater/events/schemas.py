"""The registry of schemas: files `<title>/<x.y.z>.json`, loaded and compiled once, immutable for the life of the process.

No URI ever reaches the file system: all files are read at the start, and a URI is a key of a mapping. `latest` is not a version.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import orjson

from headwater.events.model import Violation
from headwater.kernel.errors import InvalidConfig, InvalidInput

VIOLATIONS_MAX = 20
_URI = re.compile(r"/?((?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)+)(\d+\.\d+\.\d+)")
_URI_CHARS_MAX = 512
_MESSAGE_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of one schema.

    Attributes:
        uri: `/title/x.y.z`.
        title: what the permission of a stream names.
        source: the file's bytes.
    """

    uri: str
    title: str
    source: bytes
    _validator: jsonschema_rs.Validator

    def violations(self, event: object) -> tuple[Violation, ...]:
        """What of `event` breaks this schema, the first few; empty when it is valid."""
        if self._validator.is_valid(event):
            return ()
        return tuple(_violation(error) for error, _ in zip(self._validator.iter_errors(event), range(VIOLATIONS_MAX), strict=False))


def _violation(error: jsonschema_rs.ValidationError) -> Violation:
    path = list(error.instance_path)
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        path.append(error.kind.property)
        message = "is required"
    else:
        message = error.message[:_MESSAGE_CHARS_MAX]
    return Violation(_pointer(path), error.kind.name, _pointer(error.schema_path), message)


def _pointer(path: Sequence[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


class SchemaRegistry:
    """Finds schemas by URI."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._schemas = {schema.uri: schema for schema in schemas}

    @classmethod
    def load(cls, directories: Sequence[Path] = ()) -> "SchemaRegistry":
        """Headwater's own schemas and those of `directories`.

        Raises:
            InvalidConfig: a directory that does not exist, a file that is no schema or stands in the wrong place, a URI given twice.
        """
        schemas: dict[str, Schema] = {}
        for directory in (Path(str(files("headwater.events"))) / "schemas", *directories):
            for schema in _load_directory(directory):
                if schema.uri in schemas:
                    raise InvalidConfig(f"schema {schema.uri} is declared twice", where=str(directory))
                schemas[schema.uri] = schema
        return cls(list(schemas.values()))

    def uris(self) -> Sequence[str]:
        """All URIs, ordered."""
        return sorted(self._schemas)

    def titles(self) -> frozenset[str]:
        """All titles."""
        return frozenset(schema.title for schema in self._schemas.values())

    def find(self, uri: str) -> Schema:
        """The schema of `uri`; the leading slash is optional.

        Raises:
            InvalidInput: no such schema; says why not.
        """
        schema = self._schemas.get(uri) or self._schemas.get("/" + uri)
        if schema is None:
            raise InvalidInput(self._why_not(uri), where="/$schema")
        return schema

    def _why_not(self, uri: str) -> str:
        shown = uri[:_URI_CHARS_MAX]
        if "://" in uri or uri.startswith("//"):
            return "an absolute schema URI is not allowed; use /title/x.y.z"
        if uri.rstrip("/").endswith("latest"):
            return "name a version in place of `latest`: /title/x.y.z"
        match = _URI.fullmatch(uri) if len(uri) <= _URI_CHARS_MAX else None
        if match is None:
            return f"{shown!r} is not a schema URI of the form /title/x.y.z"
        title = match[1].rstrip("/")
        versions = [known.uri for known in self._schemas.values() if known.title == title]
        return f"schema {shown} is not known" + (f"; known are {', '.join(sorted(versions))}" if versions else "")


def _load_directory(directory: Path) -> Iterator[Schema]:
    if not directory.is_dir():
        raise InvalidConfig("no such directory of schemas", where=str(directory))
    for path in sorted(directory.rglob("*.json")):
        yield _load(path, "/" + path.relative_to(directory).as_posix().removesuffix(".json"))


def _load(path: Path, uri: str) -> Schema:
    match = _URI.fullmatch(uri)
    if match is None:
        raise InvalidConfig("a schema file is named <title>/<x.y.z>.json", where=str(path))
    source = path.read_bytes()
    try:
        document = orjson.loads(source)
        validator = jsonschema_rs.validator_for(document, validate_formats=True, offline=True, mask="the value")
    except (orjson.JSONDecodeError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise InvalidConfig(f"not a JSON Schema: {error}", where=str(path)) from error
    title = match[1].strip("/")
    if not isinstance(document, dict) or document.get("title") != title or document.get("$id") != uri:
        raise InvalidConfig(f"`title` must be {title} and `$id` {uri}, as the file's place says", where=str(path))
    return Schema(uri, title, source, validator)

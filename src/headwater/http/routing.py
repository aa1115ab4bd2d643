"""Which route answers a request, decided on the raw path.

Matching works on the percent-encoded path, so that `%2F` inside a title is not a separator; placeholders are decoded once. Fixed
paths win over templates, templates are tried in the order of their declaration.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from headwater.http.messages import Route
from headwater.kernel.errors import InvalidInput

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)(\*?)\}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
QUERY_PARAMETERS_MAX = 100


@dataclass(slots=True, eq=False)
class PathMatch:
    """All operations of one path template, by method."""

    template: str
    pattern: re.Pattern[str] | None
    routes: dict[str, Route] = field(default_factory=dict)

    @property
    def allow(self) -> str:
        """The `Allow` header of this path."""
        methods = set(self.routes) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.routes else set())
        return ", ".join(sorted(methods))

    def route(self, method: str) -> Route | None:
        """The operation that answers `method`; `HEAD` is answered by `GET`."""
        return self.routes.get(method) or (self.routes.get("GET") if method == "HEAD" else None)


class Router:
    """Finds the path template that a raw path belongs to."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._fixed: dict[str, PathMatch] = {}
        self._templates: dict[str, PathMatch] = {}
        for route in routes:
            paths = self._templates if "{" in route.path else self._fixed
            match = paths.setdefault(route.path, PathMatch(route.path, compile_template(route.path) if "{" in route.path else None))
            assert route.method not in match.routes, f"{route.method} {route.path} is declared twice"
            match.routes[route.method] = route
        self._by_shape = _by_shape(self._templates.values())
        self._of_no_shape = [match for match in self._templates.values() if "*}" in match.template or _end_of(match.template) is None]

    def find(self, raw_path: str) -> tuple[PathMatch, dict[str, str]] | None:
        """The path template of `raw_path` and its decoded placeholders, or None.

        Raises:
            InvalidInput: a placeholder's value is not percent-encoded UTF-8, or holds a NUL.
        """
        found = self._fixed.get(raw_path)
        if found is not None:
            return found, {}
        shape = raw_path.count("/"), raw_path[raw_path.rfind("/") :]
        for candidate in self._by_shape.get(shape, self._of_no_shape):
            assert candidate.pattern is not None
            match = candidate.pattern.fullmatch(raw_path)
            if match is not None:
                params = match.groupdict()
                if "%" in raw_path:
                    params = {name: percent_decode(value, where=name) for name, value in params.items()}
                return candidate, params
        return None


def _end_of(template: str) -> str | None:
    """The last segment with the slash before it where that is fixed; None: it has a placeholder."""
    end = template[template.rfind("/") :]
    return None if "}" in end else end


def _by_shape(templates: Collection[PathMatch]) -> dict[tuple[int, str], list[PathMatch]]:
    """By number of slashes and fixed end, the templates that such a path may belong to, in their order; so only few are tried."""
    ended = [(match.template.count("/"), _end_of(match.template)) for match in templates]
    longest = max((slashes for slashes, _ in ended), default=0)
    return {
        (slashes, end): [match for match in templates if _may_be(match.template, slashes, end)]
        for _, end in ended
        for slashes in range(longest + 1)
        if end is not None
    }


def _may_be(template: str, slashes: int, end: str) -> bool:
    if _end_of(template) not in (None, end):
        return False
    return "*}" in template or template.count("/") == slashes


def compile_template(template: str) -> re.Pattern[str]:
    """The pattern of raw paths that `template` stands for: `{x}` is one segment, `{x*}` one or more."""
    parts: list[str] = []
    end = 0
    for match in _PLACEHOLDER.finditer(template):
        parts += [re.escape(template[end : match.start()]), f"(?P<{match[1]}>{'.+' if match[2] else '[^/]+'})"]
        end = match.end()
    rest = template[end:]
    assert "{" not in rest and "}" not in rest, f"malformed placeholder in {template}"
    return re.compile("".join([*parts, re.escape(rest)]))


def percent_decode(text: str, *, where: str) -> str:
    """`text` decoded once.

    Raises:
        InvalidInput: a `%` without two hexadecimal digits, bytes that are not UTF-8, or a NUL.
    """
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise InvalidInput("a % in the request target is not followed by two hexadecimal digits", where=where)
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("the request target is not UTF-8 once decoded", where=where) from error
    if "\0" in decoded:
        raise InvalidInput("the request target holds a NUL", where=where)
    return decoded


def parse_query(raw: str) -> list[tuple[str, str]]:
    """Decoded query parameters in order; `+` is a blank, a parameter without `=` has the empty value.

    Raises:
        InvalidInput: badly encoded, or more than 100 parameters.
    """
    pairs = [part.partition("=") for part in raw.split("&") if part]
    if len(pairs) > QUERY_PARAMETERS_MAX:
        raise InvalidInput(f"more than {QUERY_PARAMETERS_MAX} query parameters", where="query")
    return [(_decode_plus(name), _decode_plus(value)) for name, _, value in pairs]


def _decode_plus(text: str) -> str:
    return percent_decode(text.replace("+", " "), where="query")

"""Reading the configuration: a YAML file under the environment, checked against a schema of sections.

Whatever is wrong is an `InvalidConfig` whose `where` is `file:line path` or the variable. What is read is complete: unknown names are
errors, in the file and in the environment, with the nearest known name.

    config = load(HeadwaterConfig, path=Path("headwater.yaml"), environ=os.environ)
"""

import difflib
from collections.abc import Callable, Iterable
from collections.abc import Mapping as EnvironMapping
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, get_args, get_origin

import msgspec
import orjson

from headwater.kernel.config import Bytes, Seconds, Secret, Section
from headwater.kernel.configschema import Kind, Option, Shape, fields_of, json_schema, options_of, shape_of
from headwater.kernel.configtree import FILE_BYTES_MAX, Leaf, Mapping, Sequence, Tree, parse_yaml
from headwater.kernel.errors import HeadwaterError, InvalidConfig, InvalidInput

__all__ = ["Option", "Reloadable", "json_schema", "load", "options_of"]

T = TypeVar("T", bound=Section)

PREFIX = "HEADWATER_"
OTHER_VARIABLES = frozenset(
    {
        "HEADWATER_CONFIG",  # path of the configuration file
        "HEADWATER_FAILPOINT",  # kernel.failpoints
        "HEADWATER_FAILPOINT_FILE",
        "HEADWATER_TOKEN",  # bearer token of the command line
        "HEADWATER_REQUIRE",  # components that tests must not leave out
        "HEADWATER_PROOF",  # the long grids of the tests
        "HEADWATER_TEST_RUN",  # by which tests find what they started
        "HEADWATER_LOOP_WATCH",  # kernel.loopwatch
    }
)
"""Variables with the prefix that are no options."""


def load(schema: type[T], *, path: Path | None, environ: EnvironMapping[str, str], others: frozenset[str] = frozenset()) -> T:
    """The configuration that the file at `path` (None: no file) and `environ` make together.

    `HEADWATER_SECTION__OPTION` replaces an option of the file; `__` goes one level down, also into named entries. Lists are JSON or
    separated by commas, whole sections are JSON. A secret may stand in a file named by `<option>_file`, or `…_FILE`; a relative name
    is relative to the directory of the configuration file. What stands at the top under a name of `others` belongs to another process
    and is passed over unread.

    Raises:
        InvalidConfig: the file cannot be read, or anything in it is wrong.
    """
    tree = Mapping({}, "configuration") if path is None else parse_yaml(_read(path, "the configuration file"), name=str(path))
    for name in others & tree.entries.keys():
        del tree.entries[name]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES and _top_level(name) not in others:
            _override(schema, tree, name, environ[name])
    built = _Builder(Path() if path is None else path.parent).section(schema, tree, "")
    assert isinstance(built, schema)
    return built


class Reloadable(Generic[T]):
    """A configuration that can be read anew while the process runs; `current` is always a valid one."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._listeners: list[Callable[[T], None]] = []
        self.current = read()

    def on_change(self, listener: Callable[[T], None]) -> None:
        """Call `listener` with each new configuration."""
        self._listeners.append(listener)

    def reload(self) -> T:
        """Read again; what is wrong leaves the current configuration as it is.

        Raises:
            InvalidConfig: the new one is wrong.
        """
        fresh = self._read()
        if fresh != self.current:
            self.current = fresh
            for listener in self._listeners:
                listener(fresh)
        return self.current


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        return content.decode()
    except OSError as error:
        raise InvalidConfig(f"cannot read {what}: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{what} is not UTF-8", where=str(path)) from error


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else ""


# -- the environment


def _top_level(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower().partition("__")[0]


def _override(schema: type[Section], tree: Mapping, variable: str, text: str) -> None:
    """Put the value of an environment variable where its name says."""
    steps = variable.removeprefix(PREFIX).lower().split("__")
    shape = Shape(Kind.SECTION, schema, schema, False)
    for depth, step in enumerate(steps):
        last = depth == len(steps) - 1
        key, shape = _step(shape, tree, step, variable)
        if last:
            tree.entries[key] = _env_tree(shape, text, variable)
            tree.key_origins[key] = variable
            _forget_other_secret(tree, key)
            return
        below = tree.entries.get(key)
        if not isinstance(below, Mapping):
            below = tree.entries[key] = Mapping({}, variable)
            tree.key_origins.setdefault(key, variable)
        tree = below


def _step(shape: Shape, tree: Mapping, step: str, variable: str) -> tuple[str, Shape]:
    if shape.kind is Kind.SECTION:
        fields = fields_of(shape.inner)
        if step in fields:
            return step, shape_of(fields[step].type)
        if step.endswith("_file") and step.removesuffix("_file") in _secrets(shape.inner):
            return step, Shape(Kind.LEAF, str, str, False)
        raise InvalidConfig(f"no option is named so{_nearest(step, fields)}", where=variable)
    if shape.kind is Kind.ENTRIES:
        existing = {name.lower().replace("-", "_"): name for name in tree.entries}
        return existing.get(step, step), shape_of(shape.inner)
    if shape.kind is Kind.ITEMS:
        raise InvalidConfig("a list of sections is given whole, as JSON", where=variable)
    raise InvalidConfig("this option has nothing below it", where=variable)


def _forget_other_secret(tree: Mapping, key: str) -> None:
    # The environment's secret replaces the file's in either form, so that both never stand side by side.
    other = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
    if other in tree.entries and not tree.key_origins.get(other, "").startswith(PREFIX):
        del tree.entries[other]


def _env_tree(shape: Shape, text: str, variable: str) -> Tree:
    if shape.kind is not Kind.LEAF:
        return _json_tree(text, variable)
    if get_origin(shape.inner) in (tuple, list):
        if text.lstrip().startswith("["):
            return _json_tree(text, variable)
        items: list[Tree] = [Leaf(part.strip(), variable, text=True) for part in text.split(",") if part.strip()]
        return Sequence(items, variable)
    return Leaf(text, variable, text=True)


def _json_tree(text: str, variable: str) -> Tree:
    def tree_of(value: object) -> Tree:
        if isinstance(value, dict):
            return Mapping({key: tree_of(below) for key, below in value.items()}, variable, dict.fromkeys(value, variable))
        if isinstance(value, list):
            return Sequence([tree_of(item) for item in value], variable)
        return Leaf(value, variable)

    try:
        return tree_of(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise InvalidConfig(f"not valid JSON: {error}", where=variable) from error


# -- typed values


def _secrets(section: type[Section]) -> set[str]:
    return {name for name, info in fields_of(section).items() if shape_of(info.type).inner is Secret}


class _Builder:
    """Makes typed values of trees. `path` is the dotted name of what is being built."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def section(self, section: type[Section], tree: Mapping, path: str) -> Section:
        fields = fields_of(section)
        tree = self._secrets_read(section, tree, path)
        for name in tree.entries:
            if name not in fields:
                known = [*fields, *(f"{secret}_file" for secret in _secrets(section))]
                where = f"{tree.key_origins.get(name, tree.origin)} {_join(path, name)}"
                raise InvalidConfig(f"unknown option `{name}`{_nearest(name, known)}", where=where)
        values: dict[str, Any] = {}
        for name, info in fields.items():
            below = _join(path, name)
            shape = shape_of(info.type)
            if name in tree.entries:
                values[name] = self.value(shape, tree.entries[name], below)
            elif info.required and shape.kind is Kind.SECTION:
                values[name] = self.section(shape.inner, Mapping({}, tree.origin), below)
            elif info.required:
                raise InvalidConfig(f"`{name}` is missing", where=f"{tree.origin} {below}")
        try:
            return section(**values)
        except (ValueError, HeadwaterError) as error:
            raise InvalidConfig(str(error), where=f"{tree.origin} {path}".rstrip()) from error

    def value(self, shape: Shape, tree: Tree, path: str) -> object:
        if isinstance(tree, Leaf) and tree.value is None and (shape.optional or shape.kind is Kind.SECTION):
            return None if shape.optional else self.section(shape.inner, Mapping({}, tree.origin), path)
        match shape.kind, tree:
            case Kind.SECTION, Mapping():
                return self.section(shape.inner, tree, path)
            case Kind.ENTRIES, Mapping():
                inner = shape_of(shape.inner)
                return {key: self.value(inner, below, _join(path, key)) for key, below in tree.entries.items()}
            case Kind.ITEMS, Sequence():
                inner = shape_of(shape.inner)
                built = [self.value(inner, below, f"{path}[{index}]") for index, below in enumerate(tree.items)]
                return built if get_origin(shape_of(shape.whole).inner) is list else tuple(built)
            case Kind.LEAF, _:
                return self._leaf(shape, tree, path)
        expected = "a list" if shape.kind is Kind.ITEMS else "options as `name: value`"
        raise InvalidConfig(f"expected {expected}", where=f"{tree.origin} {path}")

    def _leaf(self, shape: Shape, tree: Tree, path: str) -> object:
        if isinstance(tree, Mapping):
            raise InvalidConfig("expected a value, got options", where=f"{tree.origin} {path}")
        if isinstance(tree, Sequence) and get_origin(shape.inner) in (tuple, list):
            inner = shape_of(get_args(shape.inner)[0])
            built = [self._leaf(inner, item, f"{path}[{index}]") for index, item in enumerate(tree.items)]
            return built if get_origin(shape.inner) is list else tuple(built)
        if isinstance(tree, Sequence):
            raise InvalidConfig("expected one value, got a list", where=f"{tree.origin} {path}")
        return self._converted(tree.value, shape, tree.origin, path, text=tree.text)

    def _converted(self, value: object, shape: Shape, origin: str, path: str, *, text: bool) -> object:
        try:
            return msgspec.convert(value, shape.whole, strict=not text, dec_hook=_decoded)
        except msgspec.ValidationError as error:
            detail = str(error).replace("`", "'")
            if isinstance(shape.inner, type) and issubclass(shape.inner, Enum):
                detail = "expected one of " + ", ".join(str(member.value) for member in shape.inner)
            raise InvalidConfig(detail, where=f"{origin} {path}") from error

    def _secrets_read(self, section: type[Section], tree: Mapping, path: str) -> Mapping:
        names = [name for name in _secrets(section) if f"{name}_file" in tree.entries and f"{name}_file" not in fields_of(section)]
        if not names:
            return tree
        entries = dict(tree.entries)
        for name in names:
            named = entries.pop(f"{name}_file")
            where = f"{named.origin} {_join(path, name)}_file"
            if name in entries:
                raise InvalidConfig(f"`{name}` and `{name}_file` are both given", where=where)
            if not isinstance(named, Leaf) or not isinstance(named.value, str):
                raise InvalidConfig("expected the path of a file", where=where)
            try:
                content = _read(self._directory / named.value, "the secret")
            except InvalidConfig as error:
                raise InvalidConfig(error.detail, where=where) from error
            entries[name] = Leaf(content.rstrip("\r\n"), named.origin)
        return Mapping(entries, tree.origin, tree.key_origins)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _decoded(expected: type, value: object) -> object:
    """A value of one of our own types; a wrong one is a ValueError, as msgspec asks of its hooks."""
    if isinstance(value, expected):
        return value
    try:
        if issubclass(expected, Seconds | Bytes):
            return expected.of(value if isinstance(value, str) else "")
    except InvalidInput as error:
        raise ValueError(error.detail) from error
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {type(value).__name__}")
    return cast(Callable[[str], object], expected)(value)

"""The shape of the code: sizes, names, documentation, and what must not stand in it."""

import ast
import pathlib
import re

import pytest
from tests.house.files import SOURCES, TESTS, Function, functions, named, parsed, python_files

FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 800
POSITIONAL_MAX = 4
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}
PLACEHOLDER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)")


def length(function: Function) -> int:
    """Lines of a function from its `def` to its end, docstring excluded."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def test_no_function_exceeds_its_ceiling() -> None:
    long = [f"{named(p)}:{f.lineno} {f.name} {length(f)}" for p in python_files() for f in functions(p) if length(f) > FUNCTION_LINES_MAX]
    assert not long, long


def test_no_module_exceeds_its_ceiling() -> None:
    long = [f"{named(p)} {n}" for p in python_files() if (n := p.read_text().count("\n")) > MODULE_LINES_MAX]
    assert not long, long


def test_no_function_takes_many_positional_arguments() -> None:
    def positional(function: Function) -> int:
        names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        return len([name for name in names if name not in ("self", "cls")])

    wide = [
        f"{named(p)}:{f.lineno} {f.name} {positional(f)}"
        for p in python_files(SOURCES)
        for f in functions(p)
        if positional(f) > POSITIONAL_MAX and not f.decorator_list
    ]
    assert not wide, wide


def test_no_module_has_a_name_that_says_nothing() -> None:
    bad = [named(p) for p in python_files() if {p.stem, *pathlib.Path(named(p)).parts[:-1]} & FORBIDDEN_NAMES]
    assert not bad, bad


def _undocumented(tree: ast.Module) -> list[str]:
    """Public modules, classes, functions and methods without a docstring; nested functions and overridden methods of ports are exempt."""
    found = [] if ast.get_docstring(tree) else ["module"]
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            found.append(f"{node.lineno} {node.name}")
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not node.bases:
            # A law is a test: its name is the sentence.
            public = [m for m in node.body if isinstance(m, Function) and not m.name.startswith(("_", "test_"))]
            methods = [m for m in public if not ast.get_docstring(m)]
            found += [f"{m.lineno} {node.name}.{m.name}" for m in methods]
    return found


def _methods_of_ports() -> frozenset[str]:
    """Names of methods whose docstring stands in a Protocol: an adapter does not repeat it."""
    protocols = [
        node
        for path in python_files(SOURCES)
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases)
    ]
    return frozenset(member.name for node in protocols for member in node.body if isinstance(member, Function))


def test_everything_public_has_a_docstring() -> None:
    inherited = _methods_of_ports()
    bare = [
        f"{named(p)}:{entry}"
        for p in python_files(SOURCES)
        for entry in _undocumented(parsed(p))
        if "." not in entry or entry.rpartition(".")[2] not in inherited
    ]
    assert not bare, bare


def test_every_port_states_its_semantics() -> None:
    bare = [
        f"{named(p)}:{m.lineno} {node.name}.{m.name}"
        for p in python_files(SOURCES)
        if p.name == "ports.py"
        for node in parsed(p).body
        if isinstance(node, ast.ClassDef)
        for m in node.body
        if isinstance(m, Function) and not ast.get_docstring(m)
    ]
    assert not bare, bare


@pytest.mark.parametrize("pattern", [PLACEHOLDER, BARE_IGNORE], ids=["placeholder", "bare ignore"])
def test_no_line_puts_off_or_hides_work(pattern: re.Pattern[str]) -> None:
    others = [path for path in python_files() if path != pathlib.Path(__file__).resolve()]
    found = [f"{named(p)}:{n}" for p in others for n, line in enumerate(p.read_text().splitlines(), 1) if pattern.search(line)]
    assert not found, found


def _name_of(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(value=ast.Name(id=owner), attr=attr):
            return f"{owner}.{attr}"
        case ast.Attribute(attr=attr):
            return attr
        case ast.Name(id=name):
            return name
        case _:
            return ""


def _sleeps(path: pathlib.Path) -> list[str]:
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    is_zero = [call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0 for call in calls]
    asleep = ("time.sleep", "asyncio.sleep")
    return [f"{named(path)}:{call.lineno}" for call, zero in zip(calls, is_zero, strict=True) if _name_of(call) in asleep and not zero]


def test_unit_tests_never_sleep() -> None:
    slow = [entry for kind in ("unit", "property", "laws") for p in python_files(TESTS / kind) for entry in _sleeps(p)]
    assert not slow, slow


def test_no_test_is_skipped_outside_the_shared_rules() -> None:
    skips = re.compile(r"pytest\.(skip|xfail|importorskip)\b|mark\.(skip|skipif|xfail)\b|unittest\.mock|MagicMock")
    found = [
        f"{named(p)}:{n}"
        for p in python_files(TESTS)
        if p not in (TESTS / "conftest.py", pathlib.Path(__file__).resolve())
        for n, line in enumerate(p.read_text().splitlines(), 1)
        if skips.search(line)
    ]
    assert not found, found


def test_only_the_wiring_joins_services_to_engines() -> None:
    allowed = ("src/headwater/app/", "src/headwater/testing/")
    found = [
        f"{named(p)}:{node.lineno}"
        for p in python_files(SOURCES)
        if not named(p).startswith(allowed) and "engines" not in p.parts
        for node in ast.walk(parsed(p))
        if isinstance(node, ast.ImportFrom) and ".engines" in (node.module or "")
    ]
    assert not found, found


def _modules_of(package: pathlib.Path) -> set[str]:
    """Names of the modules that stand directly in a package."""
    files = {path for path in python_files(package) if path.parent == package} - {package / "__init__.py"}
    return {path.stem for path in files}


@pytest.mark.parametrize(
    "room", sorted(p.parent for p in python_files(SOURCES) if p.parent.parent == SOURCES / "headwater" and p.stem == "__init__")
)
def test_every_room_has_a_map_of_its_modules(room: pathlib.Path) -> None:
    """A newcomer finds the line to change from the docstring of the room, so it names every module, and none that is not there."""
    text = ast.get_docstring(parsed(room / "__init__.py"), clean=False) or ""
    entries = re.findall(r"^ *([a-z_]+(?:, [a-z_]+)*) {2,}\S", text, re.MULTILINE)
    listed = {name for entry in entries for name in entry.split(", ")}
    mentioned = listed | set(re.findall(r"`([a-z_]+)`", text))
    modules = _modules_of(room)
    assert modules <= mentioned, f"{named(room)}: not on its map: {sorted(modules - mentioned)}"
    packages = {path.parent.name for path in python_files(room) if path.parent.parent == room}
    assert listed <= modules | packages, f"{named(room)}: on its map only: {sorted(listed - modules - packages)}"


OUTSIDE = {
    "asyncio",
    "threading",
    "socket",
    "ssl",
    "subprocess",
    "os",
    "io",
    "aiohttp",
    "apsw",
    "uvicorn",
    "structlog",
    "logging",
    "random",
    "urllib.request",
}
SHARD = (
    "shard",
    "state",
    "ages",
    "delays",
    "heat",
    "decisions",
    "staleness",
    "snapshot",
    "questions",
    "codec",
    "window",
    "fairness",
    "turns",
)


def _is_pure(path: pathlib.Path) -> bool:
    """Whether a module says of itself that it decides and does nothing else; models and the shard always do."""
    text = ast.get_docstring(parsed(path)) or ""
    in_shard = path.parent.name == "propagation" and path.stem in SHARD
    return path.stem in ("model", "staleness") or in_shard or re.search(r"\bPure[.:]|\. Pure\b", text) is not None


def test_what_is_pure_reaches_nothing_outside() -> None:
    pure = [path for path in python_files(SOURCES) if _is_pure(path)]
    assert len(pure) > len(SHARD)
    bad = []
    for path in pure:
        for node in ast.walk(parsed(path)):
            match node:
                case ast.Import(names=names):
                    imported = {alias.name for alias in names}
                case ast.ImportFrom(module=str() as module):
                    imported = {module, module.partition(".")[0]}
                case ast.AsyncFunctionDef(name=name):
                    bad.append(f"{named(path)}:{node.lineno} async {name}")
                    continue
                case _:
                    continue
            bad += [f"{named(path)}:{node.lineno} {name}" for name in sorted(imported & OUTSIDE)]
    assert not bad, bad

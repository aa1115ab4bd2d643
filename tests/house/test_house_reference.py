"""Every setting, metric, error code, route, command and failpoint is documented."""

import ast
import pathlib
import re

import pytest
from tests.house.files import ROOT, SOURCES, named, parsed, python_files, tracked

from headwater.app.config import load_config
from headwater.cli.reference import pages
from headwater.kernel.errors import InvalidConfig

REFERENCE = ROOT / "docs/reference"
PAGES = pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_pages_made_from_the_code_are_up_to_date(name: str) -> None:
    assert (REFERENCE / name).read_text() == PAGES[name], "run `make docs`"


def _calls(function: str) -> list[tuple[str, ast.Call]]:
    """Every call of a function of that name in the product, with where it stands."""
    return [
        (f"{named(path)}:{node.lineno}", node)
        for path in python_files(SOURCES)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    ]


def test_every_failpoint_is_documented_and_every_documented_one_exists() -> None:
    in_code = {call.args[0].value for _, call in _calls("failpoint") if isinstance(call.args[0], ast.Constant)}
    documented = set(re.findall(r"^\| `([a-z.]+)` \|", (REFERENCE / "failpoints.md").read_text(), re.MULTILINE))
    assert in_code == documented


def test_every_route_is_documented() -> None:
    text = PAGES["http-api.md"]
    missing = []
    for place, call in _calls("Route"):
        if place.startswith("src/headwater/app/demo/"):
            continue  # what stands in for a wiki and a cache is no API of Headwater
        method, path = call.args[0], call.args[1]
        assert isinstance(method, ast.Constant), place
        assert isinstance(path, ast.Constant), place
        operation = f"{method.value!s} {path.value!s}"
        if f"`{operation}`" not in text:
            missing.append(f"{place} {operation}")
    assert not missing, missing


def _is_foreign(call: ast.Call) -> bool:
    return any(keyword.arg == "foreign" for keyword in call.keywords)


def test_every_declared_metric_is_in_the_catalogue() -> None:
    text = PAGES["metrics.md"]
    missing = [
        place
        for kind in ("counter", "gauge", "histogram")
        for place, call in _calls(kind)
        if isinstance(call.args[0], ast.Constant) and f"{'' if _is_foreign(call) else 'headwater_'}{call.args[0].value!s}" not in text
    ]
    assert not missing, missing


def test_every_error_class_has_its_own_code() -> None:
    codes: dict[str, str] = {}
    for path in python_files(SOURCES):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                for line in node.body:
                    match line:
                        case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str() as code)):
                            assert code not in codes, f"{node.name} and {codes[code]} share the code {code}"
                            codes[code] = node.name
    assert all(f"`{code}`" in PAGES["errors.md"] for code in codes)


def test_every_command_has_its_help() -> None:
    sections = re.split(r"^## ", PAGES["cli.md"], flags=re.MULTILINE)[1:]
    assert {section.split("`")[1].split()[1] for section in sections} >= {
        "demo", "up", "serve", "check", "status", "explain", "follow", "backfill", "dead-letters", "version",
    }  # fmt: skip
    for section in sections:
        assert section.split("\n")[2].strip(), section[:60]
        assert "|  |" not in section, f"a parameter without meaning in {section[:60]}"


def _loaded_names() -> set[str]:
    """Every name and attribute that the product reads, declarations aside."""
    found: set[str] = set()
    for path in python_files(SOURCES):
        declared = {id(name) for node in parsed(path).body if isinstance(node, ast.Assign) for name in ast.walk(node.value)}
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and not (path.stem == "metrics" and id(node) in declared):
                found.add(node.id)
    return found


def test_every_declared_metric_is_recorded() -> None:
    loaded = _loaded_names()
    silent = [
        f"{named(path)}:{node.lineno} {target.id}"
        for path in python_files(SOURCES)
        if path.stem == "metrics" and path.parent.name != "kernel"
        for node in parsed(path).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id not in loaded
    ]
    assert not silent, silent


def test_every_setting_is_obeyed() -> None:
    loaded = _loaded_names()
    ignored = [
        f"{named(path)}:{line.lineno} {node.name}.{line.target.id}"
        for path in python_files(SOURCES)
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and any(isinstance(base, ast.Name) and base.id == "Section" for base in node.bases)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id not in loaded
    ]
    assert not ignored, ignored


_NO_WHOLE_FILES = {
    "docs/how-to/mediawiki-sessions.md": "one has a place for a hash, the other is not of Headwater",
    "docs/how-to/tls.md": "the first leaves out the clients, which come later on the page",
}


def _examples_of_configuration() -> list[tuple[str, str]]:
    """Every example of a configuration file in the documentation, with the page that it stands on."""
    pages_of_docs = [path for path in tracked() if path.suffix == ".md" and path.is_relative_to(ROOT / "docs")]
    return [
        (named(path), example)
        for path in pages_of_docs
        if named(path) not in _NO_WHOLE_FILES
        for example in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    ]


def test_examples_of_configuration_are_read(tmp_path: pathlib.Path) -> None:
    examples = _examples_of_configuration()
    assert len(examples) > 5
    wrong = []
    for page, example in examples:
        file = tmp_path / "headwater.yaml"
        file.write_text(example)
        try:
            load_config(file, {})
        except InvalidConfig as error:
            wrong.append(f"{page}: {error}")
    assert not wrong, wrong

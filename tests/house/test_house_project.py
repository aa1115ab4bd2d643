"""The project around the code: dependencies, decisions, changelog, licence, and nothing in it that belongs to one machine."""

import ast
import re
import sys
import tomllib
from typing import Any

import pytest
from importlinter.cli import lint_imports
from tests.house.files import ROOT, named, parsed, python_files, tracked

RUNTIME_DEPENDENCIES_MAX = 25
CHANGE_KINDS = {"breaking", "added", "changed", "fixed", "security"}
DECISION_PARTS = ("context", "options", "choice", "bad consequences")
MACHINE = re.compile(r"/root/|/home/(?!headwater)\w+/|/work/\w+/|https?://[\w.-]*(?:pythonhosted|pypi|npmjs|crates|maven)[\w.-]*")
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".vcl", ".sql", ".json", ".service", ".html", ".js", ".css", ""}


def project() -> dict[str, Any]:
    """The `project` table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def package_name(requirement: str) -> str:
    """The name in a requirement."""
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]


def locked() -> dict[str, dict[str, Any]]:
    """The packages of uv.lock by name."""
    return {entry["name"]: entry for entry in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def test_imports_follow_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out


def test_runtime_dependencies_are_few() -> None:
    assert len(project()["dependencies"]) <= RUNTIME_DEPENDENCIES_MAX


def test_every_runtime_dependency_has_its_decision() -> None:
    decisions = "\n".join(path.read_text() for path in (ROOT / "docs/decisions").glob("*.md")).lower()
    names = [package_name(requirement) for requirement in project()["dependencies"]]
    unexplained = [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", decisions)]
    assert not unexplained, unexplained


def test_every_imported_package_is_declared() -> None:
    extras = [requirement for extra in project()["optional-dependencies"].values() for requirement in extra]
    declared = {package_name(requirement).lower() for requirement in (*project()["dependencies"], *extras)}
    modules = {
        "prometheus_client": "prometheus-client",
        "jsonschema_rs": "jsonschema-rs",
        "ruamel": "ruamel.yaml",
        "multidict": "aiohttp",
        "yarl": "aiohttp",
    }
    imported = {
        name.partition(".")[0]
        for path in python_files(ROOT / "src")
        for node in ast.walk(parsed(path))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    undeclared = {name for name in imported - sys.stdlib_module_names - {"headwater"} if modules.get(name, name) not in declared}
    assert not undeclared, undeclared


def test_the_lock_carries_hashes_and_names_every_dependency() -> None:
    packages = locked()
    assert all(package_name(requirement).replace(".", "-") in packages for requirement in project()["dependencies"])
    artefacts = [a for p in packages.values() for a in (*p.get("wheels", ()), *([p["sdist"]] if "sdist" in p else ()))]
    assert artefacts
    assert all(artefact["hash"].startswith("sha256:") for artefact in artefacts)


def test_the_bootstrap_installs_the_installer_of_the_lock() -> None:
    entry = locked()["uv"]
    bootstrap = (ROOT / "requirements-bootstrap.txt").read_text()
    assert f"uv=={entry['version']} " in bootstrap
    assert set(re.findall(r"--hash=(\S+)", bootstrap)) == {a["hash"] for a in (*entry["wheels"], entry["sdist"])}


def test_decision_records_are_well_formed() -> None:
    problems = []
    numbers = []
    for path in sorted((ROOT / "docs/decisions").glob("*.md")):
        match = re.fullmatch(r"(\d{4})-[a-z0-9]+(-[a-z0-9]+)+\.md", path.name)
        if match is None:
            problems.append(f"{path.name}: not NNNN-verb-phrase.md")
            continue
        numbers.append(match[1])
        headings = [line.lstrip("# ").strip().lower() for line in path.read_text().splitlines() if line.startswith("#")]
        problems += [f"{path.name}: no part '{part}'" for part in DECISION_PARTS if part not in headings]
    problems += [f"number {number} twice" for number in sorted(set(numbers)) if numbers.count(number) > 1]
    assert numbers
    assert not problems, problems


def test_changelog_fragments_are_well_formed() -> None:
    problems = []
    for path in sorted((ROOT / "changelog.d").iterdir()):
        if path.name == "README.md":
            continue
        match = re.fullmatch(r"[a-z0-9-]+\.([a-z]+)\.md", path.name)
        if match is None or match[1] not in CHANGE_KINDS:
            problems.append(f"{path.name}: not WORD.KIND.md")
        elif not path.read_text().strip():
            problems.append(f"{path.name}: empty")
    assert not problems, problems


def test_the_licence_is_stated_and_there() -> None:
    assert project()["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


def test_nothing_belongs_to_one_machine() -> None:
    found = [
        f"{named(path)}:{number}"
        for path in tracked()
        if path.suffix in TEXT and path.name != "uv.lock" and path != ROOT / "tests/house/test_house_project.py"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found, found


def test_every_link_in_the_docs_leads_somewhere() -> None:
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
            if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists():
                broken.append(f"{named(path)}: {target}")
    assert not broken, broken


def test_every_page_of_the_docs_can_be_found_from_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = [
        path.relative_to(ROOT / "docs").as_posix() for path in tracked() if path.is_relative_to(ROOT / "docs") and path.suffix == ".md"
    ]
    lost = [page for page in pages if not page.startswith("decisions/") and page != "README.md" and f"({page})" not in index]
    assert not lost, lost

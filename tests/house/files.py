"""The files of the project, as the house tests see them."""

import ast
import functools
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src"
TESTS = ROOT / "tests"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def tracked() -> tuple[pathlib.Path, ...]:
    """Every file that belongs to the project, whether committed or about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return tuple(path for name in sorted(set(listing.stdout.splitlines())) if (path := ROOT / name).is_file())


def python_files(under: pathlib.Path = ROOT) -> tuple[pathlib.Path, ...]:
    """All modules under a folder."""
    return tuple(path for path in tracked() if path.suffix == ".py" and path.is_relative_to(under))


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text(), filename=str(path))


def named(path: pathlib.Path) -> str:
    """The path as a person reads it."""
    return str(path.relative_to(ROOT))


def functions(path: pathlib.Path) -> list[Function]:
    """All functions of a module, nested ones too."""
    return [node for node in ast.walk(parsed(path)) if isinstance(node, Function)]

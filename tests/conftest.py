"""What all tests share: real components and what happens without them, the long grids, coroutines, no process left behind.

A test that needs a real component says `@pytest.mark.real("mediawiki", "varnish")` (without names: both), or names another one of
`_COMPONENTS`, such as `"tmpfs"` for a disk that can be filled. Where one is missing the test is skipped and the run's last lines say so;
`HEADWATER_REQUIRE=mediawiki,varnish` makes a missing one a failure instead. This is the only place that skips.
"""

import asyncio
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import hypothesis
import pytest

_RUN_MARK = "HEADWATER_TEST_RUN"
_PHP_MODULES = ("curl", "intl", "mbstring", "sqlite3", "xml")
# A busy machine makes no test wrong: neither an example that takes long nor examples that are made slowly.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")
_left_out = pytest.StashKey[dict[str, list[str]]]()


def _missing_from_mediawiki() -> str | None:
    if not pathlib.Path("/usr/share/mediawiki/api.php").exists():
        return "MediaWiki is not installed in /usr/share/mediawiki"
    if shutil.which("php") is None:
        return "php is not installed"
    loaded = subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout.lower().split()
    lacking = [module for module in _PHP_MODULES if module not in loaded]
    return f"php lacks {', '.join(lacking)}" if lacking else None


def _missing_from_varnish() -> str | None:
    return None if shutil.which("varnishd") else "varnishd is not installed"


def _missing_from_systemd() -> str | None:
    return None if shutil.which("systemd-analyze") else "systemd-analyze is not installed"


def _missing_for_tmpfs() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
        if mounted.returncode:
            return "a file system of its own cannot be mounted here; that takes root"
        subprocess.run(["umount", folder], check=True)
    return None


def _missing_for_core_files() -> str | None:
    """Where an unprotected process leaves no core file when it crashes, another one that leaves none proves nothing."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern")
    if not pattern.exists() or pattern.read_text()[:1] in ("|", "/", "\n"):
        return "the kernel does not write core files into the directory of a process"
    crash = "import os, resource, signal; resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); os.kill(os.getpid(), signal.SIGSEGV)"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", crash], cwd=folder, capture_output=True, check=False)
        return None if list(pathlib.Path(folder).iterdir()) else "a process that crashes leaves no core file here"


_COMPONENTS: dict[str, Callable[[], str | None]] = {
    "mediawiki": _missing_from_mediawiki,
    "varnish": _missing_from_varnish,
    "tmpfs": _missing_for_tmpfs,
    "systemd-analyze": _missing_from_systemd,
    "core files": _missing_for_core_files,
}
_UNNAMED = ("mediawiki", "varnish")


@functools.cache
def missing(component: str) -> str | None:
    """Why `component` cannot be used on this machine, or None."""
    return _COMPONENTS[component]()


def _required() -> frozenset[str]:
    names = frozenset(name for name in os.environ.get("HEADWATER_REQUIRE", "").split(",") if name)
    unknown = names - _COMPONENTS.keys()
    if unknown:
        raise pytest.UsageError(f"HEADWATER_REQUIRE names {', '.join(sorted(unknown))}; known are {', '.join(_COMPONENTS)}")
    return names


def _needs(item: pytest.Item) -> tuple[str, ...]:
    marks = list(item.iter_markers("real"))
    if not marks:
        return ()
    return tuple(dict.fromkeys(name for mark in marks for name in mark.args or _UNNAMED))


def pytest_configure(config: pytest.Config) -> None:
    """Give everything that this run starts a mark by which it is found again."""
    config.stash[_left_out] = {}
    os.environ[_RUN_MARK] = str(uuid.uuid4())
    _required()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long grids to `make proof`."""
    if os.environ.get("HEADWATER_PROOF") == "1":
        return
    grids = [item for item in items if item.get_closest_marker("proof")]
    if grids:
        config.hook.pytest_deselected(items=grids)
        items[:] = [item for item in items if item not in grids]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where it is required, a test whose component is missing."""
    for component in _needs(item):
        reason = missing(component)
        if reason is None:
            continue
        if component in _required():
            pytest.fail(f"HEADWATER_REQUIRE names {component}, but {reason}", pytrace=False)
        item.config.stash[_left_out].setdefault(f"{component}: {reason}", []).append(item.nodeid)
        pytest.skip(f"{component}: {reason}")


def _alive() -> list[str]:
    """Processes that this run started and that still live, found by the mark in their environment (Linux only)."""
    mark = f"{_RUN_MARK}={os.environ[_RUN_MARK]}".encode()
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(f"{entry.name} {(entry / 'cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')[:120]}")
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return found


@pytest.fixture(scope="session", autouse=True)
def modules_are_compiled_once() -> Iterator[None]:
    """Let the processes of a run share compiled modules, where whoever runs it keeps Python from writing them beside the sources.

    Hundreds of processes are started, and compiling takes two thirds of a start.
    """
    forbidden = os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not forbidden:
        yield
        return
    with (
        tempfile.TemporaryDirectory(prefix="headwater-compiled-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PYTHONPYCACHEPREFIX", folder)
        yield
    os.environ["PYTHONDONTWRITEBYTECODE"] = forbidden


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Fail the run when a test leaves a process behind."""
    yield
    left = _alive()
    assert not left, "processes left behind:\n" + "\n".join(left)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say plainly which real components this run went without, and how to get them."""
    left_out = config.stash[_left_out]
    if not left_out:
        return
    terminalreporter.section("left out", sep="-")
    for reason, tests in sorted(left_out.items()):
        terminalreporter.line(f"{len(tests)} tests left out for want of {reason}")
    terminalreporter.line("`make real` installs the missing components; HEADWATER_REQUIRE=mediawiki,varnish makes their absence a failure")


@pytest.fixture
def memory() -> Iterator[pathlib.Path]:
    """A directory in memory, where there is one, for files of which nothing has to last."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as directory:
        yield pathlib.Path(directory)


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end in an event loop of its own and returns its result."""
    return asyncio.run

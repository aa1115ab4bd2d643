"""The units in `deploy/` start commands that exist, with options that exist, and allow no more than they say."""

import pathlib
import re
import shlex
import subprocess
from collections import Counter

import pytest
import typer.main
from tests.house.files import ROOT
from typer.core import TyperGroup

from headwater.app.config import load_config
from headwater.app.roles import ROLES, SESSIONS, chosen_roles
from headwater.app.supervisor import END_TIME_MAX_S
from headwater.cli.exits import Exit
from headwater.cli.main import app

DEPLOY = ROOT / "deploy"
UNITS = {path.stem: path for path in DEPLOY.glob("*.service")}
ALL_IN_ONE = "headwater"
PROGRAM = "/opt/headwater/bin/headwater"
DEMANDED = {
    "CapabilityBoundingSet": [""],
    "KillMode": ["mixed"],
    "LimitCORE": ["0"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "NoNewPrivileges": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateUsers": ["yes"],
    "ProtectHome": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectSystem": ["strict"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6"],
    "RestrictNamespaces": ["yes"],
    "StateDirectoryMode": ["0700"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service", "~@privileged @keyring @resources"],
    "UMask": ["0077"],
}
OF_SESSIONS = {"LimitMEMLOCK": ["infinity"], "MemorySwapMax": ["0"]}


def directives(name: str) -> dict[str, list[str]]:
    """Every directive of a unit, with its values in their order."""
    found: dict[str, list[str]] = {}
    for line in UNITS[name].read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            directive, _, value = line.partition("=")
            found.setdefault(directive, []).append(value)
    return found


def parsed(name: str, config: pathlib.Path) -> tuple[str, tuple[str, ...]]:
    """The command that a unit starts, as the command line itself reads it, and the roles that it names. Raises for what it would refuse."""
    program, *arguments = shlex.split(directives(name)["ExecStart"][0].replace("/etc/headwater/headwater.yaml", str(config)))
    assert program == PROGRAM
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    with root.make_context("headwater", arguments[:1]) as context:
        command, below, rest = root.resolve_command(context, arguments)
        assert below is not None
        with below.make_context(command, rest, parent=context) as found:
            assert found.params["config"] == config, "it reads the file of the machine"
            return command or "", tuple(found.params.get("roles", ()))


def test_there_are_units_for_all_in_one_and_for_each_apart() -> None:
    assert sorted(UNITS) == [ALL_IN_ONE, "headwater-pages", "headwater-sessions", "headwater-tables"]


@pytest.mark.parametrize("name", sorted(UNITS))
def test_a_unit_starts_a_command_that_exists(name: str, tmp_path: pathlib.Path) -> None:
    command, roles = parsed(name, tmp_path / "headwater.yaml")
    if name == ALL_IN_ONE:
        assert (command, roles) == ("up", ())
    else:
        assert command == "serve"
        assert roles == (SESSIONS,) or set(chosen_roles(roles)) == set(roles) != set()


def test_the_units_apart_run_every_role_once(tmp_path: pathlib.Path) -> None:
    roles = Counter(role for name in UNITS if name != ALL_IN_ONE for role in parsed(name, tmp_path / "headwater.yaml")[1])
    assert roles == Counter((*ROLES, SESSIONS))


@pytest.mark.parametrize("name", sorted(UNITS))
def test_a_unit_has_a_user_and_a_directory_of_its_own(name: str) -> None:
    found = directives(name)
    assert found["User"] == found["Group"] == found["StateDirectory"] == [name]
    variable, _, value = found["Environment"][0].partition("=")
    assert load_config(None, {variable: value}).data_dir == f"/var/lib/{name}"
    assert re.search(rf"^u {name} - \"[^\"]+\" /var/lib/{name}$", (DEPLOY / "headwater.sysusers.conf").read_text(), re.MULTILINE)
    assert name == ALL_IN_ONE or found["Conflicts"] == [f"{ALL_IN_ONE}.service"]


@pytest.mark.parametrize("name", sorted(UNITS))
def test_a_unit_allows_what_is_needed_and_no_more(name: str) -> None:
    found = directives(name)
    demanded = DEMANDED | (OF_SESSIONS if name in (ALL_IN_ONE, "headwater-sessions") else {})
    assert {directive: found.get(directive) for directive in demanded} == demanded
    assert not {"AmbientCapabilities", "ReadWritePaths", "DynamicUser"} & found.keys()


@pytest.mark.parametrize("name", sorted(UNITS))
def test_a_unit_ends_and_begins_as_the_process_does(name: str) -> None:
    found = directives(name)
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(found["TimeoutStopSec"][0]) > END_TIME_MAX_S + 1, "it would be killed while it ends"
    assert found["Restart"] == ["always"]
    assert {Exit(int(status)) for status in found["RestartPreventExitStatus"][0].split()} == {Exit.USAGE, Exit.CONFIG}
    pages = [value.removeprefix("file:/usr/share/doc/headwater/") for value in found["Documentation"]]
    assert pages and all((ROOT / page).is_file() for page in pages)


@pytest.mark.real("systemd-analyze")
def test_systemd_understands_the_units(tmp_path: pathlib.Path) -> None:
    for name, unit in UNITS.items():
        (tmp_path / f"{name}.service").write_text(unit.read_text().replace(PROGRAM, "/bin/true"))  # it looks whether the program is there
    (tmp_path / "wrong.service").write_text("[Service]\nExecStart=/bin/true\nProtectSysten=strict\n")
    verify = ["systemd-analyze", "verify", "--man=no"]
    wrong = subprocess.run([*verify, str(tmp_path / "wrong.service")], capture_output=True, text=True, check=False, timeout=60)
    assert "ProtectSysten" in wrong.stderr, "it finds what is wrong"
    paths = [str(tmp_path / f"{name}.service") for name in UNITS]
    told = subprocess.run([*verify, *paths], capture_output=True, text=True, check=False, timeout=60)
    assert (told.returncode, told.stderr) == (0, "")

"""`headwater tables` beside a running service, as people and scripts call it."""

import contextlib
import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.acceptance.served_process import COMMAND, environment
from tests.acceptance.tables_process import TablesProcess
from typer.testing import CliRunner

from headwater.cli.main import app

COMMAND_MAX_S = 120.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command wrote."""

    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The JSON of its last line."""
        return json.loads(self.output.splitlines()[-1])


@dataclass
class TablesWithCommand(TablesProcess):
    """The process, and commands that run in its folder with its configuration.

    Attributes:
        token: that commands carry.
    """

    token: str | None = None

    def command_environment(self) -> dict[str, str]:
        """The environment of commands: what names the service."""
        return environment(
            HEADWATER_DATA_DIR=str(self.folder / "data"),
            HEADWATER_TABLES__LISTEN=f"127.0.0.1:{self.port}",
            HEADWATER_CONFIG="headwater.yaml",
        )

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command of tables without waiting."""
        token = [] if self.token is None else ["--token", self.token]
        return subprocess.Popen(
            [COMMAND, "tables", *arguments, *token],
            cwd=self.folder,
            env=self.command_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str, status: int = 0) -> Ran:
        """As `run`, in this process, which spares the start of another."""
        token = [] if self.token is None else ["--token", self.token]
        with contextlib.chdir(self.folder):
            ran = CliRunner().invoke(app, ["tables", *arguments, *token], env=self.command_environment())
        assert ran.exit_code == status, (ran.exit_code, ran.stdout[-2000:], ran.stderr[-3000:], ran.exception)
        return Ran(ran.stdout, ran.stderr)

    def run(self, *arguments: str, status: int = 0) -> Ran:
        """Run a command of tables, as installed, that has to end with a status."""
        with self.begin(*arguments) as process:
            output, errors = process.communicate(timeout=COMMAND_MAX_S)
        assert process.returncode == status, (process.returncode, output[-2000:], errors[-3000:])
        return Ran(output, errors)

"""`headwater doctor sessions`: a session written, read, left to expire and deleted at a running service, each step with its verdict.

A step that the client has no grant for, while all that it needs goes well, is left out in plain sight and is no failure.
"""

import http.client
import json
import os
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headwater.app.sessions_config import load_sessions_config
from headwater.cli.connecting import Tls, connection_to, tls_of
from headwater.cli.exits import Exit
from headwater.cli.output import print_json, print_table
from headwater.http.config import AskingConfig
from headwater.kernel.clock import SystemClock
from headwater.kernel.errors import InvalidInput, Unavailable
from headwater.kernel.ids import SystemIds

TIMEOUT_S = 10.0
TTL_S = 1
EXPIRED_AFTER_S = 1.5
DROP_IN_LAST = "read what is deleted"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried.

    Attributes:
        name: what it was.
        status: of the answer.
        ok: whether it went as it has to; True too where it was left out.
        found: what came, and instead of what.
        ms: how long it took.
        left_out: it could not be tried with this client, which is no fault of the service.
    """

    name: str
    status: int
    ok: bool
    found: str
    ms: float
    left_out: bool = False

    @property
    def verdict(self) -> str:
        """In one word."""
        return "left out" if self.left_out else "ok" if self.ok else "WRONG"


@dataclass
class Patient:
    """A service at its address, and what was found out about it. `token` is sent as bearer token; without `tls` it is plain HTTP."""

    address: str
    token: str | None
    tls: Tls | None
    clock: SystemClock = field(default_factory=SystemClock)
    ids: SystemIds = field(default_factory=SystemIds)
    steps: list[Step] = field(default_factory=list)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """One request: status and body. Raises Unavailable."""
        sent = {**(headers or {}), **({"authorization": f"Bearer {self.token}"} if self.token else {})}
        connection = connection_to(self.address, self.tls, timeout_s=TIMEOUT_S)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"sessions do not answer at {self.address}: {error}{_way_out(error)}") from error
        finally:
            connection.close()

    def expect(self, name: str, status: int, ask: Callable[[], tuple[int, bytes]], *, body: bytes | None = None) -> bytes:
        """Try one step; the body that came."""
        began_s = self.clock.monotonic_s()
        got, content = ask()
        ok = got == status and (body is None or content == body)
        instead = f"{got} instead of {status}{_detail_of(content)}" if got != status else "another value than was written"
        self.steps.append(Step(name, got, ok, f"{got}" if ok else instead, round((self.clock.monotonic_s() - began_s) * 1000, 1)))
        return content


def examine_sessions(path: Path | None, *, namespace: str | None, token: str | None, asking: AskingConfig | None, as_json: bool) -> Exit:
    """Try everything; the exit status says whether all of it went as it has to.

    Args:
        path: the configuration file.
        namespace: what to try; None: the first one.
        token: sent as bearer token.
        asking: how the service is asked over TLS; None: as the configuration says.
        as_json: print for scripts.

    Raises:
        InvalidConfig: the configuration is wrong.
        InvalidInput: there is no such namespace.
        Unavailable: nothing answers.
    """
    config = load_sessions_config(path, os.environ).sessions
    name = namespace if namespace is not None else next(iter(config.namespaces))
    if name not in config.namespaces:
        raise InvalidInput(f"no namespace is called {name}; there is {', '.join(config.namespaces)}")
    patient = Patient(config.listen, token, tls_of(config.http, where="sessions.http", instead=asking))
    patient.expect("ready", 200, lambda: patient.ask("GET", "/readyz"))
    if config.namespaces[name].base is not None:
        _try_drop_in(patient, str(config.namespaces[name].base))
    _try_native(patient, name)
    _show(patient, name, as_json=as_json)
    return Exit.OK if all(step.ok for step in patient.steps) else Exit.FAILED


def _try_drop_in(patient: Patient, base: str) -> None:
    address, value = f"{base}headwater-doctor%3A{patient.ids.token(16).hex()}", patient.ids.token(64)
    patient.expect("write", 201, lambda: patient.ask("POST", address, value, {"content-type": "application/octet-stream"}))
    patient.expect("read", 200, lambda: patient.ask("GET", address), body=value)
    patient.expect("delete", 204, lambda: patient.ask("DELETE", address))
    patient.expect(DROP_IN_LAST, 404, lambda: patient.ask("GET", address))


def _try_native(patient: Patient, name: str) -> None:
    """A key made by the service, with a life of a second."""
    value = patient.ids.token(64)
    minted = patient.expect(
        "mint, to live 1 s", 201, lambda: patient.ask("POST", f"/v2/{quote(name, safe='')}", value, {"session-ttl": str(TTL_S)})
    )
    if not patient.steps[-1].ok:
        _excuse_no_mint(patient)
        return
    answer: Any = json.loads(minted)
    address = f"/v2/{quote(name, safe='')}/sessions/{quote(answer['session'], safe='')}"
    patient.expect("read what was minted", 200, lambda: patient.ask("GET", address), body=value)
    time.sleep(EXPIRED_AFTER_S)
    patient.expect("read what has expired", 404, lambda: patient.ask("GET", address))
    patient.expect("delete what has expired", 204, lambda: patient.ask("DELETE", address))


def _excuse_no_mint(patient: Patient) -> None:
    """A client that may do all that a MediaWiki does needs no verb `mint`: that it lacks it is told, and is no fault."""
    *_, before, refused = patient.steps
    if refused.status == HTTPStatus.UNAUTHORIZED and before.name == DROP_IN_LAST and all(step.ok for step in patient.steps[:-1]):
        patient.steps[-1] = replace(refused, ok=True, left_out=True, found="the client has no verb `mint`: expiry was not tried")


def _detail_of(content: bytes) -> str:
    """What a problem says of itself, to be appended; nothing if it says nothing."""
    try:
        problem: Any = json.loads(content)
    except ValueError:
        return ""
    return f": {problem['detail']}" if isinstance(problem, dict) and isinstance(problem.get("detail"), str) else ""


def _way_out(error: Exception) -> str:
    """What to do about a connection that does not come about, to be appended."""
    match error:
        case ConnectionRefusedError():
            return "; is it started (`headwater serve sessions`), with this configuration file?"
        case ssl.SSLCertVerificationError():
            return "; say whom to trust with --ca and which name to expect with --server-name, or with `sessions.http.tls.asking`"
        case _:
            return ""


def advice(steps: Sequence[Step], namespace: str) -> list[str]:
    """What to look at after steps that went wrong, each thing once."""
    wrong = {step.status for step in steps if not step.ok}
    told = {
        HTTPStatus.UNAUTHORIZED: "401: give --token (or --certificate and --private-key) of a client in `sessions.clients` whose grants in"
        f" {namespace} hold read, write and delete, and mint for the native steps",
        HTTPStatus.INTERNAL_SERVER_ERROR: "500: the storage; the log says more, `headwater status sessions` whether the disk is full",
        HTTPStatus.SERVICE_UNAVAILABLE: "503: too much at once, or not ready; /readyz says why",
        HTTPStatus.INSUFFICIENT_STORAGE: "507: a quota of the namespace, or the disk; `headwater status sessions` says which",
    }
    return [text for status, text in told.items() if status in wrong]


def _show(patient: Patient, name: str, *, as_json: bool) -> None:
    told = advice(patient.steps, name)
    if as_json:
        steps = [
            {"step": step.name, "ok": step.ok, "left_out": step.left_out, "found": step.found, "ms": step.ms} for step in patient.steps
        ]
        print_json({"namespace": name, "ok": all(step.ok for step in patient.steps), "steps": steps, "advice": told})
        return
    rows = [(step.name, step.verdict, step.found, f"{step.ms:.1f}") for step in patient.steps]
    print_table(f"Sessions at {patient.address}, namespace {name}", ("step", "verdict", "found", "ms"), rows)
    sys.stdout.writelines(f"{line}\n" for line in told)
    sys.stdout.flush()

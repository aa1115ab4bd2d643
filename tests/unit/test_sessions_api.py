"""Both interfaces joined: what an application is given, and what it takes over while it runs."""

import hashlib
from typing import Any, cast

import pytest

from headwater.http.application import Privacy
from headwater.http.auth import demand_clients
from headwater.kernel.errors import InvalidConfig
from headwater.kernel.metrics import Metrics
from headwater.sessions.api import SessionsApi
from headwater.sessions.config import SessionClientConfig, SessionsConfig, Verb
from headwater.sessions.metrics import METRICS
from headwater.testing.clock import ManualClock

CLIENT = SessionClientConfig(name="app", token_sha256=hashlib.sha256(b"t").hexdigest(), grants={"*": (Verb.READ,)})


def api(config: SessionsConfig) -> SessionsApi:
    return SessionsApi(cast(Any, None), config, metrics=Metrics(METRICS), clock=ManualClock())


def test_paths_are_secrets_and_whatever_no_route_has_is_the_drop_in() -> None:
    manner = api(SessionsConfig()).manner()
    assert manner.privacy is Privacy.PATHS
    assert manner.fallback is not None and manner.fallback.body_bytes_max == 1 << 20 and manner.fallback.exempt == {"/healthz"}


def test_without_clients_no_other_machine_is_let_in() -> None:
    demand_clients("127.0.0.1", api(SessionsConfig()).callers)
    with pytest.raises(InvalidConfig):
        demand_clients("0.0.0.0", api(SessionsConfig()).callers)
    demand_clients("0.0.0.0", api(SessionsConfig(clients=(CLIENT,))).callers)


def test_a_reload_never_opens_the_service_to_other_machines() -> None:
    running = api(SessionsConfig(listen="0.0.0.0:8081", clients=(CLIENT,)))
    with pytest.raises(InvalidConfig):
        running.reload(SessionsConfig())
    token = [(b"authorization", b"Bearer t")]
    assert len(running.callers) == 1 and running.callers.may(running.callers.identify(token), Verb.READ, "sessions")
    assert not running.callers.may(running.callers.identify([]), Verb.READ, "sessions")
    running.reload(SessionsConfig(clients=(SessionClientConfig(name="new", token_sha256="0" * 64, grants={}),)))
    assert not running.callers.may(running.callers.identify(token), Verb.READ, "sessions")

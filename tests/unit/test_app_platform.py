"""What a running platform takes over from a configuration that is read again."""

from headwater.app.config import HeadwaterConfig
from headwater.app.platform import Platform
from headwater.app.process_metrics import RELOADS
from headwater.events.config import EventsConfig
from headwater.http.config import ClientConfig
from headwater.kernel.configfile import Reloadable
from headwater.testing.clock import ManualClock
from headwater.testing.ids import SequentialIds

OPEN = EventsConfig(listen="0.0.0.0:8192")
CLIENT = ClientConfig(name="wiki", token_sha256="0" * 64, grants=("*",))


def reloaded(running: HeadwaterConfig, after: HeadwaterConfig) -> dict[str, float]:
    """How a reload from one to the other was counted."""
    platform = Platform(running, ("events",), ManualClock(), SequentialIds())
    configuration = Reloadable(lambda: after)
    platform.reload(configuration)
    return {result: platform.metrics.value(RELOADS, result=result) for result in ("applied", "refused")}


def test_a_reload_never_opens_an_address_that_other_machines_reach() -> None:
    running = HeadwaterConfig(events=OPEN, clients=(CLIENT,))
    assert reloaded(running, HeadwaterConfig()) == {"applied": 0, "refused": 1}, "the bound address is what counts, not the new one"


def test_a_reload_may_drop_clients_on_loopback() -> None:
    assert reloaded(HeadwaterConfig(clients=(CLIENT,)), HeadwaterConfig()) == {"applied": 1, "refused": 0}

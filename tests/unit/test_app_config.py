"""The configuration as a whole: what no single section can see to be wrong, and what a reload may change."""

import pathlib

import msgspec
import pytest

from headwater.app.checking import check_everything
from headwater.app.config import HeadwaterConfig, check, load_config
from headwater.app.events_role import rules_of
from headwater.app.logging_config import LoggingConfig, LogLevel
from headwater.app.reloading import differences
from headwater.app.roles import ROLES, chosen_roles
from headwater.events.config import EventsConfig
from headwater.http.config import ClientConfig
from headwater.kernel.errors import InvalidConfig, InvalidInput
from headwater.mediawiki.config import Source, WikiConfig
from headwater.propagation.config import PropagationConfig, ReadPolicy
from headwater.sessions.config import NamespaceConfig, SessionsConfig
from headwater.sessions.model import KeyEntropy

WIKI = WikiConfig(domains=("rivers.example",), api_url="http://rivers.example/api.php")


def test_without_a_file_everything_has_its_default() -> None:
    config = load_config(None, {})
    assert config == HeadwaterConfig()
    assert config.data_dir == "./headwater-data"
    assert config.events.listen == "127.0.0.1:8192"
    check_everything(config)


def test_the_environment_wins() -> None:
    config = load_config(None, {"HEADWATER_DATA_DIR": "/somewhere", "HEADWATER_EVENTS__LISTEN": "127.0.0.1:9"})
    assert config.data_dir == "/somewhere"
    assert config.events.listen == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (HeadwaterConfig(wikis={"Rivers!": WIKI}), "wikis.Rivers!"),
        (HeadwaterConfig(wikis={"rivers": msgspec.structs.replace(WIKI, domains=())}), "wikis.rivers.domains"),
        (HeadwaterConfig(wikis={"one": WIKI, "two": WIKI}), "wikis"),
        (HeadwaterConfig(events=EventsConfig(listen="127.0.0.1:8082")), "propagation.listen"),
        (HeadwaterConfig(events=EventsConfig(listen="8192")), "events.listen"),
        (HeadwaterConfig(propagation=PropagationConfig(read_policies={"none": ReadPolicy.FRESH})), "propagation.read_policies.none"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_place(config: HeadwaterConfig, where: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        check(config)
    assert raised.value.where == where


def test_addresses_of_other_machines_need_clients() -> None:
    config = HeadwaterConfig(events=EventsConfig(listen="0.0.0.0:8192"))
    with pytest.raises(InvalidConfig) as raised:
        check_everything(config)
    assert raised.value.where == "events.listen"
    client = ClientConfig(name="wiki", token_sha256="0" * 64)
    check_everything(msgspec.structs.replace(config, clients=(client,)))


def test_a_port_that_the_system_chooses_is_nobodys_twin() -> None:
    check(HeadwaterConfig(events=EventsConfig(listen="127.0.0.1:0"), propagation=PropagationConfig(listen="127.0.0.1:0")))


def test_wikis_that_only_post_are_not_followed() -> None:
    posts = msgspec.structs.replace(WIKI, domains=("b.example",), source=Source.INTAKE)
    assert list(HeadwaterConfig(wikis={"a": WIKI, "b": posts}).followed()) == ["a"]


def test_every_built_in_stream_has_its_schema() -> None:
    rules_of(HeadwaterConfig()).check()


def test_a_reload_tells_what_takes_effect_at_once_from_what_waits() -> None:
    old = HeadwaterConfig(wikis={"rivers": WIKI})
    new = msgspec.structs.replace(
        old,
        logging=LoggingConfig(level=LogLevel.DEBUG),
        events=msgspec.structs.replace(old.events, listen="127.0.0.1:9"),
        wikis={"rivers": msgspec.structs.replace(WIKI, api_url="http://other.example/api.php"), "lakes": WIKI},
    )
    found = differences(old, new)
    assert found.at_once == ("logging.level",)
    assert set(found.at_next_start) == {"events.listen", "wikis.rivers.api_url", "wikis.lakes"}
    assert differences(old, old) == differences(new, new)
    both = msgspec.structs.replace(new, sessions=SessionsConfig(listen="127.0.0.1:9"))
    assert differences(old, both, others=("sessions",)) == found, "the process of sessions speaks for itself"
    assert differences(new, both, at_once=("sessions",)).at_once == ("sessions.listen",)


def test_roles_start_in_their_own_order() -> None:
    assert chosen_roles(None) == ROLES
    assert chosen_roles(("purging", "events", "events")) == ("events", "purging")
    with pytest.raises(InvalidInput):
        chosen_roles(("event",))


def test_sessions_are_meant_to_run_where_they_are_configured_or_have_run(tmp_path: pathlib.Path) -> None:
    nowhere = HeadwaterConfig(data_dir=str(tmp_path))
    assert not nowhere.has_sessions()
    assert HeadwaterConfig(data_dir=str(tmp_path), sessions=SessionsConfig(listen="127.0.0.1:1")).has_sessions()
    (tmp_path / "sessions").mkdir()
    assert nowhere.has_sessions()


def test_a_check_warns_of_keys_that_can_be_guessed() -> None:
    spaces = {"fine": NamespaceConfig(), "pins": NamespaceConfig(key_entropy=KeyEntropy.LOW)}
    (warning,) = check_everything(HeadwaterConfig(sessions=SessionsConfig(namespaces=spaces))).warnings
    assert warning.startswith("sessions.namespaces.pins:")
    assert check_everything(HeadwaterConfig()).warnings == ()
